//! How long to wait before the next attempt.

use std::time::Duration;

/// Waits that double with each failure, each drawn from zero up to its bound (full jitter), so that clients cut off
/// together do not come back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is at most `first`, and none is longer than `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The wait after one more failure.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let bound = self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.most);
        self.failures += 1;
        bound.mul_f64(draw())
    }

    /// Forgets the failures: an attempt went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number in 0..=1. Without randomness from the system it is 1: the wait is then just not spread.
fn draw() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_until_an_attempt_goes_well() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for bound in [1, 2, 4, 8, 16, 30, 30] {
            assert!(backoff.after_failure() <= Duration::from_secs(bound));
        }
        for _ in 0..100 {
            assert!(backoff.after_failure() <= Duration::from_secs(30), "no overflow");
        }
        backoff.reset();
        assert!(backoff.after_failure() <= Duration::from_secs(1));
    }
}
