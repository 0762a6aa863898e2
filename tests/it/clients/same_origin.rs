//! The `EventSource` of both browsers on the gateway's own origin, where both come back by themselves for as long as it
//! takes. Pages of the gateway's have no script of ours, so a debugger puts the `EventSource` there.

use std::process::Command;

use super::libraries::events;
use super::page_client::{as_event_source_keeps, told};
use super::publisher::{Event, LAST, TYPES};
use super::reading::{Client, comes_back_with_every_event, is_told_of_a_gap};
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

#[test]
fn event_source_in_chromium_at_home_comes_back_with_every_event() {
    comes_back(Kind::Chromium);
}

#[test]
fn event_source_in_firefox_at_home_comes_back_with_every_event() {
    comes_back(Kind::Firefox);
}

#[test]
fn event_source_in_chromium_is_told_of_a_gap() {
    told_of_a_gap(Kind::Chromium);
}

#[test]
fn event_source_in_firefox_is_told_of_a_gap() {
    told_of_a_gap(Kind::Firefox);
}

fn comes_back(kind: Kind) {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = Debugged::event_source(kind, &gateway);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

fn told_of_a_gap(kind: Kind) {
    let mut gateway = Gateway::start(&["--dev", "--retention-events", "50"]);
    let client = Debugged::event_source(kind, &gateway);
    is_told_of_a_gap(&mut gateway, "orders", client);
}

/// A browser, and a script that looks into it.
pub(crate) struct Debugged {
    kind: Kind,
    script: Process,
    _browser: Browser,
}

impl Debugged {
    fn event_source(kind: Kind, gateway: &Gateway) -> Self {
        // A page without scripts of its own.
        let page = format!("{}/static/live.css", gateway.url());
        let kinds = TYPES.into_iter().chain([LAST, "encke.hello", "encke.gap", "encke.bye"]);
        let args: Vec<String> = [page, events(gateway)].into_iter().chain(kinds.map(str::to_owned)).collect();
        Self::start(kind, "event-source-in-page.mjs", &args)
    }

    /// Opens a browser and starts a script of `tests/clients` that is told where its debugger listens.
    pub(crate) fn start(kind: Kind, script: &str, args: &[String]) -> Self {
        let mut browser = Browser::open(kind, "about:blank", &["--remote-debugging-port=0"]);
        let (endpoint, protocol) = debugger(kind, &mut browser);
        let mut command = Command::new("node");
        command.arg(format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR")));
        command.args([&endpoint, protocol]).args(args);
        Self { kind, script: Process::spawn(command), _browser: browser }
    }

    /// The script.
    pub(crate) fn script(&mut self) -> &mut Process {
        &mut self.script
    }
}

/// Where the browser's debugger listens, as the browser says, and what it speaks.
fn debugger(kind: Kind, browser: &mut Browser) -> (String, &'static str) {
    let (words, path, protocol) = match kind {
        Kind::Chromium => ("DevTools listening on ", "", "cdp"),
        Kind::Firefox => ("WebDriver BiDi listening on ", "/session", "webDriverBiDi"),
    };
    let process = browser.process();
    let mut told = None;
    wait_for("the browser to say where its debugger listens", || {
        let errors = process.errors();
        told = errors.split_once(words).and_then(|(_, rest)| Some(rest.split_once('\n')?.0.trim().to_owned()));
        told.is_some()
    });
    (format!("{}{path}", told.expect("it was told")), protocol)
}

impl Client for Debugged {
    fn next(&mut self) -> Event {
        let line = self.script.line(2 * PATIENCE);
        let line = line.unwrap_or_else(|| panic!("no further event; the script's errors:\n{}", self.script.errors()));
        told(&serde_json::from_str(&line).expect("a line of JSON"))
    }

    fn keeps(&self, data: &str) -> String {
        as_event_source_keeps(self.kind, data)
    }
}
