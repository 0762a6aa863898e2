//! One page on its way from the log to one stream, while the stream has other things to do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::event::Offset;
use crate::hub::{Hub, Page};
use crate::log::ReadError;
use crate::shutdown::Shutdown;

/// The page that a stream waits for, if it waits for one. Dropped, the page is not fetched any more.
///
/// It is fetched by a task of its own: the stream stops for as long as its peer takes nothing, and must not stop then
/// with a turn in its hands that others wait for. Nor may it lose its turn whenever a heartbeat is due.
pub(super) struct Fetch {
    hub: Arc<Hub>,
    shutdown: Shutdown,
    coming: Option<(Offset, Coming)>,
    /// How often events had been removed when it was asked for.
    removals: u64,
}

type Coming = oneshot::Receiver<Result<Arc<Page>, ReadError>>;

impl Fetch {
    pub(super) fn new(hub: &Arc<Hub>, shutdown: &Shutdown) -> Self {
        Self { hub: Arc::clone(hub), shutdown: shutdown.clone(), coming: None, removals: 0 }
    }

    /// Fetches the page that holds this offset, if it is not on its way already; any other is no longer wanted.
    pub(super) fn want(&mut self, at: Offset) {
        if self.coming.as_ref().is_none_or(|(coming, _)| *coming != at) {
            self.coming = Some((at, self.begin(at)));
        }
    }

    fn begin(&mut self, at: Offset) -> Coming {
        self.removals = self.hub.pages().removals();
        let (mut sender, receiver) = oneshot::channel();
        let hub = Arc::clone(&self.hub);
        self.shutdown.spawn(async move {
            tokio::select! {
                page = hub.load(at) => drop(sender.send(page)),
                () = sender.closed() => {}
            }
        });
        receiver
    }

    /// The page that is wanted, once it is here; never, if none is.
    pub(super) fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Page>, ReadError>> {
        loop {
            let Some((at, coming)) = &mut self.coming else { return Poll::Pending };
            let (at, page) = (*at, ready!(Pin::new(coming).poll(cx)));
            let is_stale = |page: &Page| self.hub.pages().may_be_removed(page.first()..=page.last(), self.removals);
            if let Ok(Ok(page)) = &page
                && is_stale(page)
            {
                // It lay here while events of it were removed. Nobody marks them in a page that memory has let go.
                self.coming = Some((at, self.begin(at)));
                continue;
            }
            self.coming = None;
            return Poll::Ready(page.unwrap_or_else(|_| Err(ReadError("the page was not fetched to its end".into()))));
        }
    }
}
