//! The wish to end, and what it cuts off: waiting at once, a request only when it takes too long to be answered.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::time::timeout;

/// How long a request that was already sent may still take.
const GRACE: Duration = Duration::from_secs(5);

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT: a person at the terminal has enough.
    Interrupt,
    /// SIGTERM: whoever runs us has.
    Terminate,
}

/// Resolves at SIGINT or SIGTERM; both are heard from the moment of this call.
pub(crate) fn signal() -> io::Result<impl Future<Output = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        }
    })
}

/// Resolves when whoever reads standard output has closed it (`… | head`), also while there is nothing to write. Never where
/// that cannot be known: of a file, say.
pub(crate) async fn unread() {
    // A handle of its own, to which nothing is written: so it does not matter that the pipe blocks.
    let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
    match stdout {
        Ok(stdout) => drop(stdout.ready(Interest::ERROR).await),
        Err(_) => std::future::pending().await,
    }
}

/// A wish to end that may come at any time.
pub(crate) struct Stop<'a, F> {
    wish: Pin<&'a mut F>,
    came: bool,
}

impl<'a, F: Future<Output = ()>> Stop<'a, F> {
    pub(crate) fn new(wish: Pin<&'a mut F>) -> Self {
        Self { wish, came: false }
    }

    /// Whether it came until now.
    pub(crate) async fn has_come(&mut self) -> bool {
        self.came = self.came || poll_fn(|context| Poll::Ready(self.wish.as_mut().poll(context).is_ready())).await;
        self.came
    }

    /// What `work` gives; `None` if the wish comes before that.
    pub(crate) async fn cuts<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        if self.came {
            return None;
        }
        tokio::select! {
            done = work => Some(done),
            () = self.wish.as_mut() => {
                self.came = true;
                None
            }
        }
    }

    /// What `work` gives; `None` if it takes more than [`GRACE`] from the moment of the wish.
    pub(crate) async fn lets_end<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.lets_end_within(GRACE, work).await
    }

    /// The same with another grace.
    pub(crate) async fn lets_end_within<T>(&mut self, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        match self.cuts(work.as_mut()).await {
            Some(done) => Some(done),
            None => timeout(grace, work).await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_may_end_within_the_grace_and_waiting_is_cut() {
        let second = Duration::from_secs(1);
        for (takes, outcome, until) in [(second, Some(()), 1), (5 * second, Some(()), 5), (9 * second, None, 7)] {
            let began = Instant::now();
            let mut wish = pin!(sleep(2 * second));
            let mut stop = Stop::new(wish.as_mut());
            assert!(!stop.has_come().await);
            assert_eq!(stop.lets_end(sleep(takes)).await, outcome);
            assert_eq!(began.elapsed().as_secs(), until);
            assert_eq!(stop.has_come().await, until > 1);
        }
        let mut wish = pin!(ready(()));
        let mut stop = Stop::new(wish.as_mut());
        assert_eq!(stop.cuts(pending::<()>()).await, None);
        assert!(stop.has_come().await, "also when asked again");
        assert_eq!(stop.cuts(ready(1)).await, None, "nothing new begins");
    }
}
