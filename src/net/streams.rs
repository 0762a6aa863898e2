//! The streams of an HTTP/2 connection: how far each answer may run ahead of its peer, and how long that peer may take
//! nothing of it.
//!
//! A peer can hold one stream's window shut while its socket takes PINGs, so the socket's clock does not see it. And
//! while the window is shut, hyper polls no body: a body cannot end itself. So the pieces themselves say when they are
//! taken, and the connection looks after its streams: nothing taken for too long, and the task of the stream is ended. h2
//! then drops what is queued, and tells the peer (`RST_STREAM`).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Counters;
use super::outbound::{AHEAD, with_rest};
use super::resets::Resets;
use crate::delivery::{Gone, Peer};
use crate::shutdown::Shutdown;

/// The answer side of one stream: shared by its task, its body, and the pieces that h2 holds.
#[derive(Debug)]
pub(super) struct Sending {
    peer: Arc<Peer>,
    state: Mutex<State>,
    /// Counts the stream, for as long as anything of it is under way.
    open: OneStream,
}

#[derive(Debug)]
struct State {
    /// Bytes handed over and not yet taken.
    ahead: usize,
    /// When `ahead` last went down, or up from nothing.
    moved: Instant,
    /// The task, while its body waits for `ahead` to go down.
    waiting: Option<Waker>,
    /// The same, to end it.
    task: Option<AbortHandle>,
}

impl Sending {
    fn new(connection: &Arc<Peer>, streams: &Streams) -> Self {
        let state = State { ahead: 0, moved: Instant::now(), waiting: None, task: None };
        Self { peer: Arc::new(Peer::of_stream(connection)), state: Mutex::new(state), open: streams.one() }
    }

    /// What the stream knows of its peer.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(self: &Arc<Self>, bytes: Bytes) -> Piece {
        let mut state = self.state();
        if state.ahead == 0 {
            state.moved = Instant::now();
        }
        state.ahead += bytes.len();
        Piece { bytes, sending: Arc::clone(self) }
    }

    fn taken(&self, bytes: usize) {
        let waiting = {
            let mut state = self.state();
            state.ahead -= bytes;
            state.moved = Instant::now();
            if state.ahead < AHEAD { state.waiting.take() } else { None }
        };
        if let Some(task) = waiting {
            task.wake();
        }
    }

    /// Ready while no more than `limit` bytes are under way.
    fn poll_ahead(&self, limit: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.ahead <= limit {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Since when the peer has taken nothing, though there is something for it.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.ahead > 0).then_some(state.moved)
    }

    /// Its body is dropped before its end; whether that is an error of the peer's, or it has cancelled it.
    fn dropped(&self) {
        if self.peer.gone() == Gone::No && self.open.0.0.resets.take() {
            self.peer.record(Gone::StreamReset);
        }
    }

    /// Ends the stream, of which its peer takes nothing.
    #[cold]
    fn stalled(&self, counters: &Counters) {
        if self.peer.gone() == Gone::No {
            self.peer.record(Gone::Stalled);
            counters.stalled.fetch_add(1, Ordering::Relaxed);
        }
        let task = self.state().task.take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Bytes on their way to the peer. They are taken when they go into the socket's buffer, one write at a time.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    sending: Arc<Sending>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.sending.taken(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.sending.taken(self.bytes.len());
        }
    }
}

pin_project! {
    /// A body in small pieces, that stays until the last of them is taken: what is still queued has a stream to look after.
    pub(super) struct Sent<B> {
        #[pin]
        body: B,
        rest: Bytes,
        end: End,
        sending: Arc<Sending>,
    }

    impl<B> PinnedDrop for Sent<B> {
        fn drop(this: Pin<&mut Self>) {
            // Before the body goes, which tells of its end.
            if matches!(this.end, End::Unknown) {
                this.sending.dropped();
            }
        }
    }
}

/// What ends a body.
enum End {
    Unknown,
    /// Trailers. Boxed, as most bodies have none.
    Trailers(Box<HeaderMap>),
    Nothing,
}

impl<B> Sent<B> {
    pub(super) fn new(body: B, sending: Arc<Sending>) -> Self {
        Self { body, rest: Bytes::new(), end: End::Unknown, sending }
    }
}

