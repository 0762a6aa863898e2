//! How far something is, in as few words as fit on a line.

use std::time::Duration;

/// A bar, and how many hundredths of `all` are `done`.
pub(crate) fn bar(done: u64, all: u64) -> String {
    const WIDTH: u128 = 24;
    let share = |parts: u128| if all == 0 { parts } else { u128::from(done.min(all)) * parts / u128::from(all) };
    let full = usize::try_from(share(WIDTH)).unwrap_or(0);
    format!("[{:24}] {:3} %", "#".repeat(full), share(100))
}

/// A number of bytes, to three digits or so: `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut whole = bytes;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        whole >>= 10;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/// How many a second.
pub(crate) fn rate(count: u64, time: Duration) -> String {
    let rate = if time.is_zero() { 0.0 } else { Duration::from_secs(count).div_duration_f64(time) };
    format!("{rate:.0}/s")
}

/// A time to three digits.
pub(crate) fn took(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match time.as_nanos() {
        0..1_000 => return format!("{} ns", time.as_nanos()),
        1_000..1_000_000 => (seconds * 1e6, "µs"),
        1_000_000..1_000_000_000 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_few_words() {
        assert_eq!(bar(0, 10), "[                        ]   0 %");
        assert_eq!(bar(5, 10), "[############            ]  50 %");
        assert_eq!(bar(11, 10), "[########################] 100 %");
        assert_eq!(bar(0, 0), "[########################] 100 %");
        assert_eq!(bar(u64::MAX, u64::MAX), bar(1, 1));
        let sizes = [0, 1023, 1024, 1 << 20, 12_900_000, u64::MAX].map(size);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "1.0 MiB", "12.3 MiB", "16777215.9 TiB"]);
        assert_eq!(rate(500, Duration::from_millis(250)), "2000/s");
        let times = [7, 2_500, 12_340_000, 60_100_000_000].map(|time| took(Duration::from_nanos(time)));
        assert_eq!(times, ["7 ns", "2.50 µs", "12.3 ms", "60.1 s"]);
    }
}
