//! A tab that is hidden: npm's fetch-event-source leaves then, and comes back with its last id once the tab is shown.

use super::page_client::{PageClient, Script, address, server};
use super::publisher::publish;
use super::reading::Reading;
use super::same_origin::Debugged;
use crate::support::browser::Kind;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::{PATIENCE, wait_for};

#[test]
fn fetch_event_source_in_chromium_leaves_while_its_tab_is_hidden_and_misses_nothing() {
    misses_nothing_while_hidden(Kind::Chromium);
}

#[test]
fn fetch_event_source_in_firefox_leaves_while_its_tab_is_hidden_and_misses_nothing() {
    misses_nothing_while_hidden(Kind::Firefox);
}

fn misses_nothing_while_hidden(kind: Kind) {
    let gateway = Gateway::start(&["--dev"]);
    let server = server(Script::FetchEventSource);
    let mut tab = Debugged::start(kind, "hidden-tab.mjs", &[address(&server, gateway.url(), "orders")]);
    let mut reading = Reading::of(PageClient::of(server, kind, Script::FetchEventSource));
    is_told(&mut tab, "visible");

    reading.hello("new");
    let publish = |n: usize| publish(gateway.url(), "orders", "message", n.to_string(), n);
    let mut published = vec![publish(0), publish(1)];
    reading.more(2);

    tab.script().signal("USR2");
    is_told(&mut tab, "hidden");
    wait_for("the gateway to see it leave", || {
        let metrics = Request::get("/metrics").ask(gateway.address()).text();
        metrics.contains("\nencke_streams_active{transport=\"sse\"} 0\n")
    });
    published.extend([publish(2), publish(3), publish(4)]);

    tab.script().signal("USR2");
    is_told(&mut tab, "visible");
    reading.hello("resumed");
    reading.more(3);
    published.push(publish(5));
    reading.more(1);
    reading.has_seen(&published);
}

#[track_caller]
fn is_told(tab: &mut Debugged, state: &str) {
    let line = tab.script().line(2 * PATIENCE);
    assert_eq!(line.as_deref(), Some(state), "its errors:\n{}", tab.script().errors());
}
