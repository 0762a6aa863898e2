//! What one subscriber got of its topic, counted exactly.
//!
//! Events that were under way at once, of several publishers, have no order among them but the one that the server gives
//! them. Out of order is what was published after the receipt of another, and came before it.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::marker::Marker;

/// What went wrong. All of it is nought where a server does what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after one that was published when this one already had its receipt.
    pub reordered: u64,
    /// Belongs to another topic.
    pub misrouted: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    pub fn none(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.misrouted += other.misrouted;
    }
}

/// One subscriber's account. It outlives the connections by which the subscriber comes and comes back.
#[derive(Debug)]
pub struct Ledger {
    topic: u32,
    next: u64,
    /// Passed over so far: from, to (exclusive), in order. Empty but where a server errs.
    missing: Vec<(u64, u64)>,
    /// All before this one had their receipts when some event was published that has come: they should have come before it.
    due: u64,
    faults: Faults,
}

impl Ledger {
    /// The account of one who is to get everything of `topic` from the event `first` on.
    pub fn new(topic: u32, first: u64) -> Self {
        Self { topic, next: first, missing: Vec::new(), due: first, faults: Faults::default() }
    }

    /// The number of the topic.
    pub fn topic(&self) -> u32 {
        self.topic
    }

    /// Enters an event, before whose publishing all up to `due` had their receipts. Whether it is one that was waited for: of
    /// this topic, and for the first time.
    pub fn enter(&mut self, marker: Marker, due: u64) -> bool {
        if marker.topic != self.topic {
            self.faults.misrouted += 1;
            return false;
        }
        self.due = self.due.max(due);
        if marker.sequence == self.next {
            self.next += 1;
            return true;
        }
        self.enter_unexpected(marker)
    }

    fn enter_unexpected(&mut self, marker: Marker) -> bool {
        let at = marker.sequence;
        if at > self.next {
            self.missing.push((self.next, at));
            self.next = at + 1;
            return true;
        }
        let Some(place) = self.missing.iter().position(|(from, to)| (*from..*to).contains(&at)) else {
            self.faults.duplicated += 1;
            return false;
        };
        let (from, to) = self.missing.remove(place);
        let left = [(from, at), (at + 1, to)];
        self.missing.splice(place..place, left.into_iter().filter(|(from, to)| from < to));
        self.faults.reordered += u64::from(at < self.due);
        true
    }

    /// What went wrong if `published` events were published to the topic, and nothing more is to come.
    pub fn faults(&self, published: u64) -> Faults {
        let passed: u64 = self.missing.iter().map(|(from, to)| to - from).sum();
        Faults { lost: passed + published.saturating_sub(self.next), ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sequences: &[u64], published: u64) -> Faults {
        let mut ledger = Ledger::new(7, 0);
        for sequence in sequences {
            ledger.enter(Marker { sequence: *sequence, sent: 0, topic: 7 }, *sequence);
        }
        ledger.faults(published)
    }

    #[test]
    fn what_comes_in_order_is_faultless() {
        assert!(after(&[0, 1, 2], 3).none());
    }

    #[test]
    fn what_does_not_come_is_lost_in_the_midst_and_at_the_end() {
        assert_eq!(after(&[0, 3], 6), Faults { lost: 4, ..Faults::default() });
    }

    #[test]
    fn what_comes_late_is_reordered_and_not_lost() {
        assert_eq!(after(&[0, 4, 2, 1, 3], 5), Faults { reordered: 3, ..Faults::default() });
    }

    #[test]
    fn what_was_under_way_at_once_may_come_in_any_order() {
        let mut ledger = Ledger::new(7, 0);
        let mut enter = |sequence, due| ledger.enter(Marker { sequence, sent: 0, topic: 7 }, due);
        // 0, 1 and 2 were published together; 3 when 0 and 1 had their receipts.
        assert!(enter(2, 0) && enter(0, 0) && enter(3, 2));
        assert!(enter(1, 0), "this one should have come before 3");
        assert_eq!(ledger.faults(4), Faults { reordered: 1, ..Faults::default() });
    }

    #[test]
    fn what_comes_again_is_duplicated_also_where_it_was_late() {
        assert_eq!(after(&[0, 0, 2, 1, 1], 3), Faults { duplicated: 2, reordered: 1, ..Faults::default() });
    }

    #[test]
    fn what_belongs_to_another_topic_is_misrouted() {
        let mut ledger = Ledger::new(7, 0);
        assert!(!ledger.enter(Marker { sequence: 0, sent: 0, topic: 8 }, 0));
        assert_eq!(ledger.faults(1), Faults { lost: 1, misrouted: 1, ..Faults::default() });
    }
}
