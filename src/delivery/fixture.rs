//! A log, its pages and its feeds without tasks of their own: a test says when events are looked at, and by whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tokio::time::Instant;

use super::{
    Begin, Delivery, Ending, Feed, FeedKey, Feeds, Heartbeat, Memo, Options, Peer, Step, Stream, Terms, Wanted,
};
use crate::diagnosis::{BeatBounds, Beats, Diagnosis, ShortName, Signature, Visitor};
use crate::event::{Cursor, Event, Offset, Timestamp, Topic, TopicSelector};
use crate::hub::{Hub, PagesOptions, Selection};
use crate::log::{
    AppendError, Bounds, Change, Delete, Durability, Log, MemoryLog, Page, Position, ReadError, Receipt, Retention,
    Start, Stats, Wanted as Asked,
};
use crate::metrics::{Labels, Metrics};
use crate::shutdown::Shutdown;
use crate::transport::{Format, Keeps, Notice, Rendering, by_name};

pub(super) struct Fixture {
    pub(super) log: Arc<dyn Log>,
    pub(super) hub: Arc<Hub>,
    pub(super) feeds: Arc<Feeds>,
    pub(super) shutdown: Shutdown,
    /// What streams take for the most events that the log keeps.
    pub(super) retention: u64,
    /// The time by which events go, in milliseconds.
    pub(super) time: Arc<AtomicU64>,
}

impl Fixture {
    /// A log that keeps so many events, the newest so many of them in memory (by pages of 1 024).
    pub(super) async fn new(retention: u64, pinned: u64) -> Self {
        let log = MemoryLog::new(Retention { events: retention, ..Retention::default() }, Arc::new(|| Timestamp(0)));
        Self::over(Arc::new(log), retention, pinned).await
    }

    pub(super) async fn over(log: Arc<dyn Log>, retention: u64, pinned: u64) -> Self {
        let shutdown = Shutdown::default();
        let time = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&time);
        let clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
        let options = PagesOptions { pinned_events: pinned, ..PagesOptions::default() };
        let hub = Hub::start_at(Arc::clone(&log), options, clock, &shutdown).await.expect("a hub");
        let feeds = Arc::new(Feeds::new(hub.pages().edge()));
        Self { log, hub, feeds, shutdown, retention, time }
    }

    /// Stores so many equal events and waits until they are in memory; no feed has looked at them. Answers the last offset.
    pub(super) async fn store(&self, topic: &str, count: usize, data: &str) -> Offset {
        self.store_event(Event::new(Topic::parse(topic).expect("a topic"), data.to_owned()), count).await
    }

    pub(super) async fn store_event(&self, event: Event, count: usize) -> Offset {
        let receipts = self.log.append(vec![event; count]).await.expect("an append");
        let last = receipts.last().map_or(0, |receipt| receipt.cursor.offset);
        while self.hub.pages().edge() < last {
            tokio::task::yield_now().await;
        }
        last
    }

    /// Tells the feeds of the newest `count` events, which are in memory.
    pub(super) fn look(&self, count: usize) {
        let edge = self.hub.pages().edge();
        for offset in edge + 1 - count as u64..=edge {
            let page = self.hub.pages().get(offset).expect("a page in memory");
            self.feeds.wake(page.events(offset, offset), offset);
        }
    }

    /// Stores events and tells the feeds of them, so few at a time that they are looked at while they are in memory.
    pub(super) async fn publish(&self, topic: &str, count: usize, data: &str) -> Offset {
        for begin in (0..count).step_by(100) {
            let some = (count - begin).min(100);
            self.store(topic, some, data).await;
            self.look(some);
        }
        self.hub.pages().edge()
    }

    pub(super) fn key(topic: &str, format: Format, keeps: Keeps) -> FeedKey {
        let selection = Arc::new(Selection::new(vec![TopicSelector::parse(topic).expect("a selector")]));
        FeedKey { selection, rendering: Rendering { format, envelope: false }, keeps, conflates: false }
    }

    /// The feed of a topic as an event stream.
    pub(super) fn feed(&self, topic: &str) -> Arc<Feed> {
        self.feeds.join(Self::key(topic, Format::EventStream, Keeps::Events), &self.hub)
    }

    /// A stream of that feed behind `after`, past its opening.
    pub(super) fn stream(&self, feed: &Arc<Feed>, after: Offset, heartbeat: Duration) -> Stream {
        let heartbeat = Heartbeat { interval: heartbeat, as_event: false };
        self.stream_on(feed, after, Terms::new(heartbeat, self.retention))
    }

    /// The same on terms of its own.
    pub(super) fn stream_on(&self, feed: &Arc<Feed>, after: Offset, terms: Terms) -> Stream {
        let labels = Labels { transports: &[], ends: &[], signs: &[], gaps: &[], resumes: &[], refusals: &[] };
        let (metrics, peer) = (Arc::new(Metrics::new(labels)), Arc::new(Peer::new(None)));
        let diagnosis = Arc::new(Diagnosis::new(
            Arc::clone(&metrics),
            Duration::ZERO,
            Beats { default: Duration::from_secs(15), bounds: BeatBounds::default() },
        ));
        let visitor = Visitor {
            session: None,
            who: diagnosis.hash(""),
            prefix: None,
            browser: None,
            has: None,
            stream: diagnosis.hash(""),
        };
        let (ticket, _) = diagnosis.arrive(&Signature::of_head(b""), &visitor, "sse");
        let shutdown = self.shutdown.clone();
        let ending = Ending::open(&metrics, &diagnosis, ("sse", "new"), (ticket, ShortName(0)), peer, false, shutdown);
        let (hub, opening) = (Arc::clone(&self.hub), Bytes::from_static(b"opening"));
        let mut stream = Stream::new(hub, Arc::clone(feed), after, opening, terms, ending);
        assert!(
            matches!(stream.step(Instant::now(), &mut Memo::default()), Step::Write(opening) if opening == "opening")
        );
        stream
    }

    /// All that a stream writes until it has nothing to do, in one text.
    pub(super) async fn read(&self, stream: &mut Stream) -> String {
        let mut written = String::new();
        loop {
            match stream.step(Instant::now(), &mut Memo::default()) {
                Step::Write(bytes) => written.push_str(std::str::from_utf8(&bytes).expect("text")),
                Step::Load { at, .. } => stream.give(self.hub.load(at).await.expect("a page")),
                Step::Yield => {}
                Step::Wait(_) | Step::End => return written,
            }
        }
    }

    /// What opens streams and answers polls, with feeds of its own that are woken by themselves.
    pub(super) fn delivery(&self) -> Delivery {
        let labels = Labels { transports: &[], ends: &[], signs: &[], gaps: &[], resumes: &[], refusals: &[] };
        let options = Options { cuttable: true, ..Options::default() };
        Delivery::start(Arc::clone(&self.hub), Arc::new(Metrics::new(labels)), self.shutdown.clone(), options)
    }

    /// A topic by this transport, from here on, with a heartbeat each five seconds and little time for a poll.
    pub(super) fn wanted(topic: &str, transport: &str, start: Start) -> Wanted {
        let selection = Self::key(topic, Format::EventStream, Keeps::Events).selection;
        let transport = by_name(transport).expect("a transport");
        Wanted {
            heartbeat: Some(Duration::from_secs(5)),
            timeout: Duration::from_secs(3),
            ..Wanted::new(selection, transport, Begin::At(start, String::new()))
        }
    }

    /// A position as an event stream has it.
    pub(super) fn position(&self, offset: Offset) -> String {
        let id = self.log.cursor(offset);
        let rendering = Rendering { format: Format::EventStream, envelope: false };
        String::from_utf8(rendering.notice(&Notice::Cursor { id }).to_vec()).expect("text")
    }

    /// An event as an event stream has it.
    pub(super) fn event(&self, offset: Offset, data: &str) -> String {
        format!("id: {}\ndata: {data}\n\n", self.log.cursor(offset))
    }
}

