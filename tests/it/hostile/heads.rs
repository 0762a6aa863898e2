//! Request heads that are too large, too slow, or none at all.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::Instant;

use super::{assert_alive, assert_refused, gateway};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};

/// What a gateway allows a head, by its defaults.
const HEAD_BYTES: usize = 64 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let mut gateway = gateway();
    let of_size = |size: usize| {
        let request = Request::get("/events/t?transport=long-poll&timeout=0");
        let rest = size - request.clone().field("A", "").head().len();
        request.field("A", "x".repeat(rest)).head()
    };
    let answer = |bytes: &[u8]| {
        let mut connection = Connection::open(gateway.address());
        connection.offer(bytes);
        let answer = connection.answer();
        (answer, connection)
    };
    let (fits, _) = answer(&of_size(HEAD_BYTES));
    assert_eq!(fits.status, 200, "{}", fits.text());
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(HEAD_BYTES));
    let endless = [b"GET / HTTP/1.1\r\nA: ", "x".repeat(HEAD_BYTES).as_bytes()].concat();
    for bytes in [of_size(HEAD_BYTES + 1), of_size(4 * HEAD_BYTES), long_line.into_bytes(), endless] {
        let (refused, mut connection) = answer(&bytes);
        assert_refused("too large", &refused, 431, "more than 65536 bytes");
        assert_eq!(refused.field("connection").as_deref(), Some("close"));
        assert_eq!(connection.rest(), b"");
    }
    // In one piece or in many, on a fresh connection or behind another request.
    let mut connection = Connection::open(gateway.address());
    connection.send(Request::get("/health").bytes());
    assert_eq!(connection.answer().status, 404);
    of_size(HEAD_BYTES + 1).chunks(5000).for_each(|piece| connection.offer(piece));
    assert_refused("the second", &connection.answer(), 431, "more than 65536 bytes");

    let many = (0..101).fold(Request::get("/"), |request, n| request.field(&format!("A-{n}"), "x"));
    assert_refused("more than 100 fields", &answer(&many.bytes()).0, 431, "more than 100 header fields");
    assert_eq!(gateway.metric("encke_heads_too_large_total", &[]), 6.0);
    assert_alive(&mut gateway);
}

#[test]
fn a_head_that_is_too_slow_is_answered_408_and_silence_is_closed_without_words() {
    let mut gateway = gateway();
    let address = gateway.address();
    std::thread::scope(|scope| {
        for head in [
            "GET /events/t HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "POST /events/tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n", // All but the end of what an HTTP/2 client says first.
        ] {
            scope.spawn(move || {
                let (bytes, after) = trickle(address, head.as_bytes());
                let text = String::from_utf8(bytes).expect("a head of ASCII");
                assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}: {text:?}");
                assert!(text.contains("\r\nx-content-type-options: nosniff\r\n"), "{text}");
                let (_, problem) = text.split_once("\r\n\r\n").expect("content");
                let problem: serde_json::Value = serde_json::from_str(problem).expect("a problem document");
                assert_eq!((&problem["status"], &problem["type"]), (&408.into(), &"about:blank".into()));
                assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("10 s")), "{problem}");
                assert!(after > HEAD_TIME - Duration::from_secs(1) && after < PATIENCE, "{head}: {after:?}");
            });
        }
        scope.spawn(|| {
            let begun = Instant::now();
            assert_eq!(Connection::open(address).rest(), b"", "a silent connection is closed without words");
            assert!(begun.elapsed() > HEAD_TIME - Duration::from_secs(1));
        });
    });
    assert_eq!(gateway.metric("encke_head_timeouts_total", &[]), 3.0);
    assert_alive(&mut gateway);
}

