//! Which events are gone though their places are kept, as far as rows do not say so yet or have come to say so since the
//! log was opened.
//!
//! Whoever reads rows looks here after it has read them: a row that was read before an event was removed is not believed.
//! So nothing leaves this before it is trimmed. Cost: 256 bytes for each page of which something was removed.

use std::collections::BTreeMap;

use super::super::PAGE;
use crate::event::{Gone, Offset};

/// The removed events of every page.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pages: BTreeMap<u64, OfPage>,
    total: u64,
}

/// The removed events of one page.
#[derive(Debug, Default)]
pub(super) struct OfPage {
    marks: Option<Box<Marks>>,
    /// How many of them the rows do not show yet.
    unwritten: u64,
    /// How many the rows show.
    written: u64,
}

#[derive(Debug, Default)]
struct Marks {
    expired: [u64; WORDS],
    deleted: [u64; WORDS],
}

const WORDS: usize = 16;
const _: () = assert!(WORDS as u64 * 64 == PAGE, "a bit for each place of a page");

impl Removed {
    /// The rows of this page, as the log is opened, show so many.
    pub(super) fn recall(&mut self, page: u64, written: u64) {
        if written > 0 {
            self.pages.entry(page).or_default().written += written;
            self.total += written;
        }
    }

    /// An event expired: its row does not show it yet.
    pub(super) fn expire(&mut self, offset: Offset) {
        let page = self.pages.entry(offset / PAGE).or_default();
        if page.why(offset).is_none() {
            page.set(offset, Gone::Expired);
            page.unwritten += 1;
            self.total += 1;
        }
    }

    /// An event was erased from its row, which says why.
    pub(super) fn erase(&mut self, offset: Offset, why: Gone) {
        let page = self.pages.entry(offset / PAGE).or_default();
        page.written += 1;
        match page.why(offset) {
            Some(_) => page.unwritten -= 1, // It had expired before.
            None => {
                page.set(offset, why);
                self.total += 1;
            }
        }
    }

    /// The rows of a page show all that is gone by now: so many places, of which some had not been removed, but had outlived
    /// their time.
    pub(super) fn written(&mut self, page: u64, gone: u64, outlived: u64) {
        self.total += outlived;
        let known = self.pages.entry(page).or_default();
        known.unwritten = 0;
        known.written = gone;
    }

    /// Everything before `first` was trimmed, of which `gone` places were those of events that were gone.
    pub(super) fn trim(&mut self, first: Offset, gone: u64) {
        self.total = self.total.saturating_sub(gone);
        while self.pages.first_key_value().is_some_and(|(page, _)| *page < first / PAGE) {
            self.pages.pop_first();
        }
    }

    /// What is known of a page, if anything is.
    pub(super) fn of(&self, page: u64) -> Option<&OfPage> {
        self.pages.get(&page)
    }

    /// Where the next page begins, from the one of this offset on, of which rows do not show all that is gone; the offset
    /// itself within that one. The end of all offsets: there is none.
    pub(super) fn next_unwritten(&self, from: Offset) -> Offset {
        let mut pages = self.pages.range(from / PAGE..);
        pages.find(|(_, of)| of.unwritten > 0).map_or(Offset::MAX, |(page, _)| from.max(page * PAGE))
    }

    /// How many places are those of events that are gone.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Whether a full page is worth writing anew: half of what its rows show as events is gone.
    pub(super) fn is_worth_compacting(&self, page: u64) -> bool {
        self.pages.get(&page).is_some_and(|of| of.unwritten > 0 && 2 * of.unwritten >= PAGE.saturating_sub(of.written))
    }
}

impl OfPage {
    /// Why an event is gone, if it was removed since the log was opened.
    pub(super) fn why(&self, offset: Offset) -> Option<Gone> {
        let (marks, (word, bit)) = (self.marks.as_ref()?, place(offset));
        if marks.expired[word] & bit != 0 {
            return Some(Gone::Expired);
        }
        (marks.deleted[word] & bit != 0).then_some(Gone::Deleted)
    }

    /// How many the rows show.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    fn set(&mut self, offset: Offset, why: Gone) {
        let (marks, (word, bit)) = (self.marks.get_or_insert_default(), place(offset));
        match why {
            Gone::Expired => marks.expired[word] |= bit,
            Gone::Deleted => marks.deleted[word] |= bit,
        }
    }
}

/// The word and the bit of an offset.
fn place(offset: Offset) -> (usize, u64) {
    let nth = offset % PAGE;
    (usize::try_from(nth / 64).unwrap_or_default(), 1 << (nth % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_counts_once_however_often_it_is_removed() {
        let mut removed = Removed::default();
        removed.recall(0, 10);
        [2000, 2001, 2000].iter().for_each(|at| removed.expire(*at));
        removed.erase(2001, Gone::Expired);
        removed.erase(2002, Gone::Deleted);
        assert_eq!((removed.total(), removed.of(1).map(OfPage::written)), (13, Some(2)));
        let why = |at| removed.of(at / PAGE).and_then(|of| of.why(at));
        assert_eq!(
            [1999, 2000, 2001, 2002].map(why),
            [None, Some(Gone::Expired), Some(Gone::Expired), Some(Gone::Deleted)]
        );
        assert_eq!(why(5), None, "its row says it");
        removed.written(1, 5, 2);
        assert_eq!(removed.total(), 15);
        removed.trim(1024, 10);
        assert_eq!((removed.total(), removed.of(0).is_none()), (5, true));
        assert_eq!(removed.of(1).and_then(|of| of.why(2000)), Some(Gone::Expired));
    }

    #[test]
    fn a_page_is_worth_compacting_once_half_of_its_events_are_gone() {
        let mut removed = Removed::default();
        (1024..1024 + 511).for_each(|at| removed.expire(at));
        assert!(!removed.is_worth_compacting(1) && !removed.is_worth_compacting(7));
        removed.expire(2000);
        assert!(removed.is_worth_compacting(1));
        removed.written(1, 512, 0);
        assert!(!removed.is_worth_compacting(1));
        (1536..1536 + 257).for_each(|at| removed.expire(at));
        assert!(removed.is_worth_compacting(1), "half of the other half");
    }
}
