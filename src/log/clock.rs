//! What time it is, and how far that may be believed.
//!
//! The wall clock says when an event was stored, but it can be set to anything at any moment. The steady clock only says
//! how much time has gone by, and is believed. When the two part by more than a minute from one look to the next, the
//! wall clock has jumped, and there are two answers:
//!
//! - *Stored time* goes on by the steady clock until the wall clock is back, or has kept its new time for ten minutes.
//!   So a short jump leaves no trace, and a lasting one (a machine that slept, a clock set right) is followed.
//! - *Trimming by age* leaves every forward jump out of account until the retention age has gone by since stored time
//!   followed it. By then all that was stored before is that old by the steady clock too. So no jump deletes anything early; what was stored
//!   before a jump that was real goes late by as much.
//!
//! What went on while the log was closed is not known. If the newest event is older than the retention age when the log
//! opens, the wall clock must keep going for ten minutes before anything is trimmed by it. If the newest event lies in
//! the future, trimming goes by the wall clock, which is the earlier of the two.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::Timestamp;

/// Where a store reads the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where a store reads how much time has gone by since some moment. Never goes back, and nobody can set it.
pub type Steady = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The wall clock of the machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    })
}

/// The monotonic clock of the machine.
#[must_use]
pub fn steady_clock() -> Steady {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

/// Both clocks, and what became of the trust in the first. All figures are milliseconds.
pub(super) struct Trusted {
    wall: Clock,
    steady: Steady,
    /// The retention age.
    age: i64,
    last: Reading,
    /// Stored time is this plus the steady clock.
    base: i64,
    /// The forward jumps that trimming by age leaves out of account, oldest first.
    ahead: Vec<Ahead>,
    /// The wall clock has jumped, and is not followed yet.
    jumped: Option<Jumped>,
}

/// What a look at the clocks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// The time for events stored now.
    pub(super) stored: Timestamp,
    /// The time by which old events are trimmed; never ahead of the wall clock.
    pub(super) trimming: Timestamp,
}

#[derive(Clone, Copy)]
struct Reading {
    wall: i64,
    steady: i64,
}

impl Reading {
    /// By how much more the wall clock went on than the steady one.
    fn moved_since(self, before: Self) -> i64 {
        (self.wall - before.wall) - (self.steady - before.steady)
    }
}

#[derive(Clone, Copy)]
struct Ahead {
    by: i64,
    /// Until when, by the steady clock; not known before stored time follows.
    until: Option<i64>,
}

struct Jumped {
    /// When it did so last, by the steady clock.
    at: i64,
    /// What was left out of account before it.
    ahead: Vec<Ahead>,
}

impl Trusted {
    /// How far the clocks may part from one look to the next. Less is not worth a word: a day is the least anyone keeps.
    const APART: i64 = 60_000;
    /// How long the wall clock must keep its new time until it is followed.
    const SETTLED: i64 = 600_000;
    /// How many jumps are told apart. More are taken together, as if all of them were as late as the last.
    const JUMPS: usize = 64;

    /// For a log that keeps events for `age`, and whose newest event was stored at `newest`, if it has any.
    pub(super) fn new(wall: Clock, steady: Steady, age: Duration, newest: Option<Timestamp>) -> Self {
        let last = read(&wall, &steady);
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let since_newest = newest.map_or(0, |newest| last.wall - milliseconds(newest));
        let mut ahead = Vec::new();
        if since_newest > age {
            tracing::warn!("the newest event is older than the retention age; trimming by age waits for ten minutes");
            ahead.push(Ahead { by: since_newest, until: Some(last.steady + Self::SETTLED) });
        } else if since_newest < -Self::APART {
            tracing::warn!(
                seconds = -since_newest / 1000,
                "the newest event was stored in the future; new ones get its time until the clock has passed it"
            );
        }
        Self { wall, steady, age, last, base: last.wall - last.steady, ahead, jumped: None }
    }

