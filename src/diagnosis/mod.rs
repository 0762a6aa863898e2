//! Why streams die: from what is recorded of each stream to one end reason, to what its path does, to advice.
//!
//! Owners of sockets only record ([`Visitor`], [`Departure`]). Judgement is pure and stands apart: `signature` (which
//! intermediary), `verdict` (which reason), `limits` (which timer), `heartbeat` (how often to beat there), `advice` (what to
//! change), `report` (all of it, to be read), `story` (what became of single streams). Between them a [`Desk`] pairs those that come back with the ends they come
//! back from. *Deliberately absent*: sockets, requests, and anything that would change who may read what.

pub mod advice;
mod agent;
mod browsers;
mod desk;
mod facts;
mod goodbyes;
mod heartbeat;
mod limits;
mod path;
mod products;
mod reading;
mod reason;
mod relief;
mod report;
mod signature;
mod story;
mod table;
mod verdict;
mod waiting;
mod witnesses;

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use agent::Agent;
pub use desk::{Arrival, Beats, Desk, Manner, Settled};
pub use facts::{Called, Departure, Gone, Outlived, Receipt, ShortName, TcpInfo, Visitor};
pub use heartbeat::BeatBounds;
pub use limits::{Grade, Limit};
pub use path::PathNumber;
pub use products::Product;
pub use reason::EndReason;
pub use relief::Relief;
pub use report::{Buffering, Finding, FindingKind, PathReport, Report, Seconds};
pub use signature::{PathKey, Protocol, Signature};
pub use story::{Back, Span, Story};
pub use waiting::Return;

use crate::metrics::{Ended, Metrics};

/// What all streams report to.
///
/// Cost: a short lock for each stream that opens or ends, none for a delivery.
#[derive(Debug)]
pub struct Diagnosis {
    desk: Mutex<Desk>,
    metrics: Arc<Metrics>,
    /// Moments are counted from here.
    began: Instant,
    keys: RandomState,
    /// Of each path the limits that were found, of quiet and of age, in milliseconds, as of a moment ago; 0: none.
    limits: [[AtomicU32; 2]; Desk::PATHS],
}

/// What became of single streams.
#[derive(Clone, Debug)]
pub struct Told {
    /// The moment of this, from the same beginning as those of the stories.
    pub now: Duration,
    /// The newest first.
    pub stories: Vec<Story>,
    /// How many ends wait for their verdict, or for their client.
    pub waiting: usize,
}

/// What a stream keeps of its arrival until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    path: PathNumber,
    session: Option<NonZeroU64>,
    prefix: Option<NonZeroU32>,
    browser: Option<NonZeroU32>,
    /// Milliseconds.
    canary: Option<NonZeroU32>,
    /// How old its request said that it may become, in milliseconds.
    time_limit: Option<NonZeroU32>,
    /// What is done for it as its path holds events back.
    relief: Relief,
    /// It examines its path.
    examines: bool,
    who: NonZeroU64,
    stream: NonZeroU64,
}

impl Ticket {
    /// Whose stream it is.
    #[must_use]
    pub fn client(&self) -> NonZeroU64 {
        self.session.unwrap_or(self.who)
    }

    /// A keyed hash of its session and selection, if its client names a session.
    #[must_use]
    pub fn session(&self) -> Option<NonZeroU64> {
        self.session
    }

    /// The number of its path.
    #[must_use]
    pub fn path(&self) -> PathNumber {
        self.path
    }

    /// The keyed hash of its stream's id.
    #[must_use]
    pub fn stream(&self) -> NonZeroU64 {
        self.stream
    }
}

