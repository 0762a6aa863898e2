//! What is in the answers and in the contents of requests.

use serde_json::{Value, json};

use super::super::Options;
use super::super::parameter::TOPIC_FORM;
use super::super::problem::REFUSALS;
use crate::diagnosis::{EndReason, FindingKind, Gone, Product};
use crate::event::{Cursor, EventType, Key, Topic};
use crate::log::{Durability, GapReason};

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(super) fn one_of(names: &[&str]) -> Value {
    json!({ "oneOf": names.iter().map(|name| reference(name)).collect::<Vec<_>>() })
}

pub(super) fn schemas(options: &Options) -> Value {
    let topics = topics(options);
    json!({
        "Cursor": cursor(),
        "Event": event(&topics),
        "Published": published(&topics),
        "Answer": object(&["cursor", "events"], &json!({
            "cursor": reference("Cursor"),
            "events": { "type": "array", "items": reference("Event") },
            "gap": reference("Gap"),
            "more": { "const": true, "description": "The log goes on behind `cursor`: ask again at once." },
        })),
        "Gap": gap(),
        "Receipt": object(&["id", "durability"], &json!({
            "id": reference("Cursor"), "durability": durability(),
            "duplicate": { "const": true, "description": "It was stored before; the cursor is the one from then." },
        })),
        "Receipts": { "type": "array", "items": reference("Receipt") },
        "Sum": sum(),
        "Deleted": object(&["deleted"], &json!({ "deleted": count() })),
        "Beacon": {
            "type": "object", "required": ["stream"],
            "properties": {
                "stream": { "type": "string", "pattern": "^[0-9a-f]{32}$", "description": "The `Encke-Stream` of the stream." },
                "reason": { "type": ["string", "null"], "description": "`goodbye`: the client leaves." },
            },
        },
        "Diagnosis": diagnosis(),
        "Streams": streams(),
        "Health": object(&["status"], &json!({ "status": { "type": "string" } })),
        "Problem": problem(),
    })
}

fn diagnosis() -> Value {
    let names = EndReason::ALL.map(EndReason::as_str);
    let ends = json!({ "type": "object", "propertyNames": { "enum": names }, "additionalProperties": count() });
    let seconds = json!({ "type": "number", "minimum": 0 });
    let perhaps = json!({ "type": ["number", "null"], "minimum": 0 });
    let word = |words: &[&str]| json!({ "type": "string", "enum": words });
    let text = json!({ "type": "string" });
    let finding = object(
        &["kind", "text", "advice"],
        &json!({ "kind": word(&FindingKind::ALL.map(FindingKind::as_str)), "text": text, "advice": text }),
    );
    let path = json!({
        "path": { "type": "string", "examples": ["nginx/h1.0/1", "direct/h1.1/0", "other"] },
        "product": word(&Product::ALL.map(Product::as_str)),
        "hops": { "type": "integer", "minimum": 0, "maximum": 3 },
        "streams": count(),
        "opened": count(),
        "idle_limit_s": perhaps,
        "duration_limit_s": perhaps,
        "idle_at_least_s": perhaps,
        "buffering": word(&["unknown", "none", "held"]),
        "confidence": { "enum": ["certain", "mixed", null] },
        "not_cut_for_s": perhaps,
        "relief": { "enum": ["padding", "finishing", null] },
        "relief_left_s": perhaps,
        "told_apart": { "type": "boolean" },
        "heartbeat_s": seconds,
        "returns": count(),
        "outage_s": seconds,
        "ends": ends,
        "findings": { "type": "array", "items": finding },
    });
    let paths = json!({ "type": "array", "items": all_of(&path) });
    object(&["ends", "undecided", "paths"], &json!({ "ends": ends, "undecided": count(), "paths": paths }))
}

