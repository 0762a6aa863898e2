//! `multipart/x-mixed-replace`: each body part replaces the one before (Netscape's server push; RFC 2046 § 5.1).
//!
//! A reader knows that a part is whole when it sees the next delimiter, so that goes out with each part, and the first
//! one before them. Whatever comes next therefore continues a part that is already open.

use std::io::Write as _;

use bytes::Bytes;

use super::boundary::{BOUNDARY, TEXT, is_composite};
use crate::event::{Appended, ContentType, Cursor};

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
    if BOUNDARY.is_in(data) {
        return part(event.cursor, TEXT, b"[withheld: the data holds the boundary of this stream]");
    }
    if content_type.is_some_and(is_composite) {
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
    ["Encke-End: 1\r\n", &BOUNDARY.close, "\r\n"].concat().into()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sample;

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
        let line = BOUNDARY.line.trim_end();
        assert!(end.ends_with(format!("\r\n{line}--\r\n\r\n").as_bytes()));
    }
}
