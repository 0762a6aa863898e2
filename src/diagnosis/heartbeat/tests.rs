//! Each sentence about intervals and canaries, once.

use super::*;
use proptest::prelude::*;

const DEFAULT: Duration = Duration::from_secs(15);

fn limit(at: f64, grade: Grade) -> Limit {
    let at = Duration::from_secs_f64(at);
    Limit { at, latest: at, grade, hazard: 1.0, cuts: 10, last_cut: Duration::ZERO }
}

/// The least and the most that streams of such a path are given, in seconds, rounded to tenths.
fn range(bounds: BeatBounds, limit: Option<Limit>) -> (f64, f64) {
    let all = (0..5_000).map(|stream| interval(DEFAULT, bounds, limit.as_ref(), stream).every().as_secs_f64());
    let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), every| (least.min(every), most.max(every)));
    ((least * 10.0).round() / 10.0, (most * 10.0).round() / 10.0)
}

#[test]
fn the_interval_follows_the_limit_within_what_the_operator_allows() {
    use Grade::{Certain, Mixed};
    let check = |what: &str, most: Option<u64>, limit: Option<Limit>, want: (f64, f64)| {
        let bounds = BeatBounds { most: most.map(Duration::from_secs), ..BeatBounds::default() };
        assert_eq!(range(bounds, limit), want, "{what}");
    };
    check("no limit: the default, and never above it", None, None, (12.0, 15.0));
    check("no limit: the most is not for paths that are not known", Some(60), None, (12.0, 15.0));
    check("a certain limit: up to 0.8 of it", None, Some(limit(10.0, Certain)), (6.4, 8.0));
    check("a mixed limit: a half of it", None, Some(limit(20.0, Mixed)), (9.0, 11.0));
    check("a long limit changes nothing by itself", None, Some(limit(60.0, Certain)), (12.0, 15.0));
    check("unless the operator allows more", Some(120), Some(limit(60.0, Certain)), (38.4, 48.0));
    check("of a mixed one less", Some(120), Some(limit(60.0, Mixed)), (27.0, 33.0));
    check("and no more than that", Some(30), Some(limit(60.0, Certain)), (24.0, 30.0));
    check("never below the least", None, Some(limit(8.0, Mixed)), (5.0, 6.0));
}

#[test]
fn a_limit_below_the_least_is_followed_and_told() {
    let given = |at| interval(DEFAULT, BeatBounds::default(), Some(&limit(at, Grade::Certain)), 7);
    assert!(matches!(given(6.0), Interval::TooShort(every) if every <= Duration::from_millis(4_800)));
    assert!(matches!(given(6.3), Interval::Fits(every) if every >= Duration::from_secs(5)));
    assert!(matches!(given(0.5), Interval::TooShort(every) if every == SHORTEST));
}

#[test]
fn a_stream_is_always_given_the_same_interval_and_streams_different_ones() {
    let given = |stream| interval(DEFAULT, BeatBounds::default(), None, stream).every();
    assert_eq!(given(7), given(7));
    let mut all: Vec<Duration> = (0..1_000).map(given).collect();
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 990, "{}", all.len());
}

proptest! {
    #[test]
    fn an_interval_is_never_above_a_limit_nor_outside_the_bounds(
        (default, least, most) in (1_u64..600_000, 0_u64..600_000, proptest::option::of(0_u64..600_000)),
        at in proptest::option::of(0_u64..4_000_000),
        certain: bool,
        stream: u64,
    ) {
        let [default, least] = [default, least].map(Duration::from_millis);
        let most = most.map(Duration::from_millis);
        let grade = if certain { Grade::Certain } else { Grade::Mixed };
        let limit = at.map(|at| Limit { at: Duration::from_millis(at), ..limit(1.0, grade) });
        let given = interval(default, BeatBounds { least, most }, limit.as_ref(), stream);
        let every = given.every();
        prop_assert!(every <= default.max(most.filter(|_| limit.is_some()).unwrap_or(default)).max(least).max(SHORTEST));
        if let Some(limit) = limit {
            prop_assert!(every <= limit.at.mul_f64(OF_CERTAIN).max(SHORTEST));
        }
        match given {
            Interval::Fits(every) => prop_assert!(every >= least),
            Interval::TooShort(every) => prop_assert!(every < least && limit.is_some()),
        }
    }
}

/// Opens streams of new sessions until one is a canary.
fn next(canaries: &mut Canaries, sessions: &mut u64) -> Duration {
    loop {
        *sessions += 1;
        if let Some(gap) = canaries.open(Some(*sessions), DEFAULT, None, Duration::ZERO) {
            return gap;
        }
    }
}

