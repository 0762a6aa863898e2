//! How far an HTTP/1 answer may run ahead of its socket.
//!
//! hyper copies a body into one buffer (one contiguous `send` is cheaper than three pieces for small events) that never
//! shrinks and whose limit it shares with the request head: 64 KiB and one frame, however large. So the body itself is
//! held back: small pieces, and no more of them than the socket takes. A stalled reader then costs about 32 KiB.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

/// Bytes of a body that hyper may hold, and the largest piece it is given.
pub(super) const AHEAD: usize = 16 * 1024;

/// The answer side of one HTTP/1 connection. All of it is touched by the connection's task alone, hence `Relaxed`.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Bytes taken from the body since hyper's buffer was last empty.
    ahead: AtomicUsize,
    /// Whether the socket took nothing when it was last offered something.
    blocked: AtomicBool,
}

impl Outbound {
    /// hyper's buffer is empty: it flushes the socket only then.
    pub(super) fn flushed(&self) {
        self.ahead.store(0, Ordering::Relaxed);
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

pin_project! {
    /// A body that waits for its socket.
    pub(super) struct Paced<B> {
        #[pin]
        body: B,
        rest: Bytes,
        exchange: Arc<Exchange>,
    }
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, exchange: Arc<Exchange>) -> Self {
        Self { body, rest: Bytes::new(), exchange }
    }
}

impl<B: Body<Data = Bytes>> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let outbound = &this.exchange.outbound;
        let ahead = outbound.ahead.load(Ordering::Relaxed);
        if ahead >= AHEAD {
            // hyper flushes after every `Pending`. If the socket takes all, this wakes the task for the next piece; if
            // not, the socket does when it can be written again.
            if !outbound.is_blocked() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if this.rest.is_empty() {
            match std::task::ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(AHEAD));
        outbound.ahead.store(ahead + piece.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.remaining() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
