//! How content is announced, sent and cut short: where one request ends and the next begins.

use std::io::Read;

use serde_json::json;

use super::publish::{LARGEST, assert_stored, post};
use super::{KEY, assert_alive, assert_refused, gateway, stored};
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

#[test]
fn one_mebibyte_passes_and_a_byte_more_is_refused_before_it_is_read() {
    let mut gateway = gateway();
    let largest = "é".repeat(LARGEST / 2);
    assert_stored("announced", &post("/events/t", &largest).ask(gateway.address()));
    assert_eq!(stored(&gateway), [("t".to_owned(), json!(largest))], "all of it is there");

    // Announced: the answer comes though not one byte of the content has been sent.
    let too_large = |expect: bool| {
        let request =
            post("/events/t", "").without("Content-Length").field("Content-Length", (LARGEST + 1).to_string());
        let request = if expect { request.field("Expect", "100-continue") } else { request };
        let mut connection = Connection::open(gateway.address());
        connection.send(request.head());
        assert_refused("announced", &connection.answer(), 413, "at most 1048576 bytes");
    };
    too_large(false);
    too_large(true);
    assert_refused("sent", &post("/events/t", largest.clone() + "x").ask(gateway.address()), 413, "1048576");

    // Not announced: the answer comes once there is a byte too many, though the end has not been sent.
    let request = post("/events/t", "").without("Content-Length").field("Transfer-Encoding", "chunked");
    let mut connection = Connection::open(gateway.address());
    connection.send(request.head());
    let chunk = [b"10000\r\n", vec![b'x'; 0x10000].as_slice(), b"\r\n"].concat();
    (0..LARGEST / 0x10000).for_each(|_| connection.send(&chunk));
    connection.send("1\r\nx\r\n");
    assert_refused("chunked", &connection.answer(), 413, "at most 1048576 bytes");

    assert_eq!(stored(&gateway).len(), 1, "nothing of all that is stored");
    assert_alive(&mut gateway);
}

#[test]
fn a_publisher_that_asks_first_is_told_to_go_on() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address());
    let request = post("/events/t", "x").field("Expect", "100-continue");
    connection.send(request.head());
    assert_eq!(connection.head().status, 100);
    connection.send("x");
    assert_stored("after 100", &connection.answer());
    // One that has no leave is told so at once.
    let mut connection = Connection::open(gateway.address());
    connection.send(Request::post("/events/t", "x").field("Expect", "100-continue").head());
    assert_refused("no key", &connection.answer(), 401, "Authorization: Bearer KEY");
}

