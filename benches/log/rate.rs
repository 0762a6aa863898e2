//! Durable against in memory, with 64 publishers waiting.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use encke::log::{Log, MemoryLog, Retention, SqliteLog, SqliteOptions, system_clock};
use tokio::time::Instant;

use crate::cost::{Cost, as_f64};
use crate::serving::{self, Serving};
use crate::{full, write};

const PUBLISHERS: u64 = 64;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(2);

pub(crate) fn ask() {
    let directory = full::directory(1, 0);
    println!("\n### Durable against in memory, {PUBLISHERS} publishers, median (least – most) of {ROUNDS} rounds\n");
    println!("| | in memory, events/s | durable, events/s | ratio | CPU/event in memory | CPU/event durable |");
    println!("|---|---:|---:|---:|---:|---:|");
    rows("the log itself", ROUNDS, &in_process(directory.path()));
    serving::leave_the_gateways_core();
    let durable = Serving::start(directory.path(), &[]);
    let memory = Serving::start(directory.path(), &["--store", "memory"]);
    rows("`encke serve`", ROUNDS, &|in_memory| over_http(if in_memory { &memory } else { &durable }));
}

/// Events and seconds of a round, and CPU time in microseconds.
struct Round {
    rate: f64,
    cpu: f64,
}

fn rows(name: &str, rounds: usize, round: &dyn Fn(bool) -> Round) {
    let (mut memory, mut durable) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        memory.push(round(true));
        durable.push(round(false));
    }
    let ratios = durable.iter().zip(&memory).map(|(durable, memory)| durable.rate / memory.rate).collect();
    let rates = |rounds: &[Round]| spread(rounds.iter().map(|round| round.rate).collect(), 0);
    let cpu = |rounds: &[Round]| spread(rounds.iter().map(|round| round.cpu).collect(), 1);
    println!(
        "| {name} | {} | {} | {} | {} µs | {} µs |",
        rates(&memory),
        rates(&durable),
        spread(ratios, 2),
        cpu(&memory),
        cpu(&durable)
    );
}

/// The median of some figures, with the least and the most.
fn spread(mut figures: Vec<f64>, digits: usize) -> String {
    figures.sort_by(f64::total_cmp);
    let (least, median, most) = (figures[0], figures[figures.len() / 2], figures[figures.len() - 1]);
    format!("{median:.digits$} ({least:.digits$} – {most:.digits$})")
}

fn in_process(directory: &Path) -> impl Fn(bool) -> Round {
    move |in_memory| {
        full::runtime().block_on(async {
            let log: Arc<dyn Log> = if in_memory {
                Arc::new(MemoryLog::new(Retention::default(), system_clock()))
            } else {
                Arc::new(SqliteLog::open(SqliteOptions::new(directory)).expect("a full log opens"))
            };
            let round =
                measured(std::process::id(), || async { write::publish(&log, 1, PUBLISHERS, ROUND).await.0 }).await;
            log.close().await;
            round
        })
    }
}

/// Over connections that are kept, one publish at a time on each.
fn over_http(gateway: &Serving) -> Round {
    let publish = || async {
        let (over, next) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..PUBLISHERS {
                scope.spawn(|| {
                    let mut connection = gateway.connect();
                    while !over.load(Relaxed) {
                        let number = next.fetch_add(1, Relaxed);
                        connection.publish(
                            &format!("orders/{}", number % full::TOPICS),
                            format!("{number:0>100}").as_bytes(),
                        );
                    }
                });
            }
            std::thread::sleep(ROUND);
            over.store(true, Relaxed);
        });
        next.load(Relaxed)
    };
    full::runtime().block_on(measured(gateway.id(), publish))
}

async fn measured<F: Future<Output = u64>>(process: u32, publish: impl FnOnce() -> F) -> Round {
    let (before, begun) = (Cost::of(process), Instant::now());
    let events = publish().await;
    let (cost, took) = (Cost::of(process) - before, begun.elapsed());
    Round { rate: as_f64(events) / took.as_secs_f64(), cpu: cost.cpu().as_secs_f64() * 1e6 / as_f64(events) }
}
