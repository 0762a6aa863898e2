//! What one step takes, and what it says.

use super::super::tests::{appended, large, small};
use super::super::{Pages, PagesOptions};
use super::*;
use crate::event::TopicSelector;
use crate::log::{MemoryLog, Retention, system_clock};

const ENOUGH: Budget = Budget { events: 1000, bytes: 1 << 20 };

/// The events as pages that were read from the log, each a page of its own.
fn pages(events: impl IntoIterator<Item = Vec<Arc<Appended>>>) -> Hub {
    let pages = Pages::new(0, &[], PagesOptions::default());
    events.into_iter().for_each(|events| drop(pages.keep(&crate::log::Page { events, hole: false })));
    Hub::over(Arc::new(MemoryLog::new(Retention::default(), system_clock())), pages, system_clock(), 64)
}

fn reader(selector: &str, cursor: Offset) -> Reader {
    let selector = TopicSelector::parse(selector).expect("a selector");
    Reader::new(Arc::new(Selection::new(vec![selector])), cursor)
}

/// A step in words: the offsets of its events, or what else it came to.
fn said(step: Step) -> String {
    match step {
        Step::Events(events) => {
            events.iter().map(|event| event.cursor.offset.to_string()).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn events_before_a_hole_come_before_the_gap() {
    let hub = pages([vec![small(1), small(2)]]);
    let mut reader = reader("**", 0);
    assert_eq!(said(reader.step(&hub, 6, ENOUGH)), "1 2");
    assert_eq!(said(reader.step(&hub, 6, ENOUGH)), "Behind(3)");
    reader.give(hub.pages().keep(&crate::log::Page { events: vec![small(5), small(6)], hole: true }));
    assert_eq!(said(reader.step(&hub, 6, ENOUGH)), "Gap(Missing { reason: Hole, offsets: Some(2) })");
    assert_eq!(said(reader.step(&hub, 6, ENOUGH)), "5 6");
    assert_eq!(said(reader.step(&hub, 6, ENOUGH)), "LiveEdge");
    assert_eq!(reader.cursor(), 6);
}

#[test]
fn a_page_that_was_given_and_begins_behind_a_hole_is_used_once() {
    let hub = pages([vec![small(3)]]);
    let mut reader = reader("**", 0);
    reader.give(Arc::new(Page::of(&[small(3)], &Arc::default())));
    assert_eq!(said(reader.step(&hub, 3, ENOUGH)), "Gap(Missing { reason: Expired, offsets: Some(2) })");
    assert_eq!(said(reader.step(&hub, 3, ENOUGH)), "3");
}

#[test]
fn a_step_looks_through_a_few_pages_and_lets_others_have_their_turn() {
    let hub = pages((1..=20).map(|at| vec![small(at)]));
    let mut reader = reader("nothing", 0);
    assert_eq!(said(reader.step(&hub, 20, ENOUGH)), "Scanned");
    assert_eq!(reader.cursor(), 8);
    assert_eq!(said(reader.step(&hub, 20, ENOUGH)), "Scanned");
    assert_eq!(said(reader.step(&hub, 20, ENOUGH)), "LiveEdge");
    assert_eq!(reader.cursor(), 20);
}

#[test]
fn a_step_ends_before_the_event_that_is_too_much() {
    let sizes = [100, 100, 50, 100, 1000, 10, 10];
    let other = |at| appended(at, "other", vec![b'x'; 5000]); // Costs nothing: it does not match.
    let events = (1..).zip(sizes).map(|(at, size)| large(2 * at - 1, size)).zip((1..).map(|at| other(2 * at)));
    let hub = pages([events.flat_map(<[_; 2]>::from).collect()]);
    let mut reader = reader("t", 0);
    let budget = Budget { events: 1000, bytes: 250 };
    for expected in ["1 3 5", "7", "9", "11 13", "LiveEdge"] {
        assert_eq!(said(reader.step(&hub, 14, budget)), expected);
    }
    reader.back_to(0);
    let budget = Budget { events: 2, bytes: 250 };
    for expected in ["1 3", "5 7", "9", "11 13"] {
        assert_eq!(said(reader.step(&hub, 14, budget)), expected);
    }
}
