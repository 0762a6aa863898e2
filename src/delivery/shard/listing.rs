//! The streams of a shard, to be shown: looked at piece by piece of the slab, so that no delivery waits for long.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pump::Pump;
use crate::delivery::live::{Asked, Chosen};

/// What is asked of a shard.
pub(crate) struct Listing {
    chosen: Chosen,
    /// The piece of the slab that comes next.
    piece: usize,
    answer: oneshot::Sender<Chosen>,
}

impl Listing {
    /// A question, and where its answer comes.
    pub(super) fn new(asked: Asked) -> (Self, oneshot::Receiver<Chosen>) {
        let (answer, answered) = oneshot::channel();
        (Self { chosen: Chosen::new(asked), piece: 0, answer }, answered)
    }
}

/// What a shard was asked and has not answered yet.
#[derive(Default)]
pub(super) struct Listings(VecDeque<Box<Listing>>);

impl Listings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, listing: Box<Listing>) {
        self.0.push_back(listing);
    }

    /// Looks at one piece of the slab, for the first of them. A bug there leaves a question without an answer, and nothing else.
    ///
    /// Cost: 128 slots, of which each is two or three cache lines and a lock of its feed.
    pub(super) fn go_on(&mut self, pump: &Pump, now: Instant) {
        let Some(mut listing) = self.0.pop_front().filter(|listing| !listing.answer.is_closed()) else { return };
        let looked = catch_unwind(AssertUnwindSafe(|| pump.show(listing.piece, &mut listing.chosen, now)));
        match looked {
            Ok(true) => {
                listing.piece += 1;
                self.0.push_back(listing);
            }
            Ok(false) => drop(listing.answer.send(listing.chosen)),
            Err(_) => tracing::error!("streams are not shown, as looking at them panicked"),
        }
    }
}
