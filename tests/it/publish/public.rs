//! Topics to which everybody may publish.

use serde_json::json;

use super::{KEY, NDJSON, data, metric};
use crate::support::gateway::Gateway;
use crate::support::http::Request;

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
