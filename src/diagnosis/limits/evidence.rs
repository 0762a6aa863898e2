//! What is remembered of a path's streams: the most recent ones of each order of magnitude, with their exact values.
//!
//! Rings of exact values, not histograms: a window can then start at any value, be judged by what is recent, and count
//! moments and address prefixes. One ring per doubling, because a thousand page views of ten seconds must not push out
//! the ten streams that reached six minutes, which are all that is known about a timer of 350 s.
//!
//! Invariants: a ring holds at most [`RING`] entries, at most [`OF_ONE_PREFIX`] of one prefix, and at most
//! [`OF_ONE_SECOND`] that ended within one second.

use std::{num::NonZeroU16, time::Duration};

/// Streams remembered per doubling. At a hazard of 0.1 a full ring of streams at risk still has six cuts.
const RING: usize = 64;

/// A tenth of a ring: whoever holds one prefix pushes out only its own entries beyond that.
const OF_ONE_PREFIX: usize = RING / 10;

/// Streams of one ring that count of those ending within a second: a mass close must not push out everything else.
///
/// Where more than this end each second, a ring is a sample, and the hazard of a path whose streams are cut and outlive
/// at different rates is pulled towards a half. That makes a limit `Mixed`; it never makes one.
const OF_ONE_SECOND: usize = 4;

/// Rings: the first is below 4 s, each further one a doubling, the last is 1024 s and all above.
const RINGS: usize = 10;

/// Milliseconds. Nothing shorter is remembered: no timer of an intermediary is, and people leave that fast.
pub(super) const SHORTEST: u32 = 1_000;

/// Twelve days of milliseconds: what lasted longer counts as this, so that sums of values and widths do not overflow.
const LONGEST: u32 = 1 << 30;

/// Tenths of a second, the unit of moments here: 32 bits of them last 13 years.
pub(super) const SECOND: u32 = 10;

/// One stream: how long it lasted, or was idle, and whether that was the end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Milliseconds.
    pub(super) after: u32,
    /// Tenths of a second since the caller's start.
    pub(super) at: u32,
    /// Folded: that two prefixes in a ring of 64 share a value is rare, and costs one cut of evidence.
    pub(super) prefix: Option<NonZeroU16>,
    pub(super) kind: Kind,
}

/// What an entry tells of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was cut after so long.
    Cut,
    /// It was cut after so long, but not by the timer, as it had outlived more. Of the background only; what it had
    /// outlived is another entry. Without these the cuts just below a heartbeat's interval would stand out.
    Stray,
    /// It got this far.
    Outlived,
}

impl Entry {
    pub(super) fn new(after: Duration, at: Duration, prefix: Option<u64>, kind: Kind) -> Self {
        Self {
            after: u32::try_from(after.as_millis()).unwrap_or(LONGEST).min(LONGEST),
            at: u32::try_from(at.as_millis() / 100).unwrap_or(u32::MAX),
            prefix: prefix.map(fold),
            kind,
        }
    }

    /// When what ran for [`Self::after`] began, in tenths of a second; before the caller's start it is negative.
    pub(super) fn began(&self) -> i64 {
        i64::from(self.at) - i64::from(self.after / 100)
    }

    /// When it had lasted `milliseconds`. Those that get past a limit end later than those it cuts: what they tell of it
    /// is as old as the moment at which they passed it.
    pub(super) fn passed(&self, milliseconds: u32) -> i64 {
        self.began() + i64::from(milliseconds / 100)
    }
}

/// The streams of one path that are remembered for one timer.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    rings: [Ring; RINGS],
    /// The latest moment heard of.
    now: u32,
}

#[derive(Debug, Default)]
struct Ring {
    /// In the order in which they came, which is nearly that of their moments.
    entries: Vec<Entry>,
    /// All later entries are still here.
    complete_since: u32,
}

impl Evidence {
    /// Remembers one stream. Says whether it did: see [`OF_ONE_SECOND`].
    pub(super) fn add(&mut self, entry: Entry) -> bool {
        if entry.after < SHORTEST {
            return false;
        }
        self.now = self.now.max(entry.at);
        self.rings[ring_of(entry.after)].add(entry)
    }

    /// What was remembered as a cut was none: it got this far. Says whether it was there.
    pub(super) fn retract(&mut self, entry: Entry) -> bool {
        let of = &mut self.rings[ring_of(entry.after)].entries;
        let found = of.iter_mut().rev().find(|other| **other == entry);
        found.map(|found| found.kind = Kind::Outlived).is_some()
    }

    pub(super) fn forget(&mut self, gone: impl Fn(&Entry) -> bool) {
        for ring in &mut self.rings {
            ring.entries.retain(|entry| !gone(entry));
            if ring.entries.is_empty() {
                ring.entries = Vec::new();
            }
        }
    }

    /// All cuts and strays with `from ≤ after ≤ to`, by `after`.
    pub(super) fn cuts(&self, from: u32, to: u32) -> Vec<Entry> {
        let rings = &self.rings[ring_of(from)..=ring_of(to.max(from))];
        let inside = |entry: &&Entry| entry.kind != Kind::Outlived && (from..=to).contains(&entry.after);
        let mut cuts: Vec<Entry> = rings.iter().flat_map(|ring| ring.entries.iter()).filter(inside).copied().collect();
        cuts.sort_unstable_by_key(|entry| (entry.after, entry.at));
        cuts
    }

