mod taught;

use std::num::NonZeroU32;

use super::*;
use crate::diagnosis::{BeatBounds, Finding, FindingKind, Gone, ShortName};

const GRACE: Duration = Duration::from_secs(35);
const BEATS: Beats =
    Beats { default: Duration::from_secs(15), bounds: BeatBounds { least: Duration::from_secs(5), most: None } };
const NGINX: &[u8] =
    b"GET /events HTTP/1.0\r\nHost: upstream\r\nConnection: close\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n";

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn visitor(who: u64, has: Option<u64>) -> Visitor {
    let who = who.try_into().expect("not 0");
    Visitor { session: None, who, prefix: None, browser: None, has, stream: who }
}

/// A stream of this path, of a client of this prefix.
fn ticket(path: PathNumber, prefix: Option<NonZeroU32>) -> Ticket {
    let (who, relief) = (NonZeroU64::MIN, Relief::None);
    Ticket {
        path,
        session: None,
        prefix,
        browser: None,
        canary: None,
        time_limit: None,
        relief,
        examines: false,
        who,
        stream: who,
    }
}

/// An end by the other side: so old, and quiet for so long.
fn end(age: f64, idle: f64) -> Departure {
    Departure {
        name: ShortName(0),
        transport: "sse",
        reason: None,
        gone: Gone::Closed,
        draining: false,
        age: seconds(age),
        idle: seconds(idle),
        quiet_before: seconds((age - idle).min(4.0)),
        outlived: seconds((age - idle).min(4.0)),
        blocked: None,
        tcp: None,
        given: 10,
        time_limit: None,
    }
}

struct Place {
    desk: Desk,
    signature: Signature,
    settled: Vec<Settled>,
}

impl Place {
    fn new(head: &[u8]) -> Self {
        Self { desk: Desk::new(GRACE, BEATS), signature: Signature::of_head(head), settled: Vec::new() }
    }

    fn arrive(&mut self, who: u64, has: Option<u64>, at: f64) -> Arrival {
        self.desk.arrive(&self.signature, &visitor(who, has), "sse", seconds(at))
    }

    fn depart(&mut self, who: u64, end: Departure, at: f64) {
        let path = self.desk.paths.number(self.signature.path(), None, seconds(at));
        let said = self.signature.envoy_timeout_ms.map(|milliseconds| Duration::from_millis(milliseconds.into()));
        let end = Departure { time_limit: said, ..end };
        self.desk.depart(path, visitor(who, None), end, Manner::default(), seconds(at), &mut self.settled);
    }

    fn reasons(&mut self, at: f64) -> Vec<EndReason> {
        self.desk.settle(seconds(at), &mut self.settled);
        self.settled.drain(..).map(|settled| settled.reason).collect()
    }

    fn finding(&self, kind: FindingKind) -> Option<Finding> {
        let paths = self.desk.report(seconds(200.0)).paths;
        paths.into_iter().flat_map(|path| path.findings).find(|found| found.kind == kind)
    }
}

#[test]
fn a_timer_is_learnt_within_ten_cuts_and_explains_those_that_taught_it() {
    let mut place = Place::new(NGINX);
    for nth in 0..10 {
        let at = 20.0 + 3.0 * f64::from(nth);
        let who = u64::try_from(nth + 1).expect("a small number");
        let age = 7.0 + 5.0 * f64::from(nth);
        place.arrive(who, None, 0.0);
        place.depart(who, end(age, 6.02), at);
        assert!(place.arrive(who, Some(10), at + 2.0).back.is_some());
    }
    let reasons = place.reasons(200.0);
    let explained = reasons.iter().filter(|reason| **reason == EndReason::ProxyIdleTimeout).count();
    assert!(reasons.len() == 10 && explained >= 9, "{reasons:?}");
    let report = place.desk.report(seconds(200.0));
    let limit = report.paths[0].idle_limit.expect("it is found");
    assert!((limit.at.as_secs_f64() - 6.0).abs() < 0.18, "{limit:?}");
    let finding = place.finding(FindingKind::IdleLimit).expect("it is told");
    assert!(finding.advice.contains("proxy_read_timeout"), "{finding:?}");
    assert!(place.arrive(99, None, 201.0).heartbeat.is_some_and(|heartbeat| heartbeat < seconds(6.0)));
}

