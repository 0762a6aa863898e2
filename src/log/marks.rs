//! How far each topic was trimmed, so that whoever comes back late is told a gap only if there was one.
//!
//! Of each topic the last event that was trimmed is remembered, and the last that was not private: a cursor at or behind
//! it has missed nothing. There are at most 100 000 topics here, and 16 MiB of their names; those that were trimmed longest
//! ago are forgotten into a *floor*, below which every cursor is in doubt, and in doubt there is a gap. What a reader may
//! not read is none for it: the answer must not say that it existed. Below the floor the answer is the same whatever is
//! asked for, so that says nothing, either.

use std::collections::{HashMap, VecDeque};

use super::Wanted;
use crate::event::{Offset, Topic, TopicSelector};

/// How far one topic was trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its last event that was trimmed.
    pub(super) last: Offset,
    /// The last of them that was not private; 0 if none is known.
    pub(super) open: Offset,
}

/// The last trimmed events of each topic. Cost: about 110 bytes and its name for each.
#[derive(Debug, Default)]
pub(super) struct Marks {
    by_topic: HashMap<Topic, Mark>,
    /// The last event of each by rising offset, with some that were marked anew since.
    order: VecDeque<(Offset, Topic)>,
    names: usize,
    floor: Offset,
    /// The last offset that was trimmed.
    trimmed: Offset,
}

/// The topics of what is trimmed at once, each with its last events there.
#[derive(Debug, Default)]
pub(super) struct Trimming {
    by_topic: HashMap<Topic, Mark>,
    /// Up to here something was trimmed of which the topics are not known.
    pub(super) unknown: Offset,
}

impl Trimming {
    /// An event on `topic` is trimmed. Offsets rise. A name that is none concerns nobody.
    pub(super) fn note(&mut self, topic: &str, offset: Offset, private: bool) {
        let mark = match self.by_topic.get_mut(topic) {
            Some(mark) => mark,
            None => {
                let Ok(topic) = Topic::parse(topic) else { return };
                self.by_topic.entry(topic).or_default()
            }
        };
        mark.last = offset;
        if !private {
            mark.open = offset;
        }
    }

