//! The gateway's parts beside the model: a list of all that was ever published.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use encke::delivery::{Answered, Begin, Delivery, Options, Wanted};
use encke::event::{Cursor, Event, Offset, Timestamp, Topic, TopicSelector, Topics};
use encke::hub::{Hub, PagesOptions, Selection};
use encke::log::sqlite::{SqliteLog, SqliteOptions};
use encke::log::{Clock, Durability, Log, MemoryLog, Retention, Start, Steady};
use encke::metrics::{Labels, Metrics};
use encke::shutdown::Shutdown;
use encke::transport::{Keeps, by_name};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Reading, Told, of_json};
use crate::{CLIENTS, TOPICS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Sqlite,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) store: Store,
    /// Retention by count.
    pub(crate) events: u64,
    /// Retention by age.
    pub(crate) age: Duration,
    /// How many events stay in memory.
    pub(crate) pinned: u64,
}

pub(crate) struct World {
    settings: Settings,
    directory: TempDir,
    time: Arc<AtomicU64>,
    gateway: Gateway,
    /// All that was published: the event at offset `n` is at `n - 1`.
    published: Vec<Vec<Topic>>,
    clients: Vec<Client>,
}

struct Gateway {
    log: Arc<dyn Log>,
    hub: Arc<Hub>,
    delivery: Delivery,
    shutdown: Shutdown,
}

#[derive(Default)]
struct Client {
    reading: Option<Reading>,
    selection: Vec<TopicSelector>,
    state: bool,
    /// The last position it was told: what it would come back with.
    last: Option<Cursor>,
    /// Everything up to here was seen, did not match, or was told as gone.
    accounted: Offset,
    /// How many gaps it was told.
    gaps: usize,
}

impl World {
    pub(crate) async fn new(settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let time = Arc::new(AtomicU64::new(1_000_000));
        let gateway = Gateway::start(settings, &directory, &time).await;
        let clients = std::iter::repeat_with(Client::default).take(CLIENTS).collect();
        Self { settings, directory, time, gateway, published: Vec::new(), clients }
    }

    pub(crate) async fn publish(&mut self, count: usize, batch: usize, mask: u8) {
        let topics: Topics = TOPICS
            .iter()
            .enumerate()
            .filter(|(bit, _)| mask & (1 << bit) != 0)
            .map(|(_, name)| Topic::parse(name).expect("a topic"))
            .collect();
        let mut left = count;
        while left > 0 {
            let size = left.min(batch);
            let events = (0..size).map(|nth| {
                let n = self.published.len() + nth + 1;
                Event { topics: topics.clone(), ..Event::new(topics[0].clone(), n.to_string()) }
            });
            let receipts = self.gateway.log.append(events.collect()).await.expect("an append");
            self.published.extend(std::iter::repeat_n(topics.to_vec(), size));
            assert_eq!(receipts.last().map(|receipt| receipt.cursor.offset), Some(self.published.len() as u64));
            left -= size;
        }
    }

    pub(crate) async fn open(
        &mut self,
        client: usize,
        selection: &[&str],
        transport: &'static str,
        resume: bool,
    ) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        let selectors: Vec<_> = selection.iter().map(|text| TopicSelector::parse(text).expect("a selector")).collect();
        let last = self.clients[client].last.filter(|_| resume);
        let wanted = wanted(selectors.clone(), transport, last);
        let keeps_state = wanted.transport.keeps == Keeps::State;
        let opened = self.gateway.delivery.open(wanted).await.expect("a stream");
        let told = (opened.resume.as_str(), opened.cursor);
        let before = last.map(|cursor| cursor.offset);
        // Where a stream begins: at its cursor if that is good, else where the answer says, which must be justified.
        match (before, told) {
            (Some(before), ("resumed", cursor)) => prop_assert_eq!(before, cursor.offset),
            (Some(before), ("gap", cursor)) => self.justified(before, cursor.offset)?,
            (None, ("new", cursor)) if !keeps_state => prop_assert_eq!(cursor.offset, self.published.len() as u64),
            (None, ("new", _)) => {}
            (_, other) => return Err(TestCaseError::fail(format!("{before:?} was answered {other:?}"))),
        }
        let client = &mut self.clients[client];
        client.reading = Some(Reading::new(opened.body, opened.content_type));
        client.selection = selectors;
        client.state = keeps_state;
        client.accounted = opened.cursor.offset;
        client.last = Some(opened.cursor);
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

