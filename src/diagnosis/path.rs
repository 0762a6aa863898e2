//! What the streams of one path have taught about it.
//!
//! A path is the chain of intermediaries as far as it can be told from requests. Many share one; what is kept of it does not
//! grow with their number.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::heartbeat::Canaries;
use super::limits::{End, Limit, Timer};
use super::relief::Trial;
use super::signature::PathKey;
use super::table::Company;
use super::witnesses::Witnesses;
use super::{Departure, EndReason, Visitor};

/// A path by its place in the table. Small, as each stream has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathNumber(pub(super) u8);

impl PathNumber {
    /// Of all paths for which there is no place of their own.
    pub const OTHER: Self = Self(0);

    /// Its place.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One path.
#[derive(Debug)]
pub(super) struct Path {
    /// None: of all that have no place of their own.
    pub(super) key: Option<PathKey>,
    label: String,
    /// Streams that are open.
    pub(super) streams: u64,
    /// Streams that were opened, and those of them whose clients can be told apart by their addresses.
    pub(super) opened: u64,
    pub(super) told_apart: u64,
    /// Who came by it.
    pub(super) company: Company,
    /// By which transports somebody came.
    pub(super) transports: Vec<&'static str>,
    /// When somebody came by it last.
    pub(super) seen: Duration,
    /// How quiet a stream may be.
    pub(super) idle: Timer,
    /// So long a quiet is outlived, where no limit is known; as of a moment ago.
    pub(super) idle_at_least: Option<Duration>,
    /// Something was learnt of that since.
    is_stale: bool,
    /// Who tries how quiet a stream may be.
    pub(super) canaries: Canaries,
    /// What is done as it holds events back.
    pub(super) trial: Trial,
    /// How old a stream may become.
    pub(super) duration: Timer,
    /// Whether the latest request named a limit of its own: who sets `timeout: 0s` in Envoy has none any more.
    pub(super) names_limit: bool,
    /// How many ends each reason had, by its place in [`EndReason::ALL`].
    pub(super) ends: [u64; EndReason::ALL.len()],
    /// Streams whose client came back, and how long they were away together.
    pub(super) returns: (u64, Duration),
    /// What findings are made of: of the half hour that runs, and of the one before. A fault that was mended is none for long.
    lately: [Tally; 2],
    /// Ends by the other side in the last moments: when, and how old the stream was.
    recent: VecDeque<Recent>,
    /// How many there were in the last moments.
    rate: Rate,
    /// When many ended at once, oldest first.
    masses: VecDeque<Mass>,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    at: Duration,
    age: Duration,
    prefix: Option<NonZeroU32>,
}

/// What came of streams in some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Streams and polls that were opened.
    pub(super) opened: u64,
    /// How many ends each reason had, by its place in [`EndReason::ALL`].
    pub(super) ends: [u32; EndReason::ALL.len()],
    /// Clients that came back.
    pub(super) returns: u64,
    /// Those of them that had not been given what had been written, and how many events.
    pub(super) undelivered: (Witnesses, u64),
    /// Those that came back as if they had never been there: not even the beginning had arrived.
    pub(super) with_nothing: Witnesses,
    /// Clients that said that they had their stream; those of them that had it late; those to whom padding had to be sent
    /// before, and how much at most.
    pub(super) receipts: u64,
    pub(super) late: Witnesses,
    pub(super) padded: (Witnesses, u32),
    /// Those that had not what was written, though they would have said so.
    pub(super) unanswered: Witnesses,
    /// Those of the ends that any client can bring about by itself, for a finding.
    pub(super) forgotten: Witnesses,
    pub(super) left_open: Witnesses,
    /// A browser had as many streams at once as it opens connections.
    pub(super) starved_browser: bool,
    /// The limit that requests of streams named which ended at it (Envoy: `x-envoy-expected-rq-timeout-ms`).
    pub(super) hint: Option<Duration>,
    /// Those streams.
    pub(super) hinted: Witnesses,
}

/// Many ends at once.
#[derive(Clone, Copy, Debug)]
struct Mass {
    from: Duration,
    to: Duration,
    /// It took so many with it that it was one though nobody came back.
    is_large: bool,
}

