//! Publishing while nobody listens: what a publish alone costs.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Bound, Figure, Measure, Outcome, Promise, Scenario, publish_closed, warm_up};
use crate::load::Load;
use crate::peer::Peer;

const FIGURES: &[Figure] = &[
    Figure { key: "cpu", title: "CPU a publish, µs", digits: 2 },
    Figure { key: "rate", title: "publishes/s", digits: 0 },
    Figure { key: "receipt_p99", title: "p99 of the receipt, ms", digits: 2 },
    Figure { key: "load_share", title: "load busy", digits: 2 },
];

pub(super) const PUBLISH: Scenario = Scenario {
    name: "publish",
    title: "Publishing, nobody listening",
    does: "Eight publishers on connections that are kept.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin],
    figures: FIGURES,
    promises: &[Promise { figure: "cpu", of: Peer::Encke, against: Some(Peer::Nchan), bound: Bound::AtMost(1.0) }],
    ask: |asked| publish(asked, 8),
};

pub(super) const DURABLE: Scenario = Scenario {
    name: "durable",
    title: "Publishing durably, nobody listening",
    does: "Sixty-four publishers; the default store answers when the event is on the disk.",
    peers: &[Peer::Encke, Peer::EnckeDurable],
    figures: FIGURES,
    promises: &[Promise {
        figure: "rate",
        of: Peer::EnckeDurable,
        against: Some(Peer::Encke),
        bound: Bound::AtLeast(0.4),
    }],
    ask: |asked| publish(asked, 64),
};

fn publish(asked: &Asked<'_>, publishers: usize) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.add_publishers(publishers)?;
    warm_up(&mut load, 1)?;
    let measure = Measure::begin(&running, &mut load)?;
    let sent = publish_closed(&mut load, asked.sized(200_000), usize::MAX, Duration::from_secs(5), |_| 0)?;
    measure.end_each(&mut load, sent as u64)
}