#[test]
fn content_that_breaks_off_is_not_stored() {
    let mut gateway = gateway();
    let broken = |framing: &str, value: &str, content: &str| {
        let mut connection = Connection::open(gateway.address());
        let request = post("/events/t", "").without("Content-Length").field(framing, value);
        connection.send([&request.head()[..], content.as_bytes()].concat());
        connection.finish();
        assert_refused(content, &connection.answer(), 400, "ended before it was complete");
        assert_eq!(connection.rest(), b"", "and the connection is closed");
    };
    broken("Content-Length", "10", "abc");
    broken("Content-Length", "1048576", "");
    for content in
        ["5\r\nabc", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n", "zz\r\nabc\r\n0\r\n\r\n", "3\r\nabcX", "-1\r\n", "\r\n"]
    {
        broken("Transfer-Encoding", "chunked", content);
    }
    broken("Transfer-Encoding", "chunked", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n");
    assert_eq!(stored(&gateway), []);
    assert_alive(&mut gateway);
}

#[test]
fn a_request_cannot_hide_in_another() {
    let mut gateway = gateway();
    let hidden = post("/events/hidden", "x").bytes();
    let chunked = [b"3\r\nabc\r\n0\r\n\r\n", &hidden[..]].concat();
    // Both framings: the chunks count, and the connection ends behind them, so that a proxy that counted otherwise has
    // nothing appended to its next request (RFC 9112 § 6.1).
    for (first, second) in [
        (("Content-Length", "3"), ("Transfer-Encoding", "chunked")),
        (("Transfer-Encoding", "chunked"), ("Content-Length", "3")),
    ] {
        let request = post("/events/t", "").without("Content-Length").field(first.0, first.1).field(second.0, second.1);
        let mut connection = Connection::open(gateway.address());
        connection.send([&request.head()[..], &chunked].concat());
        let answer = connection.answer();
        assert_stored("both framings", &answer);
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
        assert_eq!(connection.rest(), b"", "the hidden request is not answered");
    }
    let no_framing = || post("/events/t", "").without("Content-Length");
    for request in [
        no_framing().field("Content-Length", "3").field("Content-Length", "4"),
        no_framing().field("Content-Length", "3, 4"),
        no_framing().field("Content-Length", "+3"),
        no_framing().field("Content-Length", "-3"),
        no_framing().field("Content-Length", "0x3"),
        no_framing().field("Content-Length", ""),
        no_framing().field("Content-Length", "99999999999999999999999"),
        no_framing().field("Transfer-Encoding", "xchunked"),
        no_framing().field("Transfer-Encoding", "identity"),
        no_framing().field("Transfer-Encoding", "chunked, gzip"),
        no_framing().field("Transfer-Encoding ", "chunked"),
        no_framing().field("Transfer-Encoding", "\x0bchunked"),
        no_framing().field("X: y\r\n Transfer-Encoding", "chunked"),
    ] {
        let mut connection = Connection::open(gateway.address());
        connection.send([&request.head()[..], &chunked].concat());
        assert_refused(
            &String::from_utf8_lossy(&request.head()),
            &connection.answer(),
            400,
            "not a request of HTTP/1.1",
        );
        assert_eq!(connection.rest(), b"", "the hidden request is not answered");
    }
    // A length that is too short: what follows is read as the next request, is none, and ends the connection.
    let mut connection = Connection::open(gateway.address());
    let short = no_framing().field("Content-Length", "3");
    connection.send([&short.head()[..], b"abcdef\r\n\r\n", &hidden].concat());
    assert_stored("too short", &connection.answer());
    assert_refused("what follows", &connection.answer(), 400, "not a request of HTTP/1.1");
    assert_eq!(connection.rest(), b"");

    let expected: Vec<_> = std::iter::repeat_n(("t".to_owned(), json!("abc")), 3).collect();
    assert_eq!(stored(&gateway), expected, "three times the content that counts, and nothing hidden");
    assert_alive(&mut gateway);
}

#[test]
fn codings_that_the_gateway_does_not_undo_are_refused() {
    let gateway = gateway();
    let code = |name: &str, value: &str| post("/events/t", "x").field(name, value);
    for request in [
        code("Content-Encoding", "gzip"),
        code("Content-Encoding", "identity, br"),
        code("Content-Encoding", "identity").field("Content-Encoding", "zstd"),
    ] {
        assert_refused("Content-Encoding", &request.ask(gateway.address()), 415, "without a Content-Encoding");
    }
    for codings in ["gzip, chunked", "chunked, chunked"] {
        let request = post("/events/t", "").without("Content-Length").field("Transfer-Encoding", codings);
        let mut connection = Connection::open(gateway.address());
        connection.send([&request.head()[..], b"1\r\nx\r\n0\r\n\r\n"].concat());
        assert_refused(codings, &connection.answer(), 501, "transfer coding");
    }
    assert_eq!(stored(&gateway), [], "nothing was stored");
    assert_stored("identity", &code("Content-Encoding", "identity").ask(gateway.address()));
}

/// A frame of HTTP/2 on its first stream or another (RFC 9113 § 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without names of the table (RFC 7541 § 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

#[test]
fn content_of_http_2_is_stored_only_if_its_end_was_sent() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let gateway = gateway();
    let credential = format!("Bearer {KEY}");
    let head = |more: &[(&str, &str)]| {
        let authority = gateway.address();
        let target = [(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", "/events/t")];
        fields(&[&target[..], &[("authorization", &credential)], more].concat())
    };
    let mut connection = Connection::open(gateway.address());
    connection.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, b"")[..]].concat());
    let mut stream = 1;
    let mut publish = |more: &[(&str, &str)], frames: &[(u8, u8, &[u8])]| {
        let mut bytes =
            frame(HEADERS, END_HEADERS | if frames.is_empty() { END_STREAM } else { 0 }, stream, &head(more));
        for (kind, flags, payload) in frames {
            bytes.extend(frame(*kind, *flags, stream, payload));
        }
        connection.send(bytes);
        stream += 2;
        let done = f64::from((stream - 1) / 2);
        wait_for("the publish to be stored or refused", || {
            gateway.metric("encke_log_last_offset", &[]) + gateway.metric("encke_refused_total", &["bad_request"])
                == done
        });
    };
    publish(&[], &[(DATA, 0, b"cut "), (DATA, 0, b"short"), (RST_STREAM, 0, &[0; 4])]);
    publish(&[], &[(RST_STREAM, 0, &[0; 4])]);
    publish(&[], &[(DATA, 0, b"cancelled"), (RST_STREAM, 0, &8_u32.to_be_bytes())]);
    publish(&[("content-length", "9")], &[(DATA, 0, b"announced"), (RST_STREAM, 0, &[0; 4])]);
    assert_eq!(stored(&gateway), [], "none of them was complete");

    publish(&[], &[]);
    publish(&[("content-length", "0")], &[]);
    publish(&[], &[(DATA, END_STREAM, b"")]);
    publish(&[], &[(DATA, 0, b"in two "), (DATA, END_STREAM, b"pieces")]);
    publish(&[], &[(DATA, 0, b"and an empty one"), (DATA, END_STREAM, b"")]);
    publish(&[("content-length", "6")], &[(DATA, END_STREAM, b"length")]);
    let trailers = fields(&[("x-checksum", "0")]);
    publish(&[], &[(DATA, 0, b"trailers"), (HEADERS, END_HEADERS | END_STREAM, &trailers)]);
    publish(&[("content-length", "4")], &[(DATA, 0, b"both"), (HEADERS, END_HEADERS | END_STREAM, &trailers)]);
    publish(&[], &[(HEADERS, END_HEADERS | END_STREAM, &trailers)]);
    let data: Vec<_> = stored(&gateway).into_iter().map(|(_, data)| data).collect();
    let complete = ["", "", "", "in two pieces", "and an empty one", "length", "trailers", "both", ""];
    assert_eq!(data, complete, "each that was complete");
}

#[test]
fn content_of_http_2_that_is_refused_is_taken_before_the_answer() {
    let gateway = gateway();
    let credential = format!("Bearer {KEY}");
    for (credential, length) in [("Bearer of-no-key", "900000"), (&credential, "1200000")] {
        let target =
            [(":method", "POST"), (":scheme", "http"), (":authority", gateway.address()), (":path", "/events/t")];
        let head = fields(&[&target[..], &[("authorization", credential), ("content-length", length)]].concat());
        let mut connection = Connection::open(gateway.address());
        connection.send(
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(4, 0, 0, b""),
                frame(1, 4, 1, &head),
                frame(0, 0, 1, &[b'a'; 16_000]).repeat(4),
            ]
            .concat(),
        );
        // The first word on the stream leaves room for more content (WINDOW_UPDATE), and is no answer yet.
        let first = loop {
            let mut head = [0; 9];
            connection.socket().read_exact(&mut head).expect("a frame");
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            connection.socket().read_exact(&mut payload).expect("a whole frame");
            if head[5..] == [0, 0, 0, 1] {
                break head[3];
            }
        };
        assert_eq!(first, 8, "{length}");
    }
}
