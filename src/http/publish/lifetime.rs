//! For how long an event is worth delivering, as publishers write it.

use std::time::Duration;

use super::super::problem::Problem;
use crate::event;

/// As [`event::lifetime`].
pub(super) fn lifetime(text: &str) -> Result<Duration, Problem> {
    let wrong = "`ttl` is how long the event is worth delivering: seconds, or with a unit 90s, 5m, 1h, 7d; more than 0, at most 100 years";
    event::lifetime(text).ok_or_else(|| Problem::bad(wrong))
}
