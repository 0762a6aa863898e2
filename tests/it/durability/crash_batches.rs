//! Killed again and again, the gateway has each batch whole or not at all, and what was deleted stays away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::{Value, json};

use super::{KEY, draw, gateway};
use crate::support::http1::Connection;
use crate::support::{PATIENCE, long};

/// How many publish batches at once.
const PUBLISHERS: usize = 4;
/// The most events of a batch.
const EVENTS: u32 = 40;
/// A round ends after at most so many acknowledgements.
const ACKNOWLEDGED: u32 = 20;

#[test]
fn batches_are_whole_and_what_was_deleted_stays_away_over_kills() {
    // All that was ever stored is read after each kill: so of many kills not all are on one log.
    let (logs, kills) = if long() { (20, 50) } else { (1, 20) };
    (0..logs).for_each(|_| kill_again_and_again(kills));
}

fn kill_again_and_again(kills: usize) {
    let mut gateway = gateway(&[]);
    let address = gateway.address().to_owned();
    let mut said = Said::default();
    for round in 0..kills {
        let (acknowledged, acknowledgements) = channel();
        let heard = thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|number| {
                    let (address, acknowledged) = (address.as_str(), acknowledged.clone());
                    scope.spawn(move || publish_until_killed(address, &format!("{round}-{number}"), &acknowledged))
                })
                .collect();
            for _ in 0..=draw(ACKNOWLEDGED) {
                acknowledgements.recv_timeout(PATIENCE).expect("an acknowledgement");
            }
            gateway.kill9();
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("it does not fail")).collect::<Vec<_>>()
        });
        gateway.restart();
        heard.into_iter().for_each(|heard| said.take(heard));
        said.hold(&stored(&address));
    }
    assert!(said.whole > 0 && !said.deleted.is_empty(), "{said:?}");
    println!(
        "{kills} kills: {} batches acknowledged, {} in flight stored whole and {} not at all, {} events deleted",
        said.acknowledged,
        said.whole,
        said.none,
        said.deleted.len(),
    );
}

/// What a publisher heard of a batch, or of the deletion of one of its events.
enum Heard {
    Stored {
        batch: String,
        ids: Vec<String>,
    },
    /// The gateway was killed before it answered.
    Perhaps {
        batch: String,
        events: usize,
    },
    Deleted {
        id: String,
    },
    PerhapsDeleted {
        id: String,
    },
}

/// Publishes batches, and deletes an event of some, until the gateway is killed.
fn publish_until_killed(address: &str, name: &str, acknowledged: &Sender<()>) -> Vec<Heard> {
    let mut heard = Vec::new();
    let Ok(mut connection) = Connection::open(address) else { return heard };
    for number in 0.. {
        let (batch, events) = (format!("{name}-{number}"), draw(EVENTS) as usize + 1);
        let Ok(ids) = publish(&mut connection, &batch, events) else {
            heard.push(Heard::Perhaps { batch, events });
            return heard;
        };
        assert_eq!(ids.len(), events, "a receipt for each event");
        let id = ids[draw(EVENTS) as usize % events].clone();
        heard.push(Heard::Stored { batch, ids });
        // The test may have heard enough.
        let _ = acknowledged.send(());
        if draw(3) == 0 {
            let deleted = delete(&mut connection, &id);
            let over = deleted.is_err();
            heard.push(if over { Heard::PerhapsDeleted { id } } else { Heard::Deleted { id } });
            if over {
                return heard;
            }
        }
    }
    heard
}

/// Publishes a batch whose events say which they are.
fn publish(connection: &mut Connection, batch: &str, events: usize) -> io::Result<Vec<String>> {
    let fill = ".".repeat(draw(500) as usize);
    let event = |number| json!({ "topic": format!("t/{}", number % 3), "data": format!("{batch} {number} {fill}") });
    let content = Value::from((0..events).map(event).collect::<Vec<_>>()).to_string();
    let authorization = format!("Bearer {KEY}");
    let fields = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let answer = connection.exchange("POST /events", &fields, content.as_bytes())?;
    let receipts: Value = serde_json::from_slice(&answer.content)?;
    assert_eq!(answer.status, 201, "{receipts}");
    let ids = receipts.as_array().expect("a list of receipts").iter();
    Ok(ids.map(|receipt| receipt["id"].as_str().expect("a cursor").to_owned()).collect())
}

