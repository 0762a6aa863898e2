//! What takes no intermediary and no network: a dozen streams for each cause, all told alike, and noted for the matrix.

use std::time::Duration;

use socket2::SockRef;

use super::{beacon, follow};
use crate::configuration::reload::{READ_AGAIN, reload};
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

const KEY: &str = "a-key-of-this-test-0123456789";

/// Streams of each transport.
const EACH: u64 = 6;

/// A stream, its name, and up to where it has been given everything.
type Followed = (Connection, String, String);

/// Waits until that many ends are decided, notes what they were called, and holds that all were called so.
#[track_caller]
fn told(gateway: &Gateway, cause: &str, count: u64) {
    let ends = confusion::wait_for_ends(gateway, count);
    confusion::note_ends(cause, Limit::Known, &ends);
    assert_eq!(ends, Ends::from([(cause.to_owned(), count)]));
}

/// A dozen requests for streams, of clients that can be told apart.
fn requests(query: &str) -> impl Iterator<Item = Request> {
    let numbered = ["sse", "ndjson"].into_iter().flat_map(|transport| (0..EACH).map(move |number| (transport, number)));
    numbered.map(move |(transport, number)| {
        let request = Request::get(&format!("/events/quiet?transport={transport}{query}"));
        request.field("User-Agent", format!("reader/{number}")).bearer(KEY)
    })
}

#[track_caller]
fn followed(gateway: &Gateway, query: &str) -> Vec<Followed> {
    requests(query).map(|request| follow(gateway, &request)).collect()
}

