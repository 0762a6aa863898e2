//! How many clients bear witness to something, where one of them may be many, and may lie.
//!
//! Whoever has one address of a prefix may have all of it: one prefix counts a ninth of what the others do at most, or one. Clients at
//! one's own addresses, and those whose address is not known, are not told apart, and count each.

use std::num::NonZeroU32;

/// What was seen, by whom. Bounded: beyond some prefixes there are many, and each counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Witnesses {
    /// The first prefixes, and how often each. None: a free place, or one's own.
    of: [Option<(NonZeroU32, u32)>; Self::TOLD_APART],
    others: u32,
}

impl Witnesses {
    /// How many prefixes are told apart.
    const TOLD_APART: usize = 12;

    /// One more, by a client of this prefix.
    pub(super) fn note(&mut self, prefix: Option<NonZeroU32>) {
        match prefix.and_then(|prefix| self.place(prefix)) {
            Some(count) => *count = count.saturating_add(1),
            None => self.others = self.others.saturating_add(1),
        }
    }

    /// These and those.
    #[must_use]
    pub(super) fn and(mut self, more: &Self) -> Self {
        self.others = self.others.saturating_add(more.others);
        for (prefix, count) in more.of.iter().flatten() {
            match self.place(*prefix) {
                Some(counted) => *counted = counted.saturating_add(*count),
                None => self.others = self.others.saturating_add(1),
            }
        }
        self
    }

    /// Where a prefix is counted, if there is room for it.
    fn place(&mut self, prefix: NonZeroU32) -> Option<&mut u32> {
        let known = self.of.iter().position(|place| place.is_some_and(|(of, _)| of == prefix));
        let place = known.or_else(|| self.of.iter().position(Option::is_none))?;
        Some(&mut self.of[place].get_or_insert((prefix, 0)).1)
    }

    /// For how many they count.
    pub(super) fn count(&self) -> u64 {
        let counts = || self.of.iter().flatten().map(|(_, count)| u64::from(*count));
        let all = counts().sum::<u64>() + u64::from(self.others);
        counts().map(|count| count.min(((all - count) / 9).max(1))).sum::<u64>() + u64::from(self.others)
    }

    /// What was before counts half.
    pub(super) fn halve(&mut self) {
        for place in &mut self.of {
            *place = place.map(|(prefix, count)| (prefix, count / 2)).filter(|(_, count)| *count > 0);
        }
        self.others /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefixes: impl IntoIterator<Item = u32>, expected: u64) {
        let mut witnesses = Witnesses::default();
        prefixes.into_iter().for_each(|prefix| witnesses.note(NonZeroU32::new(prefix)));
        assert_eq!(witnesses.count(), expected, "{witnesses:?}");
    }

    #[test]
    fn one_prefix_is_a_tenth_of_all_at_most_or_one() {
        check([], 0);
        check([1], 1);
        check([1; 9], 1);
        check([1; 40], 1);
        check([1, 2, 3], 3);
        check([1, 1, 1, 2, 3], 3);
        check([1; 100].into_iter().chain(2..=10), 1 + 9);
        check([1; 100].into_iter().chain([0; 90]), 10 + 90);
    }

    #[test]
    fn ones_own_and_those_beyond_the_first_prefixes_count_each() {
        check([0; 7], 7);
        check(1..=100, 100);
        check([1, 0, 0], 3);
    }

    #[test]
    fn witnesses_of_two_times_are_those_of_both() {
        let of = |prefixes: &[u32]| {
            let mut witnesses = Witnesses::default();
            prefixes.iter().for_each(|prefix| witnesses.note(NonZeroU32::new(*prefix)));
            witnesses
        };
        assert_eq!(of(&[1, 1, 2]).and(&of(&[1, 1, 0])).count(), 3, "one, two, and one's own");
        let (first, second): (Vec<u32>, Vec<u32>) = ((1..=12).collect(), (13..=24).collect());
        assert_eq!(of(&first).and(&of(&second)).count(), 24);
    }

    #[test]
    fn what_was_before_counts_half() {
        let mut witnesses = Witnesses::default();
        (1..=3).for_each(|prefix| witnesses.note(NonZeroU32::new(prefix)));
        (0..5).for_each(|_| witnesses.note(None));
        witnesses.halve();
        assert_eq!(witnesses.count(), 2);
        (0..20).for_each(|_| witnesses.note(NonZeroU32::new(1)));
        witnesses.halve();
        assert_eq!(witnesses.count(), 2, "ten of one prefix are one");
    }
}
