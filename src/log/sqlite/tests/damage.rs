//! A page of the database that the disk gives back as something else.

use std::os::unix::fs::FileExt;

use super::*;
use crate::event::Offset;

/// The leaf of the table of events on which the event with this data stands is nothing but ones from now on.
fn damage(directory: &Path, data: &str) {
    let file = std::fs::File::options().read(true).write(true).open(directory.join("encke.db")).expect("the file");
    let content = std::fs::read(directory.join("encke.db")).expect("the file");
    let at = content.windows(data.len()).position(|bytes| bytes == data.as_bytes()).expect("the event");
    let page = at / 4096 * 4096;
    assert_eq!(content[page], 0x0d, "a leaf of a table (SQLite file format § 1.6)");
    file.write_all_at(&[0xff; 4096], page as u64).expect("written");
}

#[tokio::test]
async fn events_on_a_damaged_page_are_a_hole_and_those_around_it_are_read() {
    const LAST: Offset = 3_000;
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for first in (1..=LAST).step_by(10) {
        log.append((first..first + 10).map(|n| event(&format!("event {n}."))).collect()).await.unwrap();
    }
    log.close().await;
    damage(directory.path(), "event 1500.");

    let clock = TestClock::default();
    clock.advance(Keys::WINDOW + Duration::from_secs(1)); // No key on that page has to be known any more.
    let log: Arc<dyn Log> = Arc::new(SqliteLog::open(options(directory.path(), &clock)).expect("a log"));
    let (mut at, mut read, mut holes) = (1, Vec::new(), 0);
    while at <= LAST {
        let page = log.read(at).await.expect("a page, whatever is around it");
        holes += usize::from(page.hole && page.first() > Some(at));
        read.extend(page.events.iter().map(|event| event.cursor.offset));
        at = page.last().expect("events") + 1;
    }
    assert_eq!(holes, 1, "told once, at its place");
    assert!(read.is_sorted_by(|a, b| a < b), "each once, in order");
    let lost: Vec<Offset> = (1..=LAST).filter(|at| read.binary_search(at).is_err()).collect();
    assert!(lost.contains(&1500) && lost.len() < 1_024, "{lost:?}");
    assert!(lost.windows(2).all(|two| two[0] + 1 == two[1]), "one stretch: {lost:?}");
    assert_eq!(log.append(vec![event("goes on")]).await.unwrap()[0].cursor.offset, LAST + 1);
    log.close().await;
}

/// What stands on a row that is gone may have been on any topic: nobody passes over its page.
#[tokio::test]
async fn the_topics_of_a_page_with_a_row_missing_are_not_known() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for name in ["t", "rare", "t"] {
        log.append(vec![Event::new(topic(name), "x")]).await.unwrap();
    }
    let next = |log: &SqliteLog| log.next_on(&[TopicSelector::Exact(topic("other"))], 1);
    assert_eq!(next(&log), 4, "nothing is on it");
    log.close().await;
    sql(directory.path(), "DELETE FROM commits WHERE first = 2");
    let clock = TestClock::default();
    clock.advance(Keys::WINDOW + Duration::from_secs(1));
    let log = SqliteLog::open(options(directory.path(), &clock)).expect("a log");
    assert_eq!(next(&log), 1, "something may be");
    log.close().await;
}

#[tokio::test]
async fn where_marks_cannot_be_read_only_who_comes_from_before_the_oldest_event_is_in_doubt() {
    let directory = TempDir::new().unwrap();
    let reopen = || {
        let retention = Retention { events: 3, ..EVERYTHING };
        SqliteLog::open(SqliteOptions { retention, ..options(directory.path(), &TestClock::default()) }).unwrap()
    };
    let log = reopen();
    for _ in 0..10 {
        log.append(vec![event("x")]).await.unwrap();
    }
    until(|| log.bounds().first == 8).await;
    log.close().await;
    let other = [TopicSelector::Exact(topic("other"))];
    let has_trimmed = |log: &SqliteLog, after| log.has_trimmed(Wanted::all(&other), after, 8);
    let log = reopen();
    assert_eq!([5, 6, 7].map(|after| has_trimmed(&log, after)), [false, false, false], "it was on other topics");
    log.close().await;
    sql(directory.path(), "UPDATE trims SET marks = x'00'");
    let log = reopen();
    assert_eq!([5, 6, 7].map(|after| has_trimmed(&log, after)), [true, true, false]);
    log.close().await;
}
