//! Topics to which everybody may publish.

use serde_json::json;

use super::{KEY, NDJSON, data, metric};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

/// A gateway with topics `in/*` that are open to everybody, and what holds its configuration.
pub(super) fn gateway() -> (Gateway, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rules = "read = \"public\"\n[[topics]]\nmatch = \"in/*\"\nread = \"public\"\npublish = \"public\"\n";
    std::fs::write(file.path(), rules).expect("it can be written");
    let path = file.path().display().to_string();
    (Gateway::start_with(&["--config", &path], &[("ENCKE_PUBLISH_KEY", KEY)]), file)
}

#[test]
fn a_stranger_can_neither_use_up_a_key_of_the_backend_nor_learn_of_it() {
    let (gateway, _rules) = gateway();
    let anybody = |content: &str| Request::post("/events/in/x?key=order-42", content).ask(gateway.address()).status;
    let backend =
        |content: &str| Request::post("/events/orders?key=order-42", content).bearer(KEY).ask(gateway.address()).status;
    assert_eq!(anybody("a guess"), 201);
    assert_eq!(backend("the order"), 201, "it is not taken for another event of the stranger's");
    assert_eq!((backend("the order"), backend("another")), (200, 422));
    assert_eq!((anybody("a guess"), anybody("the order")), (200, 422), "of its own key only");
    let line = json!({ "topic": "in/y", "key": "order-43", "data": "x" }).to_string();
    for _ in 0..2 {
        let lines = Request::post("/events", line.clone()).field("Content-Type", NDJSON).ask(gateway.address());
        assert_eq!(lines.status, 200, "{}", lines.text());
    }
    assert_eq!(Request::post("/events/orders?key=order-43", "z").bearer(KEY).ask(gateway.address()).status, 201);
    assert_eq!(data(&gateway), ["a guess", "the order", "x", "z"]);
    assert_eq!(metric(&gateway, "encke_publish_duplicates_total"), 3.0);
}

#[test]
fn strangers_that_stop_in_the_midst_take_no_more_room_than_they_may_and_none_from_key_holders() {
    const LARGE: usize = 10 << 20;
    let (gateway, _rules) = gateway();
    let taken = |whose: &str| metric(&gateway, &format!("encke_publish_content_bytes{{publisher=\"{whose}\"}}"));
    let begin = || {
        let mut connection = Connection::open(gateway.address());
        let request = Request::post("/events", "").without("Content-Length").field("Content-Type", "application/json");
        connection.send(request.field("Content-Length", format!("{}", LARGE + 1)).head());
        connection
    };
    let mut held = begin();
    held.offer(" ".repeat(LARGE));
    wait_for("all that was sent to be counted", || taken("public") == (LARGE - (16 << 10)) as f64);
    let mut beyond = begin();
    beyond.offer(" ".repeat(LARGE));
    let refused = beyond.answer();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(
        refused.field("retry-after").is_some() && refused.text().contains("too much content"),
        "{}",
        refused.text()
    );
    assert_eq!(Request::post("/events/in/x", "small").ask(gateway.address()).status, 201);
    let batch = json!([{ "topic": "t", "data": "x".repeat(1 << 19) }, { "topic": "t", "data": "y".repeat(1 << 19) }]);
    let with_key = Request::post("/events", batch.to_string()).field("Content-Type", "application/json").bearer(KEY);
    assert_eq!(with_key.ask(gateway.address()).status, 201);
    assert_eq!((taken("public"), taken("key")), ((LARGE - (16 << 10)) as f64, 0.0));
    drop(held);
    wait_for("what was held to be given back", || taken("public") == 0.0);
}
