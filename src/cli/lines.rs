//! Cuts bytes into lines and knows where in its source each line begins.
//!
//! Invariant: of an unfinished line no more than the longest allowed one is in memory, however long it grows.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// One line without its line end (LF or CRLF).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its bytes, at most the longest allowed.
    pub(crate) data: Bytes,
    /// Where it begins, in bytes from the start of its source.
    pub(crate) start: u64,
    /// How many bytes were cut off at its end because it was too long.
    pub(crate) cut: u64,
}

/// What was read and not yet taken as lines.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    searched: usize,
    start: u64,
    dropped: u64,
    /// Whether the last byte that was dropped is a CR.
    dropped_cr: bool,
    longest: usize,
}

impl Lines {
    /// Lines of at most `longest` bytes from a source that is read from `start` on.
    pub(crate) fn new(start: u64, longest: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, start, dropped: 0, dropped_cr: false, longest }
    }

    /// Takes the next bytes of the source.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next line begins: all before it was taken.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Up to where the source was read.
    pub(crate) fn read_to(&self) -> u64 {
        self.start + self.dropped + self.buffer.len() as u64
    }

    /// The next complete line.
    pub(crate) fn pop(&mut self) -> Option<Line> {
        let Some(at) = memchr(b'\n', &self.buffer[self.searched..]) else {
            self.forget_excess();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at);
        self.buffer.advance(1);
        // What comes before the LF may be gone already: then it does not count as cut, being part of the line's end.
        let gone = at == 0 && self.dropped > 0;
        let crlf = if gone { self.dropped_cr } else { line.ends_with(b"\r") };
        let line = if crlf && !gone { line.freeze().slice(..self.searched + at - 1) } else { line.freeze() };
        let mut finished = self.finished(&line, self.searched as u64 + at as u64 + 1);
        finished.cut -= u64::from(crlf && gone);
        Some(finished)
    }

    /// The unfinished line at the end of the source, as it is; nothing more will come to it.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        if self.buffer.is_empty() {
            return None;
        }
        let line = self.buffer.split().freeze();
        let length = line.len() as u64;
        Some(self.finished(&line, length))
    }

    /// Keeps one byte more than fits, by which the line is known to be too long (or ends in the CR of a CRLF).
    fn forget_excess(&mut self) {
        let keep = self.longest + 1;
        if let Some(excess @ 1..) = self.buffer.len().checked_sub(keep) {
            self.dropped += excess as u64;
            self.dropped_cr = self.buffer.ends_with(b"\r");
            self.buffer.truncate(keep);
        }
        self.searched = self.buffer.len();
    }

    fn finished(&mut self, line: &Bytes, taken: u64) -> Line {
        let start = self.start;
        self.start += taken + self.dropped;
        self.searched = 0;
        let dropped = std::mem::take(&mut self.dropped);
        let length = if line.len() > self.longest { whole_characters(&line[..self.longest]) } else { line.len() };
        Line { cut: dropped + (line.len() - length) as u64, data: line.slice(..length), start }
    }
}

/// How much of `text` is left without a UTF-8 sequence that was cut at its end.
fn whole_characters(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<(u64, String, u64)> {
        let popped = std::iter::from_fn(|| lines.pop());
        popped.map(|line| (line.start, String::from_utf8_lossy(&line.data).into_owned(), line.cut)).collect()
    }

    fn line(start: u64, text: &str, cut: u64) -> (u64, String, u64) {
        (start, text.into(), cut)
    }

    #[test]
    fn lines_come_without_their_ends_and_know_where_they_began() {
        let text = b"one\r\n\ntwo\rtwo\nrest";
        let expected = [line(10, "one", 0), line(15, "", 0), line(16, "two\rtwo", 0)];
        for cut in 0..=text.len() {
            let mut lines = Lines::new(10, 100);
            lines.push(&text[..cut]);
            let mut got = all(&mut lines);
            lines.push(&text[cut..]);
            got.extend(all(&mut lines));
            assert_eq!(got, expected, "cut after {cut} bytes");
            assert_eq!((lines.start(), lines.read_to()), (24, 28));
            assert_eq!(lines.finish().map(|line| line.data), Some(Bytes::from_static(b"rest")));
            assert_eq!((lines.finish(), lines.start()), (None, 28));
        }
    }

    #[test]
    fn a_line_too_long_is_cut_between_characters_and_never_held_whole() {
        let mut lines = Lines::new(0, 4);
        lines.push(b"1234\r");
        assert_eq!(all(&mut lines), []);
        lines.push("\nabcdefgh\nabcü".as_bytes());
        assert_eq!(all(&mut lines), [line(0, "1234", 0), line(6, "abcd", 4)]);
        for _ in 0..1000 {
            lines.push(b"0123456789");
            assert_eq!(lines.pop(), None);
            assert!(lines.buffer.len() <= 5);
        }
        lines.push(b"\nnext\n");
        assert_eq!(all(&mut lines), [line(15, "abc", 10_002), line(10_021, "next", 0)]);
    }

    #[test]
    fn how_much_of_a_line_was_cut_does_not_depend_on_how_it_came() {
        for (text, cut) in [("1234567\r\n", 3), ("1234\r67\n", 3), ("1234\r\r\r\n", 2), ("1234\r6\r\n", 2)] {
            for step in 1..=text.len() {
                let mut lines = Lines::new(0, 4);
                let mut got = Vec::new();
                for piece in text.as_bytes().chunks(step) {
                    lines.push(piece);
                    got.extend(all(&mut lines));
                }
                assert_eq!(got, [line(0, "1234", cut)], "{text:?} in pieces of {step}");
            }
        }
    }
}
