//! Quotas of rules: what is too much is refused, and a stream is held up instead.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{JSON, KEY, NDJSON, data, metric, post};
use crate::support::gateway::Gateway;
use crate::support::http::Request;

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
