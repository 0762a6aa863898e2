//! Events of one feed, rendered and joined, as they are written.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::FeedKey;
use super::conflate::without_older;
use crate::event::{Appended, Offset, Timestamp};
use crate::hub::{Budget, Hub, expires};
use crate::transport::Keeps;

/// How much one write holds at most; also what a reader that does not read can make us keep for it.
pub const TURN: Budget = Budget { events: 1024, bytes: 256 * 1024 };

/// Rendered events, ready to be written.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The cursor after it.
    pub to: Offset,
    /// What is written.
    pub bytes: Bytes,
    /// How many events it delivers.
    pub events: u64,
    /// How many it passes over (state transports).
    pub skipped: u64,
    /// When the first of its events goes by itself.
    pub expires: Option<Timestamp>,
    /// How often events had been removed when these were known to be there.
    pub removals: u64,
    /// Nothing more was there behind it when the feed gave it.
    pub is_last: bool,
}

impl Batch {
    /// Renders the first of these events, as many as one write holds; the others come behind [`Batch::to`]. A single event's
    /// bytes are shared, not copied; of several one buffer is made.
    ///
    /// # Panics
    /// If there is no event.
    #[must_use]
    pub fn render(events: &[Arc<Appended>], key: &FeedKey) -> Self {
        let newest = events.last().expect("a step gives at least one event");
        if key.keeps == Keeps::State {
            let (to, skipped) = (newest.cursor.offset, events.len() as u64 - 1);
            let (bytes, expires) = (key.rendering.event(newest), expires(newest));
            return Self { to, bytes, events: 1, skipped, expires, removals: 0, is_last: false };
        }
        let wanted = if key.conflates { without_older(events) } else { Vec::new() };
        let (mut length, mut taken, mut soonest) = (0, 0, None);
        let mut rendered: SmallVec<[Bytes; 1]> = SmallVec::new();
        for (index, event) in events.iter().enumerate() {
            if wanted.get(index).copied().unwrap_or(true) {
                let bytes = key.rendering.event(event);
                if !rendered.is_empty() && length + bytes.len() > TURN.bytes {
                    break;
                }
                length += bytes.len();
                rendered.push(bytes);
                soonest = [soonest, expires(event)].into_iter().flatten().min();
            }
            taken = index + 1;
        }
        let to = events[taken - 1].cursor.offset;
        let (events, skipped) = (rendered.len() as u64, (taken - rendered.len()) as u64);
        Self { to, events, skipped, bytes: joined(rendered, length), expires: soonest, removals: 0, is_last: false }
    }

    /// One of several that follow one another; of states the newest.
    pub(super) fn join(batches: &[&Self], keeps: Keeps) -> Self {
        let newest = batches[batches.len() - 1];
        let skipped = batches.iter().map(|batch| batch.skipped).sum();
        if keeps == Keeps::State {
            let passed_over = batches.len() as u64 - 1;
            return Self { skipped: skipped + passed_over, ..newest.clone() };
        }
        let rendered: SmallVec<[Bytes; 1]> = batches.iter().map(|batch| batch.bytes.clone()).collect();
        let length = rendered.iter().map(Bytes::len).sum();
        Self {
            to: newest.to,
            events: batches.iter().map(|batch| batch.events).sum(),
            skipped,
            bytes: joined(rendered, length),
            expires: batches.iter().filter_map(|batch| batch.expires).min(),
            removals: 0,
            is_last: false,
        }
    }

    /// Whether one of its events has outlived its time.
    pub(super) fn is_over(&self, hub: &Hub) -> bool {
        self.expires.is_some_and(|moment| hub.is_over(moment))
    }
}

fn joined(mut rendered: SmallVec<[Bytes; 1]>, length: usize) -> Bytes {
    if rendered.len() == 1 {
        return rendered.remove(0);
    }
    let mut all = BytesMut::with_capacity(length);
    rendered.iter().for_each(|bytes| all.extend_from_slice(bytes));
    all.freeze()
}
