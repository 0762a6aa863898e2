//! SIGTERM: everybody is told, what was accepted is finished, and the end comes in its time.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{KEY, gateway};
use crate::support::gateway::Gateway;
use crate::support::http1::{Connection, Receipt, Stream};
use crate::support::told::{all_after, lines_after, next_line};
use crate::support::wait_for;
use crate::support::whatwg::{Dispatched, Parser};

/// How many event streams are told goodbye.
const STREAMS: usize = 24;

#[test]
fn a_drain_tells_every_stream_goodbye_and_keeps_what_was_acknowledged() {
    // Far longer than anybody waits below: so the end is not that of the drain time.
    let mut gateway = gateway(&["--drain", "3600"]);
    let address = gateway.address().to_owned();
    let acknowledged = AtomicUsize::new(0);
    let (streams, mut lines, polls, publishers) = thread::scope(|scope| {
        let open = |target: &str| {
            Connection::open(&address).and_then(|line| line.stream(target, &[])).expect("the gateway listens")
        };
        let streams: Vec<_> = (0..STREAMS).map(|_| open("/events?topic=**&transport=sse")).collect();
        let streams: Vec<_> = streams.into_iter().map(|stream| scope.spawn(|| farewell(stream))).collect();
        let lines = lines_after(&address, "**", None).expect("the gateway listens");
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| poll(&address, "quiet"))).collect();
        let publishers: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn({
                    let (address, acknowledged) = (&address, &acknowledged);
                    move || publish(address, number, acknowledged)
                })
            })
            .collect();
        wait_for("the polls to wait", || metric(&gateway, r#"encke_streams_active{transport="long-poll"}"#) == 3.0);
        wait_for("some load", || acknowledged.load(Ordering::Relaxed) > 200);
        gateway.terminate();
        let streams: Vec<_> = streams.into_iter().map(|stream| stream.join().expect("a farewell")).collect();
        let polls: Vec<_> = waiting.into_iter().map(|poll| poll.join().expect("an answer")).collect();
        let publishers: Vec<_> =
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("it ends")).collect();
        (streams, lines, polls, publishers)
    });

    let mut retries: Vec<u64> = streams.iter().map(|(_, retry)| *retry).collect();
    retries.sort_unstable();
    // Drawn from three seconds at least: two dozen draws within half a second of each other do not happen.
    assert!(retries[STREAMS - 1] - retries[0] > 500, "the times to come back after are spread: {retries:?}");
    for poll in polls {
        assert_eq!(
            (&poll["events"], &poll["gap"]),
            (&serde_json::json!([]), &Value::Null),
            "a poll is answered: {poll}"
        );
    }
    let mut kinds = Vec::new();
    while let Some(line) = next_line(&mut lines).expect("lines end on purpose") {
        kinds.push(line.kind);
    }
    assert_eq!(kinds.first().map(String::as_str), Some("encke.hello"));
    assert_eq!(kinds.last().map(String::as_str), Some("encke.bye"));
    drop(lines);
    assert_eq!(gateway.wait().code(), Some(0), "with every client gone it ends by itself");

    gateway.restart();
    let stored = all_after(&address, None);
    for (receipt, data) in &publishers {
        let event = stored.iter().find(|event| event.id == receipt.id);
        assert_eq!(event.map(|event| &event.data), Some(data), "{} was acknowledged", receipt.id);
    }
    // What a stream was given before its goodbye is the beginning of what is stored.
    for (events, _) in &streams {
        let ids = events.iter().map(|event| event.last_event_id.as_str());
        assert!(ids.eq(stored.iter().take(events.len()).map(|event| event.id.as_str())), "in order, none left out");
    }
}

#[test]
fn while_it_drains_it_says_so_and_takes_no_new_connections() {
    let mut gateway = gateway(&["--drain", "3600"]);
    let _held = stalled(&gateway);
    assert_eq!(ready(&gateway), Some(200));
    gateway.terminate();
    wait_for("readiness to say 503", || ready(&gateway) == Some(503));
    assert_eq!(metric(&gateway, "encke_draining"), 1.0);
    wait_for("new connections to be refused", || {
        TcpStream::connect(gateway.address()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    // A second signal ends it at once, whoever holds it up.
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_client_that_takes_nothing_holds_the_drain_up_to_its_limit() {
    let limit = Duration::from_secs(2);
    let mut gateway = gateway(&["--drain", "2"]);
    let mut held = stalled(&gateway);
    let asked = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(asked.elapsed() >= limit, "it was waited for: {:?}", asked.elapsed());
    let cut = held.read_to_end(&mut Vec::new()).expect_err("the stream has no end, it is cut");
    assert!(matches!(cut.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{cut}");
}

/// Reads an event stream to an end that the gateway means: the events, and the reconnection time that it leaves behind.
fn farewell(mut stream: Stream) -> (Vec<Dispatched>, u64) {
    let mut parser = Parser::new();
    let (mut events, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match stream.read(&mut chunk).expect("the stream is not cut") {
            0 => break,
            read => events.extend(parser.feed(&chunk[..read])),
        }
    }
    let bye = events.pop().expect("a last word");
    let said: Value = serde_json::from_str(&bye.data).expect("a bye is JSON");
    assert_eq!((bye.kind.as_str(), &said["reason"]), ("encke.bye", &Value::from("drain")));
    assert_eq!(events.remove(0).kind, "encke.hello");
    assert!(events.iter().all(|event| event.kind == "message"), "nothing else is told");
    (events, parser.retry().expect("a time to come back after"))
}

/// Waits for an event that never comes.
fn poll(address: &str, topic: &str) -> Value {
    let target = format!("GET /events?topic={topic}&transport=long-poll&timeout=120");
    let mut connection = Connection::open(address).expect("the gateway listens");
    let answer = connection.exchange(&target, &[("Last-Event-ID", "earliest")], b"").expect("an answer");
    assert_eq!(answer.status, 200);
    serde_json::from_slice(&answer.content).expect("a poll is answered in JSON")
}

/// Publishes until the gateway hangs up; gives what it acknowledged.
fn publish(address: &str, number: usize, count: &AtomicUsize) -> Vec<(Receipt, String)> {
    let mut connection = Connection::open(address).expect("the gateway listens");
    let mut acknowledged = Vec::new();
    loop {
        let data = format!("publisher {number}, event {}", acknowledged.len());
        let Ok(receipt) = connection.publish(KEY, "load", None, data.as_bytes()) else { return acknowledged };
        acknowledged.push((receipt, data));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream of more than any socket holds, of which nothing is read but the head.
fn stalled(gateway: &Gateway) -> Stream {
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    for _ in 0..32 {
        connection.publish(KEY, "a", None, &vec![b'x'; 512 << 10]).expect("a receipt");
    }
    lines_after(gateway.address(), "a", None).expect("the gateway listens")
}

/// The status of readiness; nothing if nobody answers.
fn ready(gateway: &Gateway) -> Option<u16> {
    let mut connection = Connection::open(gateway.admin_url().trim_start_matches("http://")).ok()?;
    connection.exchange("GET /health/ready", &[], b"").ok().map(|answer| answer.status)
}

/// The value of one series.
fn metric(gateway: &Gateway, series: &str) -> f64 {
    let mut connection =
        Connection::open(gateway.admin_url().trim_start_matches("http://")).expect("the admin listener is up");
    let answer = connection.exchange("GET /metrics", &[], b"").expect("an answer");
    let text = String::from_utf8(answer.content).expect("metrics are text");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in\n{text}"))
}
