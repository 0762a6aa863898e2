//! Simulated paths: what is found, how soon, and that nothing is found where there is nothing.

use super::*;
use proptest::prelude::*;
use simulation::{Ages, Outcome, Path, Random, Spread, T, ends, play, report, secs};

mod simulation;

/// Runs of each scenario. With 60, as in the reference, they take half a minute in a release build.
const RUNS: u64 = 4;

/// What came of the runs of one scenario.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    found: u64,
    wrong: u64,
}

fn tally(runs: u64, path: &Path) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..runs {
        if tally.wrong > 2 {
            break;
        }
        match play(path, seed, &mut Timer::default()) {
            Outcome::Found => tally.found += 1,
            Outcome::Wrong(limit) => {
                println!("seed {seed}: {limit:?}");
                tally.wrong += 1;
            }
            Outcome::Nothing => {}
        }
    }
    tally
}

#[track_caller]
fn always_found(what: &str, path: &Path) {
    let tally = tally(RUNS, path);
    println!("{what}: {tally:?} of {RUNS}");
    assert_eq!(tally, Tally { found: RUNS, wrong: 0 }, "{what}");
}

#[track_caller]
fn never_found(what: &str, runs: u64, path: &Path) {
    let tally = tally(runs, path);
    println!("{what}: {tally:?} of {runs}");
    assert_eq!(tally, Tally::default(), "{what}");
}

#[track_caller]
fn in_the_end(what: &str, within: f64, path: &Path) {
    let truth = path.timer.expect("there is one").at;
    for seed in 0..RUNS {
        let mut timer = Timer::default();
        ends(path, &mut Random(seed)).iter().for_each(|seen| report(&mut timer, seen));
        let limit = timer.limit().unwrap_or_else(|| panic!("{what}, seed {seed}: nothing"));
        assert!((limit.at.as_secs_f64() / truth - 1.0).abs() <= within, "{what}, seed {seed}: {limit:?}");
    }
}

fn exact(at: f64, share: f64) -> Path {
    Path { timer: Some(T { at, share, spread: Spread::None }), ..Path::quiet(240) }
}

#[test]
fn a_timer_of_all_or_of_a_part_of_the_streams_is_found() {
    always_found("60 s on all", &exact(60.0, 1.0));
    always_found("60 s on a half", &exact(60.0, 0.5));
    always_found("60 s on 30 %", &exact(60.0, 0.3));
    always_found("350 s on a half", &Path { ages: Ages::Mean(900.0), ..exact(350.0, 0.5) });
    always_found("15 s on a half", &exact(15.0, 0.5));
    always_found("5 s on all", &exact(5.0, 1.0));
    always_found("5 s on a half", &exact(5.0, 0.5));
    always_found("10 s on all, below the heartbeat", &Path { heartbeat: Some(15.0), ..exact(10.0, 1.0) });
    always_found("60 s on a half, prefixes unknown", &Path { prefixes: 0, ..exact(60.0, 0.5) });
    always_found("60 s on a half, ages of all sizes", &Path { ages: Ages::Heavy, streams: 600, ..exact(60.0, 0.5) });
    // Where broadcasts are frequent few gaps are long enough, and those cut together are one moment.
    let path = Path { events: Some(60.0), opens: 5.0, streams: 1_500, ..exact(60.0, 0.5) };
    let tally = tally(FEW_RUNS * 2, &path);
    assert!(tally.found >= 1 && tally.wrong == 0, "{tally:?}");
}

#[test]
fn a_timer_that_jitters_is_found_at_its_lower_edge() {
    let with = |at, share, spread| Path { timer: Some(T { at, share, spread }), ..Path::quiet(240) };
    always_found("60.6–61.4 s on all, as Varnish 7.1", &with(60.6, 1.0, Spread::Seconds(0.8)));
    always_found("60–61.4 s on all", &with(60.0, 1.0, Spread::Seconds(1.4)));
    always_found("60–61.4 s on a half", &with(60.0, 0.5, Spread::Seconds(1.4)));
    // At first only within the jitter.
    in_the_end("5–5.8 s on all", 0.05, &with(5.0, 1.0, Spread::Seconds(0.8)));
    let node = with(300.0, 1.0, Spread::Seconds(30.0));
    in_the_end("300–330 s on all, as Node", 0.08, &Path { ages: Ages::Mean(900.0), ..node });
}

