//! What a full log costs those who come back, and the one who starts it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::cost::{Cost, memory, mib};
use crate::full;
use crate::serving::{Serving, leave_the_gateways_core};

/// How often each figure is taken; the median is told.
const TIMES: usize = 5;

pub(crate) fn resume() {
    leave_the_gateways_core();
    println!("\n### One topic of a thousand, from the far end of a full log\n");
    println!("| topics an event has | file | until the newest event | CPU | read | memory after |");
    println!("|---:|---|---:|---:|---:|---:|");
    for topics in [1, 3] {
        let directory = full::directory(topics, 0);
        for cold in [true, false] {
            let mut runs: Vec<_> = (0..TIMES).map(|_| resumed(&directory, cold)).collect();
            runs.sort_by_key(|(took, ..)| *took);
            let (took, cost, memory) = &runs[TIMES / 2];
            let (took, cpu) = (took.as_secs_f64() * 1e3, cost.cpu().as_millis());
            let place = if cold { "on the disk" } else { "in memory" };
            println!("| {topics} | {place} | {took:.0} ms | {cpu} ms | {} | {} |", mib(cost.read), mib(*memory));
        }
    }
}

/// How long a reader takes from the first event of its topic to the newest one, what that costs, and what is held then.
fn resumed(directory: &TempDir, cold: bool) -> (std::time::Duration, Cost, u64) {
    if cold {
        forget(directory.path());
    }
    let gateway = Serving::start(directory.path(), &[]);
    gateway.connect().publish("orders/7", b"the newest");
    let (before, begun) = (Cost::of(gateway.id()), Instant::now());
    let events = gateway.connect().read_up_to("orders/7", "the newest");
    let (took, cost) = (begun.elapsed(), Cost::of(gateway.id()) - before);
    assert!(events >= full::FULL / full::TOPICS / 2, "all of them came: {events}");
    (took, cost, memory(gateway.id(), "VmRSS"))
}

pub(crate) fn start() {
    leave_the_gateways_core();
    println!("\n### Starting on a full log\n");
    println!("| keys of the last ten minutes | file | until it listens | memory then | size of the file |");
    println!("|---:|---|---:|---:|---:|");
    for keyed in [0, 100_000] {
        let directory = full::directory(1, keyed);
        for cold in [true, false] {
            let mut runs: Vec<_> = (0..TIMES).map(|_| started(directory.path(), cold)).collect();
            runs.sort_unstable();
            let (took, memory) = runs[TIMES / 2];
            let place = if cold { "on the disk" } else { "in memory" };
            let size = std::fs::metadata(directory.path().join("encke.db")).map_or(0, |file| file.len());
            println!("| {keyed} | {place} | {} ms | {} | {} |", took.as_millis(), mib(memory), mib(size));
        }
    }
}

/// How long it takes until it listens, and what it holds then.
fn started(directory: &Path, cold: bool) -> (std::time::Duration, u64) {
    if cold {
        forget(directory);
    }
    let begun = Instant::now();
    let gateway = Serving::start(directory, &[]);
    (begun.elapsed(), memory(gateway.id(), "VmRSS"))
}

/// Has the kernel forget what it holds of the database in memory.
fn forget(directory: &Path) {
    let file = format!("if={}", directory.join("encke.db").display());
    let forgotten = Command::new("dd").args([&file, "iflag=nocache", "count=0"]).output().expect("dd is installed");
    assert!(forgotten.status.success(), "{}", String::from_utf8_lossy(&forgotten.stderr));
}
