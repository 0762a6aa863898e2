//! What most streams have not, or not for long, so that it costs the others nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::closed::{Asker, Closed};
use super::receipts::Proof;
use super::{Batch, EndReason, OnGap};
use crate::hub::Snapshot;
use crate::transport::Bye;

/// What is special about a stream, or about this moment of it.
pub(super) struct Extras {
    /// What is still to be written before anything else: preamble, hello, gap.
    pub(super) opening: Option<Bytes>,
    pub(super) retry: Duration,
    pub(super) limit: Option<u64>,
    pub(super) on_gap: OnGap,
    pub(super) closing: Option<(Arc<Closed>, Asker)>,
    pub(super) snapshot: Option<Snapshot>,
    /// The state that a state transport shows, to be shown again instead of too many heartbeats.
    pub(super) shown: Option<Batch>,
    /// When what is shown is to be sent once more, unless something newer comes before.
    pub(super) again: Option<Instant>,
    pub(super) beats: u32,
    /// It ends after its next events, or at this time.
    pub(super) finish: Option<Instant>,
    pub(super) proof: Option<Proof>,
    pub(super) farewell: Option<Farewell>,
}

impl Extras {
    /// Nothing special yet.
    pub(super) fn new(retry: Duration) -> Self {
        Self {
            opening: None,
            retry,
            limit: None,
            on_gap: OnGap::GoOn,
            closing: None,
            snapshot: None,
            shown: None,
            again: None,
            beats: 0,
            finish: None,
            proof: None,
            farewell: None,
        }
    }

    /// When the next thing of it is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let proof = self.proof.as_ref().and_then(Proof::due);
        [self.again, self.finish, proof].into_iter().flatten().min()
    }

    /// Whether there is nothing special.
    pub(super) fn is_over(&self) -> bool {
        self.opening.is_none()
            && self.limit.is_none()
            && self.on_gap == OnGap::GoOn
            && self.snapshot.is_none()
            && self.shown.is_none()
            && self.again.is_none()
            && self.finish.is_none()
            && self.proof.is_none()
            && self.farewell.is_none()
    }
}

/// How a stream says that it ends.
#[derive(Debug)]
pub(super) enum Farewell {
    /// It is to say so.
    Due { bye: Bye, retry: Duration, reason: EndReason },
    /// It has.
    Said,
}
