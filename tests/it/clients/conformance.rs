//! The browsers' conformance cases for `EventSource` that depend on a server, against the real encoder and HTTP stack.
//!
//! The Web Platform Tests feed a browser from scripts that write any bytes. Here each case is provoked by what a publisher,
//! a subscriber or an intermediary may really do to a gateway, so what is tested is what the gateway makes of it. Left out
//! is what no gateway sends, for that tests the browser alone: other media types with parameters (`format-mime-*` but
//! `-bogus`), statuses such as 205, 210 and 299, ids with U+0000 or none (`format-field-id-null`, `-3`), a `retry` that is
//! no number, unknown fields; ids with control characters, which HTTP has no place for (RFC 9110 § 5.5); and what concerns no server: constructors, prototypes, realms, trust of events, bfcache.

use serde_json::Value;

use super::publisher::escaped;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::page_server::{PageServer, page};
use crate::support::relay::Relay;
use crate::support::wait_for;

/// How many cases the pages hold, so that none is left out unseen.
const CASES: usize = 57;

#[test]
fn chromium_does_what_the_standard_says() {
    conforms(Kind::Chromium);
}

#[test]
fn firefox_does_what_the_standard_says() {
    conforms(Kind::Firefox);
}

fn conforms(kind: Kind) {
    let gateway = Gateway::start(&["--dev"]);
    let server = server(gateway.url());
    let origin = server.url("");
    let keyed = Gateway::start_with(&["--cors-origin", &origin], &[("ENCKE_PUBLISH_KEY", "a-key-for-this-test-alone")]);
    let small = Gateway::start(&["--dev", "--max-connections", "2"]);

    let (address, relayed) = (gateway.address(), Relay::cut_once_after);
    let cut_before_blank = relayed(address, b"data: cut here\n");
    let cut_in_character = relayed(address, "data: half 漢".as_bytes().split_last().expect("it is not empty").1);
    let bytewise = Relay::bytewise(address);
    let formers: Vec<Relay> = [
        "7",
        "é✓ 漢字",
        "(\"<odd>\": {1}, [2]@\\?)",
        "00000000-18446744073709551616",
        &"x".repeat(255),
        &"é".repeat(2000),
    ]
    .iter()
    .map(|id| Relay::first_answer(address, &answer_with(id)))
    .collect();

    let mut query = vec![
        ("gateway".to_owned(), gateway.url().to_owned()),
        ("keyed".to_owned(), keyed.url().to_owned()),
        ("small".to_owned(), small.url().to_owned()),
        ("cutBeforeBlank".to_owned(), cut_before_blank.url()),
        ("cutInCharacter".to_owned(), cut_in_character.url()),
        ("bytewise".to_owned(), bytewise.url()),
    ];
    query.extend(formers.iter().enumerate().map(|(number, relay)| (format!("former{number}"), relay.url())));
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let browser = Browser::open(kind, &server.url(&format!("/?{}", query.join("&"))), &[]);

    let (mut passed, mut wrong) = (0, Vec::new());
    loop {
        match server.result() {
            Value::Null => break,
            case if case[1].is_null() => passed += 1,
            case => wrong.push(format!("{}\n    {}", case[0], case[1].as_str().expect("words"))),
        }
    }
    assert!(wrong.is_empty(), "{passed} cases passed; not these:\n{}", wrong.join("\n"));
    assert_eq!(passed, CASES);
    wait_for("the gateway to see that every EventSource was closed", || {
        let metrics = Request::get("/metrics").ask(gateway.address()).text();
        metrics.contains("\nencke_streams_active{transport=\"sse\"} 0\n")
    });
    drop(browser);
}

/// Serves the page, its modules, and the ways to the gateway.
fn server(gateway: &str) -> PageServer {
    let server = PageServer::start();
    server.page(
        "/",
        &page("import '/parsing.js'; import '/network.js'; import { run } from '/harness.js'; await run();"),
    );
    for (path, module) in [
        ("/harness.js", include_str!("../../clients/pages/conformance/harness.js")),
        ("/network.js", include_str!("../../clients/pages/conformance/network.js")),
        ("/parsing.js", include_str!("../../clients/pages/conformance/parsing.js")),
        ("/worker.js", include_str!("../../clients/pages/conformance/worker.js")),
    ] {
        server.file(path, "text/javascript; charset=utf-8", module);
    }
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect"] {
        server.redirect(
            &format!("/to-gateway/{}", &status[..3]),
            status,
            &format!("{gateway}/events/to-gateway?retry=500"),
        );
    }
    server
}

/// What another server of event streams once answered.
fn answer_with(id: &str) -> Vec<u8> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n";
    format!("{head}\r\nretry: 500\nid: {id}\ndata: of another server\n\n").into_bytes()
}
