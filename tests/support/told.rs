//! Events as a gateway tells them in JSON, line by line or page by page.

use std::io::{self, BufRead};

use serde_json::Value;

use super::http1::{Connection, Stream};

/// An event as it is told in a line of JSON, or in the list of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) key: Option<String>,
    pub(crate) data: String,
}

impl Told {
    pub(crate) fn of(event: &Value) -> Self {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        Self {
            id: text("id").unwrap_or_default(),
            kind: text("type").unwrap_or_default(),
            key: text("key"),
            data: text("data").unwrap_or_else(|| event["data"].to_string()),
        }
    }

    /// The offset of the cursor `EPOCH-OFFSET`.
    pub(crate) fn offset(&self) -> u64 {
        let offset = self.id.split_once('-').and_then(|(_, offset)| offset.parse().ok());
        offset.unwrap_or_else(|| panic!("no cursor: {self:?}"))
    }
}

/// Opens a stream of JSON lines after `last` (or with the first event there is).
pub(crate) fn lines_after(gateway: &str, topic: &str, last: Option<&str>) -> io::Result<Stream> {
    let fields = [("Last-Event-ID", last.unwrap_or("earliest"))];
    Connection::open(gateway)?.stream(&format!("/events?topic={topic}&transport=ndjson"), &fields)
}

/// The next line that is not a heartbeat; `None` at an end that the gateway meant.
pub(crate) fn next_line(stream: &mut impl BufRead) -> io::Result<Option<Told>> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            continue;
        }
        let event: Value = serde_json::from_str(&line)?;
        return Ok(Some(Told::of(&event)));
    }
}

/// Every event after `last` that is there now, page by page. Panics if one of them is said to be missing.
#[track_caller]
pub(crate) fn all_after(gateway: &str, last: Option<&str>) -> Vec<Told> {
    let mut connection = Connection::open(gateway).expect("the gateway listens");
    let mut last = last.unwrap_or("earliest").to_owned();
    let mut all = Vec::new();
    loop {
        let target = "GET /events?topic=**&transport=long-poll&timeout=0&limit=1000";
        let answer = connection.exchange(target, &[("Last-Event-ID", last.as_str())], b"").expect("an answer");
        let page: Value = serde_json::from_slice(&answer.content).expect("a poll is answered in JSON");
        assert_eq!((answer.status, &page["gap"]), (200, &Value::Null), "nothing after {last} is missing: {page}");
        all.extend(page["events"].as_array().expect("a list of events").iter().map(Told::of));
        page["cursor"].as_str().expect("a poll ends at a cursor").clone_into(&mut last);
        if page["more"] != true {
            return all;
        }
    }
}
