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

/// Streams that are all cut at the same quiet, each at a moment of its own. Answers whether that taught a limit.
fn learns(trusted: &str, client_of: fn(u32) -> String) -> bool {
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
    let report: Value = serde_json::from_str(&Request::get("/diagnosis").ask(gateway.address()).text()).expect("JSON");
    let paths = report["paths"].as_array().expect("paths");
    assert_eq!(paths.len(), 1, "{report:#}");
    paths[0]["idle_limit_s"].is_number()
}

fn one_network(number: u32) -> String {
    format!("203.0.113.{number}")
}

fn many_networks(number: u32) -> String {
    format!("203.0.{number}.1")
}

#[test]
fn clients_of_one_network_teach_nothing_and_those_of_many_do() {
    let learnt = thread::scope(|scope| {
        [("127.0.0.1", one_network as fn(u32) -> String), ("private", many_networks), ("none", one_network)]
            .map(|(trusted, client_of)| scope.spawn(move || learns(trusted, client_of)))
            .map(|learning| learning.join().expect("no panic"))
    });
    // Who is not believed says nothing of others: all come from this machine then, which is nobody in particular.
    assert_eq!(learnt, [false, true, true]);
}
