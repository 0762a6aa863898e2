//! A publisher that writes everything before it reads anything, as Python's http.client does: a gateway that waited for it
//! to read would wait for ever.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::publisher::post;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::long;
use crate::support::process::Process;

const KEY: &str = "a-key-for-this-test-alone";
const EVENT: &str = r#"{"topic":"lines","data":"line %d"}"#;

#[test]
fn python_publishes_all_it_has_before_it_reads_a_byte() {
    let gateway = gateway();
    let lines = count();
    let told = publish(&gateway, "/events", lines, EVENT);
    assert_eq!(
        (&told["written"], &told["status"], &told["answered"]),
        (&json!(lines), &json!(200), &json!(1)),
        "{told}"
    );
    assert_eq!((&told["last"]["published"], &told["last"]["errors"]), (&json!(lines), &json!([])), "{told}");
    assert_eq!(stored(&gateway), lines);
}

#[test]
fn python_gets_a_receipt_for_each_line_though_it_reads_none_before_the_end() {
    let gateway = gateway();
    let lines = count();
    let told = publish(&gateway, "/events?ack=each", lines, EVENT);
    // A receipt for each, and the sum.
    assert_eq!((&told["status"], &told["answered"]), (&json!(200), &json!(lines + 1)), "{told}");
    assert_eq!(told["last"]["published"], lines, "{told}");
    assert_eq!(stored(&gateway), lines);
}

#[test]
fn python_is_stopped_when_more_refusals_are_unread_than_are_kept() {
    let gateway = gateway();
    let told = publish(&gateway, "/events?ack=each", 1_000_000, r#"{"data":"line %d names no topic"}"#);
    let last = &told["last"];
    let detail = last["detail"].as_str().unwrap_or_default();
    assert!(last["status"] == 413 && detail.contains("unread"), "{told}");
    assert!(told["answered"].as_u64().is_some_and(|lines| (1000..500_000).contains(&lines)), "{told}");
    // It goes on for others.
    let outcome = post(gateway.url(), "/events/t", &[("Authorization", &format!("Bearer {KEY}"))], b"one");
    assert!(matches!(outcome, Ok((201, _))), "{outcome:?}");
    assert_eq!(stored(&gateway), 1);
}

/// A million where there is time for it.
fn count() -> u64 {
    if long() { 1_000_000 } else { 50_000 }
}

fn gateway() -> Gateway {
    Gateway::start_with(&["--retention-events", "2000000"], &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// What the client tells at its end.
fn publish(gateway: &Gateway, target: &str, lines: u64, line: &str) -> Value {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.deps/python/bin/python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/publish-lines.py"));
    command.args([gateway.address(), KEY, target, &lines.to_string(), line]);
    let process = Process::spawn(command);
    let told = process.line(Duration::from_secs(600));
    let told = told.unwrap_or_else(|| panic!("it does not end; its errors:\n{}", process.errors()));
    serde_json::from_str(&told).expect("a line of JSON")
}

/// How many events are in the log, of which nobody else writes one.
fn stored(gateway: &Gateway) -> u64 {
    let metrics = Request::get("/metrics").ask(gateway.admin_url().trim_start_matches("http://")).text();
    let value = metrics.lines().find_map(|line| line.strip_prefix("encke_log_last_offset "));
    value
        .expect("the metric is there")
        .parse::<f64>()
        .map(|offset| format!("{offset}").parse().expect("whole"))
        .expect("a number")
}
