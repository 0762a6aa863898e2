//! What a client tells of its stream, and the scenarios that every client goes through.

use std::collections::VecDeque;
use std::process::Command;

use serde_json::Value;
use tokio::time::Instant;

use super::publisher::{Event, LAST, Publisher, hard, post, publish};
use crate::support::PATIENCE;
use crate::support::gateway::{Addresses, Gateway};
use crate::support::process::Process;

/// A reader of one topic that comes back by itself, or is brought back, with what it saw last.
pub(crate) trait Client {
    /// The next that its stream told, the gateway's own words included. Panics when nothing comes.
    fn next(&mut self) -> Event;

    /// Breaks its stream, which the gateway calls `stream`.
    fn cut(&mut self, gateway: &mut Gateway, stream: &str) {
        if self.polls() {
            // A poll tells its name with its answer, so one that waits dies only with the gateway.
            gateway.restart();
        } else {
            cut(gateway.url(), stream);
        }
    }

    /// Whether each answer is a response of its own, with no place for a goodbye.
    fn polls(&self) -> bool {
        false
    }

    /// What becomes of published data on the way.
    fn keeps(&self, data: &str) -> String {
        data.to_owned()
    }
}

/// Has the gateway break a stream.
pub(crate) fn cut(url: &str, stream: &str) {
    let (status, words) = post(url, &format!("/streams/{stream}/cut"), &[], b"").expect("an answer");
    assert_eq!(status, 204, "{words}");
}

/// An event stream has no CR of its own in data: CRLF and CR come back as LF (WHATWG HTML § 9.2.6).
pub(crate) fn as_lines(data: &str) -> String {
    data.replace("\r\n", "\n").replace('\r', "\n")
}

/// A client, and what it has seen so far.
pub(crate) struct Reading<C> {
    pub(crate) client: C,
    pub(crate) events: Vec<Event>,
    /// What the gateway itself said and nobody has asked for yet.
    notices: VecDeque<(String, Value)>,
}

impl<C: Client> Reading<C> {
    pub(crate) fn of(client: C) -> Self {
        Self { client, events: Vec::new(), notices: VecDeque::new() }
    }

    /// Reads on to the next word of the gateway, which must be of this type, and gives what it says.
    #[track_caller]
    pub(crate) fn notice(&mut self, kind: &str) -> Value {
        // Events may come for ever.
        let deadline = Instant::now() + 3 * PATIENCE;
        while self.notices.is_empty() {
            assert!(Instant::now() < deadline, "no {kind} comes");
            self.step();
        }
        let (told, data) = self.notices.pop_front().expect("the loop above waits for one");
        assert_eq!(told, kind, "another notice than expected: {data}");
        data
    }

    /// Reads on to the beginning of the next stream, or the next answer, which must be of this kind; gives its name.
    #[track_caller]
    pub(crate) fn hello(&mut self, resume: &str) -> String {
        if self.client.polls() {
            self.notices.clear();
        }
        let hello = self.notice("encke.hello");
        assert_eq!(hello["resume"], resume, "{hello}");
        hello["stream"].as_str().expect("a stream has a name").to_owned()
    }

    /// Reads so many events more.
    #[track_caller]
    pub(crate) fn more(&mut self, count: usize) {
        let wanted = self.events.len() + count;
        while self.events.len() < wanted {
            self.step();
        }
    }

    /// Reads on to events that a gateway published which was started after all that was seen yet.
    #[track_caller]
    pub(crate) fn beyond_restart(&mut self) {
        let former = self.newest_epoch();
        while self.newest_epoch() == former {
            self.more(1);
        }
    }

    /// The part of the newest cursor that differs from one start of the gateway to the next.
    fn newest_epoch(&self) -> Option<String> {
        let (epoch, _) = self.events.last()?.id.split_once('-')?;
        Some(epoch.to_owned())
    }

    /// Reads on to the last event of the publisher.
    #[track_caller]
    pub(crate) fn until_last(&mut self) {
        while self.events.last().is_none_or(|event| event.kind != LAST) {
            self.step();
        }
    }

