//! How events lie in a row of the database.
//!
//! ```text
//! row    = format (1 byte: 1), then one record for each event
//! record = length of what follows (varint), fields
//! field  = tag (1 byte), length (varint), value
//! ```
//!
//! A varint is LEB128: seven bits a byte, lowest first. A tag this version does not know is skipped, so that later
//! versions may add fields; from [`MUST_UNDERSTAND`] on it makes the row unreadable instead, for fields without which an
//! event would be shown to the wrong reader. Cost: 2 bytes for the record and 2 to 4 for each field.
//!
//! What the disk gives is not trusted: every value goes through the same parsers as what the network gives.

use bytes::Bytes;

use crate::event::{ContentType, Event, EventType, Key, Topic, Topics};

/// The first byte of every row.
const FORMAT: u8 = 1;

/// From this tag on, a reader that does not know a field must not read the event.
const MUST_UNDERSTAND: u8 = 0x80;

const TOPIC: u8 = 1; // Once for each topic, the canonical one first.
const TYPE: u8 = 2;
const CONTENT_TYPE: u8 = 3;
const KEY: u8 = 4;
const DATA: u8 = 5; // Always there, always last, so that the small fields share a database page.

/// The row does not hold what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored events cannot be read: {0}")]
pub(super) struct Damaged(pub(super) &'static str);

/// Begins a row in an empty buffer.
pub(super) fn begin(row: &mut Vec<u8>) {
    row.clear();
    row.push(FORMAT);
}

/// How many bytes [`encode`] adds for `event`.
pub(super) fn encoded_len(event: &Event) -> usize {
    let fields = fields_len(event);
    varint_len(fields) + fields
}

/// Adds `event` to a row.
pub(super) fn encode(event: &Event, row: &mut Vec<u8>) {
    put_varint(row, fields_len(event));
    for (tag, value) in fields(event) {
        row.push(tag);
        put_varint(row, value.len());
        row.extend_from_slice(value);
    }
}

/// Reads a row's events. Their data stay slices of `row`: one copy for the whole row, and none for an event.
pub(super) fn decode(row: &Bytes) -> Result<Vec<Event>, Damaged> {
    let mut row = Input(row.clone());
    if row.byte()? != FORMAT {
        return Err(Damaged("the row is of a later format"));
    }
    let mut events = Vec::new();
    while !row.0.is_empty() {
        events.push(decode_event(Input(row.part()?))?);
    }
    Ok(events)
}

fn decode_event(mut record: Input) -> Result<Event, Damaged> {
    let mut topics = Topics::new();
    let (mut kind, mut content_type, mut key, mut data) = (None, None, None, None);
    while !record.0.is_empty() {
        let tag = record.byte()?;
        let value = record.part()?;
        match tag {
            TOPIC => {
                let topic = Topic::parse(text(&value)?).map_err(|_| Damaged("a topic"))?;
                if topics.contains(&topic) {
                    return Err(Damaged("a topic twice"));
                }
                topics.push(topic);
            }
            TYPE => once(&mut kind, EventType::parse(text(&value)?).ok().flatten().ok_or(Damaged("a type"))?)?,
            CONTENT_TYPE => {
                let parsed = ContentType::parse(text(&value)?).map_err(|_| Damaged("a content type"))?;
                once(&mut content_type, parsed)?;
            }
            KEY => once(&mut key, Key::parse(text(&value)?).map_err(|_| Damaged("a key"))?)?,
            DATA => once(&mut data, value)?,
            MUST_UNDERSTAND.. => return Err(Damaged("a field that only a later version may read")),
            _ => {}
        }
    }
    if topics.is_empty() {
        return Err(Damaged("an event without a topic"));
    }
    let data = data.ok_or(Damaged("an event without data"))?;
    Ok(Event { topics, kind, data, content_type, key, ttl: None, conflate: None, private: false })
}

/// The fields of an event in the order in which they are written.
fn fields(event: &Event) -> impl Iterator<Item = (u8, &[u8])> {
    let topics = event.topics.iter().map(|topic| (TOPIC, topic.as_str().as_bytes()));
    let kind = event.kind.iter().map(|kind| (TYPE, kind.as_str().as_bytes()));
    let content_type = event.content_type.iter().map(|media| (CONTENT_TYPE, media.as_str().as_bytes()));
    let key = event.key.iter().map(|key| (KEY, key.as_str().as_bytes()));
    topics.chain(kind).chain(content_type).chain(key).chain([(DATA, &event.data[..])])
}

fn fields_len(event: &Event) -> usize {
    fields(event).map(|(_, value)| 1 + varint_len(value.len()) + value.len()).sum()
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Damaged> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Damaged("a field twice")),
    }
}

fn text(value: &[u8]) -> Result<&str, Damaged> {
    std::str::from_utf8(value).map_err(|_| Damaged("a name that is not UTF-8"))
}

fn put_varint(row: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        row.push(number.to_le_bytes()[0] | 0x80); // The lowest seven bits, and that more follow.
        number >>= 7;
    }
    row.push(number.to_le_bytes()[0]);
}

fn varint_len(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

/// What is still to be read.
struct Input(Bytes);

impl Input {
    fn byte(&mut self) -> Result<u8, Damaged> {
        if self.0.is_empty() { Err(Self::CUT) } else { Ok(self.0.split_to(1)[0]) }
    }

    fn varint(&mut self) -> Result<usize, Damaged> {
        let mut number = 0_usize;
        for shift in (0..u32::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged("a length of more than five bytes"))
    }

    /// A length and that many bytes.
    fn part(&mut self) -> Result<Bytes, Damaged> {
        let len = self.varint()?;
        if len > self.0.len() { Err(Self::CUT) } else { Ok(self.0.split_to(len)) }
    }

    const CUT: Damaged = Damaged("it ends too early");
}

#[cfg(test)]
mod tests {
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

    fn full(data: &'static [u8]) -> Event {
        let mut event = Event::new(Topic::parse("orders/42").unwrap(), data);
        event.topics.push(Topic::parse("ümläut/→").unwrap());
        event.kind = EventType::parse("paid").unwrap();
        event.content_type = Some(ContentType::parse("text/plain; charset=utf-8").unwrap());
        event.key = Some(Key::parse("k-1").unwrap());
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
        assert_eq!(decode(&row(&events).into()), Ok(events.to_vec()));
        assert_eq!(decode(&row(&[]).into()), Ok(Vec::new()));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_events_but_never_a_panic() {
        let good = row(&[full(b"some data"), full(b"more")]);
        for cut in 0..good.len() {
            let _ = decode(&Bytes::copy_from_slice(&good[..cut]));
            for flip in 0..=255_u8 {
                let mut bad = good.clone();
                bad[cut] ^= flip;
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
        for (tag, readable) in [(6, true), (0, true), (0x7f, true), (0x80, false), (0xff, false)] {
            let mut record = Vec::new();
            encode(&event, &mut record);
            let mut later = vec![FORMAT];
            put_varint(&mut later, record.len() - 1 + 4); // The record's own length takes one byte here.
            later.extend_from_slice(&record[1..]);
            later.extend_from_slice(&[tag, 2, b'7', b's']);
            let read = decode(&later.into());
            assert_eq!(read.ok(), readable.then(|| vec![event.clone()]), "tag {tag}");
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
}
