//! What `/streams` shows of single streams, of both carriers: how each stands, what became of those that ended, and nothing by
//! which a stream, its reader or what it reads could be known.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Connection, Request};
use crate::support::process::Process;
use crate::support::wait_for;

/// What the admin routes say of streams.
#[track_caller]
fn streams(gateway: &Gateway, query: &str) -> Value {
    let answer = ask(gateway, query);
    assert_eq!((answer.status, answer.field("content-type").as_deref()), (200, Some("application/json")));
    answer.json()
}

fn ask(gateway: &Gateway, query: &str) -> Answer {
    Request::get(&format!("/streams{query}")).ask(gateway.admin_url().trim_start_matches("http://"))
}

/// A list of what is told.
fn list<'a>(told: &'a Value, name: &str) -> &'a [Value] {
    told[name].as_array().unwrap_or_else(|| panic!("{name} is no list in {told:#}"))
}

/// A stream that has said hello, its id, and where it began.
#[track_caller]
fn follow(gateway: &Gateway, request: &Request) -> (Connection, String, String) {
    let mut stream = Connection::open(gateway.address());
    stream.send(request.bytes());
    let head = stream.head();
    let named = |name| head.field(name).unwrap_or_else(|| panic!("no {name} in {head:?}"));
    let (id, cursor) = (named("encke-stream"), named("encke-cursor"));
    stream.chunks_until("encke.hello");
    (stream, id, cursor)
}

