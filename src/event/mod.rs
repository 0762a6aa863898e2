//! What travels: an event, its names, and its place in the log. Plain data: no clock, no socket, no HTTP.
//!
//! A value of these types is right because it exists: every name was parsed at the edge, so a renderer may write a
//! topic, a type or a content type as it stands.

mod age;
mod appended;
mod cursor;
mod fields;
mod selector;
mod topic;

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

pub use age::{age, lifetime};
pub use appended::{Appended, Gone, Slot, Tally};
pub use cursor::{Cursor, Epoch, Offset, ParseCursorError};
pub use fields::{ContentType, EventType, FieldError, Key};
pub use selector::{SelectorError, TopicSelector};
pub(crate) use topic::is_hidden;
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
    /// For how long after it was stored it is worth delivering, in whole milliseconds; `None` is as long as it is kept.
    pub ttl: Option<Duration>,
    /// Of events on one canonical topic with the same value here only the newest counts, to readers who ask for that.
    pub conflate: Option<Key>,
    /// Only for readers who hold a key.
    pub private: bool,
    /// Who published it: each has keys of its own. Readers are not told.
    pub publisher: Publisher,
}

/// Who publishes, as far as repeats go: what one of them says under a key is no repeat of what the other said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publisher {
    /// Whoever holds a key of the gateway.
    #[default]
    Key,
    /// Everybody else, where a rule lets everybody publish.
    Public,
}

impl Event {
    /// A plain-text event on one topic.
    #[must_use]
    pub fn new(topic: Topic, data: impl Into<Bytes>) -> Self {
        Self {
            topics: SmallVec::from_elem(topic, 1),
            kind: None,
            data: data.into(),
            content_type: None,
            key: None,
            ttl: None,
            conflate: None,
            private: false,
            publisher: Publisher::Key,
        }
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
            + optional(self.conflate.as_ref().map(|key| key.as_str().len()))
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
