//! The gateway under test: log, hub, delivery and a shard, without HTTP.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use encke::delivery::{Connection, Delivery, Framing, Opened, Options, Shards, SocketOptions};
use encke::event::Timestamp;
use encke::hub::{Hub, PagesOptions};
use encke::log::sqlite::{SqliteLog, SqliteOptions};
use encke::log::{Clock, Durability, Log, MemoryLog, Retention, Steady};
use encke::metrics::{Labels, Metrics};
use encke::shutdown::Shutdown;
use socket2::SockRef;
use tempfile::TempDir;

use crate::client::Reading;
use crate::world::{Carrier, Settings, Store};

pub(crate) struct Gateway {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) delivery: Delivery,
    shards: Shards,
    pub(crate) shutdown: Shutdown,
}

impl Gateway {
    pub(crate) async fn start(settings: Settings, directory: &TempDir, time: &Arc<AtomicU64>) -> Self {
        let now = Arc::clone(time);
        let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
        let now = Arc::clone(time);
        let steady: Steady = Arc::new(move || Duration::from_millis(now.load(Ordering::Relaxed)));
        let retention = Retention { events: settings.events, age: settings.age, bytes: 1 << 30, topics: Vec::new() };
        let log: Arc<dyn Log> = match settings.store {
            Store::Memory => Arc::new(MemoryLog::with_clocks(retention, Arc::clone(&clock), steady)),
            Store::Sqlite => {
                let options = SqliteOptions::new(directory.path());
                let options = SqliteOptions {
                    durability: Durability::Os,
                    retention,
                    clock: Arc::clone(&clock),
                    steady,
                    ..options
                };
                Arc::new(SqliteLog::open(options).expect("a log"))
            }
        };
        let shutdown = Shutdown::default();
        // Small, so that readers fall out of memory and read pages from the log.
        let pages =
            PagesOptions { pinned_events: settings.pinned, pinned_bytes: 1 << 20, cached_bytes: 64 << 10, replays: 64 };
        let hub = Hub::start_at(Arc::clone(&log), pages, clock, &shutdown).await.expect("a hub");
        let labels = Labels { transports: &[], ends: &[], signs: &[], gaps: &[], resumes: &[], refusals: &[] };
        let options = Options { retention_events: settings.events, ..Options::default() };
        let delivery = Delivery::start(Arc::clone(&hub), Arc::new(Metrics::new(labels)), shutdown.clone(), options);
        let here = [tokio::runtime::Handle::current()];
        let shards = Shards::start(&here, &shutdown, SocketOptions::default()).expect("descriptors");
        let shards = shards.expect("a system that has the socket carrier");
        Self { log, hub, delivery, shards, shutdown }
    }

    /// A stream on its way to a reader. A socket takes as little as a socket can.
    pub(crate) fn carry(&self, opened: Opened, carrier: Carrier) -> Reading {
        if carrier == Carrier::Ordinary {
            return Reading::of_body(opened.body, opened.content_type);
        }
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        SockRef::from(&ours).set_send_buffer_size(1).expect("a socket");
        let stream = opened.handoff.take().expect("a stream that nobody carries");
        let (socket, held) = (ours.into(), Box::new(()));
        self.shards.adopt(0, *stream, Connection { socket, head: Vec::new(), framing: Framing::Chunked, held });
        Reading::of_socket(theirs, opened.content_type)
    }

    /// Waits until what is durable is in memory.
    pub(crate) async fn caught_up(&self) {
        while self.hub.pages().edge() < self.log.bounds().last {
            tokio::task::yield_now().await;
        }
    }
}
