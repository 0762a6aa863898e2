//! What is erased from the files, and what of removal outlives the process.

use super::super::super::PAGE;
use super::super::super::contract::{EVERY_TOPIC, exact, places};
use super::*;
use crate::event::Gone;

/// Whether any file of the log holds these bytes.
fn holds(directory: &Path, bytes: &str) -> bool {
    std::fs::read_dir(directory).expect("the directory").any(|file| {
        let content = std::fs::read(file.expect("an entry").path()).expect("a file");
        content.windows(bytes.len()).any(|window| window == bytes.as_bytes())
    })
}

fn on(name: &str, data: &str) -> Event {
    Event::new(topic(name), data.to_owned())
}

#[tokio::test]
async fn what_is_deleted_is_in_no_file_any_more() {
    for (size, neighbours) in [(30, 0), (30, 50), (5_000, 3), (300_000, 1), (1, 1_500)] {
        let directory = TempDir::new().unwrap();
        let log = open(directory.path());
        let filling = "-".repeat(size);
        for round in 0..3 {
            let secret = Event {
                kind: crate::event::EventType::parse("SECRET-type").unwrap(),
                conflate: keyed("SECRET-conflate", "").key,
                ..keyed(&format!("SECRET-key-{round}"), &format!("{filling}SECRET-data{filling}"))
            };
            log.append(vec![on("a", &filling); neighbours]).await.unwrap();
            let cursor = log.append(vec![on("b", &filling), secret, on("b", "after")]).await.unwrap()[1].cursor;
            log.append(vec![on("a", &filling); neighbours]).await.unwrap();
            assert!(holds(directory.path(), "SECRET-data"));
            assert_eq!(log.delete(Delete::Event(cursor)).await.unwrap(), 1);
            for word in ["SECRET-data", "SECRET-type", "SECRET-key", "SECRET-conflate"] {
                assert!(!holds(directory.path(), word), "{word} of {size} bytes beside {neighbours}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_deleted_is_in_no_file_though_rows_around_it_were_trimmed_and_written_anew() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let retention = Retention {
        events: 3_000,
        topics: vec![TopicRetention {
            matches: exact("often")[0].clone(),
            keep: Keep { events: Some(5), ..Keep::default() },
        }],
        ..EVERYTHING
    };
    let options = SqliteOptions { retention, ..options(directory.path(), &clock) };
    let log = SqliteLog::open(SqliteOptions { durability: Durability::Os, ..options }).unwrap();
    for n in 0..3_000 {
        let name = if n % 3 == 0 { "kept" } else { "often" };
        log.append(vec![on(name, &format!("SECRET-{name}-{n}")); 2]).await.unwrap();
        clock.advance(Duration::from_millis(100));
    }
    clock.advance(Duration::from_secs(2));
    until(|| log.stats().compacted >= 3).await;
    let deleted = log.delete(Delete::Topic(topic("kept"))).await.unwrap();
    assert!(deleted > 1_500, "{deleted} deleted");
    log.close().await;
    assert!(!holds(directory.path(), "SECRET-kept"));
}

#[tokio::test]
async fn what_was_removed_stays_removed_when_the_log_opens_again() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let retention = Retention {
        events: 1_500,
        topics: vec![TopicRetention {
            matches: exact("r")[0].clone(),
            keep: Keep { events: Some(2), ..Keep::default() },
        }],
        ..EVERYTHING
    };
    let reopen = || -> SqliteLog {
        SqliteLog::open(SqliteOptions { retention: retention.clone(), ..options(directory.path(), &clock) }).unwrap()
    };
    let log = reopen();
    log.append(vec![on("quiet", "q")]).await.unwrap();
    for n in 0..20 {
        log.append((0..100).map(|m| on(["a", "r"][m % 2], &format!("{n}.{m}"))).collect()).await.unwrap();
    }
    let key = log.append(vec![keyed("k", "x")]).await.unwrap()[0];
    log.delete(Delete::Event(key.cursor)).await.unwrap();
    log.append(vec![keyed("later", "y"), on("b", "")]).await.unwrap();
    clock.advance(Duration::from_secs(2));
    until(|| log.stats().gone == log.bounds().events() / 2 - 2).await;
    let dynamic: Arc<dyn Log> = Arc::new(log.clone());
    let (bounds, before, stats) = (log.bounds(), places(&dynamic).await, log.stats());
    let known = |log: &SqliteLog| {
        let next: Vec<Offset> = ["quiet", "a", "b", "r", "nothing"].map(|name| log.next_on(&exact(name), 1)).into();
        let trimmed = |name: &str| {
            (0..bounds.first + 3)
                .map(|at| log.has_trimmed(Wanted::all(&exact(name)), at, Offset::MAX))
                .collect::<Vec<_>>()
        };
        (next, ["quiet", "a", "b"].map(trimmed))
    };
    let known_before = known(&log);
    drop(dynamic);
    for _ in 0..2 {
        log.close().await;
        let log = reopen();
        until(|| log.stats().gone == stats.gone).await;
        assert_eq!((log.bounds(), log.stats().marks), (bounds, stats.marks));
        assert_eq!(known(&log), known_before);
        let dynamic: Arc<dyn Log> = Arc::new(log.clone());
        assert_eq!(places(&dynamic).await, before);
        for (key, data) in [("k", "x"), ("later", "y")] {
            assert!(log.append(vec![keyed(key, data)]).await.unwrap()[0].duplicate, "{key}");
        }
        log.close().await;
    }
}

#[tokio::test]
async fn how_many_are_gone_is_known_when_the_log_opens_again_though_some_were_trimmed() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let retention = Retention { events: 1_500, ..EVERYTHING };
    let reopen = || -> SqliteLog {
        SqliteLog::open(SqliteOptions { retention: retention.clone(), ..options(directory.path(), &clock) }).unwrap()
    };
    let append = async |log: &SqliteLog, rows| {
        for _ in 0..rows {
            log.append(vec![on("a", "x"); 100]).await.unwrap();
        }
    };
    let log = reopen();
    append(&log, 15).await;
    for offset in [10, 900, 901, 1_200] {
        assert_eq!(log.delete(Delete::Event(log.cursor(offset))).await.unwrap(), 1);
    }
    append(&log, 5).await;
    until(|| log.bounds().first > 400).await;
    assert_eq!(log.stats().gone, 3, "a part of the oldest page was trimmed");
    log.close().await;
    let log = reopen();
    assert_eq!(log.stats().gone, 3);
    append(&log, 8).await;
    until(|| log.bounds().first > PAGE).await;
    append(&log, 1).await;
    let (first, gone) = (log.bounds().first, log.stats().gone);
    log.close().await;
    let connection = Connection::open(directory.path().join("encke.db")).unwrap();
    let oldest: u64 = connection.query_row("SELECT min(page) FROM pages", (), |row| row.get(0)).unwrap();
    assert_eq!((oldest, gone), (first / PAGE, u64::from(first <= 1_200)), "rows of pages go with them");
}

#[tokio::test]
async fn dead_stretches_cost_hardly_anything() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let retention = Retention {
        topics: vec![TopicRetention {
            matches: EVERY_TOPIC[0].clone(),
            keep: Keep { events: Some(1), ..Keep::default() },
        }],
        ..EVERYTHING
    };
    let options = SqliteOptions { retention, durability: Durability::Os, ..options(directory.path(), &clock) };
    let log = SqliteLog::open(options).unwrap();
    for _ in 0..4_200 {
        log.append(vec![on("t", &"x".repeat(300))]).await.unwrap();
    }
    let before = log.stats().bytes;
    clock.advance(Duration::from_secs(2));
    until(|| log.stats().compacted == 4).await;
    log.append(vec![on("t", "")]).await.unwrap();
    let after = log.stats().bytes;
    assert!(after * 15 < before, "{before} bytes before, {after} after");
    let page = log.read(5).await.unwrap();
    assert_eq!((page.first(), page.last()), (Some(1), Some(1_023)));
    assert!(page.events.iter().all(|event| event.gone() == Some(Gone::Expired)));
}