/// A log of which each reading, of a place or a page, takes so long, and which panics when it is asked for its bounds while
/// it is told to.
pub(super) struct Odd {
    pub(super) log: MemoryLog,
    pub(super) read: Duration,
    pub(super) panics: Arc<AtomicBool>,
}

impl Log for Odd {
    fn append(&self, batch: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        self.log.append(batch)
    }

    fn delete(&self, which: Delete) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.log.delete(which)
    }

    fn has_trimmed(&self, wanted: Asked<'_>, after: Offset, upto: Offset) -> bool {
        self.log.has_trimmed(wanted, after, upto)
    }

    fn next_on(&self, topics: &[TopicSelector], from: Offset) -> Offset {
        self.log.next_on(topics, from)
    }

    fn previous_on(&self, topics: &[TopicSelector], upto: Offset) -> Offset {
        self.log.previous_on(topics, upto)
    }

    fn seek<'a>(&'a self, start: Start, wanted: Asked<'a>) -> BoxFuture<'a, Result<Position, ReadError>> {
        Box::pin(async move {
            tokio::time::sleep(self.read).await;
            self.log.seek(start, wanted).await
        })
    }

    fn read(&self, at: Offset) -> BoxFuture<'_, Result<Page, ReadError>> {
        Box::pin(async move {
            tokio::time::sleep(self.read).await;
            self.log.read(at).await
        })
    }

    fn tail(&self, after: Offset) -> BoxStream<'static, Change> {
        self.log.tail(after)
    }

    fn bounds(&self) -> Bounds {
        assert!(!self.panics.load(Ordering::Relaxed), "a bug, on purpose");
        self.log.bounds()
    }

    fn cursor(&self, offset: Offset) -> Cursor {
        self.log.cursor(offset)
    }

    fn durability(&self) -> Durability {
        self.log.durability()
    }

    fn stats(&self) -> Stats {
        self.log.stats()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}
