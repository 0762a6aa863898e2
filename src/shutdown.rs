//! How the gateway stops: first it drains, then it cuts.
//!
//! Every task is spawned here, so that the end can wait for it. Draining tells streams to end by themselves; cutting ends
//! what is left when the drain time is over.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

/// The stop of one gateway, shared by everything that runs.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Spawns a task that the end waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Tells everything to come to its end.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when the end begins.
    pub fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.drain.cancelled()
    }

    /// Resolves when what is left must end at once.
    pub fn cutting(&self) -> WaitForCancellationFuture<'_> {
        self.cut.cancelled()
    }

    /// Drains, waits for every task, and cuts what is left after `patience`. Answers whether nothing had to be cut.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.drain();
        self.tasks.close();
        let in_time = tokio::time::timeout(patience, self.tasks.wait()).await.is_ok();
        self.cut.cancel();
        self.tasks.wait().await;
        in_time
    }
}