/// How many ends there are, of late and usually.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// The last of these seconds.
    second: u64,
    /// The ends of each of the last 63 seconds, the newest first.
    counts: [u16; Self::SECONDS],
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(3);

    const SECONDS: usize = 63;

    /// One more end; answers how many there were in the last three seconds, and how many are usual in so many.
    fn count(&mut self, now: Duration) -> (u64, u64) {
        let passed = usize::try_from(now.as_secs().saturating_sub(self.second)).unwrap_or(usize::MAX);
        let passed = passed.min(Self::SECONDS);
        self.counts.rotate_right(passed);
        self.counts[..passed].fill(0);
        self.second = self.second.max(now.as_secs());
        self.counts[0] = self.counts[0].saturating_add(1);
        let sum = |counts: &[u16]| counts.iter().copied().map(u64::from).sum::<u64>();
        (sum(&self.counts[..3]), sum(&self.counts[3..]) / 20)
    }
}

impl Path {
    /// Ends so close to one another belong together: a proxy that is restarted lets go of all it has at once.
    const TOGETHER: Duration = Duration::from_secs(2);

    /// How soon after a write an end is one that the write has found out.
    const AT_ONCE: Duration = Duration::from_millis(250);

    /// How many ends make a mass, whatever their share.
    pub(super) const MASS: u64 = 5;

    /// From how many ends on, and half of all streams, it is one though nobody comes back.
    const LARGE: u64 = 20;

    /// How many ends are remembered as recent, of however many there are, and how many masses.
    const KEPT: (usize, usize) = (64, 16);

    pub(super) fn new(key: Option<PathKey>) -> Self {
        Self {
            key,
            label: key.map_or_else(|| "other".to_owned(), |key| key.to_string()),
            streams: 0,
            opened: 0,
            told_apart: 0,
            company: Company::default(),
            transports: Vec::new(),
            seen: Duration::ZERO,
            idle: Timer::default(),
            idle_at_least: None,
            is_stale: false,
            canaries: Canaries::default(),
            trial: Trial::default(),
            duration: Timer::default(),
            names_limit: false,
            ends: [0; EndReason::ALL.len()],
            returns: (0, Duration::ZERO),
            lately: [Tally::default(); 2],
            recent: VecDeque::new(),
            rate: Rate { second: 0, counts: [0; Rate::SECONDS] },
            masses: VecDeque::new(),
        }
    }

    /// Forgets what it was taught, as its intermediaries are not what they were. What was counted stays.
    pub(super) fn unlearn(&mut self) {
        let new = Self::new(self.key);
        let Self { idle, idle_at_least, is_stale, canaries, trial, duration, lately, recent, rate, masses, .. } = new;
        (self.idle, self.idle_at_least, self.is_stale, self.duration) = (idle, idle_at_least, is_stale, duration);
        (self.canaries, self.trial, self.lately) = (canaries, trial, lately);
        (self.recent, self.rate, self.masses) = (recent, rate, masses);
    }

    /// Its name, as metrics are labelled with it.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Notes an end that may be a timer's.
    pub(super) fn cut(&mut self, end: &Departure, visitor: &Visitor, now: Duration) {
        self.is_stale = true;
        self.note_mass(end, visitor, now);
        let when = ended(visitor.prefix, now);
        if end.idle < Self::AT_ONCE && end.quiet_before > Self::TOGETHER {
            // A write found it out: the other end may have left at any time in the quiet before. Some proxies tell of that
            // only then (HAProxy, Apache).
            return self.idle.outlived(end.outlived, when);
        }
        // What one timer explains teaches nothing of the other, but that it was outlived.
        let (at_idle, at_duration) = (self.is_at_idle_limit(end), self.is_at_duration_limit(end));
        if at_duration && !at_idle {
            self.idle.outlived(end.outlived, when);
        } else {
            self.idle.cut(end.idle, end.outlived, when);
        }
        // A stream that was silent from its beginning was as quiet as it was old: that is taken for its quiet. If it was its
        // age, streams that beat will tell.
        let was_silent = end.age.saturating_sub(end.idle) * 20 <= end.age;
        if at_idle && !at_duration || was_silent {
            self.duration.outlived(end.age, when);
        } else {
            self.duration.cut(end.age, Duration::ZERO, when);
        }
    }

