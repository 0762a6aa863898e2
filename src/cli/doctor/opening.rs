//! Probe: how soon a stream begins, what its head says, and who has had a hand in it.

use std::collections::VecDeque;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::time::timeout;

use super::path::Path;
use super::stream::{Answer, Stream};
use crate::cli::wire::trouble::{Kind, Trouble};

/// How many streams are opened, one after the other: the quickest says what the path can do.
const STREAMS: usize = 3;

/// What opening says.
#[derive(Clone, Debug, Default)]
pub(super) struct Opening {
    /// The head of the first stream; none came in time.
    pub(super) answer: Option<Answer>,
    /// From the request to the head, of the quickest.
    pub(super) head: Option<Duration>,
    /// From the request to the first byte of content, and to the first event, of the quickest.
    pub(super) first_byte: Option<Duration>,
    pub(super) first_event: Option<Duration>,
    /// What a gateway takes to answer what it has to say at once; `None`: it did not, or this is no gateway.
    pub(super) at_once: Option<Duration>,
    /// The fields of that answer.
    pub(super) fields: HeaderMap,
    /// What becomes of the stream where the client says that it understands compression, as browsers do.
    pub(super) compressed: Option<Compressed>,
    pub(super) is_encke: bool,
    /// How often the gateway sends something on this stream, as it says.
    pub(super) heartbeat: Option<Duration>,
    /// How long was waited for what did not come.
    pub(super) patience: Duration,
}

/// A stream that somebody has compressed.
#[derive(Clone, Debug)]
pub(super) struct Compressed {
    pub(super) coding: String,
    /// Whether any content came in time.
    pub(super) has_begun: bool,
}

/// The data of `encke.hello`.
#[derive(Deserialize)]
struct Hello {
    heartbeat: f64,
}

/// Opens streams and looks at how they begin.
///
/// # Errors
/// Nobody is there, or what is there is no event stream.
pub(super) async fn probe(path: &Path) -> Result<Opening, Trouble> {
    let mut opening = Opening { patience: path.patience, ..Opening::default() };
    for _ in 0..STREAMS {
        let stream = match path.open(&path.target.stream(&[])).await {
            Ok(stream) => stream,
            Err(trouble) if trouble.kind == Kind::Timeout && trouble.words == Trouble::late().words => break,
            Err(trouble) => return Err(trouble),
        };
        if opening.answer.is_none() {
            is_event_stream(path, &stream.answer)?;
            opening.is_encke = stream.answer.fields.contains_key("encke-stream");
            opening.answer = Some(stream.answer.clone());
        }
        if !opening.take(stream, path.patience).await {
            break; // The others would make us wait as long.
        }
    }
    opening.compressed = if opening.answer.is_some() { compressed(path).await } else { None };
    let is_another = opening.answer.is_some() && !opening.is_encke;
    for _ in 0..if is_another { 0 } else { STREAMS } {
        let answered = timeout(path.patience, async {
            let mut answer = Stream::open(&path.dialer, &path.target.at_once()).await.ok()?;
            let is_encke = answer.answer.fields.contains_key("encke-cursor");
            let is_whole = is_encke && answer.answer.status == 200 && answer.answer.media_type.ends_with("json");
            // Of another server it may be a stream, which has no end.
            is_whole.then_some(())?;
            answer.rest().await;
            Some((answer.asked.elapsed(), answer.answer.fields))
        });
        let Ok(Some((took, fields))) = answered.await else { break };
        opening.is_encke = true;
        opening.fields = fields;
        opening.at_once = Some(quicker(opening.at_once, took));
    }
    Ok(opening)
}

/// Asks as browsers do, who take any coding.
async fn compressed(path: &Path) -> Option<Compressed> {
    let mut request = path.target.stream(&[]);
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"));
    let mut stream = path.open(&request).await.ok()?;
    let coding = stream.answer.fields.get(CONTENT_ENCODING)?.to_str().ok()?.to_ascii_lowercase();
    if coding == "identity" {
        return None;
    }
    let has_begun = stream.has_begun() || {
        let first = timeout(path.patience, stream.next(&mut VecDeque::new())).await;
        first.is_ok_and(|end| end.is_none())
    };
    Some(Compressed { coding, has_begun })
}

fn is_event_stream(path: &Path, answer: &Answer) -> Result<(), Trouble> {
    let malformed = |words: String| Err(Trouble::new(Kind::Malformed, words));
    match (answer.status, &answer.location) {
        (200, _) if answer.media_type == "text/event-stream" || answer.fields.contains_key("encke-stream") => Ok(()),
        (200, _) => malformed(format!("the answer is no event stream but {}", shown(&answer.media_type))),
        (300..=399, Some(location)) => malformed(format!("it is at {}", path.target.elsewhere(location))),
        (401 | 403, _) => malformed(format!(
            "the answer has the status {}: say who asks by --header, or by --topic and a key",
            answer.status
        )),
        (status, _) => malformed(format!("the answer has the status {status}")),
    }
}

fn shown(media_type: &str) -> String {
    let media_type = crate::cli::console::shown(media_type);
    if media_type.is_empty() { "of no media type".into() } else { media_type.into_owned() }
}

impl Opening {
    /// Whether the gateway is there, and nothing of a stream comes.
    pub(super) fn is_held(&self) -> bool {
        self.is_encke && self.first_event.is_none()
    }

    /// Reads to the first event; `false` if it does not come in time.
    async fn take(&mut self, mut stream: Stream, patience: Duration) -> bool {
        let mut messages = VecDeque::new();
        let mut first_byte = stream.has_begun().then_some(stream.answer.after);
        let read = timeout(patience, async {
            while messages.is_empty() {
                let end = stream.next(&mut messages).await;
                first_byte = first_byte.or_else(|| end.is_none().then(|| stream.asked.elapsed()));
                if end.is_some() {
                    break;
                }
            }
        });
        let is_in_time = read.await.is_ok();
        let took = stream.asked.elapsed();
        self.head = Some(quicker(self.head, stream.answer.after));
        if let Some(found) = first_byte {
            self.first_byte = Some(quicker(self.first_byte, found));
        }
        if let Some(message) = messages.front() {
            self.first_event = Some(quicker(self.first_event, took));
            let hello = serde_json::from_str(&message.data).ok().filter(|_| message.kind == "encke.hello");
            let heartbeat = hello.and_then(|hello: Hello| Duration::try_from_secs_f64(hello.heartbeat).ok());
            self.heartbeat = self.heartbeat.or(heartbeat);
        }
        is_in_time && !messages.is_empty()
    }
}

fn quicker(known: Option<Duration>, found: Duration) -> Duration {
    known.map_or(found, |known| known.min(found))
}
