//! How many connections a listener has at once.
//!
//! When all places are taken, whoever comes is still accepted, told to come back, and sent away. But those also take
//! descriptors: of them there are a few at once, and more wait in the backlog.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections are refused at once.
const REFUSED: usize = 8;

/// The places of a listener.
#[derive(Debug)]
pub(super) struct Room {
    served: Arc<Semaphore>,
    refused: Arc<Semaphore>,
}

/// A place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// Whether the connection is only there to be refused.
    pub(super) crowded: bool,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(connections: usize) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { served: places(connections), refused: places(REFUSED) }
    }

    /// Waits for a place of either kind. Nothing is lost if the future is dropped.
    pub(super) async fn place(&self) -> Place {
        let (served, refused) = (Arc::clone(&self.served), Arc::clone(&self.refused));
        let (crowded, permit) = tokio::select! {
            biased; // Nobody is refused while there is a place.
            permit = served.acquire_owned() => (false, permit),
            permit = refused.acquire_owned() => (true, permit),
        };
        Place { crowded, _permit: permit.expect("the room is never closed") }
    }

    /// The place of a connection that has come: a better one, if that has become free while it was waited for.
    pub(super) fn best(&self, place: Place) -> Place {
        match Arc::clone(&self.served).try_acquire_owned() {
            Ok(permit) if place.crowded => Place { crowded: false, _permit: permit },
            _ => place,
        }
    }
}
