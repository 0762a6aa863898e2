//! Publishes past hyper.
//!
//! A publisher on a kept connection sends one small request after another, each whole in what one read brings, and each is
//! answered by one write. Going through hyper costs more than storing the event. So such requests are read (`whole`), given
//! to the service and answered here, as long as the connection brings no others: with the first one that is not like that,
//! all goes to hyper, from the first byte of that request on, and never comes back.
//!
//! The rules of a connection are the same: how long it may be idle, how a peer that takes nothing ends (`watch`), that one
//! that leaves ends the exchange, and how it drains.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFuture;
use tower::ServiceExt;

use super::answer;
use super::connection::Shared;
use super::content::Content;
use super::outbound::AHEAD;
use super::whole;
use crate::delivery::Peer;

/// The most that is read at once: larger requests are hyper's.
const READ: usize = 8 * 1024;
/// How much room for answers is kept between two of them.
const KEPT: usize = 1024;

/// How many requests are answered before others have their turn, if they come all at once.
pub(super) const AT_ONCE: usize = 8;

/// How a connection leaves.
#[derive(Debug)]
pub(super) enum After {
    /// It goes on in hyper, which gets these bytes first; whether it had requests before.
    Hyper(Vec<u8>, bool),
    /// Its last answer is written.
    Last,
    /// There is nobody any more, or nothing more to say.
    Over,
}

/// Serves what a connection brings after `begin`, with which it has begun.
pub(super) async fn serve<T, S, B>(io: &mut T, begin: Vec<u8>, service: S, peer: &Arc<Peer>, shared: &Shared) -> After
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Shared { options, shutdown, .. } = shared;
    let mut lane = Lane { io, read: begin, written: Vec::new(), shared };
    // What was looked at to tell the protocol is a part of it.
    if !matches!(poll_fn(|cx| Poll::Ready(lane.poll_read(cx))).await, Poll::Ready(Ok(1..))) {
        return After::Hyper(lane.read, false);
    }
    let since = Instant::now();
    let clock = Box::pin(sleep_until(since + options.keep_alive));
    let mut idle = Idle { draining: pin!(shutdown.draining()), clock, since, is_armed: false, is_new: false };
    let (mut served, mut in_turn) = (false, 0);
    loop {
        while let Some((mut request, length)) = whole::request(&lane.read) {
            if in_turn == AT_ONCE {
                in_turn = 0;
                tokio::task::yield_now().await; // Until sockets have been looked at.
            }
            in_turn += 1;
            served = true;
            lane.read.drain(..length);
            request.extensions_mut().insert(Arc::clone(peer));
            let Some(Ok(answer)) = lane.unless_left(service.clone().oneshot(request)).await else { return After::Over };
            let is_last = shutdown.is_draining() || answer.headers().contains_key(header::CONNECTION);
            if !lane.write(answer, is_last).await {
                return After::Over;
            }
            if is_last {
                return After::Last;
            }
        }
        if !lane.read.is_empty() {
            return After::Hyper(lane.read, served);
        }
        idle.begin();
        let read = poll_fn(|cx| {
            let read = idle.poll_read(&mut lane, cx);
            if read.is_pending() {
                in_turn = 0; // Others have their turn.
            }
            read
        });
        match read.await {
            Woken::Read => {}
            Woken::Drained => return After::Last,
            Woken::Over => return After::Over,
        }
    }
}

