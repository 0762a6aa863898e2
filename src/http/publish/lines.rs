//! Bytes as they arrive, cut into lines; at most one line is held.

use axum::body::Bytes;

/// Where the next line is looked for.
#[derive(Debug)]
pub(super) struct Lines {
    /// The longest a line may be, in bytes.
    most: usize,
    /// What has arrived and was not looked through.
    piece: Bytes,
    /// The beginning of a line whose end has not arrived.
    begun: Vec<u8>,
    /// The line that has begun is too long: nothing of it is kept.
    too_long: bool,
    /// How many lines were given.
    number: u64,
}

/// A line with its number, from 1, without its end. None if it is too long.
pub(super) type Line = (u64, Option<Bytes>);

impl Lines {
    pub(super) fn new(most: usize) -> Self {
        Self { most, piece: Bytes::new(), begun: Vec::new(), too_long: false, number: 0 }
    }

    /// How many lines were given.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether something has arrived that was not looked through.
    pub(super) fn has_more(&self) -> bool {
        !self.piece.is_empty()
    }

    /// The next bytes; those before must have been looked through.
    pub(super) fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece is looked through before the next comes");
        self.piece = piece;
    }

    /// The next line that is whole.
    pub(super) fn next(&mut self) -> Option<Line> {
        let Some(end) = memchr::memchr(b'\n', &self.piece) else {
            let piece = std::mem::take(&mut self.piece);
            self.keep(&piece);
            return None;
        };
        let piece = self.piece.split_to(end + 1).slice(..end);
        if self.begun.is_empty() && !self.too_long && piece.len() <= self.most {
            return Some(self.numbered(Some(piece)));
        }
        self.keep(&piece);
        Some(self.end())
    }

    /// The content is complete: its last line needs no end.
    pub(super) fn finish(&mut self) -> Option<Line> {
        (self.too_long || !self.begun.is_empty()).then(|| self.end())
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.too_long |= self.begun.len() + bytes.len() > self.most;
        if self.too_long {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn end(&mut self) -> Line {
        let line = std::mem::take(&mut self.begun);
        let fits = !std::mem::take(&mut self.too_long);
        self.numbered(fits.then(|| line.into()))
    }

    fn numbered(&mut self, line: Option<Bytes>) -> Line {
        self.number += 1;
        let without_mark = |line: Bytes| match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if self.number == 1 => line.slice_ref(rest), // Some editors begin a file so.
            _ => line,
        };
        (self.number, line.map(without_mark))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &[u8], most: usize, cuts: impl IntoIterator<Item = usize>) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(most);
        let (mut found, mut rest) = (Vec::new(), text);
        let mut cuts = cuts.into_iter();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
            rest = after;
            lines.feed(Bytes::copy_from_slice(piece));
            found.extend(std::iter::from_fn(|| lines.next()));
            assert!(lines.begun.len() <= most);
        }
        found.extend(lines.finish());
        found.into_iter().map(|(number, line)| (number, line.map(|line| line.to_vec()))).collect()
    }

    #[test]
    fn the_last_line_needs_no_end_and_the_first_may_have_a_mark() {
        let told = lines(b"\xef\xbb\xbfa\r\n\nb\n\xef\xbb\xbf", 9, []);
        let expected: [&[u8]; 4] = [b"a\r", b"", b"b", b"\xef\xbb\xbf"];
        assert_eq!(told, (1..).zip(expected.map(|line| Some(line.to_vec()))).collect::<Vec<_>>());
        assert_eq!(lines(b"", 9, []), []);
        assert_eq!(lines(b"a\n", 9, []), [(1, Some(b"a".to_vec()))]);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_are_cut(
            text in "[ab\n]{0,60}",
            cuts in proptest::collection::vec(1_usize..9, 0..40),
        ) {
            let mut expected: Vec<_> = text.split('\n').collect();
            if expected.last() == Some(&"") {
                expected.pop();
            }
            let expected: Vec<_> = (1..).zip(expected)
                .map(|(number, line)| (number, (line.len() <= 5).then(|| line.as_bytes().to_vec())))
                .collect();
            prop_assert_eq!(lines(text.as_bytes(), 5, cuts), expected);
        }
    }
}
