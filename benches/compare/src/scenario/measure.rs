//! One stretch of measuring: what server and load took from its begin to its end.

use std::fs;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use super::Outcome;
use crate::clock;
use crate::load::Load;
use crate::peer::{Running, SERVER_CORE};

/// A stretch that has begun.
pub struct Measure<'a> {
    running: &'a Running,
    begun: u64,
    server: u64,
    own: u64,
    core: u64,
}

impl<'a> Measure<'a> {
    /// Begins; what was counted before is forgotten.
    pub fn begin(running: &'a Running, load: &mut Load) -> Result<Self> {
        load.take_tally();
        let (server, own, core) = (running.cpu_nanos()?, own_nanos(), busy_nanos(SERVER_CORE));
        Ok(Self { running, begun: clock::now(), server, own, core })
    }

    /// Ends, and tells what one delivery took.
    pub fn end(self, load: &mut Load) -> Result<Outcome> {
        let each = load.tally().deliveries;
        self.end_each(load, each)
    }

    /// Ends, and tells what one of `each` took of whatever there was.
    pub fn end_each(self, load: &mut Load, each: u64) -> Result<Outcome> {
        let wall = (clock::now() - self.begun).max(1) as f64;
        let server = self.running.cpu_nanos()? - self.server;
        let own = (own_nanos() - self.own) as f64;
        let core = busy_nanos(SERVER_CORE) - self.core;
        let tally = load.take_tally();
        let mut outcome = Outcome { faults: load.faults(), closed: tally.closed, ..Outcome::default() };
        outcome.set("cpu", clock::micros_each(server, each));
        outcome.set("count", each as f64);
        outcome.set("rate", each as f64 / wall * 1e9);
        outcome.set("server_share", server as f64 / wall);
        outcome.set("load_share", tally.busy_nanos as f64 / wall);
        // How much others had of the two processors: of a quiet machine next to nothing.
        outcome.set("others_beside_server", core.saturating_sub(server) as f64 / wall);
        outcome.set("others_beside_load", (1.0 - own / wall).max(0.0));
        if tally.deliveries > 0 {
            outcome.set("per_read", tally.deliveries as f64 / tally.reads.max(1) as f64);
            outcome.set("wire", tally.bytes as f64 / tally.deliveries as f64);
            for (key, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
                outcome.set(key, tally.latency.millis(share));
            }
        }
        if tally.receipts > 0 {
            for (key, share) in [("receipt_p50", 0.5), ("receipt_p99", 0.99), ("receipt_max", 1.0)] {
                outcome.set(key, tally.receipt.millis(share));
            }
        }
        if outcome.figures["load_share"] > 0.9 {
            outcome.notes.push("the load was busy more than nine tenths of the time: rates are floors".to_owned());
        }
        Ok(outcome)
    }
}

fn own_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How long a processor was not idle, to the kernel's hundredth of a second.
fn busy_nanos(core: usize) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(&name)) else { return 0 };
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum();
    busy * 10_000_000
}
