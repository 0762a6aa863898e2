//! What is done for the streams of a path that holds events back, so that their clients still get some.
//!
//! A path that lets nothing through until it has enough is given padding first; one that holds on even so gets streams that
//! end after each event, as an answer that has ended is let through by everything. That is dearer, and slower by the time in
//! which clients come back; so after a while it is tried without again.
//!
//! It changes how the streams of others end, so only clients that can be told apart by their addresses are believed, and of those
//! three that are not one (`witnesses`). Who cannot be told apart is helped by itself alone (`delivery/receipts`).

use std::num::NonZeroU32;
use std::time::Duration;

use super::witnesses::Witnesses;

/// What is done for a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Relief {
    /// Nothing.
    #[default]
    None,
    /// It begins with padding.
    Padding,
    /// It ends after its first events, or after a while without one.
    Finishing,
}

impl Relief {
    /// Its name, if anything is done.
    #[must_use]
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Padding => Some("padding"),
            Self::Finishing => Some("finishing"),
        }
    }
}

/// What was tried on a path, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Trial {
    relief: Relief,
    /// Since when.
    since: Duration,
    /// Streams of it to whose clients nothing, or little, came through; and others.
    starved: Witnesses,
    fed: Witnesses,
    /// How many of both were noted.
    noted: u32,
    /// When padding did not help.
    padded_in_vain: Option<Duration>,
}

impl Trial {
    /// So many must have been starved, and half of all.
    const ENOUGH: u64 = 3;

    /// So many tell; what was before them counts half.
    const MOST: u32 = 32;

    /// For how long something is done, until it is tried without.
    const LASTS: Duration = Duration::from_secs(10 * 60);

    /// For how long it is remembered that padding does not help.
    const IN_VAIN: Duration = Duration::from_secs(3600);

    /// What is done for new streams.
    pub(super) fn relief(&self) -> Relief {
        self.relief
    }

    /// For how long that is done still, until it is tried without.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        (self.relief != Relief::None).then(|| (self.since + Self::LASTS).saturating_sub(now))
    }

    /// A stream for which this was done had everything come through.
    pub(super) fn fed(&mut self, by: Relief, prefix: Option<NonZeroU32>) {
        if by == self.relief && prefix.is_some() {
            self.fed.note(prefix);
            self.age();
        }
    }

    /// A stream for which this was done had nothing come through, or little of it.
    pub(super) fn starved(&mut self, by: Relief, prefix: Option<NonZeroU32>, now: Duration) {
        if by != self.relief || prefix.is_none() {
            return; // What it says is known, or it may be any other's word again.
        }
        self.starved.note(prefix);
        self.age();
        let starved = self.starved.count();
        if starved < Self::ENOUGH || starved < self.fed.count() {
            return;
        }
        let is_in_vain = self.padded_in_vain.is_some_and(|at| now < at + Self::IN_VAIN);
        let next = match self.relief {
            Relief::None if !is_in_vain => Relief::Padding,
            Relief::None | Relief::Finishing => Relief::Finishing,
            Relief::Padding => {
                self.padded_in_vain = Some(now);
                Relief::Finishing
            }
        };
        self.go_on_with(next, now);
    }

    /// Tries without, once in a while.
    pub(super) fn look(&mut self, now: Duration) {
        if self.relief != Relief::None && now >= self.since + Self::LASTS {
            self.go_on_with(Relief::None, now);
        }
    }

    fn go_on_with(&mut self, relief: Relief, now: Duration) {
        *self = Self { relief, since: now, padded_in_vain: self.padded_in_vain, ..Self::default() };
    }

    fn age(&mut self) {
        self.noted += 1;
        if self.noted > Self::MOST {
            self.noted /= 2;
            self.starved.halve();
            self.fed.halve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    /// Clients of as many prefixes.
    fn starve(trial: &mut Trial, times: u32, now: Duration) {
        (1..=times).for_each(|prefix| trial.starved(trial.relief(), NonZeroU32::new(prefix), now));
    }

    fn feed(trial: &mut Trial, times: u32, by: Relief) {
        (1..=times).for_each(|prefix| trial.fed(by, NonZeroU32::new(100 + prefix)));
    }

    #[test]
    fn padding_is_tried_before_streams_are_finished() {
        let mut trial = Trial::default();
        starve(&mut trial, 2, minutes(1));
        assert_eq!(trial.relief(), Relief::None);
        starve(&mut trial, 3, minutes(1));
        assert_eq!(trial.relief(), Relief::Padding);
        (1..9).for_each(|prefix| trial.starved(Relief::None, NonZeroU32::new(prefix), minutes(1)));
        assert_eq!(trial.relief(), Relief::Padding, "those that come late had none");
        starve(&mut trial, 3, minutes(2));
        assert_eq!(trial.relief(), Relief::Finishing);
    }

    #[test]
    fn where_padding_helps_nothing_else_is_done() {
        let mut trial = Trial::default();
        starve(&mut trial, 3, minutes(1));
        feed(&mut trial, 20, Relief::Padding);
        starve(&mut trial, 5, minutes(2));
        assert_eq!(trial.relief(), Relief::Padding);
    }

    #[test]
    fn a_few_that_are_starved_among_many_are_the_network() {
        let mut trial = Trial::default();
        for _ in 0..200 {
            feed(&mut trial, 3, Relief::None);
            starve(&mut trial, 1, minutes(1));
        }
        assert_eq!(trial.relief(), Relief::None);
    }

    #[test]
    fn it_is_tried_without_once_in_a_while_and_padding_that_did_not_help_is_passed_over() {
        let mut trial = Trial::default();
        starve(&mut trial, 6, minutes(1));
        trial.look(minutes(10));
        assert_eq!((trial.relief(), trial.left(minutes(10))), (Relief::Finishing, Some(minutes(1))));
        trial.look(minutes(11));
        assert_eq!((trial.relief(), trial.left(minutes(11))), (Relief::None, None));
        starve(&mut trial, 3, minutes(12));
        assert_eq!(trial.relief(), Relief::Finishing);
        trial.look(minutes(22));
        starve(&mut trial, 3, minutes(62));
        assert_eq!(trial.relief(), Relief::Padding, "an hour later it may have changed");
    }

    #[test]
    fn one_client_however_often_it_says_so_is_not_enough() {
        let mut trial = Trial::default();
        let prefix = NonZeroU32::new(7);
        (0..25).for_each(|_| trial.starved(Relief::None, prefix, minutes(1)));
        assert_eq!(trial.relief(), Relief::None);
        (8..10).for_each(|other| trial.starved(Relief::None, NonZeroU32::new(other), minutes(1)));
        assert_eq!(trial.relief(), Relief::Padding);
    }

    #[test]
    fn who_cannot_be_told_apart_is_not_believed() {
        let mut trial = Trial::default();
        (0..99).for_each(|_| trial.starved(Relief::None, None, minutes(1)));
        assert_eq!(trial.relief(), Relief::None);
    }
}
