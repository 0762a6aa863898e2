//! `curl`, in every version of HTTP that it speaks to us, on every transport; brought back by hand with the last id.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::publisher::{Event, Publisher, hard};
use super::reading::{Client, Reading, as_lines, comes_back_with_every_event, cut, is_told_of_a_gap};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::whatwg::Parser;

pub(crate) const HTTP_1_0: &str = "--http1.0";
pub(crate) const HTTP_1_1: &str = "--http1.1";
const HTTP_2: &str = "--http2-prior-knowledge";
/// Agreed on in the handshake (ALPN).
pub(crate) const HTTP_2_TLS: &str = "--http2";

/// After what time a `curl` that was cut off is followed by the next.
const RETRY: Duration = Duration::from_millis(50);

// Exit statuses (curl(1)): could not connect; partial file; failure in the TLS handshake; empty reply; failure in receiving;
// stream error of HTTP/2.
const REFUSED: i32 = 7;
const PARTIAL: i32 = 18;
const NO_HANDSHAKE: i32 = 35;
const NO_REPLY: i32 = 52;
const RESET: i32 = 56;
const STREAM_RESET: i32 = 92;

#[test]
fn curl_over_http_1_0_comes_back_with_every_event_on_sse() {
    comes_back(HTTP_1_0, Transport::Sse);
}

#[test]
fn curl_over_http_1_1_comes_back_with_every_event_on_sse() {
    comes_back(HTTP_1_1, Transport::Sse);
}

#[test]
fn curl_over_http_2_comes_back_with_every_event_on_sse() {
    comes_back(HTTP_2, Transport::Sse);
}

#[test]
fn curl_over_http_1_0_comes_back_with_every_event_on_ndjson() {
    comes_back(HTTP_1_0, Transport::Ndjson);
}

#[test]
fn curl_over_http_1_1_comes_back_with_every_event_on_ndjson() {
    comes_back(HTTP_1_1, Transport::Ndjson);
}

#[test]
fn curl_over_http_2_comes_back_with_every_event_on_ndjson() {
    comes_back(HTTP_2, Transport::Ndjson);
}

#[test]
fn curl_over_http_1_0_comes_back_with_every_event_on_long_poll() {
    comes_back(HTTP_1_0, Transport::LongPoll);
}

#[test]
fn curl_over_http_1_1_comes_back_with_every_event_on_long_poll() {
    comes_back(HTTP_1_1, Transport::LongPoll);
}

#[test]
fn curl_over_http_2_comes_back_with_every_event_on_long_poll() {
    comes_back(HTTP_2, Transport::LongPoll);
}

#[test]
fn curl_is_told_of_a_gap_on_every_transport() {
    for transport in [Transport::Sse, Transport::Ndjson, Transport::LongPoll] {
        let mut gateway = Gateway::start(&["--dev", "--retention-events", "50"]);
        let client = Curl::new(&gateway, "orders", vec![(HTTP_1_1, transport)]);
        is_told_of_a_gap(&mut gateway, "orders", client);
    }
}

#[test]
fn a_cursor_of_one_transport_and_version_is_good_on_every_other() {
    let mut gateway = Gateway::start(&["--dev"]);
    let ways = [
        (HTTP_1_1, Transport::Sse),
        (HTTP_2, Transport::Ndjson),
        (HTTP_1_0, Transport::LongPoll),
        (HTTP_1_0, Transport::Sse),
        (HTTP_2, Transport::LongPoll),
        (HTTP_1_1, Transport::Ndjson),
    ];
    let client = Curl::new(&gateway, "orders", ways.to_vec());
    let mut reading = Reading::of(client);
    reading.hello("new");
    let publisher = Publisher::start(gateway.url(), "orders", hard);
    for turn in 0..3 * ways.len() {
        reading.more(15);
        if turn % 5 == 4 {
            gateway.restart();
            reading.hello("resumed");
        }
        reading.client.leave();
        reading.hello("resumed");
    }
    let published = publisher.stop();
    reading.until_last();
    reading.has_seen(&published);
}

#[test]
fn a_cut_is_seen_as_a_broken_transfer_and_a_drain_as_an_end() {
    for (version, broken) in [(HTTP_1_1, PARTIAL), (HTTP_2, STREAM_RESET)] {
        let mut gateway = Gateway::start(&["--dev"]);
        let open = || Reading::of(Curl::new(&gateway, "orders", vec![(version, Transport::Sse)]));
        let (mut cut_off, mut drained) = (open(), open());
        cut(gateway.url(), &cut_off.hello("new"));
        assert_eq!(cut_off.client.end(), broken, "curl {version}");
        drained.hello("new");
        gateway.terminate();
        assert_eq!(drained.client.end(), 0, "curl {version}");
    }
}

fn comes_back(version: &'static str, transport: Transport) {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = Curl::new(&gateway, "orders", vec![(version, transport)]);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Sse,
    Ndjson,
    LongPoll,
}

