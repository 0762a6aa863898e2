//! How far a run has looked for limits of time, and what it may claim by that. Pure.
//!
//! A timer that is longer than streams were watched has not been seen, so nothing is said of it: neither after seconds, nor
//! after a run that was ended early.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::judging::Judgement;
use super::lifetimes::{Limit, Limits, is_same};
use super::watching::Horizon;
use crate::cli::progress::took;

/// For how long it was looked, for either kind of limit.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) idle: Reached,
    pub(super) duration: Reached,
    /// Whether a signal ended the run.
    pub(super) is_early: bool,
    /// The longest silence that was outlived, up to the one that was asked for.
    pub(super) silence: Duration,
}

/// For how long it was looked for one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// As it was asked for.
    pub(super) horizon: Duration,
    /// As it was.
    pub(super) watched: Duration,
    /// Whether that is as long as it was asked for, and as timers are, or the limit was found.
    pub(super) is_looked_for: bool,
}

/// What may be said of the path, in a word for programs and in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `problems`, `healthy`, or `incomplete`: nothing is wrong as far as it was looked, which was not far enough.
    pub(super) name: &'static str,
    pub(super) says: String,
}

/// Timers of hops are no shorter: whoever looks for less time does not look for them.
const SHORTEST_TIMER: Duration = Duration::from_secs(5);

impl Reach {
    pub(super) fn of(limits: &Limits, horizon: Horizon, is_early: bool) -> Self {
        // Connecting takes of the time, which is up all the same.
        let up_to = |horizon: Duration, time: Duration| {
            if !is_early && is_same(time, horizon) { horizon } else { time.min(horizon) }
        };
        let reached = |limit: &Option<Limit>, horizon: Duration| {
            let watched = up_to(horizon, limits.age);
            let is_enough = watched >= SHORTEST_TIMER && !(is_early && watched < horizon);
            Reached { horizon, watched, is_looked_for: limit.is_some() || is_enough }
        };
        Self {
            idle: reached(&limits.idle, horizon.idle),
            duration: reached(&limits.duration, horizon.duration),
            is_early,
            silence: up_to(horizon.idle, limits.silence),
        }
    }

    pub(super) fn verdict(&self, judgement: &Judgement) -> Verdict {
        let problems = judgement.problems();
        let (name, says) = match (problems, self.unseen()) {
            (0, None) => (
                "healthy",
                format!(
                    "nothing was found that would cut or hold back event streams here, silent for up to {} and open for up to {}",
                    took(self.silence),
                    took(self.duration.watched)
                ),
            ),
            (0, Some(unseen)) => ("incomplete", format!("nothing wrong in what shows {}; {unseen}", self.within())),
            (_, None) => ("problems", format!("{problems} found")),
            (_, Some(unseen)) => ("problems", format!("{problems} found in what shows {}; {unseen}", self.within())),
        };
        Verdict { name, says }
    }

    fn within(&self) -> String {
        match self.idle.watched.max(self.duration.watched) {
            Duration::ZERO => "at once".into(),
            time => format!("within {}", took(time)),
        }
    }

    /// What was not looked for, and what to do about it.
    fn unseen(&self) -> Option<String> {
        let (what, options) = match (self.idle, self.duration) {
            (Reached { is_looked_for: true, .. }, Reached { is_looked_for: true, .. }) => return None,
            (idle, Reached { is_looked_for: true, .. }) => {
                (format!("limits of silence beyond {}", took(idle.watched)), "--max-idle")
            }
            (Reached { is_looked_for: true, .. }, duration) => {
                (format!("limits of age beyond {}", took(duration.watched)), "--max-duration")
            }
            _ => ("longer limits of time".to_owned(), "--max-idle and --max-duration"),
        };
        let mend = if self.is_early {
            "let it run to its end".to_owned()
        } else {
            format!("run without --quick, or with a longer {options}")
        };
        Some(format!("{what} were not looked for: {mend}"))
    }
}
