//! What the handles and the writer both know: how much waits, what is known of places, and the figures.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::event::Event;

/// Plain counters; each has one writer or is only added to.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) waiting: Waiting,
    pub(super) bytes: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) trimmed: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) compacted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// The last events did not fit on the disk.
    pub(super) full: AtomicBool,
    /// A write has failed for good.
    pub(super) broken: AtomicBool,
}

/// How much a batch, or several, weigh.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Size {
    /// An empty batch counts as one event, as it takes a place in the queue.
    pub(super) fn of(batch: &[Event]) -> Self {
        Self { events: batch.len().max(1), bytes: batch.iter().map(Event::weight).sum() }
    }

    pub(super) fn fits(self, limit: Self) -> bool {
        self.events <= limit.events && self.bytes <= limit.bytes
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }
}

/// The batches that were accepted and not taken by the writer yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    /// Counts a batch in, or refuses it: no more than `most` may wait. A batch larger than that is let in when nothing else
    /// waits. Callers exclude one another; the writer may take batches meanwhile.
    pub(super) fn enter(&self, batch: Size, most: Size) -> bool {
        let mut size = Size { events: self.events.load(Relaxed), bytes: self.bytes.load(Relaxed) };
        let alone = size.events == 0;
        size += batch;
        if !alone && !size.fits(most) {
            return false;
        }
        self.events.fetch_add(batch.events, Relaxed);
        self.bytes.fetch_add(batch.bytes, Relaxed);
        true
    }

    /// Counts batches out.
    pub(super) fn leave(&self, size: Size) {
        self.events.fetch_sub(size.events, Relaxed);
        self.bytes.fetch_sub(size.bytes, Relaxed);
    }
}
