//! What is kept in memory, and what goes.

use bytes::Bytes;

use super::super::tests::{large, small};
use super::*;
use crate::event::Slot;

const MIB: usize = 1 << 20;
const NO_LIMIT: PagesOptions =
    PagesOptions { pinned_events: u64::MAX, pinned_bytes: u64::MAX, cached_bytes: u64::MAX, replays: 64 };

/// Pages at whose live edge these events came, one by one.
fn live(options: PagesOptions, events: impl IntoIterator<Item = Arc<Appended>>) -> Pages {
    let pages = Pages::new(0, &[], options);
    events.into_iter().for_each(|event| pages.push(&[event]));
    pages
}

fn keep(pages: &Pages, events: impl IntoIterator<Item = Arc<Appended>>) -> Arc<Page> {
    pages.keep(&crate::log::Page { events: events.into_iter().collect(), hole: false })
}

/// Which of these offsets are in memory.
fn held(pages: &Pages, offsets: impl IntoIterator<Item = Offset>) -> Vec<Offset> {
    offsets.into_iter().filter(|at| pages.get(*at).is_some()).collect()
}

/// Renders the event at `at` to `len` bytes for each of the slots; nothing if it is not in memory.
fn render(pages: &Pages, at: Offset, len: usize) {
    let Some(page) = pages.get(at) else { return };
    for event in page.events(at, at) {
        for nth in 0..5 {
            let bytes = event.rendered(Slot { nth, of: 5 }, || vec![b'x'; len].into());
            assert_eq!(bytes.len(), len);
        }
    }
}

#[test]
fn what_came_after_the_edge_was_taken_comes_by_the_tail() {
    let pages = Pages::new(2, &[small(1), small(2), small(3)], NO_LIMIT);
    assert_eq!((held(&pages, 1..=4), pages.edge()), (vec![1, 2], 2));
    pages.push(&[small(3)]);
    assert_eq!((held(&pages, 1..=4), pages.edge()), (vec![1, 2, 3], 3));
}

#[test]
fn a_page_ends_before_an_event_that_makes_it_too_large() {
    let pages = live(NO_LIMIT, [large(1, MIB), large(2, MIB), large(3, MIB / 2), large(4, MIB / 4), large(5, MIB / 2)]);
    let pages_of = (1..=5).map(|at| pages.get(at).map(|page| (page.first(), page.last())));
    assert_eq!(pages_of.collect::<Option<Vec<_>>>().unwrap(), [(1, 1), (2, 2), (3, 4), (3, 4), (5, 5)]);
}

#[test]
fn pinned_pages_go_when_they_hold_too_many_events() {
    let pages = live(PagesOptions { pinned_events: 2 * PAGE, ..NO_LIMIT }, (1..=5 * PAGE).map(small));
    assert_eq!(held(&pages, [1, 3 * PAGE - 1, 3 * PAGE, 5 * PAGE]), [3 * PAGE, 5 * PAGE]);
}

#[test]
fn pinned_pages_go_when_they_hold_too_many_bytes() {
    let limit = 4 * MIB as u64;
    let pages = live(PagesOptions { pinned_bytes: limit, ..NO_LIMIT }, (1..=12).map(|at| large(at, MIB)));
    assert_eq!(held(&pages, 1..=12), [9, 10, 11, 12]); // Three, and the one that is being filled.
    assert!(pages.bytes().0 <= limit + 2 * MIB as u64);
}

#[test]
fn the_page_at_the_live_edge_stays_however_large() {
    let pages = live(PagesOptions { pinned_bytes: 1, pinned_events: 1, ..NO_LIMIT }, (1..=3).map(|at| large(at, MIB)));
    assert_eq!(held(&pages, 1..=3), [3]);
}

#[test]
fn an_event_counts_with_all_that_it_takes_in_memory() {
    let pages = live(NO_LIMIT, (1..=1000).map(small));
    keep(&pages, (1..=1000).map(small));
    for bytes in <[u64; 2]>::from(pages.bytes()) {
        // Itself, its place in the page, and the allocations of data and topic.
        assert!(bytes >= 1000 * (size_of::<Appended>() as u64 + 16 + 2 * 16), "{bytes} bytes");
    }
    let mut event = small(1).event.clone();
    let plain = Appended::new(small(1).cursor, small(1).time, event.clone()).footprint();
    event.topics.extend((0..9).map(|n| crate::event::Topic::parse(&format!("{n}").repeat(1000)).unwrap()));
    let topics = Appended::new(small(1).cursor, small(1).time, event).footprint();
    assert!(topics >= plain + 9 * (1000 + 16 + size_of::<crate::event::Topic>()), "{topics} bytes");
}

