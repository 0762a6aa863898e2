//! Streams that are opened: one after the other, and all at once after a cut.

use std::time::Duration;

use anyhow::Result;

use super::latency::publish_paced;
use super::{Asked, Bound, Figure, Measure, Outcome, PATIENCE, Promise, Scenario, warm_up};
use crate::clock;
use crate::load::{Load, Manner};
use crate::peer::Peer;

pub(super) const CONNECT: Scenario = Scenario {
    name: "connect",
    title: "Connecting",
    does: "10 000 streams are opened, 64 at a time at most.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin],
    figures: &[
        Figure { key: "cpu", title: "CPU a stream, µs", digits: 1 },
        Figure { key: "rate", title: "streams/s", digits: 0 },
    ],
    promises: &[Promise { figure: "cpu", of: Peer::Encke, against: None, bound: Bound::AtMost(30.0) }],
    ask: connect,
};

fn connect(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(10, |_| 0)?;
    load.add_publishers(1)?;
    warm_up(&mut load, 1)?;
    running.wait_until_calm()?;
    let measure = Measure::begin(&running, &mut load)?;
    let streams = asked.sized(10_000);
    load.subscribe(streams, |_| 0)?;
    measure.end_each(&mut load, streams as u64)
}

pub(super) const STORM: Scenario = Scenario {
    name: "storm",
    title: "A storm: 19 000 streams cut at once",
    does: "Nineteen topics with 1 000 readers each; five hundred publishes a second, fifty of them to these topics. All streams \
           are cut and come back at once with their last event ID; publishing goes on, and is told of while some are away.",
    peers: &[Peer::Encke, Peer::Nchan],
    figures: &[
        Figure { key: "seconds", title: "until all are back, s", digits: 2 },
        Figure { key: "cpu", title: "CPU a stream, µs", digits: 1 },
        Figure { key: "quiet_p99", title: "p99 of a publish, quiet, ms", digits: 1 },
        Figure { key: "storm_p99", title: "in the storm, ms", digits: 1 },
        Figure { key: "ratio", title: "ratio", digits: 2 },
        Figure { key: "lost", title: "lost", digits: 0 },
    ],
    promises: &[
        Promise { figure: "ratio", of: Peer::Encke, against: None, bound: Bound::AtMost(3.0) },
        Promise { figure: "lost", of: Peer::Encke, against: None, bound: Bound::AtMost(0.0) },
    ],
    ask: storm,
};

const TOPICS: u64 = 19;
const PER_SECOND: u64 = 500;
/// Of so many publishes one is to a topic that is read: more would be all that the core has time for, and fewer publishes
/// would tell too little of their times.
const READ: u64 = 10;

fn storm(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), TOPICS as usize + 1, 100)?;
    let streams = asked.sized(19_000);
    load.subscribe(streams, |index| index as u32 % TOPICS as u32)?;
    load.add_publishers(32)?;
    warm_up(&mut load, TOPICS as u32 + 1)?;
    let topic_of = |number: u64| if number.is_multiple_of(READ) { number / READ % TOPICS } else { TOPICS } as u32;

    let quiet = Measure::begin(&running, &mut load)?;
    publish_paced(&mut load, PER_SECOND, Duration::from_secs(4), topic_of, |_| Ok(()))?;
    load.poll_until(PATIENCE, |load| load.open() == 0 && load.unanswered() == 0)?;
    let quiet_p99 = quiet.end(&mut load)?.figures["receipt_p99"];

    let measure = Measure::begin(&running, &mut load)?;
    let begun = clock::now();
    for index in 0..streams {
        load.cut(index);
    }
    let mut coming = (0..streams).peekable();
    let mut back = None;
    publish_paced(&mut load, PER_SECOND, Duration::from_secs(8), topic_of, |load| {
        // A few each turn, so that publishing keeps its times.
        for index in coming.by_ref().take(4) {
            load.begin_connecting(index, Manner::default())?;
        }
        if back.is_none() && coming.peek().is_none() && load.tally().opened >= streams as u64 {
            back = Some((clock::now(), load.tally().receipt.millis(0.99)));
        }
        Ok(())
    })?;
    load.poll_until(PATIENCE, |load| load.open() == 0 && load.unanswered() == 0)?;
    let still_away = (0..streams).filter(|index| !load.is_streaming(*index)).count();
    let mut outcome = measure.end_each(&mut load, streams as u64)?;
    let (back, storm_p99) = back.unwrap_or_else(|| {
        outcome.notes.push(format!("{still_away} streams did not come back"));
        (clock::now(), outcome.figures["receipt_p99"])
    });
    outcome.set("seconds", (back - begun) as f64 / 1e9);
    outcome.set("quiet_p99", quiet_p99);
    outcome.set("storm_p99", storm_p99);
    outcome.set("ratio", storm_p99 / quiet_p99);
    outcome.set("lost", outcome.faults.lost as f64);
    Ok(outcome)
}
