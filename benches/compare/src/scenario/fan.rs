//! One topic, many subscribers: what a delivery costs.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Bound, Figure, Measure, Outcome, Promise, Scenario, publish_closed, warm_up};
use crate::load::Load;
use crate::peer::Peer;

const PEERS: &[Peer] = &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin];
/// Those that are followed as streams become more.
const GROWING: &[Peer] = &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive];
const BURSTING: &[Peer] =
    &[Peer::Bare, Peer::BareMerging, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin];

const FIGURES: &[Figure] = &[
    Figure { key: "cpu", title: "CPU a delivery, µs", digits: 2 },
    Figure { key: "rate", title: "deliveries/s", digits: 0 },
    Figure { key: "per_read", title: "events a read", digits: 1 },
    Figure { key: "p99", title: "p99, ms", digits: 1 },
    Figure { key: "wire", title: "bytes a delivery", digits: 0 },
];

const fn at_most(figure: &'static str, against: Peer, most: f64) -> Promise {
    Promise { figure, of: Peer::Encke, against: Some(against), bound: Bound::AtMost(most) }
}

pub(super) const FAN_1K: Scenario = Scenario {
    name: "fan1k",
    title: "One event at a time, 1 000 subscribers",
    does: "The next event is published only when all have the last: nothing can be merged.",
    peers: PEERS,
    figures: FIGURES,
    promises: &[at_most("cpu", Peer::Bare, 1.10)],
    ask: |asked| fan(asked, 1_000, 400, 1, 1),
};

pub(super) const FAN_5K: Scenario = Scenario {
    name: "fan5k",
    title: "One event at a time, 5 000 subscribers",
    does: "As above.",
    peers: GROWING,
    figures: FIGURES,
    promises: &[at_most("cpu", Peer::Bare, 1.20)],
    ask: |asked| fan(asked, 5_000, 80, 1, 1),
};

pub(super) const FAN_10K: Scenario = Scenario {
    name: "fan10k",
    title: "One event at a time, 10 000 subscribers",
    does: "As above.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin],
    figures: FIGURES,
    promises: &[at_most("cpu", Peer::Bare, 1.20)],
    ask: |asked| fan(asked, 10_000, 40, 1, 1),
};

pub(super) const FAN_19K: Scenario = Scenario {
    name: "fan19k",
    title: "One event at a time, 19 000 subscribers",
    does: "As above.",
    peers: GROWING,
    figures: FIGURES,
    promises: &[at_most("cpu", Peer::Bare, 1.20)],
    ask: |asked| fan(asked, 19_000, 30, 1, 1),
};

pub(super) const BURST_1K: Scenario = Scenario {
    name: "burst1k",
    title: "Sixteen events open, 1 000 subscribers",
    does: "Eight publishers; up to sixteen events are on their way at once, so what waits for a subscriber can be merged.",
    peers: BURSTING,
    figures: FIGURES,
    promises: &[
        at_most("cpu", Peer::BareMerging, 1.15),
        at_most("p99", Peer::BareMerging, 1.0),
        at_most("cpu", Peer::Bare, 0.2),
    ],
    ask: |asked| fan(asked, 1_000, 1_500, 16, 8),
};

pub(super) const BURST_10K: Scenario = Scenario {
    name: "burst10k",
    title: "Four events open, 10 000 subscribers",
    does: "Four publishers; up to four events are on their way at once.",
    peers: &[
        Peer::Bare,
        Peer::BareMerging,
        Peer::Encke,
        Peer::Nchan,
        Peer::Naive,
        Peer::Faye,
        Peer::BetterSse,
        Peer::Pushpin,
    ],
    figures: FIGURES,
    promises: &[at_most("cpu", Peer::BareMerging, 1.15), at_most("p99", Peer::BareMerging, 1.0)],
    ask: |asked| fan(asked, 10_000, 100, 4, 4),
};

fn fan(asked: &Asked<'_>, subscribers: usize, events: usize, open: usize, publishers: usize) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(asked.sized(subscribers), |_| 0)?;
    load.add_publishers(publishers)?;
    warm_up(&mut load, 1)?;
    let measure = Measure::begin(&running, &mut load)?;
    publish_closed(&mut load, asked.sized(events), open, Duration::from_secs(12), |_| 0)?;
    measure.end(&mut load)
}
