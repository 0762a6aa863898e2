//! The time limits of a request head, as hyper's timer.
//!
//! hyper starts its head timer when it begins to wait for a request, so its one limit covers both an idle connection and
//! a slow head. But it starts exactly then and stops when the head is complete, so our own timer in its place knows when
//! an exchange is over, which nothing else tells, and can hold the two limits apart.
//!
//! All waits of a connection share one clock, which nobody stops when a head is complete: nearly always the next wait is
//! to end later than the clock rings, so it is left as it is and set anew when it rings, which costs one needless wake-up
//! in the time of a limit, and not two walks through the runtime's timers for each request.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::exchange::Exchange;

/// Gives hyper the clocks of one connection's heads.
#[derive(Debug)]
pub(super) struct HeadTimer(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    exchange: Arc<Exchange>,
    head_timeout: Duration,
    keep_alive: Duration,
    /// The clock, while nobody waits by it.
    clock: Mutex<Option<Clock>>,
}

type Clock = Pin<Box<tokio::time::Sleep>>;

impl HeadTimer {
    pub(super) fn new(exchange: Arc<Exchange>, head_timeout: Duration, keep_alive: Duration) -> Self {
        Self(Arc::new(Limits { exchange, head_timeout, keep_alive, clock: Mutex::default() }))
    }

    fn wait(&self, since: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadWait { limits: Arc::clone(&self.0), since, clock: self.0.clock().take() })
    }
}

impl Limits {
    fn clock(&self) -> impl std::ops::DerefMut<Target = Option<Clock>> + '_ {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_types, reason = "hyper's trait names std's clock; the deadlines are tokio's")]
impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.wait(Instant::now())
    }

    /// `deadline` is the head's limit from now on.
    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.wait(Instant::from_std(deadline) - self.0.head_timeout)
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// The wait for one head: over when it should be complete by now, or should have begun.
struct HeadWait {
    limits: Arc<Limits>,
    since: Instant,
    clock: Option<Clock>,
}

impl HeadWait {
    fn deadline(&self) -> Instant {
        let progress = self.limits.exchange.inbound.progress();
        match progress.begun {
            // A pipelined head may have begun long ago, while the answer before it was still being written.
            Some(begun) => begun.max(self.since) + self.limits.head_timeout,
            None if progress.served => self.since + self.limits.keep_alive,
            None => self.since + self.limits.head_timeout,
        }
    }
}

impl Future for HeadWait {
    type Output = ();

    /// hyper polls this each time a read has brought bytes, but not yet the whole head.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.limits.exchange.outbound.is_blocked() {
            self.since = Instant::now(); // The last answer is still on its way: the stall rule holds, not this one.
        }
        let deadline = self.deadline();
        let clock = self.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if clock.deadline() > deadline {
            clock.as_mut().reset(deadline);
        }
        loop {
            ready!(clock.as_mut().poll(cx));
            if clock.deadline() >= deadline {
                return Poll::Ready(());
            }
            clock.as_mut().reset(deadline); // It was set for a wait that ended long ago.
        }
    }
}

impl Drop for HeadWait {
    fn drop(&mut self) {
        *self.limits.clock() = self.clock.take();
    }
}

impl Sleep for HeadWait {}