#[test]
fn twenty_streams_are_enough() {
    let few = |at, share| Path { streams: 20, ages: Ages::Mean(100.0 * at), ..exact(at, share) };
    always_found("20 streams, 60 s on all", &few(60.0, 1.0));
    always_found("20 streams, 350 s on all", &few(350.0, 1.0));
    always_found("20 streams, 5 s on all", &few(5.0, 1.0));
}

#[test]
fn people_and_heartbeats_are_no_timer() {
    for ages in [Ages::Mean(8.0), Ages::Mean(40.0), Ages::Mean(300.0), Ages::Heavy] {
        for heartbeat in [None, Some(5.0), Some(15.0), Some(25.0)] {
            for prefixes in [0, 300] {
                let what = format!("{ages:?}, heartbeat {heartbeat:?}, {prefixes} prefixes");
                let path = Path { ages, heartbeat, prefixes, ..Path::quiet(PEOPLE) };
                never_found(&format!("people, {what}"), FEW_RUNS, &path);
                let path = Path { jitter: 0.1, ..path };
                never_found(&format!("with jitter, {what}"), FEW_RUNS, &path);
                let path = Path { events: Some(20.0), ..path };
                never_found(&format!("with events, {what}"), FEW_RUNS, &path);
                let path = Path { opens: 0.01, events: Some(4.0), ..path };
                never_found(&format!("many at once, {what}"), FEW_RUNS, &path);
            }
        }
    }
}

/// For what has many combinations; with 10 runs of 2 000 streams each it was nothing either.
const FEW_RUNS: u64 = 1;
const PEOPLE: usize = 500;

#[test]
fn deploys_are_no_timer() {
    for (events, deploys) in [(60.0, 600.0), (5.0, 100.0), (300.0, 300.0)] {
        for (ages, heartbeat) in [(1e9, None), (1e9, Some(15.0)), (600.0, None), (600.0, Some(15.0))] {
            let (events, deploys) = (Some(events), Some(deploys));
            let path =
                Path { ages: Ages::Mean(ages), heartbeat, events, deploys, opens: 0.5, ..Path::quiet(2 * PEOPLE) };
            never_found(&format!("{events:?}, {deploys:?}, {ages}, {heartbeat:?}"), FEW_RUNS, &path);
        }
    }
}

/// One stream every ten seconds, each of another prefix.
struct Course {
    timer: Timer,
    at: f64,
}

impl Course {
    fn new() -> Self {
        Self { timer: Timer::default(), at: 10_000.0 }
    }

    fn end(&mut self, prefix: Option<u64>) -> End {
        self.at += 10.0;
        End { at: secs(self.at), prefix }
    }

    fn cuts(&mut self, n: u32, after: f64) {
        for i in 0..n {
            let end = self.end(Some(Random(self.at.to_bits()).next()));
            self.timer.cut(secs(after + f64::from(i % 4) * 0.01), Duration::ZERO, end);
        }
    }

    fn outlived(&mut self, n: u32, longest: f64) {
        for i in 0..n {
            let end = self.end(Some(Random(self.at.to_bits()).next()));
            self.timer.outlived(secs(longest * (1.0 + f64::from(i % 7) / 10.0)), end);
        }
    }

    fn limit(&self) -> Option<f64> {
        self.timer.limit().map(|limit| (limit.at.as_secs_f64() * 10.0).round() / 10.0)
    }
}

#[test]
fn ten_cuts_are_enough_and_seven_are_not() {
    for at in [3.0, 5.0, 10.0, 15.0, 30.0, 60.0, 350.0, 3600.0] {
        let mut course = Course::new();
        course.cuts(7, at);
        assert_eq!(course.limit(), None, "{at}");
        course.cuts(3, at);
        assert_eq!(course.limit(), Some(at));
        assert_eq!(course.timer.limit().map(|limit| limit.grade), Some(Grade::Certain), "{at}");
    }
}

#[test]
fn a_limit_that_was_changed_is_found_within_ten_cuts() {
    for (before, after) in [(60.0, 300.0), (60.0, 100.0), (60.0, 30.0), (300.0, 60.0), (10.0, 5.0)] {
        for evidence in [10, 40, 400] {
            let mut course = Course::new();
            course.cuts(evidence, before);
            assert_eq!(course.limit(), Some(before), "{evidence}");
            // No stream is silent for that long at once.
            course.at += 1_000.0;
            course.cuts(10, after);
            assert_eq!(course.limit(), Some(after), "from {before}, {evidence} cuts");
        }
    }
}

