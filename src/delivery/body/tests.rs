use std::time::Duration;

use tokio_stream::StreamExt;

use super::*;
use crate::delivery::fixture::{Fixture, Odd};
use crate::delivery::{Asked, Live, Sort};
use crate::diagnosis::Called;
use crate::log::{MemoryLog, Retention, Start, system_clock};

/// A log of some pages, none but the newest in memory, of which each takes twelve seconds to read. Its first event is on
/// `quiet/1`, all others are not; where `quiet/*` may stand, the log does not know without reading.
async fn slow() -> Fixture {
    let log = MemoryLog::new(Retention::default(), system_clock());
    let log = Odd { log, read: Duration::from_secs(12), panics: Arc::default() };
    let fixture = Fixture::over(Arc::new(log), 1_000_000, 1024).await;
    fixture.store("quiet/1", 1, "news").await;
    fixture.store("busy", 5000, "x").await;
    fixture
}

/// What a body gives next, and after how many seconds since `begun`.
async fn next<B>(body: &mut B, begun: Instant) -> (u64, String)
where
    B: Frames<Item = Result<Bytes, io::Error>> + Unpin,
{
    let frame = body.next().await.map(|frame| frame.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    (begun.elapsed().as_secs(), frame.map_or("end".to_owned(), |frame| frame.unwrap_or_else(|error| error.to_string())))
}

/// The first page is fetched for longer than two heartbeats; the next ones hold nothing that matches.
#[tokio::test(start_paused = true)]
async fn a_replay_is_not_silent_while_pages_are_fetched_and_nothing_matches() {
    let fixture = slow().await;
    let opened = fixture.delivery().open(Fixture::wanted("quiet/*", "sse", Start::Earliest)).await.expect("a stream");
    let (begun, loads, mut body) = (Instant::now(), fixture.hub.loads(), opened.body);
    assert!(next(&mut body, begun).await.1.contains("encke.hello"));
    let beat = ":\n\n".to_owned();
    let expected = [
        (5, beat.clone()),
        (10, beat.clone()),
        (12, fixture.event(1, "news")),
        (17, fixture.position(1023)),
        (22, beat.clone()),
        (27, fixture.position(2047)),
        (32, beat.clone()),
        (37, beat),
    ];
    for expected in expected {
        assert_eq!(next(&mut body, begun).await, expected);
    }
    assert_eq!(fixture.hub.loads() - loads, 3, "a page is fetched once, whatever is written meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_a_page_says_goodbye_and_can_be_cut_at_once() {
    let fixture = slow().await;
    let delivery = fixture.delivery();
    for drain in [false, true] {
        let opened = delivery.open(Fixture::wanted("quiet/*", "sse", Start::Earliest)).await.expect("a stream");
        let mut body = opened.body;
        next(&mut body, Instant::now()).await;
        let waiting = tokio::time::timeout(Duration::from_secs(1), body.next()).await;
        assert!(waiting.is_err(), "the page takes longer");
        let begun = Instant::now();
        if drain {
            fixture.shutdown.drain();
            let (seconds, told) = next(&mut body, begun).await;
            assert!(seconds == 0 && told.contains("encke.bye"), "{told} after {seconds} s");
        } else {
            assert!(delivery.cut(opened.id));
            assert_eq!(next(&mut body, begun).await, (0, "cut by request".to_owned()));
        }
        assert_eq!(next(&mut body, begun).await, (0, "end".to_owned()));
    }
}

/// A poll that finds nothing in its time says how far it came; whoever goes on from there gets to the end. Here its time is
/// over before it has read anything: it reads a page even so, or it would stay where it is.
#[tokio::test(start_paused = true)]
async fn a_poll_is_answered_in_its_time_though_it_has_not_come_to_the_end() {
    let fixture = slow().await;
    let delivery = fixture.delivery();
    let mut start = Start::Cursor(fixture.log.cursor(1));
    for (upto, seconds, more) in [(1023, 24, true), (2047, 24, true), (5001, 24, false)] {
        let begun = Instant::now();
        let answered = delivery.answer(Fixture::wanted("quiet/*", "long-poll", start)).await.expect("an answer");
        let body = String::from_utf8(answered.body.expect("not cut").to_vec()).expect("text");
        let seen = (answered.cursor.offset, begun.elapsed().as_secs(), body.contains("\"more\":true"));
        assert_eq!(seen, (upto, seconds, more), "{body}");
        assert!(!body.contains("gap") && body.contains("\"events\":[]"), "{body}");
        start = Start::Cursor(answered.cursor);
    }
}

/// Those that are shown: how quiet and how far behind each is, how many bytes its connection has not taken, and since when.
async fn shown(delivery: &Delivery) -> Vec<(u64, u64, u64, Option<u64>)> {
    let survey = delivery.survey(None, Asked { sort: Sort::Age, limit: 10, of: None }).await;
    assert_eq!(survey.carriers, (1, 0));
    let figures =
        |live: &Live| (live.quiet.as_secs(), live.lag, live.not_taken, live.blocked.map(|time| time.as_secs()));
    survey.streams.iter().map(figures).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_shown_while_it_is_carried() {
    let fixture = Fixture::new(1_000_000, 1024).await;
    let delivery = fixture.delivery();
    let opened = delivery.open(Fixture::wanted("a", "sse", Start::Latest)).await.expect("a stream");
    let (begun, mut body) = (Instant::now(), opened.body);
    assert_eq!(shown(&delivery).await, [], "nobody carries it yet");
    let (_, hello) = next(&mut body, begun).await;
    assert_eq!(shown(&delivery).await, [(0, 0, hello.len() as u64, Some(0))]);
    assert!(polled(&mut body).await.is_none(), "its connection asks for more, and there is nothing");
    assert_eq!(shown(&delivery).await, [(0, 0, 0, None)]);

    tokio::time::advance(Duration::from_secs(3)).await;
    fixture.store("other", 2, "x").await;
    fixture.store("a", 1, "news").await;
    for _ in 0..1000 {
        tokio::task::yield_now().await; // Its feed is told of them meanwhile.
    }
    assert_eq!(shown(&delivery).await, [(3, 1, 0, None)], "what is not for it is no lag");
    let (_, news) = next(&mut body, begun).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(shown(&delivery).await, [(60, 0, news.len() as u64, Some(60))], "its connection does not ask for more");

    let asked = |of| Asked { sort: Sort::Age, limit: 10, of: Some(of) };
    let of = async |of| delivery.survey(None, asked(of)).await.streams.len();
    let called = delivery.called(opened.id);
    assert_eq!((of(called).await, of(Called { stream: None, ..called }).await), (1, 1));
    assert_eq!(of(delivery.called(crate::delivery::StreamId::new())).await, 0);
    drop(body);
    assert_eq!(shown(&delivery).await, []);
}

/// What a body has now, if anything.
async fn polled<B>(body: &mut B) -> Option<Option<Result<Bytes, io::Error>>>
where
    B: Frames<Item = Result<Bytes, io::Error>> + Unpin,
{
    std::future::poll_fn(|context| match Pin::new(&mut *body).poll_next(context) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What each stream of HTTP/2 holds beside what hyper and h2 hold of it.
#[test]
fn a_stream_that_is_carried_is_small() {
    assert!(size_of::<Carrying>() <= 488, "{} bytes", size_of::<Carrying>());
    assert!(size_of::<Body>() <= 16, "{} bytes", size_of::<Body>());
}
