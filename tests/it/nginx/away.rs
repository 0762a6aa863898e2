//! What nginx answers when the gateway does not: event streams are told when to come back, everybody else the truth.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;

use super::{Answer, Following, ask};
use crate::support::gateway::Gateway;
use crate::support::nginx::{Configuration, Nginx};

/// Requests of whom the gateway would give an event stream: the rest of the target, and options for curl.
const EVENT_STREAMS: &[(&str, &[&str])] = &[
    ("/events/x", &[]),
    ("/events/x", &["-H", "Accept: text/event-stream"]),
    ("/events/x", &["-H", "Accept: Text/Event-Stream, */*;q=0.1"]),
    ("/events/x", &["-H", "Accept:"]),
    ("/events?topic=x&topic=y", &["-H", "Accept: text/event-stream", "-H", "Last-Event-ID: a-1"]),
    ("/events/x?transport=sse", &["-H", "Accept: application/json"]),
    ("/events/", &["-H", "Accept: text/event-stream"]),
];

/// Requests whose clients must see the true status.
const OTHERS: &[(&str, &[&str])] = &[
    ("/events/x", &["-d", "a publish"]),
    ("/events/x", &["-X", "PUT", "-d", "a publish", "-H", "Accept: text/event-stream"]),
    ("/events?topic=x&transport=sse", &["-d", "a publish"]),
    ("/events/x", &["-I"]),
    ("/events/x", &["-X", "OPTIONS", "-H", "Access-Control-Request-Method: GET"]),
    ("/events/x", &["-H", "Accept: application/json"]),
    ("/events/x", &["-H", "Accept: application/json, text/event-stream"]),
    ("/events/x", &["-H", "Accept: application/x-ndjson"]),
    ("/events/x", &["-H", "Accept: text/event-streams"]),
    ("/events/x", &["-H", "Accept: text/html,application/xhtml+xml,*/*;q=0.8"]),
    ("/events/x", &["-A", "Lavf/59.27.100"]),
    ("/events/x?transport=long-poll", &["-H", "Accept: text/event-stream"]),
    ("/events/x?transport=ndjson", &[]),
    ("/events/x?transport=multipart-replace", &[]),
];

#[test]
fn while_the_gateway_is_down_event_streams_are_told_when_to_come_back() {
    let mut gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    gateway.kill9();
    for (target, args) in EVENT_STREAMS {
        let answer = ask(&format!("{}{target}", nginx.url()), args);
        comes_back(&format!("{target} {args:?}"), &answer);
        assert_eq!(answer.field("cache-control"), "no-store, no-transform");
    }
    for (target, args) in OTHERS {
        let answer = ask(&format!("{}{target}", nginx.url()), args);
        assert_eq!(answer.status, 502, "{target} {args:?}: {}", answer.head);
        assert!(!answer.body.contains("retry:"), "{target} {args:?}: {}", answer.body);
    }
}

/// A page of another origin that is not allowed to read the answer closes its `EventSource`, whatever the status.
#[test]
fn pages_of_every_origin_may_read_when_to_come_back() {
    let nginx = Nginx::start(&Configuration::shipped(&nobody()));
    let url = format!("{}/events/x", nginx.url());
    let foreign = ask(&url, &["-H", "Origin: https://app.example"]);
    assert_eq!(foreign.field("access-control-allow-origin"), "https://app.example");
    assert_eq!(foreign.field("access-control-allow-credentials"), "true");
    assert!(foreign.field("vary").contains("Origin"), "{}", foreign.head);
    assert_eq!(ask(&url, &[]).field("access-control-allow-origin"), "", "nothing where nobody asks");
}

#[test]
fn those_who_are_told_to_come_back_are_spread_over_three_seconds() {
    let nginx = Nginx::start(&Configuration::shipped(&nobody()));
    let url = format!("{}/events/x", nginx.url());
    let times: BTreeSet<u64> = (0..40).map(|_| comes_back("a herd", &ask(&url, &[]))).collect();
    let seconds: BTreeSet<u64> = times.iter().map(|time| time / 1000).collect();
    assert_eq!(seconds, BTreeSet::from([2, 3, 4]), "{times:?}");
    assert!(times.len() > 20, "also within a second: {times:?}");
}

#[test]
fn a_gateway_that_hangs_or_hangs_up_is_as_good_as_none() {
    let silent = Scripted::answers(None);
    let hangs_up = Scripted::answers(Some(""));
    for (what, scripted, status) in [("silent", silent, 504), ("hangs up", hangs_up, 502)] {
        let nginx = Nginx::start(&Configuration::shipped(&scripted.authority).read_timeout("1s"));
        let url = format!("{}/events/x", nginx.url());
        comes_back(what, &ask(&url, &["-H", "Accept: text/event-stream"]));
        assert_eq!(ask(&url, &["-d", "a publish"]).status, status, "{what}");
        assert_eq!(ask(&format!("{url}?transport=long-poll"), &[]).status, status, "{what}");
    }
}

