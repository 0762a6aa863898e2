//! What an answer holds: events, and what the server says of the stream itself. One reader for each media type.
//!
//! Pure: bytes in, in whatever pieces; what they tell out, where it stands. Memory is bounded: what is longer than any
//! server's event is refused.

use std::borrow::Cow;
use std::time::Duration;

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::carriage::Transport;
use crate::cli::event_stream::{Dispatched, Parser};

/// The most that one line of JSON, or one page of a poll, may take.
pub(super) const MAX_LEN: usize = Parser::MAX_BLOCK;
/// The most that is kept for the next line or part.
const KEPT: usize = 16 << 10;

/// An event, or a word of the server, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// Its id; empty if it names none.
    pub(super) id: &'a str,
    /// Its type.
    pub(super) kind: &'a str,
    pub(super) data: &'a [u8],
}

/// The content is not what its media type says, or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

/// The content of a stream.
pub(super) struct Contents {
    form: Form,
    last_event_id: String,
    retry: Option<Duration>,
}

enum Form {
    EventStream(Box<Parser>),
    Lines(Vec<u8>),
    Parts(Parts),
}

impl Contents {
    /// A stream that resumes after an event.
    pub(super) fn new(transport: Transport, last_event_id: &str) -> Self {
        let form = match transport {
            Transport::Sse => Form::EventStream(Box::new(Parser::resuming(last_event_id))),
            Transport::Ndjson | Transport::LongPoll | Transport::Poll => Form::Lines(Vec::new()),
            Transport::MultipartReplace | Transport::MultipartMixed => Form::Parts(Parts::default()),
        };
        Self { form, last_event_id: last_event_id.to_owned(), retry: None }
    }

    /// Where the stream would be resumed.
    pub(super) fn last_event_id(&self) -> &str {
        match &self.form {
            Form::EventStream(parser) => parser.last_event_id(),
            Form::Lines(_) | Form::Parts(_) => &self.last_event_id,
        }
    }

    /// After what time the server wants to be asked again, if it said.
    pub(super) fn reconnection_time(&self) -> Option<Duration> {
        match &self.form {
            Form::EventStream(parser) => parser.reconnection_time(),
            Form::Lines(_) | Form::Parts(_) => self.retry,
        }
    }

    /// Takes the next bytes and shows what they complete.
    pub(super) fn read(&mut self, bytes: &[u8], told: &mut dyn FnMut(Told<'_>)) -> Result<(), Unreadable> {
        let (last_event_id, retry) = (&mut self.last_event_id, &mut self.retry);
        match &mut self.form {
            Form::EventStream(parser) => parser
                .read(bytes, &mut |Dispatched { kind, data, id, names_id }| {
                    told(Told { id: if names_id { id } else { "" }, kind, data: data.as_bytes() });
                })
                .map_err(|error| Unreadable(error.to_string())),
            Form::Lines(partial) => lines(partial, bytes, &mut |line| {
                let entry = entry(line)?;
                *retry = entry.retry.map(Duration::from_millis).or(*retry);
                remember(last_event_id, &entry.id);
                told(entry.told());
                Ok(())
            }),
            Form::Parts(parts) => parts.read(bytes, &mut |part| {
                *retry = part.retry.or(*retry);
                remember(last_event_id, &part.id);
                told(Told { id: &part.id, kind: &part.kind, data: &part.content });
            }),
        }
    }
}

fn remember(last_event_id: &mut String, id: &str) {
    if !id.is_empty() {
        id.clone_into(last_event_id);
    }
}

/// Shows the lines that `bytes` complete, without the empty ones.
fn lines(
    partial: &mut Vec<u8>,
    mut bytes: &[u8],
    line: &mut impl FnMut(&[u8]) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    while let Some(end) = memchr(b'\n', bytes) {
        let (here, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = rest;
        if !partial.is_empty() {
            partial.extend_from_slice(here);
            line(partial)?;
            partial.clear();
            partial.shrink_to(KEPT);
        } else if !here.trim_ascii().is_empty() {
            line(here)?;
        }
    }
    if partial.len() + bytes.len() > MAX_LEN {
        return Err(Unreadable("the stream sent a line of more than 16 MiB".into()));
    }
    partial.extend_from_slice(bytes);
    Ok(())
}

/// An event as JSON.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    retry: Option<u64>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Entry<'_> {
    fn told(&self) -> Told<'_> {
        let data = self.data.map(|data| data.get().as_bytes()).unwrap_or_default();
        // A text as it stands between its quotes: stamps have nothing that is escaped.
        let data = data.strip_prefix(b"\"").and_then(|data| data.strip_suffix(b"\"")).unwrap_or(data);
        Told { id: &self.id, kind: &self.kind, data }
    }
}

