//! What every store promises of events that are removed, and of those that come back late.

use tokio_stream::StreamExt;

use super::*;
use crate::event::Gone;

on_every_store! {
    a_deleted_topic_leaves_tombstones_and_nothing_else,
    what_is_deleted_is_told_to_tails_and_gone_where_they_hold_it,
    an_event_is_deleted_by_its_cursor,
    the_key_of_a_deleted_event_still_names_it,
    a_quiet_topic_is_told_no_gap_for_what_others_lost,
    topics_are_found_by_page,
    a_topic_keeps_what_its_rule_says,
    what_a_topic_does_not_keep_pushes_nobody_out,
    what_has_expired_stays_expired_though_it_is_deleted,
    many_events_are_deleted_at_once,
    a_deletion_reaches_the_newest_event,
    what_has_outlived_its_time_is_erased_but_was_not_there,
    a_closed_log_refuses_deletions,
}

fn on(topics: &[&str], data: &str) -> Event {
    Event { topics: topics.iter().map(|name| topic(name)).collect(), ..event(data) }
}

pub(in super::super) fn exact(name: &str) -> [TopicSelector; 1] {
    [TopicSelector::Exact(topic(name))]
}

/// What stands in the places that are kept, page by page: data, or why it is gone.
pub(in super::super) async fn places(log: &Arc<dyn Log>) -> Vec<String> {
    let mut places = Vec::new();
    let Bounds { first, last } = log.bounds();
    let mut at = first;
    while at <= last {
        let page = log.read(at).await.expect("a page");
        at = page.last().expect("events") + 1;
        places.extend(page.events.iter().map(|event| match event.gone() {
            None => String::from_utf8_lossy(&event.event.data).into_owned(),
            Some(why) => {
                let Event { topics, kind, data, content_type, key, ttl, conflate, .. } = &event.event;
                let nothing = kind.is_none() && content_type.is_none() && key.is_none() && ttl.is_none();
                assert!(nothing && data.is_empty() && conflate.is_none(), "{event:?}");
                format!("{why:?} {}", topics.iter().map(Topic::as_str).collect::<Vec<_>>().join(" "))
            }
        }));
    }
    places
}

async fn a_deleted_topic_leaves_tombstones_and_nothing_else(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let secret = Event { private: true, ..on(&["b", "a"], "2") };
    log.append(vec![on(&["a"], "1"), secret, on(&["b"], "3"), on(&["a", "c"], "4")]).await.expect("stored");
    assert_eq!(log.delete(Delete::Topic(topic("nothing"))).await.expect("done"), 0);
    assert_eq!(log.delete(Delete::Topic(topic("a"))).await.expect("done"), 3);
    let left = ["Deleted a", "Deleted b a", "3", "Deleted a c"];
    assert_eq!(places(&log).await, left);
    assert_eq!(log.delete(Delete::Topic(topic("a"))).await.expect("done"), 0, "once is enough");
    log.append(vec![on(&["a"], "5")]).await.expect("stored");
    assert_eq!(places(&log).await, [&left[..], &["5"]].concat(), "what comes later stays");
    assert_eq!(log.bounds(), Bounds { first: 1, last: 5 });
    let page = log.read(1).await.expect("a page");
    let private: Vec<bool> = page.events.iter().map(|event| event.event.private).collect();
    assert_eq!(private, [false, true, false, false, false], "nobody is told of what is not for them");
    let Stats { deleted, gone, .. } = log.stats();
    assert_eq!((deleted, gone), (3, 3));
}

async fn what_is_deleted_is_told_to_tails_and_gone_where_they_hold_it(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let mut tail = log.tail(0);
    log.append(vec![on(&["a"], "1"), on(&["b"], "2"), on(&["a"], "3")]).await.expect("stored");
    let Some(Change::Commit(commit)) = tail.next().await else { panic!("a commit") };
    log.delete(Delete::Topic(topic("a"))).await.expect("done");
    let Some(Change::Removed { offsets, why }) = tail.next().await else { panic!("a removal") };
    assert_eq!((&offsets[..], why), (&[1, 3][..], Gone::Deleted));
    let Some(Change::Removed { offsets, why: Gone::Deleted }) = tail.next().await else { panic!("the last word") };
    assert!(offsets.is_empty(), "of what was trimmed before the store knows nothing any more");
    let gone: Vec<_> = commit.iter().map(|event| event.gone()).collect();
    assert_eq!(gone, [Some(Gone::Deleted), None, Some(Gone::Deleted)]);
}

