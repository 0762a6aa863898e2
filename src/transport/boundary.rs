//! What separates body parts (RFC 2046 § 5.1), and what keeps published bytes from being taken for it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use memchr::memmem;

use crate::event::ContentType;

/// The boundary in each form in which it is sent.
pub(super) struct Boundary {
    text: String,
    /// A delimiter, without the line end before it, which ends the part or the head before.
    pub(super) line: String,
    /// `Content-Type` of a response of parts that replace each other.
    pub(super) replacing: String,
    /// `Content-Type` of a response of parts that are all meant.
    pub(super) mixed: String,
    /// The close-delimiter, as `line`.
    pub(super) close: String,
}

/// Of 128 random bits, drawn once a process, so that all streams share their bytes and no publisher can foresee it.
/// One who also subscribes knows it: hence the search.
pub(super) static BOUNDARY: LazyLock<Boundary> = LazyLock::new(Boundary::draw);

/// A header field of the part that is open. It adds up, 20 bytes a heartbeat, until what comes next ends the head.
pub(super) const HEARTBEAT: &[u8] = b"Encke-Heartbeat: 1\r\n";

/// What data without a content type is.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

impl Boundary {
    fn draw() -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let text = random.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every character");
            text
        });
        Self {
            line: format!("--{text}\r\n"),
            replacing: format!("multipart/x-mixed-replace;boundary={text}"),
            mixed: format!("multipart/mixed;boundary={text}"),
            close: format!("--{text}--\r\n"),
            text,
        }
    }

    /// Whether a reader could see a delimiter in `data`. Firefox takes it without the dashes, too.
    pub(super) fn is_in(&self, data: &[u8]) -> bool {
        memmem::find(data, self.text.as_bytes()).is_some()
    }
}

/// Whether a reader would look for parts or messages within the part, with header fields of their own: Firefox would read
/// the publisher's fields, `Set-Cookie` among them, as ours.
pub(super) fn is_composite(content_type: &ContentType) -> bool {
    let essence = content_type.essence();
    essence.starts_with("multipart/") || essence.starts_with("message/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_draws_a_boundary_of_its_own() {
        let (one, other) = (Boundary::draw(), Boundary::draw());
        assert_eq!(one.text.len(), 32);
        assert!(one.text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.text, other.text);
        for content_type in [&one.replacing, &one.mixed] {
            assert!(content_type.ends_with(&one.text));
        }
        assert!(one.is_in(format!("x{}y", one.text).as_bytes()) && !one.is_in(other.text.as_bytes()));
    }
}
