//! How far each topic was trimmed, so that whoever comes back late is told a gap only if there was one.
//!
//! Of each topic the last event that was trimmed is remembered: a cursor at or behind it has missed nothing. There are at
//! most 100 000 topics here, and 16 MiB of their names; those that were trimmed longest ago are forgotten into a *floor*,
//! below which every cursor is in doubt, and in doubt there is a gap.

use std::collections::{HashMap, VecDeque};

use crate::event::{Offset, Topic, TopicSelector};

/// The last trimmed event of each topic. Cost: about 100 bytes and its name for each.
#[derive(Debug, Default)]
pub(super) struct Marks {
    by_topic: HashMap<Topic, Offset>,
    /// The same by rising offset, with some that were marked anew since.
    order: VecDeque<(Offset, Topic)>,
    names: usize,
    floor: Offset,
    /// The last offset that was trimmed.
    trimmed: Offset,
}

/// The topics of what is trimmed at once, each with its last event there.
#[derive(Debug, Default)]
pub(super) struct Trimming {
    by_topic: HashMap<Topic, Offset>,
    /// Up to here something was trimmed of which the topics are not known.
    pub(super) unknown: Offset,
}

impl Trimming {
    /// An event on `topic` is trimmed. Offsets rise. A name that is none concerns nobody.
    pub(super) fn note(&mut self, topic: &str, offset: Offset) {
        match self.by_topic.get_mut(topic) {
            Some(last) => *last = offset,
            None => drop(Topic::parse(topic).map(|topic| self.by_topic.insert(topic, offset))),
        }
    }

    /// The marks by rising offset.
    pub(super) fn marks(&self) -> Vec<(Topic, Offset)> {
        let mut marks: Vec<_> = self.by_topic.iter().map(|(topic, offset)| (topic.clone(), *offset)).collect();
        marks.sort_unstable_by_key(|(_, offset)| *offset);
        marks
    }

    /// The topics alone.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.by_topic.keys()
    }
}

impl Marks {
    /// How many topics are remembered.
    const TOPICS: usize = 100_000;
    /// How many bytes of their names.
    const NAMES: usize = 16 << 20;

    /// Everything up to `upto` is trimmed, with these marks: by rising offset, and behind all that are here. A store says it
    /// before it is so: whoever finds events gone must find their marks.
    pub(super) fn add(&mut self, marks: impl IntoIterator<Item = (Topic, Offset)>, upto: Offset) {
        self.trimmed = self.trimmed.max(upto);
        for (topic, offset) in marks {
            if self.by_topic.insert(topic.clone(), offset).is_none() {
                self.names += topic.as_str().len();
            }
            self.order.push_back((offset, topic));
        }
        while self.by_topic.len() > Self::TOPICS || self.names > Self::NAMES {
            self.forget_oldest();
        }
        if self.order.len() > 2 * self.by_topic.len() + 1024 {
            let Self { order, by_topic, .. } = self;
            order.retain(|(offset, topic)| by_topic.get(topic) == Some(offset));
        }
    }

    /// Forgets everything up to `floor`.
    pub(super) fn raise_floor(&mut self, floor: Offset) {
        while self.order.front().is_some_and(|(offset, _)| *offset <= floor) {
            self.forget_oldest();
        }
        self.floor = self.floor.max(floor);
        self.trimmed = self.trimmed.max(floor);
    }

    fn forget_oldest(&mut self) {
        let Some((offset, topic)) = self.order.pop_front() else { return };
        if self.by_topic.get(&topic) == Some(&offset) {
            self.by_topic.remove(&topic);
            self.names -= topic.as_str().len();
            self.floor = self.floor.max(offset);
        }
    }

    /// See [`super::Log::has_trimmed`].
    pub(super) fn has_trimmed(&self, topics: &[TopicSelector], after: Offset, upto: Offset) -> bool {
        let upto = upto.min(self.trimmed);
        if after >= upto || topics.is_empty() {
            return false;
        }
        if after < self.floor || topics.iter().any(TopicSelector::is_everything) {
            return true;
        }
        topics.iter().any(|selector| match selector {
            TopicSelector::Exact(topic) => self.by_topic.get(topic).is_some_and(|&last| last > after),
            TopicSelector::Glob(_) => {
                let newer = self.order.partition_point(|&(offset, _)| offset <= after);
                self.order.range(newer..).any(|(_, topic)| selector.matches(topic))
            }
        })
    }

    /// Below this, nothing is known.
    pub(super) fn floor(&self) -> Offset {
        self.floor
    }

    /// How many topics are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Every mark, by rising offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Topic, Offset)> {
        let known = |(offset, topic): &&(Offset, Topic)| self.by_topic.get(topic) == Some(offset);
        self.order.iter().filter(known).map(|(offset, topic)| (topic, *offset))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::topic;
    use super::*;

    fn check(marks: &Marks, selector: &str, after: Offset) -> bool {
        marks.has_trimmed(&[TopicSelector::parse(selector).expect("a selector")], after, Offset::MAX)
    }

    #[test]
    fn only_what_stood_behind_the_cursor_was_missed() {
        let mut marks = Marks::default();
        let mut trimming = Trimming::default();
        (1..=50).for_each(|offset| trimming.note("a/b", offset));
        trimming.note("c", 51);
        marks.add(trimming.marks(), 51);
        marks.add([(topic("c"), 70)], 99);
        for (selector, last) in [("a/b", 50), ("a/*", 50), ("c", 70), ("*", 70), ("d", 0), ("a/*/**", 0), ("**", 99)] {
            assert!(!check(&marks, selector, last), "{selector} after {last}");
            assert!(last == 0 || check(&marks, selector, last - 1), "{selector} before {last}");
        }
        assert!(!check(&marks, "c", 99) && !check(&marks, "**", 150));
        let all = [TopicSelector::everything()];
        assert!(!marks.has_trimmed(&all, 30, 30) && marks.has_trimmed(&all, 30, 31));
    }

    #[test]
    fn below_the_floor_every_cursor_is_in_doubt() {
        let mut marks = Marks::default();
        marks.raise_floor(10);
        marks.add([(topic("a"), 20), (topic("b"), 30), (topic("a"), 40)], 50);
        assert!(check(&marks, "never/seen", 9) && !check(&marks, "never/seen", 10));
        marks.raise_floor(25);
        assert!(check(&marks, "never/seen", 24) && !check(&marks, "never/seen", 25));
        assert!(check(&marks, "b", 29) && check(&marks, "a", 39) && !check(&marks, "a", 40));
        assert_eq!(marks.iter().map(|(topic, at)| (topic.as_str(), at)).collect::<Vec<_>>(), [("b", 30), ("a", 40)]);
    }

    #[test]
    fn the_topics_that_were_trimmed_longest_ago_are_forgotten() {
        let mut marks = Marks::default();
        let count = Marks::TOPICS as u64 + 10;
        for offset in 1..=count {
            marks.add([(topic(&format!("topic/{offset}")), offset), (topic("often"), offset)], offset);
        }
        assert_eq!(marks.len(), Marks::TOPICS);
        assert!(marks.order.len() <= 2 * Marks::TOPICS + 1026, "{} in order", marks.order.len());
        assert_eq!(marks.floor(), 11);
        let long = |n: u64| topic(&format!("{n:0>1000}"));
        (1..=20_000).for_each(|n| marks.add([(long(n), count + n)], count + n));
        assert!(marks.names <= Marks::NAMES && marks.len() < 17_000, "{} names, {} bytes", marks.len(), marks.names);
    }
}
