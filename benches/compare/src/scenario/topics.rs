//! Many topics, one reader each: what an event costs from its publisher to its only reader.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Bound, Figure, Measure, Outcome, Promise, Scenario, publish_closed, warm_up};
use crate::load::Load;
use crate::peer::Peer;

const PEERS: &[Peer] = &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin];

const FIGURES: &[Figure] = &[
    Figure { key: "cpu", title: "CPU an event, µs", digits: 2 },
    Figure { key: "rate", title: "events/s", digits: 0 },
    Figure { key: "p99", title: "p99, ms", digits: 1 },
];

const PROMISES: &[Promise] =
    &[Promise { figure: "cpu", of: Peer::Encke, against: Some(Peer::Bare), bound: Bound::AtMost(1.15) }];

pub(super) const TOPICS_1K: Scenario = Scenario {
    name: "topics1k",
    title: "1 000 topics, one reader each",
    does: "Sixty-four publishers, each with one event under way; beside the next row it tells what more topics cost.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive],
    figures: FIGURES,
    promises: PROMISES,
    ask: |asked| topics(asked, 1_000),
};

pub(super) const TOPICS_10K: Scenario = Scenario {
    name: "topics10k",
    title: "10 000 topics, one reader each",
    does: "Sixty-four publishers, each with one event under way.",
    peers: PEERS,
    figures: FIGURES,
    promises: PROMISES,
    ask: |asked| topics(asked, 10_000),
};

fn topics(asked: &Asked<'_>, count: usize) -> Result<Outcome> {
    let running = asked.start()?;
    let count = asked.sized(count);
    let mut load = Load::new(running.door.clone(), count, 100)?;
    load.subscribe(count, |index| index as u32)?;
    load.add_publishers(64)?;
    warm_up(&mut load, count as u32)?;
    let measure = Measure::begin(&running, &mut load)?;
    // A stride that meets every topic, in no order that memory likes.
    let topic_of = |number: usize| (number * 7919 % count) as u32;
    publish_closed(&mut load, asked.sized(80_000), 64, Duration::from_secs(10), topic_of)?;
    measure.end(&mut load)
}
