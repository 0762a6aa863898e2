//! The description of the interface for programs (OpenAPI 3.1), made of what requests are read by and answers are written
//! with: the table of parameters, that of transports, and the closed sets of words. `docs/openapi.json` is a copy of it.
//!
//! By hand and not by annotations: handlers here read requests by themselves, and one URL has many answers.

mod schemas;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::parameter::{self, NO, Parameter, Takes, YES};
use super::{App, Options};
use crate::transport::{Format, Rendering, Resume};
use schemas::{one_of, reference, schemas};

/// `GET /openapi.json`: of this gateway, with its limits and the transports that it offers.
pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Response {
    let text = format!("{:#}\n", document(&app.options));
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

fn document(options: &Options) -> Value {
    let events = |place| events(&Described { place, options });
    let admin = json!([{ "url": "http://127.0.0.1:8081", "description": "the admin address; under --dev the same" }]);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Encke",
            "summary": "A gateway for live events on the web",
            "description": "Publish with POST, subscribe with GET, on the same path.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:8080" }],
        "security": [{}, { "key": [] }],
        "paths": {
            "/events": events(Place::Query),
            "/events/{topic}": events(Place::Path),
            "/beacon": { "post": beacon() },
            "/metrics": { "servers": admin.clone(), "get": metrics() },
            "/health/live": { "servers": admin.clone(), "get": health("live", "whether the process answers", &[]) },
            "/health/ready": {
                "servers": admin.clone(),
                "get": health("ready", "whether clients may be sent here", parameter::READY),
            },
            "/diagnosis": { "servers": admin.clone(), "get": diagnosis(), "delete": forget() },
            "/streams": { "servers": admin.clone(), "get": streams() },
            "/openapi.json": { "servers": admin, "get": description() },
        },
        "components": {
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "A publish key." },
                "adminKey": {
                    "type": "http", "scheme": "bearer",
                    "description": "An admin key. It is needed from another machine, or through a proxy.",
                },
            },
            "schemas": schemas(options),
        },
    })
}

/// Where the topic of an operation is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Query,
    Path,
}

/// An operation that is described.
struct Described<'a> {
    place: Place,
    options: &'a Options,
}

impl Described<'_> {
    /// Its id, of which each may occur once.
    fn id(&self, verb: &str) -> String {
        match self.place {
            Place::Query => verb.to_owned(),
            Place::Path => format!("{verb}Topic"),
        }
    }

    /// The parameters of `table`, the header fields, and the topic in the path.
    fn parameters(&self, table: &[&Parameter], fields: &[Value]) -> Value {
        let path = (self.place == Place::Path).then(|| {
            json!({
                "name": "topic", "in": "path", "required": true, "example": "orders/42",
                "description": "The topic. It is decoded once, and may hold `/` as it stands. Empty, `.` and `..` \
                                segments are refused: name such a topic in the query.",
                "schema": schemas::topic(),
            })
        });
        let rows = table.iter().map(|row| {
            let mut described = in_query(row, self.options.max_topics);
            if row.name == parameter::TRANSPORT.name {
                let names: Vec<_> = self.options.transports.iter().map(|transport| transport.name).collect();
                described["schema"] = json!({ "type": "string", "enum": names });
            }
            described
        });
        path.into_iter().chain(rows).chain(fields.iter().cloned()).collect()
    }

    /// The media type of each transport. `long-poll` and `poll` are the ones that end with their answer.
    fn transports(&self) -> Value {
        let mut content = Map::new();
        for transport in self.options.transports.iter() {
            let media = Rendering { format: transport.format, envelope: false }.content_type();
            let media = media.split(';').next().unwrap_or(media);
            let schema = match transport.format {
                Format::Answer => reference("Answer"),
                _ => json!({ "type": "string", "description": "One response that stays open." }),
            };
            content.insert(media.to_owned(), json!({ "schema": schema }));
        }
        Value::Object(content)
    }
}

fn events(of: &Described<'_>) -> Value {
    json!({ "get": subscribe(of), "post": publish(of, "publish"), "put": publish(of, "put"), "delete": delete(of) })
}