fn delete(connection: &mut Connection, id: &str) -> io::Result<()> {
    let authorization = format!("Bearer {KEY}");
    let answer = connection.exchange(&format!("DELETE /events?id={id}"), &[("Authorization", &authorization)], b"")?;
    let told: Value = serde_json::from_slice(&answer.content)?;
    assert_eq!((answer.status, &told["deleted"]), (200, &json!(1)), "{told}");
    Ok(())
}

/// Everything in the log, by cursor: the batch, and which event of it. A gap is told only where something was deleted.
fn stored(address: &str) -> HashMap<String, (String, usize)> {
    let mut connection = Connection::open(address).expect("the gateway listens");
    let (mut stored, mut last) = (HashMap::new(), "earliest".to_owned());
    loop {
        let target = "GET /events?topic=**&transport=long-poll&timeout=0&limit=1000";
        let answer = connection.exchange(target, &[("Last-Event-ID", last.as_str())], b"").expect("an answer");
        let page: Value = serde_json::from_slice(&answer.content).expect("a poll is answered in JSON");
        let gap = &page["gap"];
        assert!(answer.status == 200 && (gap.is_null() || gap["reason"] == "deleted"), "{page}");
        for event in page["events"].as_array().expect("a list of events") {
            let mut words = event["data"].as_str().expect("text").split(' ');
            let batch = words.next().expect("a batch").to_owned();
            let number = words.next().and_then(|number| number.parse().ok()).expect("a number");
            let id = event["id"].as_str().expect("a cursor").to_owned();
            assert!(stored.insert(id, (batch, number)).is_none(), "a cursor twice: {event}");
        }
        page["cursor"].as_str().expect("a poll ends at a cursor").clone_into(&mut last);
        if page["more"] != true {
            return stored;
        }
    }
}

/// What was said of all batches.
#[derive(Debug, Default)]
struct Said {
    /// The cursors of each acknowledged batch's events.
    batches: BTreeMap<String, Vec<String>>,
    /// How many events a batch has of which nothing was said.
    perhaps: BTreeMap<String, usize>,
    deleted: BTreeSet<String>,
    /// Of these nothing was said.
    perhaps_deleted: BTreeSet<String>,
    acknowledged: usize,
    /// How many batches of which nothing was said are there, and are not.
    whole: usize,
    none: usize,
}

impl Said {
    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Stored { batch, ids } => {
                self.acknowledged += 1;
                self.batches.insert(batch, ids);
            }
            Heard::Perhaps { batch, events } => drop(self.perhaps.insert(batch, events)),
            Heard::Deleted { id } => drop(self.deleted.insert(id)),
            Heard::PerhapsDeleted { id } => drop(self.perhaps_deleted.insert(id)),
        }
    }

    /// Holds the gateway to it. What was left open is decided by what is there now, once and for all.
    fn hold(&mut self, stored: &HashMap<String, (String, usize)>) {
        for id in std::mem::take(&mut self.perhaps_deleted) {
            if !stored.contains_key(&id) {
                self.deleted.insert(id);
            }
        }
        let mut found = BTreeMap::<&str, Vec<(usize, &str)>>::new();
        for (id, (batch, number)) in stored {
            assert!(!self.deleted.contains(id), "{id} was deleted, and is there");
            found.entry(batch).or_default().push((*number, id));
        }
        for (batch, events) in std::mem::take(&mut self.perhaps) {
            let mut there = found.get(batch.as_str()).cloned().unwrap_or_default();
            there.sort_unstable();
            if there.is_empty() {
                self.none += 1;
                self.batches.insert(batch, Vec::new());
                continue;
            }
            assert_eq!(there.len(), events, "a batch is stored whole or not at all: {batch}");
            self.whole += 1;
            self.batches.insert(batch, there.into_iter().map(|(_, id)| id.to_owned()).collect());
        }
        let expected: BTreeMap<&str, (&str, usize)> = self
            .batches
            .iter()
            .flat_map(|(batch, ids)| ids.iter().enumerate().map(|(n, id)| (id.as_str(), (batch.as_str(), n))))
            .filter(|(id, _)| !self.deleted.contains(*id))
            .collect();
        for (id, (batch, number)) in &expected {
            let there = stored.get(*id).map(|(batch, number)| (batch.as_str(), *number));
            assert_eq!(there, Some((*batch, *number)), "{id} is what was acknowledged");
        }
        assert_eq!(stored.len(), expected.len(), "nothing is there that nobody published");
    }
}
