//! `multipart/mixed`: every event a body part (RFC 2046 § 5.1), and every word of the gateway one, too.
//!
//! As with parts that replace each other, the next delimiter goes out with each part, so whatever comes next continues a
//! part that is already open; the last part is the goodbye, behind which stands the close-delimiter. Header fields hold
//! visible ASCII alone: in topics, types and keys every other byte, `%` and `,` are percent-encoded (RFC 3986 § 2.1), so
//! that `decodeURIComponent` gives them back, also from fields that were joined.

use std::io::Write as _;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::boundary::{BOUNDARY, TEXT, is_composite};
use super::notice::Notice;
use super::{data, timestamp};
use crate::event::{Appended, ContentType, Cursor, Event};

/// What stands in a header field only as `%XX`.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',').add(b'"');

/// An event as a body part, and the delimiter after it.
///
/// Data in which a reader would find the boundary is sent as base64 (RFC 2045 § 6.8). A part that claims to hold parts or
/// a message is sent as bytes, with the claim in `Encke-Content-Type`: a reader must not take its fields for ours.
///
/// Cost: one allocation; the data is searched for the boundary and copied once.
pub(super) fn event(event: &Appended) -> Bytes {
    let Appended { cursor, time, event: Event { topics, kind, key, content_type, data, .. }, .. } = event;
    let names: usize = topics.iter().map(|topic| FIELD_LEN + 3 * topic.as_str().len()).sum();
    let mut out = Vec::with_capacity(HEAD_LEN + names + data.len() + BOUNDARY.line.len());
    field(&mut out, "Encke-Id", *cursor);
    field(&mut out, "Encke-Type", encoded(kind.as_ref().map_or("message", |kind| kind.as_str())));
    topics.iter().for_each(|topic| field(&mut out, "Encke-Topic", encoded(topic.as_str())));
    if let Some(key) = key {
        field(&mut out, "Encke-Key", encoded(key.as_str()));
    }
    out.extend_from_slice(b"Encke-Time: ");
    timestamp::push(&mut out, *time);
    out.extend_from_slice(b"\r\n");
    match content_type {
        Some(claimed) if is_composite(claimed) => {
            field(&mut out, "Encke-Content-Type", claimed);
            field(&mut out, "Content-Type", "application/octet-stream");
        }
        _ => field(&mut out, "Content-Type", content_type.as_ref().map_or(TEXT, ContentType::as_str)),
    }
    if BOUNDARY.is_in(data) {
        let mut text = Vec::new();
        data::push_base64(&mut text, data);
        field(&mut out, "Content-Transfer-Encoding", "base64");
        push_content(&mut out, &text);
    } else {
        push_content(&mut out, data);
    }
    out.extend_from_slice(BOUNDARY.line.as_bytes());
    out.into()
}

/// A word of the gateway as a part with its JSON. The goodbye ends the response.
pub(super) fn notice(notice: &Notice<'_>) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_LEN + notice.size() + BOUNDARY.line.len());
    if let Some(id) = notice.id() {
        field(&mut out, "Encke-Id", id);
    }
    field(&mut out, "Encke-Type", notice.kind());
    if let Notice::Gap { reason, .. } = notice {
        field(&mut out, "Encke-Gap", reason);
    }
    if let Some(milliseconds) = notice.retry() {
        field(&mut out, "Encke-Retry", milliseconds);
    }
    field(&mut out, "Content-Type", "application/json");
    let mut json = Vec::with_capacity(notice.size());
    notice.push_data(&mut json);
    push_content(&mut out, &json);
    let next = if matches!(notice, Notice::Bye { .. }) { &BOUNDARY.close } else { &BOUNDARY.line };
    out.extend_from_slice(next.as_bytes());
    out.into()
}

/// The length, the end of the head, the content, and the line end that belongs to the delimiter.
fn push_content(out: &mut Vec<u8>, content: &[u8]) {
    write!(out, "Content-Length: {}\r\n\r\n", content.len()).expect("a Vec takes every byte");
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    write!(out, "{name}: {value}\r\n").expect("a Vec takes every byte");
}

fn encoded(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

/// A field with one value, without it.
const FIELD_LEN: usize = "Encke-Topic: \r\n".len();

/// The fields of a part but topics, with usual values.
const HEAD_LEN: usize = 256 + Cursor::MAX_LEN + timestamp::LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventType, Key, Topic};
    use crate::transport::sample;

    #[test]
    fn an_event_is_a_part_with_its_names_in_ascii() {
        let mut published = sample::event(b"ab", Some("application/json"));
        published.topics =
            ["a/b", "caf\u{e9}, 100% \u{8a71}"].map(|name| Topic::parse(name).expect("a topic")).into_iter().collect();
        published.kind = EventType::parse("paid \"now\"").expect("a type");
        published.key = Key::parse("p-1").ok();
        let expected = "Encke-Id: k3v9x0a1-7\r\nEncke-Type: paid%20%22now%22\r\nEncke-Topic: a/b\r\n\
                        Encke-Topic: caf%C3%A9%2C%20100%25%20%E8%A9%B1\r\nEncke-Key: p-1\r\n\
                        Encke-Time: 2026-01-01T00:00:00.042Z\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nab\r\n";
        assert_eq!(event(&sample::appended(published)), [expected, &BOUNDARY.line].concat());
    }

    #[test]
    fn what_could_be_read_as_parts_of_ours_is_told_otherwise() {
        let line = BOUNDARY.line.clone();
        let holding = event(&sample::appended(sample::event(line.as_bytes(), None)));
        let text = String::from_utf8(holding.to_vec()).expect("ASCII");
        assert_eq!(text.matches(line.trim()).count(), 1, "only the delimiter at its end: {text}");
        assert!(text.contains("Content-Transfer-Encoding: base64\r\nContent-Length: 48\r\n"), "{text}");
        let nested = sample::event(b"--x\r\n", Some("Multipart/mixed; boundary=x"));
        let text = String::from_utf8(event(&sample::appended(nested)).to_vec()).expect("ASCII");
        assert!(
            text.contains(
                "Encke-Content-Type: Multipart/mixed; boundary=x\r\nContent-Type: application/octet-stream\r\n"
            )
        );
    }
}
