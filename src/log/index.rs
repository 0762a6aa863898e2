//! Which topics stand in which page, so that nobody reads a page that does not concern it.
//!
//! A page's topics are known by 32-bit hashes: two topics with the same one cost a page read now and then, nothing else.
//! Cost: four bytes for each topic of a page, so at most four bytes for an event on one topic. Of a page of which nothing is
//! known (its rows are damaged) everything may be in it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::PAGE;
use crate::event::{Appended, Offset, Topic, TopicSelector};

/// The topics of every page of one log, which is empty at first.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The number of the oldest page; a page's number is its offsets' by [`PAGE`].
    first: u64,
    /// The pages to which nothing will be added, oldest first; sorted hashes, or nothing if they are not known.
    closed: VecDeque<Option<Box<[u32]>>>,
    /// The page behind those.
    open: Open,
    /// The newest offset.
    last: Offset,
    /// How many hashes all pages have.
    hashes: usize,
}

/// The page that is still being filled.
#[derive(Debug, Default)]
struct Open {
    hashes: HashSet<u32>,
    /// Something may stand in it that is not among the hashes.
    unknown: bool,
}

/// A page whose last place is taken: its number, and its sorted hashes, if they are known.
pub(super) type Closed = (u64, Option<Box<[u32]>>);

impl Index {
    /// Of a log whose pages before the newest one are `closed`, as far as they are known, by rising number.
    pub(super) fn recovered(first: Offset, last: Offset, closed: impl IntoIterator<Item = Closed>) -> Self {
        let newest = (last + 1) / PAGE;
        let mut index = Self { first: (first / PAGE).min(newest), last, ..Self::default() };
        for (page, hashes) in
            closed.into_iter().filter(|(page, _)| (index.first..newest).contains(page)).collect::<Vec<_>>()
        {
            while index.first + (index.closed.len() as u64) < page {
                index.closed.push_back(None);
            }
            if index.first + index.closed.len() as u64 == page {
                index.hashes += hashes.as_ref().map_or(0, |hashes| hashes.len());
                index.closed.push_back(hashes);
            }
        }
        while index.first + (index.closed.len() as u64) < newest {
            index.closed.push_back(None);
        }
        index
    }

    /// What is in the newest page, as the log is opened, and whether something in it cannot be read.
    pub(super) fn recall(&mut self, hashes: HashSet<u32>, unknown: bool) {
        self.open = Open { hashes, unknown };
    }

    /// The pages that these events complete, which come next.
    pub(super) fn closing(&self, events: &[Arc<Appended>]) -> Vec<Closed> {
        let mut closing = Vec::new();
        let mut open = None;
        let Some((page, last)) = events.first().zip(events.last()).map(|(a, b)| (page_of(a), b.cursor.offset)) else {
            return closing;
        };
        if page == (last + 1) / PAGE {
            return closing; // As nearly always.
        }
        for event in events {
            let (hashes, unknown) = open.get_or_insert_with(|| {
                let begun = page_of(event) == page;
                if begun { (self.open.hashes.clone(), self.open.unknown) } else { Default::default() }
            });
            hashes.extend(event.event.topics.iter().map(|topic| hash(topic.as_str())));
            if (event.cursor.offset + 1).is_multiple_of(PAGE) {
                closing.push((page_of(event), (!*unknown).then(|| sorted(hashes))));
                open = None;
            }
        }
        closing
    }

    /// Adds the events that come next.
    pub(super) fn add(&mut self, events: &[Arc<Appended>]) {
        for event in events {
            for topic in &event.event.topics {
                self.open.hashes.insert(hash(topic.as_str()));
            }
            self.last = event.cursor.offset;
            if (self.last + 1).is_multiple_of(PAGE) {
                let Open { hashes, unknown } = std::mem::take(&mut self.open);
                self.hashes += hashes.len();
                self.closed.push_back((!unknown).then(|| sorted(&hashes)));
            }
        }
    }