#[test]
fn pinned_pages_go_when_they_grow_by_what_is_rendered() {
    let limit = 8 * MIB as u64;
    let pages = live(PagesOptions { pinned_bytes: limit, ..NO_LIMIT }, (1..=30).map(|at| large(at, 200_000)));
    assert_eq!(held(&pages, [1, 30]), [1, 30]);
    let (before, added) = (pages.bytes().0, 4 * 100_000);
    render(&pages, 1, 100_000);
    assert!(pages.bytes().0 >= before + added, "a rendering counts when it is kept");
    for at in 2..=30 {
        render(&pages, at, 100_000);
        let bytes = pages.bytes().0;
        assert!(bytes <= limit + Pages::GROWTH + added + 1000, "{bytes} bytes at {at}");
    }
    assert_eq!(held(&pages, [1, 25, 30]), [25, 30], "no more than must go");
}

#[test]
fn cached_pages_go_when_they_grow_by_what_is_rendered() {
    let limit = 8 * MIB as u64;
    let pages = Pages::new(0, &[], PagesOptions { cached_bytes: limit, ..NO_LIMIT });
    for at in 1..=30 {
        keep(&pages, [large(at, 200_000)]);
    }
    assert_eq!(held(&pages, 1..=30).len(), 30);
    for at in 1..=30 {
        render(&pages, at, 400_000);
        let bytes = pages.bytes().1;
        assert!(bytes <= limit + Pages::GROWTH + 4 * 400_000 + 1000, "{bytes} bytes at {at}");
    }
    assert!((1..8).contains(&held(&pages, 1..=30).len()));
}

#[test]
fn an_event_in_memory_is_rendered_once_and_the_log_keeps_no_rendering() {
    let event = small(1);
    let pages = live(NO_LIMIT, [Arc::clone(&event)]);
    let rendered = |at: Offset, text: &'static str| {
        let page = pages.get(at).expect("a page");
        page.events(at, at)
            .next()
            .expect("an event")
            .rendered(Slot { nth: 0, of: 5 }, || Bytes::from_static(text.as_bytes()))
    };
    assert_eq!(rendered(1, "first"), "first");
    assert_eq!(rendered(1, "second"), "first");
    assert_eq!(event.rendered(Slot { nth: 0, of: 5 }, || "anew".into()), "anew");
}

