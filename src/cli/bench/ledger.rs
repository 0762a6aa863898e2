//! What one reader got of what was published: lost, doubled and reordered, exactly.
//!
//! Pure: numbers in, counts out. Memory is bounded: of each publisher a reader remembers at most [`MAX_HOLES`] runs of
//! numbers that have not come.

use std::ops::Range;

use smallvec::SmallVec;

use crate::event::Cursor;

/// How many runs of missing numbers one reader remembers of one publisher. The oldest are lost for good beyond that, and an
/// event of them that comes after all is counted as doubled.
const MAX_HOLES: usize = 256;

/// What one reader has had.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    tracks: SmallVec<[Track; 1]>,
    /// The furthest place in the log that the reader was told.
    place: Option<Cursor>,
}

/// The events of one publisher.
#[derive(Clone, Debug, Default)]
struct Track {
    /// All below have come, or are in `holes`, or were given up.
    next: u64,
    /// What has not come, in order; none touches another.
    holes: Vec<Range<u64>>,
    given_up: u64,
}

/// How an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// In its place, or behind others that are missing until now.
    Next,
    /// After one that was published later.
    Reordered,
    /// Once more.
    Doubled,
}

/// What every reader is to get.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// Of each publisher: the first number that it did not use.
    pub(super) end: Vec<u64>,
    /// Of each publisher, in order: numbers of which nobody knows whether they were stored, as the answer was lost.
    pub(super) unsure: Vec<Vec<u64>>,
    /// Where the newest of all stands in the log.
    pub(super) newest: Option<Cursor>,
}

impl Ledger {
    /// Takes the next event of a publisher.
    pub(super) fn arrive(&mut self, publisher: u32, number: u64) -> Arrival {
        let at = publisher as usize;
        if self.tracks.len() <= at {
            self.tracks.resize_with(at + 1, Track::default);
        }
        self.tracks[at].arrive(number)
    }

    /// The same of a reader that is shown only the newest: an event may be left out, and the newest may be shown twice
    /// ([`Arrival::Doubled`]). Gives how many were left out.
    pub(super) fn show(&mut self, publisher: u32, number: u64) -> (Arrival, u64) {
        let arrival = self.arrive(publisher, number);
        let track = &mut self.tracks[publisher as usize];
        let skipped = track.holes.drain(..).map(|hole| hole.end - hole.start).sum();
        let went_back = arrival == Arrival::Doubled && number + 1 < track.next;
        (if went_back { Arrival::Reordered } else { arrival }, skipped)
    }

    /// The reader came to a place in the log.
    pub(super) fn reach(&mut self, place: Cursor) {
        self.place = Some(place);
    }

    /// How many events are missing now that came to others, or after which others came.
    pub(super) fn missing(&self) -> u64 {
        self.tracks.iter().map(|track| track.given_up + track.in_holes()).sum()
    }

    /// How many of `published` the reader did not get.
    pub(super) fn lost(&self, published: &Published) -> u64 {
        let none = Track::default();
        let of = |(at, end): (usize, &u64)| {
            let unsure = published.unsure.get(at).map_or(&[][..], Vec::as_slice);
            self.tracks.get(at).unwrap_or(&none).lost(*end, unsure)
        };
        published.end.iter().enumerate().map(of).sum()
    }

    /// Whether a reader that is shown only the newest event has it. Where the log is of no help (none but us may publish,
    /// and there is one publisher), by its number.
    pub(super) fn is_current(&self, published: &Published) -> bool {
        match (&self.place, &published.newest) {
            (_, None) => true,
            (Some(place), Some(newest)) if place.epoch == newest.epoch => place.offset >= newest.offset,
            _ => self.tracks.iter().zip(&published.end).any(|(track, end)| track.next >= *end),
        }
    }
}

