//! The contract of removal and of late returns as a property: a store and a plain `Vec` are led through the same steps, the
//! durable one also through restarts and crashes, and compared place by place and topic by topic.

use proptest::prelude::*;

use super::removal::exact;
use super::*;
use crate::event::Gone;

/// Topics that events are on; of the last one three are kept.
const TOPICS: [&str; 4] = ["a", "a/b", "c", "ruled"];
const RULED: u8 = 8;
const KEPT: usize = 3;

/// Those of them that are for who has a key.
const SHUT: [&str; 2] = ["a/b", "ruled"];

/// What readers ask for.
const SELECTORS: [&str; 9] = ["a", "a/b", "a/*", "*/b", "c", "*", "ruled", "never", "**"];

#[derive(Clone, Debug)]
enum Step {
    /// Append so many events on the topics of this mask, for all or for who has a key.
    Append(usize, u8, bool),
    /// Delete a topic.
    DeleteTopic(usize),
    /// Delete the event at this percentage of all there were.
    DeleteEvent(u64),
    /// Let time go by.
    Wait(u64),
    /// Open the log anew, where it has a file; as it is after it was closed, or as `kill -9` leaves it.
    Reopen { killed: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..300_usize, prop_oneof![4 => 1..8_u8, 1 => Just(RULED)], prop::bool::weighted(0.3))
            .prop_map(|(count, mask, private)| Step::Append(count, mask, private)),
        1 => (600..1_500_usize, any::<bool>()).prop_map(|(count, private)| Step::Append(count, RULED, private)),
        1 => (0..3_usize).prop_map(Step::DeleteTopic),
        2 => (0..105_u64).prop_map(Step::DeleteEvent),
        2 => (0..3_000_u64).prop_map(Step::Wait),
        2 => any::<bool>().prop_map(|killed| Step::Reopen { killed }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn memory_remembers_what_a_plain_vec_does(events in 20..2_000_u64, steps in prop::collection::vec(step(), 1..30)) {
        runtime().block_on(check(memory, events, steps));
    }

    #[test]
    fn sqlite_remembers_what_a_plain_vec_does(events in 20..2_000_u64, steps in prop::collection::vec(step(), 1..30)) {
        runtime().block_on(check(sqlite, events, steps));
    }
}

/// An event as it should be: its topics, and why it is gone, if it is.
struct Place {
    mask: u8,
    private: bool,
    gone: Option<Gone>,
}

impl Place {
    fn is_on(&self, topic: usize) -> bool {
        self.mask & (1 << topic) != 0
    }

    fn matches(&self, selector: &TopicSelector) -> bool {
        self.matches_where(selector, |_| true)
    }

    /// Whether it is for who has no key, and asks so.
    fn matches_for_all(&self, selector: &TopicSelector) -> bool {
        !self.private && self.matches_where(selector, |name| !SHUT.contains(&name))
    }

