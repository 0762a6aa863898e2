//! The time limits of a request head, as hyper's timer.
//!
//! hyper starts its head timer when it begins to wait for a request, so its one limit covers both an idle connection and
//! a slow head. But it starts exactly then and stops when the head is complete, so our own timer in its place knows when
//! an exchange is over, which nothing else tells, and can hold the two limits apart.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::exchange::Exchange;

/// Gives hyper the clocks of one connection's heads.
#[derive(Debug)]
pub(super) struct HeadTimer {
    pub(super) exchange: Arc<Exchange>,
    pub(super) head_timeout: Duration,
    pub(super) keep_alive: Duration,
}

impl HeadTimer {
    fn wait(&self) -> Pin<Box<dyn Sleep>> {
        let since = Instant::now();
        let mut wait = HeadWait {
            exchange: Arc::clone(&self.exchange),
            head_timeout: self.head_timeout,
            keep_alive: self.keep_alive,
            since,
            sleep: Box::pin(tokio::time::sleep_until(since)),
        };
        let deadline = wait.deadline();
        wait.sleep.as_mut().reset(deadline);
        Box::pin(wait)
    }
}

#[expect(clippy::disallowed_types, reason = "hyper's trait names std's clock; the deadlines are tokio's")]
impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.wait()
    }

    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.wait()
    }
}

/// The wait for one head: over when it should be complete by now, or should have begun.
struct HeadWait {
    exchange: Arc<Exchange>,
    head_timeout: Duration,
    keep_alive: Duration,
    since: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl HeadWait {
    fn deadline(&self) -> Instant {
        let progress = self.exchange.inbound.progress();
        match progress.begun {
            // A pipelined head may have begun long ago, while the answer before it was still being written.
            Some(begun) => begun.max(self.since) + self.head_timeout,
            None if progress.served => self.since + self.keep_alive,
            None => self.since + self.head_timeout,
        }
    }
}

impl Future for HeadWait {
    type Output = ();

    /// hyper polls this each time a read has brought bytes, but not yet the whole head.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.exchange.outbound.is_blocked() {
            self.since = Instant::now(); // The last answer is still on its way: the stall rule holds, not this one.
        }
        let deadline = self.deadline();
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl Sleep for HeadWait {}
