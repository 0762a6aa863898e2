//! What one step takes, and what it says.

use super::super::tests::{appended, large, small};
use super::super::{Pages, PagesOptions};
use super::*;
use crate::access::{Access, Open, Permit, Policy, Rule, Rules, Secrets};
use crate::event::{Cursor, Event, Gone, Timestamp, Topic, TopicSelector};
use crate::log::{Clock, Log, MemoryLog, Retention, Start, system_clock};

const ENOUGH: Budget = Budget { events: 1000, bytes: 1 << 20 };

/// The events as pages that were read from the log, each a page of its own.
fn pages(events: impl IntoIterator<Item = Vec<Arc<Appended>>>) -> Hub {
    pages_at(events, system_clock())
}

fn pages_at(events: impl IntoIterator<Item = Vec<Arc<Appended>>>, clock: Clock) -> Hub {
    let pages = Pages::new(0, &[], PagesOptions::default());
    events.into_iter().for_each(|events| drop(pages.keep(&crate::log::Page { events, hole: false })));
    Hub::over(Arc::new(MemoryLog::new(Retention::default(), system_clock())), pages, clock, 64)
}

fn removed(event: Arc<Appended>, why: Gone) -> Arc<Appended> {
    event.remove(why);
    event
}

/// An event, stored at 0, that goes by itself after so many milliseconds.
fn passing(offset: Offset, milliseconds: u64) -> Arc<Appended> {
    let Appended { cursor, time, ref event, .. } = *small(offset);
    let ttl = Some(std::time::Duration::from_millis(milliseconds));
    Arc::new(Appended::new(cursor, time, crate::event::Event { ttl, ..event.clone() }))
}

