//! What goes out in one request: events as lines of JSON, and which line of the input each of them was.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::of_bytes;
use crate::event::{Event, EventType, Topic};

/// Lines that wait for their answer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    body: Vec<u8>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    /// Its number in the input, from 1.
    number: u64,
    /// Where it ends in the body.
    end: usize,
    keyed: bool,
}

impl Batch {
    /// A gateway names no more lines than this that it refuses in one request.
    const MOST_LINES: usize = 1000;
    /// A megabyte is as much as some proxies let through (nginx 1.29, `client_max_body_size`).
    const MOST_BYTES: usize = 512 << 10;

    /// Whether no further line should join.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= Self::MOST_LINES || self.body.len() >= Self::MOST_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn push(&mut self, number: u64, object: &Object<'_>) {
        self.body.extend_from_slice(&object.json);
        self.body.push(b'\n');
        self.lines.push(Line { number, end: self.body.len(), keyed: object.keyed });
    }

    /// The content of a request.
    pub(super) fn body(&self) -> Bytes {
        Bytes::copy_from_slice(&self.body)
    }

    /// Forgets the first `count` lines, whose answer is there.
    pub(super) fn forget(&mut self, count: usize) {
        let count = count.min(self.lines.len());
        let Some(end) = self.lines[..count].last().map(|line| line.end) else { return };
        self.body.drain(..end);
        self.lines.drain(..count);
        for line in &mut self.lines {
            line.end -= end;
        }
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The number in the input of a line of the request, from 1.
    pub(super) fn number(&self, line: usize) -> Option<u64> {
        Some(self.lines.get(line.checked_sub(1)?)?.number)
    }

    /// Whether it can be sent again without being stored twice.
    pub(super) fn is_keyed(&self) -> bool {
        self.lines.iter().all(|line| line.keyed)
    }
}

/// A line of the input as it is sent.
pub(super) struct Object<'a> {
    json: Cow<'a, [u8]>,
    keyed: bool,
}

/// What a line of the input is.
pub(super) enum Lines {
    /// An event as an object; those that name no topic have this one.
    Objects(Option<Topic>),
    /// The data of an event that is otherwise like this one; its key, if it has one, is that of the whole input.
    Data(Box<Event>),
}

impl Lines {
    /// Line `number` as it is sent, or why it is no event.
    pub(super) fn object<'a>(&self, number: u64, line: &'a [u8]) -> Result<Object<'a>, String> {
        match self {
            Self::Objects(topic) => Ok(named(line, topic.as_ref())),
            Self::Data(template) => of_data(template, number, line),
        }
    }
}

/// An object, with the topic if it names none. What is no object is sent as it is: the gateway says what is wrong with it.
fn named<'a>(line: &'a [u8], topic: Option<&Topic>) -> Object<'a> {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        topic: Option<&'a RawValue>,
        #[serde(borrow)]
        topics: Option<&'a RawValue>,
        #[serde(borrow)]
        key: Option<&'a RawValue>,
        #[serde(rename = "type")]
        kind: Option<Cow<'a, str>>,
    }
    let Ok(Members { topic: named, topics, key, kind }) = serde_json::from_slice(line) else {
        return Object { json: line.into(), keyed: false };
    };
    // A gateway's own words among the events that it gave are passed over by the gateway.
    let own = kind.is_some_and(|kind| kind.starts_with(EventType::RESERVED_PREFIX));
    let keyed = key.is_some() || own;
    let open = line.iter().position(|byte| *byte == b'{');
    let (Some(topic), Some(open), true) = (topic, open, named.is_none() && topics.is_none() && !own) else {
        return Object { json: line.into(), keyed };
    };
    let (open, rest) = line.split_at(open + 1);
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    let topic = format!("\"topic\":{}{comma}", serde_json::Value::from(topic.as_str()));
    Object { json: [open, topic.as_bytes(), rest].concat().into(), keyed }
}

