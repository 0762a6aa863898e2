//! Why streams that were watched side by side have ended: silent for too long, open for too long, or something else.
//!
//! Pure: lives in, limits out. A silence that any stream outlived is no reason for an end, and neither is an age.

use std::time::Duration;

use super::stream::End;

/// One watched stream, from its request until its end or until now.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) age: Duration,
    /// From the last byte to the end, or until now.
    pub(super) quiet: Duration,
    /// The longest silence that was followed by a byte.
    pub(super) longest: Duration,
    /// `None`: it is still open.
    pub(super) end: Option<End>,
    /// Whether the server had said that it ends it.
    pub(super) is_farewell: bool,
    /// How often the server was asked to send something.
    pub(super) beat: Option<Duration>,
    /// How often several events came at once behind a silence.
    pub(super) clumps: usize,
}

impl Life {
    /// How long nothing came at most, where the server sends something every `beat`, if that is too long.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let silence = if self.end.is_none() { self.longest.max(self.quiet) } else { self.longest };
        self.beat.filter(|beat| silence > *beat * 2 + OVERDUE).map(|_| silence)
    }
}

/// How late a second heartbeat may be before it counts as held back.
const OVERDUE: Duration = Duration::from_secs(2);

/// A limit that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) at: Duration,
    /// How many streams met it.
    pub(super) streams: usize,
    /// How the first of them ended.
    pub(super) end: End,
}

/// What the lives say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) idle: Option<Limit>,
    pub(super) duration: Option<Limit>,
    /// The limit of silence may just as well be one of age: nothing passed on any of the streams that met it, and no other
    /// stream became older.
    pub(super) is_unsure: bool,
    /// Other streams were silent for longer: the limit of silence is that of some of the ways to the server.
    pub(super) is_mixed: bool,
    /// Ends that neither explains: at which age.
    pub(super) others: Vec<(Duration, End)>,
    /// The longest silence and age that a stream outlived.
    pub(super) silence: Duration,
    pub(super) age: Duration,
}

/// No timer of silence is shorter.
const SHORTEST: Duration = Duration::from_secs(1);

/// What measuring adds to a timer: this, and a share.
const SLACK: Duration = Duration::from_millis(200);
const SHARE: f64 = 0.03;

/// Whether two times are of the same timer.
pub(super) fn is_same(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) <= SLACK + a.max(b).mul_f64(SHARE)
}

