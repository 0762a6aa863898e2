//! A stream between its response and whoever carries it.
//!
//! A response with a stream is made before it is known who will carry it: the connection, which knows its protocol, takes
//! the stream out and gives it to a shard with its socket; or nobody does, and the body of the response carries it.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Cut, Delivery, Stream};
use crate::access::{Leave, Permit};

/// A stream that nobody carries yet.
pub struct Unbegun {
    pub(super) stream: Stream,
    pub(super) delivery: Delivery,
    pub(super) cut: Cut,
    pub(super) leave: Leave,
    pub(super) permit: Permit,
}

/// The stream of a response, until somebody takes it. It stands in the extensions of the response.
#[derive(Clone)]
pub struct Handoff(Arc<Mutex<Option<Box<Unbegun>>>>);

impl Handoff {
    pub(super) fn new(stream: Unbegun) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(stream)))))
    }

    /// Takes the stream. Whoever comes second finds none; so there is never more than one to carry it.
    #[must_use]
    pub fn take(&self) -> Option<Box<Unbegun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
