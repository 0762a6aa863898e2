//! The one internal event stream: keeps events and gives them back by offset.
//!
//! A [`Log`] is one total order of offsets. It alone decides what a cursor means, and so it alone decides gaps. Offsets
//! of one log are contiguous: what is missing between two bounds was trimmed, and trimming goes from the old end only.
//! *Deliberately absent*: subscribers, selections, rendering, HTTP. Those read pages through the hub.

mod clock;
#[cfg(test)]
mod contract;
mod epochs;
mod index;
mod keep;
mod keys;
mod known;
mod live;
mod marks;
pub mod memory;
mod position;
pub mod sqlite;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;

use crate::access::Permit;
use crate::event::{Appended, Cursor, Event, Gone, Offset, Topic, TopicSelector};

pub use clock::{Clock, Steady, steady_clock, system_clock};
pub use epochs::{Epochs, Resolved};
pub use keys::{Keys, Repeat};
pub use live::{Commit, Live};
pub use memory::MemoryLog;
pub use position::{GapReason, Missing, Position, Start};
pub use sqlite::{SqliteLog, SqliteOptions};

/// How many offsets a page spans at most. A page never crosses a multiple of it, so all readers share the same pages.
pub const PAGE: u64 = 1024;

/// How many bytes of events a page holds at most, unless a single event is larger.
pub const PAGE_BYTES: usize = 1 << 20;

/// Where events are kept. Two stores exist; both pass one contract suite.
pub trait Log: Send + Sync + 'static {
    /// Stores `batch`, all of it or nothing, and answers once it is as durable as [`Log::durability`] says. Receipts
    /// come in the order of the events. Dropping the future does not undo the append.
    ///
    /// # Errors
    /// See [`AppendError`]: each variant asks for a different action.
    fn append(&self, batch: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>>;

    /// Removes events for good, as durably as they were stored: their data are erased, and readers that come to their
    /// places are told so. Answers how many there were.
    ///
    /// # Errors
    /// As for an append.
    fn delete(&self, which: Delete) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// Turns a start position into the offset after which reading begins, and says what is missing there of what is wanted.
    ///
    /// # Errors
    /// The store could not be read.
    fn seek<'a>(&'a self, start: Start, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Position, ReadError>>;

    /// Whether an event that is wanted may have been trimmed at an offset above `after` and up to `upto`. Exact as far as
    /// the log remembers how far each topic was trimmed; beyond that, in doubt, it is so, whatever is wanted.
    fn has_trimmed(&self, wanted: Wanted<'_>, after: Offset, upto: Offset) -> bool;

    /// The first offset, `from` or later, at which an event on `topics` may stand, as far as can be told from memory; up to
    /// one past the newest.
    fn next_on(&self, topics: &[TopicSelector], from: Offset) -> Offset;

    /// The last offset, `upto` or earlier, at which an event on `topics` may stand, as far as can be told from memory; down to
    /// one before the oldest.
    fn previous_on(&self, topics: &[TopicSelector], upto: Offset) -> Offset;

    /// The page that holds `at`; if `at` was trimmed, the oldest page there is; if the store lost it, the next page that can
    /// be read, with [`Page::hole`]; past the newest event, an empty page.
    ///
    /// # Errors
    /// The store could not be read.
    fn read(&self, at: Offset) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// Every event after `after`, once, in order, commit by commit, as it becomes durable, and what is removed meanwhile.
    /// Never ends while the log lives; a consumer that is slow is caught up from the store, so nothing is buffered for it.
    fn tail(&self, after: Offset) -> BoxStream<'static, Change>;

    /// The oldest and the newest offset kept.
    fn bounds(&self) -> Bounds;

    /// The cursor of the event at `offset`, or of the place after which the log begins.
    fn cursor(&self, offset: Offset) -> Cursor;

    /// What a successful append promises.
    fn durability(&self) -> Durability;

    /// Figures for metrics and health, cheap enough to read at each scrape.
    fn stats(&self) -> Stats;

    /// Whether what writes still runs, be it only to say that it cannot: a full disk is no death.
    fn is_alive(&self) -> bool {
        true
    }

    /// Stores what was accepted and closes the store; later appends are refused.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What somebody asks for, and of that may read. A gap is told only of this: else it would say what exists.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Events on these topics.
    pub topics: &'a [TopicSelector],
    /// As far as this lets read them.
    pub permit: &'a Permit,
}

impl<'a> Wanted<'a> {
    /// Everything on `topics`, as who has a key asks for it.
    #[must_use]
    pub fn all(topics: &'a [TopicSelector]) -> Self {
        static EVERYTHING: LazyLock<Permit> = LazyLock::new(Permit::everything);
        Self { topics, permit: &EVERYTHING }
    }
}

/// What a tail tells.
#[derive(Clone, Debug)]
pub enum Change {
    /// Events that have become durable; never empty.
    Commit(Commit),
    /// All events that this tail had missed were trimmed before it could read them.
    Trimmed,
    /// These are gone from now on, wherever they are held in memory. If they were deleted, so is what has been trimmed: it
    /// may have been meant, too, and the store does not know it any more. The last word on a deletion names none.
    Removed {
        /// Where they stand, rising.
        offsets: Arc<[Offset]>,
        /// Why.
        why: Gone,
    },
    /// This tail has missed removals: no event that is held in memory can be taken for one that is still there.
    MissedRemovals,
}

/// Which events are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// All that are on this topic so far, whatever other topics they are on.
    Topic(Topic),
    /// The one at this place.
    Event(Cursor),
}

