use std::time::Duration;

use crate::delivery::fixture::Fixture;

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
