//! How the gateway stops: first it drains, then it cuts.
//!
//! Every task is spawned here, so that the end can wait for it: connections first, then the services they stand on. Draining tells streams to end by themselves; cutting ends
//! what is left when the drain time is over.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The stop of one gateway, shared by everything that runs.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Stops>);

#[derive(Debug, Default)]
struct Stops {
    drain: CancellationToken,
    cut: CancellationToken,
    quiet: CancellationToken,
    tasks: TaskTracker,
    services: TaskTracker,
}

impl Shutdown {
    /// Spawns a task that the end waits for.
    pub fn spawn<F>(&self, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.tasks.spawn(task).abort_handle()
    }

    /// Spawns a task that the end waits for, on another runtime than this.
    pub fn spawn_on<F>(&self, runtime: &Handle, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.tasks.spawn_on(task, runtime);
    }

    /// Something that is no task, and that the end waits for as long as this is held.
    pub fn hold(&self) -> TaskTrackerToken {
        self.0.tasks.token()
    }

    /// Spawns a task on which others stand: it goes on until they have ended, and ends when [`Shutdown::quiet`] resolves.
    ///
    /// Without it nothing would be delivered any more, and nobody would know: if it panics, the process ends, and whoever
    /// started it starts it again.
    pub fn spawn_service<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.services.spawn(or_abort(task));
    }

    /// The same, on another runtime than this.
    pub fn spawn_service_on<F>(&self, runtime: &Handle, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.services.spawn_on(or_abort(task), runtime);
    }

    /// Resolves when every task but the services has ended.
    pub fn quiet(&self) -> WaitForCancellationFuture<'_> {
        self.0.quiet.cancelled()
    }

    /// Tells everything to come to its end.
    pub fn drain(&self) {
        self.0.drain.cancel();
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.drain.is_cancelled()
    }

    /// Resolves when the end begins.
    pub fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.0.drain.cancelled()
    }

    /// Resolves when what is left must end at once.
    pub fn cutting(&self) -> WaitForCancellationFuture<'_> {
        self.0.cut.cancelled()
    }

    /// Drains, waits for every task, and cuts what is left after `patience`. Answers whether nothing had to be cut.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.drain();
        self.0.tasks.close();
        let in_time = tokio::time::timeout(patience, self.0.tasks.wait()).await.is_ok();
        self.0.cut.cancel();
        self.0.tasks.wait().await;
        self.0.quiet.cancel();
        self.0.services.close();
        self.0.services.wait().await;
        in_time
    }
}

/// A task whose panic ends the process.
async fn or_abort(task: impl Future<Output = ()>) {
    let mut task = std::pin::pin!(task);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            tracing::error!("a service panicked; the gateway cannot go on");
            std::process::abort()
        })
    })
    .await;
}
