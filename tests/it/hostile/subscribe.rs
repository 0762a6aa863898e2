//! Subscribing with what cannot be read, is not there any more, or never was.
//!
//! A cursor is never the reason of a refusal, which would stop an `EventSource` for good: it is a gap, and is told so.

use serde_json::{Value, json};

use super::began::{Began, TRANSPORTS, polls};
use super::publish::{assert_stored, post};
use super::{KEY, assert_alive, assert_guarded, assert_refused, gateway, stored};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request, encoded};
use crate::support::wait_for;

fn by_header(transport: &str, cursor: impl AsRef<[u8]>) -> Request {
    Request::get(&format!("/events/t?transport={transport}&timeout=0")).field("Last-Event-ID", cursor)
}

fn by_query(transport: &str, cursor: impl AsRef<[u8]>) -> Request {
    Request::get(&format!("/events/t?transport={transport}&timeout=0&lastEventId={}", encoded(cursor)))
}

fn publish(gateway: &Gateway, data: &str) -> String {
    assert_stored(data, &post("/events/t", data).ask(gateway.address()))
}

#[test]
fn a_cursor_that_cannot_be_read_is_a_gap_on_every_transport() {
    let mut gateway = gateway();
    let newest = publish(&gateway, "newest");
    let (epoch, _) = newest.split_once('-').expect("a cursor");
    let huge = vec![b'x'; 60_000];
    let mut cursors: Vec<Vec<u8>> = [
        "nope",
        "-",
        "-1",
        "0",
        "earliest ",
        "Latest",
        "null",
        "undefined",
        "é✓\u{202e}",
        "\"}]}",
        "a,b",
        "1-1",
        "%2e",
        "abcdefgh-01",
        "abcdefgh-18446744073709551616",
        "ABCDEFGH-1",
        "abcdefgh-1-1",
        "abcdefgh--1",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    cursors.extend([b"\xff\xfe".to_vec(), b"\xc0\xaf".to_vec(), b"a\tb".to_vec(), huge]);
    cursors.extend(["01", "+1", "1 2", "٣"].map(|offset| format!("{epoch}-{offset}").into_bytes()));
    for transport in TRANSPORTS {
        for cursor in &cursors {
            let what = String::from_utf8_lossy(&cursor[..cursor.len().min(40)]).into_owned();
            let mut requests = vec![by_query(transport, cursor)];
            // White space at the end of a field belongs to no value.
            if !cursor.ends_with(b" ") {
                requests.push(by_header(transport, cursor));
            }
            // Percent-encoded, 60 000 bytes are more than a head may have.
            if cursor.len() > 20_000 {
                requests[0] =
                    Request::get(&format!("/events/t?transport={transport}&lastEventId={}", "x".repeat(60_000)));
            }
            for request in requests {
                let began = Began::with(&gateway, transport, &request);
                let gap = began.assert_gap(transport, &what, "unknown");
                assert!(gap.is_none_or(|gap| gap["lost"].is_null()
                    && gap["asked"].as_str().is_some_and(|asked| { !asked.is_empty() && asked.len() <= 256 })));
                let shows_state = transport == "multipart-replace";
                let after = if shows_state { format!("{epoch}-0") } else { newest.clone() };
                assert_eq!(began.cursor, after, "it goes on at the live edge, or shows the newest state");
            }
        }
        // What no header field can hold.
        for cursor in ["a\0b", "\r\nevent: x\r\ndata: y\r\n\r\n", "\n\nid: 1\n", "\u{2028}"] {
            let began = Began::with(&gateway, transport, &by_query(transport, cursor));
            let gap = began.assert_gap(transport, cursor, "unknown");
            assert!(gap.is_none_or(|gap| gap["asked"] == cursor), "it is told back as it was asked");
        }
        // Not even UTF-8 once decoded, or not encoded at all.
        for text in ["%FF%FE", "%C0%AF", "%zz", "%"] {
            let request = Request::get(&format!("/events/t?transport={transport}&lastEventId={text}"));
            Began::with(&gateway, transport, &request).assert_gap(transport, text, "unknown");
        }
    }
    assert_alive(&mut gateway);
}

#[test]
fn an_empty_cursor_says_nothing() {
    let gateway = gateway();
    publish(&gateway, "x");
    for transport in TRANSPORTS {
        for request in [by_header(transport, ""), by_query(transport, "")] {
            Began::with(&gateway, transport, &request).assert_no_gap(transport, "empty", "new");
        }
    }
}

#[test]
fn a_cursor_of_another_log_or_from_the_future_is_a_gap() {
    let mut gateway = gateway();
    let first = publish(&gateway, "1");
    let last = publish(&gateway, "2");
    let (epoch, offset) = last.split_once('-').expect("a cursor");
    let offset: u64 = offset.parse().expect("an offset");
    for transport in TRANSPORTS {
        for (cursor, reason) in [
            ("zzzzzzzz-1".to_owned(), "unknown"),
            ("zzzzzzzz-0".to_owned(), "unknown"),
            (format!("zzzzzzzz-{}", u64::MAX), "unknown"),
            (format!("{epoch}-{}", offset + 1), "ahead"),
            (format!("{epoch}-{}", u64::MAX), "ahead"),
        ] {
            for request in [by_header(transport, &cursor), by_query(transport, &cursor)] {
                let began = Began::with(&gateway, transport, &request);
                if let Some(gap) = began.assert_gap(transport, &cursor, reason) {
                    assert_eq!(gap["asked"], cursor);
                    assert_eq!(gap["lost"], Value::Null, "nobody knows");
                }
            }
        }
    }
    // Cursors of the run before are good up to its end, and no further: an event after that never was.
    gateway.restart();
    let third = publish(&gateway, "3");
    for transport in TRANSPORTS {
        for cursor in [&first, &last, &format!("{epoch}-0")] {
            let began = Began::with(&gateway, transport, &by_header(transport, cursor));
            began.assert_no_gap(transport, cursor, "resumed");
        }
        let cursor = format!("{epoch}-{}", offset + 1);
        Began::with(&gateway, transport, &by_query(transport, &cursor)).assert_gap(transport, &cursor, "ahead");
        Began::with(&gateway, transport, &by_query(transport, &third)).assert_no_gap(transport, "third", "resumed");
    }
}

#[test]
fn a_state_transport_shows_the_state_also_behind_a_gap() {
    let gateway = gateway();
    let newest = publish(&gateway, "the state");
    for cursor in ["nope", "zzzzzzzz-7"] {
        let mut began = Began::with(&gateway, "multipart-replace", &by_header("multipart-replace", cursor));
        began.assert_gap("multipart-replace", cursor, "");
        let shown = began.connection.chunks_until("the state");
        assert!(shown.contains(&format!("Encke-Id: {newest}\r\n")), "{shown}");
    }
}

#[test]
fn a_cursor_that_retention_has_passed_is_a_gap_and_what_is_left_follows() {
    let gateway = Gateway::start_with(&["--read", "public", "--retention-events", "8"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let first = publish(&gateway, "0");
    let mut published = 0;
    wait_for("retention to let the first events go", || {
        published += 1;
        publish(&gateway, &format!("number {published}."));
        gateway.metric("encke_log_first_offset", &[]) > 3.0
    });
    assert!(stored(&gateway).len() >= 8, "readers are given the newest as well");
    for transport in TRANSPORTS {
        for request in [by_header(transport, &first), by_query(transport, &first)] {
            let mut began = Began::with(&gateway, transport, &request);
            if let Some(gap) = began.assert_gap(transport, "expired", "expired") {
                assert_eq!((&gap["asked"], &gap["lost"]), (&json!(first), &Value::Null));
            }
            let newest = format!("number {published}.");
            if polls(transport) {
                assert!(began.head.text().contains(&newest));
            } else {
                began.connection.chunks_until(&newest);
            }
        }
    }
    // Whoever asked for everything, and may read it, is told how many are lost.
    let all = Request::get("/events?topic=**&transport=long-poll").field("Last-Event-ID", &first).bearer(KEY);
    let began = Began::with(&gateway, "long-poll", &all);
    let gap = began.assert_gap("long-poll", "expired", "expired").expect("a gap");
    let offset = |cursor: &Value| -> u64 {
        cursor.as_str().and_then(|text| text.split_once('-')?.1.parse().ok()).expect("a cursor")
    };
    assert_eq!(gap["lost"], offset(&gap["first"]) - 2, "all between the first and what there is");
    assert_eq!(began.head.json()["events"][0]["id"], gap["first"]);
    assert!(gateway.metric("encke_gaps_total", &["reason=\"expired\""]) >= 9.0);
}

#[test]
fn of_several_start_positions_one_wins() {
    let gateway = gateway();
    let ids: Vec<String> = (0..5).map(|n| publish(&gateway, &n.to_string())).collect();
    assert_eq!(stored(&gateway).len(), 5);
    let ask = |query: &str, header: Option<&str>| {
        let request = Request::get(&format!("/events/t?transport=long-poll&timeout=0{query}"));
        let request = header.map_or(request.clone(), |cursor| request.field("Last-Event-ID", cursor));
        let answer = Began::with(&gateway, "long-poll", &request).head.json();
        let data = answer["events"].as_array().expect("events").iter().map(|event| event["data"].to_string());
        data.collect::<String>().replace('"', "")
    };
    let all = format!("&lastEventId={}&since=1h&last=2", ids[2]);
    assert_eq!(ask(&all, Some(&ids[0])), "1234", "the header wins");
    assert_eq!(ask(&all, Some("nope")), "", "also with what cannot be read");
    assert_eq!(ask(&all, Some("")), "34", "but not if it is empty");
    assert_eq!(ask(&all, None), "34", "then the cursor in the query");
    assert_eq!(ask("&since=1h&last=2", None), "01234", "then the time");
    assert_eq!(ask("&last=2&lastEventId=", None), "34", "then the newest so many");
    assert_eq!(ask("", None), "", "then the live edge");
    for name in ["last_event_id", "lastEventID", "Last-Event-ID"] {
        assert_eq!(ask(&format!("&{name}={}", ids[3]), None), "4", "{name}");
    }
    assert_eq!(ask("&lastEventId=earliest", None), "01234");
    assert_eq!(ask("&lastEventId=latest", None), "");
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_mend() {
    let mut gateway = gateway();
    let refuse = |target: &str, words: &str| {
        let answer = Request::get(target).ask(gateway.address());
        assert_refused(&target.chars().take(80).collect::<String>(), &answer, 400, words);
    };
    for (query, words) in [
        ("heartbeat=4", "`heartbeat` is a whole number from 5 to 3600"),
        ("heartbeat=3601", "from 5 to 3600"),
        ("heartbeat=5.5", "a whole number"),
        ("heartbeat=", "a whole number"),
        ("limit=0", "`limit` is a whole number from 1 to 1000"),
        ("limit=1000001", "from 1 to 1000"),
        ("ongap=stay", "`ongap` can only be `latest`, `earliest` or `close`"),
        ("snapshot=yes", "`snapshot` can only be `1`"),
        ("conflate=0", "`conflate` can only be `1`"),
        ("type=encke.x", "encke."),
        ("type=", "type"),
        ("session=a%20b", "`session` is 1 to 64 letters"),
        ("limit=-1", "from 1 to 1000"),
        ("timeout=121", "`timeout` is a whole number from 0 to 120"),
        ("padding=65537", "`padding` is a whole number from 0 to 65536"),
        ("retry=soon", "`retry` is a number"),
        ("last=0", "`last` is a whole number"),
        ("last=all", "`last` is a whole number"),
        ("since=yesterday", "RFC 3339"),
        ("since=-5m", "RFC 3339"),
        ("beat=x", "`beat` can only be `event`"),
        ("envelope=xml", "`envelope` can only be `json`"),
        ("topic=%FF", "not UTF-8"),
        ("topic=a*b", "*"),
        ("topic=**/a", "*"),
        ("topic=a%0Ab", "no control"),
        ("topic=", "at least one character"),
    ] {
        for transport in ["sse", "ndjson", "long-poll", "poll", "multipart-mixed"] {
            refuse(&format!("/events/t?transport={transport}&{query}"), words);
        }
    }
    for name in ["websocket", "SSE", "", "sse%20", "%3Cscript%3E"] {
        let answer = Request::get(&format!("/events/t?transport={name}")).ask(gateway.address());
        assert_refused(
            name,
            &answer,
            400,
            "there are sse, ndjson, long-poll, poll, multipart-replace, multipart-mixed",
        );
    }
    let selectors = |count| format!("/events?transport=long-poll&{}", vec!["topic=a/*"; count].join("&"));
    refuse(&selectors(129), "at most 128 topics");
    assert_eq!(Request::get(&selectors(128)).ask(gateway.address()).status, 200);
    refuse("/events", "name a topic");
    refuse("/events?type=x", "name a topic");
    for target in ["/events/", "/events//a", "/events/../a", "/events/%2e%2e/a"] {
        refuse(target, "name such a topic in the query");
    }
    // A parameter that is not known is none of ours: clients add their own, against caches.
    assert_eq!(Request::get("/events/t?transport=long-poll&_=123").ask(gateway.address()).status, 200);
    assert_alive(&mut gateway);
}

#[test]
fn head_describes_what_get_would_open_and_opens_nothing() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address());
    for (transport, media) in
        [("sse", "text/event-stream"), ("ndjson", "application/x-ndjson"), ("long-poll", "application/json")]
    {
        connection.send(Request::new("HEAD", &format!("/events/t?transport={transport}")).bytes());
        let head = connection.head();
        assert_eq!((head.status, head.field("content-type").as_deref()), (200, Some(media)));
        assert_eq!(head.field("content-length"), None, "nobody knows how long it would get");
        assert_guarded(transport, &head);
    }
    connection.send(Request::new("HEAD", "/events/t?limit=0").bytes());
    assert_eq!(connection.head().status, 400);
    connection.send(Request::new("HEAD", "/nothing").bytes());
    assert_eq!(connection.head().status, 404, "the connection goes on");
    assert_eq!(gateway.metric("encke_stream_opens_total", &[]), 0.0);
}
