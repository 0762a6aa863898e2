//! What travels: an event, its names, and its place in the log. Plain data: no clock, no socket, no HTTP.
//!
//! A value of these types is right because it exists: every name was parsed at the edge, so a renderer may write a
//! topic, a type or a content type as it stands.

mod cursor;
mod fields;
mod selector;
mod topic;

use std::sync::OnceLock;

use bytes::Bytes;
use smallvec::SmallVec;

pub use cursor::{Cursor, Epoch, Offset, ParseCursorError};
pub use fields::{ContentType, EventType, FieldError, Key};
pub use selector::{SelectorError, TopicSelector};
pub use topic::{Topic, TopicError};

/// The topics of one event; the first is canonical. Never empty, never the same twice.
pub type Topics = SmallVec<[Topic; 1]>;

/// What a publisher hands over, checked, but without a place in the log yet.
///
/// ```
/// use encke::event::{Event, Topic};
/// let event = Event::new(Topic::parse("orders/42")?, "paid");
/// assert_eq!(event.topic().as_str(), "orders/42");
/// # Ok::<(), encke::event::TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// One or more topics; the first is canonical.
    pub topics: Topics,
    /// The SSE event type; `None` is `message`.
    pub kind: Option<EventType>,
    /// The body, verbatim.
    pub data: Bytes,
    /// The media type of `data`; `None` is UTF-8 plain text.
    pub content_type: Option<ContentType>,
    /// The publisher's own identity for this event, by which repeats are recognised.
    pub key: Option<Key>,
}

impl Event {
    /// A plain-text event on one topic.
    #[must_use]
    pub fn new(topic: Topic, data: impl Into<Bytes>) -> Self {
        Self { topics: SmallVec::from_elem(topic, 1), kind: None, data: data.into(), content_type: None, key: None }
    }

    /// The canonical topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topics[0]
    }

    /// What the event weighs against a byte limit: its data and its names, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let names: usize = self.topics.iter().map(|topic| topic.as_str().len()).sum();
        let optional = |len: Option<usize>| len.unwrap_or(0);
        self.data.len()
            + names
            + optional(self.kind.as_ref().map(|kind| kind.as_str().len()))
            + optional(self.key.as_ref().map(|key| key.as_str().len()))
            + optional(self.content_type.as_ref().map(|media| media.as_str().len()))
    }

    /// Whether `data` is text that an event stream can carry in its `data` fields as it stands.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.content_type.as_ref().is_none_or(ContentType::is_text)
    }

    /// Whether `data` is JSON, which is embedded verbatim where events are told as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.content_type.as_ref().is_some_and(ContentType::is_json)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// An event at its place in the log, shared by all that read it, with one slot for each rendering of it.
///
/// Cost: 40 bytes a slot while the event is in memory; a rendering is made by the first reader that needs it.
#[derive(Debug)]
pub struct Appended {
    /// Its place; the same on every node and transport.
    pub cursor: Cursor,
    /// When it was stored; never falls from one offset to the next.
    pub time: Timestamp,
    /// What was published.
    pub event: Event,
    rendered: [OnceLock<Bytes>; Self::SLOTS],
}

impl Appended {
    /// How many renderings of one event are kept.
    pub const SLOTS: usize = 4;

    /// Puts `event` at its place.
    #[must_use]
    pub fn new(cursor: Cursor, time: Timestamp, event: Event) -> Self {
        Self { cursor, time, event, rendered: Default::default() }
    }

    /// The rendering in `slot`, made by `render` if nobody has needed it yet.
    pub fn rendered(&self, slot: usize, render: impl FnOnce() -> Bytes) -> Bytes {
        self.rendered[slot].get_or_init(render).clone()
    }
}
