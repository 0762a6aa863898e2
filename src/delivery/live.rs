//! Which of the open streams are shown: the first few by one of their figures, however many there are.
//!
//! Plain data. Whoever carries streams offers them one by one; what is kept does not grow with their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::diagnosis::{Called, PathNumber, ShortName};

/// An open stream, as it is shown. Nothing of what it is of, nor of who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Live {
    /// How long it has been open.
    pub age: Duration,
    /// For how long nothing has been written.
    pub quiet: Duration,
    /// How far it is behind the live edge, in offsets: what was stored since, and may concern it.
    pub lag: u64,
    /// How often it beats.
    pub heartbeat: Duration,
    /// Bytes that were written and that its connection has not taken.
    pub not_taken: u64,
    /// For how long that has been so.
    pub blocked: Option<Duration>,
    /// Its transport.
    pub transport: &'static str,
    /// Its path.
    pub path: PathNumber,
    /// How it is called there.
    pub name: ShortName,
    /// A keyed hash of its id, which is not shown.
    pub stream: NonZeroU64,
}

/// By what streams are put in order; the largest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// How long they have been open.
    Age,
    /// How far they are behind the live edge.
    Lag,
    /// For how long nothing has been written.
    Quiet,
}

/// What is asked of the open streams.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Their order.
    pub sort: Sort,
    /// How many are shown at most.
    pub limit: usize,
    /// One of them alone.
    pub of: Option<Called>,
}

/// The first of those that were offered, and how many there were.
#[derive(Debug)]
pub(super) struct Chosen {
    asked: Asked,
    /// The last of them on top.
    first: BinaryHeap<Reverse<(u64, Live)>>,
    open: Vec<Open>,
}

/// How many streams of one path and transport are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The path.
    pub path: PathNumber,
    /// The transport.
    pub transport: &'static str,
    /// How many.
    pub streams: u64,
}

impl Chosen {
    /// None yet.
    pub(super) fn new(asked: Asked) -> Self {
        Self { asked, first: BinaryHeap::new(), open: Vec::new() }
    }

    /// One that is open. Cost: it is counted, and seldom more once many were offered.
    pub(super) fn offer(&mut self, live: Live) {
        self.count(Open { path: live.path, transport: live.transport, streams: 1 });
        if self.asked.of.is_none_or(|of| of.is(live.name, live.stream)) {
            self.put(live);
        }
    }

    /// Those that others were offered.
    pub(super) fn join(&mut self, other: Self) {
        other.open.into_iter().for_each(|open| self.count(open));
        other.first.into_iter().for_each(|Reverse((_, live))| self.put(live));
    }

    /// The first of them in their order, and how many there are of each path and transport, the most first.
    pub(super) fn told(self) -> (Vec<Live>, Vec<Open>) {
        let first = self.first.into_sorted_vec().into_iter().map(|Reverse((_, live))| live).collect();
        let mut open = self.open;
        open.sort_by_key(|open| Reverse(open.streams));
        (first, open)
    }

    fn count(&mut self, more: Open) {
        let same = |open: &&mut Open| open.path == more.path && open.transport == more.transport;
        match self.open.iter_mut().find(same) {
            Some(open) => open.streams += more.streams,
            None => self.open.push(more),
        }
    }

    fn put(&mut self, live: Live) {
        let figure = match self.asked.sort {
            Sort::Age => in_microseconds(live.age),
            Sort::Lag => live.lag,
            Sort::Quiet => in_microseconds(live.quiet),
        };
        let entry = Reverse((figure, live));
        if self.first.len() < self.asked.limit {
            self.first.push(entry);
        } else if let Some(mut last) = self.first.peek_mut()
            && entry < *last
        {
            *last = entry;
        }
    }
}

fn in_microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(age: u64, lag: u64, quiet: u64) -> Live {
        Live {
            name: ShortName(u32::try_from(age).expect("a small number")),
            stream: NonZeroU64::new(age + 1).expect("not 0"),
            path: PathNumber::OTHER,
            transport: if age.is_multiple_of(2) { "sse" } else { "ndjson" },
            age: Duration::from_secs(age),
            quiet: Duration::from_secs(quiet),
            heartbeat: Duration::from_secs(15),
            lag,
            not_taken: 0,
            blocked: None,
        }
    }

    /// The ages of those that are shown of ten streams, which two carriers have.
    fn check(asked: Asked, expected: &[u64]) {
        let (mut one, mut other) = (Chosen::new(asked), Chosen::new(asked));
        for age in 0..10 {
            let live = live(age, (age * 3) % 10, 9 - age);
            if age < 4 { one.offer(live) } else { other.offer(live) }
        }
        one.join(other);
        let (first, open) = one.told();
        let ages: Vec<u64> = first.iter().map(|live| live.age.as_secs()).collect();
        assert_eq!(ages, expected, "{asked:?}");
        let counts: Vec<_> = open.iter().map(|open| (open.transport, open.streams)).collect();
        assert_eq!(counts, [("sse", 5), ("ndjson", 5)], "all are counted");
    }

    #[test]
    fn the_first_are_shown_and_all_are_counted() {
        let asked = |sort, limit| Asked { sort, limit, of: None };
        check(asked(Sort::Age, 3), &[9, 8, 7]);
        check(asked(Sort::Lag, 4), &[3, 6, 9, 2]);
        check(asked(Sort::Quiet, 2), &[0, 1]);
        check(asked(Sort::Quiet, 1000), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn one_is_shown_alone() {
        let stream = NonZeroU64::new(8);
        let asked =
            |name, stream| Asked { sort: Sort::Age, limit: 10, of: Some(Called { name: ShortName(name), stream }) };
        check(asked(7, None), &[7]);
        check(asked(7, stream), &[7]);
        check(asked(6, stream), &[]);
        check(asked(99, None), &[]);
    }
}
