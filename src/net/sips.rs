//! An HTTP/2 connection reads a little at a time.
//!
//! One read may bring a hundred requests, and all that are read are begun before the connection lets anybody else have a
//! turn: with what each of them holds until it is answered, for as long as all of them take, and with room in h2 for all of
//! their answers at once, which h2 keeps. So one turn reads few of them, and they are answered before the next are. Content,
//! which begins no streams, is read in larger and larger pieces. As all that is read comes by here, it is also where resets for
//! an error are seen.

use std::io;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::resets::Frames;
use super::streams::Streams;
use super::turn::give_way;

/// Bytes that are read in one turn: the least, one request or some whose fields are known already; and the most.
const SIP: RangeInclusive<usize> = 128..=16 * 1024;

/// A connection that is read a sip each turn.
#[derive(Debug)]
pub(super) struct Sips<T> {
    io: T,
    streams: Streams,
    frames: Frames,
    /// What may be read in this turn.
    sip: usize,
    /// What was read in this turn.
    read: usize,
    /// How many streams had been begun when the turn began.
    begun: usize,
}

impl<T> Sips<T> {
    /// Of the connection that has these streams.
    pub(super) fn of(io: T, streams: Streams) -> Self {
        Self { io, streams, frames: Frames::new(), sip: *SIP.start(), read: 0, begun: 0 }
    }

    /// The next turn, with a sip of so many bytes.
    fn turn(&mut self, sip: usize) {
        (self.sip, self.begun, self.read) = (sip.clamp(*SIP.start(), *SIP.end()), self.streams.begun(), 0);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sips<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read >= self.sip {
            let larger = if self.streams.begun() == self.begun { self.sip * 2 } else { 0 };
            self.turn(larger);
            return give_way(cx);
        }
        let room = buf.remaining().min(self.sip - self.read);
        let mut sip = ReadBuf::new(buf.initialize_unfilled_to(room));
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut sip);
        let taken = sip.filled().len();
        let resets = self.frames.follow(sip.filled());
        self.streams.resets().add(resets);
        buf.advance(taken);
        self.read += taken;
        if polled.is_pending() {
            self.turn(0); // What comes next may be requests, however much content has come.
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sips<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::delivery::Peer;
    use crate::shutdown::Shutdown;

    /// Reads all of so many bytes, which each begin a stream or not, and counts the turns that others have meanwhile.
    fn turns(length: usize, begins: bool) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            let turns = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&turns);
            let others = async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            };
            let (streams, peer) = (Streams::none(Shutdown::default()), Arc::new(Peer::new(None)));
            let mut sips = Sips::of(&bytes[..], streams.clone());
            let read = async {
                let mut read = vec![0; length];
                let mut at = 0;
                while at < length {
                    let end = length.min(at + 50);
                    at += sips.read(&mut read[at..end]).await.unwrap();
                    if begins {
                        drop(streams.begin(&peer));
                    }
                }
                read
            };
            tokio::select! {
                biased;
                read = read => assert_eq!(read, bytes),
                () = others => {}
            }
            turns.load(Ordering::Relaxed)
        })
    }

    #[test]
    fn others_have_a_turn_after_few_requests() {
        assert_eq!(turns(10 * SIP.start(), true), 9);
    }

    #[test]
    fn content_is_read_in_larger_pieces() {
        // 128, 256, ... 16 384, and then 6 of the largest.
        assert_eq!(turns(2 * SIP.end() - SIP.start() + 6 * SIP.end(), false), 8 + 5);
    }
    #[tokio::test]
    async fn who_has_sent_little_for_long_has_a_small_sip_again() {
        let (mut peer, io) = duplex(1024);
        let mut sips = Sips::of(io, Streams::none(Shutdown::default()));
        for _ in 0..20 {
            let (read, written) = tokio::join!(sips.read_u8(), peer.write_u8(7)); // The read comes first, and waits.
            assert_eq!((read.unwrap(), written.unwrap()), (7, ()));
        }
        assert_eq!(sips.sip, *SIP.start());
    }
}
