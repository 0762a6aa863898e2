//! What measurements mean: one finding each.

use http::{HeaderName, HeaderValue};

use super::*;
use crate::cli::doctor::finding::Level;
use crate::cli::doctor::http2::{End as End2, Head};
use crate::cli::doctor::opening::Compressed;
use crate::cli::doctor::stream::Answer;

const GATEWAYS: [(&str, &str); 3] =
    [("encke-stream", "x"), ("cache-control", "no-store, no-transform"), ("x-accel-buffering", "no")];

fn answer(fields: &[(&'static str, &'static str)]) -> Answer {
    let pairs = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Answer {
        status: 200,
        media_type: "text/event-stream".into(),
        location: None,
        fields: pairs.collect(),
        is_1_1: true,
        ends_with_connection: false,
        after: Duration::from_millis(1),
    }
}

/// A gateway over TLS with HTTP/2, and nothing on the way that does anything.
fn healthy() -> Facts {
    let time = |time| Some(Duration::from_millis(time));
    let opening = Opening {
        answer: Some(answer(&GATEWAYS)),
        head: time(1),
        first_byte: time(1),
        first_event: time(2),
        at_once: time(2),
        is_encke: true,
        heartbeat: time(15_000),
        patience: Duration::from_secs(5),
        ..Opening::default()
    };
    let together = Together { tried: 12, open: 12, troubles: Vec::new() };
    Facts { is_https: true, opening, chosen: Some("h2".into()), together, ..Facts::default() }
}

fn life(age: f64, quiet: f64, longest: f64) -> Life {
    let [age, quiet, longest] = [age, quiet, longest].map(Duration::from_secs_f64);
    Life { age, quiet, longest, end: Some(End::Cut), is_farewell: false, beat: None, clumps: 0 }
}

fn idle_after(seconds: f64) -> Vec<Life> {
    vec![life(seconds, seconds, 0.0), life(seconds, seconds, 0.0), life(2.0 * seconds, seconds, 5.0)]
}

/// Expects one finding, and gives it.
#[track_caller]
fn check(facts: &Facts, level: Level, name: &str, remedy: &str) -> Finding {
    let findings = facts.judged().findings;
    let [finding] = &findings[..] else { panic!("{findings:#?}") };
    assert_eq!((finding.level, finding.name), (level, name), "{finding:#?}");
    assert!(finding.remedy.first().map_or("", |first| first).contains(remedy), "{finding:#?}");
    finding.clone()
}

#[test]
fn of_a_healthy_path_there_is_nothing_to_say() {
    assert_eq!(healthy().judged().findings, []);
    let in_the_clear = Facts { is_https: false, chosen: None, ..healthy() };
    check(&in_the_clear, Level::Advice, "no-http2", "TLS");
}

#[test]
fn a_limit_of_silence_is_a_problem_where_the_heartbeat_is_too_slow_for_it() {
    let mut facts = Facts { lives: idle_after(10.1), ..healthy() };
    let finding = check(&facts, Level::Problem, "idle-limit", "between_bytes_timeout");
    assert!(finding.says.contains("silent for 10 s") && finding.says.contains("every 15.0 s"), "{finding:?}");
    assert!(finding.remedy.last().is_some_and(|last| last.contains("--heartbeat 5")), "{finding:?}");
    facts.lives = idle_after(60.2);
    check(&facts, Level::Advice, "idle-limit", "proxy_read_timeout");
    facts.opening.is_encke = false;
    facts.opening.heartbeat = None;
    check(&facts, Level::Problem, "idle-limit", "proxy_read_timeout");
}

#[test]
fn a_limit_of_age_is_always_a_problem() {
    let lives = vec![life(15.0, 15.0, 0.0), life(15.1, 0.1, 5.0), life(15.0, 4.0, 5.0)];
    check(&Facts { lives, ..healthy() }, Level::Problem, "duration-limit", "Envoy: `timeout: 0s`");
    let lives = vec![life(15.0, 1.0, 5.0), life(45.1, 0.1, 5.0)];
    check(&Facts { lives, ..healthy() }, Level::Problem, "cut", "measure again");
}

