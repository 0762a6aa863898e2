//! One socket with its stream: little more than a descriptor and a cursor while the socket takes what it is given.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::dues::{Dues, Tick};
use crate::access::Permit;
use crate::delivery::live::Live;
use crate::delivery::{Gone, LastSight, Peer, Stream, gone_by, tcp_info};
use crate::sys::{self, Input};

/// How the content of a response is framed on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// In chunks (RFC 9112 § 7.1).
    Chunked,
    /// Not at all: it ends with the connection (RFC 9112 § 6.3, for HTTP/1.0).
    UntilClose,
}

/// What goes with a connection until its end: its place, and its share in what is counted.
pub type Held = Box<dyn Send>;

/// One socket of a shard.
///
/// Cost: about 270 bytes, and nothing beside them while the socket takes what it is given.
pub(super) struct Slot {
    pub(super) socket: OwnedFd,
    /// None: it has ended, and only last words are on their way.
    pub(super) stream: Option<Stream>,
    pub(super) peer: Arc<Peer>,
    /// What the socket has not taken yet.
    pub(super) rest: Option<Box<Rest>>,
    /// Fetches the page that the stream waits for.
    pub(super) loading: Option<AbortHandle>,
    pub(super) framing: Framing,
    /// Whether it stands in the line of those that are to be visited.
    pub(super) queued: bool,
    /// The group of its feed, and its place there.
    pub(super) group: u32,
    pub(super) place: u32,
    /// When it comes up next without news; at the end of time: never.
    pub(super) entry: Tick,
    /// Bytes that the peer sent though nothing was asked of it.
    pub(super) strays: u32,
    /// By what it was let in, if not by the same as the feed's first.
    pub(super) permit: Option<Box<Permit>>,
    pub(super) held: Held,
}

/// What is left of a write.
pub(super) struct Rest {
    pub(super) bytes: Bytes,
    /// Since when the socket takes nothing.
    pub(super) since: Instant,
}

impl Slot {
    /// How many stray bytes are passed over: whoever sends more does not speak HTTP.
    pub(super) const STRAYS: u32 = 64 * 1024;

    /// Writes; what the socket does not take is kept and goes on when it can be written again. Answers whether it took all.
    pub(super) fn write(&mut self, bytes: &Bytes, now: Instant) -> io::Result<bool> {
        let taken = sys::offer(self.socket.as_fd(), bytes)?;
        if taken == bytes.len() {
            return Ok(true);
        }
        self.rest = Some(Box::new(Rest { bytes: bytes.slice(taken..), since: now }));
        self.write_on(now)
    }

    /// Goes on with what is left.
    #[cold]
    pub(super) fn write_on(&mut self, now: Instant) -> io::Result<bool> {
        let Some(rest) = &mut self.rest else { return Ok(true) };
        while !rest.bytes.is_empty() {
            let taken = sys::offer(self.socket.as_fd(), &rest.bytes)?;
            if taken == 0 {
                return Ok(false);
            }
            rest.bytes.advance(taken);
            rest.since = now;
        }
        self.rest = None;
        Ok(true)
    }

    /// Reads what the peer sends though nothing was asked of it, and forgets it. Answers whether the peer is still there.
    #[cold]
    pub(super) fn listen(&mut self) -> bool {
        loop {
            match sys::discard(self.socket.as_fd()) {
                Ok(Input::Nothing) => return true,
                Ok(Input::Bytes(read)) => {
                    self.strays = self.strays.saturating_add(u32::try_from(read).unwrap_or(u32::MAX));
                    if self.strays > Self::STRAYS {
                        self.peer.record(Gone::Failed);
                        return false;
                    }
                }
                Ok(Input::End) => {
                    self.peer.record(Gone::Closed);
                    self.look();
                    return false;
                }
                Err(error) => {
                    self.fail(&error);
                    return false;
                }
            }
        }
    }

    /// Records how the connection ended.
    #[cold]
    pub(super) fn fail(&self, error: &io::Error) {
        self.peer.record(gone_by(error, false));
        self.look();
    }

