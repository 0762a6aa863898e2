//! The hub over a log that does as a test says.

use std::sync::Mutex;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;
use crate::event::{Appended, Cursor, Epoch, Event, Timestamp, Topic, TopicSelector};
use crate::log::{
    AppendError, Bounds, Change, Commit, Delete, Durability, PAGE, Page as Stored, Receipt, Stats, Wanted,
};

pub(super) fn appended(offset: Offset, topic: &str, data: impl Into<bytes::Bytes>) -> Arc<Appended> {
    let event = Event::new(Topic::parse(topic).expect("a topic"), data);
    Arc::new(Appended::new(cursor(offset), Timestamp(0), event))
}

pub(super) fn small(offset: Offset) -> Arc<Appended> {
    appended(offset, "t", "x")
}

/// An event whose data and topic are `weight` bytes.
pub(super) fn large(offset: Offset, weight: usize) -> Arc<Appended> {
    appended(offset, "t", vec![b'x'; weight - 1])
}

fn cursor(offset: Offset) -> Cursor {
    Cursor { epoch: Epoch::parse("k3v9x0a1").expect("an epoch"), offset }
}

/// A log that reads as `read` says, and whose tail gives what is put in.
struct Told {
    bounds: Mutex<Bounds>,
    read: Box<dyn Fn(Offset) -> Stored + Send + Sync>,
    tail: Mutex<Option<mpsc::UnboundedReceiver<Change>>>,
    /// A read takes one of these; closed, reads take none.
    gate: Semaphore,
    reading: AtomicU64,
}

impl Told {
    /// Also gives what fills the tail.
    fn new(
        first: Offset,
        last: Offset,
        read: impl Fn(Offset) -> Stored + Send + Sync + 'static,
    ) -> (Arc<Self>, mpsc::UnboundedSender<Change>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let log = Self {
            bounds: Mutex::new(Bounds { first, last }),
            read: Box::new(read),
            tail: Mutex::new(Some(receiver)),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            reading: AtomicU64::new(0),
        };
        (Arc::new(log), sender)
    }

    fn now(&self, first: Offset, last: Offset) {
        *self.bounds.lock().unwrap() = Bounds { first, last };
    }

    /// Lets reads go on only as far as [`Told::let_go`] says.
    fn hold(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    fn let_go(&self, reads: usize) {
        self.gate.add_permits(reads);
    }
}

impl Log for Told {
    fn append(&self, _: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        unreachable!("nobody publishes here")
    }

    fn delete(&self, _: Delete) -> BoxFuture<'_, Result<u64, AppendError>> {
        unreachable!("nobody deletes here")
    }

    fn has_trimmed(&self, _: Wanted<'_>, _: Offset, _: Offset) -> bool {
        true
    }

    fn next_on(&self, _: &[TopicSelector], from: Offset) -> Offset {
        from
    }

    fn previous_on(&self, _: &[TopicSelector], upto: Offset) -> Offset {
        upto
    }

    fn seek<'a>(&'a self, _: Start, _: Wanted<'a>) -> BoxFuture<'a, Result<Position, ReadError>> {
        unreachable!("nobody seeks here")
    }

    fn read(&self, at: Offset) -> BoxFuture<'_, Result<Stored, ReadError>> {
        Box::pin(async move {
            self.reading.fetch_add(1, Ordering::Relaxed);
            self.gate.acquire().await.expect("open").forget();
            Ok((self.read)(at))
        })
    }

    fn tail(&self, _: Offset) -> BoxStream<'static, Change> {
        let tail = self.tail.lock().unwrap().take().expect("one tail");
        Box::pin(UnboundedReceiverStream::new(tail))
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap()
    }

    fn cursor(&self, offset: Offset) -> Cursor {
        cursor(offset)
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Reads as the durable store does, of events of topic `t` from 1 to `last`, `a_page` of them a page, without these.
fn without(lost: &[Offset], last: Offset, a_page: Offset) -> impl Fn(Offset) -> Stored + Send + Sync + 'static {
    let lost = lost.to_vec();
    move |at| {
        let Some(found) = (at..=last).find(|at| !lost.contains(at)) else {
            return Stored { events: Vec::new(), hole: at <= last };
        };
        let reads = |at: &Offset| !lost.contains(at) && at / a_page == found / a_page;
        let first = (1..=found).rev().take_while(reads).last().expect("itself");
        let events = (first..=last).take_while(reads).map(small).collect();
        Stored { events, hole: first > 1 && lost.contains(&(first - 1)) }
    }
}

