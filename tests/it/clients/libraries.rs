//! Event stream clients from registries: npm's `eventsource`, `PyPI`'s `httpx-sse` and `requests-sse`; and what Python
//! brings along for body parts.

use std::process::Command;

use super::page_client::told;
use super::publisher::{Event, LAST, TYPES};
use super::reading::{Client, as_lines, comes_back_with_every_event, is_told_of_a_gap};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::process::Process;

#[test]
fn npm_eventsource_comes_back_with_every_event() {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = npm_eventsource(&gateway);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[test]
fn npm_eventsource_is_told_of_a_gap() {
    let mut gateway = Gateway::start(&["--dev", "--retention-events", "50"]);
    let client = npm_eventsource(&gateway);
    is_told_of_a_gap(&mut gateway, "orders", client);
}

#[test]
fn pypi_httpx_sse_comes_back_with_every_event() {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = pypi_httpx_sse(&gateway);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[test]
fn pypi_httpx_sse_is_told_of_a_gap() {
    let mut gateway = Gateway::start(&["--dev", "--retention-events", "50"]);
    let client = pypi_httpx_sse(&gateway);
    is_told_of_a_gap(&mut gateway, "orders", client);
}

#[test]
fn pypi_requests_sse_comes_back_with_every_event() {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = pypi_requests_sse(&gateway);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[test]
fn pypi_requests_sse_is_told_of_a_gap() {
    let mut gateway = Gateway::start(&["--dev", "--retention-events", "50"]);
    let client = pypi_requests_sse(&gateway);
    is_told_of_a_gap(&mut gateway, "orders", client);
}

#[test]
fn python_reads_every_part_with_its_email_parser_and_comes_back() {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = ScriptClient::of(python("multipart-mixed.py", &gateway), str::to_owned);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[test]
fn python_is_told_of_a_gap_as_a_part() {
    let mut gateway = Gateway::start(&["--dev", "--retention-events", "50"]);
    let client = ScriptClient::of(python("multipart-mixed.py", &gateway), str::to_owned);
    is_told_of_a_gap(&mut gateway, "orders", client);
}

fn npm_eventsource(gateway: &Gateway) -> ScriptClient {
    let mut command = Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/eventsource.mjs"));
    command.arg(events(gateway)).args(TYPES).args([LAST, "encke.hello", "encke.gap", "encke.bye"]);
    ScriptClient::of(command, as_lines)
}

fn pypi_httpx_sse(gateway: &Gateway) -> ScriptClient {
    ScriptClient::of(python("httpx-sse.py", gateway), as_lines)
}

fn pypi_requests_sse(gateway: &Gateway) -> ScriptClient {
    ScriptClient::of(python("requests-sse.py", gateway), as_requests_sse_keeps)
}

fn python(script: &str, gateway: &Gateway) -> Command {
    python_at(script, &events(gateway))
}

/// One of the scripts in Python, with the address that it reads.
pub(crate) fn python_at(script: &str, url: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.deps/python/bin/python"));
    command.arg(format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"))).arg(url);
    command
}

/// requests-sse (0.5.3) takes every leading space off a line of data, and every empty line off its end.
pub(crate) fn as_requests_sse_keeps(data: &str) -> String {
    let lines = as_lines(data);
    let lines: Vec<&str> = lines.split('\n').map(|line| line.trim_start_matches(' ')).collect();
    lines.join("\n").trim_end_matches('\n').to_owned()
}

/// The address of the events, for clients that are quick to come back.
pub(crate) fn events(gateway: &Gateway) -> String {
    format!("{}/events?topic=orders&retry=500", gateway.url())
}

/// A script that prints each event as a line of JSON.
pub(crate) struct ScriptClient {
    process: Process,
    /// What the library makes of data.
    keeps: fn(&str) -> String,
}

impl ScriptClient {
    pub(crate) fn of(command: Command, keeps: fn(&str) -> String) -> Self {
        Self { process: Process::spawn(command), keeps }
    }
}

impl Client for ScriptClient {
    fn next(&mut self) -> Event {
        let line = self.process.line(PATIENCE);
        let line = line.unwrap_or_else(|| panic!("no further event; its errors:\n{}", self.process.errors()));
        told(&serde_json::from_str(&line).expect("a line of JSON"))
    }

    fn keeps(&self, data: &str) -> String {
        (self.keeps)(data)
    }
}
