//! How a stream begins: where, with what first bytes, and as whose.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream as Frames;

use super::body::body;
use super::stream::Heartbeat;
use super::{Delivery, Ending, FeedKey, Peer, Stream, StreamId};
use crate::event::{Cursor, Offset};
use crate::hub::Selection;
use crate::log::{GapReason, Missing, ReadError, Start};
use crate::transport::{Format, Keeps, Notice, Rendering, Resume, Transport};

/// What a subscriber wants, parsed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which events.
    pub selection: Arc<Selection>,
    /// How they are brought.
    pub transport: &'static Transport,
    /// SSE data is the event's JSON.
    pub envelope: bool,
    /// From where on.
    pub begin: Begin,
    /// The interval of heartbeats, if the subscriber named one.
    pub heartbeat: Option<Duration>,
    /// Heartbeats are events that scripts can see.
    pub beat_as_event: bool,
    /// The reconnection time, if the subscriber named one.
    pub retry: Option<Duration>,
    /// Bytes of padding before the first event, for intermediaries that hold small beginnings.
    pub padding: usize,
    /// How long a poll waits.
    pub timeout: Duration,
    /// How many events a poll's answer holds at most.
    pub limit: usize,
    /// The other end.
    pub peer: Arc<Peer>,
    /// The connection carries other requests too (HTTP/2).
    pub multiplexed: bool,
}

/// From where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The subscriber did not say: the live edge, or for state transports the newest state.
    Unsaid,
    /// Here. A cursor is kept as it was asked for, to be named in a gap.
    At(Start, String),
    /// With the newest so many that match.
    Last(usize),
}

/// An opened stream.
pub struct Opened {
    /// What it is called.
    pub id: StreamId,
    /// Where it begins.
    pub cursor: Cursor,
    /// Whether it is a new one.
    pub resume: Resume,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Pin<Box<dyn Frames<Item = Result<Bytes, io::Error>> + Send>>,
}

/// A start position that has been looked up.
pub(super) struct Beginning {
    pub(super) after: Offset,
    pub(super) resume: Resume,
    pub(super) gap: Option<Gap>,
}

/// A gap that is to be told.
pub(super) struct Gap {
    asked: String,
    missing: Missing,
    wait: Duration,
}

impl Delivery {
    /// Opens a stream.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn open(&self, wanted: Wanted) -> Result<Opened, ReadError> {
        let Beginning { after, resume, gap } = self.begin(&wanted).await?;
        let id = StreamId::new();
        let transport = wanted.transport;
        let rendering = Rendering { format: transport.format, envelope: wanted.envelope };
        let interval = wanted.heartbeat.unwrap_or(self.options.heartbeat);
        let cursor = self.hub.log().cursor(after);

        let mut opening = BytesMut::new();
        if transport.format == Format::EventStream {
            pad(&mut opening, wanted.padding);
        }
        opening.extend_from_slice(&rendering.preamble());
        opening.extend_from_slice(&rendering.notice(&Notice::Hello {
            id: gap.is_none().then_some(cursor),
            retry: self.retry(wanted.retry),
            stream: &id.to_string(),
            resume,
            transport: transport.name,
            heartbeat: interval,
        }));
        if let Some(gap) = &gap {
            opening.extend_from_slice(&rendering.notice(&self.notice(gap, after, &wanted.selection)));
        }

        let key = FeedKey { selection: Arc::clone(&wanted.selection), rendering, keeps: transport.keeps };
        let feed = self.feeds.join(key, &self.hub);
        let leave = wanted.selection.permit().leave();
        let shutdown = self.shutdown.clone();
        let (name, resumed, multiplexed) = (transport.name, resume.as_str(), wanted.multiplexed);
        let ending = Ending::open(&self.metrics, name, resumed, wanted.peer, multiplexed, shutdown);
        let heartbeat = Heartbeat { interval, as_event: wanted.beat_as_event };
        let retention = self.options.retention_events;
        let stream = Stream::new(Arc::clone(&self.hub), feed, after, opening.freeze(), heartbeat, retention, ending);
        let body = Box::pin(body(stream, self.clone(), self.enter(id), leave));
        Ok(Opened { id, cursor, resume, content_type: rendering.content_type(), body })
    }

    /// Looks the start position up, and counts the gap if there is one.
    pub(super) async fn begin(&self, wanted: &Wanted) -> Result<Beginning, ReadError> {
        let keeps_state = wanted.transport.keeps == Keeps::State;
        let (mut position, asked) = match &wanted.begin {
            Begin::Unsaid if keeps_state => (self.hub.newest(&wanted.selection, 1).await?, None),
            Begin::Unsaid => (self.hub.seek(Start::Latest, &wanted.selection).await?, None),
            Begin::Last(count) => (self.hub.newest(&wanted.selection, *count).await?, None),
            Begin::At(start, asked) => (self.hub.seek(*start, &wanted.selection).await?, Some((start, asked))),
        };
        if keeps_state && position.missing.is_some() {
            // There is no place for a gap on a state transport; but what it shows must be the state.
            position.after = position.after.min(self.hub.newest(&wanted.selection, 1).await?.after);
        }
        let resume = match (&position.missing, asked) {
            (Some(_), _) => Resume::Gap,
            (None, Some((Start::Cursor(_), _))) => Resume::Resumed,
            _ => Resume::New,
        };
        let asked = asked.map(|(_, asked)| asked.clone()).unwrap_or_default();
        let gap = position.missing.map(|missing| self.gap(asked, missing));
        Ok(Beginning { after: position.after, resume, gap })
    }

    /// A gap that opened while reading: the next `lost` offsets after `cursor` are gone.
    pub(super) fn missing(&self, cursor: Offset, lost: u64, reason: GapReason) -> Gap {
        let missing = Missing { reason, offsets: Some(lost) };
        self.gap(self.hub.log().cursor(cursor).to_string(), missing)
    }

    fn gap(&self, asked: String, missing: Missing) -> Gap {
        self.metrics.gap(missing.reason.as_str());
        Gap { asked, missing, wait: self.wait_after_gap() }
    }

    /// The words for a gap behind which reading goes on after `after`.
    pub(super) fn notice<'a>(&self, gap: &'a Gap, after: Offset, selection: &Selection) -> Notice<'a> {
        let log = self.hub.log();
        Notice::Gap {
            id: log.cursor(after),
            asked: &gap.asked,
            first: log.cursor(after + 1),
            reason: gap.missing.reason.as_str(),
            // Of a selection nobody knows how many of the lost ones it would have matched.
            lost: gap.missing.offsets.filter(|_| selection.is_everything()),
            wait: gap.wait,
        }
    }
}

/// A comment of so many bytes; none if that is too few for one.
fn pad(opening: &mut BytesMut, padding: usize) {
    if padding >= 3 {
        opening.extend_from_slice(b":");
        opening.resize(padding - 2, b' ');
        opening.extend_from_slice(b"\n\n");
    }
}