fn entry(line: &[u8]) -> Result<Entry<'_>, Unreadable> {
    serde_json::from_slice(line).map_err(|error| Unreadable(format!("a line is no event as JSON: {error}")))
}

/// What a poll answered, beside its events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Where the next one begins.
    pub(super) cursor: String,
    /// The log goes on behind it already.
    pub(super) more: bool,
}

/// Reads the answer to a poll and shows what it holds; a gap as the streams tell it.
pub(super) fn page(content: &[u8], told: &mut dyn FnMut(Told<'_>)) -> Result<Page, Unreadable> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        cursor: Cow<'a, str>,
        #[serde(borrow)]
        events: Vec<Entry<'a>>,
        #[serde(borrow, default)]
        gap: Option<&'a RawValue>,
        #[serde(default)]
        more: bool,
    }
    let answer: Answer<'_> = serde_json::from_slice(content)
        .map_err(|error| Unreadable(format!("the answer is not a gateway's page of events: {error}")))?;
    if let Some(gap) = answer.gap {
        told(Told { id: "", kind: GAP, data: gap.get().as_bytes() });
    }
    answer.events.iter().for_each(|entry| told(entry.told()));
    Ok(Page { cursor: answer.cursor.into_owned(), more: answer.more })
}

/// The type of what tells a gap.
pub(super) const GAP: &str = "encke.gap";

/// Body parts that say their length (RFC 2046 § 5.1), as a gateway sends them.
#[derive(Default)]
struct Parts {
    /// The beginning of a header line.
    line: Vec<u8>,
    /// How much of the content is to come; `None` within the header fields and the delimiters.
    left: Option<usize>,
    part: Part,
}

#[derive(Default)]
struct Part {
    id: String,
    kind: String,
    retry: Option<Duration>,
    length: Option<usize>,
    content: Vec<u8>,
}

impl Parts {
    fn read(&mut self, mut bytes: &[u8], told: &mut impl FnMut(&Part)) -> Result<(), Unreadable> {
        loop {
            if let Some(left) = &mut self.left {
                let here = &bytes[..bytes.len().min(*left)];
                self.part.content.extend_from_slice(here);
                *left -= here.len();
                bytes = &bytes[here.len()..];
                if *left > 0 {
                    return Ok(());
                }
                self.left = None;
                told(&self.part);
                self.part.clear();
            }
            let Some(end) = memchr(b'\n', bytes) else {
                if self.line.len() + bytes.len() > KEPT {
                    return Err(Unreadable("a body part has a header line of more than 16 KiB".into()));
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.field(line.trim_ascii_end())?;
            self.line = line;
            self.line.clear();
        }
    }

    /// A header line, a delimiter, or the empty line before the content.
    fn field(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        if line.is_empty() {
            // Also the line end that belongs to the delimiter: there is no length yet then.
            self.left = self.part.length.take();
            return Ok(());
        }
        if line.starts_with(b"--") {
            self.part.clear();
            return Ok(());
        }
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once(':') else { return Ok(()) };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = value.parse().ok().filter(|length| *length <= MAX_LEN);
                let unfit = || Unreadable("a body part has no length, or one of more than 16 MiB".into());
                self.part.length = Some(length.ok_or_else(unfit)?);
            }
            "encke-id" => value.clone_into(&mut self.part.id),
            "encke-type" => value.clone_into(&mut self.part.kind),
            "encke-retry" => self.part.retry = value.parse().ok().map(Duration::from_millis),
            _ => {}
        }
        Ok(())
    }
}

