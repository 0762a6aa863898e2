//! One runtime a core, each on a thread of its own.
//!
//! What belongs to one connection stays on one core: its requests, its streams, and the shard that carries them. So no
//! delivery wakes another thread, and no two threads want the same socket.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The runtimes. They end when this is dropped.
#[derive(Debug)]
pub struct Cores {
    handles: Vec<Handle>,
    _end: Arc<DropGuard>,
}

impl Cores {
    /// How many cores this process may use: its affinity and its quota count.
    #[must_use]
    pub fn available() -> usize {
        thread::available_parallelism().map_or(1, NonZero::get)
    }

    /// So many, at least one. The first is the runtime that runs this, the others get threads.
    ///
    /// # Errors
    /// Those of the operating system: there are too many threads or open files.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let mut handles = vec![Handle::current()];
        for number in 1..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let end = end.clone();
            let thread = thread::Builder::new().name(format!("encke-core-{number}"));
            thread.spawn(move || runtime.block_on(end.cancelled()))?;
        }
        Ok(Self { handles, _end: Arc::new(end.drop_guard()) })
    }

    /// The runtimes, in the order of the cores.
    #[must_use]
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_run_on_the_core_that_they_are_given_to() {
        let cores = Cores::start(3).expect("threads");
        let here = thread::current().id();
        let mut seen = Vec::new();
        for core in cores.handles() {
            seen.push(core.spawn(async { thread::current().id() }).await.expect("a task"));
        }
        assert_eq!(seen[0], here);
        assert!(seen[1] != here && seen[2] != here && seen[1] != seen[2], "{seen:?}");
    }
}