    /// The marks by rising offset.
    pub(super) fn marks(&self) -> Vec<(Topic, Mark)> {
        let mut marks: Vec<_> = self.by_topic.iter().map(|(topic, mark)| (topic.clone(), *mark)).collect();
        marks.sort_unstable_by_key(|(_, mark)| mark.last);
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
    pub(super) fn add(&mut self, marks: impl IntoIterator<Item = (Topic, Mark)>, upto: Offset) {
        self.trimmed = self.trimmed.max(upto);
        for (topic, mut mark) in marks {
            if let Some(before) = self.by_topic.get(&topic) {
                mark.open = mark.open.max(before.open);
            } else {
                self.names += topic.as_str().len();
            }
            self.by_topic.insert(topic.clone(), mark);
            self.order.push_back((mark.last, topic));
        }
        while self.by_topic.len() > Self::TOPICS || self.names > Self::NAMES {
            self.forget_oldest();
        }
        if self.order.len() > 2 * self.by_topic.len() + 1024 {
            let Self { order, by_topic, .. } = self;
            order.retain(|(offset, topic)| by_topic.get(topic).is_some_and(|mark| mark.last == *offset));
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
        if self.by_topic.get(&topic).is_some_and(|mark| mark.last == offset) {
            self.by_topic.remove(&topic);
            self.names -= topic.as_str().len();
            self.floor = self.floor.max(offset);
        }
    }

    /// See [`super::Log::has_trimmed`].
    ///
    /// Cost: a look-up for each topic that is named; for globs a look at each topic that was trimmed behind `after`.
    pub(super) fn has_trimmed(&self, wanted: Wanted<'_>, after: Offset, upto: Offset) -> bool {
        let Wanted { topics, permit } = wanted;
        let upto = upto.min(self.trimmed);
        if after >= upto || topics.is_empty() {
            return false;
        }
        if after < self.floor || (permit.reads_everything() && topics.iter().any(TopicSelector::is_everything)) {
            return true;
        }
        let missed = |topic: &Topic| self.by_topic.get(topic).is_some_and(|mark| mark.of(wanted, topic) > after);
        topics.iter().any(|selector| match selector {
            TopicSelector::Exact(topic) => missed(topic),
            TopicSelector::Glob(_) => {
                let newer = self.order.partition_point(|&(offset, _)| offset <= after);
                self.order.range(newer..).any(|(_, topic)| selector.matches(topic) && missed(topic))
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
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Topic, Mark)> {
        let newest = |(offset, topic): &(Offset, _)| self.by_topic.get(topic).filter(|mark| mark.last == *offset);
        self.order.iter().filter_map(move |entry| newest(entry).map(|mark| (&entry.1, *mark)))
    }
}

impl Mark {
    /// The last trimmed event on `topic` that is for a reader.
    fn of(self, Wanted { permit, .. }: Wanted<'_>, topic: &Topic) -> Offset {
        match permit {
            _ if permit.reads_everything() => self.last,
            _ if permit.reads(topic) => self.open,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{anonymous, topic};
    use super::*;

    fn check(marks: &Marks, selector: &str, after: Offset) -> bool {
        let topics = [TopicSelector::parse(selector).expect("a selector")];
        marks.has_trimmed(Wanted::all(&topics), after, Offset::MAX)
    }

    /// The same for who has no key, where everything but `secret/**` is public.
    fn check_for_all(marks: &Marks, selector: &str, after: Offset) -> bool {
        let topics = [TopicSelector::parse(selector).expect("a selector")];
        marks.has_trimmed(Wanted { topics: &topics, permit: &anonymous(&["secret/**"]) }, after, Offset::MAX)
    }

    fn open(offset: Offset) -> Mark {
        Mark { last: offset, open: offset }
    }

    fn private(offset: Offset) -> Mark {
        Mark { last: offset, open: 0 }
    }

    #[test]
    fn what_a_reader_may_not_read_is_not_missing() {
        let mut marks = Marks::default();
        marks.add([(topic("a"), open(2)), (topic("secret/merger"), open(5)), (topic("b"), private(6))], 6);
        for selector in ["secret/*", "*/merger", "b", "other/*", "*/merger/**"] {
            assert!(!check_for_all(&marks, selector, 0), "{selector}");
        }
        for selector in ["**", "*", "a"] {
            assert!(check_for_all(&marks, selector, 1) && !check_for_all(&marks, selector, 2), "{selector}");
        }
        marks.add([(topic("b"), open(7)), (topic("a"), private(8))], 8);
        assert!(check_for_all(&marks, "b", 6) && !check_for_all(&marks, "b", 7) && !check_for_all(&marks, "a", 2));
    }

    #[test]
    fn only_what_stood_behind_the_cursor_was_missed() {
        let mut marks = Marks::default();
        let mut trimming = Trimming::default();
        (1..=50).for_each(|offset| trimming.note("a/b", offset, offset > 40));
        trimming.note("c", 51, false);
        marks.add(trimming.marks(), 51);
        marks.add([(topic("c"), private(70))], 99);
        for (selector, last) in [("a/b", 50), ("a/*", 50), ("c", 70), ("*", 70), ("d", 0), ("a/*/**", 0), ("**", 99)] {
            assert!(!check(&marks, selector, last), "{selector} after {last}");
            assert!(last == 0 || check(&marks, selector, last - 1), "{selector} before {last}");
        }
        assert!(!check(&marks, "c", 99) && !check(&marks, "**", 150));
        let all = [TopicSelector::everything()];
        let between = |after, upto| marks.has_trimmed(Wanted::all(&all), after, upto);
        assert!(!between(30, 30) && between(30, 31));
        for (selector, last) in
            [("a/b", 40), ("a/*", 40), ("c", 51), ("*", 51), ("*/b", 40), ("**", 51), ("d", 0), ("a/*/**", 0)]
        {
            assert!(!check_for_all(&marks, selector, last), "{selector} after {last}");
            assert!(last == 0 || check_for_all(&marks, selector, last - 1), "{selector} before {last}");
        }
    }

    #[test]
    fn below_the_floor_every_cursor_is_in_doubt() {
        let mut marks = Marks::default();
        marks.raise_floor(10);
        marks.add([(topic("a"), open(20)), (topic("b"), open(30)), (topic("a"), private(40))], 50);
        assert!(check(&marks, "never/seen", 9) && !check(&marks, "never/seen", 10));
        marks.raise_floor(25);
        assert!(check(&marks, "never/seen", 24) && !check(&marks, "never/seen", 25));
        assert!(check(&marks, "b", 29) && check(&marks, "a", 39) && !check(&marks, "a", 40));
        assert!(check_for_all(&marks, "never/seen", 24), "whatever is asked for");
        assert!(
            check_for_all(&marks, "b", 29) && !check_for_all(&marks, "a", 25),
            "of a only a private one was trimmed"
        );
        assert_eq!(
            marks.iter().map(|(topic, mark)| (topic.as_str(), mark)).collect::<Vec<_>>(),
            [("b", open(30)), ("a", Mark { last: 40, open: 20 })]
        );
    }

    #[test]
    fn the_topics_that_were_trimmed_longest_ago_are_forgotten() {
        let mut marks = Marks::default();
        let count = Marks::TOPICS as u64 + 10;
        for offset in 1..=count {
            marks.add([(topic(&format!("topic/{offset}")), open(offset)), (topic("often"), open(offset))], offset);
        }
        assert_eq!(marks.len(), Marks::TOPICS);
        assert!(marks.order.len() <= 2 * Marks::TOPICS + 1026, "{} in order", marks.order.len());
        assert_eq!(marks.floor(), 11);
        let long = |n: u64| topic(&format!("{n:0>1000}"));
        (1..=20_000).for_each(|n| marks.add([(long(n), open(count + n))], count + n));
        assert!(marks.names <= Marks::NAMES && marks.len() < 17_000, "{} names, {} bytes", marks.len(), marks.names);
    }
}
