//! What the durable log costs at the size at which it is run: full to its retention of 1 M events of 100 bytes.
//!
//! ```text
//! cargo bench --bench log                  every question, in about five minutes
//! cargo bench --bench log -- write resume  some of them
//! ```
//!
//! | question | asks |
//! |---|---|
//! | `write` | what storing an event costs: by topics an event has, and by how many publishers wait at once |
//! | `rate` | durable against in memory, 64 publishers waiting: of the log itself, and through `encke serve` |
//! | `resume` | how long one topic of a thousand takes from the far end, with the file in memory and not |
//! | `start` | how long a full log takes to open, and what the process holds in memory then |
//!
//! The clock of a shared machine is noisy, so each row has what does not depend on it: CPU time, bytes given to the kernel,
//! syncs. Files are made in the directory for temporary files (`TMPDIR`), which should be a disk. Linux only; `taskset`,
//! `dd` and `strace` are used.

mod cost;
mod full;
mod rate;
mod reading;
mod serving;
mod write;

use std::process::ExitCode;

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["row", row @ ..] = &words[..] {
        write::row(row);
        return ExitCode::SUCCESS;
    }
    let questions: [(&str, fn()); 4] =
        [("write", write::ask), ("rate", rate::ask), ("resume", reading::resume), ("start", reading::start)];
    if let Some(unknown) = words.iter().find(|word| questions.iter().all(|(name, _)| name != *word)) {
        eprintln!("there is no question {unknown:?}; there are write, rate, resume and start");
        return ExitCode::FAILURE;
    }
    for (name, ask) in questions {
        if words.is_empty() || words.contains(&name) {
            ask();
        }
    }
    ExitCode::SUCCESS
}