#[test]
fn what_is_held_back_is_told_with_what_releases_it() {
    let mut facts = healthy();
    facts.opening.first_event = None;
    facts.holding = Holding { released_by: Some(4096), is_tried: true };
    let finding = check(&facts, Level::Problem, "buffered", "padding=4096");
    assert!(finding.says.contains("4096 bytes"), "{finding:?}");
    facts.holding.released_by = None;
    facts.opening.answer = None;
    facts.opening.fields = answer(&[("server", "nginx")]).fields;
    let finding = check(&facts, Level::Problem, "held", "proxy_ignore_headers");
    assert!(finding.evidence.contains("not even the head") && finding.remedy.len() == 1, "{finding:?}");
}

#[test]
fn events_that_are_each_late_by_a_fifth_of_a_second_wait_in_haproxy() {
    let time = Duration::from_millis;
    let late = vec![time(205), time(207), time(209)];
    let facts = Facts { delay: Delay { late, published: 3, trouble: None, is_over: true }, ..healthy() };
    check(&facts, Level::Problem, "delayed", "http-no-delay");
    assert_eq!(facts.judged().marks[0].hop, Hop::HaProxy);
    let mut facts = healthy();
    facts.opening.first_event = Some(time(206));
    check(&facts, Level::Problem, "delayed", "http-no-delay");
    let delay = Delay { late: vec![time(1)], published: 3, trouble: None, is_over: true };
    check(&Facts { delay, ..healthy() }, Level::Problem, "missing", "nginx");
}

#[test]
fn what_was_done_to_the_head_is_told() {
    for (field, name, remedy) in [
        (("content-encoding", "gzip"), "compressed", "gzip_types"),
        (("content-length", "17"), "content-length", "proxy_buffering"),
        (("x-cache", "HIT from x"), "cached", "pass event streams"),
        (("cache-control", "public"), "cache-control", "proxy_hide_header"),
    ] {
        let mut facts = healthy();
        let fields: Vec<_> = GATEWAYS.iter().copied().filter(|known| known.0 != field.0).chain([field]).collect();
        facts.opening.answer = Some(answer(&fields));
        check(&facts, Level::Problem, name, remedy);
    }
    let mut facts = healthy();
    facts.opening.answer = Some(Answer { media_type: "text/html".into(), ..answer(&GATEWAYS) });
    check(&facts, Level::Problem, "media-type", "");
    facts.opening.answer = Some(Answer { is_1_1: false, ..answer(&GATEWAYS) });
    check(&facts, Level::Advice, "http-1.0", "");
}

#[test]
fn compression_is_a_problem_but_where_it_is_known_to_flush() {
    let mut facts = healthy();
    let compressed = |has_begun| Some(Compressed { coding: "gzip".into(), has_begun });
    facts.opening.compressed = compressed(true);
    check(&facts, Level::Problem, "compressed", "gzip_types");
    let fields: Vec<_> = GATEWAYS.iter().copied().chain([("server", "nginx")]).collect();
    facts.opening.answer = Some(answer(&fields));
    check(&facts, Level::Advice, "compressed", "nginx");
    facts.opening.compressed = compressed(false);
    check(&facts, Level::Problem, "compressed", "nginx");
}

#[test]
fn heartbeats_that_do_not_come_are_held_back() {
    let beat = Some(Duration::from_secs(5));
    let lives = vec![Life { beat, end: None, ..life(60.0, 30.0, 5.0) }];
    check(&Facts { lives, ..healthy() }, Level::Problem, "heartbeats", "proxy_buffering");
}

#[test]
fn of_another_server_some_things_are_said_with_care() {
    let mut facts = healthy();
    facts.opening.is_encke = false;
    facts.lives = vec![Life { end: None, clumps: 3, ..life(60.0, 1.0, 5.0) }];
    check(&facts, Level::Advice, "clumps", "proxy_buffering");
    facts.lives = vec![Life { end: Some(End::Ended), ..life(20.0, 0.1, 5.0) }; 2];
    check(&facts, Level::Advice, "duration-limit", "");
    facts.lives = vec![life(20.0, 0.1, 5.0); 2];
    check(&facts, Level::Problem, "duration-limit", "");
}

