//! Why streams end, as the gateway tells it: who said goodbye, who came back, who was not given what was written, and the
//! report of it all.

mod browsers;
mod causes;
mod faults;
mod held;
mod prefixes;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

#[track_caller]
fn wait_for_end(gateway: &Gateway, reason: &str, count: f64) {
    let label = format!("reason=\"{reason}\"");
    wait_for(&format!("{count} ends as {reason}"), || gateway.metric("encke_stream_ends_total", &[&label]) == count);
}

/// A stream that has said hello, and its name.
#[track_caller]
fn follow(gateway: &Gateway, request: &Request) -> (Connection, String, String) {
    let mut stream = Connection::open(gateway.address());
    stream.send(request.bytes());
    let head = stream.head();
    assert_eq!(head.status, 200);
    let named = |name| head.field(name).unwrap_or_else(|| panic!("a stream has {name}"));
    let (id, cursor) = (named("encke-stream"), named("encke-cursor"));
    stream.chunks_until("encke.hello");
    (stream, id, cursor)
}

fn beacon(content: &str) -> Request {
    Request::post("/beacon", content).field("Content-Type", "text/plain")
}

#[test]
fn who_says_goodbye_has_left_by_itself() {
    let gateway = Gateway::start(&["--dev"]);
    let (stream, id, _) = follow(&gateway, &Request::get("/events/quiet"));
    let said = beacon(&format!("{{\"stream\":\"{id}\",\"reason\":\"goodbye\",\"visible\":false}}"));
    assert_eq!(said.ask(gateway.address()).status, 204);
    drop(stream);
    wait_for_end(&gateway, "client_goodbye", 1.0);

    let (stream, _, _) = follow(&gateway, &Request::get("/events/quiet"));
    drop(stream);
    wait_for_end(&gateway, "client_left", 1.0);
}

#[test]
fn a_beacon_that_cannot_be_read_is_told_what_to_mend() {
    let gateway = Gateway::start(&["--dev"]);
    let unknown = "0123456789abcdef0123456789abcdef";
    for (content, status, words) in [
        (String::new(), 400, "a beacon is JSON"),
        ("{\"reason\":\"goodbye\"}".into(), 400, "a beacon is JSON"),
        ("{\"stream\":\"x\"}".into(), 400, "32 of the characters"),
        (format!("{{\"stream\":\"{}\"}}", "x".repeat(2048)), 413, "at most 2048 bytes"),
        (format!("{{\"stream\":\"{unknown}\",\"reason\":\"goodbye\"}}"), 204, ""),
        (format!("{{\"stream\":\"{unknown}\",\"reason\":\"bored\",\"stalls\":[1]}}"), 204, ""),
    ] {
        let answer = beacon(&content).ask(gateway.address());
        assert_eq!(answer.status, status, "{content}: {}", answer.text());
        assert!(answer.text().contains(words), "{content}: {}", answer.text());
    }
    let foreign = beacon("{}").field("Origin", "https://elsewhere.example").ask(gateway.address());
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    assert_eq!(Request::get("/beacon").ask(gateway.address()).status, 405);
}

#[test]
fn who_comes_back_was_dropped_and_is_known_by_its_session_or_by_where_it_comes_from() {
    let gateway = Gateway::start_with(&["--dev"], &[("ENCKE_GRACE", "30")]);
    for (nth, query) in [(1.0, "?session=one"), (2.0, "")] {
        let request = Request::get(&format!("/events/quiet{query}"));
        let (stream, _, cursor) = follow(&gateway, &request);
        drop(stream);
        wait_for("the end to be seen", || gateway.metric("encke_streams_active", &[]) == 0.0);
        // Whoever loads a page anew says nothing of where it was: that is no return.
        drop(follow(&gateway, &request));
        let (stream, _, _) = follow(&gateway, &request.field("Last-Event-ID", &cursor));
        wait_for_end(&gateway, "dropped_came_back", nth);
        assert_eq!(gateway.metric("encke_reconnect_outage_seconds_count", &[]), nth);
        drop(stream);
        wait_for("the end to be seen", || gateway.metric("encke_streams_active", &[]) == 0.0);
    }
}

#[test]
fn what_was_written_and_did_not_arrive_is_counted_when_its_client_is_back() {
    let gateway = Gateway::start(&["--dev"]);
    let request = Request::get("/events/written?session=one");
    let (mut stream, _, cursor) = follow(&gateway, &request);
    for number in 0..5 {
        let publish = Request::post("/events/written", format!("number {number}"));
        assert_eq!(publish.ask(gateway.address()).status, 201);
        let other = Request::post("/events/elsewhere", "not for it");
        assert_eq!(other.ask(gateway.address()).status, 201);
    }
    stream.chunks_until("number 4");
    drop(stream);
    wait_for("the end to be seen", || gateway.metric("encke_streams_active", &[]) == 0.0);
    let (stream, _, _) = follow(&gateway, &request.field("Last-Event-ID", &cursor));
    assert_eq!(gateway.metric("encke_undelivered_at_reconnect_events_sum", &[]), 5.0);
    drop(stream);
}

#[test]
fn the_report_is_a_page_for_people_and_json_for_programs() {
    let gateway = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", "a-key-of-this-test-0123456789")]);
    let admin = gateway.admin_url().trim_start_matches("http://").to_owned();
    assert_eq!(Request::get("/diagnosis").ask(gateway.address()).status, 404, "never on the public listener");
    let key = "a-key-of-this-test-0123456789";
    let (stream, ..) = follow(&gateway, &Request::get("/events/quiet").field("User-Agent", "curl/8.0").bearer(key));

    let answer = Request::get("/diagnosis").ask(&admin);
    assert_eq!(answer.field("content-type").as_deref(), Some("application/json"));
    let report: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(report["ends"]["client_left"], 0);
    let path = &report["paths"][0];
    assert_eq!(
        (&path["streams"], &path["heartbeat_s"], &path["findings"]),
        (&1.into(), &15.0.into(), &Value::Array(vec![]))
    );

    let page = Request::get("/diagnosis").field("Accept", "text/html,*/*;q=0.8").ask(&admin);
    assert_eq!(page.field("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert!(page.field("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    let text = page.text();
    assert!(
        text.contains("No path is known to cut streams") && text.contains(path["path"].as_str().expect("a name")),
        "{text}"
    );
    drop(stream);
}