    fn matches_where(&self, selector: &TopicSelector, readable: impl Fn(&str) -> bool) -> bool {
        let matches = |name| readable(name) && selector.matches(&topic(name));
        TOPICS.iter().enumerate().any(|(nth, name)| self.is_on(nth) && matches(name))
    }
}

fn retention(events: u64) -> Retention {
    let keep = Keep { events: Some(KEPT as u64), ..Keep::default() };
    Retention { events, topics: vec![TopicRetention { matches: exact("ruled")[0].clone(), keep }], ..EVERYTHING }
}

async fn check(open: Open, events: u64, steps: Vec<Step>) {
    let mut fixture = open(retention(events));
    let mut all: Vec<Place> = Vec::new();
    for step in steps {
        let log = Arc::clone(&fixture.log);
        match step {
            Step::Append(count, mask, private) => {
                let on: Vec<_> = TOPICS.iter().enumerate().filter(|(nth, _)| mask & (1 << nth) != 0).collect();
                let topics = on.iter().map(|(_, name)| topic(name)).collect();
                let event = Event { topics, private, ..event("x") };
                log.append(vec![event; count]).await.expect("stored");
                all.extend(std::iter::repeat_with(|| Place { mask, private, gone: None }).take(count));
            }
            Step::DeleteTopic(nth) => {
                let before = log.bounds().first;
                let deleted = log.delete(Delete::Topic(topic(TOPICS[nth]))).await.expect("done");
                let there = |first: Offset| {
                    let places = all.iter().skip(usize::try_from(first).expect("small") - 1);
                    places.filter(|place| place.is_on(nth) && place.gone.is_none()).count() as u64
                };
                let (most, least) = (there(before), there(log.bounds().first));
                assert!((least..=most).contains(&deleted), "{deleted} deleted of {least} to {most}");
                let on_topic = all.iter_mut().filter(|place| place.is_on(nth) && place.gone.is_none());
                on_topic.for_each(|place| place.gone = Some(Gone::Deleted));
            }
            Step::DeleteEvent(percent) => {
                let at = all.len() as u64 * percent / 100;
                let place = usize::try_from(at).expect("small").checked_sub(1).and_then(|nth| all.get_mut(nth));
                let first = log.bounds().first;
                let deleted = log.delete(Delete::Event(log.cursor(at))).await.expect("done");
                match place {
                    Some(place) if place.mask != RULED => {
                        let there = place.gone.is_none() && at >= first;
                        assert!(deleted == u64::from(there) || at < log.bounds().first, "{deleted} deleted at {at}");
                        place.gone = place.gone.or(Some(Gone::Deleted));
                    }
                    Some(place) if deleted == 1 => place.gone = Some(Gone::Deleted),
                    Some(_) => {}
                    None => assert_eq!(deleted, 0, "nothing is at {at}"),
                }
            }
            Step::Wait(milliseconds) => fixture.clock.advance(Duration::from_millis(milliseconds)),
            Step::Reopen { killed } => reopen(&mut fixture, events, killed).await,
        }
        drop(log);
        compare(&fixture.log, &mut all).await;
    }
    fixture.clock.advance(Duration::from_secs(2));
    compare(&fixture.log, &mut all).await;
}

async fn reopen(fixture: &mut Fixture, events: u64, killed: bool) {
    let Some(directory) = &fixture._directory else { return };
    let copy = killed.then(|| crate::log::sqlite::as_killed(directory.path()));
    fixture.log.close().await;
    if let Some(copy) = copy {
        fixture._directory = Some(copy);
    }
    let path = fixture._directory.as_ref().expect("a directory").path();
    let options = SqliteOptions {
        retention: retention(events),
        clock: fixture.clock.clock(),
        steady: fixture.clock.steady(),
        durability: Durability::Os,
        ..SqliteOptions::new(path)
    };
    fixture.log = Arc::new(SqliteLog::open(options).expect("a log"));
}

/// Compares every place, and what is said of topics at some cursors, with what should be.
async fn compare(log: &Arc<dyn Log>, all: &mut [Place]) {
    let mut at = log.bounds().first;
    while at <= log.bounds().last {
        let page = log.read(at).await.expect("a page");
        assert!(!page.hole);
        let Some(last) = page.last() else { break };
        at = last + 1;
        for event in &page.events {
            let offset = event.cursor.offset;
            let nth = usize::try_from(offset).expect("small") - 1;
            let names: Vec<_> = event.event.topics.iter().map(Topic::as_str).collect();
            let expected: Vec<_> = (0..4)
                .filter(|nth| all[usize::try_from(offset).expect("small") - 1].is_on(*nth))
                .map(|nth| TOPICS[nth])
                .collect();
            assert_eq!(names, expected, "at {offset}");
            assert_eq!(event.event.private, all[nth].private, "at {offset}");
            if event.gone() == Some(Gone::Expired) && all[nth].gone.is_none() {
                let newer = all[nth + 1..]
                    .iter()
                    .filter(|place| place.mask == RULED && place.gone != Some(Gone::Expired))
                    .count();
                assert!(all[nth].mask == RULED && newer >= KEPT, "{offset} is not to expire");
                all[nth].gone = Some(Gone::Expired);
            }
            assert_eq!(event.gone(), all[nth].gone, "at {offset}");
            assert_eq!(event.event.data.is_empty(), event.gone().is_some(), "at {offset}");
        }
    }
    assert_eq!(log.bounds().last, all.len() as u64);
    for text in SELECTORS {
        let selector = [TopicSelector::parse(text).expect("a selector")];
        let first = log.bounds().first;
        let last_trimmed = |matches: fn(&Place, &TopicSelector) -> bool| {
            let trimmed = &all[..usize::try_from(first).expect("small") - 1];
            trimmed.iter().rposition(|place| matches(place, &selector[0])).map_or(0, |nth| nth as u64 + 1)
        };
        for (permit, last_trimmed) in [
            (&Permit::everything(), last_trimmed(Place::matches)),
            (&anonymous(&SHUT), last_trimmed(Place::matches_for_all)),
        ] {
            let wanted = Wanted { topics: &selector, permit };
            for after in [0, last_trimmed.saturating_sub(1), last_trimmed, first - 1, first] {
                let after = after.min(log.bounds().last);
                let position = log.seek(Start::Cursor(log.cursor(after)), wanted).await.expect("a position");
                if log.bounds().first == first {
                    assert_eq!(
                        position.missing.is_some(),
                        after < last_trimmed,
                        "{text} after {after} of what begins at {first}, for {permit:?}"
                    );
                    assert_eq!(position.after, after.max(first - 1));
                }
            }
        }
        // Where an event is, it is not passed over.
        for at in [first, (first + all.len() as u64) / 2, all.len() as u64].into_iter().filter(|at| *at > 0) {
            let (next, previous) = (log.next_on(&selector, at), log.previous_on(&selector, at));
            assert!(previous <= at && at <= next);
            let passed = (at..next).chain(previous + 1..=at).filter(|at| (first..=all.len() as u64).contains(at));
            for offset in passed {
                assert!(!all[usize::try_from(offset).expect("small") - 1].matches(&selector[0]), "{text} at {offset}");
            }
        }
    }
}