    /// Events before `first` are gone.
    pub(super) fn trim(&mut self, first: Offset) {
        while self.first < first / PAGE
            && let Some(page) = self.closed.pop_front()
        {
            self.hashes -= page.map_or(0, |hashes| hashes.len());
            self.first += 1;
        }
    }

    /// See [`super::Log::next_on`].
    pub(super) fn next_on(&self, topics: &[TopicSelector], from: Offset) -> Offset {
        let Some(hashes) = exact(topics) else { return from };
        let mut page = (from / PAGE).max(self.first);
        while page * PAGE <= self.last {
            if self.may_hold(page, &hashes) {
                return from.max(page * PAGE);
            }
            page += 1;
        }
        from.max(self.last + 1)
    }

    /// See [`super::Log::previous_on`]; `oldest` is the oldest offset.
    pub(super) fn previous_on(&self, topics: &[TopicSelector], upto: Offset, oldest: Offset) -> Offset {
        let Some(hashes) = exact(topics) else { return upto };
        let mut page = upto.min(self.last) / PAGE;
        while page >= self.first && page * PAGE + PAGE > oldest {
            if self.may_hold(page, &hashes) {
                return upto.min(page * PAGE + PAGE - 1);
            }
            let Some(before) = page.checked_sub(1) else { break };
            page = before;
        }
        upto.min(oldest - 1)
    }

    fn may_hold(&self, page: u64, wanted: &[u32]) -> bool {
        let Some(nth) = page.checked_sub(self.first) else { return true };
        match usize::try_from(nth).ok().and_then(|nth| self.closed.get(nth)) {
            Some(None) => true,
            Some(Some(hashes)) => wanted.iter().any(|hash| hashes.binary_search(hash).is_ok()),
            None => self.open.unknown || wanted.iter().any(|hash| self.open.hashes.contains(hash)),
        }
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> u64 {
        let open = self.open.hashes.capacity() * 8;
        (self.hashes * size_of::<u32>() + self.closed.len() * 32 + open) as u64
    }
}

/// The hashes of topics.
pub(super) fn hashes<'a>(topics: impl Iterator<Item = &'a str>) -> impl Iterator<Item = u32> {
    topics.map(hash)
}

/// As pages that are full are kept.
pub(super) fn sorted(hashes: &HashSet<u32>) -> Box<[u32]> {
    let mut sorted: Box<[u32]> = hashes.iter().copied().collect();
    sorted.sort_unstable();
    sorted
}

/// The hashes of these topics, unless a glob is among them: where those may stand is not known.
fn exact(topics: &[TopicSelector]) -> Option<Vec<u32>> {
    let hash_of = |selector: &TopicSelector| match selector {
        TopicSelector::Exact(topic) => Some(hash(Topic::as_str(topic))),
        TopicSelector::Glob(_) => None,
    };
    topics.iter().map(hash_of).collect()
}

fn page_of(event: &Appended) -> u64 {
    event.cursor.offset / PAGE
}

/// FNV-1a of 64 bits, folded. It is written to disk, so it must not change.
fn hash(topic: &str) -> u32 {
    let hash = topic
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}

#[cfg(test)]
mod tests {
    use super::super::contract::{appended, topic};
    use super::*;

    fn selectors(names: &[&str]) -> Vec<TopicSelector> {
        names.iter().map(|name| TopicSelector::parse(name).expect("a selector")).collect()
    }

    /// 5 000 events, of which one in each of these places is on topic `rare`, and every other on `t`.
    fn index(rare: &[Offset]) -> Index {
        let mut index = Index::default();
        for begin in (1..=5000).step_by(100) {
            let name = |at| if rare.contains(&at) { "rare" } else { "t" };
            let events: Vec<_> = (begin..begin + 100).map(|at| appended(at, &[topic(name(at))])).collect();
            let closing = index.closing(&events);
            index.add(&events);
            let known: Vec<Closed> = closing
                .iter()
                .map(|(page, _)| (*page, index.closed[usize::try_from(*page).expect("few")].clone()))
                .collect();
            assert_eq!(closing, known, "what is written down is what is known");
        }
        index
    }

