//! The JSON of an event, alone on a line or in the answer of a poll.
//!
//! Invariant: what is written is valid JSON (RFC 8259) without a raw CR or LF anywhere, whatever was published; so it
//! can be a line, and the one `data` field of an event stream.

use std::io::Write;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::notice::Notice;
use super::{data, timestamp};
use crate::event::{Appended, Cursor, Event, Topic};

/// Names, quotes and punctuation of an event's JSON, and the two values of bounded length.
const FRAME_LEN: usize =
    r#"{"id":"","topic":"","topics":[],"type":"message","contentType":"","encoding":"base64","time":"","key":"","data":""}"#.len()
        + Cursor::MAX_LEN
        + timestamp::LEN;

/// The event's JSON and a line end.
///
/// Cost: one allocation; the data is looked through to size it, once more if it is to be JSON, and copied once.
pub(super) fn line(event: &Appended) -> Bytes {
    let told = Told::of(event);
    let mut out = Vec::with_capacity(told.size() + 1);
    told.push(&mut out);
    out.push(b'\n');
    out.into()
}

/// A line in which the gateway itself speaks.
pub(super) fn notice(notice: &Notice<'_>) -> Bytes {
    let mut out = Vec::with_capacity(96 + notice.size());
    let mut object = Object::open(&mut out);
    if let Some(id) = notice.id() {
        object.cursor("id", id);
    }
    object.string("type", notice.kind());
    if let Some(milliseconds) = notice.retry() {
        object.number("retry", milliseconds);
    }
    notice.push_data(object.value("data"));
    object.close();
    out.push(b'\n');
    out.into()
}

/// The answer of a poll: `cursor` is how far the log was looked through, `events` the JSON of each event as
/// `Format::Answer` renders it, `gap` the notice of one, and `more` says that the next poll need not wait.
///
/// Cost: one allocation, and a copy of each event's JSON.
#[must_use]
pub fn answer(cursor: Cursor, events: &[Bytes], gap: Option<&Notice<'_>>, more: bool) -> Bytes {
    let events_len: usize = events.iter().map(|event| event.len() + 1).sum();
    let mut out = Vec::with_capacity(96 + events_len + gap.map_or(0, Notice::size));
    let mut object = Object::open(&mut out);
    object.cursor("cursor", cursor);
    let list = object.value("events");
    list.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            list.push(b',');
        }
        list.extend_from_slice(event);
    }
    list.push(b']');
    if let Some(gap) = gap {
        gap.push_data(object.value("gap"));
    }
    if more {
        object.value("more").extend_from_slice(b"true");
    }
    object.close();
    out.into()
}

/// An event that has been looked at, and is ready to be told as JSON.
pub(super) struct Told<'a> {
    event: &'a Appended,
    content: Content<'a>,
}

impl<'a> Told<'a> {
    /// Looks at the event's data. Cost: one or two passes over it, no copy.
    pub(super) fn of(event: &'a Appended) -> Self {
        Self { event, content: Content::of(&event.event) }
    }

    /// Room enough for its JSON, in bytes.
    pub(super) fn size(&self) -> usize {
        let Event { topics, kind, content_type, key, .. } = &self.event.event;
        let topics: usize = topics.iter().map(|topic| escaped_len(topic.as_str()) + r#""","#.len()).sum();
        FRAME_LEN
            + 2 * topics
            + kind.as_ref().map_or(0, |kind| escaped_len(kind.as_str()))
            + content_type.as_ref().map_or(0, |media| escaped_len(media.as_str()))
            + key.as_ref().map_or(0, |key| escaped_len(key.as_str()))
            + self.content.size()
    }

    /// Appends its JSON.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let Event { topics, kind, content_type, key, .. } = &self.event.event;
        let mut object = Object::open(out);
        object.cursor("id", self.event.cursor);
        object.string("topic", self.event.event.topic().as_str());
        if topics.len() > 1 {
            push_topics(object.value("topics"), topics);
        }
        object.string("type", kind.as_ref().map_or("message", |kind| kind.as_str()));
        if let Some(content_type) = content_type {
            object.string("contentType", content_type.as_str());
        }
        if matches!(self.content, Content::Bytes(_)) {
            object.string("encoding", "base64");
        }
        let time = object.value("time");
        time.push(b'"');
        timestamp::push(time, self.event.time);
        time.push(b'"');
        if let Some(key) = key {
            object.string("key", key.as_str());
        }
        self.content.push(object.value("data"));
        object.close();
    }
}

