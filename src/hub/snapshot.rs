//! The newest event of each topic or conflation key, as a list of offsets, and the way through it.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Budget, Hub, Page, Selection, Step};
use crate::event::{Appended, Key, Offset, Topic};
use crate::log::{GapReason, Missing, ReadError};

/// What a subscriber is given before what is new: of each matching topic, or conflation key on one, the newest event, by
/// rising offsets. It holds places, not events.
#[derive(Clone, Debug)]
pub struct Snapshot {
    selection: Arc<Selection>,
    offsets: Arc<[Offset]>,
    /// How many of them were given.
    taken: usize,
    edge: Offset,
    missing: Option<Missing>,
    given: Option<Arc<Page>>,
}

impl Snapshot {
    /// How many events it holds at most; of more, the newest.
    pub const MOST: usize = 10_000;

    /// Just before its first event; whoever comes back with this is given that and all that came after it.
    #[must_use]
    pub fn begin(&self) -> Offset {
        self.offsets.first().map_or(self.edge, |first| first - 1)
    }

    /// Where the live edge was when it was taken: reading goes on behind that.
    #[must_use]
    pub fn edge(&self) -> Offset {
        self.edge
    }

    /// Whether all of it was given.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.taken == self.offsets.len()
    }

    /// What it should hold and does not.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        self.missing
    }

    /// Hands over the page that [`Step::Behind`] asked for.
    pub fn give(&mut self, page: Arc<Page>) {
        self.given = Some(page);
    }

    /// Takes back events behind `cursor` that a step gave and nobody could use yet.
    pub fn back_to(&mut self, cursor: Offset) {
        self.taken = self.taken.min(self.offsets.partition_point(|offset| *offset <= cursor));
    }

    /// The place of the newest event that was given, or told as gone.
    #[must_use]
    pub fn cursor(&self) -> Offset {
        self.taken.checked_sub(1).map_or(self.begin(), |last| self.offsets[last])
    }

    /// The next events, or what else comes next; [`Step::LiveEdge`] at its end.
    pub fn step(&mut self, hub: &Hub, budget: Budget) -> Step {
        let mut page = self.given.take();
        let (mut events, mut bytes, mut lost): (Vec<Arc<Appended>>, usize, Option<Missing>) = (Vec::new(), 0, None);
        while events.len() < budget.events
            && let Some(&at) = self.offsets.get(self.taken)
        {
            if page.as_ref().is_none_or(|page| page.last() < at) {
                page = hub.pages().get(at);
            }
            let Some(held) = &page else {
                if events.is_empty() && lost.is_none() {
                    return Step::Behind(at);
                }
                break;
            };
            let event = held.events(at, at).next().ok_or(GapReason::of_missing(held.is_behind_hole()));
            match event.and_then(|event| hub.gone(event).map_or(Ok(event), Err)) {
                Ok(event) => {
                    if lost.is_some() || (!events.is_empty() && bytes + event.event.weight() > budget.bytes) {
                        break;
                    }
                    bytes += event.event.weight();
                    events.push(self.selection.shown(event));
                }
                Err(reason) => {
                    if !events.is_empty() || lost.is_some_and(|lost| lost.reason != reason) {
                        break;
                    }
                    let before = lost.and_then(|lost| lost.offsets).unwrap_or(0);
                    lost = Some(Missing { reason, offsets: Some(before + 1) });
                }
            }
            self.taken += 1;
        }
        match lost {
            Some(missing) => Step::Gap(missing),
            None if events.is_empty() => Step::LiveEdge,
            None => Step::Events(events),
        }
    }
}

impl Hub {
    /// Takes a snapshot at the live edge.
    ///
    /// Cost: reads back page by page, over those of which the log knows that they hold nothing of these topics. It cannot
    /// know whether there is a further conflation key, so it looks as far back as the log goes.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn snapshot(&self, selection: &Arc<Selection>) -> Result<Snapshot, ReadError> {
        let edge = self.pages.edge();
        let (mut at, mut lost, mut offsets, mut seen) = (edge, 0, Vec::new(), HashSet::new());
        let mut limit = false;
        while !limit && let Some(page) = self.page_before(selection, &mut at, &mut lost).await? {
            // What is still in memory, though it was trimmed, would be gone for whoever comes back to it.
            for event in page.events(self.log.bounds().first, at).rev() {
                if selection.matches(&event.event)
                    && self.gone(event).is_none()
                    && is_newest(selection, event, &mut seen)
                {
                    limit = offsets.len() == Snapshot::MOST;
                    if limit {
                        break;
                    }
                    offsets.push(event.cursor.offset);
                }
            }
            at = page.first() - 1;
            tokio::task::yield_now().await; // A long way back must not keep others waiting.
        }
        offsets.reverse();
        let missing = match (limit, lost) {
            (true, _) => Some(Missing { reason: GapReason::Limit, offsets: None }),
            (false, 0) => None,
            (false, lost) => Some(Missing { reason: GapReason::Hole, offsets: Some(lost) }),
        };
        let selection = Arc::clone(selection);
        Ok(Snapshot { selection, offsets: offsets.into(), taken: 0, edge, missing, given: None })
    }
}

/// What has a newest event.
type Subject = (Topic, Option<Key>);

/// Whether no newer event was seen of what this one is about: its conflation key on its canonical topic, as its reader is
/// shown it, or else any of the topics for which it is delivered.
fn is_newest(selection: &Selection, event: &Appended, seen: &mut HashSet<Subject>) -> bool {
    if let Some(key) = &event.event.conflate {
        let topic = selection.canonical(&event.event);
        return topic.is_some_and(|topic| seen.insert((topic.clone(), Some(key.clone()))));
    }
    let mut newest = false;
    for topic in selection.matched(&event.event) {
        newest |= seen.insert((topic.clone(), None));
    }
    newest
}

#[cfg(test)]
mod tests;
