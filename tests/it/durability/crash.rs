//! Killed again and again under load, the gateway keeps its word to publishers and to a reader that comes back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{KEY, draw, gateway};
use crate::support::http1::{Connection, Receipt};
use crate::support::told::{Told, all_after, lines_after, next_line};
use crate::support::{PATIENCE, long};

/// How many publish at once; every other one gives its events keys.
const PUBLISHERS: usize = 6;
/// A round ends after at most so many acknowledgements.
const ACKNOWLEDGED: u32 = 60;
/// What the last event says.
const END: &str = "the end";

#[test]
fn nothing_acknowledged_is_lost_and_no_cursor_given_twice_over_a_hundred_kills() {
    let gateway = gateway(&[]);
    let address = gateway.address().to_owned();
    let world = World::default();
    let rounds = if long() { 1000 } else { 100 };
    let mut stored = Stored::default();
    let (gateway, seen) = thread::scope(|scope| {
        // Dropped in this order if the test fails: then nobody waits for a gateway that does not come back.
        let mut gateway = gateway;
        let _over = Over(&world);
        let reader = scope.spawn(|| read_over_restarts(&address, &world));
        for number in 0..PUBLISHERS {
            let publisher = Publisher::new(number, &address, &world);
            scope.spawn(|| publisher.run());
        }
        for _ in 0..rounds {
            world.wait_for_acknowledged(draw(ACKNOWLEDGED + 1));
            gateway.kill9();
            gateway.restart();
            // Before it is read: a publisher that was late may come to the new gateway already.
            let acknowledged = world.state().acknowledged.len();
            stored.read_on(&address);
            stored.hold(&world.state().acknowledged[..acknowledged]);
            world.begin_next_round();
        }
        world.end();
        world.wait_for_publishers();
        let receipt = Connection::open(&address).and_then(|mut last| last.publish(KEY, "a", None, END.as_bytes()));
        receipt.expect("the gateway is up");
        (gateway, reader.join().expect("the reader saw the end"))
    });
    stored.read_on(&address);
    let state = world.state();
    stored.hold(&state.acknowledged);
    let offsets: Vec<u64> = stored.events.iter().map(Told::offset).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "offsets rise over all rounds");
    assert_eq!(all_after(&address, None), stored.events, "what was read after each round is what is there at the end");
    assert!(seen == stored.events, "{}", first_difference(&seen, &stored.events));
    assert!(state.repeats >= rounds, "a key that is published again after a crash is recognised: {}", state.repeats);
    assert!(state.retried > 0, "some keyed publish was in flight when the gateway was killed");
    drop(gateway);
    println!(
        "{rounds} kills: {} acknowledged, {} stored, {} retried after a crash, of which {} had been stored",
        state.acknowledged.len(),
        stored.events.len(),
        state.retried,
        state.had_been_stored,
    );
}

/// What the publishers, the reader and the one that kills share.
#[derive(Default)]
struct World {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often the gateway was started again and its log was looked at.
    round: u64,
    over: bool,
    publishers_gone: usize,
    acknowledged: Vec<(Receipt, String)>,
    /// How often a key was published again that had been acknowledged before a crash.
    repeats: usize,
    /// How often a publish was in flight at a crash and was sent again with its key, and how often it was stored already.
    retried: usize,
    had_been_stored: usize,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        // A check that fails with the state in hand is told by itself; it must not hide behind a second panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, what: &str, met: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), PATIENCE, |state| !met(state));
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} in vain for {what}");
        state
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait_for_acknowledged(&self, more: u32) {
        let target = self.state().acknowledged.len() + more as usize;
        drop(self.wait_until("acknowledgements", |state| state.acknowledged.len() >= target));
    }

    fn begin_next_round(&self) {
        self.change(|state| state.round += 1);
    }

    /// Waits until the gateway that was met in `round` has a successor; gives its round.
    fn round_after(&self, round: u64) -> u64 {
        self.wait_until("the next gateway", |state| state.round > round || state.over).round
    }

    fn end(&self) {
        self.change(|state| state.over = true);
    }

    fn wait_for_publishers(&self) {
        drop(self.wait_until("the publishers to end", |state| state.publishers_gone == PUBLISHERS));
    }
}

/// Ends the threads also when the test fails.
struct Over<'a>(&'a World);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An event on its way.
#[derive(Clone)]
struct Draft {
    topic: &'static str,
    key: Option<String>,
    data: String,
}

/// Publishes data that occurs nowhere else until the test is over. With a key an event is sent until it is acknowledged;
/// without one it is sent once, and a crash leaves open whether it was stored.
struct Publisher<'a> {
    world: &'a World,
    address: &'a str,
    number: usize,
    connection: Option<Connection>,
    round: u64,
    /// The newest event with a key that was acknowledged: published once more after each crash.
    newest: Option<(Draft, Receipt)>,
}

