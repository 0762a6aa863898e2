//! What hyper reads from and writes to.
//!
//! It hands hyper the bytes of one message at a time, so that raw heads can be told apart. hyper gets the next head only when
//! the last answer has left it: so what it writes between two exchanges is its own bare answer to a bad head, which is kept
//! back for one in our words. It records that the peer has closed its side, which TLS says before the socket (`watch`) does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::exchange::Exchange;
use super::express::AT_ONCE;
use super::turn::give_way;
use crate::delivery::{Gone, Peer};

/// Bytes read ahead, at most, behind a request whose answer is not yet all with the socket.
const AHEAD: usize = 8 * 1024;

/// One connection, as hyper sees it.
pub(super) struct Observed<T> {
    io: T,
    peer: Arc<Peer>,
    stall: Duration,
    /// Whether bytes were offered and not all of them taken.
    blocked: bool,
    /// Bytes read that hyper gets later.
    held: BytesMut,
    /// Runs while more is held than may be read ahead, so that the peer is not seen to leave.
    blind: Option<Pin<Box<Sleep>>>,
    /// None until the protocol is known, and for HTTP/2.
    exchange: Option<Arc<Exchange>>,
    /// Whether the peer closed its side.
    closed: bool,
    /// Whether hyper answered a bad head itself.
    hushed: bool,
    /// Requests that hyper was given in this turn.
    in_turn: usize,
}

impl<T> Observed<T> {
    pub(super) fn new(io: T, peer: Arc<Peer>, stall: Duration) -> Self {
        Self {
            io,
            peer,
            stall,
            blocked: false,
            held: BytesMut::new(),
            blind: None,
            exchange: None,
            closed: false,
            hushed: false,
            in_turn: 0,
        }
    }

    /// Gives back what was read to learn the protocol, and follows HTTP/1 messages from there if there is an exchange.
    pub(super) fn replay(&mut self, prefix: &[u8], exchange: Option<Arc<Exchange>>) {
        self.held = prefix.into();
        self.exchange = exchange;
    }

    /// Whether the peer closed its side.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn into_inner(self) -> T {
        self.io
    }

    /// How many of the bytes that came next hyper may have now.
    fn take(&self, bytes: &[u8]) -> usize {
        self.exchange.as_ref().map_or(bytes.len(), |exchange| exchange.inbound.take(bytes))
    }

    /// Whether what hyper reads next begins a request of HTTP/1.
    fn is_at_head(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.inbound.is_at_head())
    }

    /// Whether the next head has to wait for the end of the answer before it.
    fn must_wait(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.outbound.is_open() && exchange.inbound.is_at_head())
    }

    /// Whether content is still to come though the answer has begun. hyper may never read it, and does not say so.
    fn is_unread(&self) -> bool {
        self.exchange
            .as_ref()
            .is_some_and(|exchange| exchange.outbound.is_answering() && !exchange.inbound.is_at_head())
    }

    /// Whether hyper writes though it has no request to answer.
    fn hush(&mut self) -> bool {
        self.hushed |= self.exchange.as_ref().is_some_and(|exchange| !exchange.outbound.is_open());
        self.hushed
    }

    /// Notes whether the socket took what it was offered; `offered` is what came of it.
    fn tell<R>(&mut self, offered: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let blocked = offered.is_pending();
        if blocked != self.blocked && !matches!(offered, Poll::Ready(Err(_))) {
            self.blocked = blocked;
            if let Some(exchange) = &self.exchange {
                exchange.outbound.set_blocked(blocked);
            }
        }
        offered
    }
}

impl<T: AsyncRead + Unpin> Observed<T> {
    /// Reads from the socket; what is beyond the message being read is held back.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_io(cx, buf))?;
        let read = &buf.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let taken = self.take(read);
        if taken < read.len() {
            self.held = read[taken..].into();
            buf.set_filled(before + taken);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads while hyper gets nothing, as only a read tells that the peer has left. A little is kept for later, and what
    /// is more than that stays in the socket. Ends with the peer, or with one that has been out of sight for too long.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < AHEAD {
            let mut piece = [0; 1024];
            let room = piece.len().min(AHEAD - self.held.len());
            let mut piece = ReadBuf::new(&mut piece[..room]);
            ready!(self.poll_io(cx, &mut piece))?;
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(piece.filled());
        }
        let stall = self.stall;
        let blind = self.blind.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(blind.as_mut().poll(cx));
        self.peer.record(Gone::Failed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer sends too much ahead")))
    }

    /// Reads, and records how the peer went.
    fn poll_io(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.io).poll_read(cx, buf)) {
            self.peer.record(Gone::Failed); // If the socket has not said more.
            return Poll::Ready(Err(error));
        }
        if buf.filled().len() == before {
            self.closed = true;
            self.peer.record(Gone::Closed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Observed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.exchange.as_ref().is_some_and(|exchange| !exchange.inbound.admits()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the request head is too large")));
        }
        if this.must_wait() {
            return this.poll_ahead(cx); // `poll_flush` wakes the task too.
        }
        this.blind = None;
        if this.is_at_head() {
            if this.in_turn == AT_ONCE {
                this.in_turn = 0;
                return give_way(cx);
            }
            this.in_turn += 1;
        }
        if this.held.is_empty() {
            let polled = this.poll_socket(cx, buf);
            if polled.is_pending() {
                this.in_turn = 0;
            }
            return polled;
        }
        let next = &this.held[..this.held.len().min(buf.remaining())];
        let taken = this.take(next);
        buf.put_slice(&next[..taken]);
        this.held.advance(taken);
        if this.held.is_empty() {
            this.held = BytesMut::new(); // Gives its memory back.
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Observed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.hush() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.tell(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.hush() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.tell(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.tell(flushed))?;
        if let Some(exchange) = &this.exchange {
            exchange.outbound.flushed();
            if !this.held.is_empty() && !exchange.outbound.is_open() {
                cx.waker().wake_by_ref();
            }
        }
        // What comes here wakes the task, so that hyper, if it does read, asks for it.
        if this.is_unread() && this.poll_ahead(cx)?.is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed its side")));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hushed {
            return Poll::Ready(Ok(())); // There is something to be said yet.
        }
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