#[track_caller]
fn publish(gateway: &Gateway, topic: &str, data: &str) {
    let answer = Request::post(&format!("/events/{topic}"), data).bearer(KEY).ask(gateway.address());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// A gateway with an admin address of its own.
fn guarded(args: &[&str]) -> Gateway {
    Gateway::start_with(args, &[("ENCKE_PUBLISH_KEY", KEY)])
}

#[test]
fn polls_that_are_answered_are_complete() {
    let gateway = Gateway::start(&["--dev"]);
    publish(&gateway, "quiet", "news");
    for number in 0..2 * EACH {
        let target = format!("/events/quiet?transport=long-poll&lastEventId=earliest&session={number}");
        assert_eq!(Request::get(&target).ask(gateway.address()).status, 200);
    }
    told(&gateway, "complete", 2 * EACH);
}

#[test]
fn streams_that_have_all_that_they_asked_for_end_by_that() {
    let gateway = Gateway::start(&["--dev"]);
    let streams = followed(&gateway, "&limit=1");
    publish(&gateway, "quiet", "news");
    for (mut stream, ..) in streams {
        while stream.chunk().is_some() {}
    }
    told(&gateway, "limit", 2 * EACH);
}

#[test]
fn streams_that_would_not_have_a_gap_are_closed_on_one() {
    let gateway = Gateway::start(&["--dev"]);
    for request in requests("&ongap=close") {
        let answer = request.field("Last-Event-ID", "00000000-7").ask(gateway.address());
        assert!(answer.status == 200 && answer.text().contains("encke.gap"), "{answer:?}");
    }
    told(&gateway, "gap_close", 2 * EACH);
}

#[test]
fn streams_that_are_cut_by_request_are_recycled() {
    let gateway = Gateway::start(&["--dev"]);
    for (mut stream, id, _) in followed(&gateway, "") {
        let cut = Request::post(&format!("/streams/{id}/cut"), "").ask(gateway.address());
        assert_eq!(cut.status, 204, "{}", cut.text());
        stream.rest();
    }
    told(&gateway, "server_recycle", 2 * EACH);
}

#[test]
fn streams_whose_rules_have_changed_have_expired() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("encke.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("a file can be written");
    write("read = \"public\"\n");
    let mut gateway = guarded(&["--config", file.to_str().expect("a path of UTF-8")]);
    let anonymous = requests("").map(|request| follow(&gateway, &request.without("Authorization")));
    let streams: Vec<Followed> = anonymous.collect();
    write("read = \"key\"\n");
    reload(&mut gateway, READ_AGAIN);
    for (mut stream, ..) in streams {
        while stream.chunk().is_some() {}
    }
    told(&gateway, "auth_expired", 2 * EACH);
}

#[test]
fn streams_that_their_clients_have_lost_without_a_sign_are_superseded() {
    let gateway = Gateway::start(&["--dev"]);
    let of =
        |transport, number| Request::get(&format!("/events/quiet?transport={transport}&session={transport}-{number}"));
    let clients: Vec<_> =
        ["sse", "ndjson"].iter().flat_map(|transport| (0..EACH).map(move |number| (*transport, number))).collect();
    let lost: Vec<Followed> =
        clients.iter().map(|(transport, number)| follow(&gateway, &of(transport, *number))).collect();
    // Whoever does not say where it was may be a second reader of the same name.
    let second: Vec<Followed> =
        clients[..1].iter().map(|(transport, number)| follow(&gateway, &of(transport, *number))).collect();
    drop(second);
    wait_for("the second to have gone", || gateway.metric("encke_streams_active", &[]) == lost.len() as f64);
    let before = confusion::wait_for_ends(&gateway, 1);

    let back = clients.iter().zip(&lost).map(|((transport, number), (.., cursor))| {
        follow(&gateway, &of(transport, *number).field("Last-Event-ID", cursor))
    });
    let back: Vec<Followed> = back.collect();
    let ends = confusion::since(&before, &confusion::wait_for_ends(&gateway, 1 + lost.len() as u64));
    confusion::note_ends("superseded", Limit::Known, &ends);
    assert_eq!(ends, Ends::from([("superseded".to_owned(), 2 * EACH)]));
    // Whoever is in between, or reads on all the same, is told, and has a whole answer.
    for (mut stream, ..) in lost {
        let said: Vec<u8> = std::iter::from_fn(|| stream.chunk()).flatten().collect();
        let said = String::from_utf8(said).expect("text");
        assert!(said.contains(r#"{"reason":"superseded","retry":"#), "{said}");
    }
    publish(&gateway, "quiet", "news");
    for (mut stream, ..) in back {
        stream.chunks_until("news");
    }
}

#[test]
fn streams_of_a_gateway_that_stops_are_shut_down() {
    let mut gateway = guarded(&["--read", "public", "--drain", "3600"]);
    let streams = followed(&gateway, "");
    // A publish whose content has not come yet holds the end, so that it can be asked.
    let mut publish = Connection::open(gateway.address());
    let late = Request::post("/events/late", "late").bearer(KEY).field("Expect", "100-continue");
    publish.send(late.head());
    assert_eq!(publish.head().status, 100);
    gateway.terminate();
    for (mut stream, ..) in streams {
        while stream.chunk().is_some() {}
    }
    told(&gateway, "server_shutdown", 2 * EACH);
    publish.send("late");
    assert_eq!(publish.answer().status, 201);
    assert!(gateway.wait().success());
}

#[test]
fn who_says_goodbye_before_or_after_it_leaves_is_believed() {
    let gateway = Gateway::start_with(&["--dev"], &[("ENCKE_GRACE", "3")]);
    let say = |id: &str| {
        let said = beacon(&format!("{{\"stream\":\"{id}\",\"reason\":\"goodbye\",\"visible\":false}}"));
        assert_eq!(said.ask(gateway.address()).status, 204);
    };
    for (number, (stream, id, _)) in followed(&gateway, "").into_iter().enumerate() {
        if number % 2 == 0 {
            say(&id);
            drop(stream);
        } else {
            drop(stream);
            say(&id);
        }
    }
    told(&gateway, "client_goodbye", 2 * EACH);
}

#[test]
fn who_closes_or_resets_and_stays_away_has_left() {
    let gateway = Gateway::start(&["--dev"]);
    for (number, (stream, ..)) in followed(&gateway, "").into_iter().enumerate() {
        end(stream, number % 2 == 0);
    }
    told(&gateway, "client_left", 2 * EACH);
}

#[test]
fn who_closes_or_resets_and_is_back_was_dropped() {
    // Some say who they are, and the others are known by where they come from.
    for query in ["&session=one", ""] {
        let gateway = Gateway::start_with(&["--dev"], &[("ENCKE_GRACE", "30")]);
        let mut cursors = Vec::new();
        for (number, (stream, _, cursor)) in followed(&gateway, query).into_iter().enumerate() {
            end(stream, number % 2 == 0);
            cursors.push(cursor);
        }
        wait_for("the ends to be seen", || gateway.metric("encke_streams_active", &[]) == 0.0);
        let again = requests(query).zip(&cursors).map(|(request, cursor)| request.field("Last-Event-ID", cursor));
        let back: Vec<Followed> = again.map(|request| follow(&gateway, &request)).collect();
        told(&gateway, "dropped_came_back", 2 * EACH);
        drop(back);
    }
}

/// Ends a connection by FIN or by RST.
fn end(mut stream: Connection, by_reset: bool) {
    if by_reset {
        SockRef::from(&*stream.socket()).set_linger(Some(Duration::ZERO)).expect("a reset can be asked for");
    }
}

#[test]
fn who_takes_nothing_for_too_long_is_slow() {
    let gateway = Gateway::start(&["--dev", "--stall", "10"]);
    let open = |number: u64| follow(&gateway, &Request::get(&format!("/events/night?session={number}")));
    let streams: Vec<Followed> = (0..EACH).map(open).collect();
    let night = "x".repeat(1_000_000);
    // More than the buffers of both ends take.
    for _ in 0..24 {
        publish(&gateway, "night", &night);
    }
    told(&gateway, "slow_reader", EACH);
    drop(streams);
}