    /// One long poll from where the client is; what it is answered counts like what a stream tells.
    pub(crate) async fn poll(&mut self, client: usize) -> Result<(), TestCaseError> {
        self.gateway.caught_up().await;
        let Some(mut waiting) = self.ask(client, Duration::ZERO) else { return Ok(()) };
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
        let mut waiting = self.ask(client, Duration::from_secs(25)).expect("a client that has been told a position");
        let begun = tokio::time::timeout(Duration::from_millis(1), waiting.as_mut()).await;
        prop_assert!(begun.is_err(), "there was nothing to be answered yet");
        meanwhile(self).await;
        let answered = waiting.await;
        self.answered(client, answered)
    }

    /// A long poll from where the client is, if it is anywhere.
    fn ask(&mut self, client: usize, timeout: Duration) -> Option<Pin<Box<dyn Future<Output = Answered>>>> {
        let client = &mut self.clients[client];
        let last = client.last?;
        client.reading = None;
        client.state = false;
        // A stream may have left unread what came before its last id: from there on the poll accounts.
        client.accounted = last.offset;
        let wanted = Wanted { timeout, limit: Some(100), ..wanted(client.selection.clone(), "long-poll", Some(last)) };
        let delivery = self.gateway.delivery.clone();
        Some(Box::pin(async move { delivery.answer(wanted).await.expect("an answer") }))
    }

