//! One subscriber's way through the log: nothing but a cursor and a selection.
//!
//! Invariant: offsets strictly rise. An event that is gone is reported as a [`Step::Gap`], never skipped. There is no
//! hand-over from replay to live: the live edge is only the page that is still being filled. *No I/O here*: a reader that
//! needs a page which is not in memory says so, and whoever drives it fetches it.

use std::sync::Arc;

use super::{Page, Pages, Selection};
use crate::event::{Appended, Offset};

/// A place in the log and what is wanted from there on.
#[derive(Clone, Debug)]
pub struct Reader {
    selection: Arc<Selection>,
    cursor: Offset,
    given: Option<Arc<Page>>,
}

/// How much one step may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// At most this many events.
    pub events: usize,
    /// Stop after this many bytes; a single event may be larger.
    pub bytes: usize,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// These events match and come next; never empty.
    Events(Vec<Arc<Appended>>),
    /// This many offsets are gone; reading goes on behind them.
    Gap {
        /// How many offsets.
        lost: u64,
        /// The store lost them; otherwise they were trimmed.
        hole: bool,
    },
    /// The page that holds this offset is needed: fetch it and [`Reader::give`] it.
    Behind(Offset),
    /// Nothing matched so far; take another step, after others have had their turn.
    Scanned,
    /// Everything up to the live edge was read.
    LiveEdge,
}

impl Reader {
    /// How many pages a step may look through.
    const PAGES_A_STEP: usize = 8;

    /// Begins after `cursor`.
    #[must_use]
    pub fn new(selection: Arc<Selection>, cursor: Offset) -> Self {
        Self { selection, cursor, given: None }
    }

    /// The newest offset that was read, or passed over because it did not match.
    #[must_use]
    pub fn cursor(&self) -> Offset {
        self.cursor
    }

    /// What it looks for.
    #[must_use]
    pub fn selection(&self) -> &Arc<Selection> {
        &self.selection
    }

    /// Moves on to `cursor`, up to which somebody else has read for it. Never back.
    pub fn skip_to(&mut self, cursor: Offset) {
        self.cursor = self.cursor.max(cursor);
    }

    /// Takes back events behind `cursor` that a step gave and nobody could use yet.
    pub fn back_to(&mut self, cursor: Offset) {
        self.cursor = self.cursor.min(cursor);
    }

    /// Hands over the page that [`Step::Behind`] asked for; it is let go after the next step.
    pub fn give(&mut self, page: Arc<Page>) {
        self.given = Some(page);
    }

    /// Reads on, up to `edge` at most (the live edge, or what a feed has in common).
    pub fn step(&mut self, pages: &Pages, edge: Offset, budget: Budget) -> Step {
        let mut given = self.given.take();
        let mut events = Vec::new();
        let mut bytes = 0;
        for _ in 0..Self::PAGES_A_STEP {
            let at = self.cursor + 1;
            if at > edge {
                return if events.is_empty() { Step::LiveEdge } else { Step::Events(events) };
            }
            let Some(page) = given.take().filter(|page| at <= page.last()).or_else(|| pages.get(at)) else {
                return if events.is_empty() { Step::Behind(at) } else { Step::Events(events) };
            };
            if page.first() > at {
                // The page that was given, so nothing was read before it: those in memory hold what they are asked for.
                debug_assert!(events.is_empty(), "no event is lost to a gap");
                self.cursor = page.first() - 1;
                let step = Step::Gap { lost: page.first() - at, hole: page.is_behind_hole() };
                self.given = Some(page);
                return step;
            }
            for event in page.events(at, edge) {
                let matches = self.selection.matches(&event.event);
                if matches && !events.is_empty() && bytes + event.event.weight() > budget.bytes {
                    return Step::Events(events);
                }
                self.cursor = event.cursor.offset;
                if matches {
                    bytes += event.event.weight();
                    events.push(Arc::clone(event));
                    if events.len() == budget.events {
                        return Step::Events(events);
                    }
                }
            }
        }
        if events.is_empty() { Step::Scanned } else { Step::Events(events) }
    }
}

#[cfg(test)]
mod tests;
