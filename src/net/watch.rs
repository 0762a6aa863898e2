//! The socket itself, watched: how its peer goes, and that one which takes nothing does not stay.
//!
//! It lies below TLS, so that it counts bytes as the network takes them. What a peer says by TLS, and not by its socket, is
//! recorded above (`observe`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Counters;
use crate::delivery::{Gone, LastSight, Peer, gone_by};
use crate::diagnosis::TcpInfo;

/// One connection's socket.
pub(super) struct Watched<T> {
    io: T,
    peer: Arc<Peer>,
    counters: Arc<Counters>,
    stall: Duration,
    /// Runs while bytes are offered and none are taken.
    blocked: Option<Pin<Box<Sleep>>>,
    /// A byte that was read to see what is spoken, and is still to be read.
    first: Option<u8>,
    /// Whether the peer closed its side.
    closed: bool,
    /// What the kernel knows of it.
    tcp_info: fn(&T) -> Option<TcpInfo>,
}

impl<T> Watched<T> {
    pub(super) fn new(
        io: T,
        tcp_info: fn(&T) -> Option<TcpInfo>,
        peer: Arc<Peer>,
        counters: Arc<Counters>,
        stall: Duration,
    ) -> Self {
        Self { io, peer, counters, stall, blocked: None, first: None, closed: false, tcp_info }
    }

    pub(super) fn into_inner(self) -> T {
        self.io
    }

    /// The socket takes nothing: waits no longer than the stall rule allows.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stall = self.stall;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(blocked.as_mut().poll(cx));
        self.peer.record(Gone::Stalled);
        self.counters.stalled.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }

    fn wrote(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(_)) => self.blocked = None,
            Poll::Pending => return self.poll_blocked(cx),
            Poll::Ready(Err(ref error)) => self.failed(error),
        }
        result
    }

    #[cold]
    fn failed(&self, error: &io::Error) {
        self.peer.record(gone_by(error, self.closed));
        self.look();
    }

    /// Records how the connection is seen for the last time.
    #[cold]
    fn look(&self) {
        // The sleep began with the first write that took nothing.
        let blocked =
            self.blocked.as_ref().map(|blocked| self.stall.saturating_sub(blocked.deadline() - Instant::now()));
        self.peer.record_sight(LastSight { blocked, tcp: (self.tcp_info)(&self.io) });
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// The first byte, which stays to be read; none if the peer closed before.
    pub(super) async fn peek(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let read = self.read(&mut byte).await?;
        self.first = (read > 0).then_some(byte[0]);
        Ok(self.first)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    /// Reads, and records how the peer went.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take_if(|_| buf.remaining() > 0) {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut this.io).poll_read(cx, buf)) {
            this.failed(&error);
            return Poll::Ready(Err(error));
        }
        if buf.filled().len() == before {
            this.closed = true;
            this.peer.record(Gone::Closed);
            this.look();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
