//! What only a store with a file can promise, and break. The rest is in `log::contract`.

mod damage;
mod formats;
mod outliving;
mod removal;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::super::contract::{
    EVERY_TOPIC, EVERYTHING, TestClock, commits, data, event, everything, keyed, topic, until,
};
use super::super::{GapReason, Keep, Keys, Missing, PAGE_BYTES, TopicRetention};
use super::*;
use crate::event::{Event, Publisher, Timestamp};

fn options(directory: &Path, clock: &TestClock) -> SqliteOptions {
    SqliteOptions {
        retention: EVERYTHING,
        clock: clock.clock(),
        steady: clock.steady(),
        lock_patience: Duration::from_secs(20),
        ..SqliteOptions::new(directory)
    }
}

fn open(directory: &Path) -> SqliteLog {
    SqliteLog::open(options(directory, &TestClock::default())).expect("a log")
}

fn refusal(directory: &Path) -> String {
    let options = SqliteOptions { lock_patience: Duration::ZERO, ..options(directory, &TestClock::default()) };
    match SqliteLog::open(options) {
        Ok(_) => panic!("the log was opened"),
        Err(error) => error.to_string(),
    }
}

/// A log of these events, closed; and its cursors.
async fn closed_log(directory: &Path, events: Vec<Event>) -> Vec<Cursor> {
    let log = open(directory);
    let receipts = log.append(events).await.expect("stored");
    log.close().await;
    receipts.into_iter().map(|receipt| receipt.cursor).collect()
}

/// A log of so many rows, each with one event that was stored at 0, closed.
pub(super) async fn closed_log_of_rows(rows: u64) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let options = SqliteOptions { durability: Durability::Os, ..options(directory.path(), &TestClock::default()) };
    let log = SqliteLog::open(options).expect("a log");
    for _ in 0..rows {
        log.append(vec![event("x")]).await.expect("stored");
    }
    log.close().await;
    directory
}

pub(super) fn open_file(directory: &Path) -> Connection {
    let connection = Connection::open(directory.join("encke.db")).expect("the file");
    connection.busy_timeout(Duration::from_secs(5)).expect("patience");
    connection
}

fn sql(directory: &Path, statements: &str) {
    let connection = open_file(directory);
    connection.execute_batch(statements).expect("done");
}

/// The files of a log that is open, as `kill -9` would leave them now.
pub(in crate::log) fn as_killed(directory: &Path) -> TempDir {
    let copy = TempDir::new().expect("a directory");
    // While another program holds the file for writing, the write-ahead log neither grows nor begins anew.
    let holder = Connection::open(directory.join("encke.db")).expect("the file");
    holder.busy_timeout(Duration::from_secs(5)).expect("patience");
    holder.execute_batch("BEGIN IMMEDIATE").expect("alone");
    for file in ["encke.db", "encke.db-wal"] {
        std::fs::copy(directory.join(file), copy.path().join(file)).expect("a copy");
    }
    holder.execute_batch("ROLLBACK").expect("done");
    copy
}

#[tokio::test]
async fn a_log_whose_handles_are_dropped_frees_its_directory() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.append(vec![event("a")]).await.unwrap();
    let tail = commits(&log, 0);
    drop(log);
    let log = open(directory.path());
    assert_eq!(log.bounds().last, 1);
    drop(tail);
}

#[tokio::test]
async fn closing_stores_what_was_accepted_and_leaves_one_file() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.append(vec![event("a")]).await.unwrap();
    assert!(log.stats().wal_bytes > 0);
    let mut publishers = JoinSet::new();
    for _ in 0..20 {
        let log = log.clone();
        publishers.spawn(async move { log.append(vec![event("x")]).await.is_ok() });
    }
    tokio::task::yield_now().await;
    log.close().await;
    let stored = publishers.join_all().await.into_iter().filter(|stored| *stored).count();
    assert!(!directory.path().join("encke.db-wal").exists());
    assert!(log.read(1).await.is_err(), "a closed log is not read");
    assert_eq!(open(directory.path()).bounds().last, 1 + stored as u64);
}

