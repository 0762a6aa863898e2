//! Readers that come back with their last event ID and have missed something.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Asked, Bound, Figure, Measure, Outcome, PATIENCE, Promise, Scenario, publish_closed, warm_up};
use crate::load::{GENTLY, Load, Manner};
use crate::peer::Peer;

pub(super) const RESUME: Scenario = Scenario {
    name: "resume",
    title: "Resuming: 5 000 readers, 100 events missed",
    does: "All are cut, 100 events are published, all come back with their last event ID, 64 at a time.",
    // The others have no history.
    peers: &[Peer::Encke, Peer::Nchan],
    figures: &[
        Figure { key: "cpu", title: "CPU a reader, µs", digits: 0 },
        Figure { key: "seconds", title: "until all have all, s", digits: 2 },
        Figure { key: "per_read", title: "events a read", digits: 1 },
        Figure { key: "wrong", title: "lost, doubled or out of order", digits: 0 },
    ],
    promises: &[
        Promise { figure: "cpu", of: Peer::Encke, against: None, bound: Bound::AtMost(100.0) },
        Promise { figure: "wrong", of: Peer::Encke, against: None, bound: Bound::AtMost(0.0) },
    ],
    ask: resume,
};

const MISSED: usize = 100;

fn resume(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    let readers = asked.sized(5_000);
    load.subscribe(readers, |_| 0)?;
    load.add_publishers(1)?;
    warm_up(&mut load, 1)?;
    for index in 0..readers {
        load.cut(index);
    }
    running.wait_until_calm()?;
    for _ in 0..MISSED {
        load.publish(0, crate::clock::now())?;
        ensure!(load.poll_until(PATIENCE, |load| load.unanswered() == 0)?, "a publish was not answered");
    }
    let measure = Measure::begin(&running, &mut load)?;
    load.connect(0..readers, GENTLY, Manner::default())?;
    // What is published to nobody changes nothing; this waits for what is on its way.
    publish_closed(&mut load, 0, 1, Duration::from_secs(20), |_| 0)?;
    let mut outcome = measure.end_each(&mut load, readers as u64)?;
    let faults = outcome.faults;
    outcome.set("seconds", readers as f64 / outcome.figures["rate"]);
    outcome.set("wrong", (faults.lost + faults.duplicated + faults.reordered + faults.misrouted) as f64);
    Ok(outcome)
}