async fn hub(log: &Arc<Told>) -> Arc<Hub> {
    let log: Arc<dyn Log> = Arc::<Told>::clone(log);
    Hub::start(log, PagesOptions::default(), &Shutdown::default()).await.expect("a hub")
}

pub(super) fn selection(selector: &str) -> Arc<Selection> {
    Arc::new(Selection::new(vec![TopicSelector::parse(selector).expect("a selector")]))
}

/// A reader's way to the live edge: offsets of events, and gaps. It fails if that takes too many steps.
async fn read_on(hub: &Hub, after: Offset) -> Vec<String> {
    let mut reader = Reader::new(selection("**"), after);
    let mut seen = Vec::new();
    for _ in 0..100 {
        match reader.step(hub, hub.pages().edge(), Budget { events: 100, bytes: 1 << 20 }) {
            Step::Events(events) => seen.extend(events.iter().map(|event| event.cursor.offset.to_string())),
            Step::Gap(Missing { reason, offsets }) => {
                seen.push(format!("{} {}", offsets.expect("everything is asked for"), reason.as_str()));
            }
            Step::Behind(at) => reader.give(hub.load(at).await.expect("a page")),
            Step::Scanned => {}
            Step::LiveEdge => return seen,
        }
    }
    panic!("it does not get to the live edge: {seen:?}");
}

#[tokio::test]
async fn the_live_edge_moves_on_over_what_was_gone_before_the_tail_got_to_it() {
    let (log, tail) = Told::new(1, 0, |_| Stored::default());
    let hub = hub(&log).await;
    log.now(8, 7);
    tail.send(Change::Trimmed).unwrap();
    hub.moved().await;
    assert_eq!(hub.pages().edge(), 7);
    assert_eq!(read_on(&hub, 0).await, ["7 expired"]);
}

#[tokio::test]
async fn who_waits_for_all_that_is_stored_goes_on_once_it_is_in_memory() {
    let (log, tail) = Told::new(1, 2, without(&[], 3, PAGE));
    let hub = hub(&log).await;
    tokio::select! {
        biased;
        () = hub.caught_up() => {}
        () = std::future::ready(()) => panic!("all of it is there"),
    }
    log.now(1, 3);
    let mut waiting = JoinSet::new();
    let waits = Arc::clone(&hub);
    waiting.spawn(async move { waits.caught_up().await });
    settled().await;
    assert!(waiting.try_join_next().is_none(), "the newest is not there yet");
    tail.send(Change::Commit(Commit::from([small(3)]))).unwrap();
    waiting.join_all().await;
    assert_eq!(hub.pages().edge(), 3);
}

#[tokio::test]
async fn a_snapshot_is_taken_beyond_a_hole_which_it_tells() {
    // Of one topic the newest is enough, but whether a conflation key is in what is lost nobody knows.
    let (log, _tail) = Told::new(1, 20, without(&[3, 4, 10], 20, PAGE));
    let hub = hub(&log).await;
    let mut snapshot = hub.snapshot(&selection("**")).await.expect("a snapshot");
    assert_eq!(snapshot.missing(), Some(Missing { reason: GapReason::Hole, offsets: Some(3) }));
    let Step::Events(events) = snapshot.step(&hub, Budget { events: 9, bytes: 99 }) else { panic!("an event") };
    assert_eq!((events.len(), events[0].cursor.offset, snapshot.is_over()), (1, 20, true));
}

