//! `EventSource` behind nginx, in both browsers: it sees each event at once, and survives the gateway.

use serde_json::Value;

use super::publish;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::nginx::{Configuration, Nginx};
use crate::support::page_server::{PageServer, page};

#[test]
fn each_event_reaches_chromium_before_the_next_is_published() {
    each_event_flows_at_once(Kind::Chromium);
}

#[test]
fn each_event_reaches_firefox_before_the_next_is_published() {
    each_event_flows_at_once(Kind::Firefox);
}

#[test]
fn an_event_source_in_chromium_survives_a_killed_gateway() {
    survives(Kind::Chromium, |gateway| gateway.kill9());
}

#[test]
fn an_event_source_in_firefox_survives_a_killed_gateway() {
    survives(Kind::Firefox, |gateway| gateway.kill9());
}

#[test]
fn an_event_source_in_chromium_survives_a_gateway_that_drains() {
    survives(Kind::Chromium, drain);
}

#[test]
fn an_event_source_in_firefox_survives_a_gateway_that_drains() {
    survives(Kind::Firefox, drain);
}

#[test]
fn without_the_rule_an_event_source_in_chromium_is_closed_for_good() {
    is_closed_for_good(Kind::Chromium);
}

#[test]
fn without_the_rule_an_event_source_in_firefox_is_closed_for_good() {
    is_closed_for_good(Kind::Firefox);
}

fn drain(gateway: &mut Gateway) {
    gateway.terminate();
    gateway.wait();
}

/// Reads three transports at once: `EventSource`, and `fetch` for the others. The heads come before any event.
fn each_event_flows_at_once(kind: Kind) {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let script = FLOW.replace("BASE", &nginx.url());
    let server = PageServer::of_script(&script);
    let _browser = Browser::open(kind, &server.url("/"), &[]);
    let expect = |what: &str| {
        let mut seen: Vec<String> = (0..3).map(|_| server.result().to_string()).collect();
        seen.sort();
        let expected: Vec<_> = ["multipart-replace", "ndjson", "sse"].map(|name| format!("\"{name} {what}\"")).into();
        assert_eq!(seen, expected);
    };
    expect("open");
    for number in 1..=5 {
        let data = format!("event-{number}");
        publish(&nginx.url(), "browsers/flow", &data);
        expect(&data);
    }
}

const FLOW: &str = r#"
const source = new EventSource("BASE/events/browsers/flow");
source.onopen = () => report("sse open");
source.onmessage = (event) => report("sse " + event.data);
async function read(transport) {
  const answer = await fetch("BASE/events/browsers/flow?transport=" + transport);
  report(transport + " open");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", told = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(transport + " has ended");
    text += value;
    // The last state may be shown again: only what is new counts.
    for (; text.includes(`event-${told + 1}`); told++) report(`${transport} event-${told + 1}`);
  }
}
read("ndjson");
read("multipart-replace");
"#;

/// What an `EventSource` of a page has reported.
struct Watched {
    server: PageServer,
    opened: usize,
    events: Vec<String>,
}

impl Watched {
    /// Takes reports until `enough`. Panics if the `EventSource` is ever CLOSED.
    #[track_caller]
    fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            match self.server.result() {
                Value::String(said) if said == "open" => self.opened += 1,
                Value::String(data) => self.events.push(data),
                state => assert_eq!(state, 0, "after an error it is CONNECTING, never CLOSED; {:?}", self.events),
            }
        }
    }
}

/// 1. A page reads two events. 2. The gateway goes. 3. The page asks again and again, and nginx answers. 4. The gateway
///    is back, and more is published, before and after the page finds out. 5. The page has every event once.
fn survives(kind: Kind, stop: impl FnOnce(&mut Gateway)) {
    let mut gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let server = PageServer::of_script(&WATCH.replace("BASE", &nginx.url()));
    let _browser = Browser::open(kind, &server.url("/"), &[]);
    let mut page = Watched { server, opened: 0, events: Vec::new() };
    let publish = |data| publish(&nginx.url(), "browsers/watched", data);

    page.until(|page| page.opened == 1);
    publish("one");
    publish("two");
    page.until(|page| page.events.len() == 2);

    stop(&mut gateway);
    // Each `open` from here on is an answer of nginx, as there is nobody else.
    page.until(|page| page.opened == 3);

    gateway.restart();
    publish("three");
    publish("four");
    page.until(|page| page.events.len() == 4);
    publish("five");
    page.until(|page| page.events.len() >= 5);
    assert_eq!(page.events, ["one", "two", "three", "four", "five"]);
}

/// With credentials, which ask the most of an answer to a page of another origin.
const WATCH: &str = r#"
const source = new EventSource("BASE/events/browsers/watched", { withCredentials: true });
source.onopen = () => report("open");
source.onmessage = (event) => report(event.data);
source.onerror = () => report(source.readyState);
"#;

/// The proof that the rule matters: the same nginx without it.
fn is_closed_for_good(kind: Kind) {
    let mut gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).without_the_rule());
    let server = PageServer::start();
    server.page("/", &page(&LOST.replace("BASE", &nginx.url())));
    let _browser = Browser::open(kind, &server.url("/"), &[]);
    assert_eq!(server.result(), "open");

    gateway.kill9();
    assert_eq!(server.result(), 0, "its stream has ended and it asks again");
    assert_eq!(server.result(), 2, "nginx says 502, and it is CLOSED");

    gateway.restart();
    publish(&nginx.url(), "browsers/lost", "missed");
    server.file("/restarted", "text/plain", "");
    // A second one reads what the first has missed; that one is still CLOSED and has not seen it.
    assert_eq!(server.result(), serde_json::json!({ "second": "missed", "first": 2 }));
}

const LOST: &str = r#"
const first = new EventSource("BASE/events/browsers/lost");
first.onopen = () => report("open");
first.onmessage = (event) => report({ first: event.data });
first.onerror = () => report(first.readyState);
while (first.readyState !== EventSource.CLOSED || !(await fetch("/restarted")).ok)
  await new Promise((resolve) => setTimeout(resolve, 50));
const second = new EventSource("BASE/events/browsers/lost?lastEventId=earliest");
second.onmessage = (event) => report({ second: event.data, first: first.readyState });
"#;
