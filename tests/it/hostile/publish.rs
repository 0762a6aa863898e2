//! Publishing what cannot be an event.

use serde_json::{Value, json};

use super::{KEY, assert_alive, assert_guarded, assert_refused, gateway, stored};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Connection, Request, encoded};

/// The largest event, in bytes.
pub(super) const LARGEST: usize = 1 << 20;

pub(super) fn post(target: &str, content: impl AsRef<[u8]>) -> Request {
    Request::post(target, content).bearer(KEY)
}

#[track_caller]
pub(super) fn assert_stored(what: &str, answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{what}: {}", answer.text());
    assert_guarded(what, answer);
    answer.json()["id"].as_str().expect("a cursor").to_owned()
}

#[test]
fn names_that_cannot_be_are_refused_with_what_to_mend() {
    let mut gateway = gateway();
    let refuse = |target: &str, words: &str| {
        let answer = post(target, "x").ask(gateway.address());
        assert_refused(&target.chars().take(80).collect::<String>(), &answer, 400, words);
    };
    for control in ["%0D", "%0A", "%0D%0A", "%00", "%1B", "%7F", "%C2%85"] {
        refuse(&format!("/events/t?type=a{control}data:b"), "a type holds no control characters");
        refuse(&format!("/events/t?key=a{control}b"), "a key holds no control characters");
        refuse(&format!("/events?topic=a{control}b"), "a topic holds no control");
        refuse(&format!("/events/a{control}b"), "a topic holds no control");
    }
    for hidden in ["\u{2028}", "\u{2029}", "\u{202e}", "\u{2066}", "\u{200f}"] {
        refuse(&format!("/events?topic=a{}", encoded(hidden)), "bidi or line-separator");
    }
    for (name, most) in [("type", 128), ("key", 256), ("topic", 1024)] {
        let target = |length| format!("/events/t?{name}={}", "x".repeat(length));
        refuse(&target(most + 1), &format!("a {name} has at most {most} bytes"));
        refuse(&format!("/events/t?{name}="), &format!("a {name} needs at least one character"));
        assert_stored(name, &post(&target(most), "x").ask(gateway.address()));
    }
    for kind in ["open", "error", "encke.hello", "encke.", "encke.x"] {
        refuse(&format!("/events/t?type={kind}"), "are taken");
    }
    for target in ["/events/t?typ=x", "/events/t?Type=x", "/events/t?ack=each", "/events/t?=x"] {
        refuse(target, "there are topic, type, key, ttl, conflate, private and form");
    }
    for target in ["/events/t?ttl=0", "/events/t?ttl=1w", "/events/t?ttl=-1", "/events/t?ttl="] {
        refuse(target, "more than 0");
    }
    refuse("/events/t?private=yes", "`private` is a flag");
    refuse("/events/t?conflate=a%0Ab", "a conflation key holds no control characters");
    refuse("/events/t?type=a&type=b", "`type` is given more than once");
    refuse("/events/t?key=a&key=a", "`key` is given more than once");
    refuse("/events", "name a topic");
    refuse("/events?type=x", "name a topic");
    for target in ["/events/a*", "/events/*", "/events?topic=a/**", "/events/%2A"] {
        refuse(target, "a topic holds no `*`");
    }
    assert_eq!(stored(&gateway).len(), 3, "only what was as long as it may be");
    assert_alive(&mut gateway);
}

