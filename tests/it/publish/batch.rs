//! A JSON array of events: all or none.

use serde_json::{Value, json};

use super::{JSON, data, gateway, ids, metric, post, stored};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};

#[track_caller]
fn publish(gateway: &Gateway, events: &Value) -> Answer {
    post("/events", JSON, events.to_string()).ask(gateway.address())
}

/// The problem document of a batch of which nothing was stored.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, errors: &Value) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(&answer.json()["errors"], errors, "{}", answer.text());
}

#[test]
fn an_array_is_stored_in_its_order_with_a_receipt_each() {
    let gateway = gateway(&[]);
    let answer = publish(
        &gateway,
        &json!([
            { "topic": "a", "data": "text" },
            { "topics": ["b", "c"], "type": "paid", "key": "k", "data": { "total": 12.5 } },
            { "topic": "a", "data": "iVBORw==", "encoding": "base64", "contentType": "image/png" },
            { "topics": ["b", "c"], "type": "paid", "key": "k", "data": { "total": 12.5 } },
        ]),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    let receipts = answer.json();
    let events = stored(&gateway);
    let expected: Vec<Value> = [0, 1, 2, 1].iter().map(|at| json!(ids(&events)[*at])).collect();
    assert_eq!(
        receipts.as_array().expect("a list").iter().map(|told| told["id"].clone()).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(receipts[1], json!({ "id": expected[1], "durability": "fsync" }));
    assert_eq!(receipts[3], json!({ "id": expected[1], "durability": "fsync", "duplicate": true }));
    assert_eq!(data(&gateway), ["text", "{\"total\":12.5}", "iVBORw=="]);
    let picture = Request::get("/events/a?transport=long-poll&last=1").ask(gateway.address()).json();
    assert_eq!(
        (&picture["events"][0]["contentType"], &picture["events"][0]["encoding"]),
        (&json!("image/png"), &json!("base64"))
    );
    assert_eq!(metric(&gateway, "encke_published_total"), 3.0);
    assert_eq!(metric(&gateway, "encke_publish_duplicates_total"), 1.0);
    assert_eq!(metric(&gateway, "encke_published_bytes_total"), f64::from(4 + 14 + 4));

    let again =
        publish(&gateway, &json!([{ "topics": ["b", "c"], "type": "paid", "key": "k", "data": { "total": 12.5 } }]));
    assert_eq!((again.status, &again.json()[0]["duplicate"]), (200, &json!(true)), "nothing was made");
}

#[test]
fn a_bad_event_is_named_and_keeps_the_others_from_being_stored() {
    let gateway = gateway(&[]);
    let good = json!({ "topic": "a", "data": 1 });
    let answer = publish(&gateway, &json!([good, { "topic": "a*", "data": 1 }, good, "x", { "topic": "a", "dta": 1 }]));
    let titles = answer.json()["errors"].as_array().expect("a list").clone();
    assert_eq!(titles.iter().map(|error| error["index"].clone()).collect::<Vec<_>>(), [1, 3, 4]);
    assert!(titles[0]["title"].as_str().expect("words").contains("holds no `*`"), "{titles:?}");
    assert!(titles[2]["title"].as_str().expect("words").contains("no member `dta`"), "{titles:?}");
    assert_eq!(answer.status, 400);
    assert!(answer.json()["detail"].as_str().expect("words").starts_with("3 of 5 events cannot be published"));

    let conflict = json!([good, { "topic": "a", "data": 1, "key": "k" }, { "topic": "a", "data": 2, "key": "k" }]);
    let reused = json!([{ "index": 2, "title": "the key was used before, for an event with other content" }]);
    assert_refused(&publish(&gateway, &conflict), 422, &reused);
    assert_eq!(data(&gateway), [""; 0], "all of it or nothing");
    // The key of what was not stored is free.
    let answer = publish(&gateway, &json!([{ "topic": "a", "data": 2, "key": "k" }]));
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn what_is_no_batch_is_refused_with_what_to_mend() {
    let gateway = gateway(&[]);
    let refuse = |request: &Request, status: u16, words: &str| {
        let answer = request.ask(gateway.address());
        let detail = answer.json()["detail"].as_str().expect("words").to_owned();
        assert!(answer.status == status && detail.contains(words), "{status} {words}: {} {detail}", answer.status);
    };
    refuse(&post("/events", JSON, "[1"), 400, "not a JSON array of events (line 1, column 2)");
    refuse(&post("/events", JSON, "1"), 400, "not a JSON array of events");
    refuse(&post("/events", JSON, b"[\"\xff\"]"), 400, "the batch is not UTF-8");
    refuse(&post("/events", JSON, "{\"data\":1}"), 400, "names its `topic`");
    refuse(&post("/events?type=x", JSON, "[]"), 400, "each event names its own");
    refuse(&post("/events", JSON, "[]").field("Idempotency-Key", "k"), 400, "each event of a batch its `key`");
    refuse(&post("/events", JSON, "[]").field("Content-Encoding", "gzip"), 415, "Content-Encoding");
    refuse(&post("/events", "text/plain", "x"), 400, "name a topic");
    refuse(&Request::post("/events", "[]").field("Content-Type", JSON), 401, "publishing needs a key");
    let many = format!("[{}{{}}]", "{},".repeat(8192));
    refuse(&post("/events", JSON, many), 413, "at most 8192 events");
    let large = post("/events", JSON, "").without("Content-Length").field("Content-Length", (17 << 20).to_string());
    refuse(&large, 413, "a batch has at most 16777216 bytes");
    let event = json!([{ "topic": "a", "data": "x".repeat((1 << 20) + 1) }]);
    refuse(&post("/events", JSON, event.to_string()), 413, "1 of 1 events cannot be published");
    assert_eq!(data(&gateway), [""; 0]);

    let empty = post("/events", JSON, "[]").ask(gateway.address());
    assert_eq!((empty.status, empty.json()), (200, json!([])));
    let one = post("/events", JSON, "{\"topic\":\"a\",\"data\":\"x\"}").ask(gateway.address());
    assert_eq!((one.status, &one.json()["durability"]), (201, &json!("fsync")));
    // Where a topic is named, JSON is data like any other.
    for target in ["/events/a", "/events?topic=a"] {
        assert_eq!(post(target, JSON, "[1]").ask(gateway.address()).status, 201, "{target}");
    }
    assert_eq!(data(&gateway), ["x", "[1]", "[1]"]);
}