    /// An end that was noted as one that may be a timer's was none: its client had left by itself.
    pub(super) fn retract(&mut self, end: &Departure, visitor: &Visitor, at: Duration) {
        self.is_stale = true;
        let when = ended(visitor.prefix, at);
        self.idle.retract(end.idle, when);
        self.duration.retract(end.age, when);
        self.recent.retain(|recent| (recent.at, recent.age) != (at, end.age));
    }

    /// Notes an end that is no timer's.
    pub(super) fn outlived(&mut self, end: &Departure, visitor: &Visitor, now: Duration) {
        self.is_stale = true;
        let when = ended(visitor.prefix, now);
        self.idle.outlived(end.outlived, when);
        self.duration.outlived(end.age, when);
    }

    /// Notes that a stream which is open got over such a quiet, or such an age.
    pub(super) fn outlives(
        &mut self,
        (quiet, age): (Option<Duration>, Option<Duration>),
        prefix: Option<NonZeroU32>,
        now: Duration,
    ) {
        self.is_stale = true;
        let end = ended(prefix, now);
        for (timer, outlived) in [(&mut self.idle, quiet), (&mut self.duration, age)] {
            if let Some(outlived) = outlived {
                timer.outlived(outlived, end);
            }
        }
    }

    /// Notes that a client came back that was away for so long.
    pub(super) fn came_back(&mut self, outage: Duration) {
        self.returns = (self.returns.0 + 1, self.returns.1 + outage);
        self.tally().returns += 1;
    }