fn of_data<'a>(template: &Event, number: u64, line: &[u8]) -> Result<Object<'a>, String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Members<'a> {
        topics: Vec<&'a str>,
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<f64>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        private: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        conflate: Option<&'a str>,
        data: Data<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Data<'a> {
        Text(&'a str),
        Json(&'a RawValue),
        Bytes(String),
    }
    let media = template.content_type.clone().or_else(|| of_bytes(line));
    let data = match (&media, std::str::from_utf8(line)) {
        (Some(media), _) if media.is_json() => {
            Data::Json(serde_json::from_slice(line).map_err(|error| format!("this is not JSON: {error}"))?)
        }
        (media, Ok(text)) if media.as_ref().is_none_or(|media| media.is_text()) => Data::Text(text),
        _ => Data::Bytes(BASE64_STANDARD.encode(line)),
    };
    let members = Members {
        topics: template.topics.iter().map(Topic::as_str).collect(),
        kind: template.kind.as_ref().map(EventType::as_str),
        content_type: media.as_ref().map(|media| media.as_str()),
        encoding: matches!(data, Data::Bytes(_)).then_some("base64"),
        key: template.key.as_ref().map(|key| format!("{}-{number}", key.as_str())),
        ttl: template.ttl.map(|ttl| ttl.as_secs_f64()),
        private: template.private,
        conflate: template.conflate.as_ref().map(|key| key.as_str()),
        data,
    };
    let json = serde_json::to_vec(&members).expect("texts and numbers are JSON");
    Ok(Object { json: json.into(), keyed: members.key.is_some() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{ContentType, Key};

    fn sent(lines: &Lines, line: &[u8]) -> (String, bool) {
        let object = lines.object(7, line).expect("an event");
        (String::from_utf8(object.json.into_owned()).expect("text"), object.keyed)
    }

    #[test]
    fn an_object_without_a_topic_gets_the_one_of_the_command() {
        let lines = Lines::Objects(Topic::parse("a\"b").ok());
        let check = |line: &str, expected: &str, keyed: bool| {
            assert_eq!(sent(&lines, line.as_bytes()), (expected.to_owned(), keyed), "{line}");
        };
        check(r#"{"data":1}"#, r#"{"topic":"a\"b","data":1}"#, false);
        check(r#" { } "#, r#" {"topic":"a\"b" } "#, false);
        check(r#"{"topic":null,"key":"k"}"#, r#"{"topic":"a\"b","topic":null,"key":"k"}"#, true);
        check(r#"{"topics":["x"],"key":"k"}"#, r#"{"topics":["x"],"key":"k"}"#, true);
        check(r#"{"type":"encke.gap","data":{}}"#, r#"{"type":"encke.gap","data":{}}"#, true);
        for untouched in ["", "{", "[1]", "\"{\"", r#"{"topic":"x"}"#, r#"{"key":1,"key":2}"#] {
            check(untouched, untouched, false);
        }
        assert_eq!(sent(&Lines::Objects(None), b"{\"data\":1}"), ("{\"data\":1}".to_owned(), false));
    }

    #[test]
    fn a_line_of_data_becomes_an_event_like_the_others() {
        let mut event = Event::new(Topic::parse("a").expect("a topic"), "");
        let lines = |event: &Event| Lines::Data(Box::new(event.clone()));
        assert_eq!(sent(&lines(&event), "ü\"\t".as_bytes()).0, r#"{"topics":["a"],"data":"ü\"\t"}"#);
        let bytes = r#"{"topics":["a"],"contentType":"application/octet-stream","encoding":"base64","data":"/wA="}"#;
        assert_eq!(sent(&lines(&event), b"\xff\0").0, bytes);
        event.topics.push(Topic::parse("b").expect("a topic"));
        event.kind = EventType::parse("paid").expect("a type");
        event.content_type = ContentType::parse("application/json").ok();
        event.key = Key::parse("import").ok();
        event.ttl = Some(Duration::from_millis(1500));
        event.private = true;
        event.conflate = Key::parse("c").ok();
        let whole = r#"{"topics":["a","b"],"type":"paid","contentType":"application/json","key":"import-7","ttl":1.5,"private":true,"conflate":"c","data":{"x": 1}}"#;
        assert_eq!(sent(&lines(&event), b"{\"x\": 1}"), (whole.to_owned(), true));
        assert!(lines(&event).object(1, b"{").is_err());
    }

    #[test]
    fn a_batch_knows_its_lines_by_their_numbers_in_the_input() {
        let mut batch = Batch::default();
        let lines = Lines::Objects(None);
        for number in [2, 3, 5] {
            batch.push(number, &lines.object(number, format!("{{\"data\":{number}}}").as_bytes()).expect("an object"));
        }
        assert_eq!([0, 1, 3, 4].map(|line| batch.number(line)), [None, Some(2), Some(5), None]);
        batch.forget(2);
        assert_eq!((batch.body().as_ref(), batch.number(1)), (&b"{\"data\":5}\n"[..], Some(5)));
        batch.forget(9);
        assert!(batch.is_empty() && batch.body().is_empty());
    }
}