#[test]
fn the_first_that_an_unknown_timer_cuts_are_told_as_its_though_their_clients_are_back_at_once() {
    let mut place = Place::new(NGINX);
    let mut reasons = Vec::new();
    for second in 10..120_u64 {
        let at = second as f64;
        // One every three seconds, and one that is dropped at an age and a quiet of its own.
        if second % 3 == 0 && second < 46 {
            place.depart(second, end(20.0 + 2.5 * at, 6.02), at);
            assert!(place.arrive(second, Some(10), at + 0.5).back.is_some());
        }
        if second == 20 {
            place.depart(999, end(300.0, 2.5), at);
            assert!(place.arrive(999, Some(10), at + 0.5).back.is_some());
        }
        if second == 22 {
            assert!(place.reasons(at).contains(&EndReason::DroppedCameBack), "what is like no other is told at once");
        }
        reasons.extend(place.reasons(at));
    }
    let explained = reasons.iter().filter(|reason| **reason == EndReason::ProxyIdleTimeout).count();
    assert!(reasons.len() + 1 >= 12 && explained + 2 >= reasons.len(), "{reasons:?}");
}

#[test]
fn what_was_silent_from_its_beginning_is_a_matter_of_quiet_unless_streams_that_beat_are_cut_at_the_same_age() {
    let mut place = Place::new(NGINX);
    let cut = |place: &mut Place, nth: u64, idle: f64| {
        let at = 20.0 + 3.0 * nth as f64;
        place.arrive(nth, None, at - 15.0);
        place.depart(nth, end(15.0, idle), at);
    };
    (1..=12).for_each(|nth| cut(&mut place, nth, 15.0));
    assert!(place.finding(FindingKind::IdleLimit).is_some() && place.finding(FindingKind::DurationLimit).is_none());
    (13..=30).for_each(|nth| cut(&mut place, nth, (nth % 5) as f64));
    assert!(place.finding(FindingKind::DurationLimit).is_some());
    assert!(place.finding(FindingKind::IdleLimit).is_none(), "one limit is not two");
}

#[test]
fn what_a_request_says_of_its_time_is_believed_of_an_end_at_that_time() {
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nuser-agent: curl\r\nx-envoy-expected-rq-timeout-ms: 15000\r\nx-request-id: 1\r\n\r\n";
    let mut place = Place::new(head);
    for (who, age) in [(1, 15.01), (2, 9.0)] {
        place.arrive(who, None, 0.0);
        place.depart(who, end(age, 3.0), age);
    }
    let mut reasons = place.reasons(100.0);
    reasons.sort_by_key(|reason| reason.as_str());
    assert_eq!(reasons, [EndReason::ClientLeft, EndReason::ProxyMaxDuration]);
}

#[test]
fn many_ends_at_once_of_streams_of_all_ages_that_come_back_are_a_restart() {
    let mut place = Place::new(NGINX);
    for who in 1..=20 {
        place.arrive(who, None, 0.0);
    }
    for who in 1..=20 {
        place.depart(who, end(100.0 + 30.0 * who as f64, who as f64 % 13.0), 1000.0 + who as f64 / 50.0);
        place.arrive(who, Some(10), 1003.0);
    }
    let reasons = place.reasons(1010.0);
    let restarts = reasons.iter().filter(|reason| **reason == EndReason::ProxyRestart).count();
    assert!(reasons.len() == 20 && restarts >= 19, "{reasons:?}");
    assert!(place.finding(FindingKind::Restarts).is_some() && place.finding(FindingKind::IdleLimit).is_none());
}

