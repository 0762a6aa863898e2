//! The ways in which a stream can end, provoked from outside and read back from `/metrics`: exactly one reason a stream.
//!
//! What takes minutes, an intermediary or a network is not here: `net` has a test of the stall on a paused clock, `pictured` one
//! of the timers of intermediaries. `unknown` is left for what nobody has thought of.

use std::process::Command;

use serde_json::Value;

use super::client::{Connection, Http2, get, post};
use super::scraped::Scraped;
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

const TRANSPORTS: [&str; 4] = ["sse", "ndjson", "long-poll", "multipart-replace"];

#[test]
fn an_answered_poll_is_complete() {
    let gateway = Gateway::start(&["--dev"]);
    assert_eq!(get(gateway.address(), "/events/quiet?transport=long-poll").status, 200);
    let mut waiting = waiting_poll(&gateway);
    assert_eq!(post(gateway.address(), "/events/quiet", &[], "news").status, 201);
    waiting.read_until("news");
    expect_ends(gateway.address(), 0, &[("complete", "long-poll", 2)]);
}

#[test]
fn whoever_is_killed_has_closed() {
    let gateway = Gateway::start(&["--dev"]);
    let mut command = Command::new("curl");
    command.args(["-sN", &format!("{}/events/quiet", gateway.url())]);
    let mut curl = Process::spawn(command);
    // All that was sent is read before the kill: a socket closed with unread bytes is reset instead.
    while !curl.line(PATIENCE).expect("curl shows the hello").is_empty() {}
    expect_active(gateway.address(), 1);
    curl.kill9();
    expect_ends(gateway.address(), 0, &[("client_left", "sse", 1)]);
}

#[test]
fn a_poll_that_is_left_while_it_waits_was_closed_by_its_peer() {
    let gateway = Gateway::start(&["--dev"]);
    waiting_poll(&gateway).close();
    expect_ends(gateway.address(), 0, &[("client_left", "long-poll", 1)]);
}

#[test]
fn a_connection_that_is_reset_was_reset_by_its_peer() {
    let gateway = Gateway::start(&["--dev"]);
    for transport in ["sse", "ndjson", "multipart-replace"] {
        subscribed(gateway.address(), transport).reset();
    }
    waiting_poll(&gateway).reset();
    let scraped = expect_ends(gateway.address(), 0, &TRANSPORTS.map(|transport| ("client_left", transport, 1)));
    for transport in TRANSPORTS {
        let sign = [("transport", transport), ("sign", "reset")];
        assert_eq!(scraped.sum("encke_stream_last_signs_total", &sign), 1.0, "{transport}");
    }
}

#[test]
fn a_cancelled_stream_of_http2_was_closed_by_its_peer_and_the_others_go_on() {
    let gateway = Gateway::start(&["--dev"]);
    let mut client = Http2::open(gateway.address());
    client.subscribe(1, "/events/quiet?transport=sse", "encke.hello");
    client.subscribe(3, "/events/quiet?transport=ndjson", "encke.hello");
    client.cancel(1);
    expect_ends(gateway.address(), 1, &[("client_left", "sse", 1)]);
    assert_eq!(post(gateway.address(), "/events/quiet", &[], "news").status, 201);
    client.read_until(3, "news");
    client.close();
    expect_ends(gateway.address(), 0, &[("client_left", "sse", 1), ("client_left", "ndjson", 1)]);
}

