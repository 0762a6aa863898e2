//! What stands in an event that was published to be measured: who sent it, which one it is, and when.
//!
//! It is plain text at the beginning of the data, so that every transport carries it as it stands:
//! `encke-bench RUN PUBLISHER NUMBER SENT `, then `x` up to the size that was asked for.

use std::fmt::Write as _;

const BEGINNING: &str = "encke-bench ";

/// The identity of a measured event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Drawn for each run, so that events of an earlier one are not taken for its own.
    pub(super) run: u64,
    /// Which of the publishers of the run, from 0.
    pub(super) publisher: u32,
    /// Its events, counted from 0.
    pub(super) number: u64,
    /// When it was sent: nanoseconds of the run.
    pub(super) sent: u64,
}

impl Stamp {
    /// The most bytes that a stamp takes.
    pub(super) const MAX_LEN: usize = BEGINNING.len() + 16 + 1 + 10 + 1 + 20 + 1 + 20 + 1;

    /// Data of `size` bytes that begin with the stamp; more if it does not fit.
    pub(super) fn data(self, size: usize) -> Vec<u8> {
        let Self { run, publisher, number, sent } = self;
        let mut text = String::with_capacity(size.max(Self::MAX_LEN));
        write!(text, "{BEGINNING}{run:016x} {publisher} {number} {sent} ").expect("a string takes every write");
        let mut data = text.into_bytes();
        data.resize(data.len().max(size), b'x');
        data
    }

    /// The stamp of an event, if it has one.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let rest = data.strip_prefix(BEGINNING.as_bytes())?;
        let text = &rest[..rest.len().min(Self::MAX_LEN)];
        let mut words = text.split(|byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let run = u64::from_str_radix(word()?, 16).ok()?;
        let stamp =
            Self { run, publisher: word()?.parse().ok()?, number: word()?.parse().ok()?, sent: word()?.parse().ok()? };
        words.next().map(|_| stamp) // A blank ends the last number: none that is cut is taken for whole.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_whatever_the_size_of_the_data() {
        let largest = Stamp { run: u64::MAX, publisher: u32::MAX, number: u64::MAX, sent: u64::MAX };
        let small = Stamp { run: 10, publisher: 0, number: 7, sent: 1 };
        for stamp in [small, largest] {
            for size in [0, Stamp::MAX_LEN, 100, 5000] {
                let data = stamp.data(size);
                assert_eq!(Stamp::read(&data), Some(stamp));
                assert!(data.len() == size || (size < Stamp::MAX_LEN && data.len() <= Stamp::MAX_LEN), "{size}");
            }
        }
        assert_eq!(small.data(44), b"encke-bench 000000000000000a 0 7 1 xxxxxxxxx");
    }

    #[test]
    fn other_events_have_none() {
        let whole = Stamp { run: 10, publisher: 0, number: 7, sent: 12 }.data(0);
        for data in [&b""[..], b"hello", b"encke-bench", b"encke-bench x 1 2 3 ", b"encke-bench 1 -1 2 3 "] {
            assert_eq!(Stamp::read(data), None, "{}", data.escape_ascii());
        }
        for cut in 0..whole.len() {
            assert_eq!(Stamp::read(&whole[..cut]), None, "cut at {cut}");
        }
    }
}