/// Sends a byte each quarter of a second until the gateway has enough of it: what it says, and how long after the first.
fn trickle(address: &str, head: &[u8]) -> (Vec<u8>, Duration) {
    let mut connection = Connection::open(address);
    let socket = connection.socket();
    socket.set_read_timeout(Some(Duration::from_millis(250))).expect("a time limit");
    let (mut bytes, mut answer, begun) = (head.iter(), vec![0; 4096], Instant::now());
    loop {
        // Behind the end of the bytes it stays silent in the middle of the head.
        if let Some(byte) = bytes.next() {
            let _ = socket.write_all(&[*byte]);
        }
        match socket.read(&mut answer) {
            Ok(length) => {
                let after = begun.elapsed();
                answer.truncate(length);
                socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
                answer.extend(connection.rest());
                return (answer, after);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(begun.elapsed() < PATIENCE, "a slow head is not ended");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_is_no_http_is_refused_and_the_gateway_goes_on() {
    let mut gateway = gateway();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n"[..],
        b"\x00\x00\x00\x00\r\n\r\n",
        b"\xff\xfe\xfd",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: no name\r\n\r\n",
        b"GET / HTTP/1.1\r\nSpace : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nNul: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nCr: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nLast-Event-ID: a\x00b\r\n\r\n",
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
    ] {
        let what = bytes.escape_ascii().to_string();
        let mut connection = Connection::open(gateway.address());
        connection.send(bytes);
        assert_refused(&what, &connection.answer(), 400, "not a request of HTTP/1.1");
        assert_eq!(connection.rest(), b"", "{what}");
    }
    assert_alive(&mut gateway);
}

#[test]
fn a_host_field_that_is_not_one_name_is_refused() {
    let mut gateway = gateway();
    let ask = |request: Request| request.ask(gateway.address());
    let get = || Request::get("/events/t?transport=long-poll&timeout=0");
    for (what, request) in [
        ("none in HTTP/1.1", get().without("Host")),
        ("two", get().field("Host", "localhost")),
        ("two, and the target names a third", Request::get("http://localhost/events/t").field("Host", "a")),
        ("empty", get().host("")),
        ("not an authority", get().host("{a}.example")),
        ("with a path", get().host("localhost/evil")),
        ("with a user", get().host("evil@localhost")),
        ("two ports", get().host("localhost:80:80")),
        ("not ASCII", get().host(b"caf\xc3\xa9.example")),
        ("two in one", get().host("localhost, evil.example")),
    ] {
        assert_refused(what, &ask(request), 400, "send one Host field");
    }
    for version in ["HTTP/1.0", "HTTP/1.0\r\nHost: localhost"] {
        let answer = ask(Request::of_line(format!("GET /events/t?transport=long-poll&timeout=0 {version}")));
        assert_eq!(answer.status, 200, "{version}: {}", answer.text());
    }
    assert_alive(&mut gateway);
}

#[test]
fn http_2_that_breaks_off_into_garbage_is_ended() {
    let mut gateway = gateway();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for garbage in [
        &b"garbage, garbage, garbage, garbage"[..],
        b"\x00\x00\x00\x01\x05\x00\x00\x00\x00", // HEADERS on stream 0
        b"\xff\xff\xff\x04\x00\x00\x00\x00\x00", // a frame of 16 MiB
        b"\x00\x00\x06\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff", // header fields that are none
    ] {
        for first in [&b""[..], settings] {
            let mut connection = Connection::open(gateway.address());
            connection.offer([&preface[..], first, garbage].concat());
            let words = connection.rest();
            let goaway = words.windows(4).any(|frame| frame == [7, 0, 0, 0]);
            assert!(goaway, "it is told why: {}", words.escape_ascii());
        }
    }
    assert_alive(&mut gateway);
}

/// Any bytes at all: none of them is taken for a request that may do something, and none ends the gateway.
#[test]
fn no_bytes_end_the_gateway() {
    let mut gateway = Gateway::start(&["--dev"]); // Where all doors are open, more code is reached.
    let cases = if crate::support::long() { 5000 } else { 200 };
    let line = select(vec![
        &b"GET /events/t?transport=long-poll&timeout=0&lastEventId="[..],
        b"POST /events/t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /events/t HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /events/t HTTP/1.1\r\nLast-Event-ID: ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ]);
    let end = select(vec![&b"\r\n\r\n"[..], b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b""]);
    let any = (line, proptest::collection::vec(any::<u8>(), 0..200), end);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&any, |(line, garbage, end)| {
        let mut connection = Connection::open(gateway.address());
        connection.offer([line, &garbage, end].concat());
        connection.finish();
        let answer = connection.rest();
        prop_assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", answer.escape_ascii());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_alive(&mut gateway);
}
