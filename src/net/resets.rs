//! That a peer has reset streams of HTTP/2 for an error: h2 and hyper drop such a stream like one that was cancelled, and do not
//! say by which code.
//!
//! Bytes that are read enter, in any pieces; how many resets for an error they hold leaves. Frames are told by their lengths
//! alone (RFC 9113 § 4.1), and what h2 does not take as one ends the connection anyway. Deliberately absent: which stream it was.
//! A stream that ends a moment later without another reason is taken for it, as peers do not mix cancelling and errors.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::sniff::PREFACE;

/// Follows the frames that a client sends, from its preface on.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over.
    pass: usize,
    /// The beginning of a frame, as far as it has come: its header, and the code of an `RST_STREAM`.
    held: [u8; HEADER + CODE],
    length: usize,
}

/// Resets for an error whose streams have not ended yet.
#[derive(Debug, Default)]
pub(super) struct Resets(Mutex<Option<(Instant, u32)>>);

impl Frames {
    /// Of a connection of which nothing was read.
    pub(super) fn new() -> Self {
        Self { pass: PREFACE.len(), held: [0; HEADER + CODE], length: 0 }
    }

    /// Follows what was read next; how many streams it resets for an error.
    ///
    /// Cost: a few instructions a frame, whatever its length.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> u32 {
        let mut resets = 0;
        while !bytes.is_empty() {
            let passed = self.pass.min(bytes.len());
            (self.pass, bytes) = (self.pass - passed, &bytes[passed..]);
            let wanted = if self.length >= HEADER { HEADER + CODE } else { HEADER };
            let taken = (wanted - self.length).min(bytes.len());
            self.held[self.length..][..taken].copy_from_slice(&bytes[..taken]);
            (self.length, bytes) = (self.length + taken, &bytes[taken..]);
            if self.length == wanted {
                resets += u32::from(self.end_of_piece());
            }
        }
        resets
    }

    /// All that was wanted is held; whether it is a reset for an error.
    fn end_of_piece(&mut self) -> bool {
        let [high, middle, low, kind, .., code] = self.held;
        let content = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if self.length == HEADER && kind == RST_STREAM && content == CODE {
            return false; // Its code comes next.
        }
        let is_reset = self.length > HEADER;
        self.pass = if is_reset { 0 } else { content };
        self.length = 0;
        // Codes beyond a byte are errors, too: none is defined there.
        is_reset
            && (self.held[HEADER..HEADER + CODE - 1] != [0; CODE - 1]
                || !matches!(code, NO_ERROR | STREAM_CLOSED | CANCEL))
    }
}

impl Resets {
    /// Notes so many.
    pub(super) fn add(&self, count: u32) {
        if count > 0 {
            let mut state = self.state();
            let before = state.filter(|(at, _)| at.elapsed() < AT_ONCE).map_or(0, |(_, before)| before);
            *state = Some((Instant::now(), before.saturating_add(count)));
        }
    }

    /// Whether a stream that ends now was reset for an error; then there is one less.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state();
        let Some((at, count)) = state.as_mut().filter(|(at, count)| *count > 0 && at.elapsed() < AT_ONCE) else {
            return false;
        };
        (*at, *count) = (*at, *count - 1);
        true
    }

    fn state(&self) -> MutexGuard<'_, Option<(Instant, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a frame's header.
const HEADER: usize = 9;

/// Bytes of an error code.
const CODE: usize = 4;

const RST_STREAM: u8 = 3;
const NO_ERROR: u8 = 0;
/// Said of a stream that was given up before, when something of it comes all the same (RFC 9113 § 5.4.2): of no open one.
const STREAM_CLOSED: u8 = 5;
const CANCEL: u8 = 8;

/// How soon after its reset a stream ends. What was reset and is no stream of ours must not count for long.
const AT_ONCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("a small frame").to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], content].concat()
    }

    fn reset(code: u32) -> Vec<u8> {
        frame(RST_STREAM, &code.to_be_bytes())
    }

    #[test]
    fn resets_for_an_error_are_counted_however_the_bytes_are_cut() {
        // What looks like a reset in the content of another frame is none.
        let data = frame(0, &reset(2));
        let errors = [reset(2), data, reset(7), reset(0x0100_0008)].concat();
        let all = [PREFACE.to_vec(), frame(4, &[]), reset(8), reset(0), reset(5), errors].concat();
        for size in 1..all.len() {
            let mut frames = Frames::new();
            let counts: Vec<u32> = all.chunks(size).map(|piece| frames.follow(piece)).collect();
            assert_eq!(counts.iter().sum::<u32>(), 3, "in pieces of {size}");
        }
    }

    #[test]
    fn a_reset_of_another_length_is_passed_over() {
        let mut frames = Frames::new();
        let bytes = [PREFACE.to_vec(), frame(RST_STREAM, &[0; 5]), frame(RST_STREAM, &[]), reset(1)].concat();
        assert_eq!(frames.follow(&bytes), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn each_reset_is_taken_once_and_for_a_moment() {
        let resets = Resets::default();
        assert!(!resets.take());
        resets.add(2);
        assert!(resets.take() && resets.take() && !resets.take());
        resets.add(1);
        tokio::time::advance(AT_ONCE).await;
        assert!(!resets.take());
        resets.add(1);
        assert!(resets.take() && !resets.take(), "what was not taken is forgotten");
    }
}
