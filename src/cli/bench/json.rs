//! What came of the runs, for programs: one JSON object. Times are milliseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::course::{Plan, Run};
use super::histogram::Histogram;
use super::report::QUANTILES;
use crate::cli::wire::trouble::Kind;

/// The report on all runs.
pub(super) fn report(plan: &Plan, runs: &[Run]) -> String {
    let topic = plan.target.topic().map(|topic| topic.as_str());
    let runs: Vec<_> = runs.iter().map(run).collect();
    let report = json!({
        "url": plan.target.place(),
        "topic": topic,
        "http": if plan.streams.is_some() { "2" } else { "1.1" },
        "connections": plan.connections,
        "runs": runs,
    });
    format!("{report}\n")
}

fn run(run: &Run) -> Value {
    let (counts, cost) = (&run.counts, &run.cost);
    let published = run.publishing.as_ref().map(|(outcome, due)| {
        let unsure: usize = outcome.published.unsure.iter().map(Vec::len).sum();
        json!({
            "due": due,
            "stored": outcome.stored,
            "unsure": unsure,
            "failed": outcome.failed,
            "answered": histogram(&outcome.answered),
            "late": histogram(&outcome.late),
        })
    });
    json!({
        "transport": run.carriage.transport.name(),
        "interval": run.carriage.interval.map(milliseconds),
        "connected": run.open,
        "opened": counts.opened,
        "reopened": counts.reopened,
        "failed": kinds(&counts.failed),
        "ended": kinds(&counts.ended),
        "firstByte": histogram(&counts.first_byte),
        "published": published,
        "delivered": {
            "events": counts.events,
            "lost": run.publishing.as_ref().map(|_| run.lost),
            "doubled": counts.doubled,
            "reordered": counts.reordered,
            "skipped": counts.skipped,
            "leftOut": counts.left_out,
            "foreign": counts.foreign,
            "gaps": counts.gaps,
            "gone": counts.gone,
        },
        "latency": histogram(&counts.latency),
        "measured": {
            "time": milliseconds(cost.time),
            "events": cost.events,
            "requests": cost.requests,
            "sent": cost.sent,
            "received": cost.received,
            "clientCpu": milliseconds(cost.client),
            "serverCpu": cost.server.map(milliseconds),
        },
    })
}

fn kinds(counts: &BTreeMap<Kind, u64>) -> Map<String, Value> {
    counts.iter().map(|(kind, count)| (kind.to_string(), (*count).into())).collect()
}

fn histogram(histogram: &Histogram) -> Value {
    let quantiles = QUANTILES.iter().map(|(name, at)| ((*name).to_owned(), histogram.quantile(*at)));
    let all = quantiles.chain([("max".to_owned(), histogram.max())]);
    let mut object: Map<_, _> = all.map(|(name, time)| (name, time.map(milliseconds).into())).collect();
    object.insert("count".into(), histogram.count().into());
    object.into()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
