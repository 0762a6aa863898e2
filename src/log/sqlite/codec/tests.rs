//! What is written is read back, and what is damaged is an error.

use super::*;

fn row(events: &[Event]) -> Vec<u8> {
    let mut row = Vec::new();
    begin(&mut row);
    for event in events {
        let before = row.len();
        encode(event, &mut row);
        assert_eq!(row.len() - before, encoded_len(event));
    }
    row
}

/// The events of a row of which none is gone.
fn read(row: &[u8]) -> Result<Vec<Event>, Damaged> {
    let stored = decode(&Bytes::copy_from_slice(row))?;
    assert!(stored.iter().all(|stored| stored.gone.is_none()));
    Ok(stored.into_iter().map(|stored| stored.event).collect())
}

fn full(data: &'static [u8]) -> Event {
    let mut event = Event::new(Topic::parse("orders/42").unwrap(), data);
    event.topics.push(Topic::parse("ümläut/→").unwrap());
    event.kind = EventType::parse("paid").unwrap();
    event.content_type = Some(ContentType::parse("text/plain; charset=utf-8").unwrap());
    event.key = Some(Key::parse("k-1").unwrap());
    event.conflate = Some(Key::parse("c-1").unwrap());
    event.ttl = Some(Duration::from_millis(86_400_000));
    event.private = true;
    event.publisher = crate::event::Publisher::Public;
    event
}

#[test]
fn events_are_read_back_as_they_were_written() {
    let long: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let events = [
        full(b"\0\xff\r\n"),
        Event::new(Topic::parse("t").unwrap(), ""),
        Event::new(Topic::parse(&"t".repeat(1024)).unwrap(), long),
    ];
    assert_eq!(read(&row(&events)), Ok(events.to_vec()));
    assert_eq!(read(&row(&[])), Ok(Vec::new()));
}

#[test]
fn damaged_bytes_are_an_error_or_other_events_but_never_a_panic() {
    let good = row(&[full(b"some data"), full(b"more")]);
    for cut in 0..good.len() {
        let _ = decode(&Bytes::copy_from_slice(&good[..cut]));
        let _ = erase(&mut good[..cut].to_vec(), |_| Some(Gone::Deleted));
        for flip in 0..=255_u8 {
            let mut bad = good.clone();
            bad[cut] ^= flip;
            let _ = scan(&bad, |_| {});
            let _ = erase(&mut bad.clone(), |_| Some(Gone::Deleted));
            let _ = decode(&bad.into());
        }
    }
}

#[test]
fn a_row_cut_within_an_event_is_damaged() {
    let whole = row(&[full(b"some data")]);
    for cut in 2..whole.len() {
        assert!(decode(&Bytes::copy_from_slice(&whole[..cut])).is_err(), "cut at {cut}");
    }
}

#[test]
fn fields_of_later_versions_are_skipped_unless_they_must_be_understood() {
    let event = full(b"x");
    for (tag, readable) in [(9, true), (0, true), (0x7f, true), (0x83, false), (0xff, false)] {
        let mut record = Vec::new();
        encode(&event, &mut record);
        let mut later = vec![FORMAT];
        put_varint(&mut later, record.len() - 1 + 4); // The record's own length takes one byte here.
        later.extend_from_slice(&record[1..]);
        later.extend_from_slice(&[tag, 2, b'7', b's']);
        assert_eq!(read(&later).ok(), readable.then(|| vec![event.clone()]), "tag {tag}");
    }
}

#[test]
fn what_no_version_writes_is_damaged() {
    for (what, bytes) in [
        ("nothing at all", &[][..]),
        ("another format", &[2]),
        ("no topic", &[1, 2, DATA, 0]),
        ("no data", &[1, 3, TOPIC, 1, b't']),
        ("the same topic twice", &[1, 8, TOPIC, 1, b't', TOPIC, 1, b't', DATA, 0]),
        ("data twice", &[1, 7, TOPIC, 1, b't', DATA, 0, DATA, 0]),
        ("a topic that is not UTF-8", &[1, 5, TOPIC, 1, 0xff, DATA, 0]),
        ("a topic with a line feed", &[1, 5, TOPIC, 1, b'\n', DATA, 0]),
        ("an endless length", &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ] {
        assert!(decode(&Bytes::from_static(bytes)).is_err(), "{what}");
    }
}

#[test]
fn an_erased_event_leaves_its_topics_and_takes_as_much_room_as_before() {
    // Of every length around those at which a length takes one byte more.
    let lengths = (0..400).chain(16_200..16_500).chain([2_097_000, 2_097_140, 2_097_150, 2_097_152, 2_097_160]);
    for len in lengths {
        let events = [full(b"before"), Event::new(Topic::parse("t").unwrap(), vec![b'#'; len]), full(b"after")];
        let mut erased = row(&events);
        let before = erased.len();
        assert_eq!(erase(&mut erased, |number| (number == 1).then_some(Gone::Deleted)), Ok(1), "{len} bytes");
        let is_left = erased.windows(4).any(|bytes| bytes == b"####");
        assert_eq!((erased.len(), is_left), (before, false), "{len} bytes");
        let stored = decode(&erased.into()).unwrap();
        let gone: Vec<_> = stored.iter().map(|stored| stored.gone).collect();
        assert_eq!(gone, [None, Some(Gone::Deleted), None]);
        assert_eq!(stored[1].event, left(&events[1]));
        assert_eq!([&stored[0].event, &stored[2].event], [&events[0], &events[2]]);
    }
    let mut all = row(&[full(b"secret"), full(b"")]);
    assert_eq!(erase(&mut all, |_| Some(Gone::Expired)), Ok(2));
    assert_eq!(erase(&mut all, |_| Some(Gone::Deleted)), Ok(0), "what is gone stays gone as it is");
    let stored = decode(&all.clone().into()).unwrap();
    assert!(stored.iter().all(|stored| stored.gone == Some(Gone::Expired) && stored.event == left(&full(b""))));
    for secret in ["secret", "paid", "k-1", "c-1", "utf-8"] {
        assert!(!all.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn a_run_of_gone_events_is_one_record_and_as_many_places() {
    let mut bytes = Vec::new();
    begin(&mut bytes);
    encode_gone(&full(b"x"), Gone::Expired, 1000, &mut bytes);
    encode(&full(b"x"), &mut bytes);
    encode_gone(&full(b"x"), Gone::Deleted, 1, &mut bytes);
    assert!(bytes.len() < 250, "{} bytes", bytes.len());
    let stored = decode(&bytes.clone().into()).unwrap();
    assert_eq!(stored.len(), 1002);
    assert!(stored[..1000].iter().all(|stored| stored.gone == Some(Gone::Expired)));
    assert_eq!(stored[1000], Stored { event: full(b"x"), gone: None });
    assert_eq!(stored[1001], Stored { event: left(&full(b"x")), gone: Some(Gone::Deleted) });
    let mut scanned = Vec::new();
    scan(&bytes, |record| scanned.push((record.count, record.gone, record.topics.join(" ")))).unwrap();
    let topics = "orders/42 ümläut/→".to_owned();
    assert_eq!(scanned, [(1000, true, topics.clone()), (1, false, topics.clone()), (1, true, topics)]);
    assert_eq!(erase(&mut bytes, |number| (number == 1000).then_some(Gone::Deleted)), Ok(1));
    begin(&mut bytes);
    encode_gone(&full(b"x"), Gone::Expired, PAGE + 1, &mut bytes);
    assert!(decode(&bytes.into()).is_err(), "no row has so many");
}