#[test]
fn a_first_wave_of_a_timer_is_no_restart_though_people_leave_meanwhile() {
    let mut place = Place::new(NGINX);
    for who in 1..=38 {
        place.arrive(who, None, 0.0);
    }
    for who in 1..=38 {
        // Every fifth leaves; the others are cut at one age, and come back.
        let (leaves, at) = (who % 5 == 0, 1000.0 + who as f64 / 50.0);
        place.depart(who, end(if leaves { 20.0 * who as f64 } else { 60.0 + who as f64 / 100.0 }, 3.0), at);
        if !leaves {
            place.arrive(who, Some(10), at + 2.0);
        }
    }
    let reasons = place.reasons(1100.0);
    assert!(reasons.len() == 38 && !reasons.contains(&EndReason::ProxyRestart), "{reasons:?}");
}

#[test]
fn what_was_learnt_of_a_path_is_forgotten_at_will_and_what_was_counted_is_not() {
    let mut place = Place::new(NGINX);
    for who in 1..=12 {
        let at = 20.0 + 3.0 * who as f64;
        place.arrive(who, None, at - 7.0);
        place.depart(who, end(7.0 + who as f64, 6.02), at);
        assert!(place.arrive(who, Some(10), at + 2.0).back.is_some());
    }
    place.reasons(200.0);
    let of = |place: &Place| place.desk.report(seconds(200.0)).paths.swap_remove(0);
    let before = of(&place);
    assert!(
        before.idle_limit.is_some() && before.not_cut_for.is_some_and(|quiet| quiet.as_secs() == 144),
        "{before:?}"
    );
    assert!(!place.desk.unlearn(Some("squid/h1.1/1")), "there is no such path");
    assert_eq!(of(&place).findings, before.findings);
    assert!(place.desk.unlearn(Some(&before.path)));
    let after = of(&place);
    assert_eq!((after.idle_limit, after.not_cut_for, &after.findings[..]), (None, None, &[][..]));
    assert_eq!((after.streams, after.opened, &after.ends), (before.streams, before.opened, &before.ends));
    assert_eq!(place.arrive(99, None, 201.0).heartbeat, None);
}

#[test]
fn one_client_that_comes_again_and_again_is_no_restart() {
    let mut place = Place::new(NGINX);
    for nth in 0..40 {
        let at = 100.0 + f64::from(nth) / 4.0;
        place.arrive(1, (nth > 0).then_some(10), at);
        place.depart(1, end(if nth == 20 { 90.0 } else { 0.2 }, 0.1), at + 0.2);
    }
    let reasons = place.reasons(200.0);
    assert!(reasons.len() == 40 && !reasons.contains(&EndReason::ProxyRestart), "{reasons:?}");
}

#[test]
fn people_who_leave_are_no_finding() {
    let mut place = Place::new(NGINX);
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 40) as f64 / (1_u64 << 24) as f64
    };
    // Some stay for moments, some for an hour; the heartbeat is 15 s.
    let mut moments = Vec::new();
    for who in 1..=2000 {
        let (came, age) = (next() * 7200.0, 3600.0 * next().powi(4));
        moments.push((came, who, None));
        moments.push((came + age, who, Some(end(age, age.min(15.0 * next())))));
    }
    moments.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (at, who, left) in moments {
        match left {
            None => {
                place.arrive(who, None, at);
            }
            Some(end) => place.depart(who, end, at),
        }
    }
    let reasons = place.reasons(20_000.0);
    assert!(reasons.iter().all(|reason| *reason == EndReason::ClientLeft), "somebody is blamed");
    assert_eq!(place.desk.report(seconds(200.0)).paths[0].findings, []);
}

#[test]
fn who_comes_back_was_dropped_and_who_does_not_has_left() {
    let mut place = Place::new(NGINX);
    for who in [1, 2] {
        place.arrive(who, None, 0.0);
        place.depart(who, end(50.0 + who as f64 * 7.0, 3.0 + who as f64), 60.0);
    }
    assert!(place.arrive(1, Some(10), 62.0).back.is_some());
    assert_eq!(place.reasons(63.0), [EndReason::DroppedCameBack]);
    assert_eq!(place.reasons(94.0), []);
    assert_eq!(place.reasons(95.0), [EndReason::ClientLeft]);
}

