//! What storing an event costs, at full retention.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use encke::log::{Log, SqliteLog, SqliteOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cost::{Cost, as_f64, mib};
use crate::full;

const PUBLISHERS: [u64; 3] = [1, 32, 512];

/// How long each row publishes.
const SECONDS: u64 = 5;

pub(crate) fn ask() {
    println!("\n### Writing, at full retention\n");
    println!("| topics | publishers | events/s | CPU/event | bytes/event | syncs/1000 events | largest WAL | file |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for topics in [1, 3] {
        let directory = full::directory(topics, 0);
        for publishers in PUBLISHERS {
            let row = Row { directory: directory.path(), topics, publishers };
            let Told { events, milliseconds, cpu_micros, written, wal } = row.run(SECONDS);
            let syncs = row.syncs_of_a_thousand(SECONDS / 2);
            let file = std::fs::metadata(directory.path().join("encke.db")).map_or(0, |file| file.len());
            let rate = events * 1000 / milliseconds;
            let cpu = as_f64(cpu_micros) / as_f64(events);
            let bytes = written / events;
            println!(
                "| {topics} | {publishers} | {rate} | {cpu:.1} µs | {bytes} | {syncs:.1} | {} | {} |",
                mib(wal),
                mib(file)
            );
        }
    }
}

/// A row is measured in a process of its own, so that nothing else is counted.
struct Row<'a> {
    directory: &'a Path,
    topics: usize,
    publishers: u64,
}

/// What such a process tells: numbers in this order.
struct Told {
    events: u64,
    milliseconds: u64,
    cpu_micros: u64,
    /// Bytes handed to the kernel.
    written: u64,
    /// The largest size of the write-ahead log.
    wal: u64,
}

impl Row<'_> {
    fn run(&self, seconds: u64) -> Told {
        self.run_under(Command::new(program()), seconds)
    }

    fn run_under(&self, mut command: Command, seconds: u64) -> Told {
        command.arg("row").arg(self.directory).arg(self.topics.to_string()).arg(self.publishers.to_string());
        let output = command.arg(seconds.to_string()).output().expect("it is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).expect("numbers are text");
        let numbers: Vec<u64> = told.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [events, milliseconds, cpu_micros, written, wal] = numbers[..] else { panic!("five numbers: {told}") };
        Told { events, milliseconds, cpu_micros, written, wal }
    }

    /// How often such a process syncs for a thousand events.
    fn syncs_of_a_thousand(&self, seconds: u64) -> f64 {
        let trace = self.directory.join("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,fdatasync", "-o"]).arg(&trace).arg(program());
        let events = self.run_under(strace, seconds).events;
        let calls = std::fs::read_to_string(&trace).expect("strace wrote its trace");
        let syncs = calls.lines().filter(|line| line.contains("sync(")).count();
        std::fs::remove_file(&trace).expect("it was read");
        1000.0 * as_f64(syncs as u64) / as_f64(events)
    }
}

fn program() -> std::path::PathBuf {
    std::env::current_exe().expect("this program has a path")
}

/// In the process of a row: publishes for as long as it is told, and prints what [`Told`] reads.
pub(crate) fn row(words: &[&str]) {
    let [directory, topics, publishers, seconds] = words else { panic!("a row has four words: {words:?}") };
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let topics = usize::try_from(number(topics)).expect("it is small");
    let (publishers, time) = (number(publishers), Duration::from_secs(number(seconds)));
    full::runtime().block_on(async {
        let log: Arc<dyn Log> = Arc::new(SqliteLog::open(SqliteOptions::new(*directory)).expect("a full log opens"));
        let (before, begun) = (Cost::of(std::process::id()), Instant::now());
        let (events, wal) = publish(&log, topics, publishers, time).await;
        let (cost, took) = (Cost::of(std::process::id()) - before, begun.elapsed());
        log.close().await;
        println!("{events} {} {} {} {wal}", took.as_millis(), cost.cpu().as_micros(), cost.written);
    });
}

/// Each of `publishers` publishes one event after the other, for `time`; how many were stored, and the largest WAL.
pub(crate) async fn publish(log: &Arc<dyn Log>, topics: usize, publishers: u64, time: Duration) -> (u64, u64) {
    let over = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..publishers {
        let (log, over, next) = (Arc::clone(log), Arc::clone(&over), Arc::clone(&next));
        tasks.spawn(async move {
            while !over.load(Relaxed) {
                let event = full::event(next.fetch_add(1, Relaxed), topics);
                log.append(vec![event]).await.expect("it is stored");
                tokio::task::yield_now().await; // A log in memory never waits, and the others want to publish, too.
            }
        });
    }
    let mut wal = 0;
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(20)).await;
        wal = wal.max(log.stats().wal_bytes);
    }
    over.store(true, Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no publisher panics");
    }
    (next.load(Relaxed), wal)
}
