//! What outlives the process, however it ended.

use super::*;

/// Else it would grow with each life that ends before it has written much, and be read at each start.
#[tokio::test]
async fn a_process_that_is_killed_again_and_again_leaves_no_write_ahead_log_that_grows() {
    let mut directory = TempDir::new().unwrap();
    for life in 0..20 {
        let log = open(directory.path());
        assert_eq!(log.bounds().last, 2 * life);
        for _ in 0..2 {
            log.append(vec![event(&"x".repeat(512 << 10))]).await.unwrap(); // With the second the first is looked after.
        }
        directory = as_killed(directory.path());
    }
    let bytes = wal_bytes(&directory.path().join("encke.db-wal"));
    assert!(bytes < 12 << 20, "{bytes} bytes of 20 MiB");
}

#[tokio::test]
async fn events_and_cursors_and_keys_outlive_the_process() {
    let directory = TempDir::new().unwrap();
    let before = closed_log(directory.path(), vec![event("a"), keyed("k", "b"), event("c")]).await;
    let log = open(directory.path());
    assert_eq!(log.bounds(), Bounds { first: 1, last: 3 });
    let page = log.read(1).await.unwrap();
    assert_eq!(data(&page.events), ["a", "b", "c"]);
    assert_eq!(page.events.iter().map(|event| event.cursor).collect::<Vec<_>>(), before);
    assert_eq!(log.cursor(2), before[1]);
    let repeat = log.append(vec![keyed("k", "b")]).await.unwrap()[0];
    assert_eq!(repeat, Receipt { cursor: before[1], duplicate: true });
    assert!(matches!(log.append(vec![keyed("k", "x")]).await, Err(AppendError::KeyReused { index: 0 })));
    let next = log.append(vec![event("d")]).await.unwrap()[0].cursor;
    assert_eq!(next.offset, 4);
    assert_ne!(next.epoch, before[0].epoch, "a new run has a new epoch");
}

#[tokio::test]
async fn keys_of_events_that_are_gone_outlive_the_process_too() {
    let directory = TempDir::new().unwrap();
    let clock = TestClock::default();
    let retention = Retention { events: 2, ..EVERYTHING };
    let reopen = || {
        SqliteLog::open(SqliteOptions { retention: retention.clone(), ..options(directory.path(), &clock) }).unwrap()
    };
    // Every second one is of the public.
    let by = |number: usize, key: &str, data: &str| {
        let publisher = if number % 2 == 1 { Publisher::Public } else { Publisher::Key };
        Event { publisher, ..keyed(key, data) }
    };
    let mut log = reopen();
    let mut cursors = Vec::new();
    for number in 0..6 {
        let key = format!("k{number}");
        cursors.push(log.append(vec![by(number, &key, "paid")]).await.unwrap()[0].cursor);
        clock.advance(Duration::from_secs(60));
    }
    for _ in 0..2 {
        log.close().await;
        log = reopen();
        assert_eq!(log.bounds(), Bounds { first: 5, last: 6 });
        for (number, &cursor) in cursors.iter().enumerate() {
            let repeat = log.append(vec![by(number, &format!("k{number}"), "paid")]).await.unwrap()[0];
            assert_eq!(repeat, Receipt { cursor, duplicate: true });
        }
        for number in 0..2 {
            let other = log.append(vec![by(number, &format!("k{number}"), "other")]).await;
            assert!(matches!(other, Err(AppendError::KeyReused { index: 0 })));
        }
    }
    assert_eq!(log.append(vec![by(1, "k0", "other")]).await.unwrap()[0].cursor.offset, 7, "as whom counts, still");

    clock.advance(Keys::WINDOW);
    assert!(!log.append(vec![keyed("k0", "paid")]).await.unwrap()[0].duplicate, "ten minutes are over");
    log.close().await;
    let connection = Connection::open(directory.path().join("encke.db")).unwrap();
    for table in ["expired_keys", "expired_public_keys"] {
        let kept: u64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap();
        assert_eq!(kept, 0, "what is remembered no more leaves {table}");
    }
}

#[tokio::test]
async fn a_cursor_of_an_earlier_run_is_good_up_to_where_that_run_ended() {
    let directory = TempDir::new().unwrap();
    let before = closed_log(directory.path(), vec![event("a"), event("b")]).await;
    let log = open(directory.path());
    log.append(vec![event("c"), event("d")]).await.unwrap();
    let seek = async |cursor| log.seek(Start::Cursor(cursor), Wanted::all(&*EVERY_TOPIC)).await.unwrap();
    assert_eq!(seek(before[0]).await, Position { after: 1, missing: None });
    assert_eq!(seek(before[1]).await, Position { after: 2, missing: None });
    // As if the first run had stored a third event that a power cut or a restored backup took away.
    let lost = Cursor { offset: 3, ..before[1] };
    let ahead = Some(Missing { reason: GapReason::Ahead, offsets: None });
    assert_eq!(seek(lost).await, Position { after: 4, missing: ahead });
}

#[tokio::test]
async fn offsets_and_times_go_on_though_every_event_has_expired() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let short = || SqliteOptions {
        retention: Retention { age: Duration::from_secs(1), ..EVERYTHING },
        ..options(directory.path(), &clock)
    };
    for run in 0..3_u64 {
        clock.set(1_000_000 + run * 10_000);
        let log = SqliteLog::open(short()).unwrap();
        assert_eq!(log.bounds(), Bounds { first: run * 2 + 1, last: run * 2 });
        let receipts = log.append(vec![event("x"), event("y")]).await.unwrap();
        assert_eq!(receipts[1].cursor.offset, run * 2 + 2);
        clock.advance(Duration::from_secs(2));
        until(|| log.bounds().first == run * 2 + 3).await;
        log.close().await;
    }
    clock.set(5);
    let log = SqliteLog::open(short()).unwrap();
    assert_eq!(log.append(vec![event("z")]).await.unwrap()[0].cursor.offset, 7);
    assert_eq!(log.read(7).await.unwrap().events[0].time, Timestamp(1_022_000), "the clock went back, time did not");
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_files_before_anything_is_closed() {
    let (directory, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = open(directory.path());
    let cursors = log.append(vec![keyed("k", "a"), event("b")]).await.unwrap();
    // As `kill -9` leaves them.
    for file in ["encke.db", "encke.db-wal"] {
        std::fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
    }
    let after = open(copy.path());
    assert_eq!(data(&after.read(1).await.unwrap().events), ["a", "b"]);
    let repeat = after.append(vec![keyed("k", "a")]).await.unwrap()[0];
    assert_eq!(repeat, Receipt { cursor: cursors[0].cursor, duplicate: true });
}

/// A stranger's keys are remembered beside those of key holders, and do not push them out: at the start neither.
#[tokio::test]
async fn however_many_keys_the_public_used_those_of_others_are_found_at_the_start() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let first = log.append(vec![keyed("k", "paid")]).await.unwrap()[0];
    let public = |n: usize| Event { publisher: Publisher::Public, ..keyed(&format!("p{n}"), "x") };
    for batch in 0..11 {
        log.append((0..1_000).map(|n| public(1_000 * batch + n)).collect()).await.unwrap();
    }
    log.close().await;
    let log = open(directory.path());
    let again = log.append(vec![keyed("k", "paid")]).await.unwrap()[0];
    assert_eq!(again, Receipt { duplicate: true, ..first });
}
