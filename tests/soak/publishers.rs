//! Those who publish: one event after the other, many at once, lines as a stream, and large ones.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::KEY;
use crate::dice::Dice;
use crate::ledger::{Entry, GATE, Ledger, TOPICS};
use crate::support::http1::Connection;

/// How far those who publish may be ahead of the reader that always reads.
const AHEAD: u64 = 300;

/// What a publisher does again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    One,
    Batch,
    Lines,
    Large,
}

/// Those who publish in a round, and how often each does so.
pub(super) const KINDS: [(Kind, usize); 4] =
    [(Kind::One, 400), (Kind::Batch, 40), (Kind::Lines, 40), (Kind::Large, 160)];

/// One who publishes, and enters what it gets receipts for.
pub(super) struct Publisher<'a> {
    pub(super) address: &'a str,
    pub(super) ledger: &'a Ledger,
    pub(super) numbers: &'a AtomicU64,
    pub(super) dice: Dice,
    /// Opened when it is first used: one on which nothing is asked for soon is closed.
    pub(super) connection: Option<Connection>,
}

impl Publisher<'_> {
    pub(super) fn run(mut self, kind: Kind, times: usize) {
        let ledger = self.ledger;
        let _alarm = ledger.alarm();
        for _ in 0..times {
            match kind {
                Kind::One => self.publish_one(),
                Kind::Batch => self.publish_batch(),
                Kind::Lines => self.publish_lines(),
                Kind::Large => self.publish_large(),
            }
            self.ledger.wait_for_walker(AHEAD);
        }
        self.ledger.published();
    }

    /// One event. Now and then its receipt gets lost on the way, and it is published again with the same key.
    fn publish_one(&mut self) {
        let topic = *self.dice.one_of(&["news/a", "news/b", "news/a", "news/b", "quiet/1", GATE]);
        let (entry, data) = self.event(vec![topic], 300);
        let again = self.dice.once_in(10).then(|| format!("{}-{}", self.ledger.before, entry.number));
        if again.is_some() {
            let mut lost = Connection::open(self.address).expect("the gateway listens");
            lost.send_event(KEY, topic, again.as_deref(), data.as_bytes()).expect("it is taken");
        }
        let receipt = self.connection().publish(KEY, topic, again.as_deref(), data.as_bytes()).expect("a receipt");
        self.ledger.enter(&receipt.id, entry);
    }

    /// One event that is larger than what is written at once.
    fn publish_large(&mut self) {
        let topic = *self.dice.one_of(&["bulk/1", "bulk/2"]);
        let (entry, data) = self.event(vec![topic], 48 << 10);
        let receipt = self.connection().publish(KEY, topic, None, data.as_bytes()).expect("a receipt");
        self.ledger.enter(&receipt.id, entry);
    }

    /// Many events, all or none.
    fn publish_batch(&mut self) {
        let events = self.events(30);
        let content = Value::from(events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>()).to_string();
        let receipts = self.post("POST /events", "application/json", &content).expect("receipts");
        let receipts: Vec<Value> = serde_json::from_slice(&receipts).expect("a list of receipts");
        assert_eq!(receipts.len(), events.len(), "a receipt for each event");
        self.enter(events, receipts.iter());
    }

    /// Many events as they come, with a receipt for each.
    fn publish_lines(&mut self) {
        let events = self.events(40);
        let content: String = events.iter().map(|(_, event)| format!("{event}\n")).collect();
        let told = self.post("POST /events?ack=each", "application/x-ndjson", &content).expect("receipts");
        let told: Vec<Value> =
            serde_json::Deserializer::from_slice(&told).into_iter().map(|line| line.expect("a line")).collect();
        let (sum, receipts) = told.split_last().expect("a sum");
        assert_eq!((&sum["published"], receipts.len()), (&json!(events.len()), events.len()), "{sum}");
        self.enter(events, receipts.iter());
    }

    /// An event on every topic.
    pub(super) fn publish_everywhere(&mut self) -> u64 {
        self.connection = None;
        let (entry, data) = self.event(TOPICS.to_vec(), 100);
        let content = json!([{ "topics": TOPICS, "data": data }]).to_string();
        let receipts = self.post("POST /events", "application/json", &content).expect("receipts");
        let receipts: Value = serde_json::from_slice(&receipts).expect("receipts");
        self.ledger.enter(receipts[0]["id"].as_str().expect("a cursor"), entry)
    }

    /// Takes one event away, or all of a topic that is quiet otherwise.
    pub(super) fn delete(&mut self) {
        self.connection = None;
        if self.dice.once_in(2) {
            self.ledger.clears("quiet/1");
            self.ask_to_delete("DELETE /events/quiet/1");
            let (entry, data) = self.event(vec!["quiet/1"], 100);
            let receipt = self.connection().publish(KEY, "quiet/1", None, data.as_bytes()).expect("a receipt");
            self.ledger.cleared("quiet/1", self.ledger.offset(&receipt.id) - 1);
            self.ledger.enter(&receipt.id, entry);
        } else if let Some(cursor) = self.ledger.deletes(self.dice.below(100)) {
            self.ask_to_delete(&format!("DELETE /events?id={cursor}"));
        }
    }

    fn ask_to_delete(&mut self, line: &str) {
        let fields = [("Authorization", format!("Bearer {KEY}"))];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = self.connection().exchange(line, &fields, b"").expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.content));
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.get_or_insert_with(|| Connection::open(self.address).expect("the gateway listens"))
    }

    fn events(&mut self, most: usize) -> Vec<(Entry, Value)> {
        (0..=self.dice.below(most))
            .map(|_| {
                let mut topics = vec![*self.dice.one_of(&["news/a", "news/b", "bulk/1", GATE])];
                if self.dice.once_in(5) {
                    topics.push("bulk/2");
                }
                let (entry, data) = self.event(topics.clone(), 600);
                (entry, json!({ "topics": topics, "data": data }))
            })
            .collect()
    }

    /// An event that no other is equal to.
    fn event(&mut self, topics: Vec<&'static str>, most: usize) -> (Entry, String) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let data = format!("{number} {}", ".".repeat(self.dice.below(most)));
        (Entry { topics, number, length: data.len() }, data)
    }

    fn post(&mut self, line: &str, content_type: &str, content: &str) -> io::Result<Vec<u8>> {
        let authorization = format!("Bearer {KEY}");
        let fields = [("Authorization", authorization.as_str()), ("Content-Type", content_type)];
        let answer = self.connection().exchange(line, &fields, content.as_bytes())?;
        let told = String::from_utf8_lossy(&answer.content);
        if matches!(answer.status, 200 | 201) { Ok(answer.content) } else { Err(io::Error::other(told.into_owned())) }
    }

    fn enter<'v>(&self, events: Vec<(Entry, Value)>, receipts: impl Iterator<Item = &'v Value>) {
        for ((entry, _), receipt) in events.into_iter().zip(receipts) {
            self.ledger.enter(receipt["id"].as_str().unwrap_or_else(|| panic!("no receipt: {receipt}")), entry);
        }
    }
}