fn subscribe(of: &Described<'_>) -> Value {
    let fields = [
        in_field("Last-Event-ID", "Where to begin: after this cursor. It wins over all that the query says."),
        in_field("If-None-Match", "`poll`: the `ETag` of the answer before; 304 if nothing has come since."),
    ];
    let events = json!({
        "description": "The events, over the transport that was negotiated.",
        "headers": told(), "content": of.transports(),
    });
    json!({
        "operationId": of.id("subscribe"),
        "summary": "Subscribe: replay from a position, then each new event",
        "parameters": of.parameters(parameter::SUBSCRIBE, &fields),
        "responses": responses([
            ("200", events),
            ("204", bare("The stream was closed on a gap (`ongap=close`), and this client asks for the same again.")),
            ("304", bare("`poll`: nothing that matches has come since.")),
        ], &[400, 401, 403, 410, 421, 503]),
    })
}

/// What an answer says of itself.
fn told() -> Value {
    let resumes = [Resume::New, Resume::Resumed, Resume::Gap].map(Resume::as_str);
    json!({
        "Encke-Stream": { "description": "The id of the stream or poll.", "schema": { "type": "string" } },
        "Encke-Cursor": { "description": "Where it begins; of a poll, where the next one does.", "schema": reference("Cursor") },
        "Encke-Resume": { "description": "How it begins.", "schema": { "type": "string", "enum": resumes } },
    })
}

fn publish(of: &Described<'_>, verb: &str) -> Value {
    let key = in_field("Idempotency-Key", "The same as `key`.");
    let text = json!({ "type": "string" });
    let (table, content, stored);
    if of.place == Place::Path {
        table = parameter::PUBLISH.to_vec();
        content = json!({ "text/plain": { "schema": text }, "application/json": { "schema": {} }, "*/*": {} });
        stored = reference("Receipt");
    } else {
        table = [parameter::PUBLISH, parameter::PUBLISH_LINES].concat();
        let events = json!({ "type": "array", "maxItems": 8192, "items": reference("Published") });
        content = json!({
            "text/plain": { "schema": text },
            "application/json": { "schema": { "anyOf": [events, reference("Published"), {}] } },
            "application/x-ndjson": { "schema": text },
            "*/*": {},
        });
        stored = one_of(&["Receipt", "Receipts"]);
    }
    let again = if of.place == Place::Path { reference("Receipt") } else { one_of(&["Receipt", "Receipts", "Sum"]) };
    let lines = json!({ "schema": { "type": "string", "description": "`ack=each`: a receipt a line, then the sum." } });
    let mut all_there = json!({ "application/json": { "schema": again } });
    if of.place == Place::Query {
        all_there["application/x-ndjson"] = lines;
    }
    let description = format!(
        "With a topic (1 to {}) the content is one event, verbatim. Without one it is JSON: a list of events of \
         which all are stored or none, or a line an event.",
        of.options.max_topics
    );
    json!({
        "operationId": of.id(verb),
        "summary": "Publish",
        "description": description,
        "parameters": of.parameters(&table, &[key]),
        "requestBody": { "content": content },
        "responses": responses([
            ("201", json!({ "description": "Stored, as durably as the receipt says.", "content": { "application/json": { "schema": stored } } })),
            ("200", json!({ "description": "All of it was stored before; or the sum of lines.", "content": all_there })),
            ("204", bare("The form's field was stored.")),
            ("303", bare("The form's field was stored; go back to its page.")),
        ], &[400, 401, 403, 408, 413, 415, 421, 422, 429, 501, 503, 507]),
    })
}

fn delete(of: &Described<'_>) -> Value {
    json!({
        "operationId": of.id("delete"),
        "summary": "Remove events for good",
        "parameters": of.parameters(parameter::DELETE, &[]),
        "responses": responses([
            ("200", json!({ "description": "How many were removed.", "content": { "application/json": { "schema": reference("Deleted") } } })),
        ], &[400, 401, 403, 421, 503, 507]),
    })
}

fn metrics() -> Value {
    let text = json!({ "schema": { "type": "string" } });
    let forms = json!({ "application/openmetrics-text": text, "text/plain": text });
    json!({
        "operationId": "metrics", "summary": "Prometheus' text format, or OpenMetrics",
        "responses": responses([("200", json!({ "description": "Every series; with exemplars for who accepts OpenMetrics.", "content": forms }))], &[421]),
    })
}

fn beacon() -> Value {
    let word = json!({ "schema": reference("Beacon") });
    json!({
        "operationId": "beacon", "summary": "A client's word on its own stream",
        "requestBody": {
            "required": true, "description": "At most 2 KiB, of any media type, as `sendBeacon` sends `text/plain`.",
            "content": { "application/json": word, "text/plain": { "schema": { "type": "string" } } },
        },
        "responses": responses([("204", bare("It is heard. Of a stream that there is not nothing is said."))], &[400, 403, 408, 413, 421, 503]),
    })
}

