//! What is counted.

use crate::serving::Serving;

/// One count.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// Of what, in words.
    pub(crate) of: &'static str,
    ask: fn() -> u64,
}

pub(crate) const QUESTIONS: [Question; 6] = [
    Question {
        name: "publish",
        unit: "instructions",
        of: "an event of 100 bytes on a kept connection, nobody listening",
        ask: || difference(300, 2300, |serving, count| publish(serving, count, 0)),
    },
    Question {
        name: "delivery",
        unit: "instructions",
        of: "an event to one of 200 subscribers, alone, with its share of publishing",
        ask: || {
            let events = |serving: &Serving, count| publish(serving, count, SUBSCRIBERS);
            difference(30, 230, events) / SUBSCRIBERS as u64
        },
    },
    Question {
        name: "delivery-of-eight",
        unit: "instructions",
        of: "an event of eight that come at once, otherwise the same",
        ask: || difference(30, 230, publish_eight) / (EIGHT * SUBSCRIBERS) as u64,
    },
    Question {
        name: "connect",
        unit: "instructions",
        of: "a connection with a stream, from its accept to its end",
        ask: || difference(200, 1200, come_and_go),
    },
    Question {
        name: "heartbeat",
        unit: "instructions",
        of: "a heartbeat of one of 1000 streams",
        ask: || difference(1, 5, hear) / LISTENERS as u64,
    },
    Question { name: "idle-stream", unit: "bytes", of: "memory of a stream that waits (RssAnon)", ask: wait },
];

const SUBSCRIBERS: usize = 200;
const EIGHT: usize = 8;
const LISTENERS: usize = 1000;

impl Question {
    pub(crate) fn ask(&self) -> u64 {
        (self.ask)()
    }
}

/// What one more of something costs: the difference of two runs, over the difference of their lengths.
fn difference(short: usize, long: usize, run: impl Fn(&Serving, usize)) -> u64 {
    let [short_count, long_count] = [short, long].map(|length| {
        let serving = Serving::counted();
        run(&serving, length);
        serving.count()
    });
    long_count.saturating_sub(short_count) / (long - short) as u64
}

/// One event after the other; the next one only after all have the one before.
fn publish(serving: &Serving, count: usize, subscribers: usize) {
    let (mut publisher, mut subscribers) = (serving.connect(), serving.streams(subscribers, ""));
    publisher.publish("the first");
    serving.begin();
    for number in 0..count {
        let data = format!("{number:0>100}");
        publisher.publish(&data);
        subscribers.iter_mut().for_each(|subscriber| drop(subscriber.lines_up_to(&data)));
    }
}

fn publish_eight(serving: &Serving, count: usize) {
    let (mut publisher, mut subscribers) = (serving.connect(), serving.streams(SUBSCRIBERS, ""));
    publisher.publish("the first");
    serving.begin();
    for batch in 0..count {
        let data: Vec<_> = (0..EIGHT).map(|number| format!("{:0>100}", EIGHT * batch + number)).collect();
        publisher.publish_all(&data);
        for subscriber in &mut subscribers {
            data.iter().for_each(|data| drop(subscriber.lines_up_to(data)));
        }
    }
}

/// One after the other comes and goes.
fn come_and_go(serving: &Serving, count: usize) {
    serving.subscribe("").leave();
    serving.begin();
    (0..count).for_each(|_| serving.subscribe("").leave());
}

/// Waits until each has heard so many heartbeats.
///
/// An event sets all their clocks at once: else what is shared by those that are due together would go by how fast they came.
fn hear(serving: &Serving, count: usize) {
    let (mut publisher, mut listeners) = (serving.connect(), serving.streams(LISTENERS, "?heartbeat=5"));
    publisher.publish("the first");
    listeners.iter_mut().for_each(|listener| drop(listener.lines_up_to("the first")));
    serving.begin();
    for listener in &mut listeners {
        (0..count).for_each(|_| drop(listener.lines_up_to(":\n")));
    }
}

/// Once there are some thousand, what each of some thousand more takes.
fn wait() -> u64 {
    const FIRST: usize = 2000;
    const MORE: usize = 6000;
    raise_limit_of_files();
    let serving = Serving::start();
    let _first = serving.streams(FIRST, "");
    let before = serving.memory();
    let _more = serving.streams(MORE, "");
    (serving.memory() - before) / MORE as u64
}

/// Each stream is a descriptor of ours, too.
fn raise_limit_of_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