#[test]
fn streams_that_are_not_answered_were_not_watched() {
    let facts = Facts { watched: (11, 4), ..healthy() };
    check(&facts, Level::Problem, "unanswered", "measure again");
}

#[test]
fn what_browsers_will_meet_is_told() {
    let facts = Facts { chosen: Some("http/1.1".into()), ..healthy() };
    check(&facts, Level::Problem, "no-http2", "speak HTTP/2");
    let together = Together { tried: 12, open: 5, troubles: vec!["the answer has the status 429".into()] };
    let finding = check(&Facts { together, ..healthy() }, Level::Problem, "at-once", "limit_conn");
    assert!(finding.says.contains("browsers get HTTP/2 here"), "{finding:?}");
    let facts = Facts { half_close: HalfClose::Kept, ..healthy() };
    let finding = check(&facts, Level::Advice, "half-close", "abortonclose");
    assert!(finding.evidence.contains("close_notify"), "{finding:?}");
}

/// A gateway's stream over HTTP/2 that is as it should be after so many seconds, beside older ones over HTTP/1.1.
fn over_http2(seconds: u64) -> (Facts, Http2) {
    let head = Head { status: 200, media_type: "text/event-stream".into(), after: Duration::from_millis(1) };
    let (age, first_event) = (Duration::from_secs(seconds), Some(Duration::from_millis(2)));
    let lives = vec![Life { end: None, ..life(60.0, 1.0, 5.0) }; 3];
    (Facts { lives, ..healthy() }, Http2 { head: Some(head), first_event, age, ..Http2::default() })
}

#[track_caller]
fn check_http2(facts: &Facts, stream: Http2, level: Level, name: &str, evidence: &str) {
    let finding = check(&Facts { http2: Some(stream), ..facts.clone() }, level, name, "");
    assert!(finding.evidence.contains(evidence), "{finding:?}");
}

#[test]
fn over_http2_that_is_told_which_is_otherwise_over_http1() {
    let (facts, stream) = over_http2(20);
    assert_eq!(Facts { http2: Some(stream.clone()), ..facts.clone() }.judged().findings, []);

    let head = stream.head.clone().map(|head| Head { status: 502, ..head });
    let ended = Some(End2::Ended);
    let answered = Http2 { head, end: ended.clone(), ..stream.clone() };
    check_http2(&facts, answered, Level::Problem, "http2-refused", "status 502");
    let reset = Some(End2::Reset(h2::Reason::REFUSED_STREAM));
    let refused = Http2 { head: None, first_event: None, end: reset, ..stream.clone() };
    check_http2(&facts, refused, Level::Problem, "http2-refused", "RST_STREAM, REFUSED_STREAM");

    let held = Http2 { first_event: None, is_overdue: true, ..stream.clone() };
    check_http2(&facts, held.clone(), Level::Problem, "http2-held", "over HTTP/1.1 the first event came after 2.00 ms");
    let mut anybodys = facts.clone();
    anybodys.opening.is_encke = false;
    check_http2(&anybodys, held, Level::Advice, "http2-held", "but no event");

    let away = Some(End2::GoAway(h2::Reason::NO_ERROR));
    let cut = Http2 { end: away, ..stream.clone() };
    check_http2(&facts, cut, Level::Problem, "http2-cut", "(GOAWAY, NO_ERROR), 20.0 s after the request");
    check_http2(&anybodys, Http2 { end: ended, ..stream }, Level::Advice, "http2-cut", "streams became 60.0 s old");
}

#[test]
fn what_is_so_over_http1_or_was_announced_is_no_matter_of_http2() {
    let (facts, stream) = over_http2(20);
    let cut = Http2 { end: Some(End2::Cut), ..stream };
    let farewell = Http2 { is_farewell: true, ..cut.clone() };
    assert_eq!(Facts { http2: Some(farewell), ..facts.clone() }.judged().findings, []);
    let lives = vec![life(20.0, 1.0, 5.0), life(20.1, 1.0, 5.0)];
    check(&Facts { http2: Some(cut), lives, ..facts }, Level::Problem, "duration-limit", "");
    let mut held = healthy();
    held.opening.first_event = None;
    held.http2 = Some(Http2 { is_overdue: true, ..Http2::default() });
    check(&held, Level::Problem, "held", "");
}
