//! What the gateway's work costs in instructions of its own, and an idle stream in memory: figures that do not depend on how
//! fast the machine is, held against those in `recorded.json`.
//!
//! ```text
//! benches/instructions/run                    counts, and fails where a count has risen
//! benches/instructions/run publish connect    some of them
//! benches/instructions/run --record [NAME…]   counts, and writes what it finds into recorded.json
//! ```
//!
//! The program that ships (the release profile) runs under `valgrind --tool=callgrind`, on one core, so with one shard. Each
//! question is asked twice, for a short run and a long one, and counted once all is set up: the difference is the work, and the end and
//! whatever else both have in common cancel out. Kernel time does not count; `docs/performance.md` says what that leaves out.
//!
//! Linux only; `valgrind` and `taskset` are used.

mod questions;
mod recorded;
mod serving;

use std::process::ExitCode;

use questions::QUESTIONS;
use recorded::{Recorded, Toolchain, Verdict};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| word.starts_with('-'));
    let unknown = names.iter().find(|name| QUESTIONS.iter().all(|question| question.name != **name));
    if let Some(wrong) = unknown.or(flags.iter().find(|flag| **flag != "--record")) {
        let names: Vec<_> = QUESTIONS.iter().map(|question| question.name).collect();
        eprintln!("there is no {wrong:?}; there are --record, and {}", names.join(", "));
        return ExitCode::from(2);
    }
    let asked = QUESTIONS.iter().filter(|question| names.is_empty() || names.contains(&question.name));
    let counts = asked.map(|question| {
        let count = question.ask();
        println!("{:20} {count:>9} {} ({})", question.name, question.unit, question.of);
        (question.name, count)
    });
    let counts: Vec<_> = counts.collect();
    let (here, recorded) = (Toolchain::of_this_machine(), Recorded::read());
    if flags.is_empty() { check(&recorded, &here, &counts) } else { record(recorded, here, &counts) }
}

fn check(recorded: &Recorded, here: &Toolchain, counts: &[(&str, u64)]) -> ExitCode {
    if let Some(words) = recorded.toolchain.differs_from(here) {
        eprintln!("\n{words}");
    }
    let mut risen = false;
    for (name, count) in counts {
        match recorded.judge(name, *count, here) {
            Verdict::Kept => {}
            Verdict::Fallen(words) => eprintln!("\n{words}"),
            Verdict::Risen(words) => {
                eprintln!("\n{words}");
                risen = true;
            }
        }
    }
    if risen { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn record(mut recorded: Recorded, here: Toolchain, counts: &[(&str, u64)]) -> ExitCode {
    if counts.len() < QUESTIONS.len() && recorded.toolchain.differs_from(&here).is_some() {
        eprintln!("the other counts were made with another toolchain: record all of them");
        return ExitCode::FAILURE;
    }
    recorded.toolchain = here;
    counts.iter().for_each(|(name, count)| recorded.enter(name, *count));
    recorded.write();
    println!("\nrecorded in {}", recorded::FILE);
    ExitCode::SUCCESS
}
