//! Where readers, formats and sockets meet.
//!
//! What enters is what a subscriber wants, parsed; what leaves is the body of a response. Invariants: every stream and
//! poll ends with exactly one end reason; a subscriber is a cursor, and costs a bounded number of bytes however slow it is.
//! *Deliberately absent*: the parsing of requests, status codes, and any queue for one subscriber.

mod answer;
mod batch;
mod body;
mod carried;
mod closed;
mod conflate;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod ending;
mod extras;
mod feed;
mod fetch;
#[cfg(test)]
mod fixture;
mod handoff;
mod live;
mod matched;
mod memo;
mod open;
mod peer;
mod receipts;
#[cfg(target_os = "linux")]
mod shard;
mod stream;
mod streams;
mod survey;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::access::{Changes, Permit};
use crate::diagnosis::{BeatBounds, Beats, Called, Diagnosis};
use crate::event::Offset;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

pub use crate::diagnosis::{EndReason, Gone};
pub use answer::Answered;
pub use batch::{Batch, TURN};
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Connection, Framing, Held, Shards, SocketOptions};
pub use ending::Ending;
pub use feed::{Feed, FeedKey, FeedStep, Feeds};
pub use handoff::{Handoff, Unbegun};
pub use live::{Asked, Live, Open, Sort};
pub use memo::Memo;
pub use open::{Begin, OnGap, Opened, Wanted};
pub use peer::{LastSight, Peer, gone_by, tcp_info};
use receipts::{Receipts, Told};
#[cfg(target_os = "linux")]
pub use shard::{Connection, Framing, Held, Shards, SocketOptions};
pub use stream::{Heartbeat, Step, Stream, Terms};
pub use streams::{Cut, StreamId, Streams};
pub use survey::Survey;

/// How streams behave where the subscriber does not say.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The interval of heartbeats.
    pub heartbeat: Duration,
    /// The range from which each stream's reconnection time is drawn.
    pub retry: (Duration, Duration),
    /// How many events the log keeps at most; a stream is told a new position once a quarter of that went by unseen.
    pub retention_events: u64,
    /// Whether streams may be cut by their ids.
    pub cuttable: bool,
    /// For how long an end waits for its client to come back, before it is decided why it was. It is taken at the start.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            retry: (Duration::from_secs(2), Duration::from_secs(5)),
            retention_events: 1_000_000,
            cuttable: false,
            grace: Duration::from_secs(35),
        }
    }
}

impl Options {
    fn beats(&self) -> Beats {
        Beats { default: self.heartbeat, bounds: BeatBounds::default() }
    }
}

/// Opens streams and answers polls. Each stream has one.
#[derive(Clone)]
pub struct Delivery(Arc<Parts>);

/// What is the same for all streams.
#[derive(Clone)]
pub struct Parts {
    hub: Arc<Hub>,
    feeds: Arc<Feeds>,
    streams: Arc<Streams>,
    receipts: Arc<Receipts>,
    closed: Arc<closed::Closed>,
    carried: Arc<carried::Carried>,
    surveys: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    diagnosis: Arc<Diagnosis>,
    shutdown: Shutdown,
    options: Options,
    /// Whether feeds are woken when rules or keys change.
    heeds_rules: Arc<AtomicBool>,
}

impl Deref for Delivery {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Delivery {
    /// Begins to wake the feeds that new events concern.
    #[must_use]
    pub fn start(hub: Arc<Hub>, metrics: Arc<Metrics>, shutdown: Shutdown, options: Options) -> Self {
        metrics.ends.heartbeat(options.heartbeat);
        let seen = hub.pages().edge();
        let feeds = Arc::new(Feeds::new(seen));
        shutdown.spawn_service(wake_feeds(Arc::clone(&hub), Arc::clone(&feeds), seen, shutdown.clone()));
        let (drained, stop) = (Arc::clone(&feeds), shutdown.clone());
        shutdown.spawn_service(async move {
            stop.draining().await;
            drained.rouse();
        });
        let diagnosis = Arc::new(Diagnosis::new(Arc::clone(&metrics), options.grace, options.beats()));
        shutdown.spawn_service(settle(Arc::clone(&diagnosis), shutdown.clone()));
        Self(Arc::new(Parts {
            hub,
            feeds,
            streams: Arc::default(),
            receipts: Arc::default(),
            closed: Arc::default(),
            carried: Arc::default(),
            surveys: Arc::new(Semaphore::new(Self::SURVEYS)),
            metrics,
            diagnosis,
            shutdown,
            options,
            heeds_rules: Arc::default(),
        }))
    }

    /// The same for streams that are opened from now on, with other options.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        self.metrics.ends.heartbeat(options.heartbeat);
        self.diagnosis.beat(options.beats());
        Self(Arc::new(Parts { options, ..Parts::clone(self) }))
    }