#[test]
fn streams_of_http2_that_are_reset_for_an_error_are_told_from_those_that_are_cancelled() {
    let gateway = Gateway::start(&["--dev"]);
    let mut client = Http2::open(gateway.address());
    for number in 0..24 {
        client.subscribe(1 + 2 * number, &format!("/events/quiet?session={number}"), "encke.hello");
    }
    // PROTOCOL_ERROR, INTERNAL_ERROR and so on to REFUSED_STREAM, but for STREAM_CLOSED, which nobody says of an open stream.
    let codes = [1, 2, 3, 4, 6, 7];
    (0..12).zip(codes.into_iter().cycle()).for_each(|(number, code)| client.reset_stream(1 + 2 * number, code));
    let ends = confusion::wait_for_ends(&gateway, 12);
    confusion::note_ends("h2_reset", Limit::Known, &ends);
    assert_eq!(ends, Ends::from([("h2_reset".to_owned(), 12)]));
    (12..24).for_each(|number| client.cancel(1 + 2 * number));
    let cancelled = confusion::since(&ends, &confusion::wait_for_ends(&gateway, 24));
    confusion::note_ends("client_left", Limit::Known, &cancelled);
    assert_eq!(cancelled, Ends::from([("client_left".to_owned(), 12)]));
}

#[test]
fn streams_that_go_with_their_connection_of_http2_are_told_so_once_they_are_back() {
    for lose in [Http2::close, Http2::reset] {
        let gateway = Gateway::start_with(&["--dev"], &[("ENCKE_GRACE", "30")]);
        let receipt = post(gateway.address(), "/events/quiet", &[], "news").body;
        let receipt: Value = serde_json::from_str(&receipt).expect("a receipt is JSON");
        let open = |begin: &str| {
            let mut client = Http2::open(gateway.address());
            for number in 0..6 {
                client.subscribe(1 + 2 * number, &format!("/events/quiet?session={number}{begin}"), "encke.hello");
            }
            client
        };
        lose(open(""));
        expect_active(gateway.address(), 0);
        let _back = open(&format!("&lastEventId={}", receipt["id"].as_str().expect("the receipt names the event")));
        let ends = confusion::wait_for_ends(&gateway, 6);
        confusion::note_ends("h2_connection_lost", Limit::Known, &ends);
        assert_eq!(ends, Ends::from([("h2_connection_lost".to_owned(), 6)]));
    }
}

#[test]
fn a_stream_that_we_cut_was_recycled_whatever_the_peer_does_then() {
    let gateway = Gateway::start(&["--dev"]);
    for transport in ["sse", "ndjson", "multipart-replace"] {
        let mut stream = subscribed(gateway.address(), transport);
        let id = stream.field("encke-stream");
        assert_eq!(post(gateway.address(), &format!("/streams/{id}/cut"), &[], "").status, 204);
        stream.read_to_end();
    }
    let cut = |transport| ("server_recycle", transport, 1);
    expect_ends(gateway.address(), 0, &["sse", "ndjson", "multipart-replace"].map(cut));
}

#[test]
fn what_the_log_can_no_longer_give_ends_as_source_error() {
    let gateway = spoilt("ALTER TABLE commits RENAME TO gone");

    for _ in 0..4 {
        for transport in ["sse", "ndjson"] {
            let target = format!("/events/large?transport={transport}&lastEventId=earliest");
            Connection::subscribe(gateway.address(), &target, "encke.hello").read_to_end();
        }
        assert_eq!(get(gateway.address(), "/events/large?transport=long-poll&lastEventId=earliest").status, 503);
    }
    let ends = ["sse", "ndjson", "long-poll"].map(|transport| ("source_error", transport, 4));
    expect_ends(admin(&gateway), 0, &ends);
}

#[test]
fn what_was_damaged_is_told_as_a_hole_and_what_follows_is_read() {
    let gateway = spoilt("UPDATE commits SET events = x'ff' WHERE first = 1");
    let target = "/events/large?transport=ndjson&lastEventId=earliest";
    let mut stream = Connection::subscribe(gateway.address(), target, "encke.hello");
    stream.read_until("\"reason\":\"hole\"");
    stream.read_until("xxxx\"}\n");
    let told = Scraped::from(admin(&gateway)).sum("encke_gaps_total", &[("reason", "hole")]);
    assert_eq!(told, 1.0);
}

