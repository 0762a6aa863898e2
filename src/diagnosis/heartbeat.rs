//! The heartbeat that suits a path, and the canaries that find out how much longer it could be.
//!
//! In: what the operator set, the path's limit of idle time, and hashes of streams and sessions. Out: the interval that a
//! stream's hello announces. That is an upper bound for the whole life of the stream, so all is decided when it opens.
//! No heartbeat is sent here.

use crate::diagnosis::limits::{Grade, Limit};
use std::{collections::VecDeque, time::Duration};

/// Of a limit that nobody outlives: late enough to be cheap, and a fifth is left for what the path delays.
const OF_CERTAIN: f64 = 0.8;

/// Of a limit that only a part is subject to: others there may be subject to a lower one that is not known yet.
const OF_MIXED: f64 = 0.5;

/// Half the spread from stream to stream, so that streams opened together do not beat together.
const JITTER: f64 = 0.1;

/// However short a limit is, nobody is written to more often: below it, streams are not worth their cost.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct BeatBounds {
    /// Never more often than this, unless the path's limit is shorter. 5 s by default.
    pub least: Duration,
    /// Up to this on paths whose limit is known; `None`: never above the default.
    pub most: Option<Duration>,
}

impl Default for BeatBounds {
    fn default() -> Self {
        Self { least: Duration::from_secs(5), most: None }
    }
}

/// An interval, and whether the path lets it be what the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interval {
    /// Within the bounds.
    Fits(Duration),
    /// The path's limit is so short that the interval must be below the operator's least. Worth a finding.
    TooShort(Duration),
}

impl Interval {
    /// The interval itself.
    #[must_use]
    pub(super) fn every(self) -> Duration {
        match self {
            Self::Fits(every) | Self::TooShort(every) => every,
        }
    }
}

/// The interval for one stream of a path with this idle limit, which its hello announces.
///
/// Without a limit it is the default. With one it is 0.8 of a `Certain` limit or 0.5 of a `Mixed` one, if that is less
/// than the default, or if the operator allows more by `most`. Never above 0.8 of the limit, nor below `least` unless
/// the limit leaves nothing else. `stream`, a hash, spreads it by a tenth to each side; where a bound would be
/// overstepped the spread is as wide, but all of it within.
#[must_use]
pub(super) fn interval(default: Duration, bounds: BeatBounds, limit: Option<&Limit>, stream: u64) -> Interval {
    let ceiling = limit.map_or(Duration::MAX, |limit| limit.at.mul_f64(OF_CERTAIN).max(SHORTEST));
    let share = limit.map(|limit| match limit.grade {
        Grade::Certain => limit.at.mul_f64(OF_CERTAIN),
        Grade::Mixed => limit.at.mul_f64(OF_MIXED),
    });
    let allowed = if limit.is_some() { bounds.most.unwrap_or(default).max(default) } else { default };
    let allowed = allowed.max(bounds.least);
    let (low, high) = (bounds.least.min(ceiling), allowed.min(ceiling));
    let every = spread(share.unwrap_or(default).clamp(low, high), low.max(SHORTEST.min(high)), high, stream);
    if ceiling < bounds.least { Interval::TooShort(every) } else { Interval::Fits(every) }
}

/// A value from a tenth below to a tenth above, or from a range as wide that lies within `low` and `high`.
fn spread(every: Duration, low: Duration, high: Duration, stream: u64) -> Duration {
    let half = every.mul_f64(JITTER);
    let mut from = every.saturating_sub(half).max(low);
    let to = from.saturating_add(2 * half).min(high);
    from = from.min(to.saturating_sub(2 * half).max(low));
    // 53 bits are what an `f64` holds; `unit` is in [0, 1).
    let bits = stream.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let unit = f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0);
    from + to.saturating_sub(from).mul_f64(unit)
}

