//! A record of what really caused ends, and of the reasons that the gateway gave for them: `tests/confusion` makes a matrix of it.
//!
//! A test that knows the true cause says it by the word of the end reason. Only where the variable `ENCKE_TEST_CONFUSION` names a
//! directory is anything written; what a test asserts by itself holds in any case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::gateway::Gateway;
use super::http::Request;
use super::wait_for;

/// How many ends there were for each reason; reasons without one are left out.
pub(crate) type Ends = BTreeMap<String, u64>;

/// Whether a timer was known when it cut: what the first cuts are called depends on whether the rest come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Known,
    /// The gateway had not learnt it yet.
    Unknown,
}

/// Says that these ends had this cause.
pub(crate) fn note_ends(cause: &str, limit: Limit, ends: &Ends) {
    let Some(directory) = directory() else { return };
    if !ends.is_empty() {
        write(&directory, cause, limit, ends);
    }
}

/// The ends that the gateway tells in `/diagnosis`.
#[track_caller]
pub(crate) fn ends(gateway: &Gateway) -> Ends {
    of_report(&report(gateway))
}

/// The ends in a report, or in a path of one.
pub(crate) fn of_report(report: &Value) -> Ends {
    let ends = report["ends"].as_object().into_iter().flatten();
    ends.filter_map(|(reason, count)| Some((reason.clone(), count.as_u64()?))).filter(|(_, count)| *count > 0).collect()
}

/// The ends of streams of one transport: where two causes are at work, each may have a transport of its own.
#[track_caller]
pub(crate) fn of_transport(gateway: &Gateway, transport: &str) -> Ends {
    let text = Request::get("/metrics").ask(gateway.admin_url().trim_start_matches("http://")).text();
    let samples = text.lines().filter_map(|line| line.strip_prefix("encke_stream_ends_total{")?.rsplit_once("} "));
    let mut ends = Ends::new();
    for (labels, count) in samples.filter(|(labels, _)| labels.contains(&format!("transport=\"{transport}\""))) {
        let reason = labels.split_once("reason=\"").and_then(|(_, rest)| rest.split('"').next()).expect("a reason");
        *ends.entry(reason.to_owned()).or_default() += count.parse::<u64>().expect("a whole number");
    }
    ends.retain(|_, count| *count > 0);
    ends
}

/// Those of `after` that were not in `before`.
pub(crate) fn since(before: &Ends, after: &Ends) -> Ends {
    let new =
        |(reason, count): (&String, &u64)| (reason.clone(), count - before.get(reason).copied().unwrap_or_default());
    after.iter().map(new).filter(|(_, count)| *count > 0).collect()
}

/// Waits until just so many streams and polls have ended and been decided; gives their reasons.
#[track_caller]
pub(crate) fn wait_for_ends(gateway: &Gateway, count: u64) -> Ends {
    let mut told = Ends::new();
    wait_for(&format!("{count} ends to be decided"), || {
        told = ends(gateway);
        told.values().sum::<u64>() >= count
    });
    assert_eq!(told.values().sum::<u64>(), count, "no more have ended: {told:?}");
    told
}

/// What `/diagnosis` tells programs.
#[track_caller]
pub(crate) fn report(gateway: &Gateway) -> Value {
    Request::get("/diagnosis").ask(gateway.admin_url().trim_start_matches("http://")).json()
}

fn directory() -> Option<PathBuf> {
    std::env::var_os("ENCKE_TEST_CONFUSION").filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn write(directory: &Path, cause: &str, limit: Limit, ends: &Ends) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}.json", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let test = std::thread::current().name().unwrap_or("a thread of a test").to_owned();
    let record = json!({ "cause": cause, "known": limit == Limit::Known, "test": test, "ends": ends });
    std::fs::write(directory.join(name), record.to_string()).expect("the directory of records can be written");
}
