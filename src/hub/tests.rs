//! The hub over a log that does as a test says.

use super::*;
use crate::event::{Appended, Cursor, Epoch, Event, Timestamp, Topic};

pub(super) fn appended(offset: Offset, topic: &str, data: impl Into<bytes::Bytes>) -> Arc<Appended> {
    let cursor = Cursor { epoch: Epoch::parse("k3v9x0a1").expect("an epoch"), offset };
    Arc::new(Appended::new(cursor, Timestamp(0), Event::new(Topic::parse(topic).expect("a topic"), data)))
}

pub(super) fn small(offset: Offset) -> Arc<Appended> {
    appended(offset, "t", "x")
}

/// An event whose data and topic are `weight` bytes.
pub(super) fn large(offset: Offset, weight: usize) -> Arc<Appended> {
    appended(offset, "t", vec![b'x'; weight - 1])
}
