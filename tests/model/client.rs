//! A subscriber as the model sees it: what it was told, by whatever transport.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::Duration;

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
    source: Source,
    decoder: Decoder,
}

/// What carries it here.
enum Source {
    Body(Body),
    Socket(Socket),
}

/// The other end of a socket, on which content comes in chunks.
struct Socket {
    socket: UnixStream,
    bytes: Vec<u8>,
}

enum Decoder {
    EventStream(Box<Parser>),
    Lines(Vec<u8>),
    Parts { boundary: String, bytes: Vec<u8>, seen: usize },
}

impl Reading {
    pub(crate) fn of_body(body: Body, content_type: &str) -> Self {
        Self::new(Source::Body(body), content_type)
    }

    /// Of a socket that does not block.
    pub(crate) fn of_socket(socket: UnixStream, content_type: &str) -> Self {
        Self::new(Source::Socket(Socket { socket, bytes: Vec::new() }), content_type)
    }

    /// Whether what was written stays on its way until it is read.
    pub(crate) fn is_socket(&self) -> bool {
        matches!(self.source, Source::Socket(_))
    }

    fn new(source: Source, content_type: &str) -> Self {
        let decoder = match content_type.split_once("boundary=") {
            Some((_, boundary)) => Decoder::Parts { boundary: boundary.to_owned(), bytes: Vec::new(), seen: 0 },
            None if content_type == "text/event-stream" => Decoder::EventStream(Box::new(Parser::new())),
            None => Decoder::Lines(Vec::new()),
        };
        Self { source, decoder }
    }

    /// The next frame, decoded; nothing when the body has nothing more to give.
    pub(crate) async fn next(&mut self) -> Option<Vec<Told>> {
        let frame = match &mut self.source {
            Source::Body(body) => {
                // The clock is paused: it moves only when every task is idle.
                let frame = tokio::time::timeout(Duration::from_millis(1), body.next()).await.ok()??;
                frame.expect("a body is not broken off by itself")
            }
            Source::Socket(socket) => socket.next().await?,
        };
        Some(self.decoder.decode(&frame))
    }
}

impl Socket {
    /// The next chunk; nothing when no more comes.
    ///
    /// The clock is paused, and moves only when every task is idle; then it is also seen which sockets are ready. A reader
    /// that has made room is heard in the first of such moments, and has its bytes before the second.
    async fn next(&mut self) -> Option<Bytes> {
        let mut idle = 0;
        while idle < 3 {
            if let Some(chunk) = self.chunk() {
                return (!chunk.is_empty()).then_some(chunk);
            }
            let mut piece = [0; 2048];
            match self.socket.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => {
                    self.bytes.extend_from_slice(&piece[..read]);
                    idle = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    idle += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        None
    }

    /// A whole chunk (RFC 9112 § 7.1), if one has come. The last one is empty.
    fn chunk(&mut self) -> Option<Bytes> {
        let line = self.bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&self.bytes[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the size of a chunk");
        let end = line + 2 + size;
        if self.bytes.len() < end + 2 {
            return None;
        }
        assert_eq!(&self.bytes[end..end + 2], b"\r\n");
        let chunk = Bytes::copy_from_slice(&self.bytes[line + 2..end]);
        self.bytes.drain(..end + 2);
        Some(chunk)
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
