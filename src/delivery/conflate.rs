//! Events of which only the newest counts.

use std::collections::HashSet;
use std::sync::Arc;

use crate::event::Appended;

/// Which of these events are wanted by a reader that keeps state: of those on one canonical topic with one conflation
/// key the newest, and all that have no such key.
pub(super) fn without_older(events: &[Arc<Appended>]) -> Vec<bool> {
    let mut seen = HashSet::new();
    let newest = |event: &Arc<Appended>| {
        let event: &Appended = event;
        event.event.conflate.clone().is_none_or(|key| seen.insert((event.event.topic().clone(), key)))
    };
    let mut wanted: Vec<bool> = events.iter().rev().map(newest).collect();
    wanted.reverse();
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cursor, Epoch, Event, Key, Timestamp, Topic};

    #[test]
    fn of_one_topic_and_key_only_the_newest_is_wanted() {
        let events = [("a", "k"), ("a", ""), ("b", "k"), ("a", "k"), ("a", "l"), ("a", ""), ("a", "k")];
        let events = events.map(|(topic, key)| {
            let cursor = Cursor { epoch: Epoch::from_random(0), offset: 1 };
            let mut event = Event::new(Topic::parse(topic).expect("a topic"), "x");
            event.conflate = Key::parse(key).ok();
            Arc::new(Appended::new(cursor, Timestamp(0), event))
        });
        assert_eq!(without_older(&events), [false, true, true, false, true, true, true]);
        assert!(without_older(&[]).is_empty());
    }
}