#[tokio::test]
async fn events_that_outlived_their_time_go_with_the_page_that_is_written_anew() {
    let (directory, clock) = (TempDir::new().unwrap(), TestClock::default());
    let retention = Retention {
        topics: vec![TopicRetention {
            matches: exact("r")[0].clone(),
            keep: Keep { events: Some(1), ..Keep::default() },
        }],
        ..EVERYTHING
    };
    let log = SqliteLog::open(SqliteOptions { retention, ..options(directory.path(), &clock) }).unwrap();
    let short = Event { ttl: Some(Duration::from_millis(500)), ..on("short", "OUTLIVED") };
    let long = Event { ttl: Some(Duration::from_secs(3_600)), ..on("long", "WELL") };
    log.append(vec![short, long]).await.unwrap();
    log.append(vec![on("r", "x"); 1_100]).await.unwrap();
    assert_eq!(log.read(1).await.unwrap().events[0].gone(), None, "readers see by themselves");
    clock.advance(Duration::from_secs(2));
    until(|| log.stats().compacted == 1).await;
    let page = log.read(1).await.unwrap();
    let gone: Vec<_> = page.events[..3].iter().map(|event| event.gone()).collect();
    assert_eq!(gone, [Some(Gone::Expired), None, Some(Gone::Expired)]);
    assert_eq!(page.events[1].event.ttl, Some(Duration::from_secs(3_600)));
    assert_eq!(log.stats().gone, 1_100);
}

#[tokio::test]
async fn a_deletion_for_which_there_is_no_room_changes_nothing_and_is_done_when_there_is() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.append(vec![on("a", "x"); 10]).await.unwrap();
    let failing = "CREATE TRIGGER t BEFORE UPDATE ON commits BEGIN SELECT RAISE(ABORT, 'the disk is dying'); END";
    sql(directory.path(), failing);
    let refused = log.delete(Delete::Topic(topic("a"))).await;
    assert!(matches!(refused, Err(AppendError::ReadOnly(Some(_)))), "{refused:?}");
    assert!(log.read(1).await.unwrap().events.iter().all(|event| event.gone().is_none()));
    log.close().await;
    sql(directory.path(), "DROP TRIGGER t");
    let log = open(directory.path());
    assert_eq!(log.delete(Delete::Topic(topic("a"))).await.unwrap(), 10);
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished_by_asking_again() {
    // As `kill -9` leaves it: the files as they are in the midst of it.
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for _ in 0..60 {
        log.append(vec![on("a", "x"); 1_000]).await.unwrap();
    }
    let mut tail = log.tail(log.bounds().last);
    let deleting = log.clone();
    let mut deletion = JoinSet::new();
    deletion.spawn(async move { deleting.delete(Delete::Topic(topic("a"))).await });
    assert!(matches!(tail.next().await, Some(Change::Removed { .. })), "a part of it is done");
    let copy = as_killed(directory.path());
    assert_eq!(deletion.join_next().await.unwrap().unwrap().unwrap(), 60_000);
    let log: Arc<dyn Log> = Arc::new(open(copy.path()));
    let left = 60_000 - log.stats().gone;
    assert!(left < 60_000, "a part of it was done");
    assert_eq!(log.delete(Delete::Topic(topic("a"))).await.unwrap(), left);
    assert!(places(&log).await.iter().all(|place| place == "Deleted a"));
}
