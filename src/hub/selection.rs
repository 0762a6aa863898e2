//! What a subscriber gets: what it asked for and may read.

use std::sync::Arc;

use crate::access::Permit;
use crate::event::{Appended, Event, EventType, Topic, TopicSelector};

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
        (self.types.is_empty() || self.types.contains(&event.kind)) && self.matched(event).next().is_some()
    }

    /// The topics of an event for which it is delivered, if it is of a type that is wanted.
    pub fn matched<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Topic> {
        event.topics.iter().filter(|topic| self.wants(topic) && self.permit.reads_event(event, topic))
    }

    /// Whether all that it gives may be seen by everybody: that its reader was given no more than that, or asked for no more.
    #[must_use]
    pub fn is_public(&self) -> bool {
        !self.permit.reads_everything()
            || self.topics.iter().all(|selector| match selector {
                TopicSelector::Exact(topic) => self.permit.is_public(topic),
                TopicSelector::Glob(_) => self.permit.all_public(),
            })
    }

    /// An event that matches, as its reader is shown it: on no topic that it may not read.
    #[must_use]
    pub fn shown(&self, event: &Arc<Appended>) -> Arc<Appended> {
        let topics = &event.event.topics;
        if topics.len() == 1 || topics.iter().all(|topic| self.permit.reads(topic)) {
            return Arc::clone(event);
        }
        self.partly_shown(event)
    }

    /// An event of its own, which shares no renderings: those of the other are for who may read all of it.
    #[cold]
    fn partly_shown(&self, event: &Appended) -> Arc<Appended> {
        let readable = event.event.topics.iter().filter(|topic| self.permit.reads(topic)).cloned();
        let shown = Event { topics: readable.collect(), ..event.event.clone() };
        Arc::new(Appended::new(event.cursor, event.time, shown))
    }

    fn wants(&self, topic: &Topic) -> bool {
        self.topics.iter().any(|selector| selector.matches(topic))
    }
}