#[test]
fn at_most_one_stream_in_fifty_is_a_canary() {
    let mut canaries = Canaries::default();
    for session in 0..1_000 {
        assert_eq!(
            canaries.open(None, DEFAULT, None, Duration::ZERO),
            None,
            "{session}: not one that is not known to resume"
        );
    }
    let opened: Vec<bool> =
        (0..10_000).map(|session| canaries.open(Some(session), DEFAULT, None, Duration::ZERO).is_some()).collect();
    assert!(opened.windows(50).all(|streams| streams.iter().filter(|canary| **canary).count() <= 1));
    assert_eq!(opened.iter().filter(|canary| **canary).count(), 200);
}

#[test]
fn no_session_is_a_canary_twice() {
    let mut canaries = Canaries::default();
    let given = (0..10_000).filter(|n| canaries.open(Some(n % 7), DEFAULT, None, Duration::ZERO).is_some()).count();
    assert_eq!(given, 7);
}

#[test]
fn memory_of_sessions_is_bounded() {
    let (mut canaries, mut sessions) = (Canaries::default(), 0);
    for _ in 0..3 * REMEMBERED {
        next(&mut canaries, &mut sessions);
    }
    assert_eq!(canaries.sessions.len(), REMEMBERED);
    assert!(canaries.sessions.capacity() <= 2 * REMEMBERED);
}

#[test]
fn the_gap_grows_by_a_quarter_when_several_outlived_it_up_to_five_minutes() {
    let (mut canaries, mut sessions) = (Canaries::default(), 0);
    let mut gaps = Vec::new();
    for _ in 0..100 {
        if canaries.gap == Some(LONGEST) && canaries.successes >= SUCCESSES {
            break;
        }
        let gap = next(&mut canaries, &mut sessions);
        gaps.push(gap);
        canaries.outlived(gap);
    }
    assert_eq!(gaps[..4].iter().map(Duration::as_millis).collect::<Vec<_>>(), [18_750, 18_750, 18_750, 23_437]);
    assert_eq!(gaps.last(), Some(&LONGEST));
    let more = (0..1_000).filter_map(|_| canaries.open(Some(u64::MAX), DEFAULT, None, Duration::ZERO)).count();
    assert_eq!(more, 0, "five minutes outlived are enough");
}

#[test]
fn one_idle_death_halves_the_gap_once() {
    let (mut canaries, mut sessions) = (Canaries::default(), 0);
    while canaries.gap.is_none_or(|gap| gap < Duration::from_secs(60)) {
        let gap = next(&mut canaries, &mut sessions);
        canaries.outlived(gap);
    }
    let gap = canaries.gap.expect("it grew");
    canaries.died(gap);
    assert_eq!(canaries.gap, Some(gap / 2));
    canaries.died(gap);
    assert_eq!(canaries.gap, Some(gap / 2), "another with the same gap says nothing new");
    canaries.outlived(gap);
    assert_eq!(canaries.gap, Some(gap / 2), "nor does one that outlived it");
}

#[test]
fn a_gap_is_always_longer_than_what_streams_outlive_anyway() {
    let (mut canaries, mut sessions) = (Canaries::default(), 0);
    let gap = next(&mut canaries, &mut sessions);
    canaries.died(gap);
    assert!(next(&mut canaries, &mut sessions) > DEFAULT);
}

#[test]
fn a_limit_that_not_all_are_subject_to_needs_no_canaries() {
    let mut canaries = Canaries::default();
    let limit = limit(60.0, Grade::Mixed);
    assert!((0..1_000).all(|session| canaries.open(Some(session), DEFAULT, Some(&limit), Duration::MAX / 2).is_none()));
}

#[test]
fn one_now_and_then_sees_whether_a_limit_is_still_there() {
    let (mut canaries, limit) = (Canaries::default(), limit(60.0, Grade::Certain));
    // Ten streams a second, of sessions that were all seen to come back.
    let opened = (0..36_000).filter_map(|nth: u32| {
        let gap = canaries.open(Some(nth.into()), DEFAULT, Some(&limit), Duration::from_millis(100) * nth);
        gap.map(|gap| (nth / 10, gap))
    });
    let opened: Vec<(u32, Duration)> = opened.collect();
    let gap = Duration::from_secs(75);
    assert_eq!(opened, [(4, gap), (604, gap), (1204, gap), (1804, gap), (2404, gap), (3004, gap)]);
}