impl Track {
    fn arrive(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            if number > self.next {
                self.holes.push(self.next..number);
            }
            self.next = number.saturating_add(1);
            if self.holes.len() > MAX_HOLES {
                let oldest = self.holes.remove(0);
                self.given_up += oldest.end - oldest.start;
            }
            return Arrival::Next;
        }
        let Some(at) = self.holes.iter().position(|hole| hole.contains(&number)) else { return Arrival::Doubled };
        let Range { start, end } = self.holes[at].clone();
        match (start == number, number + 1 == end) {
            (true, true) => drop(self.holes.remove(at)),
            (true, false) => self.holes[at].start = number + 1,
            (false, true) => self.holes[at].end = number,
            (false, false) => {
                self.holes[at].end = number;
                self.holes.insert(at + 1, number + 1..end);
            }
        }
        Arrival::Reordered
    }

    fn in_holes(&self) -> u64 {
        self.holes.iter().map(|hole| hole.end - hole.start).sum()
    }

    /// How many of the numbers below `end` have not come; those that may never have been stored are none of them.
    fn lost(&self, end: u64, unsure: &[u64]) -> u64 {
        let rest = self.next..end.max(self.next);
        let is_missing = |number: &&u64| rest.contains(number) || self.holes.iter().any(|hole| hole.contains(number));
        let missing = self.given_up + self.in_holes() + (rest.end - rest.start);
        missing - unsure.iter().filter(is_missing).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(end: u64, unsure: &[u64]) -> Published {
        Published { end: vec![end], unsure: vec![unsure.to_vec()], newest: None }
    }

    /// Feeds one publisher's numbers; gives how many were reordered, doubled, and lost of `end`.
    #[track_caller]
    fn check(what: &str, numbers: &[u64], end: u64, expected: (u64, u64, u64)) -> Ledger {
        let mut ledger = Ledger::default();
        let arrivals: Vec<_> = numbers.iter().map(|number| ledger.arrive(0, *number)).collect();
        let count = |wanted| arrivals.iter().filter(|arrival| **arrival == wanted).count() as u64;
        let told = (count(Arrival::Reordered), count(Arrival::Doubled), ledger.lost(&published(end, &[])));
        assert_eq!(told, expected, "{what}: {numbers:?}");
        ledger
    }

    #[test]
    fn each_event_is_lost_doubled_or_reordered_by_itself() {
        check("all in order", &[0, 1, 2, 3], 4, (0, 0, 0));
        check("nothing", &[], 4, (0, 0, 4));
        check("one left out", &[0, 2, 3], 4, (0, 0, 1));
        check("the first left out", &[1, 2, 3], 4, (0, 0, 1));
        check("the last left out", &[0, 1, 2], 4, (0, 0, 1));
        check("one twice", &[0, 1, 1, 2, 3], 4, (0, 1, 0));
        check("the newest twice", &[0, 1, 2, 3, 3], 4, (0, 1, 0));
        check("one thrice", &[0, 1, 0, 0, 2, 3], 4, (0, 2, 0));
        check("two exchanged", &[0, 2, 1, 3], 4, (1, 0, 0));
        check("a late one that comes twice", &[0, 2, 1, 1, 3], 4, (1, 1, 0));
        check("backwards", &[3, 2, 1, 0], 4, (3, 0, 0));
        check("out of a long hole", &[0, 9, 4, 5, 1, 8], 10, (4, 0, 4));
        check("all three", &[0, 2, 1, 4, 4, 5], 7, (1, 1, 2));
        check("a replay from further back", &[0, 1, 2, 1, 2, 3], 4, (0, 2, 0));
    }

    #[test]
    fn what_is_missing_now_may_come_yet() {
        let mut ledger = check("a hole", &[0, 5], 6, (0, 0, 4));
        assert_eq!(ledger.missing(), 4);
        for number in [3, 1, 2, 4] {
            assert_eq!(ledger.arrive(0, number), Arrival::Reordered);
        }
        assert_eq!((ledger.missing(), ledger.lost(&published(6, &[]))), (0, 0));
    }

    #[test]
    fn publishers_are_told_apart() {
        let mut ledger = Ledger::default();
        for (publisher, number) in [(2, 0), (0, 0), (2, 1), (0, 2)] {
            assert_eq!(ledger.arrive(publisher, number), Arrival::Next);
        }
        let all = Published { end: vec![3, 2, 2], unsure: vec![vec![]; 3], newest: None };
        assert_eq!(ledger.lost(&all), 1 + 2);
    }

    #[test]
    fn what_may_never_have_been_stored_is_not_lost() {
        let ledger = check("holes", &[0, 2, 4], 7, (0, 0, 4));
        for (unsure, lost) in [(&[1][..], 3), (&[1, 3, 5, 6], 0), (&[0, 2], 4), (&[6], 3)] {
            assert_eq!(ledger.lost(&published(7, unsure)), lost, "{unsure:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_the_count_of_lost_stays_exact() {
        let ledger = check("every second", &(0..10_000).map(|n| 2 * n + 1).collect::<Vec<_>>(), 20_000, (0, 0, 10_000));
        assert_eq!(ledger.tracks[0].holes.len(), MAX_HOLES);
        assert_eq!(ledger.missing(), 10_000);
    }

    #[test]
    fn a_reader_of_the_newest_may_be_left_out_but_not_taken_back() {
        let mut ledger = Ledger::default();
        let shown: Vec<_> = [2, 2, 5, 4, 5, 6].map(|number| ledger.show(0, number)).into();
        let (next, twice, back) = (Arrival::Next, Arrival::Doubled, Arrival::Reordered);
        assert_eq!(shown, [(next, 2), (twice, 0), (next, 2), (back, 0), (twice, 0), (next, 0)]);
        let place = |text: &str| text.parse().ok();
        let newest = |text| Published { newest: place(text), ..published(9, &[]) };
        ledger.reach(place("abcdefgh-7").expect("a cursor"));
        assert!(ledger.is_current(&newest("abcdefgh-7")) && ledger.is_current(&newest("abcdefgh-6")));
        assert!(!ledger.is_current(&newest("abcdefgh-8")));
        assert!(!ledger.is_current(&newest("zzzzzzzz-1")), "of another epoch, by its number: 7 of 9");
        assert!(ledger.is_current(&published(9, &[])), "nothing is known to be stored");
    }
}
