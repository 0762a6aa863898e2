//! How far an HTTP/2 answer may run ahead of its peer, and how long that peer may take nothing of it.
//!
//! A peer can hold one stream's window shut while its socket takes PINGs, so the socket's clock does not see it. And
//! while the window is shut, hyper polls no body: a body cannot end itself. So the pieces themselves say when they are
//! taken, and the task of each stream is watched: nothing taken for too long, and it is dropped. h2 then drops what is
//! queued, and tells the peer (`RST_STREAM`).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Counters;
use super::outbound::{AHEAD, with_rest};
use crate::delivery::{Gone, Peer};
use crate::shutdown::Shutdown;

/// The answer side of one stream: shared by its task, its body, and the pieces that h2 holds.
#[derive(Debug)]
pub(super) struct Sending {
    peer: Arc<Peer>,
    state: Mutex<State>,
    /// Counts the stream, for as long as anything of it is under way.
    _open: OneStream,
}

#[derive(Debug)]
struct State {
    /// Bytes handed over and not yet taken.
    ahead: usize,
    /// When `ahead` last went down, or up from nothing.
    moved: Instant,
    /// The task, while its body waits for `ahead` to go down.
    waiting: Option<Waker>,
}

impl Sending {
    pub(super) fn new(connection: &Arc<Peer>, open: &OpenStreams) -> Self {
        let state = State { ahead: 0, moved: Instant::now(), waiting: None };
        Self { peer: Arc::new(Peer::of_stream(connection)), state: Mutex::new(state), _open: open.one() }
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
    /// A body in small pieces, that stays until the last of them is taken: what is still queued has a task to watch.
    pub(super) struct Sent<B> {
        #[pin]
        body: B,
        rest: Bytes,
        // What ends the body, once that is known.
        end: Option<Option<Frame<Piece>>>,
        sending: Arc<Sending>,
    }
}

impl<B> Sent<B> {
    pub(super) fn new(body: B, sending: Arc<Sending>) -> Self {
        Self { body, rest: Bytes::new(), end: None, sending }
    }
}

impl<B: Body<Data = Bytes>> Body for Sent<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let mut this = self.project();
        ready!(this.sending.poll_ahead(AHEAD - 1, cx));
        while this.rest.is_empty() && this.end.is_none() {
            match ready!(this.body.as_mut().poll_frame(cx)?) {
                Some(frame) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(other) => *this.end = other.into_trailers().ok().map(|fields| Some(Frame::trailers(fields))),
                },
                None => *this.end = Some(None),
            }
        }
        if this.rest.is_empty() {
            ready!(this.sending.poll_ahead(0, cx));
            return Poll::Ready(this.end.replace(None).flatten().map(Ok));
        }
        let piece = this.rest.split_to(this.rest.len().min(AHEAD));
        Poll::Ready(Some(Ok(Frame::data(this.sending.hand_over(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && self.sending.idle_since().is_none()
            && self.end.as_ref().map_or_else(|| self.body.is_end_stream(), Option::is_none)
    }

    fn size_hint(&self) -> SizeHint {
        with_rest(self.body.size_hint(), self.rest.len())
    }
}

/// The stream whose request was handed over last: hyper then spawns its task, before it does anything else.
pub(super) type Newest = Arc<Mutex<Option<Arc<Sending>>>>;

/// How many streams of a connection are open.
#[derive(Clone, Debug)]
pub(super) struct OpenStreams(Arc<watch::Sender<usize>>);

/// One of them, for as long as it is held.
#[derive(Debug)]
struct OneStream(OpenStreams);

impl OpenStreams {
    pub(super) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    fn one(&self) -> OneStream {
        self.0.send_modify(|open| *open += 1);
        OneStream(self.clone())
    }

    /// Waits until none has been open for `time`.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut open = self.0.subscribe();
        // The sender is in `self`: it outlives this.
        while open.wait_for(|open| *open == 0).await.is_ok() {
            if timeout(time, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for OneStream {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}

/// Runs hyper's HTTP/2 streams as tasks that the end waits for, and ends those whose peer takes nothing.
#[derive(Clone)]
pub(super) struct Tracked {
    pub(super) newest: Newest,
    pub(super) stall: Duration,
    pub(super) counters: Arc<Counters>,
    pub(super) shutdown: Shutdown,
}

impl<F> Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        match self.newest.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(sending) => self.shutdown.spawn(watched(task, sending, self.stall, Arc::clone(&self.counters))),
            None => self.shutdown.spawn(task),
        };
    }
}

/// Runs the task of a stream until its end, or until its peer has taken nothing for `stall`.
async fn watched(task: impl Future<Output = ()>, sending: Arc<Sending>, stall: Duration, counters: Arc<Counters>) {
    let mut task = pin!(task);
    let mut alarm: Option<Pin<Box<Sleep>>> = None; // One for many pieces: it looks again when it goes off.
    poll_fn(|cx| {
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Only the task itself hands bytes over, so this is looked at after each of them.
        while let Some(since) = sending.idle_since() {
            let deadline = since + stall;
            let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(alarm.as_mut().poll(cx));
            if deadline <= Instant::now() {
                if sending.peer.gone() == Gone::No {
                    sending.peer.record(Gone::Stalled);
                    counters.stalled.fetch_add(1, Ordering::Relaxed);
                }
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await;
}
