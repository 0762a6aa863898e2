//! The newest commits and removals of a store, kept for its tails.
//!
//! A store calls [`Live::commit`] once a commit is durable, and [`Live::remove`] once a removal is; [`Live::tail`] follows,
//! in their order. A tail that falls behind what is kept here reads the store, so a slow one costs nothing and loses
//! nothing; of removals that it has missed it is told that there were some.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tokio::sync::watch;

use super::{Bounds, Change, Page, ReadError, within};
use crate::event::{Appended, Gone, Offset};

/// One commit's events, by rising offset.
pub type Commit = Arc<[Arc<Appended>]>;

/// The newest commits and removals, and the bounds of a log.
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
        let bytes = commit.iter().map(|event| event.footprint()).sum();
        self.recent.push(Change::Commit(commit), bytes);
        self.bounds.send_modify(|bounds| bounds.last = last); // Wakes the tails; the events are there already.
    }

    /// Tells every tail that the events at these offsets, rising, are gone; the store gives their tombstones by now. Of a
    /// deletion it tells also if there are none: what was trimmed before may be held in memory still.
    pub fn remove(&self, offsets: Vec<Offset>, why: Gone) {
        if offsets.is_empty() && why == Gone::Expired {
            return;
        }
        self.recent.mark(&offsets, why);
        let bytes = size_of_val(&offsets[..]);
        self.recent.push(Change::Removed { offsets: offsets.into(), why }, bytes);
        self.bounds.send_modify(|_| {}); // Wakes the tails.
    }

    /// Moves the old end forward to `first`.
    pub fn trim(&self, first: Offset) {
        self.bounds.send_modify(|bounds| bounds.first = first);
    }

    /// Every event after `after`, commit by commit, and every removal from this call on; ends when this value is dropped.
    /// `read` gives the page that holds an offset, as [`super::Log::read`] does, for a tail that has fallen behind.
    pub fn tail<R>(&self, mut after: Offset, read: R) -> BoxStream<'static, Change>
    where
        R: Fn(Offset) -> BoxFuture<'static, Result<Page, ReadError>> + Send + Sync + 'static,
    {
        let recent = Arc::clone(&self.recent);
        let mut bounds = self.bounds.subscribe();
        // Before the stream is polled for the first time: what is removed from here on is told.
        let mut at = recent.begin();
        Box::pin(stream! {
            loop {
                loop {
                    let last = bounds.borrow_and_update().last;
                    match recent.next(at, after) {
                        Next::Change { change, next } => {
                            at = next;
                            if let Change::Commit(commit) = &change
                                && let Some(last) = commit.last()
                            {
                                after = last.cursor.offset;
                            }
                            yield change;
                        }
                        Next::Missed { next } => {
                            at = next;
                            yield Change::MissedRemovals;
                        }
                        Next::Nothing if last <= after => break,
                        Next::Nothing | Next::Behind => match read(after + 1).await {
                            Ok(page) if page.events.is_empty() => {
                                // Up to what was there before it was read, or to what is still kept here.
                                let kept = recent.first().map(|first| first - 1).filter(|before| *before > after);
                                let upto = kept.map_or(last, |before| before.min(last));
                                if upto > after {
                                    after = upto;
                                    yield Change::Trimmed;
                                }
                            }
                            Ok(page) => {
                                let fresh = page.events.into_iter().filter(|event| event.cursor.offset > after);
                                let commit: Commit = fresh.collect();
                                if let Some(last) = commit.last() {
                                    after = last.cursor.offset;
                                    yield Change::Commit(commit);
                                }
                            }
                            Err(_) if bounds.has_changed().is_err() => return, // The log is gone, not broken.
                            Err(error) => {
                                tracing::error!(error = &error as &dyn std::error::Error, "the live edge waits for the log");
                                tokio::time::sleep(Self::RETRY).await;
                            }
                        },
                    }
                }
                if bounds.changed().await.is_err() {
                    return; // The log is gone.
                }
            }
        })
    }
}

