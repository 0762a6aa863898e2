//! The monotonic clock as one number, cheap enough to be read for every turn of a loop.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment in the past.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The moment that is so far from now.
pub fn after(duration: Duration) -> u64 {
    now() + duration.as_nanos() as u64
}

/// Microseconds of a number of nanoseconds, shared among so many.
pub fn micros_each(nanos: u64, among: u64) -> f64 {
    nanos as f64 / 1000.0 / among.max(1) as f64
}