#[test]
fn events_that_had_been_written_and_did_not_arrive_are_held_by_something() {
    let mut place = Place::new(NGINX);
    for who in 1..=4 {
        let at = 100.0 * who as f64;
        place.arrive(who, None, at);
        place.depart(who, end(50.0, 3.0), at + 50.0);
        let arrival = place.arrive(who, Some(2), at + 52.0);
        let back = arrival.back.expect("it is back");
        place.desk.missed(&ticket(arrival.path, None), &back, 8, seconds(at + 52.0));
    }
    let finding = place.finding(FindingKind::Buffering).expect("it is told");
    assert!(finding.advice.contains("proxy_buffering off"), "{finding:?}");
}

#[test]
fn browsers_that_a_timer_cuts_and_that_come_back_with_nothing_were_given_nothing() {
    let through_nginx = |agent: &str| {
        let head =
            format!("GET /events HTTP/1.0\r\nHost: upstream\r\nConnection: close\r\nUser-Agent: {agent}\r\n\r\n");
        let mut place = Place::new(head.as_bytes());
        for who in 1..=16 {
            let at = 3.0 * who as f64;
            place.arrive(who, None, at);
            place.depart(who, end(60.0, 60.0), at + 60.0);
            place.arrive(who, None, at + 62.0);
        }
        place.reasons(200.0);
        place
    };
    let place = through_nginx("Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0");
    let finding = place.finding(FindingKind::Buffering).expect("it is told");
    assert!(finding.text.contains("even the beginning"), "{finding:?}");
    assert!(place.finding(FindingKind::IdleLimit).is_some());
    // A program that asks in a loop may never say where it was.
    assert_eq!(through_nginx("curl/8").finding(FindingKind::Buffering), None);
}

#[test]
fn pages_that_are_loaded_again_were_not_given_nothing() {
    let head = b"GET /events HTTP/1.0\r\nHost: a\r\nConnection: close\r\nUser-Agent: Mozilla/5.0 Firefox/153.0\r\n\r\n";
    let mut place = Place::new(head);
    for who in 1..=40 {
        let at = 3.0 * who as f64;
        place.arrive(who, None, at);
        place.depart(who, end(20.0 + (who * 7 % 40) as f64, (who * 5 % 13) as f64), at + 60.0);
        place.arrive(who, None, at + 60.5);
    }
    assert_eq!(place.finding(FindingKind::Buffering), None);
}

#[test]
fn what_requests_no_longer_say_of_their_time_is_no_finding() {
    let head = |hint| format!("GET / HTTP/1.1\r\nhost: a\r\nuser-agent: curl\r\n{hint}x-envoy-internal: true\r\n\r\n");
    let mut place = Place::new(head("x-envoy-expected-rq-timeout-ms: 15000\r\n").as_bytes());
    for who in 1..=3 {
        place.arrive(who, None, 0.0);
        place.depart(who, end(15.01, 3.0), 15.01);
    }
    place.reasons(100.0);
    assert!(place.finding(FindingKind::DurationLimit).is_some());
    place.signature = Signature::of_head(head("").as_bytes());
    place.arrive(4, None, 101.0);
    assert_eq!(place.finding(FindingKind::DurationLimit), None);
}

#[test]
fn who_says_goodbye_around_its_end_has_left_by_itself_and_does_not_come_back() {
    let mut place = Place::new(NGINX);
    for who in 1..=3_u64 {
        place.arrive(who, None, 0.0);
    }
    place.desk.goodbye(1.try_into().expect("not 0"), seconds(58.0));
    (1..=3).for_each(|who| place.depart(who, end(60.0, 4.0), 60.0));
    place.desk.goodbye(2.try_into().expect("not 0"), seconds(61.0));
    place.desk.goodbye(3.try_into().expect("not 0"), seconds(66.0));
    let reasons = place.reasons(100.0);
    assert_eq!(reasons, [EndReason::ClientGoodbye, EndReason::ClientGoodbye, EndReason::ClientLeft]);
}

