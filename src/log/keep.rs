//! What is kept of single topics, by their rules.
//!
//! Only topics under a rule that sets a limit are followed here, by their canonical events: about 24 bytes for each event
//! that the log holds of them. The first rule that matches a topic holds for it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::{Keep, TopicRetention};
use crate::event::{Event, Offset, Timestamp, Topic};

/// The events of every topic that has a rule, oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rules: Vec<TopicRetention>,
    lines: HashMap<Topic, Line>,
    /// Topics with more than they may keep, by count or bytes, and when the oldest event of each may go; the soonest first.
    crowded: BinaryHeap<Reverse<(Timestamp, Topic)>>,
    /// When to look whether the oldest event of a topic has grown too old; the soonest first. Each topic with an age has at
    /// least one entry.
    due: BinaryHeap<Reverse<(Timestamp, Topic)>>,
}

#[derive(Debug)]
struct Line {
    keep: Keep,
    events: VecDeque<Held>,
    bytes: u64,
    /// It is among the crowded ones.
    queued: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    offset: Offset,
    time: Timestamp,
    weight: u32,
}

impl Kept {
    /// Nothing is removed sooner after it was stored, by any rule: who listens was given it by then. Without this, a topic
    /// of which one event is kept would tell its live readers gaps whenever two are stored at once.
    pub(super) const LIVE: Duration = Duration::from_secs(1);

    /// For these rules.
    pub(super) fn new(rules: &[TopicRetention]) -> Self {
        Self { rules: rules.to_vec(), ..Self::default() }
    }

    /// Whether any topic has a limit.
    pub(super) fn is_needed(&self) -> bool {
        self.rules.iter().any(|rule| rule.keep != Keep::default())
    }

    /// Follows an event that was stored; offsets rise.
    pub(super) fn add(&mut self, event: &Event, offset: Offset, time: Timestamp) {
        if self.rules.is_empty() {
            return;
        }
        let topic = event.topic();
        if !self.lines.contains_key(topic) {
            let rule = self.rules.iter().find(|rule| rule.matches.matches(topic));
            let Some(keep) = rule.map(|rule| rule.keep).filter(|keep| *keep != Keep::default()) else { return };
            let line = Line { keep, events: VecDeque::new(), bytes: 0, queued: false };
            self.due.extend(line.age().map(|age| Reverse((Timestamp(time.0.saturating_add(age)), topic.clone()))));
            self.lines.insert(topic.clone(), line);
        }
        let Some(line) = self.lines.get_mut(topic) else { return };
        let weight = u32::try_from(event.weight()).unwrap_or(u32::MAX);
        line.events.push_back(Held { offset, time, weight });
        line.bytes += u64::from(weight);
        self.crowded.extend(line.queue(topic));
    }

    /// Lets go what is too much, and answers where that stands, rising. `now` is the time for events stored now, `trusted`
    /// the one that may be trusted with deleting.
    ///
    /// Cost: what it gives, and a look at each topic of which something may go.
    pub(super) fn let_go(&mut self, now: Timestamp, trusted: Timestamp) -> Vec<Offset> {
        let mut gone = Vec::new();
        let Self { lines, crowded, due, .. } = self;
        while crowded.peek().is_some_and(|Reverse((from, _))| *from <= now)
            && let Some(Reverse((_, topic))) = crowded.pop()
        {
            let Some(line) = lines.get_mut(&topic) else { continue };
            line.queued = false;
            while line.is_crowded() && line.oldest_may_go() <= now {
                gone.extend(line.pop());
            }
            crowded.extend(line.queue(&topic));
            if line.events.is_empty() {
                lines.remove(&topic);
            }
        }
        while due.peek().is_some_and(|Reverse((due, _))| *due < trusted)
            && let Some(Reverse((_, topic))) = due.pop()
        {
            // It may have gone since, or its oldest event for another reason.
            let Some((line, age)) = lines.get_mut(&topic).and_then(|line| line.age().map(|age| (line, age))) else {
                continue;
            };
            let age_is_over = |oldest: &Held| oldest.time.0.saturating_add(age) < trusted.0;
            while line.events.front().is_some_and(age_is_over) {
                gone.extend(line.pop());
            }
            match line.events.front() {
                Some(oldest) => due.push(Reverse((Timestamp(oldest.time.0.saturating_add(age)), topic))),
                None => drop(lines.remove(&topic)),
            }
        }
        gone.sort_unstable();
        gone
    }

    /// The event at `offset` is gone for another reason.
    pub(super) fn forget(&mut self, topic: &Topic, offset: Offset) {
        let Some(line) = self.lines.get_mut(topic) else { return };
        if let Ok(at) = line.events.binary_search_by_key(&offset, |held| held.offset) {
            line.bytes -= line.events.remove(at).map_or(0, |held| u64::from(held.weight));
        }
        if line.events.is_empty() {
            self.lines.remove(topic);
        }
    }

    /// Events of `topic` before `first` were trimmed.
    pub(super) fn trim(&mut self, topic: &str, first: Offset) {
        let Some(line) = self.lines.get_mut(topic) else { return };
        while line.events.front().is_some_and(|oldest| oldest.offset < first) {
            line.pop();
        }
        if line.events.is_empty() {
            self.lines.remove(topic);
        }
    }
}

