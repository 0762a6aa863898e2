//! The limits of a path: timers of intermediaries, inferred from how the path's streams ended.
//!
//! In: each stream that was cut by its peer, and each that got further than a timer would have let it. Out: the
//! [`Limit`], or what it is at least. One [`Timer`] per path for idle time, one for the age of streams.
//!
//! What misled simpler rules, and what is done about it:
//! - People leave at any time, and with a heartbeat of H all idle ages lie below H. So a window must be far denser than
//!   its flanks, and whoever has *outlived* more than it lasted this time was not cut by a timer.
//! - A mass close ends hundreds at one idle age, that of the last broadcast. So moments are counted, not cuts.
//! - One client can open many streams. So one address prefix is at most a tenth of the evidence.
//! - Operators change timers. So the latest cuts are judged first, with what ended since; a limit goes when more streams
//!   in a row got past it than its hazard allows, and its evidence with it.
//!
//! Not told apart: a client that itself reconnects after a fixed time.

mod evidence;
mod judge;
#[cfg(test)]
mod tests;

use evidence::{Entry, Evidence, Kind};
use judge::{ENOUGH_CUTS, Found, SHORTEST_LIMIT, judge, outlived_since_last_cut};
use std::{mem, time::Duration};

/// When a stream ended, and whose it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Since any start that is the same for the whole timer; it should not go back.
    pub(super) at: Duration,
    /// A hash of the address prefix that the client came from: of /24 or /48. `None` where it is not known, or where
    /// many clients are known to share it: such an end stands for itself.
    pub(super) prefix: Option<u64>,
}

/// What the streams of one path tell of one timer of it.
///
/// A few hundred bytes when new, less than 8 KiB when full. An end costs about a microsecond; to judge it, up to a
/// millisecond where there are many cuts, which is why only some are judged there.
#[derive(Debug, Default)]
pub(super) struct Timer {
    evidence: Evidence,
    found: Option<Found>,
    /// Ends since it was last judged.
    unjudged: u32,
}

/// How sure a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Nearly nobody outlives it: less than 5 %.
    Certain,
    /// Only a part of the path's streams are subject to it.
    Mixed,
}

/// A timer that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The earliest of the cuts: timers never fire early.
    pub at: Duration,
    /// The latest of them.
    pub latest: Duration,
    /// Whether all streams are subject to it.
    pub grade: Grade,
    /// Of those that reached it, the share that was cut there.
    pub hazard: f64,
    /// The evidence: the recent cuts that count, with at most two of one moment.
    pub cuts: u32,
    /// When the last stream was cut there, by the moments of the ends, to a tenth of a second.
    pub last_cut: Duration,
}

impl Timer {
    /// A stream was cut by its peer after this long: idle so long for an idle timer, this old for one of duration.
    ///
    /// `outlived` is the longest gap that the same stream had got over before (zero for duration). No stream is cut by
    /// an idle timer that it has outlived, so such a cut counts as that instead. Do not report it a second time.
    pub(super) fn cut(&mut self, after: Duration, outlived: Duration, end: End) {
        // A tenth and a second, as a timer that jitters may let the same stream pass once.
        let refuted = outlived > after + after / 10 && outlived > after + Duration::from_secs(1);
        // With a short limit a second is too much to allow, so a limit that stands says it better.
        let passed = self.found.is_some_and(|found| found.explains(millis(after)) && millis(outlived) > found.upper());
        if refuted || passed {
            self.outlived(outlived, end);
            self.evidence.add(Entry::new(after, end.at, end.prefix, Kind::Stray));
            return;
        }
        let entry = Entry::new(after, end.at, end.prefix, Kind::Cut);
        if self.evidence.add(entry) {
            self.judge_cut(entry);
        }
    }

    /// What was noted as a cut was none, as is known now: its client had left by itself.
    pub(super) fn retract(&mut self, after: Duration, end: End) {
        let was_cut = self.evidence.retract(Entry::new(after, end.at, end.prefix, Kind::Cut));
        if was_cut && self.explains(after) {
            self.judge_again();
        }
    }

    /// A stream outlived this long: its largest gap, or its age at an end that the timer did not cause.
    ///
    /// Once a stream, when it ends; and once more, while it is open, when it gets past [`Limit::latest`]. Otherwise
    /// streams that now live for days would keep a limit standing that is no more.
    pub(super) fn outlived(&mut self, longest: Duration, end: End) {
        let entry = Entry::new(longest, end.at, end.prefix, Kind::Outlived);
        if self.evidence.add(entry) {
            self.judge_survivor(entry);
        }
    }

    /// What was found. Costs nothing: ends are judged as they come.
    #[must_use]
    pub(super) fn limit(&self) -> Option<Limit> {
        self.found.map(|found| Limit {
            at: Duration::from_millis(found.at.into()),
            latest: Duration::from_millis(found.latest.into()),
            grade: found.grade,
            hazard: found.hazard,
            cuts: found.cuts,
            last_cut: Duration::from_millis(u64::from(found.last_cut) * 100),
        })
    }