/// The few streams of a quiet path that wait longer, so that its limit is learnt.
///
/// With the default heartbeat no stream is ever idle for long, and a limit above it is never seen. So one stream in
/// fifty, at most, of those known to resume well, is given a longer interval. Bounded: [`REMEMBERED`] hashes, 4 KiB.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    /// Sessions that were canaries, the latest last. One comes again only after 512 others, which is 25 600 streams.
    sessions: VecDeque<u64>,
    /// Streams opened since the last canary.
    since_last: u32,
    /// What the next canary tries; none before the first.
    gap: Option<Duration>,
    /// Canaries that outlived it.
    successes: u32,
    /// When the next looks whether a limit that is known is still there.
    looks_again: Duration,
}

/// One canary in so many streams: 2 %, and never two in less, however long there was none.
const ONE_IN: u32 = 50;

/// Sessions remembered.
const REMEMBERED: usize = 512;

/// How often a limit that is known is tried: under a heartbeat below it nothing else would show that its timer was raised.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// "Several": canaries that must outlive a gap before a longer one is tried.
const SUCCESSES: u32 = 3;

/// Factor from one gap to the next.
const STEP: f64 = 1.25;

/// No canary waits longer: at five minutes a heartbeat costs nothing any more.
const LONGEST: Duration = Duration::from_secs(300);

impl Canaries {
    /// A stream opens: the interval it is to announce if it is to be a canary.
    ///
    /// `session` is a hash of the session, only of one that has already resumed without loss: a canary may be cut, and
    /// its reader must not notice. `known` is what streams of the path outlive anyway: the default interval, or what
    /// the timer says they do. Where a limit is known, one now and then waits longer than that: it may have been raised.
    pub(super) fn open(
        &mut self,
        session: Option<u64>,
        known: Duration,
        limit: Option<&Limit>,
        now: Duration,
    ) -> Option<Duration> {
        self.since_last = self.since_last.saturating_add(1);
        if let Some(limit) = limit {
            self.gap = None;
            self.successes = 0;
            return session.and_then(|session| self.look_again(session, limit, now));
        }
        let session = session?;
        let floor = stepped(known);
        let gap = self.gap.map_or(floor, |gap| gap.max(floor)).min(LONGEST);
        let settled = gap >= LONGEST && self.successes >= SUCCESSES;
        if self.since_last < ONE_IN || gap <= known || settled || self.sessions.contains(&session) {
            return None;
        }
        if self.gap != Some(gap) {
            self.gap = Some(gap);
            self.successes = 0;
        }
        self.chose(session);
        Some(gap)
    }

    /// A stream that waits longer than the limit that is known, so that one is missed no longer than it must be.
    fn look_again(&mut self, session: u64, limit: &Limit, now: Duration) -> Option<Duration> {
        let is_due = now >= self.looks_again && self.since_last >= ONE_IN;
        // Of a limit that is not for all, others outlive it anyway.
        if !is_due || limit.grade != Grade::Certain || limit.at >= LONGEST || self.sessions.contains(&session) {
            return None;
        }
        self.looks_again = now + LOOK_AGAIN;
        self.chose(session);
        Some(stepped(limit.at))
    }

    fn chose(&mut self, session: u64) {
        if self.sessions.len() >= REMEMBERED {
            self.sessions.pop_front();
        }
        self.sessions.push_back(session);
        self.since_last = 0;
    }

    /// A canary outlived the gap it was given; once for each canary.
    pub(super) fn outlived(&mut self, gap: Duration) {
        // One that was given an earlier gap says nothing about the next.
        if self.gap != Some(gap) {
            return;
        }
        self.successes += 1;
        if self.successes >= SUCCESSES && gap < LONGEST {
            self.gap = Some(stepped(gap).min(LONGEST));
            self.successes = 0;
        }
    }

    /// A canary was cut while it was idle, within the gap it was given.
    pub(super) fn died(&mut self, gap: Duration) {
        // Others that are out with the same gap die of the same limit: it is halved once.
        if self.gap.is_some_and(|now| gap >= now) && self.gap.is_some_and(|now| gap.mul_f64(0.99) <= now.mul_f64(STEP))
        {
            self.gap = Some(gap / 2);
            self.successes = 0;
        }
    }
}

/// The next longer gap, in whole milliseconds: it is compared with what streams were given.
fn stepped(gap: Duration) -> Duration {
    let milliseconds = u64::try_from(gap.mul_f64(STEP).as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests;