/// One `curl` after the other, each with the last id of the one before, in turns as a field and in the query.
pub(crate) struct Curl {
    url: String,
    /// Whom it trusts, over TLS.
    authority: Option<PathBuf>,
    /// Versions and transports, which take turns.
    ways: Vec<(&'static str, Transport)>,
    turn: usize,
    running: Option<Process>,
    opened: usize,
    last_event_id: String,
    parser: Parser,
    /// A line of JSON was cut off: nothing may follow it.
    torn: bool,
    told: VecDeque<Event>,
}

impl Curl {
    fn new(gateway: &Gateway, topic: &str, ways: Vec<(&'static str, Transport)>) -> Self {
        Self::at(gateway.url(), None, topic, ways)
    }

    pub(crate) fn over_tls(gateway: &Gateway, topic: &str, ways: Vec<(&'static str, Transport)>) -> Self {
        Self::at(gateway.own_url(), Some(gateway.certificate().authority()), topic, ways)
    }

    fn at(url: &str, authority: Option<PathBuf>, topic: &str, ways: Vec<(&'static str, Transport)>) -> Self {
        Self {
            url: format!("{url}/events?topic={topic}"),
            authority,
            ways,
            turn: 0,
            running: None,
            opened: 0,
            last_event_id: String::new(),
            parser: Parser::new(),
            torn: false,
            told: VecDeque::new(),
        }
    }

    fn way(&self) -> (&'static str, Transport) {
        self.ways[self.turn % self.ways.len()]
    }

    /// Ends it in the midst of whatever it receives, and goes on by the next way after what it has printed.
    fn leave(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill9();
        }
        self.turn += 1;
    }

    /// How it ends: the exit status of this `curl`.
    fn end(&mut self) -> i32 {
        self.running.take().and_then(|mut running| running.wait(PATIENCE).code()).expect("a curl that ends by itself")
    }

    /// One has ended, well or because it was cut off or found nobody.
    fn ended(&mut self, mut running: Process) {
        let status = running.wait(PATIENCE).code();
        let cut_off = [REFUSED, PARTIAL, NO_HANDSHAKE, NO_REPLY, RESET, STREAM_RESET].map(Some);
        assert!(status == Some(0) || cut_off.contains(&status), "curl ended with {status:?}: {}", running.errors());
        if status != Some(0) {
            std::thread::sleep(RETRY);
        }
    }

    fn open(&mut self) -> Process {
        let (version, transport) = self.way();
        (self.parser, self.torn) = (Parser::new(), false);
        self.opened += 1;
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--no-buffer",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            version,
        ]);
        command.args([
            "--header",
            match transport {
                Transport::Sse => "Accept: text/event-stream",
                Transport::Ndjson => "Accept: application/x-ndjson",
                Transport::LongPoll => "Accept: application/json",
            },
        ]);
        if transport == Transport::LongPoll {
            command.args(["--dump-header", "-"]);
        }
        if let Some(authority) = &self.authority {
            command.arg("--cacert").arg(authority);
        }
        if self.last_event_id.is_empty() {
            command.arg(&self.url);
        } else if self.opened.is_multiple_of(2) {
            command.arg(&self.url).args(["--header", &format!("Last-Event-ID: {}", self.last_event_id)]);
        } else {
            command.arg(format!("{}&lastEventId={}", self.url, self.last_event_id));
        }
        Process::spawn(command)
    }

    /// Takes a line of what `curl` prints.
    fn line(&mut self, line: &str) {
        assert!(!self.torn, "after a line that is no JSON comes {line}");
        match self.way().1 {
            Transport::Sse => {
                for event in self.parser.feed(format!("{line}\n").as_bytes()) {
                    self.take(Event { kind: event.kind, id: event.last_event_id, data: event.data });
                }
            }
            Transport::Ndjson if line.is_empty() => {}
            Transport::Ndjson => match serde_json::from_str(line) {
                Ok(event) => self.take_json(&event),
                Err(_) => self.torn = true,
            },
            Transport::LongPoll => self.answer(line),
        }
    }

    /// Takes a line of a poll's answer: of its head, or its content, which is one line.
    fn answer(&mut self, line: &str) {
        let lower = line.to_ascii_lowercase();
        if let Some(resume) = lower.strip_prefix("encke-resume: ") {
            let data = format!(r#"{{"resume":"{resume}","stream":""}}"#);
            self.told.push_back(Event { kind: "encke.hello".into(), id: String::new(), data });
        }
        if !line.starts_with('{') {
            return;
        }
        let Ok(answer) = serde_json::from_str::<Value>(line) else {
            self.torn = true;
            return;
        };
        if answer["gap"].is_object() {
            let data = answer["gap"].to_string();
            self.told.push_back(Event { kind: "encke.gap".into(), id: String::new(), data });
        }
        for event in answer["events"].as_array().expect("an answer has events") {
            self.take_json(event);
        }
        answer["cursor"].as_str().expect("an answer has a cursor").clone_into(&mut self.last_event_id);
    }

    fn take_json(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().map_or_else(|| event[name].to_string(), str::to_owned);
        let id = if event["id"].is_null() { String::new() } else { text("id") };
        self.take(Event { kind: text("type"), id, data: text("data") });
    }

    fn take(&mut self, event: Event) {
        if !event.id.is_empty() {
            event.id.clone_into(&mut self.last_event_id);
        }
        self.told.push_back(event);
    }
}

impl Client for Curl {
    fn next(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        while self.told.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "curl is told nothing within {PATIENCE:?}");
            let running = match self.running.take() {
                Some(running) => running,
                None => self.open(),
            };
            match running.line(left) {
                Some(line) => {
                    self.running = Some(running);
                    self.line(&line);
                }
                None => self.ended(running),
            }
        }
        self.told.pop_front().expect("the loop above waits for one")
    }

    fn polls(&self) -> bool {
        self.way().1 == Transport::LongPoll
    }

    fn keeps(&self, data: &str) -> String {
        if self.ways.iter().any(|(_, transport)| *transport == Transport::Sse) {
            as_lines(data)
        } else {
            data.to_owned()
        }
    }
}
