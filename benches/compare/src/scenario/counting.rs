//! What the clock of a shared machine does not change: instructions and system calls.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Asked, Figure, Outcome, Scenario, publish_closed, warm_up};
use crate::load::Load;
use crate::peer::{Peer, Running, Setting};

pub(super) const INSTRUCTIONS: Scenario = Scenario {
    name: "instructions",
    title: "Instructions a delivery",
    does: "User space alone, counted by callgrind: 200 subscribers, one event at a time, the difference of a longer and a \
           shorter run, so that starting and connecting cancel out.",
    peers: &[Peer::Bare, Peer::Encke, Peer::Nchan, Peer::Naive],
    figures: &[Figure { key: "instructions", title: "instructions a delivery", digits: 0 }],
    promises: &[],
    ask: instructions,
};

const SUBSCRIBERS: usize = 200;
/// What is published beyond the shorter run.
const MORE: usize = 100;
const FEW: usize = 10;

fn instructions(asked: &Asked<'_>) -> Result<Outcome> {
    let (few, faults) = instructions_of(asked, FEW)?;
    let (many, _) = instructions_of(asked, FEW + MORE)?;
    let mut outcome = Outcome { faults, ..Outcome::default() };
    outcome.set("instructions", (many as f64 - few as f64) / (SUBSCRIBERS * MORE) as f64);
    Ok(outcome)
}

fn instructions_of(asked: &Asked<'_>, events: usize) -> Result<(u64, crate::ledger::Faults)> {
    let running = asked.start_as(&Setting { counting_instructions: true, ..Setting::default() })?;
    let (load, _) = fan(&running, events)?;
    let faults = load.faults();
    drop(load);
    Ok((sum_of_callgrind(running.stop().path())?, faults))
}

/// One event at a time.
fn fan(running: &Running, events: usize) -> Result<(Load, usize)> {
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(SUBSCRIBERS, |_| 0)?;
    load.add_publishers(1)?;
    warm_up(&mut load, 1)?;
    let sent = publish_closed(&mut load, events, 1, Duration::from_secs(60), |_| 0)?;
    Ok((load, sent))
}

/// Each process leaves a file that ends with `totals: N`.
pub(super) fn sum_of_callgrind(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callgrind.")) {
            let text = fs::read_to_string(&path)?;
            let totals = text.lines().filter_map(|line| line.strip_prefix("totals: "));
            sum += totals.filter_map(|number| number.trim().parse::<u64>().ok()).sum::<u64>();
        }
    }
    ensure!(sum > 0, "callgrind counted nothing");
    Ok(sum)
}

pub(super) const SYSCALLS: Scenario = Scenario {
    name: "syscalls",
    title: "System calls a delivery",
    does: "Counted by strace, 200 subscribers: one event at a time, and sixteen open with eight publishers.",
    peers: &[Peer::Bare, Peer::BareMerging, Peer::Encke, Peer::Nchan, Peer::Naive],
    figures: &[
        Figure { key: "calls", title: "one at a time", digits: 2 },
        Figure { key: "sends", title: "of them writes", digits: 2 },
        Figure { key: "burst_calls", title: "sixteen open", digits: 2 },
        Figure { key: "burst_sends", title: "of them writes", digits: 2 },
    ],
    promises: &[],
    ask: syscalls,
};

fn syscalls(asked: &Asked<'_>) -> Result<Outcome> {
    let running = asked.start()?;
    let mut load = Load::new(running.door.clone(), 1, 100)?;
    load.subscribe(SUBSCRIBERS, |_| 0)?;
    load.add_publishers(8)?;
    warm_up(&mut load, 1)?;
    let mut outcome = Outcome::default();
    for (open, prefix) in [(1, ""), (16, "burst_")] {
        let tracing = Tracing::begin(&running)?;
        load.take_tally();
        publish_closed(&mut load, MORE, open, Duration::from_secs(60), |_| 0)?;
        let deliveries = load.take_tally().deliveries.max(1) as f64;
        let (all, sends) = tracing.end()?;
        outcome.set(&format!("{prefix}calls"), all as f64 / deliveries);
        outcome.set(&format!("{prefix}sends"), sends as f64 / deliveries);
    }
    outcome.faults = load.faults();
    Ok(outcome)
}

/// strace, attached to a server.
struct Tracing {
    strace: Child,
    directory: tempfile::TempDir,
}

impl Tracing {
    fn begin(running: &Running) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let processes = running.processes();
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-o"]).arg(directory.path().join("calls"));
        for process in &processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut strace = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().context("strace is missing")?;
        let mut lines = BufReader::new(strace.stderr.take().context("its errors are piped")?).lines();
        // It says of each process when it is attached to it.
        for _ in &processes {
            let line = lines.next().context("strace ended")??;
            ensure!(line.contains("attached"), "strace says: {line}");
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { strace, directory })
    }

    /// Calls, and those of them that write.
    fn end(mut self) -> Result<(u64, u64)> {
        let id = Pid::from_raw(self.strace.id() as i32).context("strace has no id")?;
        kill_process(id, Signal::INT)?;
        self.strace.wait()?;
        Ok(parse(&fs::read_to_string(self.directory.path().join("calls"))?))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Reads the table of `strace -c`: `% time, seconds, usecs/call, calls, errors (may be empty), syscall`.
fn parse(table: &str) -> (u64, u64) {
    let (mut all, mut sends) = (0, 0);
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(calls)) = (words.last(), words.get(3).and_then(|word| word.parse::<u64>().ok())) else {
            continue;
        };
        match *name {
            "total" => {}
            "write" | "writev" | "sendto" | "sendmsg" | "sendmmsg" => (all, sends) = (all + calls, sends + calls),
            _ => all += calls,
        }
    }
    (all, sends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_the_table_of_strace() {
        let table = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.00    0.010000          50       200           writev
  9.00    0.001000          10       100         2 epoll_wait
  1.00    0.000100          10        10           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.011100          35       310         2 total
";
        assert_eq!(parse(table), (310, 210));
    }
}
