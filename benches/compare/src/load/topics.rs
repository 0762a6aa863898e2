//! What was published, and what of it is still on its way.

use std::collections::VecDeque;

/// The topics of one load.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: Vec<Topic>,
    open: usize,
}

#[derive(Debug, Default)]
struct Topic {
    /// Of the next event.
    sequence: u64,
    /// How many subscribers each event is waited for.
    members: u32,
    /// Published and without a receipt.
    unanswered: Vec<u64>,
    /// Of each event: all before this one had their receipts when it was published.
    due: Vec<u64>,
    /// How many have not got it, from the oldest event that somebody has not got.
    open: VecDeque<u32>,
}

impl Topics {
    pub(super) fn new(count: usize) -> Self {
        Self { topics: (0..count).map(|_| Topic::default()).collect(), open: 0 }
    }

    /// One more subscriber is waited for, or one less.
    pub(super) fn join(&mut self, topic: u32) {
        self.topics[topic as usize].members += 1;
    }

    pub(super) fn leave(&mut self, topic: u32) {
        self.topics[topic as usize].members -= 1;
    }

    /// The sequence number of the next event.
    pub(super) fn next(&self, topic: u32) -> u64 {
        self.topics[topic as usize].sequence
    }

    /// Events that somebody has not got.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Enters a new event; its sequence number.
    pub(super) fn publish(&mut self, topic: u32) -> u64 {
        let topic = &mut self.topics[topic as usize];
        let sequence = topic.sequence;
        topic.sequence += 1;
        topic.unanswered.push(sequence);
        topic.due.push(topic.unanswered[0]);
        if topic.members > 0 {
            topic.open.push_back(topic.members);
            self.open += 1;
        }
        sequence
    }

    /// An event has its receipt.
    pub(super) fn answered(&mut self, topic: u32, sequence: u64) {
        // In order, as they were published, and seldom more than there are publishers.
        self.topics[topic as usize].unanswered.retain(|unanswered| *unanswered != sequence);
    }

    /// All events before this one had their receipts when `sequence` was published.
    pub(super) fn due(&self, topic: u32, sequence: u64) -> u64 {
        let due = self.topics.get(topic as usize).and_then(|topic| topic.due.get(sequence as usize));
        due.copied().unwrap_or(0)
    }

    /// A subscriber that is waited for has got an event.
    pub(super) fn got(&mut self, topic: u32, sequence: u64) {
        let topic = &mut self.topics[topic as usize];
        let first = topic.sequence - topic.open.len() as u64;
        let Some(place) = sequence.checked_sub(first) else { return };
        let Some(left) = topic.open.get_mut(place as usize) else { return };
        if *left > 0 {
            *left -= 1;
            self.open -= usize::from(*left == 0);
        }
        while topic.open.front() == Some(&0) {
            topic.open.pop_front();
        }
    }

    /// What is on its way is waited for no more.
    pub(super) fn forget_open(&mut self) {
        for topic in &mut self.topics {
            topic.open.clear();
        }
        self.open = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_open_until_all_have_got_it() {
        let mut topics = Topics::new(1);
        topics.join(0);
        topics.join(0);
        assert_eq!((topics.publish(0), topics.publish(0), topics.open()), (0, 1, 2));
        topics.got(0, 1);
        topics.got(0, 1);
        assert_eq!(topics.open(), 1, "the second overtook the first");
        topics.got(0, 0);
        topics.got(0, 0);
        assert_eq!(topics.open(), 0);
    }

    #[test]
    fn what_has_its_receipt_must_come_before_what_is_published_then() {
        let mut topics = Topics::new(1);
        topics.publish(0);
        topics.publish(0);
        topics.answered(0, 1);
        topics.publish(0);
        topics.answered(0, 0);
        topics.publish(0);
        assert_eq!([0, 1, 2, 3].map(|sequence| topics.due(0, sequence)), [0, 0, 0, 2]);
    }

    #[test]
    fn what_nobody_waits_for_is_not_open() {
        let mut topics = Topics::new(1);
        topics.publish(0);
        assert_eq!(topics.open(), 0);
    }
}