    /// Whether nothing was acknowledged for so long though something is on its way; then that is recorded. A peer that
    /// takes nothing acknowledges that it does not, so it is not lost.
    ///
    /// Cost: a system call, for each heartbeat.
    #[cold]
    pub(super) fn is_lost(&self, patience: Duration) -> bool {
        let tcp = tcp_info(&self.socket);
        let is_lost = tcp.is_some_and(|tcp| tcp.unacknowledged > 0 && tcp.since_acknowledged >= patience);
        if is_lost {
            self.peer.record(Gone::Silent);
            self.peer.record_sight(LastSight { blocked: None, tcp });
        }
        is_lost
    }

    /// Records how the connection is seen for the last time.
    fn look(&self) {
        let blocked = self.rest.as_ref().map(|rest| rest.since.elapsed());
        self.peer.record_sight(LastSight { blocked, tcp: tcp_info(&self.socket) });
    }

    /// How its stream stands, if that has not ended.
    pub(super) fn live(&self, now: Instant) -> Option<Live> {
        let stream = self.stream.as_ref()?;
        let live = stream.live(stream.hub().pages().edge(), now);
        let not_taken = self.rest.as_ref().map_or(0, |rest| rest.bytes.len() as u64);
        let blocked = self.rest.as_ref().map(|rest| now.saturating_duration_since(rest.since));
        // It was had beat a little earlier than it says, as it comes up a little late.
        Some(Live { heartbeat: live.heartbeat + Dues::GRID, not_taken, blocked, ..live })
    }

    /// Whether its reader would not be let in again.
    pub(super) fn is_withdrawn(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let selection = &stream.feed().key().selection;
        self.permit.as_deref().unwrap_or(selection.permit()).is_withdrawn_from(selection.topics())
    }

    /// When it is to be looked at though there is no news. `stall`: how long a socket may take nothing.
    pub(super) fn due(&self, stall: Duration) -> Option<Instant> {
        match (&self.rest, &self.stream) {
            (Some(rest), _) => Some(rest.since + stall),
            (None, Some(stream)) => Some(stream.due()),
            (None, None) => None,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(loading) = &self.loading {
            loading.abort();
        }
    }
}

/// Bytes as they stand on a connection, remembered for the next that are the same: all streams of a feed share them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    content: Bytes,
    chunk: Bytes,
}

impl Frames {
    /// The bytes on a connection of this framing.
    pub(super) fn of(&mut self, framing: Framing, content: Bytes) -> Bytes {
        if framing == Framing::UntilClose || content.is_empty() {
            return content; // An empty chunk would be the end.
        }
        let is_same = content.as_ptr() == self.content.as_ptr() && content.len() == self.content.len();
        if !is_same {
            // The content is held, so that no other can have its address.
            (self.chunk, self.content) = (chunk(&content), content);
        }
        self.chunk.clone()
    }
}

/// One chunk. An empty one would be the end, so there must be something in it.
pub(super) fn chunk(content: &[u8]) -> Bytes {
    debug_assert!(!content.is_empty(), "an empty chunk ends the response");
    let mut chunk = BytesMut::with_capacity(content.len() + 20);
    let _ = write!(chunk, "{:x}\r\n", content.len());
    chunk.extend_from_slice(content);
    chunk.extend_from_slice(b"\r\n");
    chunk.freeze()
}

/// The end of a response in chunks.
pub(super) const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Slot>() <= 288, "a slot has {} bytes", size_of::<Slot>());
    }

    #[test]
    fn equal_bytes_are_framed_once() {
        let mut frames = Frames::default();
        let (one, other) = (Bytes::from_static(b"0123456789abcdef"), Bytes::from("other"));
        let framed = frames.of(Framing::Chunked, one.clone());
        assert_eq!(framed, "10\r\n0123456789abcdef\r\n");
        assert_eq!(frames.of(Framing::Chunked, one.clone()).as_ptr(), framed.as_ptr());
        assert_eq!(frames.of(Framing::Chunked, other), "5\r\nother\r\n");
        assert_eq!(frames.of(Framing::UntilClose, one.clone()).as_ptr(), one.as_ptr());
    }

    #[test]
    fn nothing_to_say_is_not_the_end() {
        assert_eq!(Frames::default().of(Framing::Chunked, Bytes::new()), "");
    }
}