impl<B: Body<Data = Bytes>> Body for Sent<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let mut this = self.project();
        ready!(this.sending.poll_ahead(AHEAD - 1, cx));
        while this.rest.is_empty() && matches!(this.end, End::Unknown) {
            match ready!(this.body.as_mut().poll_frame(cx)?) {
                Some(frame) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(other) => {
                        *this.end =
                            other.into_trailers().map_or(End::Unknown, |fields| End::Trailers(Box::new(fields)));
                    }
                },
                None => *this.end = End::Nothing,
            }
        }
        if this.rest.is_empty() {
            ready!(this.sending.poll_ahead(0, cx));
            return Poll::Ready(match std::mem::replace(this.end, End::Nothing) {
                End::Trailers(fields) => Some(Ok(Frame::trailers(*fields))),
                End::Unknown | End::Nothing => None,
            });
        }
        let piece = this.rest.split_to(this.rest.len().min(AHEAD));
        Poll::Ready(Some(Ok(Frame::data(this.sending.hand_over(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match self.end {
            End::Unknown => self.body.is_end_stream(),
            End::Trailers(_) => false,
            End::Nothing => true,
        };
        is_over && self.rest.is_empty() && self.sending.idle_since().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        with_rest(self.body.size_hint(), self.rest.len())
    }
}

/// The streams of one connection. It runs hyper's tasks of them, which the end waits for.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shutdown: Shutdown,
    /// How many are open.
    open: watch::Sender<usize>,
    /// How many were begun.
    begun: AtomicUsize,
    /// The one whose request was handed over last: hyper then spawns its task, before it does anything else.
    newest: Mutex<Option<Arc<Sending>>>,
    /// Those that were spawned, and among them some that have ended.
    spawned: Mutex<Vec<Weak<Sending>>>,
    /// Those that the peer has reset for an error, and that have not ended yet.
    resets: Resets,
}

/// One of them, for as long as it is held.
#[derive(Debug)]
struct OneStream(Streams);

impl Streams {
    pub(super) fn none(shutdown: Shutdown) -> Self {
        let open = watch::Sender::new(0);
        Self(Arc::new(Inner {
            shutdown,
            open,
            begun: AtomicUsize::new(0),
            newest: Mutex::default(),
            spawned: Mutex::default(),
            resets: Resets::default(),
        }))
    }

    /// The next one, whose task is about to be spawned.
    pub(super) fn begin(&self, connection: &Arc<Peer>) -> Arc<Sending> {
        let sending = Arc::new(Sending::new(connection, self));
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        *self.newest() = Some(Arc::clone(&sending));
        sending
    }

    /// How many were begun until now.
    pub(super) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Those that the peer has reset for an error.
    pub(super) fn resets(&self) -> &Resets {
        &self.0.resets
    }

    fn one(&self) -> OneStream {
        self.0.open.send_modify(|open| *open += 1);
        OneStream(self.clone())
    }

    /// Waits until none has been open for `time`.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut open = self.0.open.subscribe();
        // The sender is in `self`: it outlives this.
        while open.wait_for(|open| *open == 0).await.is_ok() {
            if timeout(time, open.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Ends those whose peer takes nothing for `stall`, as long as it is polled.
    ///
    /// Cost: one timer a connection, which goes off once in that time while nothing stalls.
    pub(super) async fn end_stalled(&self, stall: Duration, counters: &Counters) -> Infallible {
        loop {
            let (late, next) = self.stalled(Instant::now(), stall);
            late.iter().for_each(|sending| sending.stalled(counters));
            sleep_until(next).await;
        }
    }

    /// Those of which nothing was taken for `stall`, and when the next one may be such.
    fn stalled(&self, now: Instant, stall: Duration) -> (Vec<Arc<Sending>>, Instant) {
        let (mut late, mut next) = (Vec::new(), now + stall); // What is handed over from here on has until then.
        self.spawned().retain(|sending| {
            let Some(sending) = sending.upgrade() else { return false };
            match sending.idle_since().map(|since| since + stall) {
                Some(deadline) if deadline <= now => late.push(sending),
                Some(deadline) => next = next.min(deadline),
                None => {}
            }
            true
        });
        (late, next)
    }

    fn newest(&self) -> MutexGuard<'_, Option<Arc<Sending>>> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawned(&self) -> MutexGuard<'_, Vec<Weak<Sending>>> {
        self.0.spawned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OneStream {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let task = self.0.shutdown.spawn(task);
        let Some(sending) = self.newest().take() else { return };
        sending.state().task = Some(task);
        let mut spawned = self.spawned();
        if spawned.len() == spawned.capacity() {
            spawned.retain(|sending| sending.strong_count() > 0);
        }
        spawned.push(Arc::downgrade(&sending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hyper's task of a stream holds the answer first and then the body, and is as large as the larger of them.
    #[test]
    fn what_a_stream_holds_while_nothing_happens_is_small() {
        type Service = tower::util::BoxCloneService<http::Request<super::super::Content>, (), Infallible>;
        let body = size_of::<Sent<Pin<Box<()>>>>();
        assert!(body <= 64, "a body: {body} bytes");
        let answer = size_of::<super::super::service::Boxed<Service>>();
        assert!(answer <= 16, "an answer to come: {answer} bytes");
        assert!(size_of::<Sending>() <= 80, "what is shared: {} bytes", size_of::<Sending>());
    }
}
