//! Which bytes belong to which request.
//!
//! hyper reads ahead, so a segment may bring the end of one body and the next head. The socket's side asks here how many
//! of the bytes belong to the message being read and holds the rest back; the service's side says how the body that
//! follows is framed. So each request gets its own raw head, pipelined ones too, and hyper stays the only judge of what a
//! request is: content goes along with its head only where both cannot but say the same of its length.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::chunks::Chunks;
use super::head::{HeadScan, RawHead, plain_length};

/// The request side of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Inbound {
    head_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    part: Part,
    scan: HeadScan,
    kept: Vec<u8>,
    /// Bytes of this head that hyper was given.
    given: usize,
    /// Bytes of its content that hyper was given along with it.
    along: u64,
    begun: Option<Instant>,
    too_large: bool,
    served: bool,
}

#[derive(Debug)]
enum Part {
    Head,
    Sized(u64),
    Chunked(Chunks),
}

/// What the time limit of a head hangs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// When the first byte of the head came.
    pub(super) begun: Option<Instant>,
    /// Whether the connection had a request before.
    pub(super) served: bool,
}

impl Inbound {
    /// `begun`: when the first byte came, if it is one of a head.
    pub(super) fn new(head_bytes: usize, begun: Option<Instant>) -> Self {
        let state = State {
            part: Part::Head,
            scan: HeadScan::default(),
            kept: Vec::new(),
            given: 0,
            along: 0,
            begun,
            too_large: false,
            served: false,
        };
        Self { head_bytes, state: Mutex::new(state) }
    }

    /// The connection had requests that were served elsewhere.
    pub(super) fn has_served(&self) {
        self.state().served = true;
    }

    /// Whether hyper may have more. If not, the head is too large: hyper reads only when the head is not complete.
    pub(super) fn admits(&self) -> bool {
        let mut state = self.state();
        state.too_large |= matches!(state.part, Part::Head) && state.given >= self.head_bytes;
        !state.too_large
    }

