//! The gateway's parts beside the model: a list of all that was ever published.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use encke::delivery::{Answered, Begin, Wanted};
use encke::event::{Cursor, Event, EventType, Key, Offset, Topic, TopicSelector, Topics};
use encke::log::{Delete, Start};
use encke::transport::{Keeps, by_name};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Reading, Told, of_json};
use crate::gateway::Gateway;
use crate::ledger::{Asked, Ledger, Now, Published};
use crate::{CLIENTS, TOPICS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Sqlite,
}

/// What carries streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Ordinary,
    Socket,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) store: Store,
    pub(crate) carrier: Carrier,
    /// Retention by count.
    pub(crate) events: u64,
    /// Retention by age.
    pub(crate) age: Duration,
    /// How many events stay in memory.
    pub(crate) pinned: u64,
}

/// What is published.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kind {
    /// Topics, by the bits of a mask.
    pub(crate) topics: u8,
    pub(crate) kind: Option<&'static str>,
    pub(crate) private: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) conflate: bool,
}

/// How somebody subscribes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) selection: &'static [&'static str],
    pub(crate) types: &'static [&'static str],
    pub(crate) keyed: bool,
    pub(crate) transport: &'static str,
    /// Go on from the last id, if there is one.
    pub(crate) resume: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) conflate: bool,
    pub(crate) snapshot: bool,
}

impl Ask {
    pub(crate) fn plain(selection: &'static [&'static str]) -> Self {
        let (types, limit) = (&[][..], None);
        Self { selection, types, keyed: true, transport: "sse", resume: false, limit, conflate: false, snapshot: false }
    }

    fn asked(&self) -> Asked {
        let selectors = self.selection.iter().map(|text| TopicSelector::parse(text).expect("a selector")).collect();
        let types = self.types.iter().map(|text| EventType::parse(text).expect("a type")).collect();
        Asked { selectors, types, keyed: self.keyed, conflate: self.conflate }
    }

    fn wanted(&self, last: Option<Cursor>) -> Wanted {
        let begin = last.map_or(Begin::Unsaid, |cursor| Begin::At(Start::Cursor(cursor), cursor.to_string()));
        let transport = by_name(self.transport).expect("a transport");
        let &Self { limit, conflate, snapshot, .. } = self;
        Wanted { limit, conflate, snapshot, ..Wanted::new(Arc::new(self.asked().selection()), transport, begin) }
    }
}

pub(crate) struct World {
    settings: Settings,
    directory: TempDir,
    time: Arc<AtomicU64>,
    gateway: Gateway,
    ledger: Ledger,
    clients: Vec<Client>,
}

struct Client {
    reading: Option<Reading>,
    ask: Ask,
    asked: Asked,
    state: bool,
    /// The last position it was told: what it would come back with.
    last: Option<Cursor>,
    /// Everything up to here was seen, did not match, or was told as gone.
    accounted: Offset,
    /// What was gone when it asked for what there is: that it does not miss.
    forgives: HashSet<Offset>,
    /// What is left of a snapshot, and where the live edge was when it was taken.
    snapshot: Option<(VecDeque<Offset>, Offset)>,
    /// How many events it may still be given.
    left: Option<u64>,
    /// How many gaps it was told.
    gaps: usize,
}

impl World {
    pub(crate) async fn new(settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let time = Arc::new(AtomicU64::new(1_000_000));
        let gateway = Gateway::start(settings, &directory, &time).await;
        let clients = std::iter::repeat_with(Client::default).take(CLIENTS).collect();
        Self { settings, directory, time, gateway, ledger: Ledger::default(), clients }
    }

    pub(crate) async fn publish(&mut self, count: usize, batch: usize, kind: Kind) {
        let topics: Topics = TOPICS
            .iter()
            .enumerate()
            .filter(|(bit, _)| kind.topics & (1 << bit) != 0)
            .map(|(_, name)| Topic::parse(name).expect("a topic"))
            .collect();
        let mut left = count;
        while left > 0 {
            let size = left.min(batch);
            let before = self.ledger.last();
            let events: Vec<Event> = (0..size as u64)
                .map(|nth| {
                    let number = before + nth + 1;
                    Event {
                        topics: topics.clone(),
                        kind: kind.kind.and_then(|kind| EventType::parse(kind).expect("a type")),
                        private: kind.private,
                        ttl: kind.ttl,
                        conflate: kind.conflate.then(|| Key::parse(&format!("k{}", number % 3)).expect("a key")),
                        ..Event::new(topics[0].clone(), number.to_string())
                    }
                })
                .collect();
            let time = self.time.load(Ordering::Relaxed);
            let published = events.iter().map(|event| Published { event: event.clone(), time, deleted: false });
            self.ledger.0.extend(published);
            let receipts = while_time_stands_still(self.gateway.log.append(events)).await.expect("an append");
            assert_eq!(receipts.last().map(|receipt| receipt.cursor.offset), Some(self.ledger.last()));
            left -= size;
        }
    }

