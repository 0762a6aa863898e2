//! A subscriber as the model sees it: what it was told, by whatever transport.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use encke::event::Cursor;
use serde_json::Value;
use tokio_stream::{Stream, StreamExt};

use crate::multipart;
use crate::whatwg::{Dispatched, Parser};

/// Something told to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// An event: its cursor, its data, and its topics where they are told.
    Event(Cursor, String, Vec<String>),
    /// The stream begins behind this position.
    Hello(Option<Cursor>),
    /// What follows is behind this position; between, so many events are gone, if that is known.
    Gap(Cursor, Option<u64>),
    /// A position without news.
    Position(Cursor),
    /// It ends on purpose.
    Bye,
}

pub(crate) type Body = Pin<Box<dyn Stream<Item = Result<Bytes, io::Error>> + Send>>;

/// An open stream, being read.
pub(crate) struct Reading {
    pub(crate) body: Body,
    decoder: Decoder,
}

enum Decoder {
    EventStream(Box<Parser>),
    Lines(Vec<u8>),
    Parts { boundary: String, bytes: Vec<u8>, seen: usize },
}

impl Reading {
    pub(crate) fn new(body: Body, content_type: &str) -> Self {
        let decoder = match content_type.split_once("boundary=") {
            Some((_, boundary)) => Decoder::Parts { boundary: boundary.to_owned(), bytes: Vec::new(), seen: 0 },
            None if content_type == "text/event-stream" => Decoder::EventStream(Box::new(Parser::new())),
            None => Decoder::Lines(Vec::new()),
        };
        Self { body, decoder }
    }

    /// The next frame, decoded; nothing when the body has nothing more to give.
    pub(crate) async fn next(&mut self) -> Option<Vec<Told>> {
        // The clock is paused: it moves only when every task is idle.
        let frame = tokio::time::timeout(std::time::Duration::from_millis(1), self.body.next()).await.ok()??;
        Some(self.decoder.decode(&frame.expect("a body is not broken off by itself")))
    }
}

impl Decoder {
    fn decode(&mut self, frame: &[u8]) -> Vec<Told> {
        match self {
            Self::EventStream(parser) => {
                let dispatched = parser.feed(frame);
                let told = |event: Dispatched| told(&event.kind, &event.last_event_id, event.data, Vec::new());
                dispatched.into_iter().filter_map(told).collect()
            }
            Self::Lines(bytes) => {
                bytes.extend_from_slice(frame);
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let lines: Vec<u8> = bytes.drain(..whole).collect();
                let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.filter_map(|line| of_json(&serde_json::from_slice(line).expect("a line is JSON"))).collect()
            }
            Self::Parts { boundary, bytes, seen } => {
                bytes.extend_from_slice(frame);
                let (parts, _) = multipart::read(boundary, bytes).expect("a multipart body");
                let fresh = parts.iter().skip(*seen).filter_map(|part| {
                    let field = |name| part.field(name).unwrap_or_default();
                    let topics = part.fields.iter().filter(|(name, _)| name == "encke-topic");
                    let topics = topics.map(|(_, value)| value.clone()).collect();
                    told(
                        field("encke-type"),
                        field("encke-id"),
                        String::from_utf8(part.content.clone()).expect("text"),
                        topics,
                    )
                });
                let fresh = fresh.collect();
                *seen = parts.len();
                fresh
            }
        }
    }
}

/// What an event or a notice as JSON tells.
pub(crate) fn of_json(json: &Value) -> Option<Told> {
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let data = json["data"].as_str().map_or_else(|| json["data"].to_string(), str::to_owned);
    let list = json.get("topics").and_then(Value::as_array).into_iter().flatten();
    let mut topics: Vec<_> = list.filter_map(Value::as_str).map(str::to_owned).collect();
    if topics.is_empty() {
        topics.push(text("topic").to_owned());
    }
    assert_eq!(topics[0], text("topic"), "the first topic is the canonical one");
    told(text("type"), text("id"), data, topics)
}

fn told(kind: &str, id: &str, data: String, topics: Vec<String>) -> Option<Told> {
    let cursor = || id.parse().expect("an id is a cursor");
    let lost = || serde_json::from_str::<Value>(&data).expect("JSON")["lost"].as_u64();
    match kind {
        "encke.hello" => Some(Told::Hello((!id.is_empty()).then(cursor))),
        "encke.gap" => Some(Told::Gap(cursor(), lost())),
        "encke.cursor" => Some(Told::Position(cursor())),
        "encke.bye" => Some(Told::Bye),
        "encke.heartbeat" => None,
        _ => Some(Told::Event(cursor(), data, topics)),
    }
}