impl Part {
    fn clear(&mut self) {
        self.id.clear();
        self.kind.clear();
        self.retry = None;
        self.length = None;
        self.content.clear();
        self.content.shrink_to(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `stream` cut in two at every place: gives id, type and data of what it tells, and where it would be resumed.
    #[track_caller]
    fn check(transport: Transport, stream: &str, expected: &[(&str, &str, &str)], resumed: (&str, Option<u64>)) {
        let stream = stream.as_bytes();
        for cut in 0..=stream.len() {
            let (mut contents, mut told) = (Contents::new(transport, "before"), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                let read = contents.read(piece, &mut |Told { id, kind, data }| {
                    told.push((id.to_owned(), kind.to_owned(), String::from_utf8_lossy(data).into_owned()));
                });
                read.expect("it can be read");
            }
            let told: Vec<_> =
                told.iter().map(|(id, kind, data)| (id.as_str(), kind.as_str(), data.as_str())).collect();
            assert_eq!(told, expected, "cut after {cut}");
            let place = (contents.last_event_id(), contents.reconnection_time());
            assert_eq!(place, (resumed.0, resumed.1.map(Duration::from_millis)), "cut after {cut}");
        }
    }

    #[test]
    fn an_event_stream_tells_its_events() {
        let stream = "id: a-1\nevent: encke.hello\nretry: 2000\ndata: {}\n\n:\n\nid: a-2\ndata: x\n\ndata: y\n\n";
        let told = [("a-1", "encke.hello", "{}"), ("a-2", "message", "x"), ("", "message", "y")];
        check(Transport::Sse, stream, &told, ("a-2", Some(2000)));
    }

    #[test]
    fn lines_of_json_tell_the_same() {
        let stream = "{\"id\":\"a-1\",\"type\":\"encke.hello\",\"retry\":2000,\"data\":{\"n\":1}}\n\n\
                      {\"id\":\"a-2\",\"topic\":\"t\",\"type\":\"message\",\"data\":\"x\"}\r\n{\"data\":7}\n{\"id\":";
        let told = [("a-1", "encke.hello", "{\"n\":1}"), ("a-2", "message", "x"), ("", "", "7")];
        check(Transport::Ndjson, stream, &told, ("a-2", Some(2000)));
    }

    #[test]
    fn body_parts_tell_the_same() {
        let stream = "--b\r\nEncke-Id: a-1\r\nEncke-Type: encke.hello\r\nEncke-Retry: 2000\r\nContent-Length: 2\r\n\r\n{}\r\n\
                      --b\r\nEncke-Heartbeat: 1\r\nContent-Length: 7\r\nEncke-Id: a-2\r\n\r\nx\r\n--b!\r\n--b\r\n\
                      Content-Length: 0\r\n\r\n\r\n--b--\r\n";
        let told = [("a-1", "encke.hello", "{}"), ("a-2", "", "x\r\n--b!"), ("", "", "")];
        check(Transport::MultipartMixed, stream, &told, ("a-2", Some(2000)));
    }

    #[test]
    fn a_page_tells_its_events_and_where_the_next_one_begins() {
        let mut told = Vec::new();
        let mut tell = |Told { id, kind, data }: Told<'_>| {
            told.push((id.to_owned(), kind.to_owned(), String::from_utf8_lossy(data).into_owned()));
        };
        let content =
            br#"{"cursor":"a-9","events":[{"id":"a-8","type":"message","data":"x"}],"gap":{"lost":3},"more":true}"#;
        assert_eq!(page(content, &mut tell), Ok(Page { cursor: "a-9".into(), more: true }));
        let empty = br#"{"cursor":"a-9","events":[]}"#;
        assert_eq!(page(empty, &mut tell), Ok(Page { cursor: "a-9".into(), more: false }));
        assert!(page(b"[]", &mut tell).is_err());
        let expected = [("", GAP, r#"{"lost":3}"#), ("a-8", "message", "x")];
        assert_eq!(told, expected.map(|(id, kind, data)| (id.to_owned(), kind.to_owned(), data.to_owned())));
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        let read = |transport, text: &[u8]| Contents::new(transport, "").read(text, &mut |_| {});
        assert!(read(Transport::Ndjson, b"hello\n").is_err());
        assert!(read(Transport::MultipartMixed, b"--b\r\nContent-Length: x\r\n").is_err());
        let long = vec![b'x'; MAX_LEN + 1];
        for transport in [Transport::Sse, Transport::Ndjson, Transport::MultipartReplace] {
            assert!(read(transport, &long).is_err(), "{transport:?}");
        }
    }
}