#[tokio::test]
async fn a_second_process_waits_and_then_is_refused() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let said = refusal(directory.path());
    assert!(said.contains("is used by another process"), "{said}");
    let path = directory.path().to_owned();
    let second = tokio::task::spawn_blocking(move || open(&path)); // Has patience.
    log.append(vec![event("a")]).await.unwrap();
    log.close().await;
    assert_eq!(second.await.unwrap().bounds().last, 1);
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    for (content, expected) in
        [(&b"hello\n"[..], "is not a log of Encke"), (&[b'x'; 10_000][..], "is not a log of Encke")]
    {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("encke.db"), content).unwrap();
        let said = refusal(directory.path());
        assert!(said.contains(expected), "{said}");
        assert_eq!(std::fs::read(directory.path().join("encke.db")).unwrap(), content);
    }
    let directory = TempDir::new().unwrap();
    sql(directory.path(), "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
    let before = std::fs::read(directory.path().join("encke.db")).unwrap();
    let said = refusal(directory.path());
    assert!(said.contains("is not a log of Encke"), "{said}");
    assert_eq!(std::fs::read(directory.path().join("encke.db")).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_a_later_format_is_refused() {
    let directory = TempDir::new().unwrap();
    closed_log(directory.path(), vec![event("a")]).await;
    sql(directory.path(), "PRAGMA user_version = 3");
    let said = refusal(directory.path());
    assert!(said.contains("later version of Encke (format 3; this one reads format 2)"), "{said}");
}

#[tokio::test]
async fn a_file_that_lost_its_newest_events_is_refused_not_shortened() {
    let big = || vec![Event::new(topic("t"), vec![1; 50_000]); 20];
    // 1. The file is cut. 2. Rows are gone. 3. A row in the last ten minutes is garbage. 4. Only its tail is left.
    let directory = TempDir::new().unwrap();
    closed_log(directory.path(), big()).await;
    let file = directory.path().join("encke.db");
    let whole = std::fs::metadata(&file).unwrap().len();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(whole / 2).unwrap();
    assert!(refusal(directory.path()).contains("is damaged"));

    let directory = TempDir::new().unwrap();
    closed_log(directory.path(), vec![event("a")]).await;
    closed_log(directory.path(), vec![event("b")]).await;
    sql(directory.path(), "DELETE FROM commits");
    assert!(refusal(directory.path()).contains("its newest events are missing"));

    let directory = TempDir::new().unwrap();
    closed_log(directory.path(), vec![keyed("k", "a")]).await;
    sql(directory.path(), "UPDATE commits SET events = x'0102'");
    assert!(refusal(directory.path()).contains("its newest events cannot be read"));

    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("encke.db-wal"), "frames").unwrap();
    assert!(refusal(directory.path()).contains("its write-ahead log is there, but the file itself is not"));
}

/// The first and the last offset of the page at `at`, and whether it begins behind a hole.
async fn span(log: &SqliteLog, at: Offset) -> (Option<Offset>, Option<Offset>, bool) {
    let page = log.read(at).await.expect("a page");
    assert!(page.events.windows(2).all(|pair| pair[0].cursor.offset + 1 == pair[1].cursor.offset));
    (page.first(), page.last(), page.hole)
}

#[tokio::test]
async fn a_damaged_row_is_a_hole_and_its_neighbours_are_read() {
    const DAMAGES: [&str; 8] = [
        "UPDATE commits SET events = x'ff' WHERE first = 1034",
        "UPDATE commits SET events = x'' WHERE first = 1034",
        "UPDATE commits SET events = substr(events, 1, 20) WHERE first = 1034",
        "UPDATE commits SET count = count - 1 WHERE first = 1034",
        "UPDATE commits SET count = count + 1 WHERE first = 1034",
        "UPDATE commits SET count = -1 WHERE first = 1034",
        "UPDATE commits SET count = 9223372036854775807 WHERE first = 1034",
        "DELETE FROM commits WHERE first = 1034",
    ];
    for damage in DAMAGES {
        let directory = TempDir::new().unwrap();
        let log = open(directory.path());
        log.append(vec![event("x"); 1023]).await.unwrap();
        for _ in 0..110 {
            log.append(vec![event("x"); 10]).await.unwrap();
        }
        sql(directory.path(), damage);
        for _ in 0..2 {
            for at in [1, 1023] {
                assert_eq!(span(&log, at).await, (Some(1), Some(1023), false), "{damage}, at {at}");
            }
            for at in [1024, 1033] {
                assert_eq!(span(&log, at).await, (Some(1024), Some(1033), false), "{damage}, at {at}");
            }
            for at in [1034, 1039, 1043, 1044, 2047] {
                assert_eq!(span(&log, at).await, (Some(1044), Some(2047), true), "{damage}, at {at}");
            }
            assert_eq!(span(&log, 2048).await, (Some(2048), Some(2123), false), "{damage}");
        }
        let said: Vec<Offset> = log.inner.readers.damaged.lock().unwrap().iter().copied().collect();
        let short = damage.contains("count - 1"); // The row does not reach to the next one, either.
        assert_eq!(said, if short { &[1034, 1043][..] } else { &[1034] }, "{damage}");
        assert_eq!(log.append(vec![event("y")]).await.unwrap()[0].cursor.offset, 2124);
        assert_eq!(log.seek(Start::Since(Timestamp(1)), Wanted::all(&*EVERY_TOPIC)).await.unwrap().after, 2124);
    }
}

#[tokio::test]
async fn a_hole_may_reach_over_pages_and_to_the_newest_event() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for _ in 0..50 {
        log.append(vec![event("x"); 100]).await.unwrap();
    }
    sql(directory.path(), "DELETE FROM commits WHERE first BETWEEN 902 AND 4000");
    assert_eq!(span(&log, 901).await, (Some(1), Some(1000), false));
    for at in [1001, 1024, 3000, 4000] {
        assert_eq!(span(&log, at).await, (Some(4001), Some(4095), true), "at {at}");
    }
    sql(directory.path(), "UPDATE commits SET events = x'00' WHERE first > 4900");
    assert_eq!(span(&log, 4950).await, (None, None, true));
    assert_eq!(span(&log, 5001).await, (None, None, false), "nothing was there yet");
    log.close().await;
    let log = open(directory.path()); // Nothing is kept for tails any more.
    log.append(vec![event("y")]).await.unwrap();
    assert_eq!(span(&log, 4950).await, (Some(5001), Some(5001), true));
    let mut tail = commits(&log, 0);
    let mut seen = Vec::new();
    while seen.last() != Some(&5001) {
        seen.extend(tail.next().await.expect("a commit").iter().map(|event| event.cursor.offset));
    }
    let expected: Vec<Offset> = (1..=1000).chain(4001..=4900).chain([5001]).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_row_that_says_it_is_longer_takes_nothing_else_along_when_it_is_trimmed() {
    let directory = TempDir::new().unwrap();
    let retention = Retention { events: 95, ..EVERYTHING };
    let log = SqliteLog::open(SqliteOptions { retention, ..options(directory.path(), &TestClock::default()) }).unwrap();
    for _ in 0..9 {
        log.append(vec![event("x"); 10]).await.unwrap();
    }
    for count in [50, i64::MAX] {
        sql(directory.path(), &format!("UPDATE commits SET count = {count} WHERE first IN (1, 11)"));
        log.append(vec![event("x"); 10]).await.unwrap();
    }
    assert_eq!(log.bounds(), Bounds { first: 11, last: 110 });
    assert!(log.stats().writable);
    assert_eq!(span(&log, 11).await, (Some(21), Some(110), true));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_and_not_a_hole() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.append(vec![event("x")]).await.unwrap();
    sql(directory.path(), "ALTER TABLE commits RENAME TO gone");
    log.read(1).await.expect_err("no table");
    sql(directory.path(), "ALTER TABLE gone RENAME TO commits");
    assert_eq!(span(&log, 1).await, (Some(1), Some(1), false));
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_the_log_goes_on() {
    let directory = TempDir::new().unwrap();
    let few_pages = |connection: &Connection| connection.pragma_update(None, "max_page_count", 30);
    let log = SqliteLog::open_tuned(options(directory.path(), &TestClock::default()), few_pages).unwrap();
    let dynamic: Arc<dyn Log> = Arc::new(log.clone());
    log.append(vec![event("a")]).await.unwrap();
    let large = Event { data: vec![0; 200_000].into(), ..keyed("k", "") };
    let refused = log.append(vec![event("lost"), large]).await;
    assert!(matches!(refused, Err(AppendError::Full)), "{refused:?}");
    assert_eq!(log.bounds().last, 1);
    assert!(!log.stats().writable, "until something fits");
    let next = log.append(vec![keyed("k", "its key is free")]).await.unwrap()[0];
    assert_eq!((next.cursor.offset, next.duplicate), (2, false));
    assert!(log.stats().writable);
    assert_eq!(everything(&dynamic).await, ["a", "its key is free"]);
}

#[tokio::test]
async fn a_write_that_fails_ends_appends_but_not_reads() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.append(vec![keyed("k", "a")]).await.unwrap();
    sql(
        directory.path(),
        "CREATE TRIGGER t BEFORE INSERT ON commits BEGIN SELECT RAISE(ABORT, 'the disk is dying'); END",
    );
    for _ in 0..2 {
        let refused = log.append(vec![event("b")]).await;
        let Err(AppendError::ReadOnly(Some(cause))) = refused else { panic!("{refused:?}") };
        assert!(cause.source().expect("a cause").to_string().contains("the disk is dying"));
    }
    sql(directory.path(), "DROP TRIGGER t");
    assert!(log.append(vec![event("c")]).await.is_err(), "what the disk holds is not known any more");
    assert!(!log.stats().writable);
    assert_eq!(data(&log.read(1).await.unwrap().events), ["a"]);
    assert_eq!(log.seek(Start::Earliest, Wanted::all(&*EVERY_TOPIC)).await.unwrap().after, 0);
    log.close().await;
    assert_eq!(open(directory.path()).append(vec![event("c")]).await.unwrap()[0].cursor.offset, 2);
}

/// Makes a writer stand still, right before it stores anything, for as long as it is locked.
#[derive(Default)]
struct Gate {
    closed: Mutex<()>,
    standing: AtomicBool,
}

fn gated(directory: &Path) -> (SqliteLog, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let clock: Clock = {
        let gate = Arc::clone(&gate);
        Arc::new(move || {
            gate.standing.store(true, SeqCst);
            let passing = gate.closed.lock().unwrap();
            gate.standing.store(false, SeqCst);
            drop(passing);
            Timestamp(1)
        })
    };
    let options = SqliteOptions { clock, queue_events: 5_000, ..options(directory, &TestClock::default()) };
    let log = SqliteLog::open(options).unwrap();
    (log, gate)
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the writer, and only it, shall wait for this lock")]
async fn what_waits_is_bounded_and_stored_together() {
    let directory = TempDir::new().unwrap();
    let (log, gate) = gated(directory.path());
    let mut publishers = JoinSet::new();
    let mut publish = |count: usize| {
        let log = log.clone();
        publishers.spawn(async move { log.append(vec![event("x"); count]).await.map(|receipts| receipts.len()) });
    };
    let closed = gate.closed.lock().unwrap();
    publish(1);
    tokio::task::yield_now().await;
    until(|| gate.standing.load(SeqCst)).await; // From here on it takes nothing; it may have taken the first one.
    for _ in 0..8 {
        publish(500);
    }
    tokio::task::yield_now().await; // Each of them is polled once, and so waits in the queue.
    let refused = log.append(vec![event("x"); 1_001]).await;
    assert!(matches!(refused, Err(AppendError::Busy { retry_after }) if retry_after.as_secs() == 1), "{refused:?}");
    assert_eq!(log.stats().refused, 1);
    drop(closed);
    let stored: usize = publishers.join_all().await.into_iter().map(|stored| stored.expect("stored")).sum();
    assert_eq!((stored, log.bounds().last), (4_001, 4_001));
    assert!((1..=2).contains(&log.stats().commits), "{} commits for nine appends", log.stats().commits);
    log.append(vec![event("x"); 10_000]).await.expect("a batch larger than the queue is let in alone");
}

#[tokio::test]
async fn rows_stay_within_their_pages() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for count in [1, 3_000, 20, 1_500] {
        log.append(vec![event("x"); count]).await.unwrap();
    }
    let large = |size| Event::new(topic("t"), vec![0; size]);
    log.append([400_000, 400_000, 400_000, PAGE_BYTES + 1, 1].map(large).to_vec()).await.unwrap();
    log.close().await;
    let connection = Connection::open(directory.path().join("encke.db")).unwrap();
    let number = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM commits WHERE first / 1024 <> (first + count - 1) / 1024"), 0);
    assert_eq!(number("SELECT count(*) FROM commits WHERE length(events) > 1048576 AND count > 1"), 0);
    assert_eq!(number("SELECT sum(count) FROM commits"), 4_526);
    assert_eq!(number("SELECT count(*) FROM commits"), 1 + 3 + 2 + 2 + 4);
}

#[tokio::test]
async fn much_that_expired_goes_in_small_steps_to_the_end() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let retention = Retention { age: Duration::from_secs(60), ..EVERYTHING };
    let durability = Durability::Os;
    let options = || SqliteOptions { retention: retention.clone(), durability, ..options(directory.path(), &clock) };
    let log = SqliteLog::open(options()).unwrap();
    for _ in 0..1_000 {
        log.append(vec![event("old")]).await.unwrap();
    }
    log.close().await;
    clock.advance(Duration::from_secs(61));
    let log = SqliteLog::open(options()).unwrap();
    log.append(Vec::new()).await.unwrap();
    assert_eq!(log.bounds().first, 1, "a clock that says so is not believed at once");
    clock.advance(Duration::from_secs(600));
    until(|| log.bounds() == Bounds { first: 1_001, last: 1_000 }).await;
    assert_eq!(log.stats().trimmed, 1_000);
    assert!(log.stats().bytes < 40_000, "{} bytes are left", log.stats().bytes);
}