    /// What came of streams lately; to be added to.
    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.lately[0]
    }

    /// The same of the last half hour, or a whole one.
    pub(super) fn lately(&self) -> Tally {
        let [mut all, before] = self.lately;
        all.ends.iter_mut().zip(before.ends).for_each(|(count, before)| *count = count.saturating_add(before));
        all.opened += before.opened;
        all.returns += before.returns;
        all.undelivered = (all.undelivered.0.and(&before.undelivered.0), all.undelivered.1 + before.undelivered.1);
        all.with_nothing = all.with_nothing.and(&before.with_nothing);
        all.receipts += before.receipts;
        all.late = all.late.and(&before.late);
        all.padded = (all.padded.0.and(&before.padded.0), all.padded.1.max(before.padded.1));
        all.unanswered = all.unanswered.and(&before.unanswered);
        all.forgotten = all.forgotten.and(&before.forgotten);
        all.left_open = all.left_open.and(&before.left_open);
        all.starved_browser |= before.starved_browser;
        all.hinted = all.hinted.and(&before.hinted);
        all.hint = all.hint.or(before.hint);
        all
    }

    /// With how many bytes a stream is to begin if that is to be let through: as many as it took, if that is known.
    pub(super) fn padding(&self) -> usize {
        const USUAL: u32 = 16 * 1024;
        const MOST: u32 = 64 * 1024;
        match self.lately().padded.1 {
            0 => USUAL,
            most => most.next_power_of_two().min(MOST),
        }
        .try_into()
        .unwrap_or(usize::MAX)
    }

    /// Half an hour is over.
    pub(super) fn turn(&mut self) {
        self.lately = [Tally::default(), self.lately[0]];
    }

    /// Looks what is outlived. Cost: a look at all that is remembered, if there is anything new.
    pub(super) fn look(&mut self, now: Duration) {
        self.trial.look(now);
        if std::mem::take(&mut self.is_stale) {
            self.idle_at_least = self.idle.at_least();
        }
    }

    /// Forgets what ended before this moment.
    pub(super) fn forget_older(&mut self, than: Duration) {
        self.idle.forget_older(than);
        self.duration.forget_older(than);
    }

    /// How quiet a stream may be. What is also the age that no stream outlives is a limit of that.
    pub(super) fn idle_limit(&self) -> Option<Limit> {
        let is_of_age = |idle: &Limit| self.duration.explains(idle.at);
        self.idle.limit().filter(|idle| !is_of_age(idle) && self.is_likely(idle))
    }

    /// How old a stream may become.
    pub(super) fn duration_limit(&self) -> Option<Limit> {
        self.duration.limit().filter(|limit| self.is_likely(limit))
    }

    /// Where no intermediary was seen, clients that end their streams after a fixed time, as probes do, are likelier than one;
    /// those that something cuts come back.
    fn is_likely(&self, limit: &Limit) -> bool {
        let is_seen = self.key.is_none_or(|key| key.hops() > 0);
        is_seen || self.returns.0 * 2 >= limit.cuts.into()
    }

    /// Whether a stream was as quiet as this path allows at most.
    pub(super) fn is_at_idle_limit(&self, end: &Departure) -> bool {
        self.idle.explains(end.idle) && self.idle_limit().is_some()
    }

    /// Whether a stream was as old as this path allows at most, or as its own request said.
    pub(super) fn is_at_duration_limit(&self, end: &Departure) -> bool {
        is_at_hint(end) || self.duration.explains(end.age) && self.duration_limit().is_some()
    }

    /// Whether others ended at the same age or quiet, and no limit explains that yet.
    pub(super) fn may_be_at_unknown_limit(&self, end: &Departure) -> bool {
        let is_explained = self.is_at_duration_limit(end) || self.is_at_idle_limit(end);
        !is_explained && (self.idle.may_cut(end.idle) || self.duration.may_cut(end.age))
    }

    fn note_mass(&mut self, end: &Departure, visitor: &Visitor, now: Duration) {
        // Nobody is blamed where nobody was seen: a program that is done closes all it had at once, too.
        if self.key.is_none_or(|key| key.hops() == 0) {
            return;
        }
        if end.age < Rate::WINDOW {
            return; // It was opened while others ended: a client that tries again and again is no restart.
        }
        while self.recent.front().is_some_and(|recent| recent.at + Self::TOGETHER < now) {
            self.recent.pop_front();
        }
        if self.recent.len() == Self::KEPT.0 {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { at: now, age: end.age, prefix: visitor.prefix });
        let (ends, usual) = self.rate.count(now);
        let is_share = ends * 5 >= self.streams + ends;
        // Where people come and go all the time, some leave together.
        if ends < Self::MASS + 4 * usual || !is_share || !self.is_of_many() {
            return;
        }
        let from = self.recent.front().map_or(now, |recent| recent.at);
        let is_large = ends >= Self::LARGE && ends >= self.streams;
        if let Some(mass) = self.masses.back_mut().filter(|mass| mass.to >= from) {
            (mass.to, mass.is_large) = (now, mass.is_large || is_large);
            return;
        }
        if self.masses.len() == Self::KEPT.1 {
            self.masses.pop_front();
        }
        self.masses.push_back(Mass { from, to: now, is_large });
    }

    /// Whether the recent ends are of streams of several ages and from several places: else it is one timer, or the network
    /// of one client. People who leave while a timer cuts many of one age make it no restart: three of four must not be alike.
    fn is_of_many(&self) -> bool {
        let mut ages: Vec<Duration> = self.recent.iter().map(|recent| recent.age).collect();
        ages.sort_unstable();
        let alike = |from: usize| {
            let oldest = ages[from] + Self::TOGETHER.max(ages[from] / 10);
            ages[from..].partition_point(|age| *age <= oldest)
        };
        let is_one_age = (0..ages.len()).any(|from| alike(from) * 4 >= ages.len() * 3);
        let mut prefixes = self.recent.iter().map(|recent| recent.prefix);
        let first = prefixes.next().flatten();
        let is_one_place = first.is_some() && prefixes.all(|prefix| prefix == first);
        !is_one_age && !is_one_place
    }

    /// Whether an end was one of many at once. Those of them that do not come back are people who leave together, if they are few,
    /// or were given something just before that may have told them to.
    pub(super) fn is_in_mass(&self, at: Duration, end: &Departure, came_back: bool) -> bool {
        let is_unasked = end.idle > 2 * Self::TOGETHER;
        let counts = |mass: &Mass| (mass.from..=mass.to).contains(&at) && (came_back || mass.is_large && is_unasked);
        self.masses.iter().any(counts)
    }
}

/// When a stream ended and whose it was, for a timer.
fn ended(prefix: Option<NonZeroU32>, now: Duration) -> End {
    End { at: now, prefix: prefix.map(|prefix| prefix.get().into()) }
}

/// Whether a stream was as old as its request said that it may become.
pub(super) fn is_at_hint(end: &Departure) -> bool {
    // It is of the hop that sent it, which begins to count a little earlier than we do.
    const EARLY: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_secs(1);
    end.time_limit.is_some_and(|limit| end.age + EARLY >= limit && end.age <= limit + LATE)
}
