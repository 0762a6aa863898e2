//! Warnings about what goes on and on.

use std::time::Duration;

use tokio::time::Instant;

/// A warning that is said at once, and then at most once a minute as long as its cause goes on.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    said: Option<Instant>,
    times: u64,
}

impl Complaint {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Counts one more time; answers how often it was since the last word, if it is time for one.
    pub(super) fn again(&mut self) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| said.elapsed() < Self::PAUSE) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_said_once_a_minute_with_how_often_it_was() {
        let mut complaint = Complaint::default();
        let mut said = Vec::new();
        for second in 0..150 {
            said.extend(complaint.again().map(|times| (second, times)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(said, [(0, 1), (60, 60), (120, 60)]);
    }
}
