//! The open streams of the ordinary carrier, to be shown: each is a task of the HTTP library, and nobody else can look into it.
//!
//! So each writes a few figures where others can read them. Its carrier alone writes them, and without a lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Feed;
use super::live::{Chosen, Live};
use crate::event::Offset;

/// Every stream that is carried so.
#[derive(Debug, Default)]
pub(super) struct Carried {
    open: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_number: BTreeMap<u64, Arc<Figures>>,
    next: u64,
}

/// The figures of one stream.
#[derive(Debug)]
struct Figures {
    /// As it was opened.
    first: Live,
    opened: Instant,
    feed: Weak<Feed>,
    /// Up to where it was given everything.
    cursor: AtomicU64,
    /// When something was written last, in milliseconds after its opening.
    written: AtomicU64,
    /// Bytes that its connection was given last, if it has not asked for more since.
    not_taken: AtomicU64,
}

/// The entry of one stream, which goes with it.
///
/// Cost: some 200 bytes. A step costs two plain writes to memory that nobody else writes.
#[derive(Debug)]
pub(super) struct Entry {
    figures: Arc<Figures>,
    number: u64,
    all: Arc<Carried>,
}

impl Carried {
    /// How many are looked at before others have their turn.
    const SLICE: usize = 256;

    /// Enters a stream that is as `first` says, of this feed, and behind this offset.
    pub(super) fn enter(self: &Arc<Self>, first: Live, feed: &Arc<Feed>, cursor: Offset) -> Entry {
        let figures = Arc::new(Figures {
            first,
            opened: Instant::now().checked_sub(first.age).unwrap_or_else(Instant::now),
            feed: Arc::downgrade(feed), // Who reads a feed alone must stay alone.
            cursor: AtomicU64::new(cursor),
            written: AtomicU64::new(0),
            not_taken: AtomicU64::new(0),
        });
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, Arc::clone(&figures));
        Entry { figures, number, all: Arc::clone(self) }
    }

    /// Offers all of them, in a log of which so much is in memory.
    pub(super) async fn offer(&self, chosen: &mut Chosen, edge: Offset) {
        let mut from = 0;
        loop {
            let some: Vec<_> = {
                let open = self.open();
                open.by_number.range(from..).take(Self::SLICE).map(|(number, one)| (*number, Arc::clone(one))).collect()
            };
            let Some((last, _)) = some.last() else { return };
            from = last + 1;
            let now = Instant::now();
            some.iter().for_each(|(_, figures)| chosen.offer(figures.live(edge, now)));
            tokio::task::yield_now().await;
        }
    }

    fn open(&self) -> MutexGuard<'_, Entries> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    fn live(&self, edge: Offset, now: Instant) -> Live {
        let cursor = self.cursor.load(Ordering::Relaxed);
        let cursor = self.feed.upgrade().map_or(cursor, |feed| feed.quiet_after(cursor));
        let age = now.saturating_duration_since(self.opened);
        let quiet = age.saturating_sub(Duration::from_millis(self.written.load(Ordering::Relaxed)));
        let not_taken = self.not_taken.load(Ordering::Relaxed);
        let blocked = (not_taken > 0).then_some(quiet);
        Live { age, quiet, lag: edge.saturating_sub(cursor), not_taken, blocked, ..self.first }
    }
}

impl Entry {
    /// The stream was given everything up to `cursor`, and wrote something last at `written`.
    pub(super) fn is_at(&self, cursor: Offset, written: Instant) {
        let written = written.saturating_duration_since(self.figures.opened).as_millis();
        self.figures.cursor.store(cursor, Ordering::Relaxed);
        self.figures.written.store(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The connection was given so many bytes; at 0 it asks for more, so it has room.
    pub(super) fn gave(&self, bytes: usize) {
        self.figures.not_taken.store(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.all.open().by_number.remove(&self.number));
    }
}
