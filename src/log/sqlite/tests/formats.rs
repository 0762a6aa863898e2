//! Databases of every format that was ever released open, are read, and go on.

use super::super::super::contract::exact;
use super::*;
use crate::event::{ContentType, EventType, Gone, Key};

/// A copy of a database that an earlier version, or this one, has left.
fn fixture(format: u32) -> TempDir {
    let directory = TempDir::new().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format-{format}/encke.db"));
    std::fs::copy(file, directory.path().join("encke.db")).expect("the fixture");
    directory
}

fn cursor(text: &str) -> Cursor {
    text.parse().expect("a cursor")
}

/// Stored shortly after the newest event, so that keys are remembered.
fn open_at(directory: &Path, time: u64) -> Arc<dyn Log> {
    let clock = TestClock::default();
    clock.set(time);
    Arc::new(SqliteLog::open(options(directory, &clock)).expect("a log"))
}

fn format_of(directory: &Path) -> i64 {
    let connection = Connection::open(directory.join("encke.db")).unwrap();
    connection.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn format_1_is_made_into_the_newest_and_goes_on() {
    const NEWEST: u64 = 1_795_646_057_980;
    let directory = fixture(1);
    for run in 0..3 {
        let log = open_at(directory.path(), NEWEST + 1_000);
        assert_eq!(log.bounds(), Bounds { first: 1, last: 40 + run });
        let page = log.read(1).await.unwrap();
        let second = &page.events[1];
        assert_eq!((second.cursor, second.time.0), (cursor("apouwrs4-2"), 1_795_646_057_503));
        let expected = Event {
            topics: [topic("orders/2"), topic("shops/7")].into_iter().collect(),
            kind: EventType::parse("paid").unwrap(),
            content_type: Some(ContentType::parse("application/json").unwrap()),
            key: Some(Key::parse("k-2").unwrap()),
            ..Event::new(topic("orders/2"), "{\"n\":2}")
        };
        assert_eq!(second.event, expected);
        assert_eq!(page.events[2].event.data[..], *b"\x89PNG\0\xff");
        let data = data(&page.events);
        assert_eq!((&data[0][..], &data[3][..]), ("one", "lines\r\nand ünïcode"));
        for n in 5..=40 {
            assert_eq!(data[n - 1], format!("event {n}"));
        }
        assert_eq!(page.events[39].cursor, cursor("nqhluhhn-40"));
        for (asked, after, ahead) in
            [("apouwrs4-1", 1, false), ("nqhluhhn-17", 17, false), ("apouwrs4-4", 40 + run, true)]
        {
            let position = log.seek(Start::Cursor(cursor(asked)), Wanted::all(&*EVERY_TOPIC)).await.unwrap();
            assert_eq!((position.after, position.missing.is_some()), (after, ahead), "{asked}");
        }
        assert!(log.append(vec![expected]).await.unwrap()[0].duplicate, "its key is remembered");
        assert_eq!(log.next_on(&exact("many"), 1), 1);
        assert_eq!(log.next_on(&exact("nothing"), 1), 41 + run);
        assert_eq!(log.append(vec![event("new")]).await.unwrap()[0].cursor.offset, 41 + run);
        log.close().await;
        assert_eq!(format_of(directory.path()), 2);
    }
}

#[tokio::test]
async fn format_1_that_was_trimmed_remembers_keys_and_is_in_doubt_of_what_was_before() {
    let directory = fixture(1);
    sql(
        directory.path(),
        "DELETE FROM commits WHERE first < 11;
         INSERT INTO expired_keys VALUES (2, 1795646057503, 'k-2', x'00112233445566778899aabbccddeeff')",
    );
    let log = open_at(directory.path(), 1_795_646_058_000);
    assert!(
        log.has_trimmed(Wanted::all(&exact("anything")), 9, Offset::MAX)
            && !log.has_trimmed(Wanted::all(&exact("anything")), 10, Offset::MAX)
    );
    let reused = log.append(vec![keyed("k-2", "other")]).await;
    assert!(matches!(reused, Err(AppendError::KeyReused { .. })), "{reused:?}");
}

#[tokio::test]
async fn an_upgrade_that_is_cut_short_is_made_anew() {
    let directory = fixture(1);
    // A table of that name is in the way of the upgrade: it fails, and nothing of it stays.
    sql(directory.path(), "CREATE TABLE trims (x)");
    assert!(refusal(directory.path()).contains("cannot be opened"));
    assert_eq!(format_of(directory.path()), 1);
    sql(directory.path(), "DROP TABLE trims");
    assert_eq!(open_at(directory.path(), 0).bounds().last, 40);
}

#[tokio::test]
async fn format_2_is_read_and_goes_on() {
    const NEWEST: u64 = 1_795_650_000_060;
    let directory = fixture(2);
    let log = open_at(directory.path(), NEWEST + 1_000);
    assert_eq!(log.bounds(), Bounds { first: 3, last: 1_403 });
    let page = log.read(1_203).await.unwrap();
    let full = &page.events[usize::try_from(1_203 - page.first().unwrap()).unwrap()];
    let expected = Event {
        topics: [topic("orders/2"), topic("shops/7")].into_iter().collect(),
        kind: EventType::parse("paid").unwrap(),
        content_type: Some(ContentType::parse("application/json").unwrap()),
        key: Some(Key::parse("k-2").unwrap()),
        ttl: Some(Duration::from_secs(86_400)),
        conflate: Some(Key::parse("c-2").unwrap()),
        private: true,
        ..Event::new(topic("orders/2"), "{\"n\":2}")
    };
    assert_eq!((full.cursor, &full.event, full.gone()), (cursor("gs9oj2r6-1203"), &expected, None));
    let gone = &page.events[usize::try_from(1_204 - page.first().unwrap()).unwrap()];
    assert_eq!((gone.gone(), gone.event.topic(), log.stats().gone), (Some(Gone::Deleted), &topic("t"), 1));
    assert_eq!(data(&log.read(3).await.unwrap().events)[..3], ["0.0", "0.1", "0.2"]);
    for (key, data) in [("gone-key", "deleted"), ("early-key", "trimmed")] {
        assert!(log.append(vec![keyed(key, data)]).await.unwrap()[0].duplicate, "{key}");
    }
    assert!(
        log.has_trimmed(Wanted::all(&exact("early")), 0, 2) && !log.has_trimmed(Wanted::all(&exact("early")), 1, 2)
    );
    assert!(log.has_trimmed(Wanted::all(&exact("t")), 1, 2) && !log.has_trimmed(Wanted::all(&exact("t")), 2, 2));
    assert!(!log.has_trimmed(Wanted::all(&exact("even")), 0, 2));
    let next = |name: &str| log.next_on(&exact(name), 3);
    assert_eq!(["even", "orders/2", "shops/7", "t", "nothing"].map(next), [3, 1_024, 1_024, 3, 1_404]);
    assert_eq!(log.append(vec![event("new")]).await.unwrap()[0].cursor.offset, 1_404);
}
