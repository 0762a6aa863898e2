//! A client that is a page in a browser.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::Value;

use super::publisher::{Event, LAST, TYPES, escaped};
use super::reading::{Client, as_lines};
use crate::support::browser::{Browser, Kind};
use crate::support::page_server::{PageServer, page};

/// What is on a page: how it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    EventSource,
    FetchEventSource,
    JsonLines,
    LongPoll,
}

impl Script {
    fn source(self) -> &'static str {
        match self {
            Self::EventSource => include_str!("../../clients/pages/event-source.js"),
            Self::FetchEventSource => include_str!("../../clients/pages/fetch-event-source.js"),
            Self::JsonLines => include_str!("../../clients/pages/json-lines.js"),
            Self::LongPoll => include_str!("../../clients/pages/long-poll.js"),
        }
    }
}

/// A page that reads one topic, from another origin than the gateway's, and tells every event.
pub(crate) struct PageClient {
    server: PageServer,
    /// None: somebody else has opened it.
    _browser: Option<Browser>,
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
        Self { _browser: Some(browser), ..Self::of(server, kind, script) }
    }

    /// The same over TLS, in a browser that trusts this authority.
    pub(crate) fn open_trusting(authority: &Path, kind: Kind, script: Script, gateway: &str, topic: &str) -> Self {
        let server = server(script);
        let browser = Browser::open_trusting(authority, kind, &address(&server, gateway, topic), &[]);
        Self { _browser: Some(browser), ..Self::of(server, kind, script) }
    }

    /// What a page tells that is opened by other means.
    pub(crate) fn of(server: PageServer, kind: Kind, script: Script) -> Self {
        Self { server, _browser: None, kind, script, told: VecDeque::new() }
    }
}

/// Serves the page.
pub(crate) fn server(script: Script) -> PageServer {
    let server = PageServer::start();
    server.file("/tell.js", "text/javascript; charset=utf-8", include_str!("../../clients/pages/tell.js"));
    server.page("/", &page(script.source()));
    if script == Script::FetchEventSource {
        // Its modules import one another without an ending.
        for module in ["fetch", "parse"] {
            server.file(&format!("/fetch-event-source/{module}"), "text/javascript; charset=utf-8", &library(module));
        }
    }
    server
}

/// A module of npm's fetch-event-source.
fn library(module: &str) -> String {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.deps/npm/node_modules");
    let path = format!("{installed}/@microsoft/fetch-event-source/lib/esm/{module}.js");
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error} (`tests/run --install-only` installs what is missing)"))
}

/// What fetch-event-source (2.0.1) makes of data: it takes a leading BOM off each line, and forgets lines that are empty
/// as long as nothing has come before them.
fn as_fetch_event_source_keeps(data: &str) -> String {
    let lines = as_lines(data);
    let lines = lines.split('\n').map(|line| line.strip_prefix('\u{feff}').unwrap_or(line));
    lines.skip_while(|line| line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The address of the page that reads `topic` at a gateway.
pub(crate) fn address(server: &PageServer, gateway: &str, topic: &str) -> String {
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
        match self.script {
            Script::EventSource => as_event_source_keeps(self.kind, data),
            Script::FetchEventSource => as_fetch_event_source_keeps(data),
            Script::JsonLines | Script::LongPoll => data.to_owned(),
        }
    }

    fn polls(&self) -> bool {
        self.script == Script::LongPoll
    }
}