#[tokio::test]
async fn the_file_and_its_write_ahead_log_stop_growing() {
    let directory = TempDir::new().unwrap();
    let retention = Retention { bytes: 8 << 20, ..EVERYTHING };
    let durability = Durability::Os;
    let options = SqliteOptions { retention, durability, ..options(directory.path(), &TestClock::default()) };
    let log = SqliteLog::open(options).unwrap();
    for _ in 0..160 {
        log.append(vec![Event::new(topic("t"), vec![3; 100_000]); 4]).await.unwrap();
        log.read(log.bounds().first).await.unwrap();
    }
    let Stats { bytes, wal_bytes, .. } = log.stats();
    assert!(bytes <= 8 << 20, "{bytes} bytes in use");
    assert!(wal_bytes <= 12 << 20, "{wal_bytes} bytes of write-ahead log");
    let file = std::fs::metadata(directory.path().join("encke.db")).unwrap().len();
    assert!(file <= 20 << 20, "{file} bytes of file");
}

#[tokio::test]
async fn keys_of_events_that_are_gone_push_no_events_out() {
    let directory = TempDir::new().unwrap();
    let clock = TestClock::default();
    let retention = Retention { bytes: 16 << 20, ..EVERYTHING };
    let options = SqliteOptions { retention, durability: Durability::Os, ..options(directory.path(), &clock) };
    let log = SqliteLog::open(options).unwrap();
    for begin in (0..100_000).step_by(1000) {
        let batch = (begin..begin + 1000).map(|number| keyed(&format!("{number:0>200}"), &"x".repeat(100))).collect();
        log.append(batch).await.unwrap();
    }
    let kept = log.bounds().events();
    assert!(kept > 40_000, "{kept} events of 300 bytes in 16 MiB");
}

#[tokio::test]
async fn a_writer_that_died_is_told_from_one_that_cannot_write() {
    let (directory, test) = (TempDir::new().unwrap(), TestClock::default());
    let dies = Arc::new(AtomicBool::new(false));
    let (clock, told) = (test.clock(), Arc::clone(&dies));
    let clock: Clock = Arc::new(move || if told.load(SeqCst) { panic!("a bug") } else { clock() });
    let log = SqliteLog::open(SqliteOptions { clock, ..options(directory.path(), &test) }).expect("a log");
    log.append(vec![event("a")]).await.expect("stored");
    assert!(log.is_alive());
    dies.store(true, SeqCst);
    assert!(matches!(log.append(vec![event("b")]).await, Err(AppendError::ReadOnly(None))));
    log.inner.ended.cancelled().await;
    assert!(!log.is_alive());
}

#[tokio::test]
async fn what_came_in_many_commits_is_read_as_one_page() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for number in 1..=5 {
        log.append(vec![event(&number.to_string())]).await.unwrap();
    }
    assert_eq!(data(&log.read(2).await.unwrap().events), ["1", "2", "3", "4", "5"]);
    assert!(log.inner.readers.damaged.lock().unwrap().is_empty());
}
