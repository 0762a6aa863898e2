//! Where the events stand that match one selection, as far back as is known.
//!
//! With it a reader moves on over what does not concern it without reading that, and so without being told a gap when
//! that has left memory and the log meanwhile. Bounded: of long ago only the outline is known.

use std::collections::VecDeque;

use crate::event::Offset;

/// Stretches of the log in which events match, or may. Between two of them nothing does.
#[derive(Debug)]
pub(super) struct Matched {
    /// Of offsets up to here nothing is known.
    after: Offset,
    /// First and last offset of each, rising.
    stretches: VecDeque<(Offset, Offset)>,
}

impl Matched {
    /// How many stretches are told apart. When there are more, the two oldest become one, with what is between them.
    const KEPT: usize = 64;

    /// None yet, of what comes after `after`.
    pub(super) fn new(after: Offset) -> Self {
        Self { after, stretches: VecDeque::new() }
    }

    /// Adds a stretch, behind all others: between these offsets, both included, there are events that match.
    pub(super) fn note(&mut self, first: Offset, last: Offset) {
        if let Some((_, newest)) = self.stretches.back_mut()
            && *newest + 1 == first
        {
            *newest = last;
            return;
        }
        self.stretches.push_back((first, last));
        if self.stretches.len() > Self::KEPT
            && let Some((oldest, _)) = self.stretches.pop_front()
            && let Some((first, _)) = self.stretches.front_mut()
        {
            *first = oldest;
        }
    }

    /// How far `cursor` may move on, in a log that was looked through up to `looked`, without passing over an event that
    /// matches.
    pub(super) fn quiet_after(&self, cursor: Offset, looked: Offset) -> Offset {
        if cursor < self.after {
            return cursor;
        }
        let next = self.stretches.partition_point(|&(_, last)| last <= cursor);
        cursor.max(self.stretches.get(next).map_or(looked, |&(first, _)| first - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far cursors may move on when these stretches are known after 10, and 100 was looked through.
    fn check(stretches: &[(Offset, Offset)], expected: &[(Offset, Offset)]) {
        let mut matched = Matched::new(10);
        stretches.iter().for_each(|&(first, last)| matched.note(first, last));
        for &(cursor, quiet) in expected {
            assert_eq!(matched.quiet_after(cursor, 100), quiet, "after {cursor} of {stretches:?}");
        }
    }

    #[test]
    fn a_cursor_moves_on_to_just_before_the_next_event_that_matches() {
        check(&[], &[(9, 9), (10, 100), (99, 100), (100, 100), (120, 120)]);
        let cases = [(9, 9), (10, 19), (19, 19), (20, 20), (24, 24), (25, 39), (39, 39), (40, 100), (100, 100)];
        check(&[(20, 25), (40, 40)], &cases);
        check(&[(20, 20), (21, 25), (40, 40)], &cases);
    }

    #[test]
    fn of_long_ago_only_the_outline_is_known() {
        let mut matched = Matched::new(0);
        let count = Matched::KEPT as u64 + 2;
        (1..=count).for_each(|nth| matched.note(nth * 10, nth * 10));
        assert_eq!(matched.stretches.len(), Matched::KEPT);
        assert_eq!(matched.quiet_after(0, 1000), 9, "before all of them");
        assert_eq!(matched.quiet_after(10, 1000), 10, "among those that are one by now");
        assert_eq!(matched.quiet_after(29, 1000), 29, "among those that are one by now");
        assert_eq!(matched.quiet_after(30, 1000), 39, "behind those");
        assert_eq!(matched.quiet_after(count * 10, 1000), 1000, "behind the newest");
    }
}
