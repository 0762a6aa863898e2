use std::time::Duration;

use super::*;
use crate::delivery::fixture::Fixture;
use crate::transport::Format;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A reader of a quiet topic stops.
///
/// 1. So much goes by on another topic that its place is trimmed. None of it was for the reader.
/// 2. One event is for it, and then again so much goes by that this event leaves memory, but not the log.
/// 3. It goes on: it is given that event, and no gap.
#[tokio::test]
async fn a_reader_that_stopped_is_told_no_gap_for_what_did_not_concern_it() {
    let fixture = Fixture::new(1500, 1024).await;
    let feed = fixture.feed("quiet");
    let mut stream = fixture.stream(&feed, 0, NEVER);
    fixture.publish("busy", 1000, "x").await;
    let offset = fixture.publish("quiet", 1, "news").await;
    fixture.publish("busy", 1200, "x").await;
    assert!(fixture.log.bounds().first > 1 && fixture.log.bounds().first < offset, "{:?}", fixture.log.bounds());
    assert!(fixture.hub.pages().get(offset).is_none(), "the event is still in memory");
    assert_eq!(fixture.read(&mut stream).await, fixture.event(offset, "news"));
    fixture.publish("busy", 1400, "x").await;
    assert!(fixture.log.bounds().first > offset + 1);
    assert_eq!(fixture.read(&mut stream).await, "", "what follows did not concern it either");
}

/// The same, where another reader of that topic was given more than the feed keeps.
#[tokio::test]
async fn a_reader_that_stopped_is_told_no_gap_though_others_went_on() {
    let fixture = Fixture::new(1500, 1024).await;
    let feed = fixture.feed("quiet");
    let (mut stopped, mut other) = (fixture.stream(&feed, 0, NEVER), fixture.stream(&feed, 0, NEVER));
    fixture.publish("busy", 1000, "x").await;
    let mut expected = String::new();
    for _ in 0..20 {
        let offset = fixture.publish("quiet", 1, "news").await;
        let event = fixture.event(offset, "news");
        assert_eq!(fixture.read(&mut other).await, event);
        expected += &event;
        fixture.publish("busy", 3, "x").await;
    }
    fixture.publish("busy", 1400, "x").await;
    assert!(fixture.log.bounds().first > 1 && fixture.log.bounds().first < 1000, "{:?}", fixture.log.bounds());
    assert_eq!(fixture.read(&mut stopped).await, expected);
}

/// A gap is still told where an event that matched is gone.
#[tokio::test]
async fn a_reader_that_stopped_is_told_a_gap_for_what_did_concern_it() {
    let fixture = Fixture::new(1500, 1024).await;
    let feed = fixture.feed("quiet");
    let mut stream = fixture.stream(&feed, 0, NEVER);
    fixture.publish("quiet", 1, "lost").await;
    fixture.publish("busy", 3000, "x").await;
    let offset = fixture.publish("quiet", 1, "news").await;
    let told = fixture.read(&mut stream).await;
    assert!(told.contains("event: encke.gap\n") && told.ends_with(&fixture.event(offset, "news")), "{told}");
}

/// Two read one feed. One stops; the other is given more batches, one by one, than the feed keeps.
async fn stopped_beside_another(count: usize, data: &str) {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let (mut stopped, mut other) = (fixture.stream(&feed, 0, NEVER), fixture.stream(&feed, 0, NEVER));
    let mut expected = String::new();
    for _ in 0..count {
        let event = fixture.event(fixture.publish("t", 1, data).await, data);
        assert!(fixture.read(&mut other).await == event);
        expected += &event;
    }
    assert!(fixture.read(&mut stopped).await == expected, "the one that stopped is not given all");
}

#[tokio::test]
async fn a_reader_that_stopped_is_given_what_the_feed_no_longer_keeps() {
    stopped_beside_another(60, "x").await;
    stopped_beside_another(9, "x").await;
    stopped_beside_another(5, &"x".repeat(100_000)).await;
    stopped_beside_another(60, &"x".repeat(100_000)).await;
}

