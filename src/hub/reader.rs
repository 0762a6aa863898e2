//! One subscriber's way through the log: nothing but a cursor and a selection.
//!
//! Invariant: offsets strictly rise. An event that is gone is reported as a [`Step::Gap`], never skipped. There is no
//! hand-over from replay to live: the live edge is only the page that is still being filled. *No I/O here*: a reader that
//! needs a page which is not in memory says so, and whoever drives it fetches it.

use std::sync::Arc;

use super::{Hub, Page, Selection, expires};
use crate::event::{Appended, Offset, Timestamp};
use crate::log::{GapReason, Missing};

/// A place in the log and what is wanted from there on.
#[derive(Clone, Debug)]
pub struct Reader {
    selection: Arc<Selection>,
    cursor: Offset,
    /// None at the live edge, where most readers are: there a reader is nothing but its cursor.
    way: Option<Box<Way>>,
}

/// What a reader has with it on its way to the live edge.
#[derive(Clone, Debug, Default)]
struct Way {
    given: Option<Arc<Page>>,
    /// How often events had been removed when the step began that kept that page: nobody marks what is removed meanwhile in
    /// a page that memory has let go. None: it was not kept, but has just been fetched.
    kept: Option<u64>,
    /// What matched and is gone right before the cursor, and was not told yet: a run of them is one gap.
    owed: Option<Missing>,
    /// What was gone at this moment was not asked for: so it is no gap.
    since: Option<Moment>,
}

