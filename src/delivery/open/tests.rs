use super::*;
use crate::delivery::fixture::Fixture;
use crate::event::{Event, Topic};
use crate::hub::Snapshot;

/// A log that keeps 1000 of 1500 events, all of them on one topic.
async fn trimmed() -> Fixture {
    let fixture = Fixture::new(1000, 1).await;
    fixture.store("t", 1500, "x").await;
    fixture
}

#[tokio::test(start_paused = true)]
async fn on_a_gap_a_stream_goes_on_where_its_subscriber_says() {
    let fixture = trimmed().await;
    let delivery = fixture.delivery();
    let (first, edge) = (fixture.log.bounds().first, 1500);
    let expired = Start::Cursor(fixture.log.cursor(7));
    for (on_gap, start, after) in [
        (OnGap::GoOn, expired, first - 1),
        (OnGap::Latest, expired, edge),
        (OnGap::Earliest, expired, first - 1),
        (OnGap::Close, expired, first - 1),
        (OnGap::GoOn, Start::Unreadable, edge),
        (OnGap::Latest, Start::Unreadable, edge),
        (OnGap::Earliest, Start::Unreadable, first - 1),
        (OnGap::Close, Start::Unreadable, edge),
    ] {
        let begin = Begin::At(start, format!("{start:?}"));
        let wanted = Wanted { on_gap, begin, ..Fixture::wanted("t", "sse", start) };
        assert!(!delivery.was_closed(&wanted));
        let opened = delivery.open(wanted.clone()).await.expect("a stream");
        assert_eq!((opened.cursor.offset, opened.resume), (after, Resume::Gap), "{on_gap:?} {start:?}");
        assert_eq!(delivery.was_closed(&wanted), on_gap == OnGap::Close, "{on_gap:?} {start:?}");
    }
    let session = Some("another".to_owned());
    let begin = Begin::At(expired, format!("{expired:?}"));
    let other = Wanted { on_gap: OnGap::Close, begin, session, ..Fixture::wanted("t", "sse", expired) };
    assert!(!delivery.was_closed(&other), "it was not told yet");
}

/// The newest of 10 001 topics.
#[tokio::test(start_paused = true)]
async fn a_snapshot_of_too_much_holds_the_newest_and_says_so() {
    let fixture = Fixture::new(100_000, 60_000).await;
    for number in 0..=Snapshot::MOST {
        let topic = Topic::parse(&format!("t/{number}")).expect("a topic");
        fixture.log.append(vec![Event::new(topic, "x")]).await.expect("an append");
    }
    let last = Snapshot::MOST as u64 + 1;
    while fixture.hub.pages().edge() < last {
        tokio::task::yield_now().await;
    }
    let snapshot = async |topic: &str| {
        let selection = Fixture::wanted(topic, "sse", Start::Latest).selection;
        fixture.hub.snapshot(&selection).await.expect("a snapshot")
    };
    let all = snapshot("**").await;
    assert_eq!((all.begin(), all.edge()), (1, last));
    assert_eq!(all.missing(), Some(Missing { reason: GapReason::Limit, offsets: None }));
    let one = snapshot("t/0").await;
    assert_eq!((one.begin(), one.edge(), one.missing()), (0, last, None));
    let none = snapshot("nothing").await;
    assert_eq!((none.begin(), none.is_over()), (last, true));
}