#[tokio::test]
async fn what_is_stored_while_the_hub_starts_is_there_once() {
    // 1. The hub asks for the live edge: 2. 2. An event is stored. 3. It reads the page. 4. The tail gives the event.
    let (log, tail) = Told::new(1, 2, without(&[], 3, PAGE));
    let hub = hub(&log).await;
    assert_eq!(hub.pages().edge(), 2);
    tail.send(Change::Commit(Commit::from([small(3)]))).unwrap();
    hub.moved().await;
    assert_eq!(hub.pages().edge(), 3);
    assert_eq!(read_on(&hub, 0).await, ["1", "2", "3"]);
    let page = hub.pages().get(3).expect("in memory");
    assert_eq!((page.first(), page.last()), (1, 3));
}

#[tokio::test]
async fn damage_up_to_the_newest_event_is_a_hole_and_the_reader_goes_on_at_the_live_edge() {
    let (log, tail) = Told::new(1, 4, without(&[3, 4], 4, PAGE));
    let hub = hub(&log).await;
    let page = hub.load(3).await.unwrap();
    assert_eq!((page.first(), page.is_empty(), page.is_behind_hole()), (5, true, true));
    assert_eq!(read_on(&hub, 0).await, ["1", "2", "2 hole"]);
    tail.send(Change::Commit(Commit::from([small(5)]))).unwrap();
    hub.moved().await;
    assert_eq!(read_on(&hub, 0).await, ["1", "2", "2 hole", "5"]);
}

#[tokio::test]
async fn what_was_trimmed_up_to_the_newest_event_is_expired() {
    let (log, _tail) = Told::new(1, 4, |_| Stored::default());
    let hub = hub(&log).await;
    log.now(5, 4);
    assert_eq!(read_on(&hub, 1).await, ["3 expired"]);
}

#[tokio::test]
async fn a_page_that_many_need_is_read_once() {
    let (log, _tail) = Told::new(1, 5000, without(&[], 5000, PAGE));
    let hub = hub(&log).await;
    log.hold();
    let mut readers = JoinSet::new();
    for at in 1..=50 {
        let hub = Arc::clone(&hub);
        readers.spawn(async move { hub.load(at).await.expect("a page").first() });
    }
    settled().await;
    log.let_go(50);
    assert_eq!(readers.join_all().await, [1; 50]);
    assert_eq!(hub.loads(), 1);
}

#[tokio::test]
async fn no_more_pages_than_that_are_read_at_once() {
    let pages = PagesOptions::default().replays as u64 + 6;
    let (log, _tail) = Told::new(1, 100 * PAGE, without(&[], 100 * PAGE, PAGE));
    let hub = hub(&log).await;
    log.hold();
    log.reading.store(0, Ordering::Relaxed);
    let mut readers = JoinSet::new();
    for page in 0..pages {
        let hub = Arc::clone(&hub);
        readers.spawn(async move { hub.load(1 + page * PAGE).await.expect("a page").last() });
    }
    settled().await;
    assert_eq!((log.reading.load(Ordering::Relaxed), hub.waiting()), (64, 6));
    log.let_go(1);
    settled().await;
    assert_eq!(log.reading.load(Ordering::Relaxed), 65, "the next one has its turn");
    log.let_go(usize::try_from(pages).unwrap());
    assert_eq!(readers.join_all().await.len() as u64, pages);
    assert_eq!((hub.loads(), hub.waits(), hub.waiting()), (pages, 6, 0));
}

/// Lets every other task go as far as it can. (On this runtime of one thread each of them runs once before we do again.)
async fn settled() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_newest_are_not_sought_in_what_was_trimmed() {
    let (log, _tail) = Told::new(1, 6, without(&[], 6, PAGE));
    let hub = hub(&log).await;
    log.now(5, 6); // The page in memory still holds all six.
    assert_eq!(hub.newest(&selection("**"), 10).await.unwrap(), Position { after: 4, missing: None });
    assert_eq!(hub.newest(&selection("**"), 1).await.unwrap(), Position { after: 5, missing: None });
}