impl<'a> Publisher<'a> {
    fn new(number: usize, address: &'a str, world: &'a World) -> Self {
        Self { world, address, number, connection: None, round: 0, newest: None }
    }

    fn run(mut self) {
        for count in 0.. {
            if self.world.state().over {
                break;
            }
            let data = format!("publisher {}, event {count}{}", self.number, ".".repeat(draw(2000) as usize));
            let key = self.number.is_multiple_of(2).then(|| format!("{}-{count}", self.number));
            self.deliver(&Draft { topic: ["a", "a/b", "c"][count % 3], key, data });
        }
        self.world.change(|state| state.publishers_gone += 1);
    }

    fn deliver(&mut self, draft: &Draft) {
        let mut again = false;
        loop {
            if let Ok(receipt) = self.attempt(draft) {
                assert!(again || !receipt.duplicate, "the key {:?} was not published before", draft.key);
                self.world.change(|state| {
                    state.had_been_stored += usize::from(receipt.duplicate);
                    state.acknowledged.push((receipt.clone(), draft.data.clone()));
                });
                if draft.key.is_some() {
                    self.newest = Some((draft.clone(), receipt));
                }
                return;
            }
            self.connection = None;
            self.round = self.world.round_after(self.round);
            if draft.key.is_none() || self.world.state().over {
                return;
            }
            again = true;
            self.world.change(|state| state.retried += 1);
        }
    }

    fn attempt(&mut self, draft: &Draft) -> io::Result<Receipt> {
        if self.connection.is_none() {
            let connection = self.connection.insert(Connection::open(self.address)?);
            if let Some((before, receipt)) = &self.newest {
                let repeat = publish(connection, before)?;
                assert_eq!(repeat, Receipt { duplicate: true, ..receipt.clone() }, "a repeat is the event from then");
                self.world.change(|state| state.repeats += 1);
            }
        }
        publish(self.connection.as_mut().expect("it was opened above"), draft)
    }
}

fn publish(connection: &mut Connection, draft: &Draft) -> io::Result<Receipt> {
    connection.publish(KEY, draft.topic, draft.key.as_deref(), draft.data.as_bytes())
}

/// Reads everything from the first event on, and comes back with its last id whenever it is cut, until the end is told.
fn read_over_restarts(address: &str, world: &World) -> Vec<Told> {
    let (mut seen, mut last, mut round) = (Vec::new(), None, 0);
    while seen.last().is_none_or(|event: &Told| event.data != END) {
        // What is cut is cut by the kill: anything else would leave the round as it is, and fail there.
        if read_on(address, &mut last, &mut seen).is_err() {
            if world.state().over {
                break;
            }
            round = world.round_after(round);
        }
    }
    seen
}

fn read_on(address: &str, last: &mut Option<String>, seen: &mut Vec<Told>) -> io::Result<()> {
    let mut stream = lines_after(address, "**", last.as_deref())?;
    while let Some(told) = next_line(&mut stream)? {
        *last = Some(told.id.clone());
        match told.kind.as_str() {
            "encke.hello" => {}
            "message" => {
                let end = told.data == END;
                seen.push(told);
                if end {
                    return Ok(());
                }
            }
            _ => panic!("a reader that comes back with its last id is told {told:?}"),
        }
    }
    panic!("the gateway ended a stream though nobody asked it to")
}

/// What is in the log, as far as it was read.
#[derive(Default)]
struct Stored {
    events: Vec<Told>,
    by_id: HashMap<String, usize>,
    by_data: HashMap<String, usize>,
    held: usize,
}

impl Stored {
    fn read_on(&mut self, address: &str) {
        let last = self.events.last().map(|event| event.id.clone());
        for event in all_after(address, last.as_deref()) {
            let at = self.events.len();
            for (map, text) in [(&mut self.by_id, &event.id), (&mut self.by_data, &event.data)] {
                match map.entry(text.clone()) {
                    Entry::Vacant(free) => drop(free.insert(at)),
                    Entry::Occupied(taken) => panic!("{event:?} came after {:?}", self.events[*taken.get()]),
                }
            }
            self.events.push(event);
        }
    }

    /// Holds the gateway to what it acknowledged since it was last asked.
    fn hold(&mut self, acknowledged: &[(Receipt, String)]) {
        for (receipt, data) in &acknowledged[self.held..] {
            let event = self.by_id.get(&receipt.id).map(|at| &self.events[*at]);
            let event = event.unwrap_or_else(|| panic!("{} was acknowledged, and is lost", receipt.id));
            assert_eq!(&event.data, data, "{} is what was acknowledged", receipt.id);
        }
        self.held = acknowledged.len();
    }
}

fn first_difference(seen: &[Told], stored: &[Told]) -> String {
    let at = seen.iter().zip(stored).take_while(|(one, other)| one == other).count();
    let (lengths, one, other) = ((seen.len(), stored.len()), seen.get(at), stored.get(at));
    format!("the reader saw {} events of {}; at {at} {one:?} in place of {other:?}", lengths.0, lengths.1)
}
