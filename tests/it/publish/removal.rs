//! `DELETE`: for good, and by whoever holds a key alone.

use serde_json::{Value, json};

use super::{KEY, data, gateway, metric, post, stored};
use crate::support::http::{Answer, Request};

fn delete(target: &str) -> Request {
    Request::new("DELETE", target).bearer(KEY)
}

#[track_caller]
fn deleted(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["deleted"].clone()
}

#[test]
fn events_are_removed_by_topic_and_by_cursor() {
    let gateway = gateway(&[]);
    for (target, content) in
        [("/events/a", "1"), ("/events/b?topic=a", "2"), ("/events/b", "3"), ("/events/c", "4"), ("/events/c", "5")]
    {
        assert_eq!(post(target, "text/plain", content).ask(gateway.address()).status, 201);
    }
    let events = stored(&gateway);
    let ask = |target: &str| deleted(&delete(target).ask(gateway.address()));
    assert_eq!(ask(&format!("/events/c?id={}", events[0].id)), 0, "it is on another topic");
    assert_eq!(ask("/events/a"), 2, "whatever other topics they are on");
    assert_eq!(ask("/events?topic=a"), 0, "once more is no harm");
    assert_eq!(ask("/events/nothing"), 0);
    assert_eq!(ask(&format!("/events/c?id={}", events[3].id)), 1);
    assert_eq!(ask(&format!("/events?id={}", events[2].id)), 1);
    assert_eq!(ask(&format!("/events?id={}", events[2].id)), 0);
    assert_eq!(ask("/events?id=zzzzzzzz-1"), 0, "a cursor of another log");
    assert_eq!(metric(&gateway, "encke_log_deleted_events_total"), 4.0);
    // What was asked for and is gone is told as a gap.
    let poll = Request::get("/events?topic=**&transport=long-poll&lastEventId=earliest").ask(gateway.address()).json();
    let left: Vec<&Value> = poll["events"].as_array().expect("events").iter().map(|event| &event["data"]).collect();
    assert_eq!(left, [&json!("5")], "{poll}");
}

#[test]
fn only_a_key_removes_and_whoever_has_none_learns_nothing() {
    let gateway = gateway(&[]);
    assert_eq!(post("/events/a", "text/plain", "1").ask(gateway.address()).status, 201);
    let id = stored(&gateway)[0].id.clone();
    let mut told = Vec::new();
    for target in
        ["/events/a", "/events/nothing", "/events/a*", &format!("/events?id={id}"), "/events?id=zzzzzzzz-1", "/events"]
    {
        for credential in [None, Some("another")] {
            let mut request = Request::new("DELETE", target);
            if let Some(credential) = credential {
                request = request.bearer(credential);
            }
            let answer = request.ask(gateway.address());
            assert_eq!(answer.status, 401, "{target}");
            told.push((credential, answer.text()));
        }
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 2, "one answer for whoever has no key, one for a wrong one: {told:?}");
    for (target, words) in [
        ("/events/a*", "holds no `*`"),
        ("/events?topic=**", "holds no `*`"),
        ("/events?topic=a&topic=b", "deletes one topic"),
        ("/events?id=1", "is the cursor of an event"),
        ("/events", "name what is deleted"),
        ("/events/a?key=b", "no parameter `key`"),
    ] {
        let answer = delete(target).ask(gateway.address());
        assert!(answer.status == 400 && answer.text().contains(words), "{target}: {}", answer.text());
    }
    let page = delete("/events/a").field("Origin", "https://evil.example").ask(gateway.address());
    assert_eq!(page.status, 403);
    assert_eq!(data(&gateway), ["1"]);
}
