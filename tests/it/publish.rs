//! Publishing, by real clients and in bytes: many events at once, streams of them, their parameters, forms, and removal.

mod batch;
mod clients;
mod forms;
mod limits;
mod public;
mod removal;
mod stream;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::told::{Told, all_after};
use crate::support::wait_for;

/// The key of the gateways in these tests.
const KEY: &str = "a-key-for-tests-of-publishing";

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A gateway that everybody may read.
#[track_caller]
fn gateway(options: &[&str]) -> Gateway {
    Gateway::start_with(&[&["--read", "public"], options].concat(), &[("ENCKE_PUBLISH_KEY", KEY)])
}

fn post(target: &str, media: &str, content: impl AsRef<[u8]>) -> Request {
    Request::post(target, content).bearer(KEY).field("Content-Type", media)
}

/// A publisher of lines that writes them as it pleases.
struct Lines(Connection);

impl Lines {
    /// Sends the head alone.
    fn open(gateway: &Gateway, target: &str) -> Self {
        let head = Request::new("POST", target).bearer(KEY).field("Content-Type", NDJSON);
        let mut connection = Connection::open(gateway.address());
        connection.send(head.field("Transfer-Encoding", "chunked").head());
        Self(connection)
    }

    fn write(&mut self, text: &str) {
        self.0.send(format!("{:x}\r\n{text}\r\n", text.len()));
    }

    /// The next lines of an answer that has begun: what the gateway wrote at once.
    #[track_caller]
    fn told(&mut self) -> Vec<Value> {
        as_lines(&self.0.chunk().expect("it goes on"))
    }

    /// All lines up to the end of the answer.
    #[track_caller]
    fn rest(&mut self) -> Vec<Value> {
        let content: Vec<u8> = std::iter::from_fn(|| self.0.chunk()).flatten().collect();
        as_lines(&content)
    }
}

fn as_lines(content: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(content).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// What is stored, by its data.
#[track_caller]
fn data(gateway: &Gateway) -> Vec<String> {
    stored(gateway).into_iter().map(|event| event.data).collect()
}

/// What is stored. A receipt says that an event is; readers are given it a moment later.
#[track_caller]
fn stored(gateway: &Gateway) -> Vec<Told> {
    let last = metric(gateway, "encke_log_last_offset");
    wait_for("readers to be given what is stored", || {
        let edge = Request::get("/events?topic=**&transport=long-poll").ask(gateway.address()).json();
        let offset = edge["cursor"].as_str().and_then(|cursor| cursor.split_once('-')?.1.parse::<f64>().ok());
        offset.expect("a cursor") >= last
    });
    all_after(gateway.address(), None)
}

fn ids(events: &[Told]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

/// The value of a metric, with its labels.
#[track_caller]
fn metric(gateway: &Gateway, series: &str) -> f64 {
    let text = Request::get("/metrics").ask(gateway.admin_url().trim_start_matches("http://")).text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is no {series}")).parse().expect("a number")
}