impl Diagnosis {
    /// Nothing is known yet. `grace`: for how long an end waits for its client to come back.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, grace: Duration, beats: Beats) -> Self {
        let desk = Mutex::new(Desk::new(grace, beats));
        let limits = std::array::from_fn(|_| <[AtomicU32; 2]>::default());
        Self { desk, metrics, began: Instant::now(), keys: RandomState::new(), limits }
    }

    /// A keyed hash, by which what it is of is recognised and not known.
    pub fn hash(&self, of: impl Hash) -> NonZeroU64 {
        NonZeroU64::new(self.keys.hash_one(of)).unwrap_or(NonZeroU64::MAX)
    }

    /// A shorter one, where it does no harm that two are the same now and then.
    pub fn short_hash(&self, of: impl Hash) -> NonZeroU32 {
        let hash = self.keys.hash_one(of) >> 32;
        u32::try_from(hash).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
    }

    /// Somebody opens a stream or asks a poll.
    pub fn arrive(&self, signature: &Signature, visitor: &Visitor, transport: &'static str) -> (Ticket, Arrival) {
        let mut desk = self.desk();
        let arrival = desk.arrive(signature, visitor, transport, self.now());
        let Arrival { path, is_first, back, .. } = arrival;
        let first = is_first.then(|| desk.label(path).to_owned());
        drop(desk);
        if let Some(label) = first {
            self.metrics.ends.begin_path(&label, transport, &EndReason::ALL.map(EndReason::as_str));
        }
        if let Some(back) = back {
            self.metrics.ends.came_back(back.outage);
        }
        let canary = arrival.canary.and_then(|gap| u32::try_from(gap.as_millis()).ok()).and_then(NonZeroU32::new);
        let Visitor { session, prefix, browser, who, stream, has: _ } = *visitor;
        let time_limit = signature.envoy_limit_ms();
        let (relief, examines) = (arrival.relief, signature.agent == Agent::Doctor);
        (Ticket { path, session, prefix, browser, canary, time_limit, relief, examines, who, stream }, arrival)
    }

    /// Streams that are opened from now on beat so where nothing is known.
    pub fn beat(&self, beats: Beats) {
        self.desk().beat(beats);
    }

    /// A client that is back had not been given so many events that had been written to it.
    pub fn missed(&self, ticket: &Ticket, back: &Return, events: u64) {
        self.desk().missed(ticket, back, events, self.now());
        if events > 0 {
            self.metrics.ends.undelivered(events);
        }
    }

    /// The client of a stream says for the first time that it has it.
    pub fn receipt(&self, ticket: &Ticket, receipt: Receipt) {
        let mut desk = self.desk();
        desk.receipt(ticket, receipt, self.now());
        if let Some(late) = receipt.late {
            self.metrics.ends.receipt(late, desk.label(ticket.path));
        }
    }

    /// The client of a stream has not what was written, though it would have said so.
    pub fn held(&self, ticket: &Ticket) {
        let mut desk = self.desk();
        desk.held(ticket, self.now());
        self.metrics.ends.receipt_missing(desk.label(ticket.path));
    }

    /// An open stream has been quiet for so long and is so old, in milliseconds, and was written to. Answers which limits that
    /// were found of its path it is past: of those it has been told then, and once is enough.
    ///
    /// Cost: a look at two atomics, and only then a lock.
    pub fn outlives(&self, ticket: &Ticket, told: Outlived, quiet: u32, age: u32) -> Outlived {
        let [idle_limit, age_limit] =
            self.limits[ticket.path.index()].each_ref().map(|limit| limit.load(Ordering::Relaxed));
        let is_past = |limit: u32, value: u32| limit > 0 && value > limit.saturating_add(limit / 20);
        let news = (!told.quiet && is_past(idle_limit, quiet), !told.age && is_past(age_limit, age));
        if news.0 || news.1 {
            let past = |is_past: bool, value: u32| is_past.then(|| Duration::from_millis(value.into()));
            self.desk().outlives(ticket, (past(news.0, quiet), past(news.1, age)), self.now());
        }
        Outlived { quiet: told.quiet || news.0, age: told.age || news.1 }
    }

    /// A stream or poll has ended.
    pub fn depart(&self, ticket: Ticket, end: Departure, with_its_connection: bool) {
        self.metrics.ends.last_sign(end.transport, end.gone.as_str());
        let Ticket { path, session, prefix, browser, canary, time_limit, relief, examines, who, stream } = ticket;
        let time_limit = time_limit.map(|milliseconds| Duration::from_millis(milliseconds.get().into()));
        let end = Departure { time_limit, ..end };
        let canary = canary.map(|milliseconds| Duration::from_millis(milliseconds.get().into()));
        let visitor = Visitor { session, prefix, browser, who, stream, has: None };
        let manner = Manner { with_its_connection, canary, relief, examines };
        self.deciding(|desk, now, settled| desk.depart(path, visitor, end, manner, now, settled));
    }

    /// The client of a stream says that it leaves.
    pub fn goodbye(&self, stream: NonZeroU64) {
        self.desk().goodbye(stream, self.now());
    }

    /// Decides the ends whose time has come.
    pub fn settle(&self) {
        self.deciding(Desk::settle);
    }

    /// Says of each path what is known: once a second is often enough.
    pub fn publish(&self) {
        let setting = |product, kind| advice::setting(product, kind).unwrap_or("unknown");
        let ends = EndReason::ALL.map(EndReason::as_str);
        self.metrics.ends.decided_early(self.desk().take_early());
        for table::Forgotten { label, product, transports } in self.desk().take_forgotten() {
            let kinds = FindingKind::ALL.map(|kind| (kind.as_str(), setting(product, kind)));
            self.metrics.ends.forget_path(&label, &transports, &ends, &kinds);
        }
        for (place, limit) in self.limits.iter().flatten().zip(self.desk().limits().flatten()) {
            place.store(limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(0)), Ordering::Relaxed);
        }
        for path in self.report().paths {
            let is_found = |kind| path.findings.iter().any(|found| found.kind == kind);
            let kinds = FindingKind::ALL.map(|kind| (kind.as_str(), setting(path.product, kind), is_found(kind)));
            let limits = (path.idle_limit.map(|limit| limit.at), path.duration_limit.map(|limit| limit.at));
            self.metrics.ends.path(&path.path, limits, path.heartbeat, &kinds);
        }
    }

    /// Decides all ends that wait: the gateway stops.
    pub fn close(&self) {
        self.deciding(|desk, _, settled| desk.close(settled));
    }

    /// All that is known.
    #[must_use]
    pub fn report(&self) -> Report {
        self.settle();
        self.desk().report(self.now())
    }

    /// Forgets what a path was taught, by its name, or all were: an operator has changed something there. What was counted
    /// stays. Answers whether there is such a path.
    #[must_use]
    pub fn unlearn(&self, path: Option<&str>) -> bool {
        let is_known = self.desk().unlearn(path);
        self.publish();
        is_known
    }

    /// What became of the streams that ended last, so many at most and the newest first, or of one; now; and how many ends wait.
    #[must_use]
    pub fn stories(&self, limit: usize, of: Option<Called>) -> Told {
        self.settle();
        let desk = self.desk();
        Told { now: self.now(), stories: desk.stories(of).take(limit).copied().collect(), waiting: desk.undecided() }
    }

    /// The names of all paths, each at the place that is its number.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.desk().paths().iter().map(|path| path.label().to_owned()).collect()
    }

    /// Lets the desk decide something, and counts what comes of it.
    fn deciding(&self, decide: impl FnOnce(&mut Desk, Duration, &mut Vec<Settled>)) {
        let mut settled = Vec::new();
        let mut desk = self.desk();
        decide(&mut desk, self.now(), &mut settled);
        self.count(&desk, &settled);
    }

    fn count(&self, desk: &Desk, settled: &[Settled]) {
        let at = SystemTime::now();
        for Settled { name, transport, path, reason, age, idle } in settled {
            let (path, ended) = (desk.label(*path), reason.as_str());
            if *reason == EndReason::Complete {
                self.metrics.ends.count_answered(transport, ended, path);
            } else {
                let ended = Ended { transport, reason: ended, path, age: *age, idle: *idle, stream: name.0 };
                self.metrics.ends.count(&ended, at);
            }
            tracing::debug!(stream = %name, transport, reason = ended, path, ?age, ?idle, "stream ended");
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