    #[test]
    fn a_topic_is_looked_for_only_in_pages_that_hold_it() {
        let index = index(&[1500, 4500]);
        let next = |from| index.next_on(&selectors(&["rare"]), from);
        assert_eq!(
            [1, 1024, 1500, 1501, 2047, 2048, 4096, 4999, 5001].map(next),
            [1024, 1024, 1500, 1501, 2047, 4096, 4096, 4999, 5001]
        );
        assert_eq!(index.next_on(&selectors(&["nothing"]), 7), 5001);
        assert_eq!(index.next_on(&selectors(&["nothing", "rare"]), 7), 1024);
        assert_eq!(index.next_on(&selectors(&["r*".trim_end_matches('*'), "**"]), 7), 7, "a glob may be anywhere");
        let previous = |upto| index.previous_on(&selectors(&["rare"]), upto, 1);
        assert_eq!([5000, 4096, 4095, 2047, 1500, 1023, 1].map(previous), [5000, 4096, 2047, 2047, 1500, 0, 0]);
        assert_eq!(index.previous_on(&selectors(&["nothing"]), 5000, 17), 16);
    }

    #[test]
    fn pages_leave_with_their_events() {
        let mut index = index(&[1500]);
        let before = index.bytes();
        index.trim(2100);
        assert_eq!(before - index.bytes(), 2 * 32 + 3 * 4, "two pages, with one topic and with two");
        assert_eq!(index.next_on(&selectors(&["t"]), 2100), 2100);
        assert_eq!(index.previous_on(&selectors(&["rare"]), 5000, 2100), 2099);
        index.trim(5001);
        assert_eq!(index.next_on(&selectors(&["rare"]), 5001), 5001);
        assert_eq!((index.closed.len(), index.hashes), (0, 0), "what they took is free");
    }

    #[test]
    fn a_page_whose_last_place_is_taken_is_full_when_the_log_opens() {
        let full = Index::recovered(1, PAGE - 1, [(0, Some(Box::from([hash("t")])))]);
        assert_eq!(["t", "rare"].map(|name| full.next_on(&selectors(&[name]), 1)), [1, PAGE]);
        let filling = Index::recovered(1, PAGE - 2, [(0, Some(Box::from([hash("t")])))]);
        assert_eq!(filling.next_on(&selectors(&["t"]), 1), PAGE - 1, "of one that is not, the row is not believed");
        let trimmed = Index::recovered(7 * PAGE + 5, 9 * PAGE, []);
        assert_eq!((trimmed.first, trimmed.closed.len()), (7, 2), "what was trimmed takes no room");
    }

    /// Files of every version hold these.
    #[test]
    fn a_topic_has_the_hash_that_was_written_to_disk() {
        assert_eq!(["t", "orders/42"].map(hash), [0x2961_ebef, 0xe94a_f829]);
    }

    #[test]
    fn of_a_page_that_is_not_known_everything_may_be_in_it() {
        let known = || Some(Box::from([hash("t")]));
        let mut index = Index::recovered(100, 4 * PAGE + 5, [(0, known()), (2, known()), (3, known())]);
        let next = |index: &Index, from| index.next_on(&selectors(&["rare"]), from);
        assert_eq!([100, PAGE, 2 * PAGE].map(|from| next(&index, from)), [PAGE, PAGE, 4 * PAGE + 6]);
        index.recall(HashSet::from([hash("rare")]), false);
        assert_eq!(next(&index, 2 * PAGE), 4 * PAGE);
        let mut index = Index::recovered(1, 5, []);
        assert_eq!(next(&index, 1), 6);
        index.recall(HashSet::new(), true);
        assert_eq!(next(&index, 1), 1);
        let filling: Vec<_> = (6..PAGE).map(|at| appended(at, &[topic("t")])).collect();
        assert_eq!(index.closing(&filling), [(0, None)]);
        index.add(&filling);
        assert_eq!(next(&index, 1), 1);
    }
}