#[test]
fn a_fault_that_was_mended_is_no_finding_for_long() {
    let mut place = Place::new(NGINX);
    for who in 1..=3 {
        place.arrive(who, None, 0.0);
        place.depart(who, Departure { gone: Gone::Stalled, ..end(60.0, 4.0) }, 60.0);
    }
    place.reasons(100.0);
    assert!(place.finding(FindingKind::SlowReaders).is_some());
    place.reasons(1800.0);
    assert!(place.finding(FindingKind::SlowReaders).is_some(), "half an hour may just have begun when it was");
    place.reasons(3600.0);
    assert_eq!(place.finding(FindingKind::SlowReaders), None);
    assert_eq!(
        place.desk.report(seconds(200.0)).paths[0].ends,
        [(EndReason::SlowReader, 3)],
        "what is counted is not forgotten"
    );
}

#[test]
fn a_new_default_holds_for_paths_that_are_known() {
    let mut place = Place::new(NGINX);
    place.arrive(1, None, 0.0);
    assert_eq!(place.desk.report(seconds(200.0)).paths[0].heartbeat, BEATS.default);
    place.desk.beat(Beats { default: seconds(40.0), ..BEATS });
    assert_eq!(place.desk.report(seconds(200.0)).paths[0].heartbeat, seconds(40.0));
}

/// How a client came back: after how many seconds, whether it is known strongly, and how much it had missed.
type Came = (u64, bool, Option<u64>);

/// What is told of the newest end: its reason, whether it waited, and how its client came back.
fn newest(place: &Place) -> Option<(EndReason, bool, Option<Came>)> {
    let story = place.desk.stories(None).next()?;
    let back = story.back.map(|back| (back.after.as_secs(), back.is_strong, back.missed));
    Some((story.reason, story.waited, back))
}

#[test]
fn the_story_of_an_end_is_told_when_it_is_final_and_goes_on_when_its_client_comes_back() {
    let mut place = Place::new(NGINX);
    for who in [1, 2, 3] {
        place.arrive(who, None, 0.0);
    }
    place.depart(1, end(60.0, 4.0), 60.0);
    assert_eq!(newest(&place), None, "it waits for its client");
    place.arrive(1, Some(10), 61.0);
    assert_eq!(place.reasons(63.0), [EndReason::DroppedCameBack]);
    assert_eq!(newest(&place), Some((EndReason::DroppedCameBack, true, Some((1, false, Some(0))))));

    place.depart(2, Departure { reason: Some(EndReason::ServerRecycle), ..end(70.0, 4.0) }, 70.0);
    assert_eq!(newest(&place), Some((EndReason::ServerRecycle, false, None)));
    let back = place.arrive(2, Some(8), 73.0).back.expect("it is back");
    assert_eq!(newest(&place), Some((EndReason::ServerRecycle, false, Some((3, false, None)))));
    place.desk.missed(&ticket(PathNumber::OTHER, None), &back, 2, seconds(100.0));
    assert_eq!(newest(&place), Some((EndReason::ServerRecycle, false, Some((3, false, Some(2))))));

    // What was missed may be known only when the end has been decided.
    place.depart(3, end(80.0, 9.0), 80.0);
    let back = place.arrive(3, Some(8), 83.0).back.expect("it is back");
    assert_eq!(place.reasons(83.0), [EndReason::ServerRecycle, EndReason::DroppedCameBack]);
    place.desk.missed(&ticket(PathNumber::OTHER, None), &back, 1, seconds(100.0));
    assert_eq!(newest(&place), Some((EndReason::DroppedCameBack, true, Some((3, false, Some(1))))));
}

#[test]
fn polls_that_were_answered_make_no_stories_and_one_stream_is_found_by_its_name() {
    let mut place = Place::new(NGINX);
    for who in [1, 2, 3] {
        place.arrive(who, None, 0.0);
        let reason = if who == 3 { EndReason::Complete } else { EndReason::Limit };
        let name = ShortName(u32::try_from(who).expect("a small number"));
        place.depart(who, Departure { reason: Some(reason), name, ..end(20.0, 1.0) }, 20.0);
    }
    let names = |of| place.desk.stories(of).map(|story| story.end.name.0).collect::<Vec<_>>();
    assert_eq!(names(None), [2, 1]);
    let called = |name, stream| Some(Called { name: ShortName(name), stream: NonZeroU64::new(stream) });
    assert_eq!((names(called(1, 0)), names(called(1, 1))), (vec![1], vec![1]));
    assert_eq!((names(called(1, 2)), names(called(3, 0))), (vec![], vec![]));
}