#[tokio::test]
async fn the_newest_are_sought_beyond_a_hole_which_is_told() {
    // What is lost, how long a page is, how many are sought; where they begin, and how many offsets were passed over.
    for (lost, a_page, count, after, passed) in [
        (&[3][..], PAGE, 1, 19, None),
        (&[3], PAGE, 17, 3, None),
        (&[3], PAGE, 18, 1, Some(1)),
        (&[3], PAGE, 19, 0, Some(1)),
        (&[3], PAGE, 100, 0, Some(1)),
        (&[3], 2, 18, 1, Some(1)),
        (&[10, 11, 12, 13, 14, 15, 16, 17], 2, 4, 8, Some(8)),
        (&[10, 11, 12, 13, 14, 15, 16, 17], PAGE, 5, 7, Some(8)),
        (&[10, 12, 14, 16], PAGE, 9, 7, Some(4)),
        // From further and further back only damaged ones are met, but there are others between.
        (&[1, 4, 8, 10, 11, 12], 1, 9, 8, Some(3)),
        // What is met lies far before the hole: there are others in between, and another hole.
        (&[10, 11, 12], 1, 9, 8, Some(3)),
        (&[9, 11, 12, 13, 14, 15, 16], 1, 5, 9, Some(6)),
        (&[1, 2], PAGE, 100, 0, Some(2)),
        (&[20], PAGE, 1, 18, Some(1)),
        (&[18, 19, 20], 1, 2, 15, Some(3)),
    ] {
        let (log, _tail) = Told::new(1, 20, without(lost, 20, a_page));
        let hub = hub(&log).await;
        let missing = passed.map(|lost| Missing { reason: GapReason::Hole, offsets: Some(lost) });
        let found = hub.newest(&selection("**"), count).await.unwrap();
        assert_eq!(found, Position { after, missing }, "the newest {count} without {lost:?}, {a_page} a page");
        let events = read_on(&hub, after).await.into_iter().filter(|seen| !seen.contains("hole")).count();
        assert_eq!(events, count.min(20 - lost.len()), "the newest {count} without {lost:?}, {a_page} a page");
    }
}

/// What could not be read the first time, and can be the second.
#[tokio::test]
async fn a_hole_that_is_none_any_more_costs_no_event_before_it() {
    let (damaged, whole) = (without(&[10], 20, 4), without(&[], 20, 4));
    // Read first for 11, which is behind it, and then for 10, which begins the way around it.
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let read = move |at| {
        let is_damaged = matches!(at, 10 | 11) && reads.fetch_add(1, Ordering::Relaxed) < 2;
        if is_damaged { damaged(at) } else { whole(at) }
    };
    let (log, _tail) = Told::new(1, 20, read);
    let hub = hub(&log).await;
    let missing = Some(Missing { reason: GapReason::Hole, offsets: Some(1) });
    assert_eq!(hub.newest(&selection("**"), 12).await.unwrap(), Position { after: 7, missing });
}

#[tokio::test]
async fn a_log_of_which_nothing_can_be_read_has_no_newest() {
    let (log, _tail) = Told::new(3, 9, |at| Stored { events: Vec::new(), hole: at <= 9 });
    let hub = hub(&log).await;
    let missing = Some(Missing { reason: GapReason::Hole, offsets: Some(7) });
    assert_eq!(hub.newest(&selection("**"), 1).await.unwrap(), Position { after: 2, missing });
}

#[tokio::test]
async fn a_long_hole_is_passed_in_few_reads() {
    let lost: Vec<Offset> = (2..=5000).collect();
    let (log, _tail) = Told::new(1, 5001, without(&lost, 5001, PAGE));
    let hub = hub(&log).await;
    let found = hub.newest(&selection("**"), 2).await.unwrap();
    assert_eq!(found, Position { after: 0, missing: Some(Missing { reason: GapReason::Hole, offsets: Some(4999) }) });
    assert!(hub.loads() < 20, "{} reads", hub.loads());
}