#[test]
fn a_path_that_clients_and_proxies_read_in_different_ways_is_refused() {
    let mut gateway = gateway();
    let refuse =
        |target: &str, words: &str| assert_refused(target, &post(target, "x").ask(gateway.address()), 400, words);
    for target in [
        "/events/",
        "/events//",
        "/events//a",
        "/events/a/",
        "/events/a//b",
        "/events/.",
        "/events/..",
        "/events/./a",
        "/events/../a",
        "/events/a/..",
        "/events/a/../../b",
        "/events/%2E",
        "/events/%2e%2E/a",
        "/events/.%2e/a",
        "/events/%2F",
        "/events/a%2F%2Fb",
        "/events/a%2f..%2fb",
        "/events/a%2F",
    ] {
        refuse(target, "name such a topic in the query");
    }
    for text in ["%", "%4", "%zz", "%%34%31", "a%2", "%u0041", "%-1"] {
        refuse(&format!("/events/{text}"), "without two hexadecimal digits");
        refuse(&format!("/events?topic={text}"), "without two hexadecimal digits");
    }
    // Overlong forms, a surrogate, a lone continuation, and what UTF-8 never holds.
    for text in ["%C0%AF", "%C0%AE%C0%AE", "%E0%80%AF", "%ED%A0%80", "%80", "%FF", "a%C3"] {
        refuse(&format!("/events/{text}"), "not UTF-8");
        refuse(&format!("/events?topic={text}"), "not UTF-8");
        refuse(&format!("/events?{text}=t"), "not UTF-8");
    }
    // hyper takes no request line that is not UTF-8 as it stands.
    let raw = [b"POST /events/\xff HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ", KEY.as_bytes(), b"\r\n\r\n"];
    let mut connection = Connection::open(gateway.address());
    connection.send(raw.concat());
    assert_refused("a raw byte", &connection.answer(), 400, "not a request of HTTP/1.1");
    assert_eq!(stored(&gateway), [], "nothing was stored");
    // In the query there is nothing that anybody could resolve.
    for name in ["..", "a/", "https://a.example/../b?c=d#e"] {
        let target = format!("/events?topic={}", encoded(name));
        assert_stored(name, &post(&target, "x").ask(gateway.address()));
    }
    assert_alive(&mut gateway);
}

#[test]
fn one_event_has_up_to_128_topics() {
    let gateway = gateway();
    let target = |count: usize| {
        let topics: Vec<String> = (0..count).map(|n| format!("topic=t/{n}")).collect();
        format!("/events?{}", topics.join("&"))
    };
    assert_refused("129", &post(&target(129), "x").ask(gateway.address()), 400, "at most 128 topics");
    assert_stored("128", &post(&target(128), "x").ask(gateway.address()));
    let answer = Request::get("/events/t/127?transport=long-poll&last=1").ask(gateway.address()).json();
    assert_eq!(answer["events"][0]["data"], "x", "{answer}");
}

#[test]
fn message_is_the_type_of_an_event_without_one() {
    let gateway = gateway();
    for target in ["/events/t?type=message&key=one", "/events/t?key=one"] {
        assert!(post(target, "x").ask(gateway.address()).status < 300, "{target}");
    }
    assert_eq!(stored(&gateway).len(), 1, "the second is the same event as the first");
    let mut stream = Connection::open(gateway.address());
    stream.send(Request::get("/events/t?lastEventId=earliest").bytes());
    stream.head();
    let text = (0..2).map(|_| String::from_utf8(stream.chunk().expect("more")).expect("UTF-8")).collect::<String>();
    assert!(text.contains("data: x\n") && !text.contains("event: message"), "{text}");
}

#[test]
fn data_is_what_its_content_type_says() {
    let mut gateway = gateway();
    let send = |media: Option<&str>, data: &[u8]| {
        let request = post("/events/t", data);
        media.map_or(request.clone(), |media| request.field("Content-Type", media)).ask(gateway.address())
    };
    for media in [None, Some("text/plain"), Some("text/html"), Some("image/svg+xml"), Some("application/json")] {
        for (data, at) in [(&b"ab\xff"[..], 2), (b"\xc0\xaf", 0), (b"\xed\xa0\x80", 0), (b"a\xe2\x82", 1)] {
            let answer = send(media, data);
            assert_refused(&format!("{media:?}"), &answer, 400, &format!("not UTF-8 (from byte {at})"));
        }
    }
    for (data, place) in [
        ("", "line 1"),
        ("{\"a\":", "line 1, column 5"),
        ("{\n\n'a': 1}", "line 3"),
        ("NaN", "line 1"),
        ("1 2", "column 3"),
    ] {
        for media in ["application/json", "application/problem+json", "Application/JSON; charset=utf-8"] {
            assert_refused(data, &send(Some(media), data.as_bytes()), 400, place);
        }
    }
    for media in ["text", "/", "text/", "te xt/plain", "text/plain, text/html"] {
        assert_refused(media, &send(Some(media), b"x"), 400, "a content type is `type/subtype`");
    }
    assert_refused("not ASCII", &send(Some("text/plain; a=é"), b"x"), 400, "not ASCII");
    for media in ["text/plain; charset=latin1", "text/html;charset=\"ISO-8859-1\"", "application/json; Charset=utf-16"]
    {
        assert_refused(media, &send(Some(media), b"\"x\""), 415, "re-encode it");
    }
    assert_eq!(stored(&gateway), [], "nothing was stored");

    assert_stored("bytes", &send(Some("application/octet-stream"), b"ab\xff"));
    assert_stored("latin1 that is no text", &send(Some("image/png; charset=latin1"), b"\xff"));
    assert_stored("UTF-8, said loudly", &send(Some("text/plain; charset=\"UTF-8\""), "é".as_bytes()));
    let told: Vec<Value> = stored(&gateway).into_iter().map(|(_, data)| data).collect();
    assert_eq!(told, [json!("YWL/"), json!("/w=="), json!("é")]);
    let nested = ["[".repeat(LARGEST / 2), "]".repeat(LARGEST / 2)].concat();
    let deep = send(Some("application/json"), nested.as_bytes());
    assert!(matches!(deep.status, 201 | 400), "a deep document is taken or refused: {}", deep.text());
    assert_alive(&mut gateway);
}