    fn answered(&mut self, client: usize, answered: Answered) -> Result<(), TestCaseError> {
        let before = self.clients[client].accounted;
        let body: Value = serde_json::from_slice(&answered.body.expect("not cut")).expect("JSON");
        if body.get("gap").is_some() {
            prop_assert_eq!(answered.resume.as_str(), "gap");
            let first = body["events"].get(0).and_then(of_json);
            let behind = match first {
                Some(Told::Event(cursor, _)) => cursor.offset - 1,
                _ => answered.cursor.offset,
            };
            let floor = self.gateway.log.bounds().first - 1;
            self.justified(before, floor.max(before).min(behind))?;
            self.clients[client].accounted = floor.min(behind).max(before);
            self.clients[client].gaps += 1;
        }
        for event in body["events"].as_array().expect("a list") {
            self.account(client, of_json(event).expect("an event"))?;
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

    pub(crate) async fn age(&mut self, time: Duration) {
        self.time.fetch_add(u64::try_from(time.as_millis()).expect("a short time"), Ordering::Relaxed);
        tokio::time::advance(time).await;
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
            if self.clients[client].reading.is_some() {
                self.skip(client, self.published.len() as u64)?;
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
            Told::Event(cursor, data) => {
                let offset = cursor.offset;
                if self.clients[client].state && Some(cursor) == self.clients[client].last {
                    return Ok(()); // The state shown once more.
                }
                prop_assert!(offset > self.clients[client].accounted, "{cursor} is out of order or came twice");
                prop_assert_eq!(data, offset.to_string());
                let topics = &self.published[usize::try_from(offset - 1).expect("an offset")];
                let wanted = self.clients[client].selection.iter().any(|s| topics.iter().any(|topic| s.matches(topic)));
                prop_assert!(wanted, "{cursor} was not asked for");
                prop_assert_eq!(cursor, self.gateway.log.cursor(offset));
                if !self.clients[client].state {
                    self.skip(client, offset - 1)?;
                }
                self.clients[client].accounted = offset;
                self.clients[client].last = Some(cursor);
            }
            Told::Position(cursor) => {
                self.skip(client, cursor.offset)?;
                self.clients[client].last = Some(cursor);
            }
            Told::Gap(cursor) => {
                let before = self.clients[client].accounted;
                if cursor.offset > before {
                    self.justified(before, cursor.offset)?;
                }
                self.clients[client].accounted = cursor.offset;
                self.clients[client].last = Some(cursor);
                self.clients[client].gaps += 1;
            }
        }
        Ok(())
    }

    /// How far a client got, and how many gaps it was told.
    pub(crate) fn progress(&self, client: usize) -> (Offset, usize) {
        (self.clients[client].accounted, self.clients[client].gaps)
    }

    /// Moves on over events of which none may have matched. Of a state transport the newest must have been shown.
    fn skip(&mut self, client: usize, upto: Offset) -> Result<(), TestCaseError> {
        let client = &mut self.clients[client];
        for offset in client.accounted + 1..=upto {
            let topics = &self.published[usize::try_from(offset - 1).expect("an offset")];
            let matched = client.selection.iter().any(|selector| topics.iter().any(|topic| selector.matches(topic)));
            // A state transport has no place for words: what is gone, is gone.
            let gone = client.state && offset < self.gateway.log.bounds().first;
            prop_assert!(!matched || gone, "offset {offset} was skipped in silence");
        }
        client.accounted = client.accounted.max(upto);
        Ok(())
    }

    /// Whether a gap from `before` to `after` is true: everything in it was trimmed.
    fn justified(&self, before: Offset, after: Offset) -> Result<(), TestCaseError> {
        let first = self.gateway.log.bounds().first;
        prop_assert!(before < after, "a gap from {before} to {after}");
        prop_assert!(after < first, "offsets up to {after} are told to be gone, but {first} is still there");
        Ok(())
    }
}

fn wanted(selection: Vec<TopicSelector>, transport: &str, last: Option<Cursor>) -> Wanted {
    let begin = last.map_or(Begin::Unsaid, |cursor| Begin::At(Start::Cursor(cursor), cursor.to_string()));
    Wanted::new(Arc::new(Selection::new(selection)), by_name(transport).expect("a transport"), begin)
}

impl Gateway {
    async fn start(settings: Settings, directory: &TempDir, time: &Arc<AtomicU64>) -> Self {
        let now = Arc::clone(time);
        let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
        let now = Arc::clone(time);
        let steady: Steady = Arc::new(move || Duration::from_millis(now.load(Ordering::Relaxed)));
        let retention = Retention { events: settings.events, age: settings.age, bytes: 1 << 30, topics: Vec::new() };
        let log: Arc<dyn Log> = match settings.store {
            Store::Memory => Arc::new(MemoryLog::with_clocks(retention, clock, steady)),
            Store::Sqlite => {
                let options = SqliteOptions::new(directory.path());
                let options = SqliteOptions { durability: Durability::Os, retention, clock, steady, ..options };
                Arc::new(SqliteLog::open(options).expect("a log"))
            }
        };
        let shutdown = Shutdown::default();
        // Small, so that readers fall out of memory and read pages from the log.
        let pages =
            PagesOptions { pinned_events: settings.pinned, pinned_bytes: 1 << 20, cached_bytes: 64 << 10, replays: 64 };
        let hub = Hub::start(Arc::clone(&log), pages, &shutdown).await.expect("a hub");
        let labels = Labels { transports: &[], ends: &[], gaps: &[], resumes: &[], refusals: &[] };
        let options = Options { retention_events: settings.events, ..Options::default() };
        let delivery = Delivery::start(Arc::clone(&hub), Arc::new(Metrics::new(labels)), shutdown.clone(), options);
        Self { log, hub, delivery, shutdown }
    }

    /// Waits until what is durable is in memory.
    async fn caught_up(&self) {
        while self.hub.pages().edge() < self.log.bounds().last {
            tokio::task::yield_now().await;
        }
    }
}