async fn an_event_is_deleted_by_its_cursor(open: Open) {
    let Fixture { log, _directory, .. } = open(Retention { events: 3, ..EVERYTHING });
    let mut cursors = Vec::new();
    for n in 1..=5 {
        cursors.push(log.append(vec![event(&n.to_string())]).await.expect("stored")[0].cursor);
    }
    until(|| log.bounds().first == 3).await;
    let none = Cursor { epoch: new_epoch(), ..cursors[4] }; // It would be the last event, were it of this log.
    let ahead = Cursor { offset: 6, ..cursors[3] };
    for (cursor, expected) in [(cursors[3], 1), (cursors[3], 0), (cursors[0], 0), (none, 0), (ahead, 0)] {
        assert_eq!(log.delete(Delete::Event(cursor)).await.expect("done"), expected, "{cursor}");
    }
    assert_eq!(places(&log).await, ["3", "Deleted t", "5"]);
    assert_eq!(
        log.append(vec![event("6")]).await.expect("stored")[0].cursor.offset,
        6,
        "it was not deleted before it came"
    );
}

async fn the_key_of_a_deleted_event_still_names_it(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let first = log.append(vec![keyed("k", "a")]).await.expect("stored")[0];
    assert_eq!(log.delete(Delete::Event(first.cursor)).await.expect("done"), 1);
    let again = log.append(vec![keyed("k", "a")]).await.expect("known")[0];
    assert_eq!(again, Receipt { duplicate: true, ..first });
    assert!(matches!(log.append(vec![keyed("k", "b")]).await, Err(AppendError::KeyReused { .. })));
}

async fn a_quiet_topic_is_told_no_gap_for_what_others_lost(open: Open) {
    let Fixture { log, _directory, .. } = open(Retention { events: 10, ..EVERYTHING });
    for name in ["quiet", "x/1", "busy", "x/1"] {
        log.append(vec![on(&[name], "")]).await.expect("stored");
    }
    for _ in 0..20 {
        log.append(vec![on(&["busy", "also"], "")]).await.expect("stored");
    }
    until(|| log.bounds() == Bounds { first: 15, last: 24 }).await;
    let seek = async |selectors: &[&str], offset| {
        let topics: Vec<_> = selectors.iter().map(|text| TopicSelector::parse(text).expect("a selector")).collect();
        let start = Start::Cursor(Cursor { offset, ..log.cursor(1) });
        let position = log.seek(start, Wanted::all(&topics)).await.expect("a position");
        assert_eq!(position.after, offset.max(14));
        assert_eq!(log.has_trimmed(Wanted::all(&topics), offset, 14), position.missing.is_some());
        position.missing.map(|missing| missing.reason.as_str())
    };
    for (selectors, last) in [(&["quiet"][..], 1), (&["x/1"], 4), (&["x/*"], 4), (&["also"], 14), (&["busy"], 14)] {
        assert_eq!(seek(selectors, last).await, None, "{selectors:?} after {last}");
        assert_eq!(seek(selectors, last - 1).await, Some("expired"), "{selectors:?} after {}", last - 1);
    }
    for (selectors, offset, gap) in
        [(&["never"][..], 0, false), (&["quiet", "x/1"], 3, true), (&["**"], 13, true), (&["y/**"], 0, false)]
    {
        assert_eq!(seek(selectors, offset).await.is_some(), gap, "{selectors:?} after {offset}");
    }
}