#[test]
fn cached_pages_go_by_least_recent_use() {
    let pages = Pages::new(0, &[], PagesOptions { cached_bytes: 5 * MIB as u64 / 2, ..NO_LIMIT });
    keep(&pages, [large(1, MIB)]);
    keep(&pages, [large(2, MIB)]);
    assert_eq!(held(&pages, [2, 1]), [2, 1]); // The first one was used last.
    keep(&pages, [large(3, MIB)]);
    assert_eq!(held(&pages, [1, 2, 3]), [1, 3]);
    let bytes = pages.bytes().1;
    assert!((2 * MIB as u64..2 * MIB as u64 + 10_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn a_page_is_used_when_it_comes() {
    let pages = Pages::new(0, &[], PagesOptions { cached_bytes: 5 * MIB as u64 / 2, ..NO_LIMIT });
    for at in [2, 1, 3] {
        keep(&pages, [large(at, MIB)]);
    }
    assert_eq!(held(&pages, 1..=3), [1, 3]);
}

#[test]
fn a_page_that_is_read_again_counts_once() {
    let pages = Pages::new(0, &[], NO_LIMIT);
    keep(&pages, [small(1), small(2)]);
    let once = pages.bytes().1;
    assert!(once > 0);
    keep(&pages, [small(1), small(2)]);
    assert_eq!(pages.bytes().1, once);
}

#[test]
fn who_waited_for_a_page_leaves_nothing_behind() {
    let pages = Pages::new(0, &[], NO_LIMIT);
    let waiting = pages.flight(7);
    for page in 1..1000 {
        drop(pages.flight(page * PAGE));
    }
    assert!(Arc::ptr_eq(&waiting, &pages.flight(8)), "one page, one flight");
    let flights = pages.flights.lock().unwrap().len();
    assert!(flights <= 2, "{flights} flights");
}

#[test]
fn an_event_behind_a_missing_one_begins_a_page() {
    let pages = live(NO_LIMIT, [small(1), small(2), small(5)]);
    assert_eq!(held(&pages, 1..=6), [1, 2, 5]);
}

#[test]
fn a_page_that_was_read_before_a_removal_brings_nothing_back() {
    let gone = |page: &Page| page.events(1, 9).map(|event| event.gone()).collect::<Vec<_>>();
    let read = crate::log::Page { events: (1..=3).map(small).collect(), hole: false };
    let pages = live(NO_LIMIT, (1..=3).map(small));
    let (early, before) = (keep(&pages, (1..=3).map(small)), pages.removals());
    pages.remove(&Arc::from([2]), Gone::Deleted);
    let late = pages.keep_since(&read, before).expect("what was removed is known");
    for page in [&early, &late, &pages.get(1).expect("in memory")] {
        assert_eq!(gone(page), [None, Some(Gone::Deleted), None]);
    }
    pages.remove_before(2);
    assert_eq!(gone(&pages.get(1).expect("in memory")), [Some(Gone::Expired), Some(Gone::Deleted), None]);
    assert_eq!(gone(&pages.keep_since(&read, before).expect("known"))[0], Some(Gone::Expired));
    (0..1000).for_each(|_| pages.remove(&Arc::from([7]), Gone::Deleted));
    assert!(pages.keep_since(&read, before).is_none(), "it is to be read again");
    let before = pages.removals();
    pages.forget();
    assert!(pages.keep_since(&read, before).is_none() && pages.get(3).is_none());
    pages.push(&[small(4)]);
    assert_eq!(held(&pages, 1..=5), [4]);
    assert_eq!(pages.pinned.read().unwrap().len(), 1, "it goes on where it was");
}

#[test]
fn what_was_removed_is_known_for_a_while() {
    let pages = live(NO_LIMIT, (1..=9).map(small));
    let before = pages.removals();
    pages.remove(&Arc::from([3, 5]), Gone::Deleted);
    let between = pages.removals();
    pages.remove(&Arc::from([8]), Gone::Deleted);
    let removed = |range, since| pages.may_be_removed(range, since);
    assert_eq!(
        [1..=2, 3..=3, 4..=4, 4..=9, 6..=7, 8..=9, 9..=9].map(|range| removed(range, before)),
        [false, true, false, true, false, true, false]
    );
    assert!(!removed(1..=7, between) && removed(1..=8, between) && !removed(1..=9, pages.removals()));
    pages.remove_before(4);
    assert!(removed(3..=9, between) && !removed(4..=7, between));
    (0..300).for_each(|_| pages.remove(&Arc::from([8]), Gone::Deleted));
    assert!(removed(9..=9, before), "nobody knows");
    let before = pages.removals();
    pages.forget();
    assert!(removed(9..=9, before) && !removed(9..=9, pages.removals()));
}

#[test]
fn of_what_was_removed_the_newest_is_known_and_as_much_as_there_is_room_for() {
    let pages = live(NO_LIMIT, (1..=9).map(small));
    let remove = |offsets: Vec<Offset>| pages.remove(&offsets.into(), Gone::Deleted);
    let before = pages.removals();
    (0..Removed::KEPT.0).for_each(|_| remove(vec![8]));
    assert!(!pages.may_be_removed(9..=9, before), "so many are known");
    remove(vec![8]);
    assert!(pages.may_be_removed(9..=9, before), "one more is too many");

    let many = || (10..).take(Removed::KEPT.1 + 1).collect();
    let before = pages.removals();
    remove(many());
    assert!(!pages.may_be_removed(9..=9, before), "the newest is known, however large");
    remove(many());
    assert!(pages.may_be_removed(9..=9, before) && !pages.may_be_removed(9..=9, before + 1));
    (0..Removed::KEPT.0).for_each(|_| remove(vec![8]));
    let before = pages.removals();
    (0..Removed::KEPT.0).for_each(|_| remove(vec![8]));
    assert!(!pages.may_be_removed(9..=9, before), "what is known no more takes no room");
}

#[test]
fn a_page_gives_of_what_is_asked_for_what_it_holds() {
    let page = keep(&Pages::new(0, &[], NO_LIMIT), (5..=7).map(small));
    let offsets = |from, upto| page.events(from, upto).map(|event| event.cursor.offset).collect::<Vec<_>>();
    assert_eq!(offsets(1, 9), [5, 6, 7]);
    assert_eq!((offsets(1, 5), offsets(6, 6), offsets(7, 9)), (vec![5], vec![6], vec![7]));
    assert_eq!((offsets(1, 4), offsets(8, 9), offsets(7, 5)), (vec![], vec![], vec![]));
}
