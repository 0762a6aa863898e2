//! What a subscriber gets: what it asked for and may read.

use crate::event::{Event, TopicSelector};

/// The topics of one subscriber. Equal selections are equal values, whatever order they were written in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    topics: Box<[TopicSelector]>,
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
        Self { topics: topics.into() }
    }

    /// The selectors.
    #[must_use]
    pub fn topics(&self) -> &[TopicSelector] {
        &self.topics
    }

    /// Whether every event matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.topics.iter().any(TopicSelector::is_everything)
    }

    /// Whether an event is delivered.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.topics.iter().any(|selector| event.topics.iter().any(|topic| selector.matches(topic)))
    }
}
