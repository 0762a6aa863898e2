//! The socket carrier: the streams of one core, written straight to their sockets.
//!
//! A response that is a stream on a plain HTTP/1 connection leaves hyper before its head is written, and its socket comes
//! here (`net/takeover.rs`, [`Unbegun::carry`](super::Unbegun::carry)). A shard is one task of its core's runtime: a slab
//! of small slots, woken once for a batch and not for each connection. What a stream does is decided by
//! [`Stream::step`](super::Stream::step) alone, as on the ordinary carrier; here it is only carried.
//!
//! `pump` is the heart of it; `bell` how it is told of news; `slab`, `slot` and `dues` what it holds.

mod bell;
mod dues;
mod listing;
mod pump;
mod slab;
mod slot;
#[cfg(test)]
mod tests;
/// What `bell` is built on; a model of it has others.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
    pub(super) use std::sync::{Arc, Mutex, MutexGuard};
}

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::handoff::Unbegun;
use super::live::{Asked, Chosen};
use super::{Delivery, EndReason};
use crate::access::Changes;
use crate::event::Offset;
use crate::hub::Page;
use crate::log::ReadError;
use crate::shutdown::Shutdown;
use crate::sys::Poller;
use crate::transport::Bye;

use bell::Bell;
use bell::News;
pub(super) use bell::{Cord, Cords};
use dues::Dues;
use listing::{Listing, Listings};
use pump::Pump;
pub use pump::SocketOptions;
use slab::SlotId;
pub use slot::{Framing, Held};

/// The shards of a gateway, one a core.
pub struct Shards {
    bells: Vec<Arc<Bell<Call>>>,
    stalled: Arc<AtomicU64>,
}

/// What a shard is told.
pub(super) enum Call {
    /// There is news for a group of its streams.
    News(News),
    /// A socket comes with its stream.
    Arrival(Box<Arrival>),
    /// The page that a stream waits for is here.
    Loaded(Box<Loaded>),
    /// A stream is to be cut.
    Cut(SlotId, EndReason),
    /// Somebody wants to see its streams.
    Show(Box<Listing>),
    /// Rules or keys have changed.
    Rules,
    /// The end begins.
    Drain,
    /// What is left ends at once.
    End,
}

impl From<News> for Call {
    fn from(news: News) -> Self {
        Self::News(news)
    }
}

/// A stream that comes, and the connection that it comes on.
pub(super) struct Arrival {
    /// The stream.
    stream: Unbegun,
    /// The connection.
    connection: Connection,
}

/// A connection on which a response has yet to begin.
pub struct Connection {
    /// Its socket, which must not block.
    pub socket: OwnedFd,
    /// The head of the response, which goes out with the first bytes of its content.
    pub head: Vec<u8>,
    /// How the content is framed.
    pub framing: Framing,
    /// What goes with the connection until its end.
    pub held: Held,
}

/// A page that was fetched.
pub(super) struct Loaded {
    slot: SlotId,
    /// How often events had been removed when it was asked for.
    removals: u64,
    page: Result<Arc<Page>, ReadError>,
}

impl Shards {
    /// A shard on each of these runtimes, which each run on a core of their own. On other systems than Linux there are none.
    ///
    /// # Errors
    /// Those of the operating system: there are too many open files.
    pub fn start(cores: &[Handle], shutdown: &Shutdown, options: SocketOptions) -> io::Result<Option<Self>> {
        let stalled = Arc::new(AtomicU64::new(0));
        let mut bells = Vec::new();
        for core in cores {
            let (bell, poller) = (Arc::new(Bell::default()), Poller::new()?);
            let pump = Pump::new(poller, Arc::clone(&bell), options, Arc::clone(&stalled), Instant::now());
            let (told, stop) = (Arc::clone(&bell), shutdown.clone());
            shutdown.spawn_service_on(core, async move {
                stop.draining().await;
                told.ring(Call::Drain);
                stop.cutting().await;
                told.ring(Call::End);
            });
            let shard = Shard {
                pump,
                bell: Arc::clone(&bell),
                shutdown: shutdown.clone(),
                listings: Listings::default(),
                newest: None,
                heeds: false,
                over: false,
            };
            shutdown.spawn_service_on(core, shard.run());
            bells.push(bell);
        }
        Ok(Some(Self { bells, stalled }))
    }

    /// How many connections ended because their peers took nothing for too long.
    #[must_use]
    pub fn stalled(&self) -> u64 {
        self.stalled.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bells.len()
    }

    /// Asks each of them for its streams.
    pub(super) fn show(&self, asked: Asked) -> Vec<oneshot::Receiver<Chosen>> {
        let ask = |bell: &Arc<Bell<Call>>| {
            let (listing, answered) = Listing::new(asked);
            bell.ring(Call::Show(Box::new(listing)));
            answered
        };
        self.bells.iter().map(ask).collect()
    }

    /// Gives a stream on its connection to the shard of a core.
    pub fn adopt(&self, core: usize, stream: Unbegun, connection: Connection) {
        self.bells[core % self.bells.len()].ring(Call::Arrival(Box::new(Arrival { stream, connection })));
    }
}

/// One shard, which is a task.
struct Shard {
    pump: Pump,
    bell: Arc<Bell<Call>>,
    shutdown: Shutdown,
    /// Who wants to see its streams.
    listings: Listings,
    /// What the newest of its streams was opened by; it knows how returning readers are spread.
    newest: Option<Delivery>,
    /// Whether it is told when rules or keys change.
    heeds: bool,
    /// Whether what is left has been ended: whatever comes then has come too late.
    over: bool,
}

