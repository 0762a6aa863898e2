//! Whether the load notices what a server does wrong: each kind of mistake is made on purpose, and counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use encke_compare::ledger::Faults;
use encke_compare::load::{Load, Manner};
use encke_compare::peer::Door;
use encke_compare::scenario::{publish_closed, warm_up};
use encke_compare::server::bare::{Bare, Options};

/// The bare loop on a thread of its own, which ends with the test program.
fn bare(merging: bool) -> Door {
    let (listening, address) = mpsc::channel();
    thread::spawn(move || {
        let bare = Bare::bind(Options { merging, heartbeat: None }).unwrap();
        listening.send(bare.address().unwrap()).unwrap();
        bare.run()
    });
    Door::new(address.recv().unwrap(), "/{topic}", "/{topic}")
}

#[test]
fn a_server_that_does_what_it_should_is_faultless_merging_or_not() {
    for merging in [false, true] {
        let mut load = Load::new(bare(merging), 3, 100).unwrap();
        load.subscribe(30, |index| index as u32 % 3).unwrap();
        load.add_publishers(4).unwrap();
        warm_up(&mut load, 3).unwrap();
        let sent = publish_closed(&mut load, 60, 8, Duration::from_secs(60), |number| number as u32 % 3).unwrap();
        let tally = load.take_tally();
        assert_eq!((sent, tally.deliveries, tally.latency.count()), (60, 600, 600), "merging: {merging}");
        assert_eq!(load.faults(), Faults::default(), "merging: {merging}");
    }
}

#[test]
fn a_subscriber_that_stops_reading_and_goes_on_gets_everything() {
    let mut load = Load::new(bare(false), 1, 1_000).unwrap();
    let slow = load.add_subscriber(0);
    load.connect([slow].into_iter(), 1, Manner { narrow: true }).unwrap();
    load.subscribe(2, |_| 0).unwrap();
    load.add_publishers(1).unwrap();
    warm_up(&mut load, 1).unwrap();
    load.do_not_await(slow);
    load.pause(slow, true).unwrap();
    publish_closed(&mut load, 2_000, 1, Duration::from_secs(60), |_| 0).unwrap();
    assert!(load.faults_of([slow].into_iter()).lost > 1_000, "two megabytes do not fit on the way");
    load.pause(slow, false).unwrap();
    load.poll_until(Duration::from_secs(10), |load| load.faults_of([slow].into_iter()).lost == 0).unwrap();
    assert_eq!(load.faults(), Faults::default());
}

#[test]
fn what_is_published_while_a_subscriber_is_away_is_lost_without_a_history() {
    let mut load = Load::new(bare(false), 1, 100).unwrap();
    load.subscribe(3, |_| 0).unwrap();
    load.add_publishers(1).unwrap();
    warm_up(&mut load, 1).unwrap();
    load.cut(1);
    load.publish(0, 0).unwrap();
    assert!(!load.poll_until(Duration::from_millis(200), |load| load.open() == 0).unwrap(), "one has not got it");
    load.forget_open();
    load.connect([1].into_iter(), 1, Manner::default()).unwrap();
    publish_closed(&mut load, 2, 1, Duration::from_secs(60), |_| 0).unwrap();
    assert_eq!(load.faults(), Faults { lost: 1, ..Faults::default() });
}

/// A server for one subscriber and one publisher; `writes` says what the subscriber is given for each of the first events,
/// by their numbers. The event after those is given as it comes, and ends the stream.
fn erring(writes: &'static [&'static [usize]]) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut subscriber = listener.accept().unwrap().0;
        head(&mut BufReader::new(&subscriber));
        subscriber.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let publisher = listener.accept().unwrap().0;
        serve(&mut subscriber, &publisher, writes);
    });
    Door::new(address, "/{topic}", "/{topic}")
}

fn serve(subscriber: &mut TcpStream, publisher: &TcpStream, writes: &[&[usize]]) {
    let mut reader = BufReader::new(publisher);
    let mut events: Vec<String> = Vec::new();
    while let Some(length) = head(&mut reader) {
        let mut data = vec![0; length];
        reader.read_exact(&mut data).unwrap();
        let text = String::from_utf8(data).unwrap();
        (&mut &*publisher).write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        let number = events.len();
        events.push(text);
        for wanted in writes.get(number).copied().unwrap_or(&[number]) {
            // Number 99 is an event of a topic that the subscriber did not ask for.
            let event =
                events.get(*wanted).cloned().unwrap_or_else(|| events[number].replace("top=000000", "top=000001"));
            let frame = format!(": a comment\n\nid: {wanted}\ndata: {event}\n\n");
            let chunk = format!("{:x}\r\n{frame}\r\n", frame.len());
            subscriber.write_all(chunk.as_bytes()).unwrap();
        }
        if number == writes.len() {
            subscriber.shutdown(Shutdown::Write).unwrap();
        }
    }
}

/// Reads a head; the length of its content, or nothing if the peer has left.
fn head(reader: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return Some(length);
        }
    }
}

/// What is counted of an erring server. The first event is the one by which the stream is tried.
fn counted(writes: &'static [&'static [usize]]) -> (Faults, u64) {
    let mut load = Load::new(erring(writes), 1, 100).unwrap();
    load.subscribe(1, |_| 0).unwrap();
    load.add_publishers(1).unwrap();
    warm_up(&mut load, 1).unwrap();
    for _ in 1..writes.len() {
        load.publish(0, 0).unwrap();
        assert!(load.poll_until(Duration::from_secs(10), |load| load.unanswered() == 0).unwrap());
    }
    // After one more, which comes as it should, the server ends the stream: all that was to come has come then.
    load.publish(0, 0).unwrap();
    assert!(load.poll_until(Duration::from_secs(10), |load| load.tally().closed == 1).unwrap());
    (load.faults(), load.tally().deliveries)
}

#[test]
fn each_mistake_of_a_server_is_counted_as_what_it_is() {
    let none = Faults::default();
    // The event 0 is the trial; mistakes begin with the next.
    let check = |what: &str, writes, faults, deliveries| assert_eq!(counted(writes), (faults, deliveries), "{what}");
    check("nothing", &[&[0], &[1], &[2], &[3]], none, 4);
    check("lost", &[&[0], &[1], &[], &[3]], Faults { lost: 1, ..none }, 3);
    check("doubled", &[&[0], &[1, 1], &[2], &[3, 2]], Faults { duplicated: 2, ..none }, 4);
    check("out of order", &[&[0], &[], &[2, 1], &[3]], Faults { reordered: 1, ..none }, 4);
    check("of another topic", &[&[0], &[1, 99], &[2], &[3]], Faults { misrouted: 1, ..none }, 4);
}

#[test]
fn a_publish_that_is_refused_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let publisher = listener.accept().unwrap().0;
        head(&mut BufReader::new(&publisher));
        (&mut &publisher).write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let mut load = Load::new(Door::new(address, "/{topic}", "/{topic}"), 1, 100).unwrap();
    load.add_publishers(1).unwrap();
    load.publish(0, 0).unwrap();
    let told = load.poll_until(Duration::from_secs(10), |load| load.unanswered() == 0).unwrap_err();
    assert!(format!("{told:#}").contains("503"), "{told:#}");
}