#[test]
fn the_newest_are_sought_beyond_a_hole_which_is_told() {
    let gateway = spoilt_with(["state", "other", "other"], "UPDATE commits SET events = x'00ff' WHERE first = 2");

    let newest = get(gateway.address(), "/events/state?transport=long-poll&last=1");
    assert!(newest.body.contains("\"reason\":\"hole\"") && newest.body.contains("xxxx"), "{:.200}", newest.body);
    let newest = get(gateway.address(), "/events/other?transport=long-poll&last=1");
    assert!(!newest.body.contains("\"gap\""), "the newest one was found before the hole");

    let mut all = Connection::subscribe(gateway.address(), "/events?topic=**&transport=ndjson&last=3", "encke.hello");
    for expected in ["\"reason\":\"hole\"", "\"topic\":\"state\"", "\"reason\":\"hole\"", "\"topic\":\"other\""] {
        all.read_until(expected);
    }
    let target = "/events/state?transport=multipart-replace";
    let mut state = Connection::subscribe(gateway.address(), target, "--");
    state.read_until("xxxx");
}

#[test]
fn a_drain_is_seen_from_outside_and_ends_every_stream_as_server_shutdown() {
    let mut gateway = open_to_all(&[]);
    let mut streams = ["sse", "ndjson", "multipart-replace"].map(|transport| subscribed(gateway.address(), transport));
    let mut poll = waiting_poll(&gateway);
    // A publish that was accepted and whose content has not come yet holds the end.
    let mut publish = Connection::open(gateway.address());
    let head = format!("POST /events/late HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\n", gateway.address());
    publish.send(&format!("{head}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    publish.read_until("100 Continue\r\n\r\n");
    assert_eq!(get(admin(&gateway), "/health/ready").status, 200);

    gateway.terminate();
    let last_words = streams.each_mut().map(Connection::read_to_end);
    assert!(last_words[0].contains("event: encke.bye\n"), "{}", last_words[0]);
    poll.read_until("\"events\":[]");
    let ends = ["sse", "ndjson", "multipart-replace"].map(|transport| ("server_shutdown", transport, 1));
    let scraped = expect_ends(admin(&gateway), 0, &[&ends[..], &[("complete", "long-poll", 1)]].concat());
    assert_eq!(scraped.sum("encke_draining", &[]), 1.0);
    assert_eq!(get(admin(&gateway), "/health/ready").status, 503);
    assert_eq!(get(admin(&gateway), "/health/live").status, 200);

    publish.send("late");
    publish.read_until("201 Created");
    assert!(gateway.wait().success());
}

#[test]
fn a_reader_that_takes_nothing_is_cut_after_the_drain_time_as_server_shutdown() {
    let mut gateway = open_to_all(&["--drain", "1", "--log-format", "json", "--log-level", "encke::diagnosis=debug"]);
    let large = "x".repeat(1_000_000);
    for _ in 0..16 {
        assert_eq!(post(gateway.address(), "/events/large", &[AUTHORIZATION], &large).status, 201);
    }
    // More than the buffers of both ends take; the reader stops at the first event.
    let reader = Connection::subscribe(gateway.address(), "/events/large?transport=sse&lastEventId=earliest", "xxx");
    gateway.terminate();
    assert!(gateway.wait().success());
    drop(reader);
    let errors = gateway.process().errors();
    let lines: Vec<Value> = errors.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ended = lines.iter().filter(|line| line["fields"]["message"] == "stream ended");
    let reasons: Vec<_> = ended.map(|line| &line["fields"]["reason"]).collect();
    assert_eq!(reasons, ["server_shutdown"], "{errors}");
}

/// A gateway outside `--dev`, which everybody may read.
fn open_to_all(args: &[&str]) -> Gateway {
    Gateway::start_with(&[&["--read", "public"], args].concat(), &[("ENCKE_PUBLISH_KEY", KEY)])
}

pub(super) const KEY: &str = "a-key-only-for-tests";
pub(super) const AUTHORIZATION: (&str, &str) = ("Authorization", "Bearer a-key-only-for-tests");

/// A gateway that has to read its oldest events from a database to which `sql` was done.
fn spoilt(sql: &str) -> Gateway {
    spoilt_with(["large"; 3], sql)
}

/// As [`spoilt`], with events on these topics.
fn spoilt_with(topics: [&str; 3], sql: &str) -> Gateway {
    let mut gateway = open_to_all(&[]);
    // Two such events fill a page, and only the newest page is in memory after a restart.
    let large = "x".repeat(700_000);
    for topic in topics {
        assert_eq!(post(gateway.address(), &format!("/events/{topic}"), &[AUTHORIZATION], &large).status, 201);
    }
    gateway.restart();
    let database = rusqlite::Connection::open(gateway.data_dir().join("encke.db")).expect("the database can be opened");
    // Renaming a table counts no rows; changing events changes the one.
    let changed = database.execute(sql, ()).expect("it can be spoilt");
    assert_eq!(changed, usize::from(sql.starts_with("UPDATE")));
    gateway
}

/// `127.0.0.1:PORT` of the admin routes.
pub(super) fn admin(gateway: &Gateway) -> &str {
    gateway.admin_url().trim_start_matches("http://")
}

/// A stream that has said hello; nothing comes on it.
#[track_caller]
fn subscribed(address: &str, transport: &str) -> Connection {
    // The state transport has no hello: the end of the head is its first word.
    let first = if transport == "multipart-replace" { "\r\n\r\n" } else { "encke.hello" };
    Connection::subscribe(address, &format!("/events/quiet?transport={transport}"), first)
}

/// A long poll that waits, as the metrics tell.
#[track_caller]
fn waiting_poll(gateway: &Gateway) -> Connection {
    let mut connection = Connection::open(gateway.address());
    let target = "/events/quiet?transport=long-poll&lastEventId=latest&timeout=120";
    connection.send(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address()));
    wait_for("the poll to wait", || {
        Scraped::from(admin(gateway)).sum("encke_streams_active", &[("transport", "long-poll")]) == 1.0
    });
    connection
}

/// Waits until just so many streams and polls are open.
#[track_caller]
fn expect_active(address: &str, active: u32) -> Scraped {
    let mut scraped = Scraped::from(address);
    wait_for("the streams to be open or closed", || {
        scraped = Scraped::from(address);
        scraped.sum("encke_streams_active", &[]) == f64::from(active)
    });
    scraped
}

/// Waits until just so many streams and polls are open, and says how the others have ended: reason, transport, count.
#[track_caller]
fn expect_ends(address: &str, active: u32, ends: &[(&str, &str, u64)]) -> Scraped {
    expect_active(address, active);
    let mut scraped = Scraped::from(address);
    wait_for("all ends to be decided", || {
        scraped = Scraped::from(address);
        let sum = |name| scraped.sum(name, &[]);
        sum("encke_stream_opens_total") - sum("encke_streams_active") == sum("encke_stream_ends_total")
    });
    let expected = ends.iter().map(|(reason, transport, count)| ((*reason, *transport), *count)).collect();
    note(ends, &scraped);
    assert_eq!(scraped.ends(), expected);
    check_sums(&scraped);
    scraped
}

/// Notes how all ended that had one cause.
fn note(ends: &[(&str, &str, u64)], scraped: &Scraped) {
    let Some((cause, rest)) = ends.split_first() else { return };
    if rest.iter().all(|(reason, ..)| *reason == cause.0) {
        let mut told = Ends::new();
        scraped.ends().iter().for_each(|((reason, _), count)| *told.entry((*reason).to_owned()).or_default() += count);
        confusion::note_ends(cause.0, Limit::Known, &told);
    }
}

/// Every stream that was opened and is not open has ended with exactly one reason, on each transport.
#[track_caller]
pub(super) fn check_sums(scraped: &Scraped) {
    for transport in TRANSPORTS {
        let sum = |name| scraped.sum(name, &[("transport", transport)]);
        let (opens, active) = (sum("encke_stream_opens_total"), sum("encke_streams_active"));
        assert_eq!(opens - active, sum("encke_stream_ends_total"), "{transport}: {opens} opened, {active} active");
    }
}
