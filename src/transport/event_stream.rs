//! `text/event-stream` (WHATWG HTML § 9.2.5): fields of `name: value`, an empty line after each event.
//!
//! There is always one space after the colon, since a reader takes one away. Lines end with LF alone. A CR in the data
//! would end a line as well, so data is cut at CRLF, CR and LF; readers join the pieces with LF.

use std::io::Write;

use bytes::Bytes;
use memchr::{memchr2, memchr2_iter};

use super::notice::Notice;
use super::{data, json};
use crate::event::{Appended, ContentType, Cursor};

const DATA: &[u8] = b"data: ";
/// `id: <cursor>`, the names of the fields, and their line ends.
const HEAD_LEN: usize = "id: \nevent: \n\n".len() + Cursor::MAX_LEN;

/// An event with its data as text, or as a `data:` URL (RFC 2397) when it is no text.
///
/// Cost: one allocation; the data is looked through twice (to size the buffer, to cut it) and copied once.
pub(super) fn event(event: &Appended) -> Bytes {
    let Some(text) = data::text(&event.event) else { return binary(event) };
    let lines = memchr2_iter(b'\r', b'\n', text.as_bytes()).count() + 1;
    let mut out = head(event, text.len() + lines * (DATA.len() + 1));
    push_lines(&mut out, text.as_bytes());
    out.push(b'\n');
    out.into()
}