/// Infers the limits. `late`: bytes come so much after they were passed on, of which the hop's timer knows nothing.
pub(super) fn limits(lives: &[Life], late: Duration) -> Limits {
    // Whoever was cut has outlived all but the last moment of its silence.
    let longest = lives.iter().map(|life| life.longest.max(life.quiet)).max().unwrap_or_default();
    let oldest = lives.iter().map(|life| life.age).max().unwrap_or_default();
    let was_silent = |life: &Life| life.quiet >= SHORTEST && life.quiet + SLACK / 4 >= longest.mul_f64(1.0 - SHARE);
    let cuts = lives.iter().filter(|life| !life.is_farewell);
    let cuts = cuts.filter_map(|life| Some((life, life.end.as_ref()?)));
    // What could not be read on is nobody's timer.
    let (unread, cuts): (Vec<Cut<'_>>, Vec<_>) = cuts.partition(|(_, end)| matches!(end, End::Other(_)));
    // All at one age, and not all of them without a byte: also where the cut comes in place of a byte that is due, so that
    // each was as silent as ever.
    let at_one_age = common(&cuts, |life| life.age).filter(|age| is_same(oldest, *age) && cuts.len() > 1);
    let is_of_age = at_one_age.is_some() && cuts.iter().any(|(life, _)| !is_same(life.quiet, life.age));
    let (mut silent, busy): (Vec<_>, Vec<_>) = cuts.into_iter().partition(|(life, _)| was_silent(life) && !is_of_age);
    let mut limits = Limits::default();
    if let Some(at) = common(&busy, |life| life.age) {
        // One alone may have been anybody's whim.
        let is_met_again = busy.len() > 1 || silent.iter().any(|(life, _)| is_same(life.age, at));
        // Some cut only at a write (Traefik): who is given nothing is as old as it likes.
        let oldest_given = lives.iter().map(|life| life.age.saturating_sub(life.quiet)).max().unwrap_or_default();
        let were_given = busy.iter().all(|(life, _)| life.quiet * 2 < life.age);
        let shows_at_writes = were_given && (oldest_given <= at || is_same(oldest_given, at));
        if (is_same(oldest, at) || shows_at_writes) && is_met_again {
            silent.retain(|(life, _)| !is_same(life.age, at));
            let streams = lives.iter().filter(|life| life.end.is_some() && is_same(life.age, at)).count();
            limits.duration = Some(Limit { at, streams, end: busy[0].1.clone() });
        }
    }
    if let Some((first, end)) = silent.iter().min_by_key(|(life, _)| life.quiet) {
        let streams = silent.iter().filter(|(life, _)| is_same(life.quiet, first.quiet)).count();
        limits.idle = Some(Limit { at: first.quiet + late, streams, end: (*end).clone() });
        // Who met it was as old as it was silent, and nobody became older.
        limits.is_unsure = silent.iter().all(|(life, _)| is_same(life.age, life.quiet)) && is_same(oldest, first.age);
    } else if limits.duration.is_none()
        && busy.len() > 1
        && let Some(at) = common(&busy, |life| life.quiet)
        && busy.iter().all(|(life, _)| life.longest < at)
    {
        // Others were silent for longer: there is more than one way to the server.
        limits.idle = Some(Limit { at: at + late, streams: busy.len(), end: busy[0].1.clone() });
        limits.is_mixed = true;
    }
    if limits.duration.is_none() && !limits.is_mixed {
        limits.others = busy.iter().map(|(life, end)| (life.age, (*end).clone())).collect();
    }
    limits.others.extend(unread.into_iter().map(|(life, end)| (life.age, end.clone())));
    let outlived = |life: &Life| if life.end.is_none() { life.longest.max(life.quiet) } else { life.longest };
    limits.silence = lives.iter().map(outlived).max().unwrap_or_default();
    limits.age = oldest;
    limits
}

type Cut<'a> = (&'a Life, &'a End);

/// The time that all of these have in common, if they have one: the shortest, as timers are late and never early.
fn common(cuts: &[Cut<'_>], time: fn(&Life) -> Duration) -> Option<Duration> {
    let first = cuts.iter().map(|(life, _)| time(life)).min()?;
    cuts.iter().all(|(life, _)| is_same(time(life), first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Age, silence at the end, longest silence outlived, in seconds; and whether it ended.
    fn life(age: f64, quiet: f64, longest: f64, ended: bool) -> Life {
        let [age, quiet, longest] = [age, quiet, longest].map(Duration::from_secs_f64);
        Life { age, quiet, longest, end: ended.then_some(End::Cut), is_farewell: false, beat: None, clumps: 0 }
    }

    #[track_caller]
    fn check(lives: &[Life], idle: Option<f64>, duration: Option<f64>, others: usize) -> Limits {
        let limits = limits(lives, Duration::ZERO);
        let seconds = |limit: &Option<Limit>| limit.as_ref().map(|limit| limit.at.as_secs_f64());
        assert_eq!((seconds(&limits.idle), seconds(&limits.duration)), (idle, duration), "{limits:?}");
        assert_eq!(limits.others.len(), others, "{limits:?}");
        limits
    }

    #[test]
    fn silent_streams_that_are_cut_alone_have_met_a_limit_of_silence() {
        let busy = [life(120.0, 3.0, 5.0, false), life(120.0, 10.0, 30.0, false)];
        let silent = [life(60.2, 60.1, 0.1, true), life(61.3, 61.2, 0.1, true)];
        let limits = check(&[&busy[..], &silent].concat(), Some(60.1), None, 0);
        assert_eq!(limits.idle.map(|limit| limit.streams), Some(2));
        assert!(!limits.is_unsure);
        assert_eq!(limits.silence, Duration::from_secs(30));
    }

    #[test]
    fn all_streams_that_are_cut_at_one_age_have_met_a_limit_of_age() {
        let lives = [life(15.0, 15.0, 0.0, true), life(15.1, 0.1, 5.0, true), life(15.0, 5.0, 5.0, true)];
        let limits = check(&lives, None, Some(15.0), 0);
        assert_eq!(limits.duration.map(|limit| limit.streams), Some(3));
    }

    #[test]
    fn a_limit_of_age_may_show_at_writes_alone() {
        let silent = life(90.0, 90.0, 0.0, false);
        let busy = [life(60.0, 0.1, 0.1, true), life(60.1, 0.1, 0.1, true), life(60.0, 0.1, 0.1, true)];
        check(&[&busy[..], &[silent]].concat(), None, Some(60.0), 0);
        let older = life(90.0, 0.1, 0.1, false);
        check(&[&busy[..], &[older]].concat(), None, None, 3);
    }

    #[test]
    fn a_cut_in_place_of_a_byte_that_was_due_is_none_of_silence() {
        check(&[life(3.0, 0.1, 0.1, true), life(3.01, 0.1, 0.1, true)], None, Some(3.0), 0);
        check(&[life(120.0, 15.0, 15.0, true), life(120.2, 15.0, 15.0, true)], None, Some(120.0), 0);
        check(&[life(3.0, 0.1, 0.1, true), life(1.0, 0.1, 0.1, true)], None, None, 2);
    }

    #[test]
    fn what_could_not_be_read_on_has_met_no_limit() {
        let unread = || Life { end: Some(End::Other("too much".into())), ..life(0.03, 0.0, 0.0, true) };
        check(&[unread(), unread(), unread()], None, None, 3);
        check(&[unread(), life(60.2, 60.1, 0.1, true), life(61.3, 61.2, 0.1, true)], Some(60.1), None, 1);
    }

    #[test]
    fn both_limits_are_told_apart() {
        let lives = [life(40.0, 40.0, 0.0, true), life(90.0, 2.0, 5.0, true), life(90.5, 3.0, 5.0, true)];
        check(&lives, Some(40.0), Some(90.0), 0);
    }

    #[test]
    fn what_nobody_became_older_than_may_be_either() {
        let limits = check(&[life(4.0, 4.0, 0.0, true), life(4.01, 4.01, 0.0, true)], Some(4.0), None, 0);
        assert!(limits.is_unsure);
        let limits = check(&[life(4.0, 4.0, 0.0, true), life(6.0, 4.0, 0.3, true)], Some(4.0), None, 0);
        assert!(!limits.is_unsure);
    }

    #[test]
    fn a_heartbeat_that_races_with_the_limit_does_not_hide_it() {
        let lives = [life(5.0, 5.0, 0.0, true), life(9.9, 5.0, 4.98, true), life(9.0, 4.0, 4.99, false)];
        let limits = check(&lives, Some(5.0), None, 0);
        assert!(!limits.is_unsure);
    }

    #[test]
    fn where_only_some_ways_have_a_limit_it_is_found_all_the_same() {
        let lives = [life(60.1, 60.1, 0.0, true), life(60.3, 60.2, 0.0, true), life(360.0, 360.0, 0.0, false)];
        assert!(check(&lives, Some(60.1), None, 0).is_mixed);
    }

    #[test]
    fn ends_at_different_ages_are_no_limit() {
        check(&[life(10.0, 1.0, 5.0, true), life(40.0, 1.0, 5.0, true)], None, None, 2);
        check(&[life(10.0, 1.0, 5.0, true), life(40.0, 1.0, 5.0, false)], None, None, 1);
    }

    #[test]
    fn who_says_goodbye_is_not_cut_and_who_lives_has_met_nothing() {
        let farewell = Life { is_farewell: true, ..life(10.0, 0.0, 5.0, true) };
        let limits = check(&[farewell, life(40.0, 40.0, 0.0, false)], None, None, 0);
        assert_eq!(limits.age, Duration::from_secs(40));
        check(&[], None, None, 0);
    }

    #[test]
    fn heartbeats_are_overdue_when_the_second_does_not_come() {
        let beating =
            |quiet, longest, ended| Life { beat: Some(Duration::from_secs(5)), ..life(60.0, quiet, longest, ended) };
        assert_eq!(beating(4.0, 9.0, false).overdue(), None);
        assert_eq!(beating(4.0, 30.0, false).overdue(), Some(Duration::from_secs(30)));
        assert_eq!(beating(13.0, 5.0, false).overdue(), Some(Duration::from_secs(13)));
        assert_eq!(beating(13.0, 5.0, true).overdue(), None, "it was cut, which is another matter");
        assert_eq!(life(60.0, 60.0, 0.0, false).overdue(), None);
    }

    #[test]
    fn the_delay_of_bytes_counts_as_silence() {
        let late = Duration::from_millis(200);
        let limits = limits(&[life(4.0, 3.8, 0.0, true), life(8.0, 3.8, 0.3, true)], late);
        assert_eq!(limits.idle.map(|limit| limit.at), Some(Duration::from_secs(4)));
    }
}