async fn topics_are_found_by_page(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    for n in 0..50_u64 {
        let name = |nth: u64| if n * 100 + nth == 1_600 { "rare" } else { "t" };
        log.append((0..100).map(|nth| on(&[name(nth)], "")).collect()).await.expect("stored");
    }
    let next = |from| log.next_on(&exact("rare"), from);
    assert_eq!([1, 1_024, 1_700, 2_048, 5_001].map(next), [1_024, 1_024, 1_700, 5_001, 5_001]);
    let previous = |upto| log.previous_on(&exact("rare"), upto);
    assert_eq!([5_000, 2_047, 1_500, 1_023].map(previous), [2_047, 2_047, 1_500, 0]);
    assert_eq!((log.next_on(&*EVERY_TOPIC, 7), log.previous_on(&*EVERY_TOPIC, 7)), (7, 7));
    let bytes = log.stats().index_bytes;
    assert!((16..2_000).contains(&bytes), "{bytes} bytes");
}

/// Rules by topic, and nothing else that is limited.
fn rules(rules: &[(&str, Keep)]) -> Retention {
    let rule = |&(text, keep): &(&str, Keep)| TopicRetention {
        matches: TopicSelector::parse(text).expect("a selector"),
        keep,
    };
    Retention { topics: rules.iter().map(rule).collect(), ..EVERYTHING }
}

/// Waits until so many places are those of events that are gone.
async fn until_gone(log: &Arc<dyn Log>, count: u64) {
    until(|| log.stats().gone == count).await;
}

async fn a_topic_keeps_what_its_rule_says(open: Open) {
    let Fixture { log, clock, _directory } = open(rules(&[
        ("a/free", Keep::default()),
        ("a/*", Keep { events: Some(2), ..Keep::default() }),
        ("old", Keep { age: Some(Duration::from_secs(60)), ..Keep::default() }),
        ("large", Keep { bytes: Some(1000), ..Keep::default() }),
    ]));
    let mut tail = log.tail(0);
    for n in 1..=3 {
        let large = Event::new(topic("large"), vec![b'x'; 400]);
        log.append(vec![on(&["a/free"], "f"), on(&["a/x", "other"], "x"), on(&["old"], &n.to_string()), large])
            .await
            .expect("stored");
    }
    for _ in 0..3 {
        assert!(matches!(tail.next().await, Some(Change::Commit(_))), "who listens is given all of it");
    }
    clock.advance(Duration::from_secs(1));
    until_gone(&log, 2).await;
    let Some(Change::Removed { offsets, why }) = tail.next().await else { panic!("a removal") };
    assert_eq!((&offsets[..], why), (&[2, 4][..], Gone::Expired));
    assert_eq!(places(&log).await[..4], ["f", "Expired a/x other", "1", "Expired large"]);
    clock.advance(Duration::from_secs(60));
    until_gone(&log, 5).await;
    assert_eq!(places(&log).await[8..10], ["f", "x"]);
    assert_eq!(places(&log).await[10], "Expired old");
    assert_eq!(log.bounds().first, 1);
    assert_eq!(log.stats().expired, 5);
    assert_eq!(log.delete(Delete::Topic(topic("old"))).await.expect("done"), 0, "it is gone already");
    log.append(vec![on(&["old"], "new")]).await.expect("stored");
    assert_eq!(log.delete(Delete::Topic(topic("old"))).await.expect("done"), 1);
}

async fn what_a_topic_does_not_keep_pushes_nobody_out(open: Open) {
    let firehose = rules(&[("firehose", Keep { events: Some(10), ..Keep::default() })]);
    let Fixture { log, clock, _directory } = open(Retention { events: 200, ..firehose });
    log.append(vec![on(&["quiet"], "still here")]).await.expect("stored");
    for _ in 0..40 {
        log.append(vec![on(&["firehose"], "x"); 100]).await.expect("stored");
        clock.advance(Duration::from_secs(2));
        log.append(vec![on(&["firehose"], "y")]).await.expect("stored");
    }
    clock.advance(Duration::from_secs(2));
    until_gone(&log, 40 * 101 - 10).await;
    assert_eq!(log.bounds().first, 1, "they count for hardly anything");
    assert_eq!(places(&log).await[0], "still here");
    // But they do count: without end nothing can be kept.
    for _ in 0..120 {
        log.append(vec![on(&["firehose"], "x"); 100]).await.expect("stored");
        clock.advance(Duration::from_secs(2));
    }
    until(|| log.bounds().first > 1).await;
    let kept = log.bounds().events();
    assert!((5_000..14_000).contains(&kept), "{kept} places for 200 events");
}

