//! Publishes stamped events at a steady rate, each when it is due, and knows of each what became of it.
//!
//! A publisher sends one event after the other, so that their order is known; several share the rate. One that falls behind
//! sends without a pause until it has caught up. An event says when it was really sent, so that latency is that of delivery,
//! and how late it was by then is told apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::histogram::Histogram;
use super::ledger::Published;
use super::line::Line;
use super::reader::PATIENCE;
use super::stamp::Stamp;
use crate::cli::problem::Problem;
use crate::cli::wire::target::Target;
use crate::cli::wire::trouble::{Kind, Trouble};
use crate::event::Cursor;

/// How long a publisher waits after a failure that says nothing of it.
const PAUSE: Duration = Duration::from_millis(500);
const MAX_RECEIPT: usize = 64 << 10;

/// What is published.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) run: u64,
    /// From when events count their time.
    pub(super) origin: Instant,
    /// When the first is due.
    pub(super) began: Instant,
    /// For how long.
    pub(super) duration: Duration,
    /// Events a second, of all publishers together.
    pub(super) rate: f64,
    pub(super) publishers: u32,
    pub(super) bytes: usize,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) published: Published,
    /// How many are stored, as far as anybody knows.
    pub(super) stored: u64,
    /// How often the server could not take an event at once, or did not answer.
    pub(super) failed: u64,
    /// From sending an event to its receipt.
    pub(super) answered: Histogram,
    /// From when an event was due to when it was sent.
    pub(super) late: Histogram,
    /// The server refused for good, with these words.
    pub(super) refused: Option<Problem>,
}

impl Outcome {
    pub(super) fn of(publishers: u32) -> Self {
        let publishers = publishers as usize;
        let published = Published { end: vec![0; publishers], unsure: vec![Vec::new(); publishers], newest: None };
        Self { published, ..Self::default() }
    }

    fn stored(&mut self, publisher: usize, place: Option<Cursor>) {
        self.stored += 1;
        self.published.end[publisher] += 1;
        let newest = &mut self.published.newest;
        match (&newest, place) {
            (Some(newest), Some(place)) if newest.epoch == place.epoch && newest.offset > place.offset => {}
            (_, Some(place)) => *newest = Some(place),
            (_, None) => {}
        }
    }

    /// Nobody knows whether the event is stored. It is not sent again: it might come twice.
    fn unsure(&mut self, publisher: usize) {
        let end = &mut self.published.end[publisher];
        self.published.unsure[publisher].push(*end);
        *end += 1;
        self.failed += 1;
    }
}

impl Schedule {
    /// When an event of a publisher is due; `None` if that is after the end.
    fn due(&self, publisher: u32, nth: u64) -> Option<Instant> {
        #[expect(clippy::cast_precision_loss, reason = "events of one run are far fewer than 2⁵²")]
        let number = (nth * u64::from(self.publishers) + u64::from(publisher)) as f64;
        let after = Duration::try_from_secs_f64(number / self.rate).ok().filter(|after| *after < self.duration)?;
        Some(self.began + after)
    }

    /// How many events are due until the end.
    pub(super) fn count(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of events that can be sent"
        )]
        let count = (self.rate * self.duration.as_secs_f64()).ceil() as u64;
        count
    }
}

