//! Quotas of rules: what is too much is refused, and a stream is held up instead.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{JSON, KEY, Lines, NDJSON, as_lines, data, metric, post};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::wait_for;

/// A gateway with a quota for `slow/*`, and what holds its configuration.
fn gateway(quota: &str) -> (Gateway, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rules = format!("read = \"public\"\n[[topics]]\nmatch = \"slow/*\"\nquota = \"{quota}\"\nttl = \"1h\"\n");
    std::fs::write(file.path(), rules).expect("it can be written");
    let path = file.path().display().to_string();
    (Gateway::start_with(&["--config", &path], &[("ENCKE_PUBLISH_KEY", KEY)]), file)
}

#[test]
fn what_is_beyond_the_quota_of_a_rule_is_refused_until_there_is_some_again() {
    let (gateway, _rules) = gateway("3/m");
    let publish = |topic: &str| Request::post(&format!("/events/{topic}"), "x").bearer(KEY).ask(gateway.address());
    for topic in ["slow/a", "slow/b", "slow/a"] {
        assert_eq!(publish(topic).status, 201, "{topic}");
    }
    let refused = publish("slow/b");
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait: u64 = refused.field("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    assert!(refused.json()["detail"].as_str().expect("words").contains("the quota of these topics is used up"));
    assert_eq!(publish("quick").status, 201, "no other topic is concerned");
    let batch = json!([{ "topic": "quick", "data": 1 }, { "topic": "slow/c", "data": 2 }]);
    assert_eq!(post("/events", JSON, batch.to_string()).ask(gateway.address()).status, 429);
    let never = json!([0, 1, 2, 3].map(|n| json!({ "topic": "slow/c", "data": n })));
    let refused = post("/events", JSON, never.to_string()).ask(gateway.address());
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.json()["detail"].as_str().expect("words").contains("3 events at once"));
    assert_eq!(data(&gateway), ["x", "x", "x", "x"], "all of a batch or nothing");
    assert_eq!(metric(&gateway, "encke_refused_total{reason=\"quota\"}"), 2.0);
}

#[test]
fn a_stream_beyond_the_quota_is_held_up_and_nothing_of_it_fails() {
    let (gateway, _rules) = gateway("20/s");
    let lines: String = (0..60).map(|number| format!("{{\"topic\":\"slow/a\",\"data\":\"{number}\"}}\n")).collect();
    let begun = Instant::now();
    let answer = post("/events", NDJSON, lines).ask(gateway.address());
    assert_eq!((answer.status, &answer.json()["published"]), (200, &json!(60)), "{}", answer.text());
    assert!(begun.elapsed() >= Duration::from_secs(2), "twenty at once, and forty at twenty a second");
    assert_eq!(data(&gateway), (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(metric(&gateway, "encke_refused_total{reason=\"quota\"}"), 0.0);
}

#[test]
fn a_stream_that_would_wait_too_long_for_its_quota_is_told_how_far_it_came() {
    let (gateway, _rules) = gateway("1/m");
    let line = |data: u32| format!("{{\"topic\":\"slow/a\",\"data\":\"{data}\"}}\n");
    let answer = post("/events", NDJSON, (0..5).map(line).collect::<String>()).ask(gateway.address());
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.field("retry-after").expect("when to come back").parse::<u64>().expect("seconds") > 30);
    assert_eq!((&answer.json()["published"], &answer.json()["stopped"]), (&json!(1), &json!(2)));
    let each = post("/events?ack=each", NDJSON, line(9)).ask(gateway.address());
    let last = as_lines(&each.content).pop().expect("a last line");
    assert_eq!((&last["status"], &last["stopped"]), (&json!(429), &json!(1)), "{last}");
}

#[test]
fn lines_of_a_publisher_that_is_gone_wait_for_no_quota() {
    // One more every 20 s: nobody would wait for that in a test, and the gateway must not for who is gone.
    let (gateway, _rules) = gateway("3/m");
    let mut lines = Lines::open(&gateway, "/events");
    let many: String = (0..400).map(|number| format!("{{\"topic\":\"slow/a\",\"data\":\"{number}\"}}\n")).collect();
    lines.write(&many);
    wait_for("what is allowed at once to be stored", || metric(&gateway, "encke_log_last_offset") >= 3.0);
    assert_eq!(
        metric(&gateway, "encke_publish_streams_active"),
        1.0,
        "the rest waits as long as its publisher is there"
    );
    drop(lines);
    let begun = Instant::now();
    wait_for("the stream to end", || metric(&gateway, "encke_publish_streams_active") == 0.0);
    assert!(metric(&gateway, "encke_log_last_offset") < 10.0, "{:?}", begun.elapsed());
}

#[test]
fn repeats_and_what_is_refused_take_nothing_of_a_quota() {
    let (gateway, _rules) = gateway("2/m");
    let publish = |target: &str, content: &str| {
        Request::post(&format!("/events/slow/a?{target}"), content).bearer(KEY).ask(gateway.address()).status
    };
    assert_eq!(publish("key=k", "x"), 201);
    for _ in 0..5 {
        assert_eq!((publish("key=k", "x"), publish("key=k", "other")), (200, 422));
    }
    let line = |key: &str, data: &str| format!("{{\"topic\":\"slow/a\",\"key\":\"{key}\",\"data\":\"{data}\"}}\n");
    let lines = line("k", "other") + &line("k", "x") + &line("new", "y");
    let answer = post("/events", NDJSON, lines).ask(gateway.address());
    assert_eq!((answer.status, &answer.json()["published"]), (200, &json!(1)), "{}", answer.text());
    assert_eq!(publish("", "too much"), 429);
}
