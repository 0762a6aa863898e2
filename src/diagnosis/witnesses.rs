//! How many clients bear witness to something, where one of them may be many, and may lie.
//!
//! Whoever has one address of a prefix may have all of it: one prefix counts a ninth of what the others do at most, or one. Clients at
//! one's own addresses, and those whose address is not known, are not told apart, and count each.

use std::num::NonZeroU32;

/// What was seen, by whom. Bounded: beyond some prefixes several share a place, and count no more than one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witnesses {
    /// The first prefixes, and how often each. None: a free place.
    of: [Option<(NonZeroU32, u32)>; Self::TOLD_APART],
    /// The rest, by a part of their prefixes.
    more: [u16; Self::SHARED],
    /// Those at addresses that are not known, or one's own.
    others: u32,
}

impl Default for Witnesses {
    fn default() -> Self {
        Self { of: [None; Self::TOLD_APART], more: [0; Self::SHARED], others: 0 }
    }
}

impl Witnesses {
    /// How many prefixes are told apart, and how many places there are for the rest.
    const TOLD_APART: usize = 12;
    const SHARED: usize = 61;

    /// One more, by a client of this prefix.
    pub(super) fn note(&mut self, prefix: Option<NonZeroU32>) {
        match prefix {
            Some(prefix) => self.add(prefix, 1),
            None => self.others = self.others.saturating_add(1),
        }
    }

    /// These and those.
    #[must_use]
    pub(super) fn and(mut self, more: &Self) -> Self {
        self.others = self.others.saturating_add(more.others);
        for (prefix, count) in more.of.iter().flatten() {
            self.add(*prefix, *count);
        }
        for (place, count) in self.more.iter_mut().zip(more.more) {
            *place = place.saturating_add(count);
        }
        self
    }

    fn add(&mut self, prefix: NonZeroU32, count: u32) {
        let known = self.of.iter().position(|place| place.is_some_and(|(of, _)| of == prefix));
        match known.or_else(|| self.of.iter().position(Option::is_none)) {
            Some(place) => {
                let (_, counted) = self.of[place].get_or_insert((prefix, 0));
                *counted = counted.saturating_add(count);
            }
            None => {
                let place = &mut self.more[prefix.get() as usize % Self::SHARED];
                *place = place.saturating_add(u16::try_from(count).unwrap_or(u16::MAX));
            }
        }
    }

    /// For how many they count.
    pub(super) fn count(&self) -> u64 {
        let known = self.of.iter().flatten().map(|(_, count)| u64::from(*count));
        let counts = || known.clone().chain(self.more.iter().map(|count| u64::from(*count)));
        let all = counts().sum::<u64>() + u64::from(self.others);
        counts().map(|count| count.min(((all - count) / 9).max(1))).sum::<u64>() + u64::from(self.others)
    }

    /// What was before counts half.
    pub(super) fn halve(&mut self) {
        for place in &mut self.of {
            *place = place.map(|(prefix, count)| (prefix, count / 2)).filter(|(_, count)| *count > 0);
        }
        self.more.iter_mut().for_each(|count| *count /= 2);
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
    fn ones_own_count_each_and_one_prefix_that_comes_late_is_no_more_than_another() {
        check([0; 7], 7);
        check(1..=73, 73);
        check((1..=12).chain([99; 80]), 12 + 1);
        check((1..=12).chain([99; 80]).chain(1000..1100), 12 + 12 + 98);
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
