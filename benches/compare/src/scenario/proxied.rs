//! Readers behind nginx as it comes, which speaks HTTP/1.0 to what is behind it.

use std::time::Duration;

use anyhow::Result;

use super::{Asked, Figure, Measure, Outcome, Scenario, publish_closed, warm_up};
use crate::clock;
use crate::load::Load;
use crate::peer::Peer;

pub(super) const BEHIND_NGINX: Scenario = Scenario {
    name: "behind-nginx",
    title: "Behind nginx, 1 000 subscribers",
    does: "nginx as a plain reverse proxy on the same processor; it speaks HTTP/1.0 to the gateway. One event at a time.",
    peers: &[Peer::Encke, Peer::EnckeBehindNginx],
    figures: &[
        Figure { key: "gateway", title: "CPU of the gateway a delivery, µs", digits: 2 },
        Figure { key: "cpu", title: "with nginx, µs", digits: 2 },
        Figure { key: "rate", title: "deliveries/s", digits: 0 },
    ],
    promises: &[],
    ask: behind_nginx,
};

fn behind_nginx(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(asked.sized(1_000), |_| 0)?;
    load.add_publishers(1)?;
    warm_up(&mut load, 1)?;
    let measure = Measure::begin(&running, &mut load)?;
    let gateway = running.first_cpu_nanos()?;
    publish_closed(&mut load, asked.sized(400), 1, Duration::from_secs(12), |_| 0)?;
    let gateway = running.first_cpu_nanos()? - gateway;
    let mut outcome = measure.end(&mut load)?;
    outcome.set("gateway", clock::micros_each(gateway, outcome.figures["count"] as u64));
    Ok(outcome)
}