#[test]
fn a_path_is_slow_where_clients_have_their_streams_late_and_holds_where_they_need_padding() {
    let receipt = |late: f64, padded| Receipt { late: Some(seconds(late)), padded };
    let finding = |receipts: &[(Receipt, u32)], kind| {
        let mut place = Place::new(NGINX);
        let path = place.arrive(1, None, 0.0).path;
        for (receipt, times) in receipts {
            (0..*times).for_each(|_| place.desk.receipt(&ticket(path, None), *receipt, seconds(1.0)));
        }
        place.finding(kind).map(|found| found.text)
    };
    let late = finding(&[(receipt(0.1, 0), 3), (receipt(1.5, 0), 3)], FindingKind::Delayed).expect("it is slow");
    assert!(late.contains("3 of 6 clients"), "{late}");
    assert_eq!(finding(&[(receipt(0.1, 0), 4), (receipt(1.5, 0), 3)], FindingKind::Delayed), None);
    assert_eq!(finding(&[(receipt(1.5, 0), 2)], FindingKind::Delayed), None, "two are few");

    let padded = &[(receipt(5.0, 7 * 1024), 3)];
    let held = finding(padded, FindingKind::Buffering).expect("it holds");
    assert!(held.contains("less than 7 KiB"), "{held}");
    assert_eq!(finding(padded, FindingKind::Delayed), None, "that is why they are late");
}

#[test]
fn one_client_cannot_make_a_path_look_as_if_it_held_events() {
    let mut place = Place::new(NGINX);
    let path = place.arrive(1, None, 0.0).path;
    let liar = ticket(path, NonZeroU32::new(7));
    let browser = Signature::of_head(
        b"GET /events HTTP/1.0\r\nHost: upstream\r\nConnection: close\r\nUser-Agent: Mozilla/5.0 Firefox/153.0\r\n\r\n",
    );
    assert_eq!(browser.path(), place.signature.path());
    for _ in 0..25 {
        place.desk.held(&liar, seconds(1.0));
        place.desk.receipt(&liar, Receipt { late: Some(seconds(9.0)), padded: 1024 }, seconds(1.0));
    }
    let relief = |place: &mut Place, who| place.desk.arrive(&browser, &visitor(who, None), "sse", seconds(4.0)).relief;
    assert_eq!(relief(&mut place, 2), Relief::None);
    for kind in [FindingKind::Buffering, FindingKind::Delayed] {
        assert_eq!(place.finding(kind), None, "{kind:?}");
    }
    for prefix in [8, 9] {
        place.desk.held(&ticket(path, NonZeroU32::new(prefix)), seconds(3.0));
    }
    assert_eq!(relief(&mut place, 3), Relief::Padding, "three that are not one are believed");
    assert!(place.finding(FindingKind::Buffering).is_some(), "what is done is told");
    assert_eq!(place.arrive(4, None, 4.0).relief, Relief::None, "curl may not come back by itself");
}

#[test]
fn a_path_keeps_streams_of_clients_that_have_gone_if_those_come_back_while_they_are_open() {
    let mut place = Place::new(NGINX);
    for who in 1..=30 {
        place.arrive(who, None, who as f64);
        let is_lost = who % 10 == 0;
        let reason = if is_lost { EndReason::Superseded } else { EndReason::Limit };
        place.depart(who, Departure { reason: Some(reason), ..end(50.0, 3.0) }, who as f64 + 50.0);
    }
    let finding = place.finding(FindingKind::Zombies).expect("three of thirty");
    assert!(finding.text.contains("3 of 30") && finding.advice.contains("--heartbeat"), "{finding:?}");
}
