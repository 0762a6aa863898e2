//! Events that come at their own pace, whatever the server does: how late they are.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Bound, Figure, Measure, Outcome, PATIENCE, Promise, Scenario, warm_up};
use crate::clock;
use crate::load::Load;
use crate::peer::Peer;

const PEERS: &[Peer] = &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin];

const FIGURES: &[Figure] = &[
    Figure { key: "p50", title: "p50, ms", digits: 1 },
    Figure { key: "p99", title: "p99, ms", digits: 1 },
    Figure { key: "p999", title: "p99.9, ms", digits: 1 },
    Figure { key: "cpu", title: "CPU a delivery, µs", digits: 2 },
    Figure { key: "server_share", title: "of a processor", digits: 2 },
];

const PROMISES: &[Promise] = &[
    at_most("p50", Peer::Bare, 1.05),
    at_most("p99", Peer::Bare, 1.05),
    at_most("p999", Peer::Bare, 1.05),
    at_most("p50", Peer::Nchan, 1.0),
    at_most("p99", Peer::Nchan, 1.0),
    at_most("p999", Peer::Nchan, 1.0),
];

const fn at_most(figure: &'static str, against: Peer, most: f64) -> Promise {
    Promise { figure, of: Peer::Encke, against: Some(against), bound: Bound::AtMost(most) }
}

pub(super) const LATENCY_1K: Scenario = Scenario {
    name: "latency1k",
    title: "Latency: 100 events/s to 1 000 subscribers",
    does: "Events are published at their times, for ten seconds; a time counts from when its event was to be sent.",
    peers: PEERS,
    figures: FIGURES,
    promises: PROMISES,
    ask: |asked| paced(asked, 1_000, 100, Duration::from_secs(10)),
};

pub(super) const LATENCY_10K: Scenario = Scenario {
    name: "latency10k",
    title: "Latency: 10 events/s to 10 000 subscribers",
    does: "As above.",
    peers: PEERS,
    figures: FIGURES,
    promises: PROMISES,
    ask: |asked| paced(asked, 10_000, 10, Duration::from_secs(10)),
};

fn paced(asked: &Asked<'_>, subscribers: usize, per_second: u64, lasting: Duration) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(asked.sized(subscribers), |_| 0)?;
    load.add_publishers(16)?;
    warm_up(&mut load, 1)?;
    let measure = Measure::begin(&running, &mut load)?;
    // Twice at least, however short the look.
    let lasting = asked.lasting(lasting).max(Duration::from_secs(1));
    publish_paced(&mut load, per_second, lasting, |_| 0, |_| Ok(()))?;
    load.poll_until(PATIENCE, |load| load.open() == 0 && load.unanswered() == 0)?;
    measure.end(&mut load)
}

/// Publishes so many events a second, each as soon after its time as there is an idle publisher; `meanwhile` is done each
/// turn.
pub(super) fn publish_paced(
    load: &mut Load,
    per_second: u64,
    lasting: Duration,
    topic_of: impl Fn(u64) -> u32,
    mut meanwhile: impl FnMut(&mut Load) -> Result<()>,
) -> Result<()> {
    let begun = clock::now();
    let (every, all) = (1_000_000_000 / per_second, lasting.as_nanos() as u64 * per_second / 1_000_000_000);
    let mut sent = 0;
    while sent < all {
        let scheduled = begun + sent * every;
        if clock::now() >= scheduled && load.idle_publishers() > 0 {
            load.publish(topic_of(sent), scheduled)?;
            sent += 1;
        }
        load.turn()?;
        meanwhile(load)?;
        anyhow::ensure!(
            clock::now() < scheduled + 20_000_000_000,
            "publishing is 20 s behind its time: the server takes no more"
        );
    }
    Ok(())
}