/// The longest that escaping can make `text`: `\"` and `\\` for two characters, `\u001f` for the control ones.
fn escaped_len(text: &str) -> usize {
    text.bytes().map(|byte| if byte < b' ' { 6 } else { 1 + usize::from(byte == b'"' || byte == b'\\') }).sum()
}

fn push_topics(out: &mut Vec<u8>, topics: &[Topic]) {
    for (index, topic) in topics.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        push_string(out, topic.as_str());
    }
    out.push(b']');
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes every byte, and text is always JSON");
}

/// How an event's data is told.
enum Content<'a> {
    /// JSON, without blanks around it.
    Json(&'a str),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    /// Looks at the data itself: what only claims to be JSON is told as a string, for one wrong event must not make a
    /// whole answer unreadable.
    fn of(event: &'a Event) -> Self {
        let Some(text) = data::text(event) else { return Self::Bytes(&event.data) };
        let json = if event.is_json() { serde_json::from_str::<&RawValue>(text).ok() } else { None };
        json.map_or(Self::Text(text), |json| Self::Json(json.get()))
    }

    fn size(&self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Text(text) => escaped_len(text),
            Self::Bytes(bytes) => data::base64_len(bytes.len()),
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => push_on_one_line(out, json),
            Self::Text(text) => push_string(out, text),
            Self::Bytes(bytes) => {
                out.push(b'"');
                data::push_base64(out, bytes);
                out.push(b'"');
            }
        }
    }
}