/// Publishes the events of one publisher until their time is over, or `over` says so.
pub(super) async fn publish(
    target: Arc<Target>,
    schedule: Schedule,
    publisher: u32,
    mut line: Line,
    outcome: Arc<Mutex<Outcome>>,
    mut over: watch::Receiver<bool>,
) {
    let (at, end) = (publisher as usize, schedule.began + schedule.duration);
    let mut number = 0;
    let mut nth = 0;
    while let Some(due) = schedule.due(publisher, nth) {
        let stopped = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => true,
            () = sleep_until(due) => Instant::now() >= end,
        };
        if stopped {
            return;
        }
        let sent = Instant::now();
        let nanoseconds = u64::try_from((sent - schedule.origin).as_nanos()).unwrap_or(u64::MAX);
        let stamp = Stamp { run: schedule.run, publisher, number, sent: nanoseconds };
        // Also when it is told to stop: else nobody would know what became of the event.
        let answer = exchange(&target, &mut line, stamp.data(schedule.bytes)).await;
        let pause = {
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.late.record(sent - due);
            match answer {
                Ok(place) => {
                    outcome.answered.record(sent.elapsed());
                    outcome.stored(at, place);
                    (number, nth) = (number + 1, nth + 1);
                    None
                }
                Err(Failure::Later(after)) => {
                    outcome.failed += 1;
                    Some(after)
                }
                Err(Failure::Unsure) => {
                    outcome.unsure(at);
                    (number, nth) = (number + 1, nth + 1);
                    Some(PAUSE)
                }
                Err(Failure::Refused(problem)) => {
                    outcome.refused = Some(problem);
                    return;
                }
            }
        };
        if let Some(pause) = pause {
            tokio::select! {
                _ = over.wait_for(|over| *over) => return,
                () = sleep(pause) => {}
            }
        }
    }
}

/// Why there is no receipt.
enum Failure {
    /// It is not stored, and can be tried again then.
    Later(Duration),
    /// It may be stored.
    Unsure,
    /// The server will not.
    Refused(Problem),
}

/// Publishes one event; gives its place in the log, if the receipt names one.
async fn exchange(target: &Target, line: &mut Line, data: Vec<u8>) -> Result<Option<Cursor>, Failure> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Receipt {
        id: String,
    }
    let lost = |trouble: Trouble| match trouble.kind {
        // No connection, so nothing was sent.
        Kind::Refused | Kind::Tls | Kind::Exhausted => Failure::Later(PAUSE),
        _ => Failure::Unsure,
    };
    let mut answer = line.send(target.publish(data), PATIENCE).await.map_err(lost)?;
    let content = answer.whole(MAX_RECEIPT).await.map_err(|_| Failure::Unsure)?;
    let (status, after) = (answer.head.status, answer.head.retry_after);
    line.keep(answer);
    match status {
        200..300 => {
            let Receipt { id } = serde_json::from_slice(&content).unwrap_or_default();
            Ok(id.parse().ok())
        }
        // These say that nothing was stored (RFC 6585 § 4, RFC 9110 § 15.6.4).
        429 | 503 => Err(Failure::Later(after.unwrap_or(PAUSE))),
        408 | 500.. => Err(Failure::Unsure),
        _ => Err(Failure::Refused(Problem::read(status, &content))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, publishers: u32) -> Schedule {
        let (duration, began) = (Duration::from_secs(2), Instant::now());
        Schedule { run: 1, origin: began, began, duration, rate, publishers, bytes: 100 }
    }

    #[tokio::test]
    async fn publishers_share_the_rate() {
        for (rate, publishers, count) in [(10.0, 1, 20), (10.0, 3, 20), (0.4, 1, 1), (0.6, 2, 2), (2.5, 4, 5)] {
            let schedule = schedule(rate, publishers);
            let schedule = &schedule;
            let due = |publisher| (0..).map_while(move |nth| schedule.due(publisher, nth));
            let mut all: Vec<_> = (0..publishers).flat_map(due).collect();
            all.sort();
            assert_eq!(all.len(), count, "{rate} of {publishers}");
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "none at the same time: {rate} of {publishers}");
        }
        assert_eq!((schedule(10.0, 3).count(), schedule(0.6, 2).count()), (20, 2));
    }

    #[test]
    fn the_newest_is_the_furthest_in_the_log() {
        let mut outcome = Outcome::of(2);
        for (publisher, place) in [(0, "abcdefgh-5"), (1, "abcdefgh-4"), (1, "abcdefgh-6"), (0, "zzzzzzzz-1")] {
            outcome.stored(publisher, place.parse().ok());
        }
        outcome.unsure(1);
        assert_eq!(outcome.published.newest, "zzzzzzzz-1".parse().ok());
        assert_eq!((outcome.published.end, outcome.published.unsure), (vec![2, 3], vec![vec![], vec![2]]));
    }
}
