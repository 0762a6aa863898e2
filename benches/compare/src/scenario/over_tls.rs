//! Streams over TLS, beside the same in the clear. The load is the gateway's own tool, `encke bench`, as a user has it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Asked, Figure, Outcome, Scenario};
use crate::ledger::Faults;
use crate::peer::{KEY, Peer, name};

pub(super) const OVER_TLS: Scenario = Scenario {
    name: "tls",
    title: "Over TLS, 1 000 subscribers",
    does: "Twenty events a second for ten seconds, read by `encke bench`; beside it the same in the clear. Memory is the most \
           that the server took meanwhile, by the number of streams.",
    peers: &[Peer::Encke, Peer::EnckeOverTls],
    figures: &[
        Figure { key: "cpu", title: "CPU a delivery, µs", digits: 2 },
        Figure { key: "p50", title: "p50, ms", digits: 1 },
        Figure { key: "p99", title: "p99, ms", digits: 1 },
        Figure { key: "bytes", title: "bytes a stream", digits: 0 },
    ],
    promises: &[],
    ask: over_tls,
};

/// How often memory is weighed.
const OFTEN: Duration = Duration::from_millis(200);

fn over_tls(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let streams = asked.sized(1_000);
    let certificate = running.certificate();
    let scheme = if certificate.exists() { "https" } else { "http" };
    running.wait_until_calm()?;
    let before = running.memory().proportional;
    let mut bench = Command::new(&asked.programs.encke);
    bench.args(["bench", &format!("{scheme}://{}", running.door.events), "--topic", &name(0), "--json"]);
    bench.args(["--connections", &streams.to_string(), "--publish-rate", "20"]);
    bench.args(["--duration", &format!("{}s", asked.lasting(Duration::from_secs(10)).as_secs().max(1))]);
    bench.args(["--pid", &running.processes().first().context("there is no server")?.to_string()]);
    if certificate.exists() {
        bench.arg("--ca").arg(certificate);
    }
    let mut bench = bench.env("ENCKE_PUBLISH_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut most = before;
    while bench.try_wait()?.is_none() {
        most = most.max(running.memory().proportional);
        std::thread::sleep(OFTEN);
    }
    let output = bench.wait_with_output()?;
    let mut outcome = read(&output.stdout).context("what `encke bench` said")?;
    outcome.set("bytes", (most - before) as f64 / streams as f64);
    Ok(outcome)
}

fn read(report: &[u8]) -> Result<Outcome> {
    let report: Value = serde_json::from_slice(report)?;
    let run = &report["runs"][0];
    let number = |path: &str| run.pointer(path).and_then(Value::as_f64).with_context(|| format!("there is no {path}"));
    let count = |path: &str| number(path).map(|number| number as u64);
    let events = number("/measured/events")?;
    ensure!(events > 0.0, "nothing was delivered");
    let mut outcome = Outcome::default();
    outcome.set("cpu", number("/measured/serverCpu")? * 1e3 / events);
    outcome.set("p50", number("/latency/p50")?);
    outcome.set("p99", number("/latency/p99")?);
    outcome.set("count", events);
    let (lost, duplicated) = (count("/delivered/lost")?, count("/delivered/doubled")?);
    let reordered = count("/delivered/reordered")?;
    outcome.faults = Faults { lost, duplicated, reordered, ..Faults::default() };
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_one_without_deliveries_is_none() {
        let report = |events: u64| {
            serde_json::json!({"runs": [{
                "delivered": {"lost": 1, "doubled": 2, "reordered": 3},
                "latency": {"p50": 0.5, "p99": 2.5},
                "measured": {"events": events, "serverCpu": 8.0},
            }]})
            .to_string()
        };
        let outcome = read(report(1000).as_bytes()).expect("a report");
        assert_eq!((outcome.figures["cpu"], outcome.figures["p99"]), (8.0, 2.5));
        assert_eq!((outcome.faults.lost, outcome.faults.duplicated, outcome.faults.reordered), (1, 2, 3));
        assert!(read(report(0).as_bytes()).is_err());
        assert!(read(b"").is_err());
    }
}