    /// From the first stream on whose rules can change, all that wait are woken when they do, and look whether they may
    /// stay.
    fn heed_rules(&self, permit: &Permit) {
        if !self.heeds_rules.load(Ordering::Relaxed)
            && let Some(changes) = permit.changes()
            && !self.heeds_rules.swap(true, Ordering::Relaxed)
        {
            self.shutdown.spawn_service(rouse_by_rules(changes, Arc::clone(&self.feeds), self.shutdown.clone()));
        }
    }

    /// Cuts the stream with this id, if streams may be cut and there is one.
    #[must_use]
    pub fn cut(&self, id: StreamId) -> bool {
        self.streams.cut(id)
    }

    /// How many different things are subscribed to. Each is matched and rendered once, and costs some memory.
    #[must_use]
    pub fn feeds(&self) -> u64 {
        self.feeds.count()
    }

    /// The client of a stream says that it leaves.
    pub fn goodbye(&self, id: StreamId) {
        self.diagnosis.goodbye(self.diagnosis.hash(id));
    }

    /// The client of a stream says up to where it got, and for how long it has had the stream.
    pub fn receipt(&self, id: StreamId, upto: Option<Offset>, age: Option<Duration>) {
        match self.receipts.said(id, upto, age, Instant::now()) {
            Some(Told::Receipt(ticket, receipt)) => self.diagnosis.receipt(&ticket, receipt),
            Some(Told::Held(ticket)) => self.diagnosis.held(&ticket),
            None => {}
        }
    }

    /// A stream that is asked for by its id.
    #[must_use]
    pub fn called(&self, id: StreamId) -> Called {
        Called { name: id.short(), stream: Some(self.diagnosis.hash(id)) }
    }

    /// Why streams end.
    #[must_use]
    pub fn diagnosis(&self) -> &Arc<Diagnosis> {
        &self.diagnosis
    }

    /// Enters a stream among those that may be ended from elsewhere, if somebody may.
    fn enter(&self, id: StreamId, session: Option<NonZeroU64>) -> Cut {
        if self.options.cuttable || session.is_some() { self.streams.enter(id, session) } else { Cut::never() }
    }

    /// The reconnection time of a new stream.
    fn retry(&self, wanted: Option<Duration>) -> Duration {
        let (least, most) = self.options.retry;
        wanted.unwrap_or_else(|| between(least, most))
    }

    /// The reconnection time on the way out: the more streams come back at once, the wider they are spread.
    fn retry_after_drain(&self) -> Duration {
        let spread = Duration::from_millis(self.metrics.streams().saturating_mul(2)).min(Duration::from_secs(60));
        between(self.options.retry.0, self.options.retry.1 + spread)
    }
}

/// How far a reader may move on without being told a position, where the log keeps so many events at most. Of a log that
/// has trimmed nothing, nobody knows how many events it will come to keep.
fn quarter_of(hub: &Hub, retention: u64) -> u64 {
    let bounds = hub.log().bounds();
    let kept = if bounds.first > 1 { bounds.events() } else { u64::MAX };
    (kept.min(retention) / 4).max(1)
}

/// How long one of many readers should wait before it fetches what a gap has lost.
fn wait_after_gap(metrics: &Metrics) -> Duration {
    let spread = Duration::from_millis(metrics.streams()).min(Duration::from_secs(30));
    between(Duration::ZERO, spread)
}

async fn wake_feeds(hub: Arc<Hub>, feeds: Arc<Feeds>, mut seen: Offset, shutdown: Shutdown) {
    let mut quiet = std::pin::pin!(shutdown.quiet());
    loop {
        tokio::select! {
            () = hub.moved() => {}
            () = &mut quiet => return,
        }
        let edge = hub.pages().edge();
        while seen < edge {
            let Some(page) = hub.pages().get(seen + 1) else {
                feeds.wake_all(seen + 1, edge); // So much came that its pages are gone already.
                seen = edge;
                break;
            };
            let upto = page.last().min(edge);
            feeds.wake(page.events(seen + 1, upto), upto);
            seen = upto;
        }
    }
}

/// Decides the ends whose time has come, and says what is known, once a second; at the very end all of them.
async fn settle(diagnosis: Arc<Diagnosis>, shutdown: Shutdown) {
    let mut quiet = std::pin::pin!(shutdown.quiet());
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => diagnosis.publish(),
            () = &mut quiet => return diagnosis.close(),
        }
    }
}

async fn rouse_by_rules(mut changes: Changes, feeds: Arc<Feeds>, shutdown: Shutdown) {
    let mut quiet = std::pin::pin!(shutdown.quiet());
    loop {
        tokio::select! {
            () = changes.next() => feeds.rouse(),
            () = &mut quiet => return,
        }
    }
}

/// A random time in a range, such as nobody has to be kept from guessing.
fn between(least: Duration, most: Duration) -> Duration {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let random = KEYS.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)) >> 32;
    let part = f64::from(u32::try_from(random).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    least + most.saturating_sub(least).mul_f64(part)
}
