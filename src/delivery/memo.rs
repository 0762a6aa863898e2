//! What a feed had a moment ago, for many streams that are stepped one after the other.

use std::sync::Arc;

use super::{Feed, FeedStep};
use crate::event::Offset;
use crate::hub::Hub;

/// What a feed had for a cursor a moment ago, for the next of its streams that is at the same place: most of them are.
///
/// It is for one moment only: whoever holds one for longer would deliver what has been removed, or would miss what is new.
///
/// Two are remembered: what comes next for a stream, and that nothing comes after it.
#[derive(Debug, Default)]
pub struct Memo {
    found: [Option<(Arc<Feed>, Offset, FeedStep)>; 2],
    /// The older of them.
    older: usize,
}

impl Memo {
    /// What comes after `cursor`; see [`Feed::after`].
    pub fn after(&mut self, feed: &Arc<Feed>, cursor: Offset, hub: &Hub, alone: impl FnOnce() -> bool) -> &FeedStep {
        let fits = |found: &Option<(Arc<Feed>, Offset, FeedStep)>| {
            found.as_ref().is_some_and(|(of, at, _)| *at == cursor && Arc::ptr_eq(of, feed))
        };
        let at = if fits(&self.found[0]) {
            0
        } else if fits(&self.found[1]) {
            1
        } else {
            self.look(feed, cursor, hub, alone)
        };
        let (_, _, step) = self.found[at].as_ref().expect("it fits, or was just looked up");
        step
    }

    /// Whether it is known that nothing comes after `cursor`.
    pub fn is_edge(&self, feed: &Arc<Feed>, cursor: Offset) -> bool {
        self.found.iter().flatten().any(|(of, at, step)| {
            let is_edge = match step {
                FeedStep::Edge(_) => *at == cursor,
                FeedStep::Batch(batch) => batch.is_last && batch.to == cursor,
                FeedStep::Behind(_) => false,
            };
            is_edge && Arc::ptr_eq(of, feed)
        })
    }

    #[cold]
    fn look(&mut self, feed: &Arc<Feed>, cursor: Offset, hub: &Hub, alone: impl FnOnce() -> bool) -> usize {
        let at = self.older;
        self.older = 1 - at;
        self.found[at] = None;
        // Its own hold on the feed is not another stream's.
        let own = self.found.iter().flatten().any(|(of, ..)| Arc::ptr_eq(of, feed));
        let alone = !own && alone();
        self.found[at] = Some((Arc::clone(feed), cursor, feed.after(cursor, hub, alone)));
        at
    }
}