/// An event whose data is its JSON, which is one line.
pub(super) fn envelope(event: &Appended) -> Bytes {
    let told = json::Told::of(event);
    let mut out = head(event, DATA.len() + told.size() + 1);
    out.extend_from_slice(DATA);
    told.push(&mut out);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// What the gateway says, as an event of a type of its own. It always has data: an `id` alone is forgotten by Firefox.
pub(super) fn notice(notice: &Notice<'_>) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_LEN + 64 + notice.size());
    if let Some(id) = notice.id() {
        writeln!(out, "id: {id}").expect("a Vec takes every byte");
    }
    writeln!(out, "event: {}", notice.kind()).expect("a Vec takes every byte");
    if let Some(milliseconds) = notice.retry() {
        writeln!(out, "retry: {milliseconds}").expect("a Vec takes every byte");
    }
    out.extend_from_slice(DATA);
    notice.push_data(&mut out);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// A buffer with room for `rest` bytes more, that begins with the fields before the data.
fn head(event: &Appended, rest: usize) -> Vec<u8> {
    let kind = event.event.kind.as_ref().map(|kind| kind.as_str().as_bytes());
    let mut out = Vec::with_capacity(HEAD_LEN + kind.map_or(0, <[u8]>::len) + rest);
    writeln!(out, "id: {}", event.cursor).expect("a Vec takes every byte");
    if let Some(kind) = kind {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind);
        out.push(b'\n');
    }
    out
}

/// A `data` field for each line of `text`; for no text, one that is empty, so that the event is dispatched at all.
fn push_lines(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = memchr2(b'\r', b'\n', text) {
        push_line(out, &text[..at]);
        let after = if text[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
        text = &text[after..];
    }
    push_line(out, text);
}

fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(DATA);
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cold]
fn binary(event: &Appended) -> Bytes {
    let media = url_type(event.event.content_type.as_ref());
    let (before, after) = ("data:", ";base64,");
    let url_len = before.len() + media.len() + after.len() + data::base64_len(event.event.data.len());
    let mut out = head(event, DATA.len() + url_len + 1);
    out.extend_from_slice(DATA);
    for text in [before, media, after] {
        out.extend_from_slice(text.as_bytes());
    }
    data::push_base64(&mut out, &event.event.data);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// The media type for a `data:` URL. The URL ends it at the first comma, and `#`, `?` and `%` mean something there, too,
/// though a parameter may hold them: then the parameters are left out.
fn url_type(content_type: Option<&ContentType>) -> &str {
    let whole = content_type.map_or(UNKNOWN, ContentType::as_str);
    let essence = whole.split(';').next().unwrap_or_default().trim_end();
    [whole, essence].into_iter().find(|text| !text.contains([',', '#', '?', '%'])).unwrap_or(UNKNOWN)
}

const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::EventType;
    use crate::transport::sample;
    use crate::transport::{Bye, Resume};

    fn check(what: &str, data: &str, expected: &str) {
        let rendered = event(&sample::appended(sample::event(data.as_bytes(), None)));
        assert_eq!(rendered, format!("id: k3v9x0a1-7\n{expected}"), "{what}");
    }

    #[test]
    fn data_becomes_one_field_a_line() {
        check("one line", "a", "data: a\n\n");
        check("no data is one empty string", "", "data: \n\n");
        check("two lines", "a\nb", "data: a\ndata: b\n\n");
        check("a CR ends a line", "a\rb", "data: a\ndata: b\n\n");
        check("CRLF is one line end", "a\r\nb", "data: a\ndata: b\n\n");
        check("LF CR are two", "a\n\rb", "data: a\ndata: \ndata: b\n\n");
        check("a line end at the end is kept", "a\n", "data: a\ndata: \n\n");
        check("only a CR", "\r", "data: \ndata: \n\n");
        check("a leading space is kept", " a", "data:  a\n\n");
        check(
            "fields in the data stay data",
            "x\n\nid: 1\nevent: y",
            "data: x\ndata: \ndata: id: 1\ndata: event: y\n\n",
        );
        check("a line separator is no line end here", "a\u{2028}b", "data: a\u{2028}b\n\n");
        check("NUL and BOM stay", "\u{feff}a\0", "data: \u{feff}a\0\n\n");
    }

    #[test]
    fn a_type_is_told_unless_it_is_message() {
        let mut typed = sample::event(b"x", None);
        typed.kind = EventType::parse(" paid: now").expect("a type");
        assert_eq!(event(&sample::appended(typed)), "id: k3v9x0a1-7\nevent:  paid: now\ndata: x\n\n");
    }

    #[test]
    fn bytes_become_a_data_url() {
        for (data, content_type, expected) in [
            (&b"\xff\xd8"[..], Some("image/jpeg"), "data: data:image/jpeg;base64,/9g="),
            (b"", Some("image/jpeg"), "data: data:image/jpeg;base64,"),
            (b"f", Some("video/mp4; codecs=\"a\""), "data: data:video/mp4; codecs=\"a\";base64,Zg=="),
            (b"f", Some("video/mp4; codecs=\"a, b\""), "data: data:video/mp4;base64,Zg=="),
            (b"f", Some("x/y#z"), "data: data:application/octet-stream;base64,Zg=="),
            (b"\xff", None, "data: data:application/octet-stream;base64,/w=="),
            (b"\xff", Some("text/plain"), "data: data:text/plain;base64,/w=="),
        ] {
            let rendered = event(&sample::appended(sample::event(data, content_type)));
            assert_eq!(rendered, format!("id: k3v9x0a1-7\n{expected}\n\n"));
        }
    }

    #[test]
    fn an_envelope_is_one_line_of_json() {
        let rendered = envelope(&sample::appended(sample::event(b"a\nb", None)));
        let json =
            r#"{"id":"k3v9x0a1-7","topic":"a","type":"message","time":"2026-01-01T00:00:00.042Z","data":"a\nb"}"#;
        assert_eq!(rendered, format!("id: k3v9x0a1-7\ndata: {json}\n\n"));
    }

    #[test]
    fn notices_are_events_of_their_own_types() {
        let id = sample::cursor(9);
        let second = Duration::from_secs(1);
        let hello = Notice::Hello {
            id: Some(id),
            retry: 2 * second,
            stream: "s1",
            resume: Resume::Resumed,
            transport: "sse",
            heartbeat: 15 * second,
        };
        let gap = Notice::Gap { id: Some(id), asked: "x\"\n", first: id, reason: "unknown", lost: None, wait: second };
        for (given, expected) in [
            (
                hello,
                "id: k3v9x0a1-9\nevent: encke.hello\nretry: 2000\n\
                 data: {\"stream\":\"s1\",\"resume\":\"resumed\",\"transport\":\"sse\",\"heartbeat\":15}\n\n",
            ),
            (
                gap,
                "id: k3v9x0a1-9\nevent: encke.gap\ndata: {\"asked\":\"x\\\"\\n\",\"first\":\"k3v9x0a1-9\",\
                 \"reason\":\"unknown\",\"lost\":null,\"wait\":1000}\n\n",
            ),
            (Notice::Cursor { id }, "id: k3v9x0a1-9\nevent: encke.cursor\ndata: {\"cursor\":\"k3v9x0a1-9\"}\n\n"),
            (Notice::Heartbeat, "event: encke.heartbeat\ndata: {}\n\n"),
            (
                Notice::Bye { reason: Bye::Drain, retry: second / 1000, id: None },
                "event: encke.bye\nretry: 500\ndata: {\"reason\":\"drain\",\"retry\":500}\n\n",
            ),
        ] {
            assert_eq!(notice(&given), expected);
        }
    }
}