impl Line {
    /// By count and by bytes there is more than the rule keeps. By bytes the newest event stays, however large.
    fn is_crowded(&self) -> bool {
        self.keep.events.is_some_and(|most| self.events.len() as u64 > most)
            || self.keep.bytes.is_some_and(|most| self.bytes > most && self.events.len() > 1)
    }

    /// Among the crowded ones, if it is crowded and not among them yet.
    fn queue(&mut self, topic: &Topic) -> Option<Reverse<(Timestamp, Topic)>> {
        let joins = self.is_crowded() && !self.queued;
        self.queued |= joins;
        joins.then(|| Reverse((self.oldest_may_go(), topic.clone())))
    }

    /// When its oldest event may be removed.
    fn oldest_may_go(&self) -> Timestamp {
        let live = u64::try_from(Kept::LIVE.as_millis()).unwrap_or_default();
        Timestamp(self.events.front().map_or(0, |oldest| oldest.time.0).saturating_add(live))
    }

    fn age(&self) -> Option<u64> {
        self.keep.age.map(|age| u64::try_from(age.max(Kept::LIVE).as_millis()).unwrap_or(u64::MAX))
    }

    fn pop(&mut self) -> Option<Offset> {
        let oldest = self.events.pop_front()?;
        self.bytes -= u64::from(oldest.weight);
        Some(oldest.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::topic;
    use super::*;
    use crate::event::TopicSelector;

    fn kept(rules: &[(&str, Keep)]) -> Kept {
        let rule = |&(selector, keep): &(&str, Keep)| TopicRetention {
            matches: TopicSelector::parse(selector).expect("a selector"),
            keep,
        };
        Kept::new(&rules.iter().map(rule).collect::<Vec<_>>())
    }

    fn add(kept: &mut Kept, name: &str, offsets: std::ops::RangeInclusive<Offset>, seconds: u64) {
        let event = Event::new(topic(name), "0123456789");
        offsets.for_each(|offset| kept.add(&event, offset, Timestamp(seconds * 1000)));
    }

    fn let_go(kept: &mut Kept, seconds: u64) -> Vec<Offset> {
        kept.let_go(Timestamp(seconds * 1000), Timestamp(seconds * 1000))
    }

    #[test]
    fn each_topic_keeps_what_the_first_rule_that_matches_says() {
        let few = |events| Keep { events: Some(events), ..Keep::default() };
        let mut kept = kept(&[("a/free", Keep::default()), ("a/*", few(2)), ("**", few(3))]);
        for (name, offsets) in [("a/free", 1..=10), ("a/x", 11..=15), ("a/y", 16..=17), ("b", 18..=21)] {
            add(&mut kept, name, offsets, 5);
        }
        assert_eq!(let_go(&mut kept, 5), [0; 0], "not within the first second");
        assert_eq!(let_go(&mut kept, 6), [11, 12, 13, 18]);
        assert_eq!(let_go(&mut kept, 100), [0; 0]);
        add(&mut kept, "a/x", 22..=22, 101);
        assert_eq!(let_go(&mut kept, 101), [14]);
    }

    #[test]
    fn by_bytes_the_newest_event_stays() {
        let mut kept = kept(&[("t", Keep { bytes: Some(25), ..Keep::default() })]);
        add(&mut kept, "t", 1..=4, 0);
        assert_eq!(let_go(&mut kept, 1), [1, 2]); // Eleven bytes each.
        kept.add(&Event::new(topic("t"), vec![0; 100]), 5, Timestamp(1000));
        assert_eq!(let_go(&mut kept, 2), [3, 4]);
    }

    #[test]
    fn what_has_grown_too_old_goes() {
        let mut kept = kept(&[("a", Keep { age: Some(Duration::from_secs(60)), ..Keep::default() })]);
        add(&mut kept, "a", 1..=2, 10);
        add(&mut kept, "a", 3..=3, 20);
        add(&mut kept, "b", 4..=4, 20);
        assert_eq!(let_go(&mut kept, 70), [0; 0]);
        assert_eq!(let_go(&mut kept, 71), [1, 2]);
        assert_eq!(let_go(&mut kept, 80), [0; 0]);
        assert_eq!(let_go(&mut kept, 81), [3]);
        assert!(kept.lines.is_empty());
    }

    #[test]
    fn what_went_for_another_reason_does_not_count() {
        let mut kept = kept(&[("t", Keep { events: Some(2), ..Keep::default() })]);
        add(&mut kept, "t", 1..=4, 0);
        kept.forget(&topic("t"), 4);
        kept.trim("t", 2);
        assert_eq!(let_go(&mut kept, 1), [0; 0]);
        add(&mut kept, "t", 5..=5, 1);
        assert_eq!(let_go(&mut kept, 2), [2]);
        kept.forget(&topic("t"), 3);
        kept.forget(&topic("t"), 5);
        assert!(kept.lines.is_empty());
    }
}
