//! Subscribers that never read: what becomes of the others, of memory, and of what they did not read.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Bound, Figure, Measure, Outcome, PATIENCE, Promise, Scenario, publish_closed, warm_up};
use crate::load::Load;
use crate::peer::Peer;

pub(super) const SLOW: Scenario = Scenario {
    name: "slow",
    title: "Ten of thirty subscribers never read",
    does: "Events of 1 000 bytes, sixteen open. First there are twenty, who read; then ten more come and do not, for 20 000 \
           events or fifteen seconds; then they read, too. What the log itself holds is weighed before, and taken off.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse],
    figures: &[
        Figure { key: "cpu_all_read", title: "CPU a delivery, twenty read, µs", digits: 2 },
        Figure { key: "cpu", title: "ten more do not, µs", digits: 2 },
        Figure { key: "ratio", title: "ratio", digits: 2 },
        Figure { key: "mib_before", title: "memory before, MiB", digits: 1 },
        Figure { key: "mib_backlog", title: "with the backlog", digits: 1 },
        Figure { key: "mib_after", title: "after", digits: 1 },
        Figure { key: "lost", title: "lost by the slow", digits: 0 },
        Figure { key: "lost_others", title: "by the others", digits: 0 },
    ],
    promises: &[
        Promise { figure: "lost", of: Peer::Encke, against: None, bound: Bound::AtMost(0.0) },
        Promise { figure: "lost_others", of: Peer::Encke, against: None, bound: Bound::AtMost(0.0) },
        // It is to be the same; more than this is not the noise of a round.
        Promise { figure: "ratio", of: Peer::Encke, against: None, bound: Bound::AtMost(1.2) },
    ],
    ask: slow,
};

const READERS: usize = 20;
const SLOW_ONES: usize = 10;
const SUBSCRIBERS: usize = READERS + SLOW_ONES;

fn slow(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 1_000)?;
    load.subscribe(READERS, |_| 0)?;
    load.add_publishers(8)?;
    warm_up(&mut load, 1)?;
    let without_log = running.memory().proportional;
    let measure = Measure::begin(&running, &mut load)?;
    let read = publish_closed(&mut load, asked.sized(20_000), 16, Duration::from_secs(15), |_| 0)?;
    let cpu_all_read = measure.end(&mut load)?.figures["cpu"];
    let log_of_one = (running.memory().proportional.saturating_sub(without_log)) as f64 / (read.max(1)) as f64;

    load.subscribe(SLOW_ONES, |_| 0)?;
    for index in READERS..SUBSCRIBERS {
        load.do_not_await(index);
        load.pause(index, true)?;
    }
    let before = running.memory().proportional;
    let measure = Measure::begin(&running, &mut load)?;
    let published = publish_closed(&mut load, asked.sized(20_000), 16, Duration::from_secs(15), |_| 0)?;
    let mut outcome = measure.end(&mut load)?;
    let backlog = running.memory().proportional;
    for index in READERS..SUBSCRIBERS {
        load.pause(index, false)?;
    }
    load.poll_until(PATIENCE, |load| load.faults_of(READERS..SUBSCRIBERS).lost == 0)?;
    running.wait_until_calm()?;

    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    outcome.faults = load.faults();
    outcome.set("published", published as f64);
    outcome.set("cpu_all_read", cpu_all_read);
    outcome.set("ratio", outcome.figures["cpu"] / cpu_all_read);
    outcome.set("mib_before", mib(before));
    let log = (log_of_one * published as f64) as u64;
    outcome.set("mib_backlog", mib(backlog.saturating_sub(log)));
    outcome.set("mib_after", mib(running.memory().proportional.saturating_sub(log)));
    outcome.set("lost", load.faults_of(READERS..SUBSCRIBERS).lost as f64);
    outcome.set("lost_others", load.faults_of(0..READERS).lost as f64);
    outcome.closed += load.tally().closed;
    Ok(outcome)
}