/// The newest changes: at most 64 commits with the removals among them, and 16 MiB, but always the last one.
#[derive(Debug, Default)]
struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    changes: VecDeque<(Change, usize)>,
    /// The number of the first of them; each change has the next number.
    begin: u64,
    /// The number after that of the last removal that is not here any more.
    removed: u64,
    commits: usize,
    bytes: usize,
}

/// What comes next for a tail.
enum Next {
    /// This; then the change of that number.
    Change { change: Change, next: u64 },
    /// Removals are not here any more; then the change of that number.
    Missed { next: u64 },
    /// Events that are not here any more, or never were.
    Behind,
    /// No more changes.
    Nothing,
}

impl Recent {
    const COMMITS: usize = 64;
    const CHANGES: usize = 256;
    const BYTES: usize = 16 << 20;

    fn push(&self, change: Change, bytes: usize) {
        let mut gone = Vec::new(); // Dropped when the lock is free again.
        let mut kept = self.kept();
        kept.commits += usize::from(matches!(change, Change::Commit(_)));
        kept.bytes += bytes;
        kept.changes.push_back((change, bytes));
        while kept.commits > Self::COMMITS
            || kept.changes.len() > Self::CHANGES
            || (kept.bytes > Self::BYTES && kept.changes.len() > 1)
        {
            let Some((oldest, bytes)) = kept.changes.pop_front() else { break };
            kept.bytes -= bytes;
            kept.begin += 1;
            match oldest {
                Change::Commit(_) => kept.commits -= 1,
                Change::Removed { .. } | Change::MissedRemovals | Change::Trimmed => kept.removed = kept.begin,
            }
            gone.push(oldest);
        }
        drop(kept);
    }

    /// Marks events as gone in the commits that are kept.
    fn mark(&self, offsets: &[Offset], why: Gone) {
        let kept = self.kept();
        for (change, _) in &kept.changes {
            let Change::Commit(commit) = change else { continue };
            let Some((first, last)) = commit.first().zip(commit.last()) else { continue };
            for at in within(offsets, first.cursor.offset, last.cursor.offset) {
                if let Ok(nth) = commit.binary_search_by_key(at, |event| event.cursor.offset) {
                    commit[nth].remove(why);
                }
            }
        }
    }

    /// The number of the oldest change that is kept.
    fn begin(&self) -> u64 {
        self.kept().begin
    }

    /// The first event that is kept.
    fn first(&self) -> Option<Offset> {
        self.kept().changes.iter().find_map(|(change, _)| match change {
            Change::Commit(commit) => commit.first().map(|event| event.cursor.offset),
            Change::Removed { .. } | Change::MissedRemovals | Change::Trimmed => None,
        })
    }

    /// What comes next for a tail that was told every change before `at` and every event up to `after`.
    fn next(&self, at: u64, after: Offset) -> Next {
        let kept = self.kept();
        if at < kept.removed {
            return Next::Missed { next: kept.begin };
        }
        let begin = at.max(kept.begin);
        let passed = usize::try_from(begin - kept.begin).unwrap_or(usize::MAX);
        for (number, (change, _)) in (begin..).zip(kept.changes.iter().skip(passed)) {
            let next = number + 1;
            let Change::Commit(commit) = change else { return Next::Change { change: change.clone(), next } };
            let Some((first, last)) = commit.first().zip(commit.last()) else { continue };
            if last.cursor.offset <= after {
                continue;
            }
            if first.cursor.offset > after + 1 {
                return Next::Behind;
            }
            let rest = match first.cursor.offset == after + 1 {
                true => Arc::clone(commit),
                false => commit.iter().filter(|event| event.cursor.offset > after).cloned().collect(),
            };
            return Next::Change { change: Change::Commit(rest), next };
        }
        Next::Nothing
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