async fn what_has_expired_stays_expired_though_it_is_deleted(open: Open) {
    let Fixture { log, clock, _directory } = open(rules(&[("r", Keep { events: Some(1), ..Keep::default() })]));
    let first = log.append(vec![on(&["r"], "1"), on(&["r"], "2"), on(&["r"], "3")]).await.expect("stored")[0];
    clock.advance(Duration::from_secs(2));
    until_gone(&log, 2).await;
    assert_eq!(log.delete(Delete::Event(first.cursor)).await.expect("done"), 0, "it is gone already");
    assert_eq!(places(&log).await, ["Expired r", "Expired r", "3"]);
    assert_eq!(log.delete(Delete::Topic(topic("r"))).await.expect("done"), 1);
    assert_eq!(places(&log).await, ["Expired r", "Expired r", "Deleted r"]);
    assert_eq!(log.stats().gone, 3);
}

async fn what_has_outlived_its_time_is_erased_but_was_not_there(open: Open) {
    let Fixture { log, clock, _directory } = open(EVERYTHING);
    let short = || Event { ttl: Some(Duration::from_secs(5)), ..on(&["a"], "short") };
    let long = || Event { ttl: Some(Duration::from_secs(60)), ..on(&["a"], "long") };
    let batch = vec![short(), long(), on(&["a"], "plain"), short()];
    let receipts = log.append(batch).await.expect("stored");
    clock.advance(Duration::from_secs(6));
    assert_eq!(log.delete(Delete::Event(receipts[3].cursor)).await.expect("done"), 0, "nobody could read it any more");
    assert_eq!(places(&log).await, ["short", "long", "plain", "Expired a"], "but then nothing is left of it");
    assert_eq!(log.delete(Delete::Topic(topic("a"))).await.expect("done"), 2);
    assert_eq!(places(&log).await, ["Expired a", "Deleted a", "Deleted a", "Expired a"]);
    assert_eq!(log.stats().deleted, 2);
}

async fn many_events_are_deleted_at_once(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    for n in 0..60 {
        let name = if n % 3 == 0 { "b" } else { "a" };
        log.append(vec![on(&[name], "x"); 997]).await.expect("stored");
    }
    let mut tail = log.tail(log.bounds().last);
    let (deleted, published) = tokio::join!(log.delete(Delete::Topic(topic("a"))), log.append(vec![on(&["b"], "y")]));
    assert_eq!(deleted.expect("done"), 40 * 997);
    published.expect("stored");
    let mut told = 0;
    while told < 40 * 997 {
        match tail.next().await.expect("a change") {
            Change::Removed { offsets, .. } => told += offsets.len(),
            Change::Commit(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let places = places(&log).await;
    let gone = |name: &str| places.iter().filter(|place| place.as_str() == format!("Deleted {name}")).count();
    assert_eq!((gone("a"), gone("b"), places.len()), (40 * 997, 0, 60 * 997 + 1));
}

async fn a_deletion_reaches_the_newest_event(open: Open) {
    // The newest is the only one on its page, and many pages come before it.
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    for _ in 0..16 {
        log.append(vec![on(&["a"], "x"); 1_024]).await.expect("stored");
    }
    assert_eq!(log.bounds().last % PAGE, 0);
    assert_eq!(log.delete(Delete::Topic(topic("a"))).await.expect("done"), 16 * 1_024);
}

async fn a_closed_log_refuses_deletions(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let cursor = log.append(vec![event("a")]).await.expect("stored")[0].cursor;
    log.close().await;
    let refused = log.delete(Delete::Event(cursor)).await;
    assert!(matches!(refused, Err(AppendError::ReadOnly(None))), "{refused:?}");
}
