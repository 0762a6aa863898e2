//! A subscriber as the model sees it: what it was told, by whatever transport.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use encke::event::Cursor;
use serde_json::Value;
use tokio_stream::{Stream, StreamExt};

use crate::multipart;
use crate::whatwg::Parser;

/// Something told to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// An event: its cursor and its data.
    Event(Cursor, String),
    /// The stream begins behind this position.
    Hello(Option<Cursor>),
    /// What follows is behind this position; what is between is gone.
    Gap(Cursor),
    /// A position without news.
    Position(Cursor),
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
                dispatched.into_iter().filter_map(|event| told(&event.kind, &event.last_event_id, event.data)).collect()
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
                let fresh = parts.iter().skip(*seen).map(|part| {
                    let id = part.field("encke-id").expect("a part has an id").parse().expect("a cursor");
                    Told::Event(id, String::from_utf8(part.content.clone()).expect("text"))
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
    told(text("type"), text("id"), text("data").to_owned())
}

fn told(kind: &str, id: &str, data: String) -> Option<Told> {
    let cursor = || id.parse().expect("an id is a cursor");
    match kind {
        "encke.hello" => Some(Told::Hello((!id.is_empty()).then(cursor))),
        "encke.gap" => Some(Told::Gap(cursor())),
        "encke.cursor" => Some(Told::Position(cursor())),
        "encke.heartbeat" | "encke.bye" => None,
        _ => Some(Told::Event(cursor(), data)),
    }
}