#[test]
fn a_limit_goes_when_thirty_streams_in_a_row_outlived_it() {
    for survivors in [0, 20, 46] {
        let mut course = Course::new();
        for _ in 0..20 {
            course.cuts(1 + u32::from(survivors == 0), 60.0);
            course.outlived(survivors / 20, 70.0);
        }
        assert_eq!(course.limit(), Some(60.0), "{survivors}");
        course.at += 100.0;
        course.outlived(30, 70.0);
        assert_eq!(course.limit(), None, "{survivors}");
        course.cuts(3, 60.0);
        assert_eq!(course.limit(), None, "a stray does not raise it");
    }
}

#[test]
fn one_prefix_neither_teaches_nor_unteaches() {
    let mut course = Course::new();
    for _ in 0..5_000 {
        let end = course.end(Some(7));
        course.timer.cut(secs(60.0), Duration::ZERO, end);
    }
    assert_eq!(course.limit(), None);
    course.cuts(20, 60.0);
    assert_eq!(course.limit(), Some(60.0));
    for _ in 0..5_000 {
        let end = course.end(Some(7));
        course.timer.outlived(secs(90.0), end);
    }
    assert_eq!(course.limit(), Some(60.0));
}

#[test]
fn a_mass_close_is_one_moment() {
    // 1. An event is broadcast; 2. seven seconds later the proxy restarts; 3. all end, idle for seven seconds.
    let mut course = Course::new();
    for _ in 0..3 {
        for n in 0..500_u32 {
            let end = End { at: secs(course.at + f64::from(n) * 0.002), prefix: Some(Random(n.into()).next()) };
            course.timer.cut(secs(7.0 + f64::from(n) * 0.002), Duration::ZERO, end);
        }
        course.at += 3_600.0;
    }
    assert_eq!(course.limit(), None);
}

#[test]
fn a_limit_explains_what_lies_in_its_window() {
    let mut course = Course::new();
    course.cuts(10, 60.0);
    let explained = [59.0, 59.5, 60.0, 60.5, 62.0].map(|after| course.timer.explains(secs(after)));
    assert_eq!(explained, [false, true, true, true, false]);
    assert!(!Timer::default().explains(secs(60.0)));
}

#[test]
fn without_a_limit_it_is_at_least_what_enough_streams_outlived() {
    let mut course = Course::new();
    course.outlived(7, 45.0);
    assert_eq!(course.timer.at_least(), None);
    course.outlived(1, 45.0);
    assert_eq!(course.timer.at_least(), Some(secs(45.0)));
    course.cuts(10, 30.0);
    assert_eq!(course.timer.at_least(), None, "a limit is known");
}

#[test]
fn what_is_old_can_be_forgotten() {
    let mut course = Course::new();
    course.cuts(10, 60.0);
    course.timer.forget_older(secs(10_000.0));
    assert_eq!(course.limit(), Some(60.0));
    course.timer.forget_older(secs(20_000.0));
    assert_eq!(course.limit(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_panics_and_memory_is_bounded(
        reports in proptest::collection::vec((any::<bool>(), any::<u64>(), 0_u32..64, any::<u64>(), 0_u64..9), 0..400),
    ) {
        let mut timer = Timer::default();
        for (cut, after, shift, at, prefix) in reports {
            let (after, end) = (Duration::from_millis(after >> shift), End {
                at: Duration::from_millis(at >> (shift / 2)),
                prefix: prefix.checked_sub(1),
            });
            if cut { timer.cut(after, after / 3, end) } else { timer.outlived(after, end) }
            if let Some(limit) = timer.limit() {
                prop_assert!(limit.at <= limit.latest && (0.0..=1.0).contains(&limit.hazard));
                prop_assert!(timer.explains(limit.at) && timer.explains(limit.latest));
            }
            let least = timer.at_least();
            prop_assert!(least.is_none() || timer.limit().is_none());
        }
        timer.forget_older(Duration::MAX);
        prop_assert!(timer.evidence.heap() < 8 * 1024);
    }
}
