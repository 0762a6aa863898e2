//! Readers by threads: each has a runtime of its own, on which its share of them lives from their first connection to the
//! end of the run. Nothing moves between threads, so that an event costs little beside the read.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::latch::Latch;
use super::line::{Line, Lines, Shared};
use super::reader::{Reader, Reading};
use super::tally::{Judge, Tally};
use crate::cli::wire::dial::{Dialer, Traffic};

/// What the threads of a run have in common.
#[derive(Clone)]
pub(super) struct Crew {
    pub(super) reading: Arc<Reading>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) judge: Judge,
    pub(super) readers: usize,
    pub(super) threads: usize,
    /// How many readers share a connection; `None` over HTTP/1.1.
    pub(super) streams: Option<usize>,
    /// When the first reader connects, and how long after it the next.
    pub(super) began: Instant,
    pub(super) pace: Duration,
    /// Counted down by each reader whose first attempt is over.
    pub(super) tried: Arc<Latch>,
}

/// One thread.
pub(super) struct Worker {
    tally: Arc<Mutex<Tally>>,
    /// The thread ends when this is dropped.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread of this number.
    pub(super) fn start(crew: &Crew, number: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let readers = (number..crew.readers).step_by(crew.threads).count();
        let tally = Arc::new(Mutex::new(Tally::new(crew.judge, readers)));
        let (stop, stopped) = oneshot::channel();
        let (crew, shared) = (crew.clone(), tally.clone());
        let thread = std::thread::Builder::new().name("encke-bench".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = crew.read(number, &shared) => {}
                }
            });
        })?;
        Ok(Self { tally, stop, thread })
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all its connections, and the thread.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic has been told by the thread itself.
        let _ = self.thread.join();
    }
}

impl Crew {
    /// Starts the readers of a thread, one after the other, and lets them read.
    async fn read(&self, thread: usize, tally: &Arc<Mutex<Tally>>) {
        let lines = Lines { dialer: self.dialer.clone(), traffic: self.traffic.clone() };
        let mut readers = JoinSet::new();
        let mut shared = None;
        for (number, nth) in (thread..self.readers).step_by(self.threads).enumerate() {
            sleep_until(self.began + self.pace.saturating_mul(u32::try_from(nth).unwrap_or(u32::MAX))).await;
            let line = match self.streams {
                None => Line::Http1(lines.clone(), None),
                Some(streams) => {
                    if number.is_multiple_of(streams) {
                        shared = None;
                    }
                    let shared = shared.get_or_insert_with(|| Arc::new(Shared::new(lines.clone())));
                    Line::Http2(shared.clone())
                }
            };
            #[expect(clippy::cast_precision_loss, reason = "numbers of connections are small")]
            let phase = (nth + 1) as f64 / self.readers as f64;
            let (reading, tally, tried) = (self.reading.clone(), tally.clone(), self.tried.clone());
            readers.spawn(Reader { reading, number, phase, tally, tried, line }.run());
        }
        while readers.join_next().await.is_some() {}
        std::future::pending().await
    }
}
