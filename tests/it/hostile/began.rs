//! How streams and polls begin, read from each transport.

use serde_json::Value;

use super::assert_guarded;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Connection, Request};
use crate::support::whatwg;

pub(super) const TRANSPORTS: [&str; 6] = ["sse", "ndjson", "long-poll", "poll", "multipart-replace", "multipart-mixed"];

/// Whether each answer of a transport is a response of its own.
pub(super) fn polls(transport: &str) -> bool {
    matches!(transport, "long-poll" | "poll")
}

/// How a stream or poll began, as far as its transport tells.
#[derive(Debug)]
pub(super) struct Began {
    pub(super) head: Answer,
    /// `Encke-Resume`
    resume: String,
    /// `Encke-Cursor`
    pub(super) cursor: String,
    /// What stands in the first write: hello and maybe a gap, each with its id.
    told: Vec<(String, String, Value)>,
    /// The gap of a poll.
    polled: Option<Value>,
    pub(super) connection: Connection,
}

impl Began {
    /// Opens a stream, or asks a poll, over `transport`.
    #[track_caller]
    pub(super) fn with(gateway: &Gateway, transport: &str, request: &Request) -> Self {
        let mut connection = Connection::open(gateway.address());
        connection.send(request.bytes());
        let head = if polls(transport) { connection.answer() } else { connection.head() };
        assert_eq!(head.status, 200, "{transport}: {head:?} {}", head.text());
        assert_guarded(transport, &head);
        let field = |name| head.field(name).unwrap_or_else(|| panic!("{transport}: no {name} in {head:?}"));
        let (resume, cursor) = (field("encke-resume"), field("encke-cursor"));
        assert_eq!(field("content-security-policy"), "sandbox");
        let told = match transport {
            "sse" => event_stream(&connection.chunk().expect("hello")),
            "ndjson" => json_lines(&connection.chunk().expect("hello")),
            "multipart-mixed" => parts(&connection.chunk().expect("hello")),
            _ => Vec::new(),
        };
        let polled = polls(transport).then(|| head.json().get("gap").cloned()).flatten();
        Self { head, resume, cursor, told, polled, connection }
    }

    /// The gap is told wherever the transport has a place for it: in one write with hello, which then has no id.
    #[track_caller]
    pub(super) fn assert_gap(&self, transport: &str, what: &str, reason: &str) -> Option<Value> {
        assert_eq!(self.resume, "gap", "{transport} {what}: {self:?}");
        let gap = match transport {
            "multipart-replace" => return None,
            "long-poll" | "poll" => self.polled.clone().unwrap_or_else(|| panic!("no gap for {what}: {self:?}")),
            _ => {
                let [(hello, hello_id, said), (kind, id, gap)] = &self.told[..] else {
                    panic!("{transport} {what}: hello and a gap in one write, and nothing else: {self:?}")
                };
                assert_eq!((hello.as_str(), hello_id.as_str()), ("encke.hello", ""), "{transport} {what}");
                assert_eq!(said["resume"], "gap", "{transport} {what}");
                assert_eq!((kind.as_str(), id), ("encke.gap", &self.cursor), "{transport} {what}");
                gap.clone()
            }
        };
        assert_eq!(gap["reason"], reason, "{transport} {what}: {gap}");
        assert!(gap["wait"].is_u64() && gap["first"].is_string(), "{transport} {what}: {gap}");
        Some(gap)
    }

    #[track_caller]
    pub(super) fn assert_no_gap(&self, transport: &str, what: &str, resume: &str) {
        assert_eq!(self.resume, resume, "{transport} {what}: {self:?}");
        assert_eq!(self.polled, None, "{transport} {what}");
        if let [(kind, id, said)] = &self.told[..] {
            assert_eq!((kind.as_str(), id), ("encke.hello", &self.cursor), "{transport} {what}");
            assert_eq!(said["resume"], resume, "{transport} {what}");
        } else {
            assert!(self.told.is_empty() && (polls(transport) || transport == "multipart-replace"), "{self:?}");
        }
    }
}

/// Type, id and data of each event.
fn event_stream(bytes: &[u8]) -> Vec<(String, String, Value)> {
    let mut parser = whatwg::Parser::new();
    let told = parser.feed(bytes).into_iter();
    told.map(|event| (event.kind, event.last_event_id, serde_json::from_str(&event.data).expect("JSON"))).collect()
}

/// The same of lines.
fn json_lines(bytes: &[u8]) -> Vec<(String, String, Value)> {
    let lines = std::str::from_utf8(bytes).expect("UTF-8").lines();
    lines
        .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("type"), text("id"), line["data"].clone())
        })
        .collect()
}

/// The same of mixed body parts.
fn parts(bytes: &[u8]) -> Vec<(String, String, Value)> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    let (delimiter, _) = text.split_once("\r\n").expect("a delimiter");
    let parts = text.split(delimiter).map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (head, content) = part.split_once("\r\n\r\n").expect("a head and its end");
            let field = |name| {
                let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                value.unwrap_or_default().to_owned()
            };
            let content: Value = serde_json::from_str(content).expect("JSON");
            if field("Encke-Type") == "encke.gap" {
                assert_eq!(content["reason"], field("Encke-Gap"), "{part}");
            }
            (field("Encke-Type"), field("Encke-Id"), content)
        })
        .collect()
}