/// The same statuses, but said by the gateway: its words and header fields must reach the client.
#[test]
fn what_the_gateway_itself_refuses_is_not_covered_up() {
    for status in ["503 Service Unavailable", "429 Too Many Requests", "500 Internal Server Error", "204 No Content"] {
        let length = if status.starts_with("204") { String::new() } else { "Content-Length: 13\r\n".to_owned() };
        let body = if length.is_empty() { "" } else { r#"{"detail":""}"# };
        let fields = "Content-Type: application/problem+json\r\nRetry-After: 7\r\n";
        let said = format!("HTTP/1.0 {status}\r\n{fields}{length}\r\n{body}");
        let scripted = Scripted::answers(Some(&said));
        let nginx = Nginx::start(&Configuration::shipped(&scripted.authority));
        for args in [&["-d", "a publish"][..], &["-H", "Accept: text/event-stream"]] {
            let answer = ask(&format!("{}/events/x", nginx.url()), args);
            assert_eq!(format!("{:03}", answer.status), status[..3], "{args:?}: {}", answer.head);
            assert_eq!(answer.field("retry-after"), "7", "{status} {args:?}: {}", answer.head);
            assert_eq!(answer.body, body, "{status} {args:?}");
        }
    }
}

#[test]
fn a_limit_of_nginx_lets_event_streams_come_back_later() {
    let gateway = Gateway::start(&["--dev"]);
    let shipped = Configuration::shipped(gateway.address());
    let limited = shipped.in_http("limit_conn_zone $server_addr zone=encke:64k;").in_server("limit_conn encke 1;");
    for (status, configuration) in
        [(503, limited.clone()), (429, limited.clone().in_server("limit_conn encke 1; limit_conn_status 429;"))]
    {
        let nginx = Nginx::start(&configuration);
        let url = format!("{}/events/x", nginx.url());
        let only = Following::open(&url, &[]);
        only.until("encke.hello");
        comes_back("one stream too many", &ask(&url, &[]));
        assert_eq!(ask(&url, &["-d", "a publish"]).status, status);
    }
}

/// A stream takes a connection to the client and one to the gateway. Whether the last one to be had is of the former or
/// of the latter kind is a matter of odd and even, so both are tried: in one case nginx answers 500, in the other it can
/// only hang up (and an `EventSource` comes back after that by itself).
#[test]
fn a_stream_for_which_nginx_has_no_connection_left_comes_back() {
    let gateway = Gateway::start(&["--dev"]);
    let mut told = 0;
    for connections in [16, 17] {
        let shipped = Configuration::shipped(gateway.address());
        let nginx = Nginx::start(&shipped.worker_connections(connections));
        let url = format!("{}/events/x", nginx.url());
        let mut streams = Vec::new();
        while let Some(stream) = Following::try_open(&url, &[]) {
            assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
            if stream.process.line(crate::support::PATIENCE).is_some_and(|line| line.starts_with("retry: "))
                && stream.process.line(crate::support::PATIENCE).is_some_and(|line| line.starts_with(": the gateway"))
            {
                told += 1;
                break;
            }
            streams.push(stream);
            assert!(streams.len() < 16, "more streams than connections");
        }
        assert!(streams.len() > 2, "{connections} connections are enough for a few streams");
    }
    assert_eq!(told, 1, "odd or even");
}

/// Holds that the answer is an event stream that says when to come back, and returns when, in milliseconds.
#[track_caller]
fn comes_back(what: &str, answer: &Answer) -> u64 {
    assert_eq!((answer.status, answer.field("content-type")), (200, "text/event-stream"), "{what}: {}", answer.head);
    let lines: Vec<_> = answer.body.split('\n').collect();
    let &[retry, comment, "", ""] = lines.as_slice() else { panic!("{what}: {:?}", answer.body) };
    assert!(comment.starts_with(": "), "{what}: {comment}");
    let retry = retry.strip_prefix("retry: ").and_then(|time| time.parse().ok());
    let retry = retry.unwrap_or_else(|| panic!("{what}: {:?}", answer.body));
    assert!((2000..5000).contains(&retry), "{what}: {retry}");
    retry
}

/// An address at which nobody listens.
fn nobody() -> String {
    let mut gateway = Gateway::start(&["--dev", "--store", "memory"]);
    gateway.kill9();
    gateway.address().to_owned()
}

/// In the gateway's place: answers every request with the same bytes and closes, or never does.
struct Scripted {
    authority: String,
}

impl Scripted {
    fn answers(answer: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let authority = listener.local_addr().expect("a bound listener has an address").to_string();
        let answer = answer.map(str::to_owned);
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let answer = answer.clone();
                std::thread::spawn(move || {
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    while !(request.windows(4).any(|end| end == b"\r\n\r\n") && answer.is_some()) {
                        let Ok(length @ 1..) = connection.read(&mut buffer) else { return };
                        request.extend_from_slice(&buffer[..length]);
                    }
                    let _ = connection.write_all(answer.unwrap_or_default().as_bytes());
                });
            }
        });
        Self { authority }
    }
}