/// When reading began.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// The newest offset then.
    edge: Offset,
    /// How often events had been removed.
    removals: u64,
    time: Timestamp,
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
    /// These events match and come next, as the reader may see them; never empty.
    Events(Vec<Arc<Appended>>),
    /// Events that match, or may have, are gone; the cursor is just before what comes next.
    Gap(Missing),
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
        Self { selection, cursor, way: None }
    }

    /// Of a reader that asks for what there is now, and not for what came since it was here: what is gone by now is not
    /// missing. Else who fetches the state anew on a gap, and asks for what there is, would never end. What goes from now on
    /// is told, as to everybody.
    #[must_use]
    pub fn asking_for_what_is_there(self, hub: &Hub) -> Self {
        // In this order: what is removed between the two counts as removed after.
        let (removals, edge) = (hub.pages().removals(), hub.pages().edge());
        let mut reader = self;
        reader.way_mut().since = Some(Moment { edge, removals, time: hub.now() });
        reader.travel_light();
        reader
    }

    fn way_mut(&mut self) -> &mut Way {
        self.way.get_or_insert_default()
    }

    /// Lets go of what it needs no more.
    fn travel_light(&mut self) {
        let Some(way) = &mut self.way else { return };
        way.since.take_if(|since| since.edge <= self.cursor);
        if way.given.is_none() && way.owed.is_none() && way.since.is_none() {
            self.way = None;
        }
    }

    /// Whether this event, which is gone, was so when reading began.
    #[cold]
    fn was_gone(&self, hub: &Hub, event: &Appended) -> bool {
        let since = self.way.as_ref().and_then(|way| way.since);
        let (Some(Moment { edge, removals, time }), at) = (since, event.cursor.offset) else { return false };
        at <= edge
            && match event.gone() {
                Some(_) => !hub.pages().may_be_removed(at..=at, removals),
                None => expires(event).is_some_and(|moment| moment < time),
            }
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
        self.travel_light();
    }

    /// Takes back events behind `cursor` that a step gave and nobody could use yet.
    pub fn back_to(&mut self, cursor: Offset) {
        self.cursor = self.cursor.min(cursor);
    }

    /// Hands over the page that [`Step::Behind`] asked for; it is let go after the next step.
    pub fn give(&mut self, page: Arc<Page>) {
        let way = self.way_mut();
        (way.given, way.kept) = (Some(page), None);
    }

    fn keep(&mut self, page: &Arc<Page>, removals: u64) {
        let way = self.way_mut();
        (way.given, way.kept) = (Some(Arc::clone(page)), Some(removals));
    }

    /// Whether it has come by events that are gone, without having said so yet: then nobody else can read for it, and its
    /// cursor is no place to come back to.
    #[must_use]
    pub fn owes_gap(&self) -> bool {
        self.way.as_ref().is_some_and(|way| way.owed.is_some())
    }

    /// The gap that it owes, though there may be more to it.
    pub fn take_gap(&mut self) -> Option<Missing> {
        self.way.as_mut()?.owed.take()
    }

    /// Reads on, up to `edge` at most (the live edge, or what a feed has in common).
    pub fn step(&mut self, hub: &Hub, edge: Offset, budget: Budget) -> Step {
        let removals = hub.pages().removals();
        let taken = self.way.as_mut().and_then(|way| way.given.take().map(|page| (page, way.kept.take())));
        let mut given = taken.and_then(|(page, kept)| kept.is_none_or(|kept| kept == removals).then_some(page));
        let mut found = Found::default();
        for _ in 0..Self::PAGES_A_STEP {
            let at = self.cursor + 1;
            if at > edge {
                return found.or(|| self.take_gap().map_or(Step::LiveEdge, Step::Gap));
            }
            let Some(page) = given.take().filter(|page| at <= page.last()).or_else(|| hub.pages().get(at)) else {
                if found.events.is_empty() && self.pass_over(hub, edge) {
                    continue;
                }
                return found.or(|| Step::Behind(at));
            };
            if page.first() > at {
                // The page that was given, so nothing was read before it: those in memory hold what they are asked for.
                debug_assert!(found.events.is_empty(), "no event is lost to a gap");
                if let Some(told) = self.come_to(hub, &page, removals) {
                    return told;
                }
            }
            if let Some(step) = self.look_through(&page, hub, edge, budget, removals, &mut found) {
                return step;
            }
        }
        found.or(|| Step::Scanned)
    }

    /// Reads one page to its end, unless there is reason to stop before.
    fn look_through(
        &mut self,
        page: &Arc<Page>,
        hub: &Hub,
        edge: Offset,
        budget: Budget,
        removals: u64,
        found: &mut Found,
    ) -> Option<Step> {
        for event in page.events(self.cursor + 1, edge) {
            let removed = event.gone().is_some();
            let matches = if removed {
                self.selection.may_have_matched(&event.event)
            } else {
                self.selection.matches(&event.event)
            };
            let gone = if matches { hub.gone(event) } else { None };
            if matches && !(gone.is_some() && self.was_gone(hub, event)) {
                let weight = event.event.weight();
                let full = gone.is_some() || found.bytes + weight > budget.bytes;
                if full && !found.events.is_empty() {
                    return Some(found.take());
                }
                let told = match gone {
                    Some(reason) => {
                        let in_doubt = removed && self.selection.names_types();
                        self.lose(Missing { reason, offsets: (!in_doubt).then_some(1) })
                    }
                    None => self.take_gap(),
                };
                if let Some(missing) = told {
                    self.keep(page, removals);
                    return Some(Step::Gap(missing));
                }
                if gone.is_none() {
                    found.bytes += weight;
                    found.events.push(self.selection.shown(event));
                }
            }
            self.cursor = event.cursor.offset;
            if found.events.len() == budget.events {
                return Some(found.take());
            }
        }
        None
    }

    /// Adds to the gap that is owed; gives that back instead, if this is for another reason.
    #[cold]
    fn lose(&mut self, missing: Missing) -> Option<Missing> {
        let owed = &mut self.way_mut().owed;
        match owed {
            Some(other) if other.reason != missing.reason => return owed.take(),
            Some(same) => same.offsets = same.offsets.zip(missing.offsets).map(|(some, more)| some + more),
            None => *owed = Some(missing),
        }
        None
    }

    /// Moves on to a page that begins behind the cursor. That is a gap if something that matched may have been there.
    #[cold]
    fn come_to(&mut self, hub: &Hub, page: &Arc<Page>, removals: u64) -> Option<Step> {
        let (before, upto) = (self.cursor, page.first() - 1);
        let hole = page.is_behind_hole();
        if hole || hub.log().has_trimmed(self.selection.wanted(), before, upto) {
            // Of a selection nobody knows how many of them it would have matched.
            let offsets = self.selection.is_everything().then_some(upto - before);
            if let Some(other) = self.lose(Missing { reason: GapReason::of_missing(hole), offsets }) {
                self.keep(page, removals);
                return Some(Step::Gap(other));
            }
        }
        self.cursor = upto;
        None
    }

    /// Moves on over pages that are not in memory and of which the log knows that they hold nothing for this reader.
    #[cold]
    fn pass_over(&mut self, hub: &Hub, edge: Offset) -> bool {
        let upto = hub.log().next_on(self.selection.topics(), self.cursor + 1).min(edge + 1) - 1;
        // In this order: what was trimmed before it was asked for the next one is seen by the second question.
        let passes = upto > self.cursor && !hub.log().has_trimmed(self.selection.wanted(), self.cursor, upto);
        if passes {
            self.cursor = upto;
        }
        passes
    }
}

/// What a step has found so far.
#[derive(Default)]
struct Found {
    events: Vec<Arc<Appended>>,
    bytes: usize,
}

impl Found {
    fn take(&mut self) -> Step {
        Step::Events(std::mem::take(&mut self.events))
    }

    fn or(mut self, other: impl FnOnce() -> Step) -> Step {
        if self.events.is_empty() { other() } else { self.take() }
    }
}

#[cfg(test)]
mod tests;
