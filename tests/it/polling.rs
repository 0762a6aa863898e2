//! `transport=poll`: entity tags, conditions, and what a cache may keep.

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};

const KEY: &str = "correct-horse-battery-staple";

fn public(args: &[&str]) -> Gateway {
    let args = [&["--store", "memory", "--read", "public"], args].concat();
    Gateway::start_with(&args, &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// Publishes, and gives the event's cursor.
fn publish(gateway: &Gateway, topic: &str, data: &str) -> String {
    let answer = Request::post(&format!("/events/{topic}"), data).bearer(KEY).ask(gateway.address());
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().expect("a cursor").to_owned()
}

fn poll(gateway: &Gateway, query: &str, fields: &[(&str, &str)]) -> Answer {
    let request = Request::get(&format!("/events/t?transport=poll&{query}"));
    fields.iter().fold(request, |request, (name, value)| request.field(name, value)).ask(gateway.address())
}

fn tag(answer: &Answer) -> String {
    answer.field("etag").unwrap_or_else(|| panic!("no entity tag: {answer:?}"))
}

#[test]
fn a_tag_says_how_far_was_looked_and_is_a_place_to_go_on_from() {
    let gateway = public(&[]);
    let first = publish(&gateway, "t", "1");
    let quoted = |cursor: &str| format!("\"{cursor}\"");
    let whole = poll(&gateway, "lastEventId=earliest", &[]);
    assert_eq!((whole.status, tag(&whole)), (200, quoted(&first)));
    let other = publish(&gateway, "other", "x");
    assert_eq!(tag(&poll(&gateway, "lastEventId=earliest", &[])), quoted(&other), "looked at, though not for it");

    for condition in [quoted(&first), format!("W/{}", quoted(&first)), format!("\"x\", {}", quoted(&first)), "*".into()]
    {
        let answer = poll(&gateway, "", &[("If-None-Match", &condition)]);
        assert_eq!((answer.status, answer.text().as_str()), (304, ""), "{condition}");
        let expected = if condition == "*" { &other } else { &first };
        assert_eq!(tag(&answer), quoted(expected), "{condition}");
        assert_eq!(answer.field("cache-control").as_deref(), Some("no-store, no-transform"));
    }
    let second = publish(&gateway, "t", "2");
    let answer = poll(&gateway, "last=9", &[("If-None-Match", &quoted(&first))]);
    assert_eq!((answer.status, tag(&answer)), (200, quoted(&second)));
    let body = answer.json();
    assert_eq!((body["events"].as_array().map(Vec::len), &body["events"][0]["data"]), (Some(1), &"2".into()));

    let revalidated = poll(&gateway, "lastEventId=earliest", &[("If-None-Match", &quoted(&second))]);
    assert_eq!(revalidated.status, 304, "all that the target asks for is what the tag says");
    let behind = poll(&gateway, "lastEventId=earliest", &[("If-None-Match", &quoted(&first))]);
    assert_eq!((behind.status, behind.json()["events"].as_array().map(Vec::len)), (200, Some(2)));
    let unreadable = poll(&gateway, "", &[("If-None-Match", "\"x\"")]);
    assert_eq!((unreadable.status, unreadable.json()["gap"]["reason"].as_str()), (200, Some("unknown")));
}

#[test]
fn a_fresh_cursor_is_given_before_retention_passes_the_old_one() {
    let gateway = public(&["--retention-events", "40"]);
    let first = publish(&gateway, "t", "1");
    for number in 0..45 {
        let before = poll(&gateway, "", &[("If-None-Match", &format!("\"{first}\""))]);
        assert_eq!(before.status, if number < 10 { 304 } else { 200 }, "{number} went by");
        if number >= 10 {
            let body = before.json();
            assert!(body["events"].as_array().is_some_and(Vec::is_empty) && body.get("gap").is_none(), "{body}");
            return;
        }
        // A log that has trimmed nothing may come to keep all that is allowed: then a quarter of that.
        publish(&gateway, "other", "x");
    }
}

#[test]
fn an_answer_is_shared_only_if_it_is_the_same_for_everybody() {
    let gateway = public(&[]);
    let cursor = publish(&gateway, "t", "1");
    let shared = |query: &str, fields: &[(&str, &str)]| {
        let answer = poll(&gateway, query, fields);
        let vary = answer.field("vary").expect("an answer says what it differs by");
        for name in ["Accept", "Origin", "Authorization", "Cookie", "Last-Event-ID"] {
            assert!(vary.split(", ").any(|field| field == name), "{vary}");
        }
        match answer.field("cache-control").as_deref() {
            Some("public, max-age=1") => true,
            Some("no-store, no-transform") => false,
            other => panic!("{other:?}"),
        }
    };
    for query in [&format!("lastEventId={cursor}"), "lastEventId=earliest", "last=1", "since=5m"] {
        assert!(shared(query, &[]), "{query}");
        for field in [("Last-Event-ID", &*cursor), ("Authorization", "Basic dTpw"), ("Cookie", "a=b")] {
            assert!(!shared(query, &[field]), "{query} with {field:?}");
        }
        assert!(!shared(&format!("{query}&ongap=close"), &[]), "{query}: the second is answered otherwise");
    }
    assert!(!shared("", &[]), "where it begins is not in the target");
    let head = Request::new("HEAD", "/events/t?transport=poll&last=1").ask(gateway.address());
    assert_eq!((head.status, tag(&head)), (200, format!("\"{cursor}\"")));
    assert_eq!(head.field("content-type").as_deref(), Some("application/json"));

    let keyed = Gateway::start_with(&["--store", "memory"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    publish(&keyed, "t", "1");
    assert_eq!(poll(&keyed, "last=1", &[]).status, 401);
    let answer = poll(&keyed, "last=1", &[("Authorization", &format!("Bearer {KEY}"))]);
    assert_eq!((answer.status, answer.field("cache-control").as_deref()), (200, Some("no-store, no-transform")));
    assert_eq!(answer.field("cross-origin-resource-policy").as_deref(), Some("same-origin"));
}

#[test]
fn whoever_was_closed_on_a_gap_is_told_so_when_it_asks_again() {
    let gateway = public(&[]);
    publish(&gateway, "t", "1");
    let ask = |transport: &str, cursor: &str| {
        let target = format!("/events/t?transport={transport}&ongap=close");
        Request::get(&target).field("Last-Event-ID", cursor).ask(gateway.address())
    };
    let stream = ask("sse", "00000000-7");
    let text = stream.text();
    assert_eq!((stream.status, stream.field("encke-resume").as_deref()), (200, Some("gap")));
    assert!(text.contains("event: encke.gap\n") && text.contains("event: encke.bye\n"), "{text}");
    assert!(
        text.contains("\"reason\":\"gap\"") && !text.contains("id: "),
        "it must come back with what it has: {text}"
    );
    let again = ask("sse", "00000000-7");
    assert_eq!((again.status, again.content.len()), (204, 0));
    assert_eq!(ask("sse", "00000000-8").status, 200, "another position is another gap");
    // Others behind the same proxy have not been told.
    for (field, value) in [("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7"), ("User-Agent", "another")]
    {
        let request = Request::get("/events/t?ongap=close").field("Accept", "text/event-stream");
        let request = request.field("Last-Event-ID", "00000000-7").field(field, value);
        let statuses = [(); 2].map(|()| request.clone().ask(gateway.address()).status);
        assert_eq!(statuses, [200, 204], "{field}");
    }

    for transport in ["ndjson", "poll", "long-poll", "multipart-mixed"] {
        let first = ask(transport, "00000000-7");
        assert!(first.status == 200 && first.text().contains("00000000-7"), "{transport}: {first:?}");
        assert_eq!(ask(transport, "00000000-7").status, 410, "{transport}");
    }
}
