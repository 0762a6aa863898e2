//! What may be claimed by how far it was looked.

use super::*;
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::stream::End;

/// Streams that were watched for so long, silent ones among them.
fn watched(seconds: f64) -> Limits {
    let time = Duration::from_secs_f64(seconds);
    Limits { silence: time, age: time, ..Limits::default() }
}

#[track_caller]
fn check(limits: Limits, horizon: (u64, u64), is_early: bool, findings: &[Finding], name: &str, says: &[&str]) {
    let [idle, duration] = [horizon.0, horizon.1].map(Duration::from_secs);
    let reach = Reach::of(&limits, Horizon { idle, duration }, is_early);
    let findings = findings.to_vec();
    let verdict = reach.verdict(&Judgement { marks: Vec::new(), unknown: Vec::new(), limits, late: None, findings });
    assert_eq!(verdict.name, name, "{verdict:?}");
    assert!(says.iter().all(|says| verdict.says.contains(says)), "{verdict:?} does not say {says:?}");
}

#[test]
fn who_has_looked_as_long_as_timers_are_may_say_so_and_for_how_long() {
    check(watched(360.1), (360, 360), false, &[], "healthy", &["silent for up to 360 s and open for up to 360 s"]);
    // Of a server that sends something every second no limit of silence is met, however long it is watched.
    let busy = Limits { silence: Duration::from_secs(1), ..watched(360.0) };
    check(busy, (360, 360), false, &[], "healthy", &["silent for up to 1.00 s and open for up to 360 s"]);
}

#[test]
fn seconds_say_nothing_of_limits_of_time() {
    let says = ["in what shows within 3.00 s; longer limits of time were not looked for", "run without --quick"];
    check(watched(3.1), (3, 3), false, &[], "incomplete", &says);
    let says = ["within 90.0 s; limits of age beyond 3.00 s were not looked for", "a longer --max-duration"];
    check(watched(90.0), (90, 3), false, &[], "incomplete", &says);
    check(watched(90.0), (3, 90), false, &[], "incomplete", &["limits of silence beyond 3.00 s", "--max-idle"]);
    // The server has said goodbye to all streams before.
    check(watched(2.0), (360, 360), false, &[], "incomplete", &["within 2.00 s"]);
}

#[test]
fn who_is_interrupted_has_looked_until_then() {
    let says = ["in what shows within 42.0 s; longer limits of time were not looked for: let it run to its end"];
    check(watched(42.0), (360, 360), true, &[], "incomplete", &says);
    check(watched(42.0), (40, 360), true, &[], "incomplete", &["limits of age beyond 42.0 s"]);
    check(Limits::default(), (360, 360), true, &[], "incomplete", &["in what shows at once; longer limits"]);
}

#[test]
fn a_limit_that_was_found_was_looked_for_and_a_problem_is_one_however_far_it_was_looked() {
    let limit = Limit { at: Duration::from_secs(4), streams: 3, end: End::Cut };
    let (found, advice) = (Some(limit), Finding::advice("idle-limit", "never met"));
    check(Limits { idle: found.clone(), ..watched(7.0) }, (7, 7), false, &[advice], "healthy", &[]);
    let problem = [Finding::problem("idle-limit", "met")];
    check(Limits { idle: found, ..watched(7.0) }, (7, 360), true, &problem, "problems", &["1 found", "limits of age"]);
    check(watched(3.0), (3, 3), false, &problem, "problems", &["1 found in what shows within 3.00 s; longer"]);
}
