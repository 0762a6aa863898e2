use tokio::time::advance;

use super::*;
use crate::delivery::fixture::Fixture;
use crate::event::Cursor;
use crate::transport::Format;

const BEAT: Duration = Duration::from_secs(5);

/// What a stream writes next, if it is to write something now.
fn written(stream: &mut Stream) -> Option<String> {
    match stream.step(Instant::now(), &mut Memo::default()) {
        Step::Write(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

/// What a stream writes once it has waited for as long as it wants to.
async fn waited(stream: &mut Stream) -> (Duration, String) {
    let begun = Instant::now();
    let Step::Wait(until) = stream.step(begun, &mut Memo::default()) else {
        panic!("a stream that has something to do")
    };
    advance(until - begun).await;
    (until - begun, written(stream).expect("a stream that waited for something"))
}

/// What a state transport shows of an event.
fn shown(fixture: &Fixture, offset: Offset, feed: &Feed) -> String {
    let page = fixture.hub.pages().get(offset).expect("a page in memory");
    let event = page.events(offset, offset).next().expect("an event");
    String::from_utf8_lossy(&feed.key().rendering.event(event)).into_owned()
}

fn heartbeat(feed: &Feed) -> String {
    String::from_utf8_lossy(&feed.key().rendering.heartbeat()).into_owned()
}

/// So much is in memory that it takes several steps to look through, and nothing of it matches.
#[tokio::test(start_paused = true)]
async fn a_replay_that_matches_nothing_tells_how_far_it_came() {
    let fixture = Fixture::new(100_000, 60_000).await;
    fixture.store("busy", 20_000, "x").await;
    let mut stream = fixture.stream(&fixture.feed("quiet"), 0, BEAT);
    assert_eq!(written(&mut stream), None);
    advance(BEAT).await;
    assert_eq!(written(&mut stream), Some(fixture.position(16_383)), "two steps of eight pages each");
    assert_eq!(written(&mut stream), None);
}

/// A position would bring its reader back behind a state that it no longer shows.
#[tokio::test(start_paused = true)]
async fn a_state_transport_is_told_no_position() {
    let fixture = Fixture::new(100_000, 60_000).await;
    fixture.store("busy", 20_000, "x").await;
    let feed = fixture.feeds.join(Fixture::key("quiet", Format::EventStream, Keeps::State), &fixture.hub);
    let mut stream = fixture.stream(&feed, 0, BEAT);
    advance(BEAT).await;
    assert_eq!(written(&mut stream), Some(heartbeat(&feed)), "behind the live edge");
    while !matches!(stream.step(Instant::now(), &mut Memo::default()), Step::Wait(_)) {}
    fixture.publish("busy", 50_000, "x").await;
    assert_eq!(waited(&mut stream).await, (BEAT, heartbeat(&feed)), "at the live edge");
}

/// What goes by unseen is told as a position once it is a quarter of what the log keeps, and counted from what the reader
/// was told last.
#[tokio::test(start_paused = true)]
async fn a_position_is_told_once_a_quarter_of_retention_went_by_unseen() {
    let mut fixture = Fixture::new(100_000, 60_000).await;
    fixture.retention = 100;
    let feed = fixture.feed("t");
    let (mut stream, beat) = (fixture.stream(&feed, 0, BEAT), (BEAT, heartbeat(&feed)));
    fixture.publish("t", 50, "x").await;
    assert!(written(&mut stream).is_some());
    assert_eq!(waited(&mut stream).await, beat, "what was delivered was not unseen");
    fixture.publish("busy", 24, "x").await;
    assert_eq!(waited(&mut stream).await, beat);
    let last = fixture.publish("busy", 1, "x").await;
    assert_eq!(waited(&mut stream).await, (BEAT, fixture.position(last)));
    assert_eq!(waited(&mut stream).await, beat, "it was told");
}

#[tokio::test(start_paused = true)]
async fn a_quarter_is_meant_of_what_the_log_keeps_not_of_the_little_it_holds_yet() {
    let mut fixture = Fixture::new(40, 60_000).await;
    fixture.retention = 1000;
    let feed = fixture.feed("t");
    let mut stream = fixture.stream(&feed, 0, BEAT);
    let last = fixture.publish("busy", 40, "x").await;
    assert_eq!(fixture.log.bounds().first, 1);
    assert_eq!(waited(&mut stream).await, (BEAT, heartbeat(&feed)));
    fixture.publish("busy", 1, "x").await;
    assert_eq!(waited(&mut stream).await, (BEAT, fixture.position(last + 1)), "it trims, so it will not keep more");
}

/// Whoever falls behind retention twice is told the second time from where the first gap left it. Nothing that is left
/// matches, so a gap is told when something has to be said.
#[tokio::test(start_paused = true)]
async fn a_gap_is_counted_from_the_gap_before_it() {
    let fixture = Fixture::new(3000, 1).await;
    fixture.store("quiet/1", 1, "x").await;
    fixture.store("busy", 5000, "x").await;
    let mut stream = fixture.stream(&fixture.feed("quiet/*"), 0, BEAT);
    let mut asked = Vec::new();
    for _ in 0..2 {
        let Step::Load { at, .. } = stream.step(Instant::now(), &mut Memo::default()) else {
            panic!("a page is needed")
        };
        stream.give(fixture.hub.load(at).await.expect("a page"));
        assert!(
            matches!(stream.step(Instant::now(), &mut Memo::default()), Step::Load { .. }),
            "what is behind that is needed, too"
        );
        advance(BEAT).await;
        let gap = written(&mut stream).expect("a gap");
        asked.push(gap.split("\"asked\":\"").nth(1).expect("a gap").split('"').next().expect("asked").to_owned());
        assert_eq!(stream.told, stream.reader.cursor());
        fixture.store("quiet/1", 1, "x").await;
        fixture.store("busy", 3500, "x").await;
    }
    let first = Cursor { offset: 0, ..fixture.log.cursor(0) };
    assert_eq!(asked[0], first.to_string());
    assert!(asked[1].parse::<Cursor>().expect("a cursor").offset > 2000, "{asked:?}");
}

/// A feed of states, a stream of it with this heartbeat, and the first state, shown.
async fn state(fixture: &Fixture, interval: Duration) -> (Arc<Feed>, Stream, String) {
    let feed = fixture.feeds.join(Fixture::key("t", Format::Part, Keeps::State), &fixture.hub);
    let mut stream = fixture.stream(&feed, 0, interval);
    let first = shown(fixture, fixture.publish("t", 1, "first").await, &feed);
    assert_eq!(written(&mut stream), Some(first.clone()));
    (feed, stream, first)
}

#[tokio::test(start_paused = true)]
async fn a_state_that_nothing_follows_is_shown_once_more_and_not_again() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let (feed, mut stream, first) = state(&fixture, BEAT).await;
    assert_eq!(waited(&mut stream).await, (Stream::AGAIN, first));
    for _ in 0..3 {
        assert_eq!(waited(&mut stream).await, (BEAT, heartbeat(&feed)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_is_due_does_not_wait_for_the_state_to_be_shown_once_more() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let interval = Stream::AGAIN * 3 / 4;
    let (feed, mut stream, first) = state(&fixture, interval).await;
    assert_eq!(waited(&mut stream).await, (interval, heartbeat(&feed)));
    assert_eq!(waited(&mut stream).await, (Stream::AGAIN - interval, first));
    assert_eq!(waited(&mut stream).await, (interval, heartbeat(&feed)));
}

/// Heartbeats lengthen the head of the part that is open, so each fortieth is the state instead.
#[tokio::test(start_paused = true)]
async fn a_state_is_shown_again_after_forty_heartbeats_of_its_own() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let (feed, mut stream, first) = state(&fixture, BEAT).await;
    assert_eq!(waited(&mut stream).await.1, first);
    for _ in 1..40 {
        assert_eq!(waited(&mut stream).await.1, heartbeat(&feed));
    }
    let second = shown(&fixture, fixture.publish("t", 1, "second").await, &feed);
    assert_eq!(written(&mut stream), Some(second.clone()));
    assert_eq!(waited(&mut stream).await, (Stream::AGAIN, second.clone()));
    for _ in 1..40 {
        assert_eq!(waited(&mut stream).await.1, heartbeat(&feed), "those before the second state do not count");
    }
    assert_eq!(waited(&mut stream).await.1, second);
}

/// What a stream and another on the same feed, with terms of its own, are given of five events.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_as_many_events_as_it_asked_for() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let heartbeat = Heartbeat { interval: BEAT, as_event: false };
    for live in [false, true] {
        let after = if live { fixture.hub.pages().edge() } else { 0 };
        let terms = Terms { limit: Some(3), ..Terms::new(heartbeat, 1000) };
        let (mut limited, mut other) = (fixture.stream_on(&feed, after, terms), fixture.stream(&feed, after, BEAT));
        let last = fixture.publish("t", 5, "x").await;
        let first = if live { last - 4 } else { 1 };
        let events = |upto| (first..=upto).map(|offset| fixture.event(offset, "x")).collect::<String>();
        assert_eq!(fixture.read(&mut other).await, events(last));
        let read = fixture.read(&mut limited).await;
        let bye = read.strip_prefix(&events(first + 2)).unwrap_or_else(|| panic!("three events: {read}"));
        assert!(bye.starts_with("event: encke.bye\n") && bye.contains(r#"{"reason":"limit""#), "{bye}");
        assert!(matches!(limited.step(Instant::now(), &mut Memo::default()), Step::End));
    }
}

/// Two read one feed, one of them late: what the feed keeps for it has outlived its time.
#[tokio::test(start_paused = true)]
async fn what_a_feed_keeps_does_not_outlive_the_event() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let (mut late, mut other) = (fixture.stream(&feed, 0, BEAT), fixture.stream(&feed, 0, BEAT));
    let mut event = crate::event::Event::new(crate::event::Topic::parse("t").expect("a topic"), "x");
    event.ttl = Some(Duration::from_secs(5));
    fixture.store_event(event, 1).await;
    fixture.look(1);
    assert_eq!(fixture.read(&mut other).await, fixture.event(1, "x"));
    fixture.time.store(5001, std::sync::atomic::Ordering::Relaxed);
    let next = fixture.publish("t", 1, "y").await;
    let read = fixture.read(&mut late).await;
    assert!(read.contains(r#""reason":"expired","lost":1"#) && !read.contains("data: x"), "{read}");
    assert!(read.ends_with(&fixture.event(next, "y")), "{read}");
    assert_eq!(fixture.read(&mut other).await, fixture.event(next, "y"));
}

/// The same where it was removed.
#[tokio::test(start_paused = true)]
async fn what_a_feed_keeps_does_not_outlive_a_removal() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feed("t");
    let (mut late, mut other) = (fixture.stream(&feed, 0, BEAT), fixture.stream(&feed, 0, BEAT));
    fixture.publish("t", 3, "x").await;
    assert_eq!(fixture.read(&mut other).await, [1, 2, 3].map(|at| fixture.event(at, "x")).concat());
    let removals = fixture.hub.pages().removals();
    let removed = fixture.log.delete(crate::log::Delete::Event(fixture.log.cursor(2))).await;
    assert_eq!(removed.expect("it can be removed"), 1);
    while fixture.hub.pages().removals() == removals {
        tokio::task::yield_now().await;
    }
    let read = fixture.read(&mut late).await;
    let rest = read.strip_prefix(&fixture.event(1, "x")).unwrap_or_else(|| panic!("the first event: {read}"));
    let gap = rest.strip_suffix(&fixture.event(3, "x")).unwrap_or_else(|| panic!("the last event: {read}"));
    assert!(gap.contains(r#""reason":"deleted","lost":1"#) && !gap.contains("data: x"), "{read}");
    assert_eq!(fixture.read(&mut other).await, "", "it was given it before");
}

/// The same of a state, which would be shown once more.
#[tokio::test(start_paused = true)]
async fn a_state_that_has_outlived_its_time_is_not_shown_again() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let feed = fixture.feeds.join(Fixture::key("t", Format::Part, Keeps::State), &fixture.hub);
    let mut stream = fixture.stream(&feed, 0, BEAT);
    let mut event = crate::event::Event::new(crate::event::Topic::parse("t").expect("a topic"), "x");
    event.ttl = Some(Duration::from_secs(5));
    fixture.store_event(event, 1).await;
    fixture.look(1);
    assert_eq!(written(&mut stream), Some(shown(&fixture, 1, &feed)));
    fixture.time.store(5001, std::sync::atomic::Ordering::Relaxed);
    advance(Stream::AGAIN).await;
    assert_eq!(written(&mut stream), None, "nothing is written in its place");
    for _ in 0..80 {
        assert_eq!(waited(&mut stream).await.1, heartbeat(&feed));
    }
}

async fn delete(fixture: &Fixture, offset: Offset) {
    let removals = fixture.hub.pages().removals();
    fixture.log.delete(crate::log::Delete::Event(fixture.log.cursor(offset))).await.expect("it can be removed");
    while fixture.hub.pages().removals() < removals + 2 {
        tokio::task::yield_now().await; // The removal, and the last word on it.
    }
}

/// Other events are removed all the time: that is no reason to show a state no more. Its own removal is.
#[tokio::test(start_paused = true)]
async fn a_state_is_shown_again_though_others_are_removed_and_not_once_it_is() {
    let fixture = Fixture::new(100_000, 60_000).await;
    let (feed, mut stream, first) = state(&fixture, BEAT).await;
    let others = fixture.publish("other", 50, "x").await - 49;
    delete(&fixture, others).await;
    assert_eq!(waited(&mut stream).await, (Stream::AGAIN, first.clone()));
    for other in 1..40 {
        delete(&fixture, others + other).await;
        assert_eq!(waited(&mut stream).await.1, heartbeat(&feed));
    }
    // More than anybody remembers: it is looked at in memory.
    (0..300).for_each(|_| fixture.hub.pages().remove(&Arc::from([others + 45]), crate::event::Gone::Expired));
    assert_eq!(waited(&mut stream).await, (BEAT, first));
    delete(&fixture, 1).await;
    for _ in 0..80 {
        assert_eq!(waited(&mut stream).await, (BEAT, heartbeat(&feed)));
    }
}
