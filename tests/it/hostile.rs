//! Bad input, met by the whole gateway: each answer says what to mend, carries every guard, and is followed by others.
//!
//! Requests are sent as bytes, so that no client mends them on the way.

mod began;
mod crowd;
mod doors;
mod framing;
mod heads;
mod markup;
mod publish;
mod script;
mod secrets;
pub(crate) mod start;
mod stop;
mod subscribe;
mod token;

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};
use crate::support::wait_for;

/// The key of the gateways in these tests.
const KEY: &str = "a-key-for-tests-only-0123456789";

/// A gateway as in production, where everybody may read: no demo topic writes in between.
fn gateway() -> Gateway {
    Gateway::start_with(&["--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// Everything that is stored, by topic and data, in order.
fn stored(gateway: &Gateway) -> Vec<(String, Value)> {
    let last = gateway.metric("encke_log_last_offset", &[]);
    let mut answer = Value::Null;
    // A receipt says that an event is stored; readers are given it a moment later.
    wait_for("readers to be given what is stored", || {
        let all = Request::get("/events?topic=**&lastEventId=earliest&transport=long-poll&timeout=0");
        answer = all.ask(gateway.address()).json();
        let offset = answer["cursor"].as_str().and_then(|cursor| cursor.split_once('-')?.1.parse::<f64>().ok());
        offset.expect("a cursor") >= last || answer["more"] == true
    });
    assert_ne!(answer["more"], true, "one answer holds what a test publishes");
    let events = answer["events"].as_array().expect("a list of events");
    events.iter().map(|event| (event["topic"].as_str().expect("a topic").to_owned(), event["data"].clone())).collect()
}

/// A refusal: a problem document (RFC 9457) with all four members, whose detail has these `words` in it.
#[track_caller]
fn assert_refused(what: &str, answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?} {}", answer.text());
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"), "{what}: {answer:?}");
    assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"), "{what}: {answer:?}");
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap_or_default();
    let whole = json!({ "type": "about:blank", "title": answer.reason, "status": status, "detail": detail });
    assert_eq!(problem, whole, "{what}");
    assert!(!words.is_empty() && detail.contains(words), "{what}: {words:?} is not in {detail:?}");
    assert_guarded(what, answer);
}

/// What every answer of ours carries.
#[track_caller]
fn assert_guarded(what: &str, answer: &Answer) {
    assert_eq!(answer.field("x-content-type-options").as_deref(), Some("nosniff"), "{what}: {answer:?}");
    assert_eq!(answer.field("referrer-policy").as_deref(), Some("no-referrer"), "{what}: {answer:?}");
    let sharing = answer.field("cross-origin-resource-policy");
    assert!(matches!(sharing.as_deref(), Some("same-origin" | "cross-origin")), "{what}: {answer:?}");
}

/// The gateway serves on, by the same process, and nothing in it has panicked.
#[track_caller]
fn assert_alive(gateway: &mut Gateway) {
    let answer = Request::get("/events/t?transport=long-poll&timeout=0").ask(gateway.address());
    assert_eq!(answer.status, 200, "{answer:?}");
    let errors = gateway.process().errors();
    assert!(!errors.contains("panicked"), "{errors}");
}