    /// Looks at both clocks.
    pub(super) fn look(&mut self) -> Now {
        let mut now = Reading { wall: milliseconds((self.wall)()), steady: steady_milliseconds((self.steady)()) };
        if now.moved_since(self.last).abs() > PAUSE {
            now = read(&self.wall, &self.steady); // It may be that time went by between the one and the other.
        }
        let moved = now.moved_since(self.last);
        self.last = now;
        if moved.abs() > Self::APART {
            self.note_jump(moved, now.steady);
        }
        let back = (now.wall - now.steady - self.base).abs() <= Self::APART;
        let settled = self.jumped.as_ref().is_none_or(|jumped| now.steady - jumped.at >= Self::SETTLED);
        if back || settled {
            self.base = now.wall - now.steady;
            match self.jumped.take() {
                Some(jumped) if back => {
                    tracing::info!("the clock is back where it was before it jumped");
                    self.ahead = jumped.ahead;
                }
                Some(_) => {
                    tracing::warn!("the clock has kept its new time for ten minutes; new events get that time");
                    let until = now.steady.saturating_add(self.age);
                    self.ahead.iter_mut().for_each(|ahead| _ = ahead.until.get_or_insert(until));
                }
                None => {}
            }
        }
        self.ahead.retain(|ahead| ahead.until.is_none_or(|until| until > now.steady));
        let ahead = self.ahead.iter().fold(0, |sum: i64, ahead| sum.saturating_add(ahead.by));
        Now { stored: timestamp(self.base + now.steady), trimming: timestamp(now.wall.saturating_sub(ahead)) }
    }

    fn note_jump(&mut self, moved: i64, steady: i64) {
        tracing::warn!(
            seconds = moved / 1000,
            "the clock has jumped; stored times and trimming by age go on as if it had not, until it is back or stays"
        );
        match &mut self.jumped {
            Some(jumped) => jumped.at = steady,
            None => self.jumped = Some(Jumped { at: steady, ahead: self.ahead.clone() }),
        }
        if moved > 0 {
            self.ahead.push(Ahead { by: moved, until: None });
            if self.ahead.len() > Self::JUMPS {
                let oldest = self.ahead.remove(0);
                self.ahead[0].by = self.ahead[0].by.saturating_add(oldest.by);
            }
            return;
        }
        let mut back = -moved;
        while let Some(newest) = self.ahead.last_mut() {
            if newest.by > back {
                newest.by -= back;
                return;
            }
            back -= newest.by;
            self.ahead.pop();
        }
    }
}

/// Both clocks at the same moment: again, if time went by between the one and the other.
fn read(wall: &Clock, steady: &Steady) -> Reading {
    loop {
        let before = steady();
        let time = wall();
        let after = steady();
        let (before, after) = (steady_milliseconds(before), steady_milliseconds(after));
        if after - before <= PAUSE {
            return Reading { wall: milliseconds(time), steady: after };
        }
    }
}

/// How much time may go by between one clock and the other, if they are to be read at the same moment.
const PAUSE: i64 = 1_000;

/// Later times are taken for this one, so that sums of a few cannot overflow.
const FAR: i64 = i64::MAX / 8;

fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(FAR).min(FAR)
}

fn steady_milliseconds(steady: Duration) -> i64 {
    i64::try_from(steady.as_millis()).unwrap_or(FAR).min(FAR)
}

fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp(u64::try_from(milliseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::contract::TestClock;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
    const TEN_MINUTES: Duration = Duration::from_secs(600);
    const START: u64 = 1_700_000_000_000;

    fn trusted(newest: Option<u64>) -> (Trusted, TestClock) {
        let clock = TestClock::default();
        clock.set(START);
        (Trusted::new(clock.clock(), clock.steady(), WEEK, newest.map(Timestamp)), clock)
    }

    /// What a look says, as time since the start: of stored time, and of trimming.
    fn look(trusted: &mut Trusted) -> (Duration, Duration) {
        let Now { stored, trimming } = trusted.look();
        let since = |time: Timestamp| Duration::from_millis(time.0.saturating_sub(START));
        (since(stored), since(trimming))
    }

    #[test]
    fn time_that_goes_by_on_both_clocks_is_believed_however_much() {
        let (mut trusted, clock) = trusted(None);
        clock.advance(YEAR);
        assert_eq!(look(&mut trusted), (YEAR, YEAR));
    }

    #[test]
    fn small_steps_of_the_wall_clock_are_followed() {
        let (mut trusted, clock) = trusted(None);
        clock.jump(60_000);
        assert_eq!(look(&mut trusted), (Duration::from_secs(60), Duration::from_secs(60)));
        clock.jump(-30_000);
        assert_eq!(look(&mut trusted), (Duration::from_secs(30), Duration::from_secs(30)));
    }

    #[test]
    fn a_short_jump_leaves_no_trace() {
        for jump in [60_001, 31_536_000_000, -60_001, -31_536_000_000] {
            let (mut trusted, clock) = trusted(None);
            clock.jump(jump);
            clock.advance(HOUR / 12);
            let (stored, trimming) = look(&mut trusted);
            assert_eq!(stored, HOUR / 12, "jump {jump}");
            assert!(trimming <= stored, "jump {jump}");
            clock.jump(-jump);
            clock.advance(HOUR);
            assert_eq!(look(&mut trusted), (HOUR / 12 + HOUR, HOUR / 12 + HOUR), "jump {jump}");
        }
    }

    #[test]
    fn a_lasting_jump_is_followed_by_stored_time_after_ten_minutes_and_by_trimming_after_the_retention_age() {
        let (mut trusted, clock) = trusted(None);
        clock.jump(i64::try_from(YEAR.as_millis()).unwrap());
        assert_eq!(look(&mut trusted), (Duration::ZERO, Duration::ZERO));
        clock.advance(TEN_MINUTES);
        assert_eq!(look(&mut trusted), (YEAR + TEN_MINUTES, TEN_MINUTES));
        clock.advance(WEEK - Duration::from_millis(1));
        let late = TEN_MINUTES + WEEK;
        assert_eq!(look(&mut trusted).1, late - Duration::from_millis(1));
        clock.advance(Duration::from_millis(1));
        assert_eq!(look(&mut trusted), (YEAR + late, YEAR + late));
    }

    #[test]
    fn a_machine_that_sleeps_each_night_trims_no_later_than_a_week_of_nights() {
        let (mut trusted, clock) = trusted(None);
        let mut late = Duration::ZERO;
        for day in 1..=100 {
            clock.advance(DAY - 8 * HOUR);
            clock.jump(8 * 3_600_000);
            look(&mut trusted);
            clock.advance(TEN_MINUTES);
            let (stored, trimming) = look(&mut trusted);
            assert_eq!(stored, DAY * day + TEN_MINUTES * day);
            late = late.max(stored - trimming);
        }
        assert!(late <= 11 * 8 * HOUR, "{late:?} late"); // A week of waking hours takes ten and a half days.
    }

    #[test]
    fn no_row_of_jumps_trims_what_is_younger_by_the_steady_clock() {
        const MINUTE: i64 = 60_000;
        let (mut trusted, clock) = trusted(None);
        let jumps = [3_000, -1_200, 6_000, -7_800, 54_000, -600, 600, 2_400, -550_000, 500_000, 90, -95, 2, 700];
        let mut stored = std::collections::VecDeque::new();
        for step in 0..21_000_usize {
            // A few in a row, then none for as long as it takes to forget them, or almost.
            let pause = if step / 3_000 % 2 == 0 { 7 } else { 1 };
            if step % 3_000 < 200 && step % pause == 0 {
                clock.jump(jumps[step / pause % jumps.len()] * MINUTE);
            }
            clock.advance(Duration::from_secs(300));
            let now = trusted.look();
            let steady = clock.steady()();
            stored.push_back((now.stored, steady));
            while let Some(&(time, at)) = stored.front()
                && time.0 + 7 * 24 * 3_600_000 < now.trimming.0
            {
                assert!(steady - at > WEEK, "step {step}: trimmed at the age of {:?}", steady - at);
                stored.pop_front();
            }
        }
        assert!(stored.len() < 21_000 / 2, "{} are left", stored.len());
    }

    #[test]
    fn many_jumps_are_taken_together() {
        let (mut trusted, clock) = trusted(None);
        for _ in 0..200 {
            clock.jump(3_600_000);
            trusted.look();
        }
        assert_eq!(trusted.ahead.len(), Trusted::JUMPS);
        assert_eq!(look(&mut trusted).1, Duration::ZERO);
    }

    #[test]
    fn a_log_that_was_closed_for_long_is_trimmed_after_ten_minutes() {
        let week = u64::try_from(WEEK.as_millis()).unwrap();
        let (mut trusted, clock) = trusted(Some(START - week - 1));
        let Now { stored, trimming } = trusted.look();
        assert_eq!((stored, trimming), (Timestamp(START), Timestamp(START - week - 1)));
        clock.advance(TEN_MINUTES);
        assert_eq!(look(&mut trusted), (TEN_MINUTES, TEN_MINUTES));
    }

    #[test]
    fn an_event_from_the_future_does_not_carry_trimming_along() {
        let (mut trusted, _clock) = trusted(Some(START + 86_400_000));
        assert_eq!(look(&mut trusted), (Duration::ZERO, Duration::ZERO));
    }
}
