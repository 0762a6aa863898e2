//! What a subscriber gets: what it asked for and may read.

use crate::access::Permit;
use crate::event::{Event, EventType, Topic, TopicSelector};

/// The events of one subscriber: wanted ∧ may read ∧ types. Equal selections are equal values, whatever order they were
/// written in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    topics: Box<[TopicSelector]>,
    /// Only events of these types, `None` being `message`; of all types, if there is none here.
    types: Box<[Option<EventType>]>,
    permit: Permit,
}

impl Selection {
    /// Every event on any of these topics.
    #[must_use]
    pub fn new(mut topics: Vec<TopicSelector>) -> Self {
        topics.sort();
        topics.dedup();
        if topics.iter().any(TopicSelector::is_everything) {
            topics = vec![TopicSelector::everything()];
        }
        Self { topics: topics.into(), types: Box::default(), permit: Permit::everything() }
    }

    /// Only events of these types, if there are any here.
    #[must_use]
    pub fn of_types(mut self, mut types: Vec<Option<EventType>>) -> Self {
        types.sort();
        types.dedup();
        self.types = types.into();
        self
    }

    /// Only what this permit lets read.
    #[must_use]
    pub fn for_reader(mut self, permit: Permit) -> Self {
        self.permit = permit;
        self
    }

    /// The selectors.
    #[must_use]
    pub fn topics(&self) -> &[TopicSelector] {
        &self.topics
    }

    /// What its reader may read.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Whether its reader may ask for it: each topic that is named must be one that it may read. A glob is allowed where
    /// any topic may be read, and gives only those.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.topics.iter().all(|selector| match selector {
            TopicSelector::Exact(topic) => self.permit.reads(topic),
            TopicSelector::Glob(_) => self.permit.reads_something(),
        })
    }

    /// Whether every event matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.types.is_empty() && self.permit.reads_everything() && self.topics.iter().any(TopicSelector::is_everything)
    }

    /// Whether an event is delivered.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.kind))
            && event.topics.iter().any(|topic| self.wants(topic) && self.permit.reads_event(event, topic))
    }

    fn wants(&self, topic: &Topic) -> bool {
        self.topics.iter().any(|selector| selector.matches(topic))
    }
}