#[test]
fn a_repeat_is_recognised_by_its_key() {
    let gateway = gateway();
    let keyed = |key: &str, data: &str| post("/events/t", data).field("Idempotency-Key", key).ask(gateway.address());
    let first = assert_stored("the first", &keyed("k", "x"));
    for again in [keyed("k", "x"), post("/events/t?key=k", "x").field("Idempotency-Key", "k").ask(gateway.address())] {
        assert_eq!(again.status, 200, "{}", again.text());
        assert_eq!(again.json(), json!({ "id": first, "durability": "fsync", "duplicate": true }));
        assert_guarded("a repeat", &again);
    }
    let refuse =
        |request: Request, status, words| assert_refused(words, &request.ask(gateway.address()), status, words);
    refuse(post("/events/t?key=k", "y"), 422, "key");
    refuse(post("/events/t?key=k&type=other", "x"), 422, "key");
    refuse(post("/events/u?key=k", "x"), 422, "key");
    refuse(post("/events/t?key=k", "x").field("Content-Type", "text/html"), 422, "key");
    refuse(post("/events/t?key=other", "x").field("Idempotency-Key", "k"), 400, "two different keys");
    refuse(
        post("/events/t", "x").field("Idempotency-Key", "k").field("Idempotency-Key", "other"),
        400,
        "two different keys",
    );
    refuse(post("/events/t", "x").field("Idempotency-Key", ""), 400, "at least one character");
    refuse(post("/events/t", "x").field("Idempotency-Key", "k".repeat(257)), 400, "at most 256 bytes");
    refuse(post("/events/t", "x").field("Idempotency-Key", b"\xff"), 400, "not UTF-8");
    refuse(post("/events/t", "x").field("Idempotency-Key", "a\tb"), 400, "no control characters");
    assert_eq!(stored(&gateway).len(), 1);
}

#[test]
fn what_is_not_there_and_what_it_cannot_do_is_told() {
    let mut gateway = Gateway::start(&["--dev"]);
    assert_stored("PUT publishes", &Request::new("PUT", "/events/t").content("x").ask(gateway.address()));
    for (target, allowed) in [
        ("/events/t", "GET,HEAD,POST,PUT,DELETE"),
        ("/events", "GET,HEAD,POST,PUT,DELETE"),
        ("/metrics", "GET,HEAD"),
        ("/health/live", "GET,HEAD"),
        ("/", "GET,HEAD"),
        ("/streams/x/cut", "POST"),
    ] {
        let methods = ["DELETE", "PATCH", "TRACE", "get", "X-ANYTHING"];
        for method in methods.into_iter().filter(|method| !allowed.contains(method)) {
            let answer = Request::new(method, target).ask(gateway.address());
            assert_refused(&format!("{method} {target}"), &answer, 405, "see the Allow field");
            assert_eq!(answer.field("allow").as_deref(), Some(allowed), "{method} {target}");
        }
    }
    for target in [
        "/nothing",
        "/event",
        "/events.",
        "/EVENTS/t",
        "/events%2Ft",
        "/metrics/",
        "/static/",
        "/static/nothing.js",
        "/static/..%2flive.js",
        "/static/%ff",
        "/.well-known/mercure",
        "//events/t",
        "/%00",
    ] {
        assert_refused(target, &Request::get(target).ask(gateway.address()), 404, "there is no");
    }
    assert_alive(&mut gateway);
}