#[track_caller]
fn publish(gateway: &Gateway, topic: &str, content: &str) {
    let answer = Request::post(&format!("/events/{topic}"), content).ask(gateway.address());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Waits until the story of an end is told, and gives it.
#[track_caller]
fn story(gateway: &Gateway, id: &str) -> Value {
    let mut told = Value::Null;
    wait_for("the story of an end", || {
        told = streams(gateway, &format!("?stream={id}"));
        !list(&told, "ended").is_empty()
    });
    assert_eq!((list(&told, "ended").len(), list(&told, "streams").len()), (1, 0), "{told:#}");
    told["ended"][0].clone()
}

#[test]
fn open_streams_are_shown_by_the_beginnings_of_their_ids() {
    let gateway = Gateway::start(&["--dev"]);
    let (_one, first, _) = follow(&gateway, &Request::get("/events/a?heartbeat=300"));
    // Each core says how old its own are, at its own moment.
    wait_for("the first to be older", || streams(&gateway, "")["streams"][0]["age_s"].as_f64() >= Some(1.0));
    let (_other, second, _) = follow(&gateway, &Request::get("/events/b?transport=ndjson&session=a-session"));
    let told = streams(&gateway, "");
    let shown: Vec<_> = list(&told, "streams").iter().map(|live| (&live["stream"], &live["transport"])).collect();
    let expected = [(json!(first[..8]), json!("sse")), (json!(second[..8]), json!("ndjson"))];
    assert_eq!(shown, expected.each_ref().map(|(name, transport)| (name, transport)), "the oldest first");
    let live = &told["streams"][0];
    let still = [&live["heartbeat_s"], &live["lag"], &live["not_taken_bytes"], &live["blocked_s"]];
    assert_eq!(still, [&json!(300.0), &json!(0), &json!(0), &Value::Null]);
    assert!(live["age_s"].as_f64() >= live["quiet_s"].as_f64() && live["path"].is_string(), "{live}");
    assert_eq!((&told["open"], &told["incomplete"]), (&json!(2), &Value::Null));

    let few = streams(&gateway, "?limit=1&sort=quiet");
    let counted: u64 = list(&few, "counts").iter().filter_map(|count| count["streams"].as_u64()).sum();
    assert_eq!((list(&few, "streams").len(), &few["open"], counted), (1, &json!(2), 2), "all are counted");
    for name in [&second[..], &second[..8]] {
        let one = streams(&gateway, &format!("?stream={name}"));
        assert_eq!(list(&one, "streams").len(), 1, "{name}");
        assert_eq!((&one["streams"][0]["stream"], &one["open"]), (&json!(second[..8]), &json!(2)));
    }
    // Another of the same beginning is another.
    let forged = format!("{}{}", &second[..8], "0".repeat(24));
    assert_eq!(list(&streams(&gateway, &format!("?stream={forged}")), "streams").len(), 0);
    let text = ask(&gateway, "").text();
    assert!(!text.contains(&first) && !text.contains(&second) && !text.contains(&second[8..]), "{text}");
}

#[test]
fn streams_over_http_2_are_shown() {
    let gateway = Gateway::start(&["--dev"]);
    let mut curl = Command::new("curl");
    curl.args(["-qsN", "--http2-prior-knowledge", &format!("http://{}/events/a?heartbeat=120", gateway.address())]);
    let mut curl = Process::spawn(curl);
    while curl.line(PATIENCE).expect("a hello comes") != "event: encke.hello" {}
    publish(&gateway, "other", "not for it");
    let mut told = Value::Null;
    wait_for("the connection to have taken all that was written", || {
        told = streams(&gateway, "");
        told["streams"][0]["blocked_s"].is_null()
    });
    let live = &told["streams"][0];
    let figures = [&live["transport"], &live["heartbeat_s"], &live["not_taken_bytes"]];
    assert_eq!(figures, [&json!("sse"), &json!(120.0), &json!(0)], "{told:#}");
    assert!(live["path"].as_str().is_some_and(|path| path.contains("/h2/")), "{live}");
    wait_for("what is not for it to be no lag", || streams(&gateway, "")["streams"][0]["lag"] == 0);
    publish(&gateway, "a", "for it");
    while curl.line(PATIENCE).expect("news come") != "data: for it" {}
    wait_for("it to be at the live edge", || streams(&gateway, "")["streams"][0]["lag"] == 0);
    curl.kill9();
    wait_for("the stream to be gone", || streams(&gateway, "")["open"] == 0);
}

/// More is published than the buffers of both ends take.
#[test]
fn the_lag_of_a_reader_that_does_not_read_is_shown_and_goes_when_it_reads() {
    let gateway = Gateway::start(&["--dev"]);
    let (_reading, ..) = follow(&gateway, &Request::get("/events/small"));
    let (mut slow, id, _) = follow(&gateway, &Request::get("/events/large"));
    for _ in 0..30 {
        publish(&gateway, "large", &"x".repeat(1 << 20));
    }
    publish(&gateway, "large", "the end");
    let mut told = Value::Null;
    wait_for("the reader to be behind", || {
        told = streams(&gateway, "?sort=lag&limit=1");
        let live = &told["streams"][0];
        live["lag"].as_u64() > Some(1) && live["not_taken_bytes"].as_u64() > Some(0) && live["blocked_s"].is_number()
    });
    assert_eq!(told["streams"][0]["stream"], id[..8], "{told:#}");
    let mut tail = String::new();
    while !tail.contains("data: the end\n") {
        tail.drain(..tail.len().saturating_sub(64)); // The rest was looked at.
        tail += &String::from_utf8(slow.chunk().expect("it goes on")).expect("ASCII");
    }
    wait_for("the reader to be at the live edge", || {
        let live = &streams(&gateway, &format!("?stream={id}"))["streams"][0];
        live["lag"] == 0 && live["not_taken_bytes"] == 0 && live["blocked_s"].is_null()
    });
}

#[test]
fn the_story_of_a_stream_whose_client_said_goodbye_is_told() {
    let gateway = Gateway::start(&["--dev"]);
    let (mut stream, id, _) = follow(&gateway, &Request::get("/events/a").field("User-Agent", "curl/8.0"));
    publish(&gateway, "a", "news");
    stream.chunks_until("news");
    let said = Request::post("/beacon", format!("{{\"stream\":\"{id}\",\"reason\":\"goodbye\"}}"));
    assert_eq!(said.field("Content-Type", "text/plain").ask(gateway.address()).status, 204);
    drop(stream);
    let story = story(&gateway, &id);
    assert_eq!((&story["stream"], &story["reason"]), (&json!(id[..8]), &json!("client_goodbye")));
    assert_eq!((&story["waited"], &story["returned"], &story["limit_s"]), (&json!(true), &Value::Null, &Value::Null));
    let told = story["told"].as_str().expect("sentences");
    assert!(told.contains("Its client had said that it leaves: `client_goodbye`. Nobody came back in time."), "{told}");
    assert!(story["opened"].as_str() <= story["ended"].as_str(), "{story}");
}

#[test]
fn the_story_of_a_stream_that_was_dropped_tells_of_its_return() {
    let gateway = Gateway::start_with(&["--dev"], &[("ENCKE_GRACE", "60")]);
    let request = Request::get("/events/a?session=one");
    let (mut stream, id, cursor) = follow(&gateway, &request);
    for number in 0..3 {
        publish(&gateway, "a", &format!("number {number}"));
    }
    stream.chunks_until("number 2");
    drop(stream);
    wait_for("the end to be seen", || streams(&gateway, "")["open"] == 0);
    let (_back, ..) = follow(&gateway, &request.field("Last-Event-ID", &cursor));
    let story = story(&gateway, &id);
    assert_eq!((&story["reason"], &story["waited"]), (&json!("dropped_came_back"), &json!(true)));
    let returned = &story["returned"];
    assert_eq!((&returned["known"], &returned["missed"]), (&json!("strong"), &json!(3)), "{story:#}");
    assert!(story["tcp"].is_null() || story["tcp"]["round_trip_ms"].is_number(), "{story:#}");
    let told = story["told"].as_str().expect("sentences");
    assert!(told.contains("known by its session, was back") && told.contains("had not been given 3 events"), "{told}");
}

/// Cut by us, its reason is final at once; who comes back after that is told of even so.
#[test]
fn the_story_of_a_stream_that_was_cut_goes_on_when_its_client_is_back() {
    let gateway = Gateway::start(&["--dev"]);
    let request = Request::get("/events/a");
    let (_stream, id, cursor) = follow(&gateway, &request);
    assert_eq!(Request::post(&format!("/streams/{id}/cut"), "").ask(gateway.address()).status, 204);
    let told = story(&gateway, &id);
    assert_eq!(
        (&told["reason"], &told["waited"], &told["returned"]),
        (&json!("server_recycle"), &json!(false), &Value::Null)
    );
    let (_back, ..) = follow(&gateway, &request.field("Last-Event-ID", &cursor));
    let returned = &story(&gateway, &id)["returned"];
    assert_eq!((&returned["known"], &returned["missed"]), (&json!("weak"), &json!(0)), "{returned}");
}

#[test]
fn nothing_that_came_by_the_network_is_shown() {
    let gateway = Gateway::start(&["--dev"]);
    let mark = "xss-mark";
    let script = format!("<script>{mark}</script>");
    let request = Request::get(&format!("/events/{mark}?session={mark}"))
        .field("User-Agent", &script)
        .field("Via", format!("1.1 {script}"))
        .field("X-Forwarded-For", "203.0.113.77, 203.0.113.78")
        .field("Cookie", format!("a={script}"))
        .bearer(mark);
    let (mut open, _, cursor) = follow(&gateway, &request);
    let (ended, ended_id, _) = follow(&gateway, &request);
    publish(&gateway, mark, mark);
    open.chunks_until(mark);
    drop(ended);
    story(&gateway, &ended_id);
    for accept in ["application/json", "text/html"] {
        let request = Request::get("/streams").field("Accept", accept).field("User-Agent", &script);
        let text = request.ask(gateway.address()).text();
        for part in [mark, "203.0.113", "127.0.0.1", "<script", &cursor, &ended_id[8..]] {
            assert!(!text.contains(part), "{part} is shown:\n{text}");
        }
        assert!(text.contains(&ended_id[..8]), "{text}");
    }
}

#[test]
fn people_are_given_a_page_without_a_script() {
    let gateway = Gateway::start(&["--dev"]);
    let (_stream, id, _) = follow(&gateway, &Request::get("/events/a"));
    let page = Request::get("/streams?sort=lag").field("Accept", "text/html,*/*;q=0.8").ask(gateway.address());
    assert_eq!(page.field("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert!(page.field("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    let text = page.text();
    for part in ["Open: 1", &format!("?stream={}", &id[..8]), "href=\"diagnosis\"", "behind ↓"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let diagnosis = Request::get("/diagnosis").field("Accept", "text/html").ask(gateway.address()).text();
    assert!(diagnosis.contains("href=\"streams\""), "{diagnosis}");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let gateway = Gateway::start(&["--dev"]);
    for (query, words) in [
        ("?limit=0", "`limit` is a whole number from 1 to 1000"),
        ("?limit=1001", "`limit` is a whole number from 1 to 1000"),
        ("?limit=-1", "`limit` is"),
        ("?limit=", "`limit` is"),
        ("?sort=name", "`sort` can only be `age`, `lag` or `quiet`"),
        ("?stream=", "`stream` is the id of a stream"),
        ("?stream=0123456", "`stream` is"),
        ("?stream=0123456789", "`stream` is"),
        ("?stream=+1234567", "`stream` is"),
        ("?stream=ABCDEF01", "`stream` is"),
        ("?stream=%C3%A9%C3%A9%C3%A9%C3%A9", "`stream` is"),
        ("?topic=a", "there is no parameter `topic`; there are stream, limit and sort"),
        ("?stream=%FF", "not UTF-8"),
    ] {
        let answer = ask(&gateway, query);
        assert_eq!(
            (answer.status, answer.field("content-type").as_deref()),
            (400, Some("application/problem+json")),
            "{query}"
        );
        assert!(answer.text().contains(words), "{query}: {}", answer.text());
    }
    assert_eq!(streams(&gateway, "?limit=1000&sort=age&stream=01234567")["streams"], json!([]));
}

#[test]
fn streams_are_shown_on_the_admin_listener_alone() {
    let gateway = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", "a-key-of-this-test-0123456789")]);
    assert_eq!(Request::get("/streams").ask(gateway.address()).status, 404);
    assert_eq!(streams(&gateway, "")["open"], 0);
}
