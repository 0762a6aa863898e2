//! A reader that does not read costs a bounded amount of memory and nobody else's events; when it reads again, it gets
//! everything or is told what is missing.

use std::fs;
use std::sync::Mutex;
use std::thread;

use super::{KEY, gateway};
use crate::support::gateway::Gateway;
use crate::support::http1::{Connection, Stream};
use crate::support::told::{Told, lines_after, next_line};

/// How many events go by.
const EVENTS: usize = 8192;
/// How many publish them.
const PUBLISHERS: usize = 4;
/// What the last event says.
const END: &str = "the end";
const MIB: u64 = 1 << 20;

#[test]
fn fifty_readers_that_do_not_read_cost_a_bounded_amount_of_memory_and_lose_nothing() {
    // 256 MiB go by. Pages at the live edge and pages for those behind it may take 64 MiB each, and as much again for
    // what is rendered of them; a queue for a reader, or for all of them, would take it all.
    let flood = Flood::past(50, 32 << 10, &[]);
    println!("grown by {} MiB", flood.grown / MIB);
    assert!(flood.grown < 512 * MIB, "grown by {} MiB", flood.grown / MIB);
    assert_eq!((flood.live.ids.len(), flood.live.missing), (EVENTS + 1, 0), "who reads gets every event meanwhile");
    for read in flood.resumed {
        assert_eq!(read.missing, 0, "retention was never reached");
        assert!(read.ids == flood.live.ids, "each gets what the one that reads got");
    }
}

#[test]
fn a_reader_that_retention_has_passed_is_told_how_much_is_missing() {
    let flood = Flood::past(3, 8 << 10, &["--retention-events", "1000"]);
    for read in flood.resumed {
        assert!(read.missing > 0, "retention has passed it");
        assert_eq!(read.ids.len() + read.missing, EVENTS + 1, "what it did not get, it was told of");
    }
}

/// What came of many events while some readers did not read.
struct Flood {
    /// How much memory the gateway has come to hold, in bytes.
    grown: u64,
    /// What the reader got that always read.
    live: Read,
    /// What some of the others got when they began to read.
    resumed: Vec<Read>,
}

/// What one reader got.
#[derive(Default)]
struct Read {
    ids: Vec<String>,
    missing: usize,
}

impl Flood {
    fn past(stalled: usize, event_bytes: usize, options: &[&str]) -> Self {
        let mut gateway = gateway(&[&["--durability", "os"], options].concat());
        let address = gateway.address().to_owned();
        // Each with a selection of its own, so that they share as little as can be.
        let open = |number: usize| {
            lines_after(&address, &format!("**&topic=reader/{number}"), None).expect("the gateway listens")
        };
        let streams: Vec<Stream> = (0..stalled).map(open).collect();
        let live = open(stalled);
        let before = resident_bytes(&mut gateway);
        let live = thread::scope(|scope| {
            let live = scope.spawn(|| Read::to_the_end(&address, live));
            publish_all(&address, event_bytes);
            live.join().expect("the end comes")
        });
        let grown = resident_bytes(&mut gateway).saturating_sub(before);
        let resumed = streams.into_iter().take(2).map(|stream| Read::to_the_end(&address, stream)).collect();
        Self { grown, live, resumed }
    }
}

impl Read {
    /// Reads up to the last event. A stream that was given up because nobody read it is resumed.
    fn to_the_end(address: &str, mut stream: Stream) -> Self {
        let mut read = Self::default();
        let mut last: Option<Told> = None;
        loop {
            match next_line(&mut stream) {
                Ok(Some(told)) => {
                    let end = told.data == END;
                    read.take(&told, last.as_ref());
                    last = Some(told);
                    if end {
                        return read;
                    }
                }
                Ok(None) => panic!("the gateway ended a stream though nobody asked it to"),
                Err(_) => {
                    let last = last.as_ref().map(|told| told.id.as_str());
                    stream = lines_after(address, "**", last).expect("the gateway listens");
                }
            }
        }
    }

    fn take(&mut self, told: &Told, last: Option<&Told>) {
        let skipped = last.map_or(0, |last| told.offset() - last.offset());
        match told.kind.as_str() {
            "encke.hello" => {}
            // Its id is the position just before what follows.
            "encke.gap" => self.missing += usize::try_from(skipped).expect("a number of events"),
            "message" => {
                assert_eq!(skipped, 1, "nothing is left out in silence: {told:?} came after {last:?}");
                self.ids.push(told.id.clone());
            }
            _ => panic!("{told:?}"),
        }
    }
}

fn publish_all(address: &str, event_bytes: usize) {
    let left = Mutex::new(EVENTS);
    let take_one = || {
        let mut left = left.lock().expect("nobody panics while he counts");
        *left = left.checked_sub(1)?;
        Some(*left)
    };
    let connect = || Connection::open(address).expect("the gateway listens");
    thread::scope(|scope| {
        for _ in 0..PUBLISHERS {
            scope.spawn(|| {
                let mut connection = connect();
                let mut data = vec![b'.'; event_bytes];
                while let Some(number) = take_one() {
                    data[..4].copy_from_slice(format!("{number:04}").as_bytes());
                    connection.publish(KEY, "a", None, &data).expect("a receipt");
                }
            });
        }
    });
    connect().publish(KEY, "a", None, END.as_bytes()).expect("a receipt");
}

/// How much of the process' memory is there (`proc(5)`, `VmRSS`).
fn resident_bytes(gateway: &mut Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process().id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}