/// All that a reader says up to the live edge, with its cursor where that is told.
fn way(hub: &Hub, selector: &str, edge: Offset) -> Vec<String> {
    let mut reader = reader(selector, 0);
    let mut words = Vec::new();
    loop {
        match reader.step(hub, edge, ENOUGH) {
            Step::LiveEdge => return words,
            Step::Gap(Missing { reason, offsets }) => {
                words.push(format!("{} {offsets:?} before {}", reason.as_str(), reader.cursor() + 1));
            }
            step => words.push(said(step)),
        }
    }
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

#[tokio::test]
async fn a_page_that_was_given_and_begins_behind_what_was_trimmed_is_used_once() {
    let log = MemoryLog::new(Retention { events: 1, ..Retention::default() }, system_clock());
    log.append(vec![small(1).event.clone(); 3]).await.expect("an append");
    let hub = Hub::over(Arc::new(log), Pages::new(0, &[], PagesOptions::default()), system_clock(), 64);
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

#[test]
fn what_is_gone_is_a_gap_at_its_place_for_those_that_it_concerned() {
    let other = |at| appended(at, "other", "x");
    let hub = pages([
        vec![small(1), removed(small(2), Gone::Deleted), other(3), removed(small(4), Gone::Deleted)],
        vec![removed(other(5), Gone::Deleted), small(6), passing(7, 2000), removed(small(8), Gone::Deleted)],
        vec![small(9), removed(other(10), Gone::Expired), removed(small(11), Gone::Deleted), other(12)],
    ]);
    let expected = [
        "1",
        "deleted Some(2) before 6",
        "6",
        "expired Some(1) before 8",
        "deleted Some(1) before 9",
        "9",
        "deleted Some(1) before 13",
    ];
    assert_eq!(way(&hub, "t", 12), expected);
    let expected = ["3", "deleted Some(1) before 10", "expired Some(1) before 12", "12"];
    assert_eq!(way(&hub, "other", 12), expected);
    assert!(way(&hub, "nothing", 12).is_empty(), "nobody is told what did not concern it");
}

/// Of six events the first two and the fourth are gone before it asks, the fifth and one of its own time after.
#[test]
fn who_asks_for_what_is_there_is_told_what_goes_from_then_on() {
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(5000));
    let time = Arc::clone(&clock);
    let now: Clock = Arc::new(move || Timestamp(time.load(std::sync::atomic::Ordering::Relaxed)));
    let events =
        vec![removed(small(1), Gone::Expired), passing(2, 2000), small(3), small(4), small(5), passing(6, 9000)];
    let hub = pages_at([events, vec![small(7)]], now);
    hub.pages().pass(7);
    hub.pages().remove(&Arc::from([4]), Gone::Deleted);
    let steps = |mut reader: Reader| {
        let mut told = Vec::new();
        loop {
            match reader.step(&hub, 7, ENOUGH) {
                Step::LiveEdge => return told,
                Step::Gap(Missing { offsets, .. }) => told.push(format!("{offsets:?} gone")),
                step => told.push(said(step)),
            }
        }
    };
    let asking = reader("t", 0).asking_for_what_is_there(&hub);
    assert_eq!(steps(asking.clone()), ["3 5 6 7"]);
    hub.pages().remove(&Arc::from([5]), Gone::Deleted);
    assert_eq!(steps(asking.clone()), ["3", "Some(1) gone", "6 7"]);
    clock.store(9001, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(steps(asking), ["3", "Some(1) gone", "Some(1) gone", "7"], "for two reasons");
    assert_eq!(steps(reader("t", 0).asking_for_what_is_there(&hub)), ["3 7"]);
    let told = ["Some(2) gone", "3", "Some(2) gone", "Some(1) gone", "7"];
    assert_eq!(steps(reader("t", 0)), told, "who comes back is told all of it");
}

/// Of an event that was removed its type is not kept.
#[test]
fn what_is_gone_may_have_been_of_any_type() {
    let hub = pages([vec![small(1), removed(small(2), Gone::Deleted), small(3)]]);
    let selector = TopicSelector::parse("t").expect("a selector");
    let paid = crate::event::EventType::parse("paid").expect("a type");
    let mut reader = Reader::new(Arc::new(Selection::new(vec![selector]).of_types(vec![paid])), 0);
    assert_eq!(said(reader.step(&hub, 3, ENOUGH)), "Gap(Missing { reason: Deleted, offsets: None })");
    assert_eq!(said(reader.step(&hub, 3, ENOUGH)), "LiveEdge");
}

#[test]
fn a_reader_that_owes_a_gap_can_be_made_to_tell_it() {
    let hub = pages([vec![removed(small(1), Gone::Deleted), appended(2, "other", "x")]]);
    let mut reader = reader("t", 0);
    assert_eq!(said(reader.step(&hub, 5, ENOUGH)), "Behind(3)");
    assert!(reader.owes_gap());
    assert_eq!(reader.take_gap(), Some(Missing { reason: GapReason::Deleted, offsets: Some(1) }));
    assert!(!reader.owes_gap());
}

#[test]
fn an_event_with_a_time_of_its_own_is_delivered_as_it_comes_and_not_after_that() {
    for (now, ttl, expected) in [
        (0, 0, "1"),
        (1000, 0, "1"),
        (1001, 0, "expired Some(1) before 2"),
        (4999, 5000, "1"),
        (5000, 5000, "1"),
        (5001, 5000, "expired Some(1) before 2"),
    ] {
        let hub = pages_at([vec![passing(1, ttl)]], Arc::new(move || Timestamp(now)));
        assert_eq!(way(&hub, "t", 1), [expected], "{ttl} ms, {now} ms later");
    }
}

/// The permit of who has no key, where only `pub/**` is public.
fn anonymous() -> Permit {
    let public = TopicSelector::parse("pub/**").expect("a selector");
    let rules = Rules {
        rules: vec![Rule { matches: public, read: Open::Public, publish: Open::Key }],
        ..Rules::all(Open::Key, Open::Key)
    };
    Access::new(Policy { rules: rules.into(), keys: Secrets::default(), open: false }).permit(None)
}

/// The same at its place: of what was removed it is known who could read it.
#[test]
fn what_was_removed_and_could_not_be_read_is_no_gap() {
    let private = Event { private: true, ..Event::new(Topic::parse("pub/b").expect("a topic"), "x") };
    let private = Arc::new(Appended::new(Cursor { offset: 2, ..small(2).cursor }, Timestamp(0), private));
    let hub = pages([vec![
        removed(appended(1, "secret/a", "x"), Gone::Deleted),
        removed(private, Gone::Deleted),
        removed(appended(3, "pub/b", "x"), Gone::Deleted),
        appended(4, "pub/b", "x"),
    ]]);
    let selection = |text| Selection::new(vec![TopicSelector::parse(text).expect("a selector")]);
    for (text, keyed, gap) in [("**", 3, 1), ("*/b", 2, 1), ("pub/*", 2, 1)] {
        for (selection, lost) in [(selection(text), keyed), (selection(text).for_reader(anonymous()), gap)] {
            let mut reader = Reader::new(Arc::new(selection), 0);
            let expected = format!("Gap(Missing {{ reason: Deleted, offsets: Some({lost}) }})");
            assert_eq!(
                [said(reader.step(&hub, 4, ENOUGH)), said(reader.step(&hub, 4, ENOUGH))],
                [expected, "4".into()]
            );
        }
    }
    let mut hidden = Reader::new(Arc::new(selection("secret/*").for_reader(anonymous())), 0);
    assert_eq!(said(hidden.step(&hub, 4, ENOUGH)), "LiveEdge");
}

/// A gap must not say what exists: neither of topics that are hidden from a reader, nor of private events.
#[tokio::test]
async fn what_a_reader_may_not_read_is_no_gap_for_it() {
    let log = MemoryLog::new(Retention { events: 1, ..Retention::default() }, system_clock());
    let event = |name, private| Event { private, ..Event::new(Topic::parse(name).expect("a topic"), "x") };
    for (name, private) in
        [("pub/seen", false), ("secret/acme-merger", false), ("pub/a", true), ("pub/last", false), ("secret/x", false)]
    {
        log.append(vec![event(name, private)]).await.expect("an append");
    }
    let (epoch, hub) = (log.cursor(1).epoch, {
        let pages = Pages::new(5, &[], PagesOptions::default());
        Hub::over(Arc::new(log), pages, system_clock(), 64)
    });
    for (text, after, all, some) in [
        ("secret/*", 0, true, false),
        ("other/*", 0, false, false),
        ("*/acme-merger", 0, true, false),
        ("*/other-merger", 0, false, false),
        ("pub/a", 0, true, false),
        ("pub/seen", 0, true, true),
        ("pub/seen", 1, false, false),
        ("**", 0, true, true),
        ("pub/*", 1, true, true),
        ("**", 3, true, true),
        ("**", 4, false, false),
    ] {
        let selection = || Selection::new(vec![TopicSelector::parse(text).expect("a selector")]);
        for (selection, gap) in [(selection(), all), (selection().for_reader(anonymous()), some)] {
            let start = Start::Cursor(Cursor { epoch, offset: after });
            let position = hub.seek(start, &selection).await.expect("a position");
            assert_eq!(position.missing.is_some(), gap, "{text} after {after}, {:?}", selection.permit());
            let mut reader = Reader::new(Arc::new(selection), after);
            reader.give(Arc::new(Page::of(&[small(5)], &Arc::default())));
            let told = said(reader.step(&hub, 5, ENOUGH));
            assert_eq!(told.starts_with("Gap"), gap, "{text} after {after}: {told}");
        }
    }
}

#[tokio::test]
async fn pages_that_hold_nothing_for_a_reader_are_not_asked_for() {
    let log = MemoryLog::new(Retention::default(), system_clock());
    let topic = |at| Topic::parse(if at == 4500 { "rare" } else { "t" }).expect("a topic");
    log.append((1..=5000).map(|at| Event::new(topic(at), "x")).collect()).await.expect("room");
    let hub = Hub::over(Arc::new(log), Pages::new(0, &[], PagesOptions::default()), system_clock(), 64);
    let mut reader = reader("rare", 0);
    assert_eq!(said(reader.step(&hub, 5000, ENOUGH)), "Behind(4096)");
    assert_eq!(reader.cursor(), 4095);
}
