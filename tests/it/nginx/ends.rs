//! How streams end behind nginx, and that the gateway counts what it saw: a peer that closed, never "unknown".

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Following, ask, ended_by_peer, ended_unknown, field, file_of, metric, publish};
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::nginx::{Configuration, Nginx};
use crate::support::process::Process;
use crate::support::wait_for;

#[test]
fn nginx_stopped_ends_streams_and_polls_and_all_are_counted() {
    ends_with_nginx(Process::terminate);
}

#[test]
fn nginx_killed_ends_streams_and_polls_and_all_are_counted() {
    ends_with_nginx(|nginx| {
        nginx.kill9();
    });
}

fn ends_with_nginx(stop: impl FnOnce(&mut Process)) {
    let gateway = Gateway::start(&["--dev"]);
    let mut nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let url = format!("{}/events/ends/a", nginx.url());
    let mut streams = STREAMS.map(|transport| Following::open(&format!("{url}?transport={transport}"), &[]));
    // A poll has no head before its end, so it is not waited for here.
    let poll = super::curl(&format!("{url}?transport=long-poll&lastEventId=latest"), &[]);
    let mut poll = Process::spawn(poll);
    wait_for("all to be open", || metric(&gateway, "encke_streams_active", &[]) == 4);

    stop(nginx.process());
    for stream in &mut streams {
        stream.rest();
    }
    poll.wait(crate::support::PATIENCE);
    wait_for("all to be counted as ended", || metric(&gateway, "encke_streams_active", &[]) == 0);
    for transport in STREAMS.into_iter().chain(["long-poll"]) {
        assert_eq!(ended_by_peer(&gateway, transport), 1, "{transport}");
    }
    assert_eq!(ended_unknown(&gateway), 0);
}

const STREAMS: [&str; 3] = ["sse", "ndjson", "multipart-replace"];

#[test]
fn a_reader_that_leaves_nginx_is_seen_to_leave_at_once() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let mut reader = Following::open(&format!("{}/events/ends/b", nginx.url()), &[]);
    reader.process.kill9();
    // Nothing is published and no heartbeat is due: nginx tells us by itself.
    wait_for("the stream to have ended", || ended_by_peer(&gateway, "sse") == 1);
    let ends = confusion::wait_for_ends(&gateway, 1);
    confusion::note_ends("client_left", Limit::Known, &ends);
    assert_eq!(ends, Ends::from([("client_left".to_owned(), 1)]));
}

#[test]
fn heartbeats_keep_a_quiet_stream_open_beyond_the_read_timeout() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).read_timeout("8s"));
    let stream = Following::open(&format!("{}/events/ends/c?heartbeat=5", nginx.url()), &[]);
    stream.until("event: encke.hello");
    // Ten seconds without an event are more than nginx's eight, and each five are less.
    for _ in 0..2 {
        stream.until_heartbeat();
    }
    publish(&nginx.url(), "ends/c", "still here");
    stream.until("data: still here");
    assert_eq!(metric(&gateway, "encke_stream_ends_total", &["transport=\"sse\""]), 0);
}

#[test]
fn a_read_timeout_below_the_heartbeat_cuts_a_quiet_stream_and_is_counted() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).read_timeout("2s"));
    let mut stream = Following::open(&format!("{}/events/ends/d?heartbeat=60", nginx.url()), &[]);
    let cursor = field(&stream.head, "encke-cursor").to_owned();
    let lines = stream.rest();
    assert!(lines.iter().any(|line| line == "event: encke.hello"), "{lines:?}");
    assert!(!lines.iter().any(|line| line == ":"), "it was cut before the first heartbeat: {lines:?}");
    wait_for("the stream to be counted as ended", || ended_by_peer(&gateway, "sse") == 1);
    assert_eq!(ended_unknown(&gateway), 0);

    publish(&nginx.url(), "ends/d", "after the cut");
    let last_event_id = format!("Last-Event-ID: {cursor}");
    let again = Following::open(&format!("{}/events/ends/d", nginx.url()), &["-H", &last_event_id]);
    again.until("data: after the cut");
}

/// nginx holds a few buffers for a reader that takes nothing, then takes nothing itself; after its `send_timeout` it cuts.
#[test]
fn a_reader_that_stalls_is_cut_by_nginx_and_its_cursor_is_good() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).in_server("send_timeout 2s;"));
    let mut stalled = TcpStream::connect(nginx.authority()).expect("nginx listens");
    stalled.write_all(b"GET /events/ends/e HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("nginx reads");
    let mut head = [0; 4096];
    let length = stalled.read(&mut head).expect("a head");
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let cursor = field(&head, "encke-cursor").to_owned();
    assert!(!cursor.is_empty(), "{head}");

    let files = tempfile::tempdir().expect("a temporary directory");
    let half = file_of(files.path(), 512 * 1024);
    let url = format!("{}/events/ends/e", nginx.url());
    let mut published = 0;
    wait_for("nginx to cut the reader", || {
        // Far more than all buffers on the way hold; beyond that it is only waited for.
        if published < 60 {
            assert_eq!(ask(&url, &["--data-binary", &half]).status, 201);
            published += 1;
        }
        ended_by_peer(&gateway, "sse") == 1
    });
    assert_eq!(ended_unknown(&gateway), 0);

    publish(&nginx.url(), "ends/e", "the last one");
    let again = Following::open(&url, &["-H", &format!("Last-Event-ID: {cursor}")]);
    assert_eq!(field(&again.head, "encke-resume"), "resumed", "{}", again.head);
    let mut events = 0;
    while again.until("data: ") != "data: the last one" {
        events += 1;
    }
    // Hello has data as well.
    assert_eq!(events, published + 1, "all that it did not take");
}

/// Here nginx is as patient as the gateway needs to tell that a reader is slow: six times less than by default.
#[test]
fn readers_that_stall_behind_nginx_are_slow_though_it_is_nginx_that_cuts_them() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).in_server("send_timeout 12s;"));
    let open = |number: u32| {
        let mut stalled = TcpStream::connect(nginx.authority()).expect("nginx listens");
        let request = format!("GET /events/ends/f?session={number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        stalled.write_all(request.as_bytes()).expect("nginx reads");
        stalled.read_exact(&mut [0; 16]).expect("a head");
        stalled
    };
    let stalled: Vec<TcpStream> = (0..6).map(open).collect();
    let files = tempfile::tempdir().expect("a temporary directory");
    let half = file_of(files.path(), 512 * 1024);
    // More than all buffers on the way hold.
    for _ in 0..60 {
        assert_eq!(ask(&format!("{}/events/ends/f", gateway.url()), &["--data-binary", &half]).status, 201);
    }
    let ends = confusion::wait_for_ends(&gateway, 6);
    confusion::note_ends("slow_reader", Limit::Known, &ends);
    assert_eq!(ends, Ends::from([("slow_reader".to_owned(), 6)]));
    drop(stalled);
}