    pub(crate) async fn open(&mut self, client: usize, ask: Ask) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        let last = self.clients[client].last.filter(|_| ask.resume);
        let asked = ask.asked();
        let wanted = ask.wanted(last);
        let keeps_state = wanted.transport.keeps == Keeps::State;
        let opened = self.gateway.delivery.open(wanted).await.expect("a stream");
        let now = self.now();
        let entry = &mut self.clients[client];
        *entry = Client {
            last: entry.last,
            gaps: entry.gaps,
            ask,
            asked,
            state: keeps_state,
            left: ask.limit,
            ..Client::default()
        };
        let told = (opened.resume.as_str(), opened.cursor);
        let takes_snapshot = ask.snapshot && told.0 != "resumed";
        // Where a stream begins: at its cursor if that is good, else where the answer says, which must be justified.
        match (last.map(|cursor| cursor.offset), told) {
            (Some(before), ("resumed", cursor)) => self.passed_over(client, before, cursor.offset)?,
            (Some(_), ("gap", _)) if takes_snapshot => {}
            (Some(before), ("gap", cursor)) => self.justified(client, before, cursor.offset)?,
            (None, ("new", _)) if keeps_state || ask.conflate || takes_snapshot => {}
            (None, ("new", cursor)) => prop_assert_eq!(cursor.offset, self.ledger.last()),
            (before, other) => return Err(TestCaseError::fail(format!("{before:?} was answered {other:?}"))),
        }
        if takes_snapshot {
            let offsets = VecDeque::from(self.ledger.snapshot(&self.clients[client].asked, now));
            let begin = offsets.front().map_or(self.ledger.last(), |first| first - 1);
            prop_assert_eq!(opened.cursor.offset, begin, "a snapshot begins just before its first event");
            self.clients[client].snapshot = Some((offsets, self.ledger.last()));
        }
        let asks_anew = opened.resume.as_str() == "new";
        let gone = (1..=self.ledger.last()).filter(|offset| asks_anew && self.ledger.is_removed(*offset, now));
        let gone = gone.collect();
        let client = &mut self.clients[client];
        client.forgives = gone;
        client.accounted = opened.cursor.offset;
        client.last = Some(opened.cursor);
        client.reading = Some(self.gateway.carry(opened, self.settings.carrier));
        Ok(())
    }

    /// Everybody whose stream is on a socket takes what is on its way: it has left, whatever happens to it from here on.
    async fn take_what_has_left(&mut self) -> Result<(), TestCaseError> {
        for client in 0..CLIENTS {
            while let Some(reading) = self.clients[client].reading.as_mut().filter(|reading| reading.is_socket()) {
                let Some(told) = reading.next().await else { break };
                for told in told {
                    self.account(client, told)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn read(&mut self, client: usize, frames: usize) -> Result<(), TestCaseError> {
        for _ in 0..frames {
            let Some(reading) = self.clients[client].reading.as_mut() else { return Ok(()) };
            let Some(told) = reading.next().await else { return Ok(()) };
            for told in told {
                self.account(client, told)?;
            }
        }
        Ok(())
    }

    pub(crate) fn cut(&mut self, client: usize) {
        self.clients[client].reading = None;
    }

    /// One poll from where the client is; what it is answered counts like what a stream tells.
    pub(crate) async fn poll(&mut self, client: usize, transport: &'static str) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        let Some(mut waiting) = self.ask(client, transport, Duration::ZERO) else { return Ok(()) };
        let answered = waiting.as_mut().await;
        self.answered(client, answered)
    }

    /// As [`World::poll`], where the poll waits while `meanwhile` happens.
    pub(crate) async fn poll_while(
        &mut self,
        client: usize,
        meanwhile: impl AsyncFnOnce(&mut Self),
    ) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        let waiting = self.ask(client, "long-poll", Duration::from_secs(25));
        let mut waiting = waiting.expect("a client that has been told a position");
        let begun = tokio::time::timeout(Duration::from_millis(1), waiting.as_mut()).await;
        prop_assert!(begun.is_err(), "there was nothing to be answered yet");
        meanwhile(self).await;
        let answered = waiting.await;
        self.answered(client, answered)
    }

    /// A poll from where the client is, if it is anywhere.
    fn ask(
        &mut self,
        client: usize,
        transport: &'static str,
        timeout: Duration,
    ) -> Option<Pin<Box<dyn Future<Output = Answered>>>> {
        let client = &mut self.clients[client];
        let last = client.last?;
        client.reading = None;
        client.state = false;
        client.left = None;
        client.snapshot = None;
        client.forgives.clear();
        // A stream may have left unread what came before its last id: from there on the poll accounts.
        client.accounted = last.offset;
        let ask = Ask { transport, limit: Some(100), snapshot: false, ..client.ask };
        let wanted = Wanted { timeout, ..ask.wanted(Some(last)) };
        let delivery = self.gateway.delivery.clone();
        Some(Box::pin(async move { delivery.answer(wanted).await.expect("an answer") }))
    }

    fn answered(&mut self, client: usize, answered: Answered) -> Result<(), TestCaseError> {
        let body: Value = serde_json::from_slice(&answered.body.expect("not cut")).expect("JSON");
        let events = body["events"].as_array().expect("a list");
        if let Some(gap) = body.get("gap") {
            prop_assert_eq!(answered.resume.as_str(), "gap");
            let first: Cursor = gap["first"].as_str().expect("a cursor").parse().expect("a cursor");
            self.account(client, Told::Gap(Cursor { offset: first.offset - 1, ..first }, gap["lost"].as_u64()))?;
        }
        for event in events {
            self.account(client, of_json(event).expect("an event"))?;
        }
        let newest = events.last().and_then(of_json);
        if answered.has_news && newest.is_none() {
            prop_assert_eq!(&body["more"], &Value::from(true));
        }
        self.skip(client, answered.cursor.offset)?;
        self.clients[client].last = Some(answered.cursor);
        Ok(())
    }

    /// How many pages were read from the log.
    pub(crate) fn loads(&self) -> u64 {
        self.gateway.hub.loads()
    }

    /// Waits until what was published is in memory.
    pub(crate) async fn caught_up(&self) {
        self.gateway.caught_up().await;
    }

    pub(crate) async fn age(&mut self, time: Duration) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        self.take_what_has_left().await?;
        self.time.fetch_add(u64::try_from(time.as_millis()).expect("a short time"), Ordering::Relaxed);
        tokio::time::advance(time).await;
        Ok(())
    }

    /// Removes all events on a topic, or the one at a place, wherever between the first and the last that is.
    pub(crate) async fn delete(&mut self, topic: Option<&str>, place: usize) -> Result<(), TestCaseError> {
        if self.ledger.0.is_empty() {
            return Ok(());
        }
        self.gateway.caught_up().await;
        self.take_what_has_left().await?;
        let removals = self.gateway.hub.pages().removals();
        let first = self.gateway.log.bounds().first; // What was trimmed cannot be removed any more.
        let which = match topic {
            Some(name) => {
                let topic = Topic::parse(name).expect("a topic");
                let kept = usize::try_from(first - 1).expect("an offset").min(self.ledger.0.len());
                let on_it = self.ledger.0[kept..].iter_mut().filter(|it| it.event.topics.contains(&topic));
                on_it.for_each(|published| published.deleted = true);
                Delete::Topic(topic)
            }
            None => {
                let nth = place % self.ledger.0.len();
                self.ledger.0[nth].deleted |= nth as u64 + 1 >= first;
                Delete::Event(self.gateway.log.cursor(nth as u64 + 1))
            }
        };
        let removed = while_time_stands_still(self.gateway.log.delete(which)).await.expect("a removal");
        while removed > 0 && self.gateway.hub.pages().removals() == removals {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    pub(crate) async fn restart(&mut self) {
        if self.settings.store == Store::Memory {
            return;
        }
        self.clients.iter_mut().for_each(|client| client.reading = None);
        self.gateway.shutdown.finish(Duration::from_secs(1)).await;
        self.gateway.log.close().await;
        self.gateway = Gateway::start(self.settings, &self.directory, &self.time).await;
    }

    /// Everybody reads to the live edge; then nothing may be missing.
    pub(crate) async fn settle(&mut self) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        for client in 0..CLIENTS {
            while let Some(told) = match self.clients[client].reading.as_mut() {
                Some(reading) => reading.next().await,
                None => None,
            } {
                for told in told {
                    self.account(client, told)?;
                }
            }
            if self.clients[client].reading.is_some() && self.clients[client].left != Some(0) {
                self.end_snapshot(client)?;
                self.skip(client, self.ledger.last())?;
            }
        }
        Ok(())
    }

    /// Enters what a client was told.
    fn account(&mut self, client: usize, told: Told) -> Result<(), TestCaseError> {
        match told {
            Told::Hello(at) => {
                if let Some(at) = at {
                    prop_assert_eq!(at.offset, self.clients[client].accounted);
                }
            }
            Told::Event(cursor, data, topics) => self.event(client, cursor, &data, &topics)?,
            Told::Position(cursor) => {
                self.skip(client, cursor.offset)?;
                self.clients[client].last = Some(cursor);
            }
            Told::Gap(cursor, lost) => self.gap(client, cursor, lost)?,
            Told::Bye => prop_assert_eq!(self.clients[client].left, Some(0), "a stream ended by itself"),
        }
        Ok(())
    }

    fn event(&mut self, client: usize, cursor: Cursor, data: &str, topics: &[String]) -> Result<(), TestCaseError> {
        let (offset, now) = (cursor.offset, self.now());
        prop_assert!(!self.ledger.is_removed(offset, now), "{cursor} was shown though it is gone");
        let entry = &mut self.clients[client];
        if entry.state && Some(cursor) == entry.last {
            return Ok(()); // The state shown once more.
        }
        prop_assert!(offset > entry.accounted, "{cursor} is out of order or came twice");
        prop_assert_eq!(data, offset.to_string());
        prop_assert!(self.ledger.concerns(&entry.asked, offset), "{cursor} was not asked for, or may not be read");
        prop_assert_eq!(cursor, self.gateway.log.cursor(offset));
        if !topics.is_empty() {
            let readable = self.ledger.at(offset).event.topics.iter().filter(|topic| entry.asked.reads(topic));
            prop_assert_eq!(topics, readable.map(ToString::to_string).collect::<Vec<_>>());
        }
        if let Some(left) = &mut entry.left {
            prop_assert!(*left > 0, "{cursor} is beyond the limit");
            *left -= 1;
        }
        self.pass_snapshot(client, offset)?;
        if !self.clients[client].state {
            self.skip(client, offset - 1)?;
        }
        self.clients[client].accounted = offset;
        self.clients[client].last = Some(cursor);
        Ok(())
    }

    fn gap(&mut self, client: usize, cursor: Cursor, lost: Option<u64>) -> Result<(), TestCaseError> {
        let in_snapshot = self.clients[client].snapshot.is_some();
        self.pass_snapshot(client, cursor.offset)?;
        let before = self.clients[client].accounted;
        if cursor.offset > before {
            self.justified(client, before, cursor.offset)?;
            let Client { asked, forgives, .. } = &self.clients[client];
            let concerned = |offset: &Offset| self.ledger.concerns(asked, *offset);
            let all = (before + 1..=cursor.offset).filter(concerned).count() as u64;
            let forgiven = |offset: &Offset| forgives.contains(offset);
            let missed = (before + 1..=cursor.offset).filter(|at| concerned(at) && !forgiven(at)).count() as u64;
            // A conflating reader may have been spared some of them before they went.
            if let Some(lost) = lost.filter(|_| !in_snapshot && !asked.conflate) {
                prop_assert!((missed..=all).contains(&lost), "{lost}, not {missed} to {all} of {before} to {cursor}");
            }
        }
        self.clients[client].accounted = cursor.offset.max(before);
        self.clients[client].last = Some(cursor);
        self.clients[client].gaps += 1;
        Ok(())
    }

    /// How far a client got, and how many gaps it was told.
    pub(crate) fn progress(&self, client: usize) -> (Offset, usize) {
        (self.clients[client].accounted, self.clients[client].gaps)
    }

    /// Moves on in a snapshot, up to an event of it or behind it. What is passed over must have gone meanwhile.
    fn pass_snapshot(&mut self, client: usize, offset: Offset) -> Result<(), TestCaseError> {
        let now = self.now();
        let entry = &mut self.clients[client];
        let Some((offsets, edge)) = &mut entry.snapshot else { return Ok(()) };
        let edge = *edge;
        while let Some(next) = offsets.front().copied().filter(|next| *next <= offset) {
            offsets.pop_front();
            let gone = self.ledger.is_gone(next, now);
            prop_assert!(next == offset || gone, "{next} of a snapshot was left out");
            entry.accounted = next - 1; // What is between was not asked for.
        }
        if offset > edge {
            entry.snapshot = None;
            entry.accounted = entry.accounted.max(edge);
        }
        Ok(())
    }

    fn end_snapshot(&mut self, client: usize) -> Result<(), TestCaseError> {
        let edge = self.clients[client].snapshot.as_ref().map(|(_, edge)| *edge);
        edge.map_or(Ok(()), |edge| self.pass_snapshot(client, edge + 1))
    }

    /// Moves on over events of which none may have matched. Of a state transport the newest must have been shown.
    fn skip(&mut self, client: usize, upto: Offset) -> Result<(), TestCaseError> {
        let now = self.now();
        let Client { asked, state, accounted, forgives, .. } = &self.clients[client];
        for offset in accounted + 1..=upto {
            // A state transport has no place for words: what is gone, is gone.
            let excused = (*state && self.ledger.is_gone(offset, now))
                || forgives.contains(&offset)
                || (asked.conflate && self.ledger.is_replaced(asked, offset));
            let skipped = self.ledger.concerns(asked, offset) && !excused;
            prop_assert!(!skipped, "offset {offset} was skipped in silence");
        }
        self.clients[client].accounted = (*accounted).max(upto);
        Ok(())
    }

    /// Whether who comes back with `before` may go on at `after` without a word: it is that place, or what is between was
    /// trimmed and did not concern it.
    fn passed_over(&self, client: usize, before: Offset, after: Offset) -> Result<(), TestCaseError> {
        prop_assert!(before == after || before < after && after < self.now().bounds.first);
        for offset in before + 1..=after {
            prop_assert!(!self.ledger.concerns(&self.clients[client].asked, offset), "offset {offset} is passed over");
        }
        Ok(())
    }

    /// Whether a gap from `before` to `after` is true for a client: something in it was trimmed or concerned it, and nothing
    /// that is still there did.
    fn justified(&self, client: usize, before: Offset, after: Offset) -> Result<(), TestCaseError> {
        let (now, asked) = (self.now(), &self.clients[client].asked);
        prop_assert!(before < after, "a gap from {before} to {after}");
        // The log remembers how far topics were trimmed, not types.
        let mut lost = before + 1 < now.bounds.first && !asked.types.is_empty();
        for offset in before + 1..=after {
            let (gone, concerns) = (self.ledger.is_gone(offset, now), self.ledger.concerns(asked, offset));
            let excused = asked.conflate && self.ledger.is_replaced(asked, offset);
            prop_assert!(gone || !concerns || excused, "offset {offset} is told to be gone, but is still there");
            lost |= gone && self.ledger.may_have_concerned(asked, offset, now);
        }
        prop_assert!(lost, "a gap from {before} to {after}, in which nothing is gone that was asked for");
        Ok(())
    }

    fn now(&self) -> Now {
        Now { time: self.time.load(Ordering::Relaxed), bounds: self.gateway.log.bounds() }
    }
}

impl Default for Client {
    fn default() -> Self {
        let (ask, asked) = (Ask::plain(&[]), Asked::default());
        let (reading, last, snapshot, left) = (None, None, None, None);
        Self {
            reading,
            ask,
            asked,
            state: false,
            last,
            accounted: 0,
            forgives: HashSet::new(),
            snapshot,
            left,
            gaps: 0,
        }
    }
}

/// Waits for a thread of the log's. The clock, which else moves on when every task is idle, would come by one heartbeat of a
/// socket after the other meanwhile; it stands still while anything blocks.
async fn while_time_stands_still<T>(log: impl Future<Output = T>) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let blocked = tokio::task::spawn_blocking(move || wait.recv());
    let answer = log.await;
    drop(done);
    let _ = blocked.await;
    answer
}
