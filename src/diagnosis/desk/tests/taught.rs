//! What teaches of a path, and what does not.

use super::*;

#[test]
fn open_streams_that_outlive_a_limit_refute_it() {
    let mut place = Place::new(NGINX);
    for nth in 0..12 {
        let at = 20.0 + 3.0 * f64::from(nth);
        let who = u64::try_from(nth).expect("not less than 0") + 1;
        place.arrive(who, None, 0.0);
        place.depart(who, end(at, 3.02), at);
    }
    let limit = |place: &Place| place.desk.limits().find_map(|[idle, _]| idle);
    assert!(limit(&place).is_some_and(|limit| limit >= seconds(3.02)), "{:?}", limit(&place));
    let open = ticket(place.arrive(99, None, 60.0).path, None);
    for nth in 0..20 {
        place.desk.outlives(&open, (Some(seconds(15.0)), None), seconds(60.0 + 2.0 * f64::from(nth)));
    }
    assert_eq!(limit(&place), None);
    assert_eq!(place.finding(FindingKind::IdleLimit), None);
}

#[test]
fn open_streams_that_outlive_a_limit_of_age_refute_it() {
    let mut place = Place::new(NGINX);
    for who in 1..=12_u64 {
        let at = 20.0 + 3.0 * who as f64;
        place.arrive(who, None, at - 4.0);
        place.depart(who, end(4.02, 0.1 * who as f64), at);
    }
    let limit = |place: &Place| place.desk.limits().find_map(|[_, age]| age);
    assert!(limit(&place).is_some_and(|limit| limit >= seconds(4.02)), "{:?}", limit(&place));
    assert!(place.finding(FindingKind::DurationLimit).is_some());
    let open = ticket(place.arrive(99, None, 60.0).path, None);
    for nth in 0..20 {
        place.desk.outlives(&open, (None, Some(seconds(40.0))), seconds(120.0 + 2.0 * f64::from(nth)));
    }
    assert_eq!(limit(&place), None);
    assert_eq!(place.finding(FindingKind::DurationLimit), None);
}

#[test]
fn who_says_goodbye_before_or_after_its_end_teaches_nothing() {
    for is_late in [false, true] {
        let mut place = Place::new(NGINX);
        for who in 1..=20_u64 {
            let at = 20.0 + 3.0 * who as f64;
            let stream = who.try_into().expect("not 0");
            place.arrive(who, None, at - 6.0);
            if !is_late {
                place.desk.goodbye(stream, seconds(at - 0.1));
            }
            place.depart(who, end(6.0, 3.02), at);
            if is_late {
                place.desk.goodbye(stream, seconds(at + 0.5));
            }
        }
        assert!(place.reasons(200.0).iter().all(|reason| *reason == EndReason::ClientGoodbye));
        assert_eq!(place.desk.report(seconds(200.0)).paths[0].findings, [], "said late: {is_late}");
    }
}

#[test]
fn goodbyes_at_once_are_no_restart_nor_are_people_who_leave_when_they_were_given_something() {
    for says_goodbye in [true, false] {
        let mut place = Place::new(NGINX);
        for who in 1..=30_u64 {
            place.arrive(who, None, 0.0);
        }
        for who in 1..=30_u64 {
            let at = 1000.0 + who as f64 / 50.0;
            if says_goodbye {
                place.desk.goodbye(who.try_into().expect("not 0"), seconds(at));
            }
            // All were told something a second ago, and open anew without a position.
            place.depart(who, end(100.0 + 30.0 * who as f64, 0.9), at);
            assert_eq!(place.arrive(100 + who, None, at + 0.5).back, None);
        }
        assert!(!place.reasons(1100.0).contains(&EndReason::ProxyRestart), "with a goodbye: {says_goodbye}");
    }
}

#[test]
fn what_nobody_comes_back_from_is_no_limit_where_no_intermediary_was_seen() {
    const CURL: &[u8] = b"GET /events HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n";
    for comes_back in [false, true] {
        let mut place = Place::new(CURL);
        for who in 1..=12_u64 {
            let at = 20.0 + 3.0 * who as f64;
            place.arrive(who, None, at - 7.0);
            place.depart(who, end(7.0 + who as f64, 3.02), at);
            if comes_back {
                place.arrive(who, Some(10), at + 1.0);
            }
        }
        assert_eq!(place.finding(FindingKind::IdleLimit).is_some(), comes_back);
    }
}

#[test]
fn who_examines_a_path_teaches_nothing() {
    let mut place = Place::new(NGINX);
    let mut settled = Vec::new();
    for who in 1..=20_u64 {
        let path = place.arrive(who, None, 0.0).path;
        let manner = Manner { examines: true, ..Manner::default() };
        let at = 20.0 + 3.0 * who as f64;
        place.desk.depart(path, visitor(who, None), end(at, 3.02), manner, seconds(at), &mut settled);
    }
    assert_eq!(place.finding(FindingKind::IdleLimit), None);
}

#[test]
fn one_client_that_makes_up_envoy_s_word_makes_no_finding() {
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nuser-agent: curl\r\nx-envoy-expected-rq-timeout-ms: 3000\r\nx-request-id: 1\r\n\r\n";
    for prefixes in [1, 3] {
        let mut place = Place::new(head);
        let mut settled = Vec::new();
        for who in 1..=9_u64 {
            let prefix = u32::try_from(1 + who % prefixes).ok().and_then(NonZeroU32::new);
            let visitor = Visitor { prefix, ..visitor(who, None) };
            let path = place.desk.arrive(&place.signature, &visitor, "sse", seconds(0.0)).path;
            let end = Departure { time_limit: Some(seconds(3.0)), ..end(3.05, 0.5) };
            let at = seconds(10.0 * who as f64);
            place.desk.depart(path, visitor, end, Manner::default(), at, &mut settled);
        }
        place.reasons(500.0);
        assert_eq!(place.finding(FindingKind::DurationLimit).is_some(), prefixes == 3, "{prefixes} prefixes");
    }
}
