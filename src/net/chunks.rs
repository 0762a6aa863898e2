//! Where a chunked request body ends (RFC 9112 § 7.1).
//!
//! hyper decodes and judges the body; this only follows it, so that the next head is found. On malformed input it may be
//! wrong without harm: hyper ends that connection.

/// The place in a chunked body.
#[derive(Debug)]
pub(super) enum Chunks {
    /// In a chunk-size line; `digits` while the hexadecimal number lasts.
    Size { size: u64, digits: bool },
    /// In chunk data, with so many bytes to come.
    Data(u64),
    /// In the line end after chunk data.
    DataEnd,
    /// In a trailer line of so many bytes; an empty one ends the body.
    Trailer { line: usize },
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self::Size { size: 0, digits: true }
    }

    /// How many of `bytes` belong to the body, if its end is among them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match self {
                Self::Data(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += step;
                    *left -= step as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    continue;
                }
                Self::Size { size, .. } if byte == b'\n' => {
                    *self = if *size == 0 { Self::Trailer { line: 0 } } else { Self::Data(*size) };
                }
                Self::Size { size, digits } => match (byte as char).to_digit(16) {
                    Some(digit) if *digits => *size = size.saturating_mul(16).saturating_add(digit.into()),
                    _ => *digits = false,
                },
                Self::DataEnd if byte == b'\n' => *self = Self::new(),
                Self::DataEnd => {}
                Self::Trailer { line: 0 } if byte == b'\n' => return Some(at + 1),
                Self::Trailer { line } if byte == b'\n' => *line = 0,
                Self::Trailer { line } => *line += usize::from(byte != b'\r'),
            }
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, bytes: &[u8], end: Option<usize>) {
        assert_eq!(Chunks::new().end(bytes), end, "{name}");
        let mut chunks = Chunks::new();
        let piecewise = bytes.iter().position(|&byte| chunks.end(&[byte]).is_some()).map(|at| at + 1);
        assert_eq!(piecewise, end, "{name}, byte by byte");
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        check("one chunk", b"3\r\nabc\r\n0\r\n\r\nGET", Some(13));
        check("none", b"0\r\n\r\nGET", Some(5));
        check("an extension", b"a;x=2f\r\n0123456789\r\n0\r\n\r\n", Some(25));
        check("data that looks like an end", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", Some(15));
        check("a trailer", b"0\r\nA: b\r\n\r\nGET", Some(11));
        check("not complete", b"3\r\nabc\r\n0\r\n", None);
        check("a size beyond all bounds", b"ffffffffffffffffffff\r\nx", None);
    }
}
