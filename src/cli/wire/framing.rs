//! Where the content of an HTTP/1.1 answer ends, and what of the bytes is content (RFC 9112 § 6, § 7.1).
//!
//! Pure and incremental: bytes in, in whatever pieces; content out, where it stands.

use memchr::memchr;

/// What is still to come of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// All until the connection is closed.
    Close,
}

/// Where in the chunked coding the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// Behind them, up to the end of the line.
    Extension(u64),
    /// In data of which so much is to come.
    Data(u64),
    /// Behind the data, up to the end of the line.
    AfterData,
    /// In a line of the trailer section, of which so much is there; an empty one is the end.
    Trailer(usize),
    /// Behind it all.
    Done,
}

/// How far the content was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Read {
    /// How many of the bytes belong to it.
    pub(in crate::cli) used: usize,
    /// Whether it is at its end.
    pub(in crate::cli) done: bool,
}

/// The bytes are no chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Malformed;

/// The most of an extension or a trailer that is read over.
const MAX_LINE: usize = 16 << 10;

impl Framing {
    /// The coding of a content of unknown length.
    pub(in crate::cli) fn chunked() -> Self {
        Self::Chunked(Chunk::Size { size: 0, digits: 0 })
    }

    /// Whether nothing more belongs to it.
    pub(in crate::cli) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Whether the connection may be closed here without anything being missing.
    pub(in crate::cli) fn may_close(&self) -> bool {
        self.is_done() || *self == Self::Close
    }

    /// Takes the next bytes and shows the content among them.
    pub(in crate::cli) fn read(&mut self, bytes: &[u8], content: &mut impl FnMut(&[u8])) -> Result<Read, Malformed> {
        let used = match self {
            Self::Length(left) => {
                let here = &bytes[..bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
                if !here.is_empty() {
                    content(here);
                }
                *left -= here.len() as u64;
                here.len()
            }
            Self::Close => {
                content(bytes);
                bytes.len()
            }
            Self::Chunked(chunk) => chunk.read(bytes, content)?,
        };
        Ok(Read { used, done: self.is_done() })
    }
}

impl Chunk {
    fn read(&mut self, bytes: &[u8], content: &mut impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Done {
            at += match self {
                Self::Data(left) => {
                    let here = &bytes[at..];
                    let here = &here[..here.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
                    content(here);
                    *left -= here.len() as u64;
                    if *left == 0 {
                        *self = Self::AfterData;
                    }
                    here.len()
                }
                Self::Trailer(_) | Self::Extension(_) => self.skip_line(&bytes[at..])?,
                Self::Size { .. } | Self::AfterData | Self::Done => {
                    self.step(bytes[at])?;
                    1
                }
            };
        }
        Ok(at)
    }

    /// Takes one byte of a size, or of what stands behind data.
    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        *self = match (&*self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                if *digits == 15 {
                    return Err(Malformed);
                }
                Self::Size { size: (size << 4) | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(Malformed),
            (Self::Size { size, .. }, b'\n') => Self::behind_size(*size),
            (Self::Size { size, .. }, b'\r' | b';' | b' ' | b'\t') => Self::Extension(*size),
            (Self::AfterData, b'\r') => Self::AfterData,
            (Self::AfterData, b'\n') => Self::Size { size: 0, digits: 0 },
            _ => return Err(Malformed),
        };
        Ok(())
    }

    /// Reads over an extension, or a line of the trailer section.
    fn skip_line(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let end = memchr(b'\n', bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let length = line.iter().filter(|byte| **byte != b'\r').count();
        if length > MAX_LINE {
            return Err(Malformed);
        }
        *self = match (&*self, end) {
            (Self::Extension(size), Some(_)) => Self::behind_size(*size),
            (Self::Extension(size), None) => Self::Extension(*size),
            (Self::Trailer(before), Some(_)) if before + length == 0 => Self::Done,
            (Self::Trailer(_), Some(_)) => Self::Trailer(0),
            (Self::Trailer(before), None) if before + length <= MAX_LINE => Self::Trailer(before + length),
            _ => return Err(Malformed),
        };
        Ok(end.map_or(bytes.len(), |end| end + 1))
    }

    fn behind_size(size: u64) -> Self {
        if size == 0 { Self::Trailer(0) } else { Self::Data(size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` cut in two at every place, and byte by byte: gives the content, and what is left behind its end.
    #[track_caller]
    fn check(framing: &Framing, bytes: &[u8], expected: Result<(&[u8], &[u8]), Malformed>) {
        let read = |pieces: &[&[u8]]| {
            let (mut framing, mut content, mut used) = (framing.clone(), Vec::new(), 0);
            for piece in pieces {
                used += framing.read(piece, &mut |bytes| content.extend_from_slice(bytes))?.used;
            }
            let rest = if framing.is_done() { bytes[used..].to_vec() } else { b"(open)".to_vec() };
            Ok((content, rest))
        };
        let expected = expected.map(|(content, rest)| (content.to_vec(), rest.to_vec()));
        for cut in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), expected, "cut after {cut}: {}", bytes.escape_ascii());
        }
        assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn chunks_are_taken_apart_however_they_are_cut() {
        let open = &b"(open)"[..];
        let chunked = Framing::chunked();
        check(&chunked, b"5\r\nhello\r\n0\r\n\r\nHTTP", Ok((b"hello", b"HTTP")));
        check(&chunked, b"5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n", Ok((b"hello0123456789", open)));
        check(&chunked, b"00a \r\n0123456789\r\n000\r\nA: b\r\nC: d\r\n\r\n", Ok((b"0123456789", b"")));
        check(&chunked, b"1\na\n1\nb\n0\n\n", Ok((b"ab", b"")));
        check(&chunked, b"0\r\nA: b\r\n", Ok((b"", open)));
        check(&chunked, b"2\r\na", Ok((b"a", open)));
        for wrong in [&b"\r\n"[..], b"x\r\n", b"-1\r\n", b"1\r\nab\r\n", b"1000000000000000\r\n"] {
            check(&chunked, wrong, Err(Malformed));
        }
    }

    #[test]
    fn a_length_is_kept_and_a_closed_connection_ends_the_rest() {
        check(&Framing::Length(3), b"abcd", Ok((b"abc", b"d")));
        check(&Framing::Length(0), b"", Ok((b"", b"")));
        check(&Framing::Length(3), b"ab", Ok((b"ab", b"(open)")));
        check(&Framing::Close, b"abcd", Ok((b"abcd", b"(open)")));
        assert!(Framing::Close.may_close() && !Framing::Length(1).may_close() && !Framing::chunked().may_close());
    }
}