    /// Whether a stream cut after this long was cut by the limit.
    #[must_use]
    pub(super) fn explains(&self, after: Duration) -> bool {
        self.found.is_some_and(|found| found.explains(millis(after)))
    }

    /// Whether several were cut after so long: it may be a limit that is not known yet.
    #[must_use]
    pub(super) fn may_cut(&self, after: Duration) -> bool {
        let (after, beside) = (millis(after), millis(after) / 32);
        after >= SHORTEST_LIMIT && self.evidence.cuts(after - beside, after + beside).len() > 1
    }

    /// What enough streams have reached while no limit is known: the limit, if there is one, is above this.
    ///
    /// "Enough" is as many as would make a limit, of as many prefixes. A limit for a small part of the streams may still
    /// be below. Costs a look at all that is remembered.
    #[must_use]
    pub(super) fn at_least(&self) -> Option<Duration> {
        if self.found.is_some() {
            return None;
        }
        let mut reached: Vec<Entry> = Vec::new();
        for ring in self.evidence.longest_rings() {
            let mut ring = ring.to_vec();
            ring.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.after));
            for entry in ring {
                if entry.kind == Kind::Stray {
                    continue;
                }
                if entry.prefix.is_none() || reached.iter().all(|other| other.prefix != entry.prefix) {
                    reached.push(entry);
                }
                if reached.len() >= ENOUGH_CUTS as usize {
                    return Some(Duration::from_millis(entry.after.into()));
                }
            }
        }
        None
    }

    /// Forgets what ended before this moment, for a path that is hardly used: what is rare is not pushed out by news.
    ///
    /// A week is long enough. A limit goes with its evidence, and with a heartbeat below it nothing new comes of it.
    pub(super) fn forget_older(&mut self, than: Duration) {
        let than = Entry::new(Duration::ZERO, than, None, Kind::Outlived).at;
        self.evidence.forget(|entry| entry.at < than);
        self.judge_again();
    }

    fn judge_cut(&mut self, cut: Entry) {
        self.unjudged += 1;
        if let Some(found) = self.found {
            if found.explains(cut.after) {
                self.found = Some(Found { last_cut: found.last_cut.max(cut.at), ..found });
            } else if cut.after > found.at {
                return self.judge_survivor(cut);
            }
        }
        // Where little is known each cut may be the one that decides.
        let standing = self.found.is_some_and(|found| found.explains(cut.after));
        let patience = if standing { 4 * PATIENCE } else { PATIENCE };
        if self.unjudged < patience && self.evidence.crowd(cut.after) >= FEW {
            return;
        }
        self.unjudged = 0;
        let news = judge(&self.evidence, cut.after, standing);
        match (self.found, news) {
            (None, _) => self.found = news,
            // The lower of two, as a heartbeat that suits it suits both.
            (Some(old), Some(new)) if standing || new.at < old.at => self.found = Some(new),
            (Some(_), _) => {}
        }
    }

    /// A stream got as far as `entry`: does the limit below it still stand?
    fn judge_survivor(&mut self, entry: Entry) {
        let Some(found) = self.found.filter(|found| entry.after > found.upper()) else { return };
        // So many in a row that it would be chance once in ten thousand: (1 − hazard)ⁿ < e⁻⁹. Ten even if all were cut,
        // since streams of one kind come in clumps, and no more than the rings are sure to hold.
        let patience = (9.0 / found.steady).clamp(10.0, 60.0);
        if outlived_since_last_cut(&self.evidence, &found) >= patience {
            // With its evidence, or a single stray cut would raise it from the dead.
            self.evidence.forget(|entry| entry.kind != Kind::Outlived && found.explains(entry.after));
            return self.judge_again();
        }
        self.unjudged += 1;
        if self.unjudged >= PATIENCE {
            self.unjudged = 0;
            match judge(&self.evidence, found.at, true) {
                Some(new) => {
                    let last_cut = found.last_cut.max(new.last_cut);
                    self.found = Some(Found { last_cut, steady: found.steady, ..new });
                }
                None => self.judge_again(),
            }
        }
    }

    /// Looks at all that is remembered for the lowest limit in it.
    #[cold]
    fn judge_again(&mut self) {
        let before = mem::take(&mut self.found);
        self.unjudged = 0;
        let mut looked_at = 0;
        for cut in self.evidence.cuts(0, u32::MAX) {
            // Windows a hundredth apart hold the same cuts.
            if cut.after < looked_at {
                continue;
            }
            looked_at = cut.after + cut.after / 100;
            let standing = before.is_some_and(|before| before.explains(cut.after));
            self.found = judge(&self.evidence, cut.after, standing);
            if self.found.is_some() {
                return;
            }
        }
    }
}

/// Ends between two judgements where much is known already; four times as many if they only confirm what is known.
const PATIENCE: u32 = 4;

/// A ring with fewer entries than this is judged at each cut.
const FEW: usize = 24;

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
