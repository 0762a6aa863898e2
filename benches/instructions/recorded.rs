//! The counts that are held, and with what they were made.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where they stand, from the root of the repository, in which `benches/instructions/run` runs this.
pub(crate) const FILE: &str = "benches/instructions/recorded.json";

/// How many percent more a count may be where nothing else is said.
const TOLERANCE: f64 = 5.0;

/// How many percent it may be if another compiler or library has made it: then only what is gross can be seen.
const ELSEWHERE: f64 = 15.0;

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// What the counts depend on.
    pub(crate) toolchain: Toolchain,
    counts: BTreeMap<String, Count>,
}

/// What counts of one program depend on. The processor's speed is not among it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Toolchain {
    rustc: String,
    libc: String,
    valgrind: String,
    /// What libraries choose their instructions by.
    cpu: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Count {
    count: u64,
    /// In percent.
    tolerance: f64,
}

/// What a new count says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Kept,
    /// It is smaller than it could be by chance.
    Fallen(String),
    /// It is larger than it may be.
    Risen(String),
}

impl Recorded {
    /// What is recorded; nothing, if there is no file yet.
    pub(crate) fn read() -> Self {
        let Ok(text) = fs::read(FILE) else {
            return Self { toolchain: Toolchain::default(), counts: BTreeMap::new() };
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{FILE}: {error}"))
    }

    pub(crate) fn write(&self) {
        let text = serde_json::to_string_pretty(self).expect("it can be written as JSON");
        fs::write(FILE, text + "\n").unwrap_or_else(|error| panic!("{FILE}: {error}"));
    }

    /// Takes a new count for the one that is right. What it may be more stays as it is.
    pub(crate) fn enter(&mut self, name: &str, count: u64) {
        let tolerance = self.counts.get(name).map_or(TOLERANCE, |known| known.tolerance);
        self.counts.insert(name.to_owned(), Count { count, tolerance });
    }

    /// Compares a new count, made with the toolchain `here`.
    pub(crate) fn judge(&self, name: &str, count: u64, here: &Toolchain) -> Verdict {
        let how = format!("benches/instructions/run --record {name}");
        let Some(known) = self.counts.get(name) else {
            return Verdict::Risen(format!("{name} is not recorded yet: {how}"));
        };
        let allowed = if self.toolchain == *here { known.tolerance } else { known.tolerance.max(ELSEWHERE) };
        let change = (as_f64(count) - as_f64(known.count)) * 100.0 / as_f64(known.count);
        let before = known.count;
        if change > allowed {
            return Verdict::Risen(format!(
                "{name} has RISEN by {change:.1} %, from {before} to {count}; {allowed} % are allowed. \
                 If that is the price of something, say so in the commit, and record it: {how}"
            ));
        }
        if change < -allowed {
            let fallen = -change;
            return Verdict::Fallen(format!(
                "{name} has fallen by {fallen:.1} %, from {before} to {count}. Record it, so that the next rise is seen: {how}"
            ));
        }
        Verdict::Kept
    }
}

impl Toolchain {
    pub(crate) fn of_this_machine() -> Self {
        let first_line = |program: &str, argument: &str| {
            let output = Command::new(program).arg(argument).output();
            let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
            String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
        };
        Self {
            rustc: first_line("rustc", "--version"),
            libc: first_line("getconf", "GNU_LIBC_VERSION"),
            valgrind: first_line("valgrind", "--version"),
            cpu: format!("{}{}", std::env::consts::ARCH, features()),
        }
    }

    /// Says in words that it is another one, if it is.
    pub(crate) fn differs_from(&self, here: &Self) -> Option<String> {
        (self != here && *self != Self::default()).then(|| {
            format!(
                "The recorded counts were made with another toolchain; up to {ELSEWHERE} % more are let pass.\n\
                 recorded: {self:?}\nhere:     {here:?}\n\
                 On the machine that holds them, record them anew: benches/instructions/run --record"
            )
        })
    }
}

/// What `memchr` and the C library look for when they start. valgrind shows nothing newer than AVX2.
fn features() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return " avx2";
    }
    ""
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
