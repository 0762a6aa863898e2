//! The ends that real browsers cause: tabs that are closed, pages that are left, crashes, devices that sleep. Whoever leaves has
//! left, and nobody else is blamed for it.

use serde_json::{Value, json};

use crate::support::browser::{Browser, Kind};
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::page_server::{PageServer, page};
use crate::support::wait_for;

macro_rules! in_both {
    ($($test:ident)*) => {
        mod chromium {
            $(#[test] fn $test() { super::$test(super::Kind::Chromium); })*
        }
        mod firefox {
            $(#[test] fn $test() { super::$test(super::Kind::Firefox); })*
        }
    };
}

in_both! {
    pages_that_are_left_have_left_and_those_that_say_goodbye_are_believed
    a_browser_that_is_killed_has_left
    a_seventh_stream_of_one_page_waits_for_a_place_and_that_is_told
    a_long_sleep_is_a_slow_reader_that_comes_back_and_has_missed_nothing
    a_short_sleep_ends_nothing
}

/// 1. One page opens eight tabs: four ways to leave, with and without a goodbye. 2. Each tab says when its stream is there, and
///    leaves. 3. The two that were loaded again have a stream once more.
fn pages_that_are_left_have_left_and_those_that_say_goodbye_are_believed(kind: Kind) {
    let [silent, polite] = [Gateway::start(&["--dev"]), Gateway::start(&["--dev"])];
    let server = PageServer::start();
    server.page("/tab", &page(TAB));
    server.page("/elsewhere", &page(""));
    server.page("/", &page(&TABS.replace("SILENT", silent.url()).replace("POLITE", polite.url())));
    let _browser = Browser::open(kind, &server.url("/"), &[]);
    let mut said: Vec<Value> = (0..10).map(|_| server.result()).collect();
    said.sort_by_key(Value::to_string);
    assert_eq!(said, ["away", "away", "close", "close", "reload", "reload", "reloaded", "reloaded", "tab", "tab"]);

    for (gateway, reason) in [(&silent, "client_left"), (&polite, "client_goodbye")] {
        let ends = confusion::wait_for_ends(gateway, 4);
        confusion::note_ends(reason, Limit::Known, &ends);
        assert_eq!(ends, of(reason, 4));
        assert_eq!(gateway.metric("encke_streams_active", &[]), 1.0, "the page that was loaded again has one");
        finds_nothing(gateway);
    }
}

/// Opens each tab; that nobody clicked for it is allowed to these browsers.
const TABS: &str = r#"
for (const way of ["tab", "away", "close", "reload"]) {
  open(`/tab?way=${way}&gateway=SILENT`);
  open(`/tab?way=${way}&gateway=POLITE&polite`);
}
"#;

/// What is left in one way or another as soon as its stream is there.
const TAB: &str = r#"
const asked = new URL(location).searchParams;
const [gateway, way] = [asked.get("gateway"), asked.get("way")];
const source = new EventSource(`${gateway}/events/quiet?session=${way}`);
source.addEventListener("encke.hello", async ({ data }) => {
  if (performance.getEntriesByType("navigation")[0].type === "reload") {
    report("reloaded");
    return;
  }
  const content = JSON.stringify({ stream: JSON.parse(data).stream, reason: "goodbye", visible: false });
  const goodbye = () => asked.has("polite") && navigator.sendBeacon(`${gateway}/beacon`, content);
  await report(way);
  if (way === "close") {
    goodbye();
    source.close();
    return;
  }
  addEventListener("pagehide", goodbye);
  if (way === "tab") close();
  if (way === "away") location.href = "/elsewhere";
  if (way === "reload") location.reload();
});
"#;

fn a_browser_that_is_killed_has_left(kind: Kind) {
    let gateway = Gateway::start(&["--dev"]);
    let server = PageServer::of_script(&THREE.replace("GATEWAY", gateway.url()));
    let mut browser = Browser::open(kind, &server.url("/"), &[]);
    assert_eq!(server.result(), "three are open");
    browser.process().kill9();

    let ends = confusion::wait_for_ends(&gateway, 3);
    confusion::note_ends("client_left", Limit::Known, &ends);
    assert_eq!(ends, of("client_left", 3));
    finds_nothing(&gateway);
}

const THREE: &str = r#"
let open = 0;
for (const name of ["a", "b", "c"]) {
  const source = new EventSource(`GATEWAY/events/${name}`);
  source.addEventListener("encke.hello", () => ++open === 3 && report("three are open"));
}
"#;

/// Browsers open six connections of HTTP/1.1 to one origin. The seventh stream is in nobody's hands but the browser's: what the
/// gateway sees are six streams, and then one that leaves and one that comes.
fn a_seventh_stream_of_one_page_waits_for_a_place_and_that_is_told(kind: Kind) {
    let gateway = Gateway::start(&["--dev"]);
    let server = PageServer::of_script(&SEVEN.replace("GATEWAY", gateway.url()));
    let _browser = Browser::open(kind, &server.url("/"), &[]);
    for count in 1..=6 {
        assert_eq!(server.result(), json!({ "open": count }));
    }
    for _ in 0..3 {
        publish(&gateway, "seven", "news");
        assert_eq!(server.result(), "six have the news");
    }
    assert_eq!(opened_and_active(&gateway), (6.0, 6.0), "the seventh is not even asked for");
    assert_eq!(confusion::ends(&gateway), Ends::new());
    finds_that_all_connections_are_used(&gateway);

    publish(&gateway, "seven", "close the first");
    assert_eq!(server.result(), json!({ "open": 7 }));
    let ends = confusion::wait_for_ends(&gateway, 1);
    confusion::note_ends("client_left", Limit::Known, &ends);
    assert_eq!(ends, of("client_left", 1));
    assert_eq!(opened_and_active(&gateway), (7.0, 6.0));
    finds_that_all_connections_are_used(&gateway);
}

const SEVEN: &str = r#"
let [open, told, first] = [0, 0, null];
for (let number = 0; number < 7; number++) {
  const source = new EventSource(`GATEWAY/events/seven?session=${number}`);
  source.addEventListener("encke.hello", () => {
    first ??= source;
    report({ open: ++open });
  });
  source.addEventListener("message", ({ data }) => {
    if (data === "news" && ++told % 6 === 0) report("six have the news");
    if (data === "close the first" && source === first) source.close();
  });
}
"#;

/// 1. The device sleeps, and more is published than the buffers of both ends take. 2. The gateway gives the reader up.
/// 3. The device wakes, and its `EventSource` comes back by itself.
fn a_long_sleep_is_a_slow_reader_that_comes_back_and_has_missed_nothing(kind: Kind) {
    let gateway = Gateway::start(&["--dev", "--stall", "10", "--retry", "500ms-501ms"]);
    let (server, mut browser) = sleeper(kind, &gateway);
    browser.process().signal_all("STOP");
    let night = "x".repeat(1_000_000);
    for number in 0..24 {
        publish(&gateway, "night", &format!("{number} {night}"));
    }
    let ends = confusion::wait_for_ends(&gateway, 1);
    confusion::note_ends("slow_reader", Limit::Known, &ends);
    assert_eq!(ends, of("slow_reader", 1));

    browser.process().signal_all("CONT");
    publish(&gateway, "night", "24 in the morning");
    assert_eq!(server.result(), json!((0..=24).collect::<Vec<_>>()));
    assert_eq!(opened_and_active(&gateway), (2.0, 1.0), "it has come back once");
    assert_eq!(confusion::ends(&gateway), of("slow_reader", 1));
    finds_nothing(&gateway);
}

fn a_short_sleep_ends_nothing(kind: Kind) {
    let gateway = Gateway::start(&["--dev", "--stall", "10"]);
    let (server, mut browser) = sleeper(kind, &gateway);
    browser.process().signal_all("STOP");
    // Who is awake beside it tells how long that was: for longer than heartbeats take.
    let mut awake = Connection::open(gateway.address());
    awake.send(Request::get("/events/day?heartbeat=5").bytes());
    awake.head();
    awake.chunks_until("encke.hello");
    for number in 0..24 {
        publish(&gateway, "night", &format!("{number} in the night"));
    }
    awake.chunks_until(":\n");

    browser.process().signal_all("CONT");
    publish(&gateway, "night", "24 in the morning");
    assert_eq!(server.result(), json!((0..=24).collect::<Vec<_>>()));
    assert_eq!(opened_and_active(&gateway), (2.0, 2.0), "it and the one beside it, as before");
    assert_eq!(confusion::ends(&gateway), Ends::new());
    finds_nothing(&gateway);
}

/// A browser that reads the night's events, and tells their numbers when the 24th comes.
fn sleeper(kind: Kind, gateway: &Gateway) -> (PageServer, Browser) {
    let server = PageServer::of_script(&SLEEPER.replace("GATEWAY", gateway.url()));
    let browser = Browser::open(kind, &server.url("/"), &[]);
    assert_eq!(server.result(), "awake");
    (server, browser)
}

const SLEEPER: &str = r#"
const numbers = [];
let open = false;
const source = new EventSource("GATEWAY/events/night");
source.addEventListener("encke.hello", () => {
  if (!open) report("awake");
  open = true;
});
source.addEventListener("message", ({ data }) => {
  numbers.push(parseInt(data));
  if (numbers.at(-1) === 24) report(numbers);
});
"#;

#[track_caller]
fn publish(gateway: &Gateway, topic: &str, data: &str) {
    let answer = Request::post(&format!("/events/{topic}"), data).ask(gateway.address());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[track_caller]
fn opened_and_active(gateway: &Gateway) -> (f64, f64) {
    (gateway.metric("encke_stream_opens_total", &[]), gateway.metric("encke_streams_active", &[]))
}

/// Holds that there is nothing to mend on any path.
#[track_caller]
fn finds_nothing(gateway: &Gateway) {
    let report = confusion::report(gateway);
    let paths = report["paths"].as_array().expect("a list of paths");
    assert!(paths.iter().all(|path| path["findings"] == json!([])), "{report:#}");
}

/// It is looked for every few seconds.
#[track_caller]
fn finds_that_all_connections_are_used(gateway: &Gateway) {
    let findings = || -> Vec<Value> {
        let report = confusion::report(gateway);
        let paths = report["paths"].as_array().expect("a list of paths");
        paths.iter().flat_map(|path| path["findings"].as_array()).flatten().cloned().collect()
    };
    wait_for("a finding", || !findings().is_empty());
    let [found] = &findings()[..] else { panic!("one finding: {:?}", findings()) };
    let text = found["text"].as_str().expect("a text");
    let told = "A browser had 6 streams open at once over HTTP/1.1";
    assert!(found["kind"] == "h1_starved" && text.starts_with(told), "{found:#}");
}

fn of(reason: &str, count: u64) -> Ends {
    Ends::from([(reason.to_owned(), count)])
}