    /// Whether what comes next belongs to a head.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self.state().part, Part::Head)
    }

    /// How many of `bytes`, which came next, belong to the message that is being read: all of it at most, one at least.
    pub(super) fn take(&self, bytes: &[u8]) -> usize {
        let mut state = self.state();
        match &mut state.part {
            Part::Head => {
                let most = self.head_bytes - state.given;
                let (head, ended) = state.take_head(&bytes[..bytes.len().min(most)]);
                if ended { head + state.take_along(&bytes[head..]) } else { head }
            }
            Part::Sized(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    state.part = Part::Head;
                }
                taken
            }
            Part::Chunked(chunks) => match chunks.end(bytes) {
                Some(end) => {
                    state.part = Part::Head;
                    end
                }
                None => bytes.len(),
            },
        }
    }

    /// hyper has read a head: gives what was kept of it. A body of `length` bytes follows; none: chunks.
    pub(super) fn request(&self, length: Option<u64>) -> RawHead {
        let mut state = self.state();
        let along = std::mem::take(&mut state.along);
        state.part = match length.map(|length| length.saturating_sub(along)) {
            Some(0) => Part::Head,
            Some(left) => Part::Sized(left),
            None => Part::Chunked(Chunks::new()),
        };
        (state.scan, state.given, state.begun, state.served) = (HeadScan::default(), 0, None, true);
        RawHead::new(std::mem::take(&mut state.kept))
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.state();
        Progress { begun: state.begun, served: state.served }
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.state().too_large
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many of `bytes` belong to the head, and whether that is all of it.
    fn take_head(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = self.scan.end(bytes);
        let taken = end.unwrap_or(bytes.len());
        self.given += taken;
        if self.scan.started {
            if end.is_none() {
                self.begun.get_or_insert_with(Instant::now); // One that is complete has no more time to keep to.
            }
            let blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let skip = if self.kept.is_empty() { bytes[..taken].iter().take_while(blank).count() } else { 0 };
            let room = RawHead::KEPT - self.kept.len();
            self.kept.extend_from_slice(&bytes[skip..taken.min(skip + room)]);
        }
        (taken, end.is_some())
    }

    /// How many of the bytes behind a head are of its content and may go along with it, so that hyper reads once and not
    /// twice, each time into a buffer of its own: as many as there are, where hyper cannot but come to the same length.
    fn take_along(&mut self, bytes: &[u8]) -> usize {
        let all_kept = self.kept.len() < RawHead::KEPT;
        let length = if bytes.is_empty() || !all_kept { None } else { plain_length(&self.kept) };
        let along = length.map_or(0, |length| bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX)));
        self.along = along as u64;
        along
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A request and how its body is framed.
    fn request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<u64>)> {
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        ("[a-z]{0,5}", body, any::<bool>()).prop_map(|(path, body, chunked)| {
            let head = format!("POST /{path} HTTP/1.1\r\nhOsT: {path}\r\n\r\n").into_bytes();
            if !chunked {
                let length = body.len() as u64;
                return (head, body, Some(length));
            }
            let mut chunks: Vec<u8> = body
                .chunks(7)
                .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
                .collect();
            chunks.extend_from_slice(b"0\r\n\r\n");
            (head, chunks, None)
        })
    }

    proptest! {
        #[test]
        fn each_request_gets_its_own_head_however_the_bytes_are_cut(
            requests in proptest::collection::vec(request(), 1..6),
            cuts in proptest::collection::vec(1_usize..60, 1..20),
        ) {
            let sent: Vec<u8> = requests.iter().flat_map(|(head, body, _)| [head.as_slice(), body].concat()).collect();
            let inbound = Inbound::new(1024, None);
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            for (head, body, length) in &requests {
                // As hyper does: read until the head is complete, hand it over, read the body.
                for (part, is_head) in [(head, true), (body, false)] {
                    let end = at + part.len();
                    while at < end {
                        prop_assert!(inbound.admits());
                        let segment = (at + cuts.next().unwrap()).min(sent.len());
                        at += inbound.take(&sent[at..segment]);
                        prop_assert!(at <= end, "bytes of the next part were given away");
                    }
                    if is_head {
                        let kept = inbound.request(*length);
                        prop_assert_eq!(kept.as_bytes(), head.as_slice());
                    }
                }
            }
        }
    }

    #[test]
    fn content_of_a_plain_length_goes_along_with_its_head() {
        let head = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        let sent = [&head[..], b"abcd", &head[..], b"efgh"].concat();
        for cut in 1..=sent.len() {
            let inbound = Inbound::new(1024, None);
            let (mut at, mut heads) = (0, 0);
            while at < sent.len() {
                let before = at;
                at += inbound.take(&sent[at..sent.len().min(at + cut)]);
                let (message, within) = (before / (head.len() + 4), at % (head.len() + 4));
                assert!(at <= (message + 1) * (head.len() + 4), "bytes of the next message were given away");
                if heads == message && (within >= head.len() || within == 0) {
                    heads += 1;
                    assert_eq!(inbound.request(Some(4)).as_bytes(), head, "cut at {cut}");
                    assert_eq!(inbound.is_at_head(), within == 0);
                }
            }
            assert!(inbound.is_at_head() && heads == 2);
        }
        let inbound = Inbound::new(1024, None);
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n";
        assert_eq!(inbound.take(chunked), chunked.len() - 9, "hyper says first how long it is");
    }

    #[test]
    fn a_head_beyond_its_limit_is_not_admitted() {
        let inbound = Inbound::new(16, None);
        assert_eq!(inbound.take(b"GET /a-long-path-of-many-bytes"), 16);
        assert!(!inbound.admits());
        assert!(inbound.is_too_large());
    }

    #[test]
    fn only_the_first_kibibytes_of_a_head_are_kept() {
        let inbound = Inbound::new(64 * 1024, None);
        let head = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(10_000));
        assert_eq!(inbound.take(head.as_bytes()), head.len());
        assert_eq!(inbound.request(Some(0)).as_bytes(), &head.as_bytes()[..RawHead::KEPT]);
    }

    #[test]
    fn empty_lines_before_a_request_begin_no_head() {
        let inbound = Inbound::new(1024, None);
        inbound.take(b"\r\n");
        assert!(inbound.progress().begun.is_none());
        inbound.take(b"\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(inbound.request(Some(0)).as_bytes(), b"GET / HTTP/1.1\r\n\r\n");
    }
}
