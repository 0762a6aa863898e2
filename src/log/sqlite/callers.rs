//! How those who wait for a commit are told that it is durable.
//!
//! To wake a task of another thread costs a system call if that thread sleeps, which is more than storing an event costs.
//! So all who wait in one runtime are told by a task of that runtime, and it alone is woken from the writer's thread.

use std::collections::HashMap;

use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, oneshot};

use super::super::{AppendError, Receipt};

pub(super) type Answer = Result<Vec<Receipt>, AppendError>;

/// One who waits for an answer.
pub(super) struct Caller {
    answer: oneshot::Sender<Answer>,
    /// Where it waits, if it is known.
    runtime: Option<Handle>,
}

impl Caller {
    /// Whoever calls this, and where it gets its answer.
    pub(super) fn here() -> (Self, oneshot::Receiver<Answer>) {
        let (answer, waiting) = oneshot::channel();
        (Self { answer, runtime: Handle::try_current().ok() }, waiting)
    }
}

/// The tasks that tell callers, one a runtime. They end with this.
#[derive(Default)]
pub(super) struct Desks(HashMap<runtime::Id, mpsc::UnboundedSender<Vec<Told>>>);

type Told = (oneshot::Sender<Answer>, Answer);

impl Desks {
    /// Tells each its answer. Whoever went away is told nothing.
    pub(super) fn tell(&mut self, answers: Vec<(Caller, Answer)>) {
        let mut runtimes: Vec<(Handle, Vec<Told>)> = Vec::new(); // Few: one, or one for each core.
        for (Caller { answer: caller, runtime }, answer) in answers {
            let Some(runtime) = runtime else {
                tell((caller, answer));
                continue;
            };
            match runtimes.iter_mut().find(|(known, _)| known.id() == runtime.id()) {
                Some((_, told)) => told.push((caller, answer)),
                None => runtimes.push((runtime, vec![(caller, answer)])),
            }
        }
        for (runtime, told) in runtimes {
            if told.len() == 1 {
                told.into_iter().for_each(tell);
            } else if let Err(mpsc::error::SendError(told)) = self.of(&runtime).send(told) {
                told.into_iter().for_each(tell); // The runtime is about to end.
            }
        }
    }

    /// The desk of a runtime. What is given to it is bounded by what waits for the writer.
    fn of(&mut self, runtime: &Handle) -> &mpsc::UnboundedSender<Vec<Told>> {
        let open = || {
            let (desk, mut told) = mpsc::unbounded_channel::<Vec<Told>>();
            runtime.spawn(async move {
                while let Some(told) = told.recv().await {
                    told.into_iter().for_each(tell);
                }
            });
            desk
        };
        let desk = self.0.entry(runtime.id()).or_insert_with(open);
        if desk.is_closed() {
            *desk = open(); // Another runtime has got the same number.
        }
        desk
    }
}

fn tell((caller, answer): Told) {
    let _ = caller.send(answer); // A publisher that went away does not undo what it published.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Answer {
        Err(AppendError::Full)
    }

    #[test]
    fn each_caller_is_told_wherever_it_waits() {
        let runtime = || runtime::Builder::new_current_thread().build().unwrap();
        let (one, other) = (runtime(), runtime());
        let mut desks = Desks::default();
        for round in 1..3 {
            let mut waiting = Vec::new();
            let mut answers = Vec::new();
            for runtime in [Some(&one), Some(&other), None, Some(&one), None, Some(&one)] {
                let (caller, answer) = {
                    let _entered = runtime.map(runtime::Runtime::enter);
                    Caller::here()
                };
                answers.push((caller, refused()));
                waiting.push((runtime, answer));
            }
            desks.tell(answers);
            assert_eq!(desks.0.len(), 1, "round {round}: one caller alone needs no desk");
            for (runtime, answer) in waiting {
                let answer = runtime.unwrap_or(&other).block_on(answer).expect("it is told");
                assert!(matches!(answer, Err(AppendError::Full)));
            }
        }
    }

    #[test]
    fn a_runtime_that_has_ended_keeps_nobody_waiting() {
        let mut desks = Desks::default();
        for _ in 0..3 {
            let runtime = runtime::Builder::new_current_thread().build().unwrap();
            let (first, second) = runtime.block_on(async { (Caller::here(), Caller::here()) });
            let waiting = [first.1, second.1];
            drop(runtime);
            desks.tell(vec![(first.0, refused()), (second.0, refused())]);
            for answer in waiting {
                assert!(answer.blocking_recv().expect("it is told").is_err());
            }
        }
    }
}