    /// Since when nothing with `from ≤ after ≤ to` was pushed out.
    pub(super) fn complete_since(&self, from: u32, to: u32) -> u32 {
        let rings = &self.rings[ring_of(from)..=ring_of(to.max(from))];
        rings.iter().map(|ring| ring.complete_since).max().unwrap_or(0)
    }

    /// All that reached `after` at `since` or later, each with the number of streams it stands for.
    ///
    /// That number is above one where a ring no longer reaches back to `since`: by time, as if the path had always been
    /// as busy as it is now, and at most eightfold, so that a burst is not taken for the rule.
    pub(super) fn reached(&self, after: u32, since: u32) -> impl Iterator<Item = (&Entry, f64)> {
        self.rings[ring_of(after)..].iter().flat_map(move |ring| {
            let whole = f64::from(self.now.saturating_sub(since).max(1));
            let kept = f64::from(self.now.saturating_sub(ring.complete_since.max(since)).max(1));
            let weight = (whole / kept).clamp(1.0, 8.0);
            let inside = move |entry: &&Entry| {
                entry.kind != Kind::Stray && entry.after >= after && entry.passed(after) >= since.into()
            };
            ring.entries.iter().filter(inside).map(move |entry| (entry, weight))
        })
    }

    /// The longest first, by rings; within a ring in no order.
    pub(super) fn longest_rings(&self) -> impl Iterator<Item = &[Entry]> {
        self.rings.iter().rev().map(|ring| ring.entries.as_slice())
    }

    /// How many entries the ring has that holds this value.
    pub(super) fn crowd(&self, after: u32) -> usize {
        self.rings[ring_of(after)].entries.len()
    }

    /// Heap bytes in use.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.rings.iter().map(|ring| ring.entries.capacity() * size_of::<Entry>()).sum()
    }
}

impl Ring {
    fn add(&mut self, entry: Entry) -> bool {
        let same_second = |other: &&Entry| other.at.abs_diff(entry.at) < SECOND;
        let (mut crowd, mut neighbours) = (0, 0);
        for other in self.entries.iter().rev().filter(same_second) {
            crowd += 1;
            let own = entry.prefix.is_some() && other.prefix == entry.prefix;
            neighbours += usize::from(own && other.kind == entry.kind);
        }
        // One prefix fills no second either, or a flood of it would keep all others out. By kind, as one stream may give
        // two entries.
        if crowd >= OF_ONE_SECOND || neighbours > 0 {
            return false;
        }
        let own = |other: &Entry| entry.prefix.is_some() && other.prefix == entry.prefix;
        if self.entries.iter().filter(|other| own(other)).count() >= OF_ONE_PREFIX {
            if let Some(oldest) = self.entries.iter().position(own) {
                self.entries.remove(oldest);
            }
        } else if self.entries.len() >= RING {
            let oldest = self.entries.remove(0);
            self.complete_since = self.complete_since.max(oldest.at.saturating_add(1));
        }
        self.entries.push(entry);
        true
    }
}

fn ring_of(after: u32) -> usize {
    let doublings = (after / 4_000).checked_ilog2().map_or(0, |log| log as usize + 1);
    doublings.min(RINGS - 1)
}

fn fold(hash: u64) -> NonZeroU16 {
    // The multiplier of Fibonacci hashing: also hashes that differ only in their low bits are spread.
    let [high, low, ..] = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    NonZeroU16::new(u16::from_be_bytes([high, low])).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(after: u32, at: u32, prefix: Option<u64>) -> Entry {
        Entry { after, at, prefix: prefix.map(fold), kind: Kind::Cut }
    }

    #[test]
    fn rings_are_doublings_from_four_seconds() {
        let ring = |after| ring_of(after);
        assert_eq!([ring(1_000), ring(3_999), ring(4_000), ring(7_999), ring(8_000)], [0, 0, 1, 1, 2]);
        assert_eq!([ring(1_023_999), ring(1_024_000), ring(u32::MAX)], [8, 9, 9]);
    }

    #[test]
    fn a_full_memory_is_less_than_eight_kibibytes() {
        let mut evidence = Evidence::default();
        for n in 0..100_000_u32 {
            evidence.add(entry(1_000 << (n % 12), n * 7, None));
        }
        assert!(evidence.heap() + size_of::<Evidence>() < 8 * 1024, "{}", evidence.heap() + size_of::<Evidence>());
        assert!(size_of::<Evidence>() < 400, "{}", size_of::<Evidence>());
    }

    #[test]
    fn short_streams_do_not_push_out_long_ones() {
        let mut evidence = Evidence::default();
        evidence.add(entry(350_000, 10_000, None));
        for n in 1..1_000_u32 {
            evidence.add(entry(9_000, 10_000 + n * SECOND, None));
        }
        assert_eq!(evidence.reached(300_000, 0).count(), 1);
    }

    #[test]
    fn of_one_second_only_a_few_are_kept() {
        let mut evidence = Evidence::default();
        let kept = (0..500).filter(|_| evidence.add(entry(7_000, 1_000, None))).count();
        assert_eq!(kept, OF_ONE_SECOND);
    }

    #[test]
    fn one_prefix_pushes_out_only_its_own() {
        let mut evidence = Evidence::default();
        for n in 0..50 {
            evidence.add(entry(60_000, n * SECOND, Some(u64::from(n))));
        }
        for n in 50..5_000 {
            evidence.add(entry(60_000, n * SECOND, Some(1_000_000)));
        }
        assert_eq!(evidence.crowd(60_000), 50 + OF_ONE_PREFIX);
    }
}
