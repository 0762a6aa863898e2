//! Events as lines of JSON, streamed in.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::{Lines, NDJSON, as_lines, data, gateway, ids, metric, post, stored};
use crate::support::http::{Connection, Request, encoded};
use crate::support::{long, wait_for};

fn line(data: &str) -> String {
    format!("{{\"topic\":\"t\",\"data\":\"{data}\"}}\n")
}

#[test]
fn bad_lines_are_named_and_passed_over() {
    let gateway = gateway(&[]);
    let hello = r#"{"id":"k3v9x0a1-6","type":"encke.hello","retry":2812,"data":{}}"#;
    let keyed = |data: &str| format!("{{\"topic\":\"t\",\"key\":\"k\",\"data\":\"{data}\"}}\n");
    let content = [
        line("1"),
        "\r\n  \n".to_owned(),
        "{\"topic\":\"t\"}\n".to_owned(),
        "{\"topic\":\"t\",\"data\":\"2\"}\r\n".to_owned(),
        keyed("3"),
        keyed("3"),
        keyed("4"),
        format!("{hello}\n"),
        "nonsense\n".to_owned(),
        line("5").trim_end().to_owned(),
    ];
    let answer = post("/events", NDJSON, content.concat()).ask(gateway.address());
    let events = stored(&gateway);
    assert_eq!(data(&gateway), ["1", "2", "3", "5"]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let errors = [
        (4, "an event has `data`, be they empty: \"data\":\"\""),
        (8, "the key was used before, for an event with other content"),
        (10, "an event is a JSON object with `topic` and `data`"),
    ];
    let errors: Vec<Value> = errors.iter().map(|(line, title)| json!({ "line": line, "title": title })).collect();
    assert_eq!(
        answer.json(),
        json!({
            "published": 4, "duplicates": 1, "refused": 3, "ignored": 1, "durability": "fsync",
            "first": events[0].id, "last": events[3].id, "errors": errors,
        })
    );
    assert_eq!(metric(&gateway, "encke_publish_bad_lines_total"), 3.0);
    assert_eq!(metric(&gateway, "encke_publish_streams_active"), 0.0);
    let nothing = post("/events", NDJSON, "").ask(gateway.address());
    assert_eq!((nothing.status, &nothing.json()["first"]), (200, &Value::Null));
}

#[test]
fn what_subscribers_are_told_can_be_published_elsewhere() {
    let (from, to) = (gateway(&[]), gateway(&[]));
    for (media, content) in [("text/plain", "a\nb"), ("application/json", "{\"a\" : 1}"), ("image/png", "\u{1}PNG")] {
        let target = format!("/events?topic={}&topic=u&key={}&type=x", encoded("https://a.example/"), media.len());
        assert_eq!(post(&target, media, content).ask(from.address()).status, 201);
    }
    let told = Request::get("/events?topic=**&transport=long-poll&lastEventId=earliest").ask(from.address()).json();
    let lines: String = told["events"].as_array().expect("events").iter().map(|event| format!("{event}\n")).collect();
    let answer = post("/events", NDJSON, lines).ask(to.address());
    assert_eq!(answer.json()["published"], 3, "{}", answer.text());
    let (theirs, ours) = (stored(&from), stored(&to));
    let same = |events: &[crate::support::told::Told]| -> Vec<_> {
        events.iter().map(|event| (event.kind.clone(), event.key.clone(), event.data.clone())).collect()
    };
    assert_eq!(same(&theirs), same(&ours));
}

#[test]
fn each_line_is_told_when_it_is_stored_and_in_its_order() {
    let gateway = gateway(&[]);
    let mut lines = Lines::open(&gateway, "/events?ack=each");
    assert_eq!(lines.0.head().field("content-type").as_deref(), Some(NDJSON), "the head comes before any line");
    let mut expected = Vec::new();
    for number in 1..=5 {
        lines.write(&line(&number.to_string()));
        let told = lines.told();
        // Readers are given it a moment later.
        wait_for("it to be given to readers", || data(&gateway).len() == number);
        let stored = stored(&gateway);
        expected.push(stored[number - 1].id.clone());
        assert_eq!(told, [json!({ "line": number, "id": expected.last() })]);
    }
    // A byte at a time: a line is one only with its end.
    for byte in line("6").trim_end().chars() {
        lines.write(&byte.to_string());
    }
    lines.write("\n");
    assert_eq!(lines.told()[0]["line"], 6);
    lines.write("nonsense\n");
    assert_eq!(lines.told(), [json!({ "line": 7, "error": "an event is a JSON object with `topic` and `data`" })]);
    lines.write(line("8").trim_end());
    lines.0.send("0\r\n\r\n");
    let rest: Vec<Value> = lines.rest();
    assert_eq!(rest[0]["line"], 8, "the last line needs no end, {rest:?}");
    let stored = stored(&gateway);
    assert_eq!(
        rest[1..],
        [json!({ "published": 7, "duplicates": 0, "refused": 1, "ignored": 0, "durability": "fsync",
                 "first": stored[0].id, "last": stored[6].id })]
    );
    assert_eq!(ids(&stored)[..5], expected);
}

#[test]
fn whole_lines_are_stored_of_a_stream_that_is_cut_and_half_a_line_is_not() {
    let gateway = gateway(&[]);
    let mut lines = Lines::open(&gateway, "/events");
    lines.write(&(line("1") + &line("2")));
    lines.write(line("half").trim_end());
    drop(lines);
    // Longer than what was read at once, so that some of it waits when the end comes.
    let mut lines = Lines::open(&gateway, "/events");
    let many: String = (3..=3000).map(|number| line(&number.to_string())).collect();
    lines.write(&many);
    lines.0.finish();
    drop(lines);
    wait_for("the whole lines to be stored", || data(&gateway).len() >= 3000);
    wait_for("the streams to have ended", || metric(&gateway, "encke_publish_streams_active") == 0.0);
    let mut stored = data(&gateway);
    assert!(!stored.contains(&"half".to_owned()));
    stored.sort_by_key(|data| data.parse::<u32>().expect("a number"));
    assert_eq!(stored, (1..=3000).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn lines_may_be_as_long_as_the_largest_event_needs() {
    let gateway = gateway(&[]);
    let largest = "A".repeat(((1 << 20) / 3) * 4);
    let picture = |data: &str| {
        format!("{{\"topic\":\"t\",\"contentType\":\"image/png\",\"encoding\":\"base64\",\"data\":\"{data}\"}}\n")
    };
    let endless = "x".repeat(3 << 20);
    let content = [picture(&largest), picture(&(largest.clone() + "AAAA")), endless + "\n", line("after")].concat();
    let answer = post("/events", NDJSON, content).ask(gateway.address()).json();
    assert_eq!((&answer["published"], &answer["refused"]), (&json!(2), &json!(2)), "{answer}");
    assert_eq!(answer["errors"][0], json!({ "line": 2, "title": "an event has at most 1048576 bytes of data" }));
    assert_eq!(answer["errors"][1], json!({ "line": 3, "title": "a line has at most 2097152 bytes" }));
}

#[test]
fn a_gateway_that_stops_says_how_far_it_came() {
    for (target, each) in [("/events", false), ("/events?ack=each", true)] {
        let mut gateway = gateway(&[]);
        let mut lines = Lines::open(&gateway, target);
        lines.write(&(line("1") + &line("2")));
        wait_for("both to be stored", || data(&gateway).len() == 2);
        gateway.terminate();
        let last = if each {
            assert_eq!(lines.0.head().status, 200);
            let all: Vec<Value> = lines.rest();
            assert_eq!(all.len(), 3, "{all:?}");
            all[2].clone()
        } else {
            let answer = lines.0.answer();
            assert_eq!(answer.status, 503, "{}", answer.text());
            answer.json()
        };
        assert_eq!(
            (&last["status"], &last["stopped"], &last["published"]),
            (&json!(503), &json!(3), &json!(2)),
            "{last}"
        );
        drop(lines);
        assert!(gateway.wait().success());
    }
}

#[test]
fn receipts_that_nobody_reads_hold_up_nothing_until_there_are_too_many() {
    let gateway = gateway(&["--store", "memory"]);
    let mut lines = Lines::open(&gateway, "/events?ack=each");
    let stored: String = (0..20_000).map(|number| line(&number.to_string())).collect();
    lines.write(&stored);
    for _ in 0..40 {
        lines.write(&"x\n".repeat(10_000));
    }
    lines.0.send("0\r\n\r\n"); // All is written, and nothing was read.
    assert_eq!(lines.0.head().status, 200);
    let told: Vec<Value> = lines.rest();
    let (last, told) = told.split_last().expect("there is a last line");
    assert!(told.iter().zip(1..).all(|(told, line)| told["line"] == line), "every line up to there, in order");
    assert_eq!((&last["status"], &last["stopped"]), (&json!(413), &json!(told.len() + 1)), "{last}");
    assert_eq!(last["published"], 20_000);
    assert!(told.len() > 50_000, "what was kept is no less than 4 MiB: {}", told.len());
}

#[test]
fn what_was_told_is_there_after_a_crash() {
    let mut gateway = gateway(&[]);
    let rounds = if long() { 50 } else { 5 };
    let mut told: Vec<(u64, String)> = Vec::new();
    for round in 0..rounds {
        let mut lines = Lines::open(&gateway, "/events?ack=each");
        let mut writer = lines.0.socket().try_clone().expect("a second handle");
        let mut reader = lines.0.socket().try_clone().expect("a third handle");
        let (enough, killed) = std::sync::mpsc::channel();
        let writing = std::thread::spawn(move || {
            for number in 0_u64.. {
                let text = line(&(round * 10_000_000 + number).to_string());
                if write!(writer, "{:x}\r\n{text}\r\n", text.len()).is_err() {
                    return;
                }
            }
        });
        let reading = std::thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 16 * 1024]);
            while let Ok(read @ 1..) = reader.read(&mut piece) {
                all.extend_from_slice(&piece[..read]);
                if all.len() > 100_000 {
                    let _ = enough.send(()); // Once is enough.
                }
            }
            all
        });
        killed.recv_timeout(crate::support::PATIENCE).expect("some thousand receipts");
        gateway.kill9();
        writing.join().expect("it ends with the connection");
        let receipts = receipts(&reading.join().expect("it ends with the connection"));
        assert!(receipts.iter().zip(1..).all(|((line, _), expected)| *line == expected), "told in order");
        told.extend(receipts.into_iter().map(|(line, id)| (round * 10_000_000 + line - 1, id)));
        gateway.restart();
    }
    let stored = stored(&gateway);
    let by_id: std::collections::HashMap<_, _> = stored.iter().map(|event| (&event.id, &event.data)).collect();
    for (number, id) in &told {
        assert_eq!(by_id.get(id).map(|data| data.as_str()), Some(number.to_string().as_str()), "{id} was told");
    }
    let numbers: Vec<u64> = stored.iter().map(|event| event.data.parse().expect("a number")).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "in the order of the lines, none twice");
}

/// The receipts in an answer that breaks off anywhere.
fn receipts(answer: &[u8]) -> Vec<(u64, String)> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let (mut rest, mut content) = (&answer[head + 4..], Vec::new());
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        let chunk = &rest[end + 2..];
        content.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let told = as_lines(&content[..whole]).into_iter();
    told.map(|told| (told["line"].as_u64().expect("a number"), told["id"].as_str().expect("a cursor").to_owned()))
        .collect()
}

#[test]
fn streams_need_a_key_before_they_are_read() {
    let gateway = gateway(&[]);
    let mut connection = Connection::open(gateway.address());
    let head =
        Request::new("POST", "/events?ack=each").field("Content-Type", NDJSON).field("Transfer-Encoding", "chunked");
    connection.send(head.head());
    assert_eq!(connection.answer().status, 401, "before any line was sent");
}
