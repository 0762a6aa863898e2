//! `multipart/x-mixed-replace`: each body part replaces the one before (Netscape's server push; RFC 2046 § 5.1).
//!
//! A reader knows that a part is whole when it sees the next delimiter, so that goes out with each part, and the first
//! one before them. Whatever comes next therefore continues a part that is already open.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem;

use crate::event::{Appended, ContentType, Cursor};

/// A header field of the part that is open. It adds up, 20 bytes a heartbeat, until the next event ends the head.
pub(super) const HEARTBEAT: &[u8] = b"Encke-Heartbeat: 1\r\n";

/// `Content-Type`, with the boundary.
pub(super) fn content_type() -> &'static str {
    &BOUNDARY.content_type
}

/// The first delimiter.
pub(super) fn preamble() -> Bytes {
    Bytes::from_static(BOUNDARY.line.as_bytes())
}

/// An event as a body part, and the delimiter after it.
///
/// Cost: one allocation; the data is searched for the boundary and copied once.
pub(super) fn event(event: &Appended) -> Bytes {
    let data = &event.event.data;
    let content_type = event.event.content_type.as_ref();
    if memmem::find(data, BOUNDARY.text()).is_some() {
        return part(event.cursor, TEXT, b"[withheld: the data holds the boundary of this stream]");
    }
    if content_type.is_some_and(is_multipart) {
        return part(event.cursor, TEXT, b"[withheld: a multipart within a part]");
    }
    part(event.cursor, content_type.map_or(TEXT, ContentType::as_str), data)
}

/// The close-delimiter, behind a header field of the part that is open already.
///
/// RFC 2046 would have that part end its head first, as an empty part: then Firefox (ESR 153, measured) replaces the
/// newest text by a blank page, and on a state transport the last state must stay. Behind a field, Firefox takes the line
/// for another field, Python's email parser takes it for the close-delimiter, without a defect, and ffmpeg ends as at the
/// end of input; the empty line lets Chromium, which shows an image when the next head is whole, show the last one.
pub(super) fn end() -> Bytes {
    Bytes::from_static(BOUNDARY.close.as_bytes())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn part(cursor: Cursor, content_type: &str, data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_LEN + content_type.len() + data.len() + 2 + BOUNDARY.line.len());
    write!(out, "Content-Type: {content_type}\r\nContent-Length: {}\r\nEncke-Id: {cursor}\r\n\r\n", data.len())
        .expect("a Vec takes every byte");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(BOUNDARY.line.as_bytes());
    out.into()
}

/// The part's head, with the longest number and cursor.
const HEAD_LEN: usize = "Content-Type: \r\nContent-Length: \r\nEncke-Id: \r\n\r\n".len() + 20 + Cursor::MAX_LEN;

/// Firefox would read the publisher's own parts and their header fields, `Set-Cookie` among them, as ours.
fn is_multipart(content_type: &ContentType) -> bool {
    content_type.essence().starts_with("multipart/")
}

/// The boundary in each form in which it is sent.
struct Boundary {
    content_type: String,
    line: String,
    close: String,
}

/// Of 128 random bits, drawn once a process, so that all streams share their bytes and no publisher can foresee it.
/// One who also subscribes knows it: hence the search.
static BOUNDARY: LazyLock<Boundary> = LazyLock::new(Boundary::draw);

impl Boundary {
    fn draw() -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let text = random.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every character");
            text
        });
        Self {
            content_type: format!("multipart/x-mixed-replace;boundary={text}"),
            line: format!("--{text}\r\n"),
            close: format!("Encke-End: 1\r\n--{text}--\r\n\r\n"),
        }
    }

    /// Without dashes and line end: Firefox takes it without the dashes, too.
    fn text(&self) -> &[u8] {
        self.line.trim_matches(['-', '\r', '\n']).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sample;

    #[test]
    fn each_process_draws_a_boundary_of_its_own() {
        let (one, other) = (Boundary::draw(), Boundary::draw());
        assert_eq!(one.text().len(), 32);
        assert!(one.text().iter().all(u8::is_ascii_hexdigit));
        assert_ne!(one.text(), other.text());
        assert!(one.content_type.as_bytes().ends_with(one.text()));
    }

    #[test]
    fn the_next_delimiter_goes_out_with_each_part() {
        for (data, content_type, expected) in [
            (&b"ab"[..], None, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n"),
            (b"", Some("image/jpeg"), "Content-Type: image/jpeg\r\nContent-Length: 0\r\n"),
        ] {
            let rendered = event(&sample::appended(sample::event(data, content_type)));
            let text = std::str::from_utf8(data).expect("text");
            assert_eq!(rendered, format!("{expected}Encke-Id: k3v9x0a1-7\r\n\r\n{text}\r\n{}", BOUNDARY.line));
        }
        assert_eq!(preamble(), BOUNDARY.line);
    }

    #[test]
    fn the_end_opens_no_part_that_would_replace_the_last() {
        let end = end();
        let head_end = end.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        assert_eq!(head_end + 4, end.len(), "nothing is left that could be a part's content");
        assert!(end.ends_with(&[b"\r\n--", BOUNDARY.text(), b"--\r\n\r\n"].concat()));
    }
}