impl Shard {
    /// Until nobody needs it any more.
    async fn run(mut self) {
        let sockets = watched(self.pump.poller.descriptor());
        let shutdown = self.shutdown.clone();
        let mut quiet = pin!(shutdown.quiet());
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut calls = Vec::new();
        let mut more = false;
        loop {
            let goes_on = self.pump.has_work() || more || !self.listings.is_empty();
            if goes_on {
                tokio::task::yield_now().await; // Accepts, receipts and new events come in between.
            }
            let (mut ready, mut due) = (more, false);
            let over = poll_fn(|context| {
                let called = self.bell.poll(context).is_ready();
                due |= poll_due(&self.pump.dues, timer.as_mut(), context);
                while let Poll::Ready(Ok(mut guard)) = sockets.poll_read_ready(context) {
                    guard.clear_ready();
                    ready = true;
                }
                match quiet.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(true),
                    Poll::Pending if goes_on || called || due || ready => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                }
            });
            if over.await {
                return;
            }
            self.bell.take(&mut calls);
            calls.drain(..).for_each(|call| self.heed(call));
            let now = Instant::now();
            more = ready && self.pump.listen(now).unwrap_or_else(|error| unwatched(&error));
            if due {
                self.pump.look_after(now);
            }
            self.pump.slice(now);
            if !self.listings.is_empty() {
                self.listings.go_on(&self.pump, now);
            }
            if !self.pump.wants.is_empty() {
                self.fetch();
            }
        }
    }

    fn heed(&mut self, call: Call) {
        match call {
            Call::News(news) => self.pump.start_train(news),
            Call::Arrival(arrival) => self.take_in(*arrival),
            Call::Loaded(loaded) => self.pump.give(*loaded),
            Call::Cut(slot, EndReason::Superseded) => self.pump.supersede(slot, self.retry()()),
            Call::Cut(slot, reason) => self.pump.cut(slot, reason),
            Call::Show(listing) => self.listings.push(listing),
            Call::Rules => self.pump.heed_rules(self.retry()),
            Call::Drain => self.pump.say_goodbye(Bye::Drain, self.retry(), EndReason::ServerShutdown),
            Call::End => {
                self.over = true;
                self.pump.end();
            }
        }
    }

    /// After what time a stream that ends comes back.
    fn retry(&self) -> impl Fn() -> Duration + 'static {
        let newest = self.newest.clone();
        move || newest.as_ref().map_or(Duration::from_secs(2), Delivery::retry_after_drain)
    }

    fn take_in(&mut self, Arrival { stream, connection }: Arrival) {
        if self.over {
            return; // Its connection left hyper just then. Nobody would end it any more.
        }
        let Unbegun { stream, delivery, cut, leave: _, permit } = stream;
        if !self.heeds
            && let Some(changes) = permit.changes()
        {
            self.heeds = true;
            self.shutdown.spawn_service(tell_of_rules(changes, Arc::clone(&self.bell), self.shutdown.clone()));
        }
        let Some(slot) = self.pump.adopt(stream, connection, permit) else { return };
        if let Some(cut) = cut.cuttable() {
            let bell = Arc::clone(&self.bell);
            cut.by(move |reason| bell.ring(Call::Cut(slot, reason)));
            self.pump.hold(slot, Box::new(cut));
        }
        if self.shutdown.is_draining() {
            self.pump.say_goodbye_to(slot, Bye::Drain, delivery.retry_after_drain(), EndReason::ServerShutdown);
        }
        self.newest = Some(delivery);
    }

    /// Has the pages fetched that streams wait for.
    fn fetch(&mut self) {
        for (slot, at) in self.pump.wants.drain(..).collect::<Vec<_>>() {
            let Some(hub) = self.pump.hub(slot) else { continue };
            let (bell, removals) = (Arc::clone(&self.bell), hub.pages().removals());
            let fetching = self.shutdown.spawn(async move {
                let page = hub.load(at).await;
                bell.ring(Call::Loaded(Box::new(Loaded { slot, removals, page })));
            });
            self.pump.waits(slot, fetching);
        }
    }
}

/// A stream that waits for a page that holds this offset.
type Want = (SlotId, Offset);

/// Whether a deadline has come; if not, the timer wakes the task then.
fn poll_due(dues: &Dues, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> bool {
    let Some(next) = dues.next() else { return false };
    if timer.deadline() != next {
        timer.as_mut().reset(next);
    }
    timer.poll(context).is_ready()
}

async fn tell_of_rules(mut changes: Changes, bell: Arc<Bell<Call>>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = changes.next() => bell.ring(Call::Rules),
            () = shutdown.quiet() => return,
        }
    }
}

#[expect(
    deprecated,
    reason = "the other way is unsafe, for descriptors that may be closed meanwhile; this one is held"
)]
fn watched(poller: Arc<OwnedFd>) -> AsyncFd<Arc<OwnedFd>> {
    AsyncFd::with_interest(poller, Interest::READABLE).unwrap_or_else(|error| unwatched(&error))
}

/// Streams would be taken in and never served.
fn unwatched(error: &io::Error) -> ! {
    tracing::error!(error = error as &dyn Error, "a shard cannot watch its sockets; the gateway cannot go on");
    std::process::abort()
}
