//! The open streams of the ordinary carrier, to be shown: each is a task of the HTTP library, and nobody else can look into it.
//!
//! So each writes a few figures where others can read them. Its carrier alone writes them, and without a lock.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Feed;
use super::live::{Chosen, Live};
use crate::diagnosis::{PathNumber, ShortName};
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
    /// Where it is entered, and as which.
    all: Arc<Carried>,
    number: u64,
    name: ShortName,
    stream: NonZeroU64,
    path: PathNumber,
    transport: &'static str,
    heartbeat: Duration,
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
/// Cost: some 170 bytes. A step costs two plain writes to memory that nobody else writes.
#[derive(Debug)]
pub(super) struct Entry(Arc<Figures>);

impl Carried {
    /// How many are looked at before others have their turn.
    const SLICE: usize = 256;

    /// Enters a stream that is as `first` says, of this feed, and behind this offset.
    pub(super) fn enter(self: &Arc<Self>, first: &Live, feed: &Arc<Feed>, cursor: Offset) -> Entry {
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        let figures = Arc::new(Figures {
            all: Arc::clone(self),
            number,
            name: first.name,
            stream: first.stream,
            path: first.path,
            transport: first.transport,
            heartbeat: first.heartbeat,
            opened: Instant::now().checked_sub(first.age).unwrap_or_else(Instant::now),
            feed: Arc::downgrade(feed), // Who reads a feed alone must stay alone.
            cursor: AtomicU64::new(cursor),
            written: AtomicU64::new(0),
            not_taken: AtomicU64::new(0),
        });
        open.by_number.insert(number, Arc::clone(&figures));
        Entry(figures)
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
        let (lag, &Self { name, stream, path, transport, heartbeat, .. }) = (edge.saturating_sub(cursor), self);
        Live { age, quiet, lag, heartbeat, not_taken, blocked, transport, path, name, stream }
    }
}

impl Entry {
    /// The stream was given everything up to `cursor`, and wrote something last at `written`.
    pub(super) fn is_at(&self, cursor: Offset, written: Instant) {
        let written = written.saturating_duration_since(self.0.opened).as_millis();
        self.0.cursor.store(cursor, Ordering::Relaxed);
        self.0.written.store(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The connection was given so many bytes; at 0 it asks for more, so it has room.
    pub(super) fn gave(&self, bytes: usize) {
        self.0.not_taken.store(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.0.all.open().by_number.remove(&self.0.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_stream_are_small() {
        assert!(size_of::<Figures>() <= 128, "{} bytes", size_of::<Figures>());
        assert_eq!(size_of::<Entry>(), 8);
    }
}
