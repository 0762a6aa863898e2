//! What a process has used so far, as the kernel counts it.

use std::ops::Sub;
use std::time::Duration;

/// Figures of `/proc/PID/stat` and `/proc/PID/io`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// Bytes handed to the kernel to be written, and asked of it.
    pub(crate) written: u64,
    pub(crate) read: u64,
}

impl Cost {
    pub(crate) fn of(process: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
        // Behind the name, which may hold anything: state is field 3, user and system time are 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |at: usize| fields[at - 3].parse::<u64>().expect("a number of ticks");
        let time = |at| Duration::from_millis(ticks(at) * 1000 / TICKS);
        let io = std::fs::read_to_string(format!("/proc/{process}/io")).expect("the process runs");
        let count = |name: &str| {
            let found = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.and_then(|number| number.parse().ok()).expect("a number of bytes")
        };
        Self { user: time(14), system: time(15), written: count("wchar"), read: count("rchar") }
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            written: self.written - before.written,
            read: self.read - before.read,
        }
    }
}

/// Ticks of a second in `/proc` (`USER_HZ`, the same on every Linux that this runs on).
const TICKS: u64 = 100;

/// A line of `/proc/PID/status` in bytes, such as `VmRSS`.
pub(crate) fn memory(process: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

/// In a unit that a person reads.
pub(crate) fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Counts here stay far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
