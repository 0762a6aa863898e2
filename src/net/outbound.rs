//! How far an HTTP/1 answer may run ahead of its socket.
//!
//! hyper copies a body into one buffer (one contiguous `send` is cheaper than three pieces for small events) that never
//! shrinks and whose limit it shares with the request head: 64 KiB and one frame, however large. So the body itself is
//! held back: small pieces, and no more of them than the socket takes. A stalled reader then costs about 32 KiB.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

/// Bytes of a body that hyper may hold, and the largest piece it is given.
pub(super) const AHEAD: usize = 16 * 1024;

/// What is left of a body of which `rest` bytes were taken and not given on.
pub(super) fn with_rest(mut hint: SizeHint, rest: usize) -> SizeHint {
    let rest = rest as u64;
    if let Some(upper) = hint.upper() {
        hint.set_upper(upper.saturating_add(rest));
    }
    hint.set_lower(hint.lower().saturating_add(rest));
    hint
}

/// The answer side of one HTTP/1 connection. All of it is touched by the connection's task alone, hence `Relaxed`.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Bytes taken from the body since hyper's buffer was last empty.
    ahead: AtomicUsize,
    /// Whether the socket took nothing when it was last offered something.
    blocked: AtomicBool,
    /// Whether a request was handed over and its answer is not yet all with the socket.
    open: AtomicBool,
    /// Whether the answer has begun.
    begun: AtomicBool,
    /// Whether hyper has let go of the answer's body: all of the answer is in its buffer.
    whole: AtomicBool,
}

impl Outbound {
    /// hyper's buffer is empty: it flushes the socket only then.
    pub(super) fn flushed(&self) {
        self.ahead.store(0, Ordering::Relaxed);
        if self.whole.swap(false, Ordering::Relaxed) {
            self.open.store(false, Ordering::Relaxed);
        }
    }

    /// A request is handed over.
    pub(super) fn begin(&self) {
        self.begun.store(false, Ordering::Relaxed);
        self.open.store(true, Ordering::Relaxed);
    }

    /// What hyper writes while this is not so is its own answer to a bad head.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether an answer has begun and is not yet all with the socket.
    pub(super) fn is_answering(&self) -> bool {
        self.is_open() && self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

/// Tells when hyper lets go of a body.
struct Whole(Arc<Exchange>);

impl Drop for Whole {
    fn drop(&mut self) {
        self.0.outbound.whole.store(true, Ordering::Relaxed);
    }
}

pin_project! {
    /// A body that waits for its socket.
    pub(super) struct Paced<B> {
        #[pin]
        body: B,
        rest: Bytes,
        exchange: Whole,
    }
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, exchange: Arc<Exchange>) -> Self {
        exchange.outbound.begun.store(true, Ordering::Relaxed);
        Self { body, rest: Bytes::new(), exchange: Whole(exchange) }
    }
}

impl<B: Body<Data = Bytes>> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let outbound = &this.exchange.0.outbound;
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
        with_rest(self.body.size_hint(), self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use http_body_util::{BodyExt, Full};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_body_comes_in_small_pieces_each_after_the_one_before_is_flushed() {
        let exchange = Arc::new(Exchange::new(1024, None));
        let whole: Bytes = (0..40_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let mut body = Paced::new(Full::new(whole.clone()), Arc::clone(&exchange));
        let wakes = Arc::<Wakes>::default();
        let waker = Arc::clone(&wakes).into();
        let mut cx = Context::from_waker(&waker);
        let mut next = |body: &mut Paced<_>| Pin::new(body).poll_frame(&mut cx).map(|frame| frame.unwrap().unwrap());
        let mut read = Vec::new();
        for (piece, left) in [(AHEAD, 40_000 - AHEAD), (AHEAD, 40_000 - 2 * AHEAD), (40_000 - 2 * AHEAD, 0)] {
            let Poll::Ready(frame) = next(&mut body) else { panic!("nothing of it is in the buffer") };
            let data = frame.into_data().unwrap();
            assert_eq!(data.len(), piece);
            read.extend_from_slice(&data);
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(body.is_end_stream(), left == 0);
            if left > 0 {
                let before = wakes.0.load(Ordering::Relaxed);
                exchange.outbound.set_blocked(true);
                assert!(next(&mut body).is_pending());
                assert_eq!(wakes.0.load(Ordering::Relaxed), before, "the socket will wake the task");
                exchange.outbound.set_blocked(false);
                assert!(next(&mut body).is_pending());
                assert_eq!(wakes.0.load(Ordering::Relaxed), before + 1, "nothing else would");
                exchange.outbound.flushed();
            }
        }
        assert_eq!(read, whole);
    }

    #[tokio::test]
    async fn trailers_pass() {
        let trailers: http::HeaderMap =
            [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
        let with = Full::new(Bytes::from("a")).with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
        let body = Paced::new(with, Arc::new(Exchange::new(1024, None))).collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&trailers));
        assert_eq!(body.to_bytes(), "a");
    }
}