/// The connection, while it is here.
struct Lane<'a, T> {
    io: &'a mut T,
    /// What was read and not served yet.
    read: Vec<u8>,
    /// What is being written: empty but for its room between two answers.
    written: Vec<u8>,
    shared: &'a Shared,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Lane<'_, T> {
    /// Reads what has come, at most all that there is room for.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(READ.saturating_sub(self.read.len()));
        let mut buffer = pin!(self.io.read_buf(&mut self.read));
        buffer.as_mut().poll(cx)
    }

    /// What comes of `future`. None if the peer closes its side before, or the connection is cut.
    async fn unless_left<R>(&mut self, future: impl Future<Output = R>) -> Option<R> {
        let mut future = pin!(future);
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(done);
        }
        let shutdown = &self.shared.shutdown;
        let left = async {
            while self.read.len() < READ {
                if !matches!(poll_fn(|cx| self.poll_read(cx)).await, Ok(1..)) {
                    return;
                }
            }
            pending().await // What is more stays with the peer, and that it leaves is seen when it is written to.
        };
        tokio::select! {
            biased;
            done = future => Some(done),
            () = left => None,
            () = shutdown.cutting() => None,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Lane<'_, T> {
    /// Writes an answer. Answers whether that came to its end.
    async fn write<B>(&mut self, answer: Response<B>, is_last: bool) -> bool
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = answer.into_parts();
        let mut body = pin!(body);
        let framing = Framing::of(parts.status, &*body);
        answer::begin(&mut self.written, Version::HTTP_11, parts.status, &parts.headers);
        if !parts.headers.contains_key(header::CONTENT_LENGTH) {
            framing.tell(&mut self.written); // A router has told it already.
        }
        if is_last && !parts.headers.contains_key(header::CONNECTION) {
            self.written.extend_from_slice(b"connection: close\r\n");
        }
        answer::end(&mut self.written, SystemTime::now());
        while framing != Framing::Nothing && !body.is_end_stream() {
            let now = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx).map(piece))).await;
            let data = match now {
                Poll::Ready(piece) => piece,
                Poll::Pending => {
                    if !self.flush().await {
                        return false;
                    }
                    self.unless_left(async { piece(body.frame().await) }).await.unwrap_or(Piece::CutOff)
                }
            };
            let data = match data {
                Piece::Data(data) => data,
                Piece::End => break,
                Piece::CutOff => return false, // The peer sees it by its framing.
            };
            if !self.put(data, framing).await {
                return false;
            }
        }
        if framing == Framing::Chunked {
            self.written.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush().await
    }

    /// Writes a piece of content, if not now then with what follows.
    async fn put(&mut self, mut data: Bytes, framing: Framing) -> bool {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(AHEAD));
            if framing == Framing::Chunked {
                write!(self.written, "{:X}\r\n", piece.len()).expect("a Vec takes every byte");
            }
            self.written.extend_from_slice(&piece);
            if framing == Framing::Chunked {
                self.written.extend_from_slice(b"\r\n");
            }
            if self.written.len() >= AHEAD && !self.flush().await {
                return false;
            }
        }
        true
    }

    /// Gives the socket what is written. Answers whether it took it.
    async fn flush(&mut self) -> bool {
        let mut taken = pin!(async {
            self.io.write_all(&self.written).await?;
            self.io.flush().await
        });
        let taken = match poll_fn(|cx| Poll::Ready(taken.as_mut().poll(cx))).await {
            Poll::Ready(taken) => taken.is_ok(),
            Poll::Pending => tokio::select! {
                biased;
                taken = taken => taken.is_ok(),
                () = self.shared.shutdown.cutting() => false,
            },
        };
        self.written.clear();
        self.written.shrink_to(KEPT);
        taken
    }
}

/// What comes next of an answer's content.
enum Piece {
    Data(Bytes),
    End,
    CutOff,
}

fn piece<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Piece {
    match frame {
        None => Piece::End,
        Some(Err(_)) => Piece::CutOff,
        Some(Ok(frame)) => Piece::Data(frame.into_data().unwrap_or_default()), // There are no trailers of ours.
    }
}

/// How the content of an answer is told apart from the next one (RFC 9112 § 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// It has none.
    Nothing,
    Sized(u64),
    Chunked,
}

impl Framing {
    fn of<B: Body>(status: StatusCode, body: &B) -> Self {
        if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Self::Nothing;
        }
        body.size_hint().exact().map_or(Self::Chunked, Self::Sized)
    }

    fn tell(self, head: &mut Vec<u8>) {
        match self {
            Self::Nothing => {}
            Self::Sized(length) => write!(head, "content-length: {length}\r\n").expect("a Vec takes every byte"),
            Self::Chunked => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
    }
}

/// The wait for the next request. It lasts as long as the connection, so that between two requests it costs a look at
/// whether something has happened.
struct Idle<'a, 'b> {
    draining: Pin<&'a mut WaitForCancellationFuture<'b>>,
    clock: Pin<Box<Sleep>>,
    since: Instant,
    /// Whether drain and clock know whom to wake, which stays so.
    is_armed: bool,
    /// Whether this wait has just begun.
    is_new: bool,
}

/// What ended a wait.
enum Woken {
    Read,
    Drained,
    Over,
}

impl Idle<'_, '_> {
    fn begin(&mut self) {
        self.since = Instant::now();
        self.is_new = true;
    }

    fn poll_read<T>(&mut self, lane: &mut Lane<'_, T>, cx: &mut Context<'_>) -> Poll<Woken>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        match lane.poll_read(cx) {
            Poll::Ready(Ok(1..)) => return Poll::Ready(Woken::Read),
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Woken::Over),
            Poll::Pending => {}
        }
        let Shared { options, shutdown, .. } = lane.shared;
        let is_new = std::mem::take(&mut self.is_new);
        if is_new && self.is_armed && !shutdown.is_draining() && !self.clock.is_elapsed() {
            return Poll::Pending;
        }
        self.is_armed = true;
        if self.draining.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::Drained);
        }
        // The clock is left as it is while there are requests, and set anew when it rings.
        let deadline = self.since + options.keep_alive;
        while self.clock.as_mut().poll(cx).is_ready() {
            if self.clock.deadline() >= deadline {
                return Poll::Ready(Woken::Over);
            }
            self.clock.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
