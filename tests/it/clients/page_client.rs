//! A client that is a page in a browser.

use std::collections::VecDeque;

use serde_json::Value;

use super::publisher::{Event, LAST, TYPES, escaped};
use super::reading::{Client, as_lines};
use crate::support::browser::{Browser, Kind};
use crate::support::page_server::{PageServer, page};

/// What is on a page: how it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    EventSource,
    JsonLines,
    LongPoll,
}

impl Script {
    fn source(self) -> &'static str {
        match self {
            Self::EventSource => include_str!("../../clients/pages/event-source.js"),
            Self::JsonLines => include_str!("../../clients/pages/json-lines.js"),
            Self::LongPoll => include_str!("../../clients/pages/long-poll.js"),
        }
    }
}

/// A page that reads one topic, from another origin than the gateway's, and tells every event.
pub(crate) struct PageClient {
    server: PageServer,
    _browser: Browser,
    kind: Kind,
    script: Script,
    told: VecDeque<Event>,
}

impl PageClient {
    pub(crate) fn open(kind: Kind, script: Script, gateway: &str, topic: &str) -> Self {
        Self::open_on(server(script), kind, script, gateway, topic)
    }

    /// The same with a server that is there already, as its address had to be known.
    pub(crate) fn open_on(server: PageServer, kind: Kind, script: Script, gateway: &str, topic: &str) -> Self {
        let browser = Browser::open(kind, &address(&server, gateway, topic), &[]);
        Self { server, _browser: browser, kind, script, told: VecDeque::new() }
    }
}

/// Serves the page.
pub(crate) fn server(script: Script) -> PageServer {
    let server = PageServer::start();
    server.file("/tell.js", "text/javascript; charset=utf-8", include_str!("../../clients/pages/tell.js"));
    server.page("/", &page(script.source()));
    server
}

/// The address of the page that reads `topic` at a gateway.
fn address(server: &PageServer, gateway: &str, topic: &str) -> String {
    let kinds = TYPES.iter().chain([&LAST, &"encke.hello", &"encke.gap", &"encke.bye"]);
    let kinds: String = kinds.map(|kind| format!("&type={}", escaped(kind))).collect();
    let events = format!("{gateway}/events?topic={topic}&retry=500");
    server.url(&format!("/?url={}{kinds}", escaped(&events)))
}

/// What pages and scripts tell: `[type, id, data]`.
pub(crate) fn told(value: &Value) -> Event {
    let text = |index: usize| value[index].as_str().unwrap_or_else(|| panic!("no text in {value}")).to_owned();
    Event { kind: text(0), id: text(1), data: text(2) }
}

/// Firefox (ESR 153) leaves out every NUL.
pub(crate) fn as_event_source_keeps(kind: Kind, data: &str) -> String {
    let data = as_lines(data);
    if kind == Kind::Firefox { data.replace('\0', "") } else { data }
}

impl Client for PageClient {
    fn next(&mut self) -> Event {
        while self.told.is_empty() {
            let batch = self.server.result();
            self.told.extend(batch.as_array().expect("pages tell in batches").iter().map(told));
        }
        self.told.pop_front().expect("the loop above waits for one")
    }

    fn keeps(&self, data: &str) -> String {
        if self.script == Script::EventSource { as_event_source_keeps(self.kind, data) } else { data.to_owned() }
    }

    fn polls(&self) -> bool {
        self.script == Script::LongPoll
    }
}