    /// Every event of these was seen once, in this order, and none besides.
    #[track_caller]
    pub(crate) fn has_seen(&self, published: &[Event]) {
        let keeps = |event: &Event| Event { data: self.client.keeps(&event.data), ..event.clone() };
        let expected: Vec<Event> = published.iter().map(keeps).collect();
        let seen: Vec<Event> = self.events.iter().map(keeps).collect();
        let differs = expected.iter().zip(&seen).position(|(expected, seen)| expected != seen);
        if let Some(at) = differs {
            panic!("event {at}: published {:?}, seen {:?}", expected[at], seen[at]);
        }
        assert_eq!(seen.len(), expected.len(), "as many events seen as published");
    }

    fn step(&mut self) {
        let told = self.client.next();
        match told.kind.as_str() {
            "encke.cursor" => {}
            kind if kind.starts_with("encke.") => {
                let data = serde_json::from_str(&told.data).expect("what the gateway says is JSON");
                self.notices.push_back((told.kind, data));
            }
            _ => self.events.push(told),
        }
    }
}

/// How many events a client reads between two cuts.
const BETWEEN_CUTS: usize = 40;

/// The client is cut off three times while somebody publishes: its stream is cut, the gateway is killed and started
/// again, and the gateway is stopped and started again. It must come back each time, and miss and double nothing.
pub(crate) fn comes_back_with_every_event<C: Client>(gateway: &mut Gateway, topic: &'static str, client: C) {
    let mut reading = Reading::of(client);
    let stream = reading.hello("new");
    let publisher = Publisher::start(gateway.url(), topic, hard);
    reading.more(BETWEEN_CUTS);

    reading.client.cut(gateway, &stream);
    reading.hello("resumed");
    reading.more(BETWEEN_CUTS);

    gateway.restart();
    reading.hello("resumed");
    reading.beyond_restart();
    reading.more(BETWEEN_CUTS);

    gateway.terminate();
    if !reading.client.polls() {
        assert_eq!(reading.notice("encke.bye")["reason"], "drain");
    }
    gateway.wait();
    gateway.restart();
    reading.hello("resumed");
    reading.beyond_restart();

    let published = publisher.stop();
    reading.until_last();
    reading.has_seen(&published);
}

/// While the client is away, so much is published that retention takes what it would have read next. It must be told so,
/// and go on with what is left. The gateway keeps 50 events.
pub(crate) fn is_told_of_a_gap<C: Client>(gateway: &mut Gateway, topic: &'static str, client: C) {
    let mut reading = Reading::of(client);
    reading.hello("new");
    let mut published: Vec<Event> = (0..3).map(|n| publish(gateway.url(), topic, "tick", n.to_string(), n)).collect();
    reading.more(3);

    // 1. The gateway is gone. 2. Another one on its log, where the client does not look. 3. The first is back.
    gateway.kill9();
    published.extend(elsewhere(gateway, |url| {
        (3..200).map(|n| publish(url, topic, "tick", n.to_string(), n)).collect::<Vec<_>>()
    }));
    gateway.restart();

    reading.hello("gap");
    let gap = reading.notice("encke.gap");
    assert_eq!(gap["reason"], "expired", "{gap}");
    let asked = gap["asked"].as_str().expect("a gap names what was asked for");
    // A poll, and a stream after a while, is told a newer position than that of the last event.
    assert!(offset(asked) >= offset(&published[2].id) && offset(asked) < offset(&published[3].id), "{gap}");
    published.push(publish(gateway.url(), topic, LAST, String::new(), 200));
    reading.until_last();
    let first = offset(gap["first"].as_str().expect("a cursor"));
    let left: Vec<Event> = published.iter().filter(|event| offset(&event.id) >= first).cloned().collect();
    assert!((10..=100).contains(&left.len()), "retention leaves about 50 events, not {}", left.len());
    let seen_before = reading.events.drain(..3).collect::<Vec<_>>();
    assert_eq!(seen_before, published[..3]);
    reading.has_seen(&left);
}

/// Lets `work` use a gateway at another address on the data of one that does not run.
fn elsewhere<T>(gateway: &Gateway, work: impl FnOnce(&str) -> T) -> T {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--retention-events", "50", "--data"]);
    command.arg(gateway.data_dir());
    let mut process = Process::spawn(command);
    let addresses = Addresses::told_by(&mut process, true).unwrap_or_else(|words| panic!("{words}"));
    work(&addresses.public.expect("it listens"))
}

/// The offset of a cursor.
pub(crate) fn offset(cursor: &str) -> u64 {
    cursor.split_once('-').and_then(|(_, offset)| offset.parse().ok()).expect("a cursor is an epoch and an offset")
}
