//! What a subscriber gets: what it asked for and may read.

use std::sync::Arc;

use crate::access::Permit;
use crate::event::{Appended, Event, EventType, Topic, TopicSelector};
use crate::log::Wanted;

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

    /// What of it the log is to tell gaps of: types are not remembered.
    #[must_use]
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted { topics: &self.topics, permit: &self.permit }
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

    /// Whether an event that was removed would have been delivered, as far as can be known: nobody knows its type any more.
    #[must_use]
    pub fn may_have_matched(&self, removed: &Event) -> bool {
        self.matched(removed).next().is_some()
    }

    /// Whether only some types are wanted.
    #[must_use]
    pub fn names_types(&self) -> bool {
        !self.types.is_empty()
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

    /// The canonical topic of an event, as its reader is shown it: the first that it may read.
    #[must_use]
    pub fn canonical<'a>(&self, event: &'a Event) -> Option<&'a Topic> {
        event.topics.iter().find(|topic| self.permit.reads(topic))
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

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::access::{Access, Open, Policy, Rule, Rules, Secrets};
    use crate::event::{Cursor, Epoch, Timestamp};

    const TOPICS: [&str; 5] = ["a", "a/b", "a/c", "d", "d/e"];

    fn topic(name: &str) -> Topic {
        Topic::parse(name).expect("a topic")
    }

    /// The permit of one who has no key, where these topics are for key holders only.
    fn anonymous(shut: &[&str]) -> Permit {
        let rule = |name: &&str| Rule {
            matches: TopicSelector::parse(name).expect("a selector"),
            read: Open::Key,
            publish: Open::Key,
        };
        let rules = Rules { rules: shut.iter().map(rule).collect(), ..Rules::all(Open::Public, Open::Key) };
        Access::new(Policy { rules: rules.into(), keys: Secrets::default(), open: false }).permit(None)
    }

    proptest! {
        /// Whatever an event is on and whatever is asked for: who may read only some of its topics is shown those, in their
        /// order, and who may read none of those that it asked for is shown nothing.
        #[test]
        fn a_reader_is_shown_no_topic_that_it_may_not_read(
            published in btree_set(select(&TOPICS[..]), 1..5),
            shut in btree_set(select(&TOPICS[..]), 0..5),
            asked in vec(select(&["a", "a/b", "a/*", "a/**", "d", "d/e", "**"][..]), 1..3),
            private: bool,
        ) {
            let shut: Vec<&str> = shut.into_iter().collect();
            let topics = published.iter().rev().map(|name| topic(name)).collect();
            let event = Event { topics, private, ..Event::new(topic("t"), "x") };
            let cursor = Cursor { epoch: Epoch::from_random(1), offset: 1 };
            let event = Arc::new(Appended::new(cursor, Timestamp(0), event));
            let selectors: Vec<_> = asked.iter().map(|text| TopicSelector::parse(text).expect("a selector")).collect();
            let selection = Selection::new(selectors.clone()).for_reader(anonymous(&shut));
            let readable: Vec<_> = event.event.topics.iter().filter(|topic| !shut.contains(&topic.as_str())).collect();
            let wanted = readable.iter().any(|topic| selectors.iter().any(|selector| selector.matches(topic)));
            prop_assert_eq!(selection.matches(&event.event), wanted && !private);
            if selection.matches(&event.event) {
                let shown = selection.shown(&event);
                prop_assert_eq!(shown.event.topics.iter().collect::<Vec<_>>(), readable.clone());
                prop_assert_eq!(Arc::ptr_eq(&shown, &event), readable.len() == event.event.topics.len());
                prop_assert_eq!((shown.cursor, shown.time, &shown.event.data), (event.cursor, event.time, &event.event.data));
            }
            let all = Selection::new(selectors);
            prop_assert!(Arc::ptr_eq(&all.shown(&event), &event), "who may read everything shares what is rendered");
        }
    }

    #[test]
    fn what_everybody_may_see_is_public() {
        let selection = |text: &str| Selection::new(vec![TopicSelector::parse(text).expect("a selector")]);
        assert!(selection("a").for_reader(anonymous(&["a"])).is_public(), "it gives nothing that is not");
        assert!(!selection("a").is_public(), "of a gateway where nothing is said, nothing is public");
    }
}
