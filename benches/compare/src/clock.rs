//! The monotonic clock as one number, cheap enough to be read for every turn of a loop.

use std::sync::LazyLock;
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "real sockets are measured here: no clock is ever paused")]
use std::time::Instant;

/// What all times count from. One clock for all: what was sent is stamped by the process that receives it.
#[expect(clippy::disallowed_types, reason = "as above")]
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this process first asked.
pub fn now() -> u64 {
    BEGINNING.elapsed().as_nanos() as u64
}

/// The moment that is so far from now.
pub fn after(duration: Duration) -> u64 {
    now() + duration.as_nanos() as u64
}

/// Microseconds of a number of nanoseconds, shared among so many.
pub fn micros_each(nanos: u64, among: u64) -> f64 {
    nanos as f64 / 1000.0 / among.max(1) as f64
}
