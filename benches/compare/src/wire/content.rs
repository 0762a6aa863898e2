//! The content of an answer, freed of its framing: chunked, of a known length, or up to the end of the connection.

use anyhow::{Result, bail};

/// Where in the content of an answer a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Chunks (RFC 9112 § 7.1).
    Chunked(Chunk),
    /// So many bytes are still to come.
    Length(u64),
    /// Everything that comes.
    UntilClose,
}

/// Where in a chunked content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In a chunk's size, so far this; whether a digit was there.
    Size(u64, bool),
    /// In an extension, or at the line's end.
    Extension(u64),
    /// So many bytes of the chunk are still to come.
    Data(u64),
    /// At the end of a chunk.
    End,
    /// In the trailers; whether their line holds anything yet.
    Trailer(bool),
    /// It is all there.
    Done,
}

impl Content {
    /// A chunked content at its beginning.
    pub const CHUNKED: Self = Self::Chunked(Chunk::Size(0, false));

    /// Whether all of it has been read.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Chunked(Chunk::Done) | Self::Length(0))
    }

    /// Gives the content in `input` to `sink`, piece by piece; how much of the input belonged to this answer.
    pub fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize> {
        match self {
            Self::UntilClose => {
                sink(input);
                Ok(input.len())
            }
            Self::Length(left) => {
                let taken = input.len().min(usize::try_from(*left)?);
                sink(&input[..taken]);
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunk) => feed_chunks(chunk, input, sink),
        }
    }
}

fn feed_chunks(chunk: &mut Chunk, input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize> {
    let mut at = 0;
    while at < input.len() && *chunk != Chunk::Done {
        let byte = input[at];
        *chunk = match *chunk {
            Chunk::Data(left) => {
                let taken = (input.len() - at).min(usize::try_from(left)?);
                sink(&input[at..at + taken]);
                at += taken;
                let left = left - taken as u64;
                *chunk = if left == 0 { Chunk::End } else { Chunk::Data(left) };
                continue;
            }
            Chunk::Size(size, seen) => match (byte as char).to_digit(16) {
                Some(digit) if size < 1 << 56 => Chunk::Size(size << 4 | u64::from(digit), true),
                None if seen && byte == b'\n' => begin(size),
                None if seen => Chunk::Extension(size),
                _ => bail!("a chunk's size begins with byte {byte:#04x}"),
            },
            Chunk::Extension(size) if byte == b'\n' => begin(size),
            Chunk::Extension(size) => Chunk::Extension(size),
            Chunk::End if byte == b'\n' => Chunk::Size(0, false),
            Chunk::End if byte == b'\r' => Chunk::End,
            Chunk::End => bail!("a chunk is longer than it said"),
            Chunk::Trailer(false) if byte == b'\n' => Chunk::Done,
            Chunk::Trailer(seen) => Chunk::Trailer(byte != b'\n' && (seen || byte != b'\r')),
            Chunk::Done => Chunk::Done,
        };
        at += 1;
    }
    Ok(at)
}

fn begin(size: u64) -> Chunk {
    if size == 0 { Chunk::Trailer(false) } else { Chunk::Data(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the input in pieces of each size; whatever the pieces, the same must come out.
    fn check(content: Content, input: &str, expected: &str, rest: &str) {
        for piece in 1..=input.len() {
            let (mut content, mut out, mut at) = (content, Vec::new(), 0);
            while at < input.len() && !content.is_done() {
                let end = (at + piece).min(input.len());
                at += content.feed(&input.as_bytes()[at..end], |bytes| out.extend_from_slice(bytes)).unwrap();
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "in pieces of {piece}");
            assert_eq!(&input[at..], rest, "in pieces of {piece}");
        }
    }

    #[test]
    fn framing_is_taken_off() {
        check(Content::CHUNKED, "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nHTTP", "abc0123456789", "HTTP");
        check(Content::CHUNKED, "1\r\na\r\n0\r\nX: y\r\n\r\n", "a", "");
        check(Content::Length(3), "abcHTTP", "abc", "HTTP");
        check(Content::UntilClose, "abc", "abc", "");
    }

    #[test]
    fn a_broken_chunk_is_an_error() {
        for input in ["x\r\n", "\r\n", "2\r\nabc\r\n"] {
            assert!(Content::CHUNKED.clone().feed(input.as_bytes(), |_| ()).is_err(), "{input}");
        }
    }
}