/// On the gateway's machine nothing is needed.
fn for_operators() -> Value {
    json!([{}, { "adminKey": [] }])
}

fn diagnosis() -> Value {
    let forms = json!({
        "application/json": { "schema": reference("Diagnosis") },
        "text/html": { "schema": { "type": "string" } },
    });
    json!({
        "operationId": "diagnosis", "summary": "Why streams end, and what to change", "security": for_operators(),
        "responses": responses([("200", json!({ "description": "All that is known; a page for who accepts HTML.", "content": forms }))], &[401, 403, 421]),
    })
}

fn forget() -> Value {
    json!({
        "operationId": "forgetDiagnosis", "summary": "Forget what was learnt of a path, or of all", "security": for_operators(),
        "parameters": parameter::DIAGNOSIS.iter().map(|row| in_query(row, 1)).collect::<Value>(),
        "responses": responses([("204", json!({ "description": "It is forgotten. What was counted stays." }))], &[400, 401, 403, 404, 421]),
    })
}

fn streams() -> Value {
    let forms = json!({
        "application/json": { "schema": reference("Streams") },
        "text/html": { "schema": { "type": "string" } },
    });
    json!({
        "operationId": "streams", "summary": "Single streams: those that are open, and the last that ended",
        "security": for_operators(),
        "parameters": parameter::STREAMS.iter().map(|row| in_query(row, 1)).collect::<Value>(),
        "responses": responses([("200", json!({ "description": "What is known of them; a page for who accepts HTML.", "content": forms }))], &[400, 401, 403, 421]),
    })
}

fn health(id: &str, summary: &str, table: &[&Parameter]) -> Value {
    let state = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": reference("Health") } } });
    let refused: &[u16] = if table.is_empty() { &[421] } else { &[400, 421] };
    json!({
        "operationId": id, "summary": summary, "parameters": table.iter().map(|row| in_query(row, 1)).collect::<Value>(),
        "responses": responses([("200", state("It is well.")), ("503", state("It is not; the state says why."))], refused),
    })
}

fn description() -> Value {
    let json = json!({ "application/json": { "schema": { "type": "object" } } });
    json!({
        "operationId": "openapi", "summary": "This description",
        "responses": responses([("200", json!({ "description": "This.", "content": json }))], &[421]),
    })
}

/// Answers as they are given, and the refusals of these statuses.
fn responses<const N: usize>(given: [(&str, Value); N], refused: &[u16]) -> Value {
    let problems = refused.iter().map(|status| {
        let name = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
        let problem = json!({
            "description": name,
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        });
        (status.to_string(), problem)
    });
    given.into_iter().map(|(status, answer)| (status.to_owned(), answer)).chain(problems).collect::<Map<_, _>>().into()
}

/// An answer without content.
fn bare(description: &str) -> Value {
    json!({ "description": description })
}

/// A parameter as the description has it.
fn in_query(Parameter { name, takes, many, means, example }: &Parameter, most: usize) -> Value {
    let schema = match *takes {
        Takes::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Takes::Clamped(..) => json!({ "type": "number" }),
        Takes::Word(words) => json!({ "type": "string", "enum": words }),
        Takes::Flag => json!({ "type": "string", "enum": ([&YES[..], &NO[..]].concat()) }),
        Takes::Text(least, most) => {
            json!({ "type": "string", "minLength": least, "maxLength": most, "pattern": NO_CONTROLS })
        }
        Takes::Form(pattern) => json!({ "type": "string", "pattern": pattern }),
    };
    let (schema, example) = match *takes {
        _ if *many => (json!({ "type": "array", "items": schema, "maxItems": most }), json!([example])),
        Takes::Number(..) | Takes::Clamped(..) => (schema, example.parse::<u64>().map_or(json!(example), Value::from)),
        Takes::Word(_) | Takes::Flag | Takes::Text(..) | Takes::Form(_) => (schema, json!(example)),
    };
    json!({ "name": name, "in": "query", "description": means, "schema": schema, "example": example })
}

/// What names and keys are made of.
const NO_CONTROLS: &str = r"^[^\u0000-\u001F\u007F-\u009F]*$";

/// A header field of a request.
fn in_field(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" } })
}
