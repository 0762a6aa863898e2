//! What a snapshot holds, and how it is given.

use super::super::PagesOptions;
use super::super::tests::selection;
use super::*;
use crate::event::{Event, Gone};
use crate::log::{Log, MemoryLog, Retention, system_clock};
use crate::shutdown::Shutdown;

const ENOUGH: Budget = Budget { events: 1000, bytes: 1 << 20 };

/// An event on these topics, the canonical one first, and with this key, if it is any.
fn on(topics: &str, key: &str) -> Event {
    let topics = topics.split(' ').map(|name| Topic::parse(name).expect("a topic"));
    let topics: crate::event::Topics = topics.collect();
    Event { conflate: Key::parse(key).ok(), topics, ..Event::new(Topic::parse("t").expect("a topic"), vec![b'x'; 99]) }
}

/// A hub over a log of these events, which keeps one page beside those at the live edge.
async fn hub(events: impl IntoIterator<Item = Event>) -> Arc<Hub> {
    let log = MemoryLog::new(Retention::default(), system_clock());
    log.append(events.into_iter().collect()).await.expect("stored");
    let options = PagesOptions { cached_bytes: 0, ..PagesOptions::default() };
    Hub::start(Arc::new(log), options, &Shutdown::default()).await.expect("a hub")
}

async fn taken(hub: &Hub, selector: &str) -> Snapshot {
    hub.snapshot(&selection(selector)).await.expect("a snapshot")
}

/// A step in words: the offsets of its events, or what else it came to.
fn step(snapshot: &mut Snapshot, hub: &Hub, budget: Budget) -> String {
    match snapshot.step(hub, budget) {
        Step::Events(events) => {
            events.iter().map(|event| event.cursor.offset.to_string()).collect::<Vec<_>>().join(" ")
        }
        Step::Gap(Missing { reason, offsets }) => format!("{} {offsets:?}", reason.as_str()),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn the_newest_of_each_topic_and_key_comes_by_rising_offset() {
    let events = [("a", ""), ("b", ""), ("a", ""), ("c a", ""), ("b", "1"), ("b", "2"), ("b", "1"), ("a", "")];
    let hub = hub(events.map(|(topics, key)| on(topics, key))).await;
    for (selector, expected) in [("**", "2 4 6 7 8"), ("a", "8"), ("c", "4"), ("b", "2 6 7"), ("d", "LiveEdge")] {
        let mut snapshot = taken(&hub, selector).await;
        assert_eq!((snapshot.edge(), snapshot.missing()), (8, None), "{selector}");
        assert_eq!(step(&mut snapshot, &hub, ENOUGH), expected, "{selector}");
        assert!(snapshot.is_over());
    }
    assert_eq!((taken(&hub, "b").await.begin(), taken(&hub, "d").await.begin()), (1, 8));
}

#[tokio::test]
async fn a_step_takes_no_more_than_it_may_and_can_be_taken_back() {
    let hub = hub(["a", "b", "c", "d", "e"].map(|name| on(name, ""))).await;
    let mut snapshot = taken(&hub, "**").await;
    assert_eq!(snapshot.cursor(), 0);
    let few = Budget { events: 2, ..ENOUGH };
    assert_eq!(step(&mut snapshot, &hub, few), "1 2");
    assert_eq!((snapshot.cursor(), snapshot.is_over()), (2, false));
    snapshot.back_to(1);
    assert_eq!((snapshot.cursor(), step(&mut snapshot, &hub, few)), (1, "2 3".to_owned()));
    snapshot.back_to(5);
    assert_eq!(snapshot.cursor(), 3, "never on");
    // A hundred bytes each.
    for (bytes, expected) in [(200, "1 2"), (199, "1"), (1, "1"), (300, "1 2 3")] {
        snapshot.back_to(0);
        assert_eq!(step(&mut snapshot, &hub, Budget { bytes, ..ENOUGH }), expected, "{bytes} bytes");
    }
    assert_eq!(step(&mut snapshot, &hub, ENOUGH), "4 5");
    assert_eq!(step(&mut snapshot, &hub, ENOUGH), "LiveEdge");
}

#[tokio::test]
async fn what_goes_after_it_was_taken_is_a_gap_at_its_place() {
    let hub = hub(["a", "b", "c", "d", "e"].map(|name| on(name, ""))).await;
    let mut snapshot = taken(&hub, "**").await;
    hub.pages().remove(&[2, 3].into(), Gone::Deleted);
    hub.pages().remove(&[4].into(), Gone::Expired);
    let mut told = Vec::new();
    while !snapshot.is_over() {
        told.push(step(&mut snapshot, &hub, ENOUGH));
    }
    assert_eq!(told, ["1", "deleted Some(2)", "expired Some(1)", "5"]);
    let mut snapshot = taken(&hub, "**").await;
    assert_eq!(
        (step(&mut snapshot, &hub, ENOUGH), snapshot.missing()),
        ("1 5".to_owned(), None),
        "it holds what is left"
    );
}

#[tokio::test]
async fn a_page_that_is_not_in_memory_is_asked_for() {
    let name = |offset| match offset {
        1 => "rare",
        1500 => "seldom",
        _ => "often",
    };
    let hub = hub((1..=3000).map(|offset| on(name(offset), ""))).await;
    let mut snapshot = taken(&hub, "**").await;
    assert_eq!(step(&mut snapshot, &hub, ENOUGH), "1", "the page that was looked through last is in memory");
    assert_eq!(step(&mut snapshot, &hub, ENOUGH), "Behind(1500)");
    assert_eq!(snapshot.cursor(), 1);
    let page = hub.load(1500).await.expect("a page");
    hub.load(1).await.expect("another in its place");
    assert!(hub.pages().get(1500).is_none());
    snapshot.give(page);
    assert_eq!(step(&mut snapshot, &hub, ENOUGH), "1500 3000");
}

#[tokio::test]
async fn of_more_than_it_may_hold_it_holds_the_newest_and_says_so() {
    let more = Snapshot::MOST as u64 + 1;
    let hub = hub((0..more).map(|nth| on(&format!("{nth}"), ""))).await;
    let limit = Missing { reason: GapReason::Limit, offsets: None };
    let snapshot = taken(&hub, "**").await;
    assert_eq!((snapshot.begin(), snapshot.offsets.len(), snapshot.missing()), (1, Snapshot::MOST, Some(limit)));
    let all =
        Selection::new((1..more).map(|nth| crate::event::TopicSelector::parse(&format!("{nth}")).unwrap()).collect());
    let snapshot = hub.snapshot(&Arc::new(all)).await.expect("a snapshot");
    assert_eq!((snapshot.offsets.len(), snapshot.missing()), (Snapshot::MOST, None), "as many as it may hold");
}
