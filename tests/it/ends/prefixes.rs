//! Whose evidence counts: what proxies that are trusted say of their clients decides, and nobody else's word.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

/// How quiet the streams are when they are cut.
const QUIET: Duration = Duration::from_millis(2500);

/// How many are cut.
const CUTS: u32 = 12;

/// Streams that are all cut at the same quiet, each at a moment of its own.
fn taught(trusted: &str, client_of: fn(u32) -> String) -> Gateway {
    let gateway = Gateway::start(&["--dev", "--trusted-proxy", trusted]);
    let request = |number| Request::get("/events/quiet").field("X-Forwarded-For", client_of(number));
    // The timer of the proxy that is played here: time is what it is about.
    thread::scope(|scope| {
        for number in 0..CUTS {
            let (address, request) = (gateway.address().to_owned(), request(number));
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(1100) * number);
                let mut stream = Connection::open(&address);
                stream.send(request.bytes());
                assert_eq!(stream.head().status, 200);
                stream.chunks_until("encke.hello");
                thread::sleep(QUIET);
                drop(stream);
            });
        }
    });
    wait_for("all ends", || gateway.metric("encke_stream_ends_total", &[]) == f64::from(CUTS));
    gateway
}

/// What is known of the one path.
#[track_caller]
fn path(gateway: &Gateway) -> Value {
    let report: Value = serde_json::from_str(&Request::get("/diagnosis").ask(gateway.address()).text()).expect("JSON");
    let paths = report["paths"].as_array().expect("paths");
    assert_eq!(paths.len(), 1, "{report:#}");
    paths[0].clone()
}

fn one_network(number: u32) -> String {
    format!("203.0.113.{number}")
}

fn many_networks(number: u32) -> String {
    format!("203.0.{number}.1")
}

#[test]
fn clients_of_one_network_teach_nothing_and_those_of_many_do() {
    let places = thread::scope(|scope| {
        [("127.0.0.1", one_network as fn(u32) -> String), ("private", many_networks), ("none", one_network)]
            .map(|(trusted, client_of)| scope.spawn(move || taught(trusted, client_of)))
            .map(|teaching| teaching.join().expect("no panic"))
    });
    // Who is not believed says nothing of others: all come from this machine then, which is nobody in particular.
    let known = places.each_ref().map(|gateway| {
        let path = path(gateway);
        (path["idle_limit_s"].is_number(), path["not_cut_for_s"].is_number(), path["told_apart"].clone())
    });
    assert_eq!(known, [(false, false, true.into()), (true, true, true.into()), (true, true, false.into())]);
    forgets_what_it_was_taught(&places[1]);
}

#[track_caller]
fn forgets_what_it_was_taught(gateway: &Gateway) {
    let before = path(gateway);
    let name = before["path"].as_str().expect("a name");
    let forget = |query: &str| {
        let answer = Request::new("DELETE", &format!("/diagnosis{query}")).ask(gateway.address());
        (answer.status, answer.text())
    };
    for (query, status, words) in [
        ("?path=squid%2Fh1.1%2F1", 404, "GET /diagnosis lists them"),
        ("?of=direct", 400, "there is no parameter `of`; there are path"),
        ("?path=other&path=other", 400, "`path` is given more than once"),
    ] {
        let (refused, text) = forget(query);
        assert!(refused == status && text.contains(words), "{query}: {refused} {text}");
    }
    assert_eq!(path(gateway)["idle_limit_s"], before["idle_limit_s"], "nothing is forgotten that was not named");
    let is_exported =
        || Request::get("/metrics").ask(gateway.address()).text().contains("encke_path_idle_limit_seconds{");
    wait_for("the limit among the metrics", is_exported);
    assert_eq!(forget(&format!("?path={}", name.replace('/', "%2F"))), (204, String::new()));
    let after = path(gateway);
    assert_eq!((&after["idle_limit_s"], &after["findings"]), (&Value::Null, &Value::Array(Vec::new())), "{after:#}");
    assert_eq!((&after["opened"], &after["ends"]), (&before["opened"], &before["ends"]), "what was counted stays");
    assert!(!is_exported());
    assert_eq!(forget(""), (204, String::new()));
}