/// A removal concerns the batches that hold what is removed, and those before: the newer ones are still shared.
#[tokio::test]
async fn a_feed_keeps_what_a_removal_does_not_concern() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    for offset in [2, 4, 6, 8] {
        fixture.publish("other", 1, "x").await;
        fixture.publish("t", 1, "x").await;
        assert!(matches!(feed.after(offset - 1, &fixture.hub, false), FeedStep::Batch(batch) if batch.to == offset));
    }
    let served = |cursor| matches!(feed.after(cursor, &fixture.hub, false), FeedStep::Batch(_));
    let remove = |offset| fixture.hub.pages().remove(&Arc::from([offset]), crate::event::Gone::Expired);
    [1, 3, 5, 7].into_iter().for_each(remove);
    assert_eq!([1, 3, 5, 7].map(served), [true; 4], "what was removed is in no batch");
    remove(4);
    assert_eq!([1, 3, 5, 7].map(served), [false, false, true, true]);
    (0..300).for_each(|_| remove(7));
    assert_eq!([5, 7].map(served), [false; 2], "some of them are not known any more");
}

/// Publishes `count` events one by one, each read at once by a first reader, and answers from which cursors on a second one
/// is served by the feed.
async fn kept_of(count: u64, size: usize) -> Offset {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let data = "x".repeat(size);
    for offset in 1..=count {
        fixture.publish("t", 1, &data).await;
        assert!(matches!(feed.after(offset - 1, &fixture.hub, false), FeedStep::Batch(batch) if batch.to == offset));
    }
    let kept = |cursor| match feed.after(cursor, &fixture.hub, false) {
        FeedStep::Batch(batch) => {
            assert!(batch.to > cursor && batch.events == batch.to - cursor, "not all of what follows");
            true
        }
        FeedStep::Behind(quiet) => {
            assert_eq!(quiet, cursor);
            false
        }
        FeedStep::Edge(edge) => panic!("an event was passed over on the way from {cursor} to {edge}"),
    };
    (0..count).find(|&cursor| kept(cursor)).expect("the newest is kept")
}

#[tokio::test]
async fn a_feed_keeps_64_batches_and_256_kib() {
    assert_eq!(kept_of(64, 1).await, 0);
    assert_eq!(kept_of(80, 1).await, 16);
    assert_eq!(kept_of(8, 100_000).await, 6, "two are 200 kB");
    assert_eq!(kept_of(3, 1_000_000).await, 2, "the newest is kept, however large");
}

/// Of empty lines an event stream makes six times as many bytes: by their data five events are read for one write, of which
/// each alone fills one.
#[tokio::test]
async fn events_that_render_to_more_than_one_write_come_in_several() {
    let data = "\n".repeat(48_000);
    for behind in [false, true] {
        let fixture = Fixture::new(100_000, 60_000).await;
        let early = (!behind).then(|| fixture.feed("t"));
        let last = fixture.publish("t", 5, &data).await;
        let feed = early.unwrap_or_else(|| fixture.feed("t"));
        let mut stream = fixture.stream(&feed, 0, NEVER);
        let written = fixture.read(&mut stream).await;
        assert_eq!(written.matches("id: ").count(), 5, "behind: {behind}");
        assert!(written.contains(&format!("id: {}\n", fixture.log.cursor(last))));
    }
}

/// One stopped so long ago that the feed would need several batches to come to another one's place.
#[tokio::test]
async fn a_reader_that_stopped_holds_up_nobody_who_is_ahead() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let ahead = fixture.publish("t", 6000, "x").await;
    fixture.publish("t", 1, "x").await;
    let next = feed.after(ahead, &fixture.hub, false);
    assert!(matches!(&next, FeedStep::Batch(batch) if batch.to == ahead + 1 && batch.events == 1), "{next:?}");
    assert!(matches!(feed.after(0, &fixture.hub, false), FeedStep::Behind(0)));
    assert!(matches!(feed.after(ahead - 1, &fixture.hub, false), FeedStep::Behind(at) if at == ahead - 1));
}

