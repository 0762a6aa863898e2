//! Which runs of the log there were, and so what a cursor of each of them means.

use crate::event::{Cursor, Epoch, Offset};

/// The runs of one log by rising first offset. Never empty.
///
/// Each run's last offset is where the next one begins, less one: a cursor of an earlier run stays good up to there, and
/// beyond it names events that were lost with that run (a power cut, a restored backup), never other ones.
#[derive(Clone, Debug)]
pub struct Epochs(Vec<(Epoch, Offset)>);

/// What a cursor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// This offset, of a run whose events up to there are these.
    Known(Offset),
    /// An offset past the end of a known run.
    Ahead,
    /// A run that is not known.
    Unknown,
}

impl Epochs {
    /// How many runs are remembered. Those that stored nothing are forgotten first, as hardly any cursor names them.
    pub const MAX: usize = 4096;

    /// The table with one run, which begins at `first`.
    #[must_use]
    pub fn new(epoch: Epoch, first: Offset) -> Self {
        Self(vec![(epoch, first)])
    }

    /// Appends a run that begins at `first`; offsets never fall. If there are too many, one is forgotten and named: the
    /// oldest that stored nothing, or else the oldest.
    pub fn begin(&mut self, epoch: Epoch, first: Offset) -> Option<Epoch> {
        debug_assert!(self.0.last().is_none_or(|&(_, before)| before <= first), "runs follow one another");
        self.0.push((epoch, first));
        let too_many = self.0.len() > Self::MAX;
        let empty = || self.0.windows(2).position(|runs| runs[0].1 == runs[1].1).unwrap_or(0);
        too_many.then(empty).map(|at| self.0.remove(at).0)
    }

    /// The runs: name and first offset.
    pub fn iter(&self) -> impl Iterator<Item = (Epoch, Offset)> + '_ {
        self.0.iter().copied()
    }

    /// The cursor of the event at `offset`.
    #[must_use]
    pub fn cursor(&self, offset: Offset) -> Cursor {
        let after = self.0.partition_point(|&(_, first)| first <= offset);
        let (epoch, _) = match after {
            // Before the first event of the log: the newest of the runs that begin there, as the others were empty.
            0 => self.0[self.0.partition_point(|&(_, first)| first <= self.0[0].1) - 1],
            _ => self.0[after - 1],
        };
        Cursor { epoch, offset }
    }

    /// What `cursor` names in a log whose newest offset is `last`.
    #[must_use]
    pub fn resolve(&self, cursor: Cursor, last: Offset) -> Resolved {
        let Some(at) = self.0.iter().rposition(|&(epoch, _)| epoch == cursor.epoch) else {
            return Resolved::Unknown;
        };
        let run_ends = self.0.get(at + 1).map_or(last, |&(_, next)| next - 1);
        if cursor.offset <= run_ends { Resolved::Known(cursor.offset) } else { Resolved::Ahead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(name: &str) -> Epoch {
        Epoch::parse(name).expect("an epoch")
    }

    fn three_runs() -> Epochs {
        let mut epochs = Epochs::new(epoch("aaaaaaaa"), 1);
        epochs.begin(epoch("bbbbbbbb"), 11);
        epochs.begin(epoch("cccccccc"), 11); // The second run stored nothing.
        epochs
    }

    #[test]
    fn cursors_of_earlier_runs_are_good_up_to_their_last_offset() {
        let epochs = three_runs();
        let resolve = |name: &str, offset| epochs.resolve(Cursor { epoch: epoch(name), offset }, 15);
        assert_eq!(resolve("aaaaaaaa", 10), Resolved::Known(10));
        assert_eq!(resolve("aaaaaaaa", 11), Resolved::Ahead);
        assert_eq!(resolve("bbbbbbbb", 10), Resolved::Known(10));
        assert_eq!(resolve("bbbbbbbb", 11), Resolved::Ahead);
        assert_eq!(resolve("cccccccc", 15), Resolved::Known(15));
        assert_eq!(resolve("cccccccc", 16), Resolved::Ahead);
        assert_eq!(resolve("dddddddd", 1), Resolved::Unknown);
    }

    #[test]
    fn a_run_that_stored_nothing_is_forgotten_first() {
        let mut epochs = three_runs();
        for n in 3..Epochs::MAX as u64 {
            assert_eq!(epochs.begin(Epoch::from_random(n), 11 + n), None);
        }
        assert_eq!(epochs.begin(epoch("zzzzzzzz"), 9_999), Some(epoch("bbbbbbbb")));
        assert_eq!(epochs.begin(epoch("yyyyyyyy"), 10_000), Some(epoch("aaaaaaaa")));
        assert_eq!(epochs.iter().count(), Epochs::MAX);
    }

    #[test]
    fn an_event_keeps_the_cursor_of_its_run() {
        let epochs = three_runs();
        assert_eq!(epochs.cursor(10).to_string(), "aaaaaaaa-10");
        assert_eq!(epochs.cursor(11).to_string(), "cccccccc-11");
        assert_eq!(epochs.cursor(0).to_string(), "aaaaaaaa-0");
    }

    #[test]
    fn before_the_first_event_the_newest_run_speaks() {
        let mut epochs = Epochs::new(epoch("aaaaaaaa"), 1);
        epochs.begin(epoch("bbbbbbbb"), 1);
        assert_eq!(epochs.cursor(0).to_string(), "bbbbbbbb-0");
        assert_eq!(epochs.resolve(Cursor { epoch: epoch("aaaaaaaa"), offset: 0 }, 0), Resolved::Known(0));
    }
}
