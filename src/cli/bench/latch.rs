//! Waits until a number of things have happened.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts down to zero, once.
#[derive(Debug)]
pub(super) struct Latch {
    left: AtomicUsize,
    zero: Notify,
}

impl Latch {
    pub(super) fn new(count: usize) -> Self {
        Self { left: AtomicUsize::new(count), zero: Notify::new() }
    }

    /// One has happened. Not to be called more often than it was made for.
    pub(super) fn count_down(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.zero.notify_waiters();
        }
    }

    /// How many have not.
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// Resolves when all have.
    pub(super) async fn wait(&self) {
        // Before the look at the count: else the last one could happen between the two.
        let zero = self.zero.notified();
        if self.left() > 0 {
            zero.await;
        }
    }
}