#[tokio::test]
async fn a_cursor_in_the_midst_of_a_batch_is_not_given_all_of_it() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    fixture.publish("t", 4, "x").await;
    assert!(matches!(feed.after(0, &fixture.hub, false), FeedStep::Batch(batch) if batch.events == 4));
    for cursor in 1..4 {
        assert!(matches!(feed.after(cursor, &fixture.hub, false), FeedStep::Behind(at) if at == cursor), "{cursor}");
    }
    assert!(matches!(feed.after(4, &fixture.hub, false), FeedStep::Edge(4)));
}

/// A stream that caught up by itself may have read events that no feed was told of yet.
#[tokio::test]
async fn a_cursor_ahead_of_what_was_looked_at_takes_nothing_from_others() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let last = fixture.store("t", 3, "x").await;
    assert!(matches!(feed.after(last, &fixture.hub, false), FeedStep::Edge(edge) if edge == last));
    assert!(matches!(feed.after(0, &fixture.hub, false), FeedStep::Edge(0)));
    fixture.look(3);
    assert!(matches!(feed.after(0, &fixture.hub, false), FeedStep::Batch(batch) if batch.events == 3));
}

/// Holds the feeds' waker where it has found out whom an event concerns and is about to tell that to `held`; meanwhile,
/// `act`. The event is the newest one in memory.
fn while_telling<R>(fixture: &Fixture, held: &Feed, act: impl FnOnce() -> R) -> R {
    let edge = fixture.hub.pages().edge();
    let page = fixture.hub.pages().get(edge).expect("a page in memory");
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        let recent = held.recent();
        threads.spawn(|| {
            let events = page.events(edge, edge).inspect(|_| said.send(()).expect("the test waits"));
            fixture.feeds.wake(events, edge);
        });
        heard.recv().expect("an event is looked at");
        drop(fixture.feeds.table()); // Once it can be had, whom the event concerns is known.
        let result = act();
        drop(recent);
        result
    })
}

#[tokio::test]
async fn a_feed_is_told_of_an_event_before_it_counts_as_looked_at() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    fixture.store("t", 1, "x").await;
    while_telling(&fixture, &feed, || {
        for _ in 0..10_000 {
            assert_eq!(fixture.feeds.looked.load(Ordering::Acquire), 0, "the feed does not know of the event yet");
            std::thread::yield_now();
        }
    });
    assert!(matches!(feed.after(0, &fixture.hub, false), FeedStep::Batch(batch) if batch.to == 1));
}

/// A feed that is joined when it was found out already whom an event concerns is not told of that event.
#[tokio::test]
async fn a_feed_that_comes_too_late_for_an_event_does_not_pass_over_it() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let early = fixture.feed("t");
    fixture.store("t", 1, "x").await;
    let late = while_telling(&fixture, &early, || {
        fixture.feeds.join(Fixture::key("t", Format::JsonLines, Keeps::Events), &fixture.hub)
    });
    assert!(matches!(late.after(0, &fixture.hub, false), FeedStep::Behind(0)));
    assert!(matches!(late.after(1, &fixture.hub, false), FeedStep::Edge(1)));
}

#[tokio::test]
async fn feeds_that_are_gone_leave_nothing_behind() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let topics = |n: u32| [format!("t{n}"), format!("t{n}/*")];
    let feeds: Vec<_> = (0..500).flat_map(topics).map(|topic| fixture.feed(&topic)).collect();
    {
        let table = fixture.feeds.table();
        assert_eq!((table.by_key.len(), table.by_topic.len(), table.globs.len()), (1000, 500, 500));
    }
    assert_eq!(fixture.feeds.count(), 1000);
    drop(feeds);
    assert_eq!(fixture.feeds.count(), 0);
    let table = fixture.feeds.table();
    assert_eq!((table.by_key.len(), table.by_topic.len(), table.globs.len()), (0, 0, 0));
}