fn streams() -> Value {
    let seconds = json!({ "type": "number", "minimum": 0 });
    let perhaps = json!({ "type": ["number", "null"], "minimum": 0 });
    let text = json!({ "type": "string" });
    let moment = json!({ "type": "string", "format": "date-time" });
    let name = json!({ "type": "string", "pattern": "^[0-9a-f]{8}$", "description": "The first eight digits of its `Encke-Stream`." });
    let path = json!({ "type": "string", "examples": ["nginx/h1.0/1", "direct/h1.1/0", "other"] });
    let live = all_of(&json!({
        "stream": name, "path": path, "transport": text, "age_s": seconds, "quiet_s": seconds, "heartbeat_s": seconds,
        "lag": count(), "not_taken_bytes": count(), "blocked_s": perhaps,
    }));
    let tcp = all_of(&json!({
        "unacknowledged": count(), "retransmitted": count(), "since_acknowledged_s": seconds, "not_sent_bytes": count(),
        "round_trip_ms": seconds,
    }));
    let back = all_of(&json!({
        "after_s": seconds, "known": { "type": "string", "enum": ["strong", "weak"] },
        "missed": { "type": ["integer", "null"], "minimum": 0 },
    }));
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
    let ended = all_of(&json!({
        "stream": name, "path": path, "transport": text, "opened": moment, "ended": moment, "age_s": seconds,
        "quiet_s": seconds, "quiet_before_s": seconds, "outlived_s": seconds,
        "last_sign": { "type": "string", "enum": Gone::ALL.map(Gone::as_str) }, "blocked_s": perhaps, "tcp": or_null(tcp),
        "reason": { "type": "string", "enum": EndReason::ALL.map(EndReason::as_str) }, "limit_s": perhaps,
        "waited": { "type": "boolean" }, "returned": or_null(back), "told": text,
    }));
    let counts = all_of(&json!({ "path": path, "transport": text, "streams": count() }));
    let list = |items: Value| json!({ "type": "array", "items": items });
    all_of(&json!({
        "open": count(), "counts": list(counts), "incomplete": { "type": ["string", "null"] }, "streams": list(live),
        "undecided": count(), "ended": list(ended),
    }))
}

/// An object that has all of these members, and no others.
fn all_of(properties: &Value) -> Value {
    let members: Vec<_> =
        properties.as_object().into_iter().flat_map(|members| members.keys()).map(String::as_str).collect();
    object(&members, properties)
}

/// An object of these members and no others.
fn object(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn cursor() -> Value {
    json!({
        "type": "string", "pattern": "^[0-9a-z]{8}-(0|[1-9][0-9]{0,19})$", "maxLength": Cursor::MAX_LEN,
        "description": "The place of an event in the log, the same on every transport. Opaque: keep it and send it back.",
        "examples": ["k3v9x0a1-7"],
    })
}

pub(super) fn topic() -> Value {
    json!({ "type": "string", "pattern": TOPIC_FORM, "maxLength": Topic::MAX_LEN, "examples": ["orders/42"] })
}

fn topics(options: &Options) -> Value {
    json!({ "type": "array", "minItems": 1, "maxItems": options.max_topics, "items": topic() })
}

fn key() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": Key::MAX_LEN })
}

fn kind() -> Value {
    json!({ "type": "string", "maxLength": EventType::MAX_LEN })
}

/// An event as subscribers are told it.
fn event(topics: &Value) -> Value {
    object(
        &["id", "topic", "type", "time", "data"],
        &json!({
            "id": reference("Cursor"), "topic": topic(), "topics": topics, "type": kind(),
            "contentType": { "type": "string" }, "encoding": { "const": "base64" },
            "time": { "type": "string", "format": "date-time", "description": "When it was stored." },
            "key": key(),
            "data": { "description": "JSON as it stands, text as a string, other bytes in base64." },
        }),
    )
}

/// An event of a batch. What is told to subscribers may be published as it stands.
fn published(topics: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["data"],
        "anyOf": [{ "required": ["topic"] }, { "required": ["topics"] }],
        "properties": {
            "topic": topic(), "topics": topics, "type": kind(), "data": {},
            "contentType": { "type": "string" }, "encoding": { "const": "base64" }, "key": key(), "conflate": key(),
            "ttl": { "type": ["number", "string"] }, "private": { "type": "boolean" },
        },
    })
}

fn gap() -> Value {
    object(
        &["asked", "first", "reason", "lost", "wait"],
        &json!({
            "asked": { "type": "string" }, "first": reference("Cursor"),
            "reason": { "type": "string", "enum": GapReason::ALL.map(GapReason::as_str) },
            "lost": { "type": ["integer", "null"], "description": "How many, if that is known." },
            "wait": { "type": "integer", "minimum": 0, "description": "Milliseconds to wait before the state is fetched anew." },
        }),
    )
}

fn durability() -> Value {
    let all = [Durability::Memory, Durability::Os, Durability::Fsync].map(Durability::as_str);
    json!({ "type": "string", "enum": all })
}

/// The sum of a stream of lines.
fn sum() -> Value {
    let line = object(&["line", "title"], &json!({ "line": count(), "title": { "type": "string" } }));
    let maybe = json!({ "anyOf": [reference("Cursor"), { "type": "null" }] });
    object(
        &["published", "duplicates", "refused", "ignored", "first", "last", "durability"],
        &json!({
            "published": count(), "duplicates": count(), "refused": count(), "ignored": count(),
            "first": maybe.clone(), "last": maybe, "durability": durability(),
            "errors": { "type": "array", "items": line },
        }),
    )
}

/// RFC 9457. The kinds are those of the metric `encke_refused_total`.
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What to mend." },
        },
        "description": format!("Refusals are counted by kind: {}.", REFUSALS.join(", ")),
    })
}
