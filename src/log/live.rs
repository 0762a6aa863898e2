//! The newest commits of a store, kept for its tails.
//!
//! A store calls [`Live::commit`] once a commit is durable; [`Live::tail`] follows. A tail that falls behind what is kept
//! here reads the store, so a slow one costs nothing and loses nothing.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tokio::sync::watch;

use super::{Bounds, Change, Page, ReadError};
use crate::event::{Appended, Offset};

/// One commit's events, by rising offset.
pub type Commit = Arc<[Arc<Appended>]>;

/// The newest commits and the bounds of a log.
#[derive(Debug)]
pub struct Live {
    recent: Arc<Recent>,
    bounds: watch::Sender<Bounds>,
}

impl Live {
    /// How long a tail waits before it reads a failing store again.
    const RETRY: Duration = Duration::from_millis(200);

    /// For a log with these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { recent: Arc::default(), bounds: watch::Sender::new(bounds) }
    }

    /// The bounds now.
    pub fn bounds(&self) -> Bounds {
        *self.bounds.borrow()
    }

    /// Makes a durable commit visible to every tail.
    pub fn commit(&self, commit: Commit) {
        let Some(last) = commit.last().map(|event| event.cursor.offset) else { return };
        self.recent.push(commit);
        self.bounds.send_modify(|bounds| bounds.last = last); // Wakes the tails; the events are there already.
    }

    /// Moves the old end forward to `first`.
    pub fn trim(&self, first: Offset) {
        self.bounds.send_modify(|bounds| bounds.first = first);
    }

    /// Every event after `after`, commit by commit; ends when this value is dropped. `read` gives the page that holds an
    /// offset, as [`super::Log::read`] does, for a tail that has fallen behind.
    pub fn tail<R>(&self, mut after: Offset, read: R) -> BoxStream<'static, Change>
    where
        R: Fn(Offset) -> BoxFuture<'static, Result<Page, ReadError>> + Send + Sync + 'static,
    {
        let recent = Arc::clone(&self.recent);
        let mut bounds = self.bounds.subscribe();
        Box::pin(stream! {
            loop {
                loop {
                    let last = bounds.borrow_and_update().last;
                    if last <= after {
                        break;
                    }
                    let commit = match recent.after(after) {
                        Some(commit) => commit,
                        None => match read(after + 1).await {
                            Ok(page) if page.events.is_empty() => {
                                after = last;
                                yield Change::Trimmed;
                                continue;
                            }
                            Ok(page) => page.events.into_iter().filter(|e| e.cursor.offset > after).collect(),
                            Err(_) if bounds.has_changed().is_err() => return, // The log is gone, not broken.
                            Err(error) => {
                                tracing::error!(error = &error as &dyn std::error::Error, "the live edge waits for the log");
                                tokio::time::sleep(Self::RETRY).await;
                                continue;
                            }
                        },
                    };
                    if let Some(last) = commit.last() {
                        after = last.cursor.offset;
                        yield Change::Commit(commit);
                    }
                }
                if bounds.changed().await.is_err() {
                    return; // The log is gone.
                }
            }
        })
    }
}

/// The newest commits: at most 64 and 16 MiB of them, but always the last one.
#[derive(Debug, Default)]
struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    commits: VecDeque<(Commit, usize)>,
    bytes: usize,
}

impl Recent {
    const COMMITS: usize = 64;
    const BYTES: usize = 16 << 20;

    fn push(&self, commit: Commit) {
        let bytes = commit.iter().map(|event| event.footprint()).sum();
        let mut kept = self.kept();
        kept.commits.push_back((commit, bytes));
        kept.bytes += bytes;
        while kept.commits.len() > Self::COMMITS || (kept.bytes > Self::BYTES && kept.commits.len() > 1) {
            let oldest = kept.commits.pop_front().map_or(0, |(_, bytes)| bytes);
            kept.bytes -= oldest;
        }
    }

    /// What is kept of the commit that holds the event next to `after`, or nothing if that one is no longer here.
    fn after(&self, after: Offset) -> Option<Commit> {
        let kept = self.kept();
        let at = kept.commits.partition_point(|(commit, _)| commit.last().is_none_or(|e| e.cursor.offset <= after));
        let (commit, _) = kept.commits.get(at)?;
        let first = commit.first()?.cursor.offset;
        match first.cmp(&(after + 1)) {
            Ordering::Greater => None,
            Ordering::Equal => Some(Arc::clone(commit)),
            Ordering::Less => Some(commit.iter().filter(|e| e.cursor.offset > after).cloned().collect()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio_stream::StreamExt;

    use super::*;
    use crate::event::{Cursor, Epoch, Event, Timestamp, Topic};

    const MIB: usize = 1 << 20;

    fn commit(offsets: std::ops::RangeInclusive<Offset>, len: usize) -> Commit {
        let epoch = Epoch::parse("k3v9x0a1").expect("an epoch");
        let event = || Event::new(Topic::parse("t").expect("a topic"), vec![b'x'; len]);
        offsets.map(|offset| Arc::new(Appended::new(Cursor { epoch, offset }, Timestamp(0), event()))).collect()
    }

    /// The offsets of what is kept next to `after`.
    fn kept(recent: &Recent, after: Offset) -> Option<Vec<Offset>> {
        recent.after(after).map(|commit| commit.iter().map(|event| event.cursor.offset).collect())
    }

    #[test]
    fn the_newest_commits_are_kept_as_far_as_bytes_allow() {
        let recent = Recent::default();
        for offset in 1..=3 {
            recent.push(commit(offset..=offset, 10 * MIB));
            assert_eq!(kept(&recent, offset - 1), Some(vec![offset]), "the newest one, however large");
            assert_eq!(kept(&recent, offset.saturating_sub(2)).is_some(), offset == 1);
        }
        recent.push(commit(4..=4, 5 * MIB));
        assert_eq!((kept(&recent, 1), kept(&recent, 2), kept(&recent, 3)), (None, Some(vec![3]), Some(vec![4])));
    }

    #[test]
    fn small_events_count_with_all_that_they_take_in_memory() {
        let recent = Recent::default();
        for n in 0..20 {
            recent.push(commit(n * 8192 + 1..=n * 8192 + 8192, 1));
        }
        let events: usize = recent.kept().commits.iter().map(|(commit, _)| commit.len()).sum();
        assert!(events * size_of::<Appended>() <= Recent::BYTES, "{events} events");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tail_that_is_far_behind_ends_with_its_log() {
        // 1. A tail waits for the store, which fails. 2. The log goes. 3. The store goes on failing.
        let live = Live::new(Bounds { first: 1, last: 5 });
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let mut tail = live.tail(0, move |_| {
            counted.fetch_add(1, SeqCst);
            Box::pin(async { Err(ReadError("the disk is dying".into())) })
        });
        let waits = tokio::time::timeout(Live::RETRY * 5 / 2, tail.next()).await;
        assert!(waits.is_err(), "a failing store is read again: {waits:?}");
        assert_eq!(reads.load(SeqCst), 3);
        drop(live);
        let end = tokio::time::timeout(Live::RETRY * 10, tail.next()).await;
        assert!(matches!(end, Ok(None)), "{end:?}");
        assert_eq!(reads.load(SeqCst), 4);
    }
}
