//! The newest commits of a store, kept for its tails.
//!
//! A store calls [`Live::commit`] once a commit is durable; [`Live::tail`] follows. A tail that falls behind what is kept
//! here reads the store, so a slow one costs nothing and loses nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_stream::stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tokio::sync::watch;

use super::{Bounds, Page, ReadError};
use crate::event::{Appended, Offset};

/// One commit's events, by rising offset.
pub type Commit = Arc<[Arc<Appended>]>;

/// The newest commits and the bounds of a log.
#[derive(Debug)]
pub struct Live {
    recent: Mutex<VecDeque<Commit>>,
    bounds: watch::Sender<Bounds>,
}

impl Live {
    /// How many commits are kept for tails.
    const RECENT: usize = 64;

    /// For a log with these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { recent: Mutex::default(), bounds: watch::Sender::new(bounds) }
    }

    /// The bounds now.
    pub fn bounds(&self) -> Bounds {
        *self.bounds.borrow()
    }

    /// Makes a durable commit visible to every tail.
    pub fn commit(&self, commit: Commit) {
        let Some(last) = commit.last().map(|event| event.cursor.offset) else { return };
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == Self::RECENT {
                recent.pop_front();
            }
            recent.push_back(commit);
        }
        self.bounds.send_modify(|bounds| bounds.last = last); // Wakes the tails; the events are there already.
    }

    /// Moves the old end forward to `first`.
    pub fn trim(&self, first: Offset) {
        self.bounds.send_modify(|bounds| bounds.first = first);
    }

    /// Every event after `after`, commit by commit. `read` gives the page that holds an offset, as [`super::Log::read`]
    /// does, for a tail that has fallen behind.
    pub fn tail<R>(self: &Arc<Self>, mut after: Offset, read: R) -> BoxStream<'static, Commit>
    where
        R: Fn(Offset) -> BoxFuture<'static, Result<Page, ReadError>> + Send + Sync + 'static,
    {
        let live = Arc::clone(self);
        let mut bounds = live.bounds.subscribe();
        Box::pin(stream! {
            loop {
                while bounds.borrow_and_update().last > after {
                    let commit = match live.after(after) {
                        Some(commit) => commit,
                        None => match read(after + 1).await {
                            Ok(page) => page.events.into_iter().filter(|e| e.cursor.offset > after).collect(),
                            Err(error) => {
                                tracing::error!(error = &error as &dyn std::error::Error, "the live edge waits for the log");
                                tokio::time::sleep(Self::RETRY).await;
                                continue;
                            }
                        },
                    };
                    if let Some(last) = commit.last() {
                        after = last.cursor.offset;
                        yield commit;
                    }
                }
                if bounds.changed().await.is_err() {
                    return; // The log is gone.
                }
            }
        })
    }

    /// How long a tail waits before it reads a failing store again.
    const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

    /// What is kept of the commit that holds the event next to `after`, or nothing if that one is no longer here.
    fn after(&self, after: Offset) -> Option<Commit> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.partition_point(|commit| commit.last().is_none_or(|event| event.cursor.offset <= after));
        let commit = recent.get(at)?;
        let first = commit.first()?.cursor.offset;
        match first.cmp(&(after + 1)) {
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Equal => Some(Arc::clone(commit)),
            std::cmp::Ordering::Less => Some(commit.iter().filter(|e| e.cursor.offset > after).cloned().collect()),
        }
    }
}
