//! What every store promises: one suite, run on each of them.

mod model;
mod remembering;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::*;
use crate::access::{self, Access, Policy, Rule, Rules};
use crate::event::{ContentType, EventType, Key, Publisher, Timestamp, Topic};

/// A log with a clock that only the test moves.
pub(super) struct Fixture {
    pub(super) log: Arc<dyn Log>,
    pub(super) clock: TestClock,
    /// Bound by every test, as it is removed when it is dropped.
    pub(super) _directory: Option<TempDir>,
}

type Open = fn(Retention) -> Fixture;

fn memory(retention: Retention) -> Fixture {
    let clock = TestClock::default();
    Fixture { log: Arc::new(MemoryLog::with_clocks(retention, clock.clock(), clock.steady())), clock, _directory: None }
}

fn sqlite(retention: Retention) -> Fixture {
    let (clock, directory) = (TestClock::default(), TempDir::new().expect("a directory"));
    // Without waiting for the disk, which makes no difference to what is promised here.
    let options = SqliteOptions {
        retention,
        clock: clock.clock(),
        steady: clock.steady(),
        durability: Durability::Os,
        ..SqliteOptions::new(directory.path())
    };
    Fixture { log: Arc::new(SqliteLog::open(options).expect("a log")), clock, _directory: Some(directory) }
}

macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        mod memory { $(#[tokio::test] async fn $test() { super::$test(super::memory).await })* }
        mod sqlite { $(#[tokio::test] async fn $test() { super::$test(super::sqlite).await })* }
    };
}

mod keys;
mod removal;

pub(super) use removal::{exact, places};

on_every_store! {
    receipts_come_in_order_and_their_cursors_rise,
    an_append_is_seen_by_read_and_tail_and_bounds,
    an_empty_batch_stores_nothing,
    every_field_comes_back,
    time_never_falls_though_the_clock_does,
    a_publisher_that_goes_away_does_not_undo_its_append,
    a_tail_catches_up_from_far_behind,
    a_tail_goes_on_after_all_it_waited_for_was_trimmed,
    a_tail_ends_with_its_log,
    retention_by_events_takes_the_oldest,
    retention_by_age_takes_the_oldest,
    retention_by_bytes_takes_the_oldest,
    a_jump_of_the_clock_deletes_nothing_and_is_not_stored,
    a_batch_larger_than_retention_is_trimmed_no_further_than_it_must,
    every_start_position_is_found,
    a_time_is_found_among_many_commits,
    page_cuts_are_the_same_for_every_reader,
    pages_do_not_cross_their_boundaries,
    an_event_larger_than_a_page_stands_alone,
    a_closed_log_refuses_appends,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tails_see_each_event_once_under_concurrent_appends_in_memory() {
    tails_see_each_event_once_under_concurrent_appends(memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tails_see_each_event_once_under_concurrent_appends_in_sqlite() {
    tails_see_each_event_once_under_concurrent_appends(sqlite).await;
}

async fn receipts_come_in_order_and_their_cursors_rise(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let mut before = log.cursor(0);
    for size in [1, 3, 1, 40] {
        let receipts = log.append((0..size).map(|n| event(&n.to_string())).collect()).await.expect("stored");
        assert_eq!(receipts.len(), size);
        for receipt in receipts {
            assert!(!receipt.duplicate);
            assert_eq!((receipt.cursor.epoch, receipt.cursor.offset), (before.epoch, before.offset + 1));
            before = receipt.cursor;
        }
    }
}

async fn an_append_is_seen_by_read_and_tail_and_bounds(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    assert_eq!(log.bounds(), Bounds { first: 1, last: 0 });
    assert!(log.read(1).await.expect("a page").events.is_empty());
    let mut tail = commits(&*log, 0);
    let receipts = log.append(vec![event("a"), event("b")]).await.expect("stored");
    assert_eq!(log.bounds(), Bounds { first: 1, last: 2 });
    let page = log.read(2).await.expect("a page");
    let tailed = tail.next().await.expect("a commit");
    for seen in [&page.events[..], &tailed[..]] {
        assert_eq!(data(seen), ["a", "b"]);
        assert_eq!([seen[0].cursor, seen[1].cursor], [receipts[0].cursor, receipts[1].cursor]);
    }
    assert_eq!(log.cursor(2), receipts[1].cursor);
    assert!(log.read(3).await.expect("a page").events.is_empty(), "past the newest event");
    assert_eq!((log.stats().commits, log.stats().writable), (1, true));
}

async fn an_empty_batch_stores_nothing(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    assert_eq!(log.append(Vec::new()).await.expect("stored"), []);
    assert_eq!(log.bounds(), Bounds { first: 1, last: 0 });
}

async fn every_field_comes_back(open: Open) {
    let Fixture { log, clock, _directory } = open(EVERYTHING);
    clock.set(1_234_567);
    let mut full = Event::new(topic("orders/42"), &b"\0\xff\r\n\xc3"[..]);
    full.topics.extend([topic("ümläut/→"), topic("https://example.org/a?b#c")]);
    full.kind = EventType::parse("paid").expect("a type");
    full.content_type = Some(ContentType::parse("image/png; q=\"a;b\"").expect("a media type"));
    full.key = Some(Key::parse("schlüssel-1").expect("a key"));
    full.conflate = Some(Key::parse("orders/42").expect("a key"));
    full.ttl = Some(Duration::from_millis(123_456_789));
    full.private = true;
    full.publisher = Publisher::Public;
    let events = vec![full, event(""), Event::new(topic(&"t".repeat(1024)), vec![7; 100_000])];
    log.append(events.clone()).await.expect("stored");
    let page = log.read(1).await.expect("a page");
    assert_eq!(page.events.iter().map(|event| event.event.clone()).collect::<Vec<_>>(), events);
    assert!(page.events.iter().all(|event| event.time == Timestamp(1_234_567)));
}

async fn time_never_falls_though_the_clock_does(open: Open) {
    let Fixture { log, clock, _directory } = open(EVERYTHING);
    for time in [5_000, 3_000, 6_000, 0] {
        clock.set(time);
        log.append(vec![event("x")]).await.expect("stored");
    }
    let times: Vec<u64> = log.read(1).await.expect("a page").events.iter().map(|event| event.time.0).collect();
    assert_eq!(times, [5_000, 5_000, 6_000, 6_000]);
}

async fn a_publisher_that_goes_away_does_not_undo_its_append(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    tokio::select! {
        biased;
        _ = log.append(vec![event("a")]) => {}
        () = std::future::ready(()) => {} // The append was begun, and is dropped.
    }
    log.append(vec![event("b")]).await.expect("stored");
    assert_eq!(everything(&log).await, ["a", "b"]);
}

async fn a_tail_catches_up_from_far_behind(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let (mut slow, mut from_seven) = (commits(&*log, 0), commits(&*log, 7));
    for n in 1..=200 {
        log.append(vec![event(&n.to_string())]).await.expect("stored");
    }
    assert_eq!(offsets(&mut slow, 200).await, (1..=200).collect::<Vec<_>>());
    assert_eq!(offsets(&mut from_seven, 193).await, (8..=200).collect::<Vec<_>>());
    log.append(vec![event("live")]).await.expect("stored");
    assert_eq!(offsets(&mut slow, 1).await, [201]);
}

async fn a_tail_goes_on_after_all_it_waited_for_was_trimmed(open: Open) {
    // 1. More commits than are kept for tails; 2. all of them expire; 3. a tail begins before them.
    let Fixture { log, clock, _directory } = open(Retention { age: Duration::from_secs(10), ..EVERYTHING });
    for _ in 0..100 {
        log.append(vec![event("old")]).await.expect("stored");
    }
    clock.advance(Duration::from_secs(11));
    until(|| log.bounds() == Bounds { first: 101, last: 100 }).await;
    let mut tail = commits(&*log, 0);
    let gone = tail.next().await.expect("a word");
    assert!(gone.is_empty(), "nothing is left: {gone:?}");
    log.append(vec![event("new")]).await.expect("stored");
    assert_eq!(offsets(&mut tail, 1).await, [101]);
}

async fn a_tail_ends_with_its_log(open: Open) {
    let Fixture { log, clock, _directory } = open(EVERYTHING);
    log.append(vec![event("a")]).await.expect("stored");
    let (mut at_the_edge, mut behind) = (commits(&*log, 1), commits(&*log, 0));
    drop(log);
    assert!(at_the_edge.next().await.is_none());
    assert_eq!(offsets(&mut behind, 1).await, [1], "what was kept for it is still given");
    assert!(behind.next().await.is_none());
    drop(clock);
}

async fn tails_see_each_event_once_under_concurrent_appends(open: Open) {
    const PUBLISHERS: usize = 8;
    const APPENDS: usize = 60;
    let size = |publisher, n| 1 + (publisher + n) % 4;
    let total: usize = (0..PUBLISHERS).flat_map(|publisher| (0..APPENDS).map(move |n| size(publisher, n))).sum();
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let all: Vec<Offset> = (1..=total as u64).collect();

    let mut tails = JoinSet::new();
    let mut early = commits(&*log, 0);
    tails.spawn(async move { offsets(&mut early, total).await });
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let log = Arc::clone(&log);
        publishers.spawn(async move {
            let mut given = Vec::new();
            for n in 0..APPENDS {
                let batch = (0..size(publisher, n)).map(|_| event(&format!("{publisher}.{n}"))).collect();
                given.extend(log.append(batch).await.expect("stored").into_iter().map(|r| r.cursor.offset));
            }
            assert!(given.is_sorted(), "one publisher's events keep their order");
            given
        });
    }
    until(|| log.bounds().last > 0).await;
    let mut late = commits(&*log, 0);
    tails.spawn(async move { offsets(&mut late, total).await });

    let mut given: Vec<Offset> = publishers.join_all().await.into_iter().flatten().collect();
    given.sort_unstable();
    assert_eq!(given, all, "every receipt names another offset");
    for seen in tails.join_all().await {
        assert_eq!(seen, all);
    }
}

async fn retention_by_events_takes_the_oldest(open: Open) {
    let Fixture { log, _directory, .. } = open(Retention { events: 10, ..EVERYTHING });
    for n in 1..=25 {
        log.append(vec![event(&n.to_string())]).await.expect("stored");
    }
    until(|| log.bounds() == Bounds { first: 16, last: 25 }).await;
    assert_eq!(log.stats().trimmed, 15);
    for at in [0, 1, 15, 16, 25] {
        let page = log.read(at).await.expect("a page");
        assert_eq!((page.first(), page.last()), (Some(16), Some(25)), "the oldest page, asked for {at}");
    }
}

async fn retention_by_age_takes_the_oldest(open: Open) {
    let Fixture { log, clock, _directory } = open(Retention { age: Duration::from_secs(60), ..EVERYTHING });
    for n in 0..4 {
        log.append(vec![event(&n.to_string()), event("x")]).await.expect("stored");
        clock.advance(Duration::from_secs(20));
    }
    // Stored at 0, 20, 40 and 60 s; now it is 80 s, and nobody publishes any more.
    until(|| log.bounds() == Bounds { first: 3, last: 8 }).await;
    clock.advance(Duration::from_secs(1));
    until(|| log.bounds() == Bounds { first: 5, last: 8 }).await;
    clock.advance(Duration::from_secs(3600));
    until(|| log.bounds() == Bounds { first: 9, last: 8 }).await;
    assert!(log.read(1).await.expect("a page").events.is_empty());
    let next = log.append(vec![event("y")]).await.expect("stored");
    assert_eq!(next[0].cursor.offset, 9, "offsets go on");
}

async fn a_jump_of_the_clock_deletes_nothing_and_is_not_stored(open: Open) {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let Fixture { log, clock, _directory } = open(Retention { age: Duration::from_secs(3_600), ..EVERYTHING });
    clock.set(1_000);
    log.append((0..10).map(|n| event(&n.to_string())).collect()).await.expect("stored");
    for jump in [YEAR, -YEAR] {
        clock.jump(jump);
        clock.advance(Duration::from_secs(60));
        log.append(vec![event("x")]).await.expect("stored");
        assert_eq!(log.bounds().first, 1, "jump {jump}");
    }
    let times: Vec<u64> = log.read(1).await.expect("a page").events.iter().map(|event| event.time.0).collect();
    assert_eq!(times[9..], [1_000, 61_000, 121_000]);
    // Retention goes on: ten events are an hour old now, and two are not.
    clock.advance(Duration::from_millis(3_600_001 - 120_000));
    until(|| log.bounds() == Bounds { first: 11, last: 12 }).await;
}

async fn retention_by_bytes_takes_the_oldest(open: Open) {
    const LIMIT: u64 = 1 << 20;
    let Fixture { log, _directory, .. } = open(Retention { bytes: LIMIT, ..EVERYTHING });
    for n in 1..=300 {
        log.append(vec![Event::new(topic("t"), vec![0; 10_000])]).await.expect("stored");
        assert_eq!(log.bounds().last, n);
    }
    until(|| log.stats().bytes <= LIMIT).await;
    let Bounds { first, last } = log.bounds();
    assert_eq!(last, 300);
    // 10 000 bytes of data take at most three database pages.
    assert!((LIMIT / 13_000..=LIMIT / 10_000).contains(&(last + 1 - first)), "{first} to {last}");
    assert_eq!(log.read(1).await.expect("a page").first(), Some(first));
}

async fn a_batch_larger_than_retention_is_trimmed_no_further_than_it_must(open: Open) {
    let Fixture { log, _directory, .. } = open(Retention { events: 100, ..EVERYTHING });
    let batch = |n: usize| (0..n).map(|n| event(&n.to_string())).collect::<Vec<_>>();
    log.append(batch(5_000)).await.expect("stored");
    log.append(batch(1)).await.expect("stored");
    let Bounds { first, last } = log.bounds();
    assert_eq!(last, 5_001);
    assert!((100..=100 + PAGE).contains(&(last + 1 - first)), "{first} to {last}");
}

async fn every_start_position_is_found(open: Open) {
    let Fixture { log, clock, _directory } = open(Retention { events: 10, ..EVERYTHING });
    let at = |offset| Cursor { offset, ..log.cursor(1) };
    let missing = |reason, offsets| Some(Missing { reason, offsets });
    let seek = async |start| log.seek(start, Wanted::all(&*EVERY_TOPIC)).await.expect("a position");
    for start in [Start::Latest, Start::Earliest, Start::Cursor(at(0)), Start::Since(Timestamp(0))] {
        assert_eq!(seek(start).await, Position { after: 0, missing: None }, "{start:?} in an empty log");
    }
    for n in 1..=20 {
        clock.set(n * 1_000);
        log.append(vec![event("x")]).await.expect("stored");
    }
    until(|| log.bounds() == Bounds { first: 11, last: 20 }).await;
    let other = Cursor { epoch: new_epoch(), offset: 15 };
    for (start, after, gap) in [
        (Start::Latest, 20, None),
        (Start::Earliest, 10, None),
        (Start::Cursor(at(20)), 20, None),
        (Start::Cursor(at(15)), 15, None),
        (Start::Cursor(at(10)), 10, None),
        (Start::Cursor(at(9)), 10, missing(GapReason::Expired, Some(1))),
        (Start::Cursor(at(0)), 10, missing(GapReason::Expired, Some(10))),
        (Start::Cursor(at(21)), 20, missing(GapReason::Ahead, None)),
        (Start::Cursor(at(u64::MAX)), 20, missing(GapReason::Ahead, None)),
        (Start::Cursor(other), 20, missing(GapReason::Unknown, None)),
        (Start::Unreadable, 20, missing(GapReason::Unknown, None)),
        (Start::Since(Timestamp(0)), 10, None),
        (Start::Since(Timestamp(11_000)), 10, None),
        (Start::Since(Timestamp(11_001)), 11, None),
        (Start::Since(Timestamp(15_000)), 14, None),
        (Start::Since(Timestamp(20_000)), 19, None),
        (Start::Since(Timestamp(20_001)), 20, None),
        (Start::Since(Timestamp(u64::MAX)), 20, None),
    ] {
        assert_eq!(seek(start).await, Position { after, missing: gap }, "{start:?}");
    }
}

async fn a_time_is_found_among_many_commits(open: Open) {
    let Fixture { log, clock, _directory } = open(EVERYTHING);
    let mut first_at = BTreeMap::new(); // The last offset before each time.
    for n in 0..120_u64 {
        clock.set(n / 3 * 10);
        let before = log.bounds().last;
        first_at.entry(n / 3 * 10).or_insert(before);
        log.append((0..1 + n % 7).map(|_| event("x")).collect()).await.expect("stored");
    }
    for time in 0..=400 {
        let expected = first_at.range(time..).next().map_or(log.bounds().last, |(_, before)| *before);
        let found = log.seek(Start::Since(Timestamp(time)), Wanted::all(&*EVERY_TOPIC)).await.expect("a position");
        assert_eq!(found.after, expected, "since {time}");
    }
}

async fn page_cuts_are_the_same_for_every_reader(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let sizes = [300_000, 1, 700_000, 90_000, 1_000_000, 40_000, 10, 20, 600_000, 500_000];
    let events = |sizes: &[usize]| sizes.iter().map(|&size| Event::new(topic("t"), vec![1; size])).collect();
    log.append(events(&sizes)).await.expect("stored");
    for size in sizes {
        log.append(events(&[size])).await.expect("stored");
    }
    let mut pages = BTreeMap::new();
    for at in 1..=20 {
        let page = log.read(at).await.expect("a page");
        let (first, last) = (page.first().expect("events"), page.last().expect("events"));
        assert!((first..=last).contains(&at), "{first}–{last} holds {at}");
        let weight: usize = page.events.iter().map(|event| event.event.weight()).sum();
        assert!(weight <= PAGE_BYTES, "{weight} bytes in {first}–{last}");
        assert_eq!(*pages.entry(first).or_insert(last), last, "one page begins at {first}");
    }
    let covered: Vec<Offset> = pages.iter().flat_map(|(&first, &last)| first..=last).collect();
    assert_eq!(covered, (1..=20).collect::<Vec<_>>(), "pages neither overlap nor leave holes: {pages:?}");
    let before = pages.clone();
    log.append(events(&[200_000])).await.expect("stored");
    for (first, last) in before.into_iter().rev().skip(1) {
        let page = log.read(last).await.expect("a page");
        assert_eq!((page.first(), page.last()), (Some(first), Some(last)), "a page that was full stays as it is");
    }
}

async fn pages_do_not_cross_their_boundaries(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    for _ in 0..5 {
        log.append((0..700).map(|n| event(&n.to_string())).collect()).await.expect("stored");
    }
    let mut at = 1;
    while at <= 3_500 {
        let page = log.read(at).await.expect("a page");
        let (first, last) = (page.first().expect("events"), page.last().expect("events"));
        assert_eq!((first, last), (at, (at / PAGE * PAGE + PAGE - 1).min(3_500)));
        assert_eq!(page.events.len() as u64, last + 1 - first);
        at = last + 1;
    }
}

async fn an_event_larger_than_a_page_stands_alone(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let large = || Event::new(topic("t"), vec![9; PAGE_BYTES + 1]);
    log.append(vec![event("a"), large(), event("b"), large(), large(), event("c")]).await.expect("stored");
    for at in 1..=6 {
        let page = log.read(at).await.expect("a page");
        assert_eq!((page.first(), page.last()), (Some(at), Some(at)));
    }
}

async fn a_closed_log_refuses_appends(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    log.append(vec![event("a")]).await.expect("stored");
    log.close().await;
    log.close().await;
    let refused = log.append(vec![event("b")]).await;
    assert!(matches!(refused, Err(AppendError::ReadOnly(None))), "{refused:?}");
    assert!(!log.stats().writable);
    assert_eq!(log.bounds().last, 1);
}

/// A wall clock and a steady one that only the test moves: both together, unless it says that the first one jumps.
#[derive(Clone, Debug, Default)]
pub(super) struct TestClock {
    steady: Arc<AtomicU64>,
    /// How far the wall clock is ahead of it.
    ahead: Arc<AtomicI64>,
}

impl TestClock {
    pub(super) fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    pub(super) fn steady(&self) -> Steady {
        let steady = Arc::clone(&self.steady);
        Arc::new(move || Duration::from_millis(steady.load(SeqCst)))
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.steady.load(SeqCst).saturating_add_signed(self.ahead.load(SeqCst)))
    }

    /// Moves on to this time; or back, which the wall clock does alone.
    pub(super) fn set(&self, milliseconds: u64) {
        match milliseconds.checked_sub(self.now().0) {
            Some(forward) => self.advance(Duration::from_millis(forward)),
            None => self.jump(-i64::try_from(self.now().0 - milliseconds).expect("a short time")),
        }
    }

    pub(super) fn advance(&self, by: Duration) {
        self.steady.fetch_add(u64::try_from(by.as_millis()).expect("a short time"), SeqCst);
    }

    /// Moves the wall clock alone.
    pub(super) fn jump(&self, milliseconds: i64) {
        self.ahead.fetch_add(milliseconds, SeqCst);
    }
}

/// Retention that takes nothing away.
pub(super) const EVERYTHING: Retention =
    Retention { events: u64::MAX, age: Duration::MAX, bytes: u64::MAX, topics: Vec::new() };

/// `**`.
pub(super) static EVERY_TOPIC: LazyLock<[TopicSelector; 1]> = LazyLock::new(|| [TopicSelector::everything()]);

/// The permit of who has no key, where all topics are public but these.
pub(super) fn anonymous(shut: &[&str]) -> Permit {
    let rule = |text: &&str| Rule {
        matches: TopicSelector::parse(text).expect("a selector"),
        read: access::Open::Key,
        publish: access::Open::Key,
    };
    let all = Rules::all(access::Open::Public, access::Open::Key);
    let rules = Rules { rules: shut.iter().map(rule).collect(), ..all };
    Access::new(Policy { rules: rules.into(), keys: access::Secrets::default(), open: false }).permit(None)
}

pub(super) fn topic(name: &str) -> Topic {
    Topic::parse(name).expect("a topic")
}

pub(super) fn event(data: &str) -> Event {
    Event::new(topic("t"), data.to_owned())
}

/// An event on these topics at this offset of some log.
pub(super) fn appended(offset: Offset, topics: &[Topic]) -> Arc<Appended> {
    let event = Event { topics: topics.iter().cloned().collect(), ..event("x") };
    let cursor = Cursor { epoch: crate::event::Epoch::from_random(7), offset };
    Arc::new(Appended::new(cursor, Timestamp(0), event))
}

pub(super) fn keyed(key: &str, data: &str) -> Event {
    Event { key: Some(Key::parse(key).expect("a key")), ..event(data) }
}

pub(super) fn data(events: &[Arc<Appended>]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(&event.event.data).into_owned()).collect()
}

/// The data of all that is kept, page by page.
pub(super) async fn everything(log: &Arc<dyn Log>) -> Vec<String> {
    let mut all = Vec::new();
    let Bounds { first, last } = log.bounds();
    let mut at = first;
    while at <= last {
        let page = log.read(at).await.expect("a page");
        at = page.last().expect("events") + 1;
        all.extend(data(&page.events));
    }
    all
}

/// The commits that a tail tells; an empty one where all that it had missed was trimmed.
pub(super) fn commits(log: &dyn Log, after: Offset) -> BoxStream<'static, Commit> {
    Box::pin(log.tail(after).filter_map(|change| match change {
        Change::Commit(commit) => Some(commit),
        Change::Trimmed => Some(Commit::from([])),
        Change::Removed { .. } | Change::MissedRemovals => None,
    }))
}

/// The offsets of the next `count` events of a tail, which must end with a commit.
async fn offsets(tail: &mut BoxStream<'static, Commit>, count: usize) -> Vec<Offset> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let commit = tail.next().await.expect("a commit");
        offsets.extend(commit.iter().map(|event| event.cursor.offset));
    }
    assert_eq!(offsets.len(), count);
    offsets
}

/// Waits for a state that the store reaches by itself (retention is asynchronous), and fails if it does not.
pub(super) async fn until(reached: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the log did not get there in 20 s");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
