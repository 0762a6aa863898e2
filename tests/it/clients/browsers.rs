//! The `EventSource` of both browsers, npm's fetch-event-source, and readers of a few lines on `fetch`, on pages of another origin.

use super::page_client::{PageClient, Script};
use super::reading::comes_back_with_every_event;
use crate::support::browser::Kind;
use crate::support::gateway::Gateway;

#[test]
fn event_source_in_chromium_comes_back_with_every_event() {
    comes_back(Kind::Chromium, Script::EventSource);
}

#[test]
fn event_source_in_firefox_comes_back_with_every_event() {
    comes_back(Kind::Firefox, Script::EventSource);
}

#[test]
fn fetch_event_source_in_chromium_comes_back_with_every_event() {
    comes_back(Kind::Chromium, Script::FetchEventSource);
}

#[test]
fn fetch_event_source_in_firefox_comes_back_with_every_event() {
    comes_back(Kind::Firefox, Script::FetchEventSource);
}

#[test]
fn json_lines_in_chromium_come_back_with_every_event() {
    comes_back(Kind::Chromium, Script::JsonLines);
}

#[test]
fn json_lines_in_firefox_come_back_with_every_event() {
    comes_back(Kind::Firefox, Script::JsonLines);
}

#[test]
fn long_polling_in_chromium_comes_back_with_every_event() {
    comes_back(Kind::Chromium, Script::LongPoll);
}

#[test]
fn long_polling_in_firefox_comes_back_with_every_event() {
    comes_back(Kind::Firefox, Script::LongPoll);
}

fn comes_back(kind: Kind, script: Script) {
    let mut gateway = Gateway::start(&["--dev"]);
    let client = PageClient::open(kind, script, gateway.url(), "orders");
    comes_back_with_every_event(&mut gateway, "orders", client);
}
