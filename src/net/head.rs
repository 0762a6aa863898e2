//! The request head as the peer sent it, and where it ends.

use std::fmt;

use bytes::Bytes;

/// The first 4 KiB of an HTTP/1 request head, byte for byte: the order and case of field names tell intermediaries apart.
///
/// It holds credentials: it is never logged, and `Debug` shows only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct RawHead(Bytes);

impl RawHead {
    /// How much of a head is kept.
    pub const KEPT: usize = 4096;

    pub(super) fn new(head: impl Into<Bytes>) -> Self {
        Self(head.into())
    }

    /// The request line and field lines, with the empty line at their end if all of it fits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RawHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawHead({} bytes)", self.0.len())
    }
}

/// The length of the content that follows this head, if it is said by one `Content-Length` and nothing else has a say in it:
/// other codings, other protocols, or a client that waits to be told to go on. Whoever reads the head must come to the same
/// length, or refuse it.
pub(super) fn plain_length(head: &[u8]) -> Option<u64> {
    const LENGTH: &str = "content-length";
    if !head.starts_with(b"POST ") && !head.starts_with(b"PUT ") {
        return None;
    }
    let (mut length, mut line) = (None, 0);
    for lf in memchr::memchr_iter(b'\n', head) {
        let field = &head[line..lf];
        line = lf + 1;
        let is = |name: &str| {
            field.get(name.len()) == Some(&b':') && field[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        };
        if is(LENGTH) {
            let value = field[LENGTH.len() + 1..].trim_ascii();
            let digits = value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()).flatten();
            if length.replace(digits?.parse().ok()?).is_some() {
                return None;
            }
        } else if is("transfer-encoding") || is("upgrade") || is("expect") {
            return None;
        }
    }
    length
}

/// Finds the empty line that ends a head, however the bytes are cut.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes of the line being read.
    line: usize,
    /// Whether its first byte is a CR.
    cr: bool,
    /// Whether anything but empty lines came. A robust server skips those before a request (RFC 9112 § 2.2).
    pub(super) started: bool,
}

impl HeadScan {
    /// How many of `bytes` belong to the head, if its end is among them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        for lf in memchr::memchr_iter(b'\n', bytes) {
            self.extend(&bytes[from..lf]);
            if self.is_blank() && self.started {
                return Some(lf + 1);
            }
            (self.line, self.cr) = (0, false);
            from = lf + 1;
        }
        self.extend(&bytes[from..]);
        None
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.line == 0 {
            self.cr = piece.first() == Some(&b'\r');
        }
        self.line += piece.len();
        self.started |= !self.is_blank();
    }

    fn is_blank(&self) -> bool {
        self.line == 0 || (self.line == 1 && self.cr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, bytes: &[u8], end: Option<usize>) {
        assert_eq!(HeadScan::default().end(bytes), end, "{name}");
        let mut scan = HeadScan::default();
        let piecewise = bytes.iter().position(|&byte| scan.end(&[byte]).is_some()).map(|at| at + 1);
        assert_eq!(piecewise, end, "{name}, byte by byte");
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        check("CRLF", b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", Some(24));
        check("bare LF", b"GET / HTTP/1.1\nA: b\n\nrest", Some(21));
        check("no fields", b"GET / HTTP/1.1\r\n\r\n", Some(18));
        check("empty lines before it", b"\r\n\nGET / HTTP/1.1\r\n\r\n", Some(21));
        check("not complete", b"GET / HTTP/1.1\r\nA: b\r\n\r", None);
        check("only empty lines", b"\r\n\r\n\r\n", None);
        check("a CR inside a line ends nothing", b"GET /\rx\n\r\r\n", None);
        check("nothing", b"", None);
    }

    #[test]
    fn a_length_is_plain_if_nothing_else_has_a_say_in_it() {
        let check = |head: &str, expected| assert_eq!(plain_length(head.as_bytes()), expected, "{head:?}");
        check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", Some(12));
        check("PUT / HTTP/1.1\ncONTENT-lENGTH:12\t\n\n", Some(12));
        check("POST / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        for (name, value) in [
            ("Content-Length", "12"),
            ("content-length", "13"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("Expect", "100-continue"),
        ] {
            check(&format!("POST / HTTP/1.1\r\nContent-Length: 12\r\n{name}: {value}\r\n\r\n"), None);
        }
        for value in ["", "+1", "-1", "1 2", "1,1", "0x1", "99999999999999999999"] {
            check(&format!("POST / HTTP/1.1\r\nContent-Length: {value}\r\n\r\n"), None);
        }
        for method in ["GET", "CONNECT", "post", "POSTER"] {
            check(&format!("{method} / HTTP/1.1\r\nContent-Length: 12\r\n\r\n"), None);
        }
        check("POST /Content-Length:12 HTTP/1.1\r\nX: Content-Length: 12\r\n\r\n", None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let head = RawHead::new(b"GET / HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n".to_vec());
        assert_eq!(format!("{head:?}"), "RawHead(48 bytes)");
    }
}
