//! Streams on which nothing happens: what each of them holds, and what its heartbeats cost.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Bound, Figure, Measure, Outcome, PATIENCE, Promise, Scenario, publish_closed, warm_up};
use crate::load::{GENTLY, Load, Manner};
use crate::peer::{Peer, Setting};

const PEERS: &[Peer] = &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse, Peer::Pushpin];

const FIGURES: &[Figure] = &[
    Figure { key: "bytes", title: "bytes a stream", digits: 0 },
    Figure { key: "anonymous", title: "of them not shared", digits: 0 },
    Figure { key: "mib_empty", title: "the server without, MiB", digits: 1 },
];

const PROMISES: &[Promise] =
    &[Promise { figure: "bytes", of: Peer::Encke, against: None, bound: Bound::AtMost(712.0) }];

pub(super) const IDLE_10K: Scenario = Scenario {
    name: "idle10k",
    title: "Memory of an idle stream, of 10 000",
    does: "What the process tree holds more than with ten streams, by the number of streams.",
    peers: PEERS,
    figures: FIGURES,
    promises: PROMISES,
    ask: |asked| idle(asked, 10_000),
};

pub(super) const IDLE_19K: Scenario = Scenario {
    name: "idle19k",
    title: "Memory of an idle stream, of 19 000",
    does: "As above.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive],
    figures: FIGURES,
    promises: PROMISES,
    ask: |asked| idle(asked, 19_000),
};

fn idle(asked: &Asked<'_>, streams: usize) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(10, |_| 0)?;
    load.add_publishers(1)?;
    warm_up(&mut load, 1)?;
    running.wait_until_calm()?;
    let before = running.memory();
    let measure = Measure::begin(&running, &mut load)?;
    let streams = asked.sized(streams);
    load.subscribe(streams, |_| 0)?;
    running.wait_until_calm()?;
    let after = running.memory();
    // None of them may be only half open: all get an event, after they have been weighed.
    publish_closed(&mut load, 1, 1, PATIENCE, |_| 0)?;
    let mut outcome = measure.end(&mut load)?;
    weigh(&mut outcome, before, after, streams);
    Ok(outcome)
}

fn weigh(outcome: &mut Outcome, before: crate::process::Memory, after: crate::process::Memory, streams: usize) {
    let each = |before: u64, after: u64| (after as f64 - before as f64) / streams as f64;
    outcome.set("bytes", each(before.proportional, after.proportional));
    outcome.set("anonymous", each(before.anonymous, after.anonymous));
    outcome.set("mib_empty", before.proportional as f64 / f64::from(1 << 20));
}

pub(super) const STALLED: Scenario = Scenario {
    name: "stalled",
    title: "Memory of an idle stream that stalled once, of 10 000",
    does: "Streams on connections that hold little on their way. A tenth of them after the other does not read while half a \
           megabyte is published to it, and then reads all of it. Weighed when all are idle again; what as many events \
           leave behind with ten readers is taken off.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive, Peer::Faye, Peer::BetterSse],
    figures: &[
        Figure { key: "bytes", title: "bytes a stream", digits: 0 },
        Figure { key: "anonymous", title: "of them not shared", digits: 0 },
        Figure { key: "lost", title: "lost", digits: 0 },
    ],
    promises: &[
        Promise { figure: "bytes", of: Peer::Encke, against: None, bound: Bound::AtMost(712.0) },
        Promise { figure: "lost", of: Peer::Encke, against: None, bound: Bound::AtMost(0.0) },
    ],
    ask: stalled,
};

const COHORTS: usize = 10;
/// What a tenth of the streams does not read: 512 kB.
const EVENTS: usize = 512;

fn stalled(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    // One more topic, for the ten that are there before anything is weighed.
    let mut load = Load::new(running.door.clone(), COHORTS + 1, 1_000)?;
    load.subscribe(10, |_| COHORTS as u32)?;
    load.add_publishers(4)?;
    warm_up(&mut load, COHORTS as u32 + 1)?;
    // What is published may stay, and what was made of it for who reads: once, for however many. That is weighed with ten
    // readers, and taken off.
    running.wait_until_calm()?;
    let without_log = running.memory();
    publish_closed(&mut load, COHORTS * EVENTS, usize::MAX, Duration::from_secs(20), |_| COHORTS as u32)?;
    running.wait_until_calm()?;
    let before = running.memory();
    let streams = asked.sized(10_000);
    let first = load.subscribers();
    for index in 0..streams {
        load.add_subscriber((index % COHORTS) as u32);
    }
    load.connect(first..first + streams, GENTLY, Manner { narrow: true })?;
    warm_up(&mut load, COHORTS as u32 + 1)?;
    let measure = Measure::begin(&running, &mut load)?;
    for cohort in 0..COHORTS {
        let members: Vec<usize> =
            (first..first + streams).filter(|index| (index - first) % COHORTS == cohort).collect();
        for member in &members {
            load.pause(*member, true)?;
        }
        for _ in 0..EVENTS {
            load.poll_until(PATIENCE, |load| load.idle_publishers() > 0)?;
            load.publish(cohort as u32, crate::clock::now())?;
        }
        load.poll_until(PATIENCE, |load| load.unanswered() == 0)?;
        running.wait_until_calm()?;
        for member in &members {
            load.pause(*member, false)?;
        }
        load.poll_until(PATIENCE, |load| load.open() == 0)?;
    }
    running.wait_until_calm()?;
    let after = running.memory();
    let mut outcome = measure.end(&mut load)?;
    let log = before.less(without_log);
    weigh(&mut outcome, before, after.less(log), streams);
    outcome.set("log_mib", log.proportional as f64 / f64::from(1 << 20));
    outcome.set("lost", outcome.faults.lost as f64);
    Ok(outcome)
}

pub(super) const HEARTBEAT: Scenario = Scenario {
    name: "heartbeat",
    title: "Heartbeats of 10 000 streams",
    does: "Every five seconds each stream is given a comment; three rounds are counted.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan],
    figures: &[
        Figure { key: "cpu", title: "CPU a heartbeat, µs", digits: 2 },
        Figure { key: "count", title: "heartbeats", digits: 0 },
    ],
    promises: &[],
    ask: heartbeat,
};

const BEAT: Duration = Duration::from_secs(5);

fn heartbeat(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start_as(&Setting { heartbeat: Some(BEAT), ..Setting::default() })?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    let streams = asked.sized(10_000);
    load.subscribe(streams, |_| 0)?;
    load.add_publishers(1)?;
    warm_up(&mut load, 1)?;
    let wanted = 3 * streams as u64;
    let measure = Measure::begin(&running, &mut load)?;
    load.poll_until(BEAT * 2, |load| load.tally().comments >= wanted)?;
    let beats = load.tally().comments;
    measure.end_each(&mut load, beats)
}