/// A run of consecutive events as the store gives it. The place of one that was removed is held by a
/// [tombstone](Appended::tombstone).
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, by rising offset without holes. Empty only past the newest event that can be read.
    pub events: Vec<Arc<Appended>>,
    /// Events right before the first one are damaged. So if the page begins behind the offset that was asked for, it is
    /// because the store lost what is between ([`GapReason::Hole`]); without this, because it was trimmed.
    pub hole: bool,
}

impl Page {
    /// The offset of its first event.
    #[must_use]
    pub fn first(&self) -> Option<Offset> {
        self.events.first().map(|event| event.cursor.offset)
    }

    /// The offset of its last event.
    #[must_use]
    pub fn last(&self) -> Option<Offset> {
        self.events.last().map(|event| event.cursor.offset)
    }
}

/// The oldest and the newest offset kept; an empty log has `first == last + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest offset that can still be read.
    pub first: Offset,
    /// The newest offset.
    pub last: Offset,
}

impl Bounds {
    /// How many events are kept.
    #[must_use]
    pub fn events(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// What a publisher is told of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's place; that of the first one if this is a repeat.
    pub cursor: Cursor,
    /// The key was seen before, and nothing was stored.
    pub duplicate: bool,
}

/// What survives after a publish was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing after the process.
    Memory,
    /// A crash of the process, not a power cut.
    Os,
    /// A power cut.
    Fsync,
}

impl Durability {
    /// Its name in receipts and options.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Fsync => "fsync",
        }
    }
}

/// How much is kept. Of the whole log whole commits go, oldest first, once any limit is passed. An event that is gone by a
/// rule of its topic, or was deleted, counts for a 64th of one.
#[derive(Clone, Debug)]
pub struct Retention {
    /// How many events.
    pub events: u64,
    /// How long.
    pub age: Duration,
    /// How many bytes, as the store counts them.
    pub bytes: u64,
    /// How much of single topics, within that: the first that matches an event's canonical topic holds for it.
    pub topics: Vec<TopicRetention>,
}

/// How much is kept of each topic that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRetention {
    /// Which topics.
    pub matches: TopicSelector,
    /// How much of each of them.
    pub keep: Keep,
}

/// How much is kept of one topic; what is `None` has no limit of its own. Nothing goes by it in the first second after it
/// was stored, so that whoever listens is given it; and the newest event stays, whatever it weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// How many events.
    pub events: Option<u64>,
    /// How long.
    pub age: Option<Duration>,
    /// How many bytes, by the [weight](Event::weight) of its events.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 1_000_000, age: Duration::from_secs(7 * 24 * 3600), bytes: 1 << 30, topics: Vec::new() }
    }
}

/// Those of rising offsets that stand between these two, both included.
pub(crate) fn within(offsets: &[Offset], first: Offset, last: Offset) -> &[Offset] {
    let behind = &offsets[offsets.partition_point(|at| *at < first)..];
    &behind[..behind.partition_point(|at| *at <= last)]
}

/// For how many events these places count, so many of them being those of events that are gone: a place costs a little,
/// too, so that no topic can make a log endless of which hardly anything is kept.
fn counted(places: u64, gone: u64) -> u64 {
    places.saturating_sub(gone) + gone / 64
}

/// An epoch nobody has used.
///
/// # Panics
/// If the operating system has no random numbers, as nothing here is safe without them.
#[must_use]
pub fn new_epoch() -> crate::event::Epoch {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    crate::event::Epoch::from_random(u64::from_le_bytes(bytes))
}

/// Figures of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Bytes that count against [`Retention::bytes`].
    pub bytes: u64,
    /// Bytes of the write-ahead log, if there is one.
    pub wal_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Events trimmed by retention of the whole log since the start.
    pub trimmed: u64,
    /// Events removed by the rules of their topics since the start.
    pub expired: u64,
    /// Events deleted since the start.
    pub deleted: u64,
    /// Places of events that are gone.
    pub gone: u64,
    /// Pages written anew to make room of what was removed, since the start.
    pub compacted: u64,
    /// Topics of which it is remembered how far they were trimmed.
    pub marks: u64,
    /// Bytes of memory that say which topics stand in which page.
    pub index_bytes: u64,
    /// Appends refused because too much was waiting, since the start.
    pub refused: u64,
    /// Whether appends are possible.
    pub writable: bool,
}

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting: come back after `retry_after`.
    #[error("the log is busy; try again in {} s", retry_after.as_secs())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The key of event `index` of the batch was used for other content.
    #[error("the key was used before, for an event with other content")]
    KeyReused {
        /// Which event of the batch.
        index: usize,
    },
    /// No room on the disk; free some.
    #[error("the disk is full")]
    Full,
    /// The log can no longer be written; reading goes on. A restart may recover it.
    #[error("the log cannot be written")]
    ReadOnly(#[source] Option<StoreError>),
}

/// The store could not be read. Nothing is known of what it holds.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be read")]
pub struct ReadError(#[source] pub StoreError);

/// What went wrong inside a store, for the log of the operator.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;