/// Appends JSON as it stands, but for CR and LF: inside strings JSON has none, so those there are stand between tokens,
/// where a space means the same.
fn push_on_one_line(out: &mut Vec<u8>, json: &str) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    for byte in &mut out[start..] {
        if matches!(*byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

/// A JSON object while it is written. Names are ours and need no escaping; values are escaped.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    /// Writes the name; the caller appends one value to what is returned.
    pub(super) fn value(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(&[self.separator, b'"']);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.separator = b',';
        self.out
    }

    pub(super) fn string(&mut self, name: &'static str, text: &str) {
        push_string(self.value(name), text);
    }

    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        write!(self.value(name), "{number}").expect("a Vec takes every byte");
    }

    pub(super) fn cursor(&mut self, name: &'static str, cursor: Cursor) {
        write!(self.value(name), "\"{cursor}\"").expect("a Vec takes every byte");
    }

    pub(super) fn null(&mut self, name: &'static str) {
        self.value(name).extend_from_slice(b"null");
    }

    pub(super) fn close(self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{EventType, Key};
    use crate::transport::sample;

    /// The end of the line, from `time` on; the rest before it is the same in each of the tables.
    fn check(what: &str, data: &[u8], content_type: &str, expected: &str) {
        let event = sample::appended(sample::event(data, Some(content_type)));
        let line = line(&event);
        let head = format!(r#"{{"id":"k3v9x0a1-7","topic":"a","type":"message","contentType":"{content_type}","#);
        let rest = line.strip_prefix(head.as_bytes()).expect("the fields of every event");
        assert_eq!(String::from_utf8_lossy(rest), format!("{expected}}}\n"), "{what}");
        assert!(
            line.len() <= Told::of(&event).size() + 1,
            "{what}: {} bytes, {} foreseen",
            line.len(),
            Told::of(&event).size() + 1
        );
    }

    #[test]
    fn data_is_told_by_its_kind() {
        let time = r#""time":"2026-01-01T00:00:00.042Z""#;
        let text = |data: &str| format!(r#"{time},"data":{data}"#);
        let base64 = |data: &str| format!(r#""encoding":"base64",{time},"data":"{data}""#);
        check("text", b"a\"b\\\r\n\0\x1f", "text/plain", &text(r#""a\"b\\\r\n\u0000\u001f""#));
        check(
            "JSON is not rewritten",
            b"{\"b\" : 1.00,\"a\":\"\\u00e9\"}",
            "application/json",
            &text("{\"b\" : 1.00,\"a\":\"\\u00e9\"}"),
        );
        check("JSON on one line", b"\r\n[1,\r\n\n2]\n", "application/json", &text("[1,   2]"));
        check("a large number", b"1e999", "application/problem+json", &text("1e999"));
        check("two values are no JSON", b"1 2", "application/json", &text("\"1 2\""));
        check("half a value", b"{\"a\":", "application/json", &text(r#""{\"a\":""#));
        check("a line end within a string is no JSON", b"\"a\nb\"", "application/json", &text(r#""\"a\nb\"""#));
        check("nothing is no JSON", b"", "application/json", &text("\"\""));
        check("bytes", b"\xff\xd8", "image/jpeg", &base64("/9g="));
        check("text that is none", b"\xff", "application/json", &base64("/w=="));
    }

    #[test]
    fn json_nested_deeply_is_no_danger() {
        let depth = 400_000;
        let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let event = sample::appended(sample::event(json.as_bytes(), Some("application/json")));
        assert!(line(&event).ends_with(format!("\"data\":{json}}}\n").as_bytes()));
    }

    #[test]
    fn every_field_that_there_is_is_told() {
        let mut event = sample::event(b"x", None);
        event.topics.push(Topic::parse("b\"").expect("a topic"));
        event.kind = EventType::parse("t\\").expect("a type");
        event.key = Some(Key::parse("k\"").expect("a key"));
        let event = sample::appended(event);
        let expected = r#"{"id":"k3v9x0a1-7","topic":"a","topics":["a","b\""],"type":"t\\","time":"2026-01-01T00:00:00.042Z","key":"k\"","data":"x"}"#;
        assert_eq!(line(&event), format!("{expected}\n"));
        assert!(expected.len() <= Told::of(&event).size());
    }

    #[test]
    fn notices_are_lines() {
        let id = sample::cursor(9);
        let bye = Notice::Bye { reason: super::super::Bye::Limit, retry: Duration::from_secs(2), id: Some(id) };
        let expected = r#"{"id":"k3v9x0a1-9","type":"encke.bye","retry":2000,"data":{"reason":"limit","retry":2000}}"#;
        assert_eq!(notice(&bye), format!("{expected}\n"));
        assert_eq!(notice(&Notice::Heartbeat), "{\"type\":\"encke.heartbeat\",\"data\":{}}\n");
    }

    #[test]
    fn an_answer_joins_what_was_rendered() {
        let id = sample::cursor(9);
        assert_eq!(answer(id, &[], None, false), r#"{"cursor":"k3v9x0a1-9","events":[]}"#);
        let gap = Notice::Gap {
            id: Some(id),
            asked: "x",
            first: id,
            reason: "ahead",
            lost: None,
            wait: Duration::from_millis(250),
        };
        let events = [Bytes::from_static(b"{}"), Bytes::from_static(b"{}")];
        assert_eq!(
            answer(id, &events, Some(&gap), true),
            "{\"cursor\":\"k3v9x0a1-9\",\"events\":[{},{}],\"gap\":{\"asked\":\"x\",\"first\":\"k3v9x0a1-9\",\
             \"reason\":\"ahead\",\"lost\":null,\"wait\":250},\"more\":true}"
        );
    }
}
