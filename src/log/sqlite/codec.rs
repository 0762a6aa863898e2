//! How events lie in a row of the database.
//!
//! ```text
//! row    = format (1 byte: 1), then one record for each event, or for a run of gone ones
//! record = length of what follows (varint), fields
//! field  = tag (1 byte), length (varint), value
//! ```
//!
//! A varint is LEB128: seven bits a byte, lowest first. A tag this version does not know is skipped, so that later
//! versions may add fields; from [`MUST_UNDERSTAND`] on it makes the row unreadable instead, for fields without which an
//! event would be shown to the wrong reader. Cost: 2 bytes for the record and 2 to 4 for each field.
//!
//! Of an event that is gone only its topics are left, and whether it was private: whoever would have read it is told. Its
//! record comes in two sizes: [`erase`] writes it over the event, byte for byte as long, so that nothing in the database
//! moves and no copy stays behind; [`encode_gone`] writes as little as can be, and a run of equal ones as one.
//!
//! What the disk gives is not trusted: every value goes through the same parsers as what the network gives.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::super::PAGE;
use crate::event::{ContentType, Event, EventType, Gone, Key, Publisher, Topic, Topics};

/// The first byte of every row.
const FORMAT: u8 = 1;

/// From this tag on, a reader that does not know a field must not read the event.
const MUST_UNDERSTAND: u8 = 0x80;

const TOPIC: u8 = 1; // Once for each topic, the canonical one first.
const TYPE: u8 = 2;
const CONTENT_TYPE: u8 = 3;
const KEY: u8 = 4;
const DATA: u8 = 5; // Always there unless the event is gone, always last, so that the small fields share a database page.
const TTL: u8 = 6; // Milliseconds, little-endian, without zeros at its end.
const CONFLATE: u8 = 7;
const PUBLIC: u8 = 8; // No value. Published without a key of the gateway; only for recognising repeats.
const PRIVATE: u8 = 0x80; // No value.
const EXPIRED: u8 = 0x81; // How many places this record stands for, if more than one (varint); then zeros.
const DELETED: u8 = 0x82; // The same.

/// The row does not hold what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored events cannot be read: {0}")]
pub(super) struct Damaged(pub(super) &'static str);

/// What stands at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The event; if it is gone, no more than its topics and whether it was private.
    pub(super) event: Event,
    /// Why it is gone.
    pub(super) gone: Option<Gone>,
}

/// What is seen of a record without making an event of it.
pub(super) struct Scanned<'a> {
    /// Its topics, as they are written: not checked.
    pub(super) topics: &'a [&'a str],
    /// For how many places it stands.
    pub(super) count: u64,
    /// Whether they are gone.
    pub(super) gone: bool,
    /// Whether they are private.
    pub(super) private: bool,
}

/// What is kept of an event that is gone.
pub(super) fn left(event: &Event) -> Event {
    Event { topics: event.topics.clone(), private: event.private, ..Event::new(event.topic().clone(), Bytes::new()) }
}

/// Begins a row in an empty buffer.
pub(super) fn begin(row: &mut Vec<u8>) {
    row.clear();
    row.push(FORMAT);
}

/// How many bytes [`encode`] adds for `event`.
pub(super) fn encoded_len(event: &Event) -> usize {
    let fields = fields_len(event, ttl(event).as_deref());
    varint_len(fields) + fields
}

/// Adds `event` to a row.
pub(super) fn encode(event: &Event, row: &mut Vec<u8>) {
    let ttl = ttl(event);
    put_varint(row, fields_len(event, ttl.as_deref()));
    for (tag, value) in fields(event, ttl.as_deref()) {
        put_field(row, tag, value);
    }
}

/// Adds `count` places of events that are gone, all on the topics of `event`, and as private as that.
pub(super) fn encode_gone(event: &Event, why: Gone, count: u64, row: &mut Vec<u8>) {
    let mut record = Vec::new();
    event.topics.iter().for_each(|topic| put_field(&mut record, TOPIC, topic.as_str().as_bytes()));
    if event.private {
        put_field(&mut record, PRIVATE, &[]);
    }
    let mut places = Vec::new();
    if count > 1 {
        put_varint(&mut places, usize::try_from(count).unwrap_or(usize::MAX));
    }
    put_field(&mut record, gone_tag(why), &places);
    put_varint(row, record.len());
    row.extend_from_slice(&record);
}

/// Writes tombstones over the events of a row for which `why`, asked by their number in it, has a reason, and answers how
/// many. The row stays as long as it is.
pub(super) fn erase(row: &mut [u8], why: impl Fn(u64) -> Option<Gone>) -> Result<u64, Damaged> {
    let (mut at, mut number, mut erased) = (begin_input(row)?.taken(row), 0, 0);
    while at < row.len() {
        let mut input = Input(&row[at..]);
        let len = input.part()?.len();
        let end = row.len() - input.0.len();
        let record = &row[end - len..end];
        let (places, gone) = count(record)?;
        if !gone && let Some(why) = why(number) {
            let tombstone = tombstone_of(record, why)?;
            row[end - len..end].copy_from_slice(&tombstone);
            erased += 1;
        }
        (at, number) = (end, number + places);
    }
    Ok(erased)
}

/// A record of a gone event, exactly as long as that of the event. There is always room: an event has data, if only empty
/// ones, and those two bytes are enough.
fn tombstone_of(record: &[u8], why: Gone) -> Result<Vec<u8>, Damaged> {
    let mut tombstone = Vec::with_capacity(record.len());
    let mut input = Input(record);
    while let Some((tag, value)) = input.field()? {
        if matches!(tag, TOPIC | PRIVATE) {
            put_field(&mut tombstone, tag, value);
        }
    }
    let room = record.len().checked_sub(tombstone.len() + 1).ok_or(Input::CUT)?;
    tombstone.push(gone_tag(why));
    // A length of more bytes than it needs, where one byte more or less of zeros would need another length.
    let bytes = (1..=4).find(|bytes| *bytes <= room && (room - bytes) >> (7 * bytes) == 0).ok_or(Input::CUT)?;
    let zeros = room - bytes;
    for byte in 0..bytes {
        let more = if byte + 1 < bytes { 0x80 } else { 0 };
        tombstone.push((zeros >> (7 * byte)).to_le_bytes()[0] & 0x7f | more);
    }
    tombstone.resize(record.len(), 0);
    Ok(tombstone)
}

/// Reads what a row holds, place by place. Data stay slices of `row`: one copy for the whole row, and none for an event.
pub(super) fn decode(row: &Bytes) -> Result<Vec<Stored>, Damaged> {
    let mut input = begin_input(row)?;
    let mut all = Vec::new();
    while !input.0.is_empty() {
        let (stored, count) = decode_record(Input(input.part()?), row)?;
        if all.len() as u64 + count > PAGE {
            return Err(Damaged("more events than a page has room for"));
        }
        all.extend(std::iter::repeat_n(stored, usize::try_from(count).unwrap_or_default()));
    }
    Ok(all)
}

/// Looks through a row without making events of it; costs no allocation for an event.
pub(super) fn scan(row: &[u8], mut each: impl FnMut(&Scanned<'_>)) -> Result<(), Damaged> {
    let mut input = begin_input(row)?;
    while !input.0.is_empty() {
        let record = input.part()?;
        let (count, gone) = count(record)?;
        let (mut topics, mut private): (SmallVec<[&str; 4]>, _) = (SmallVec::new(), false);
        let mut fields = Input(record);
        while let Some((tag, value)) = fields.field()? {
            match tag {
                TOPIC => topics.push(text(value)?),
                PRIVATE => private = true,
                _ => {}
            }
        }
        each(&Scanned { topics: &topics, count, gone, private });
    }
    Ok(())
}

/// For how many places a record stands, and whether they are gone.
fn count(record: &[u8]) -> Result<(u64, bool), Damaged> {
    let mut input = Input(record);
    while let Some((tag, value)) = input.field()? {
        if matches!(tag, EXPIRED | DELETED) {
            return Ok((places(value)?, true));
        }
    }
    Ok((1, false))
}

fn places(value: &[u8]) -> Result<u64, Damaged> {
    if value.is_empty() {
        return Ok(1);
    }
    let count = Input(value).varint()?.max(1) as u64;
    if count > PAGE { Err(Damaged("more events than a page has room for")) } else { Ok(count) }
}

fn decode_record(mut record: Input<'_>, row: &Bytes) -> Result<(Stored, u64), Damaged> {
    let mut topics = Topics::new();
    let (mut kind, mut content_type, mut key, mut data, mut ttl, mut conflate) = (None, None, None, None, None, None);
    let (mut private, mut publisher, mut gone) = (false, Publisher::Key, None);
    while let Some((tag, value)) = record.field()? {
        match tag {
            TOPIC => {
                let topic = Topic::parse(text(value)?).map_err(|_| Damaged("a topic"))?;
                if topics.contains(&topic) {
                    return Err(Damaged("a topic twice"));
                }
                topics.push(topic);
            }
            TYPE => once(&mut kind, EventType::parse(text(value)?).ok().flatten().ok_or(Damaged("a type"))?)?,
            CONTENT_TYPE => {
                let parsed = ContentType::parse(text(value)?).map_err(|_| Damaged("a content type"))?;
                once(&mut content_type, parsed)?;
            }
            KEY => once(&mut key, Key::parse(text(value)?).map_err(|_| Damaged("a key"))?)?,
            CONFLATE => once(&mut conflate, Key::parse(text(value)?).map_err(|_| Damaged("a conflation key"))?)?,
            TTL => once(&mut ttl, Duration::from_millis(number(value)?))?,
            DATA => once(&mut data, row.slice_ref(value))?,
            PUBLIC => publisher = Publisher::Public,
            PRIVATE => private = true,
            EXPIRED => once(&mut gone, (Gone::Expired, places(value)?))?,
            DELETED => once(&mut gone, (Gone::Deleted, places(value)?))?,
            tag if tag >= MUST_UNDERSTAND => return Err(Damaged("a field that only a later version may read")),
            _ => {}
        }
    }
    let Some(canonical) = topics.first().cloned() else { return Err(Damaged("an event without a topic")) };
    if let Some((why, count)) = gone {
        let event = Event { topics, private, ..Event::new(canonical, Bytes::new()) };
        return Ok((Stored { event, gone: Some(why) }, count));
    }
    let data = data.ok_or(Damaged("an event without data"))?;
    let event = Event { topics, kind, data, content_type, key, ttl, conflate, private, publisher };
    Ok((Stored { event, gone: None }, 1))
}

/// The fields of an event in the order in which they are written.
fn fields<'a>(event: &'a Event, ttl: Option<&'a [u8]>) -> impl Iterator<Item = (u8, &'a [u8])> {
    let topics = event.topics.iter().map(|topic| (TOPIC, topic.as_str().as_bytes()));
    let private = event.private.then_some((PRIVATE, &[][..]));
    let kind = event.kind.iter().map(|kind| (TYPE, kind.as_str().as_bytes()));
    let content_type = event.content_type.iter().map(|media| (CONTENT_TYPE, media.as_str().as_bytes()));
    let key = event.key.iter().map(|key| (KEY, key.as_str().as_bytes()));
    let conflate = event.conflate.iter().map(|key| (CONFLATE, key.as_str().as_bytes()));
    let ttl = ttl.map(|ttl| (TTL, ttl));
    let public = (event.publisher == Publisher::Public).then_some((PUBLIC, &[][..]));
    let small =
        topics.chain(private).chain(kind).chain(content_type).chain(key).chain(conflate).chain(ttl).chain(public);
    small.chain([(DATA, &event.data[..])])
}

fn fields_len(event: &Event, ttl: Option<&[u8]>) -> usize {
    fields(event, ttl).map(|(_, value)| 1 + varint_len(value.len()) + value.len()).sum()
}

/// The time to live as it is written.
fn ttl(event: &Event) -> Option<SmallVec<[u8; 8]>> {
    let milliseconds = u64::try_from(event.ttl?.as_millis()).unwrap_or(u64::MAX).to_le_bytes();
    let len = milliseconds.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Some(SmallVec::from_slice(&milliseconds[..len]))
}

fn number(value: &[u8]) -> Result<u64, Damaged> {
    let mut bytes = [0; 8];
    bytes.get_mut(..value.len()).ok_or(Damaged("a number of more than eight bytes"))?.copy_from_slice(value);
    Ok(u64::from_le_bytes(bytes))
}

fn gone_tag(why: Gone) -> u8 {
    match why {
        Gone::Expired => EXPIRED,
        Gone::Deleted => DELETED,
    }
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

fn put_field(row: &mut Vec<u8>, tag: u8, value: &[u8]) {
    row.push(tag);
    put_varint(row, value.len());
    row.extend_from_slice(value);
}

pub(super) fn put_varint(row: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        row.push(number.to_le_bytes()[0] | 0x80); // The lowest seven bits, and that more follow.
        number >>= 7;
    }
    row.push(number.to_le_bytes()[0]);
}

fn varint_len(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

fn begin_input(row: &[u8]) -> Result<Input<'_>, Damaged> {
    let mut input = Input(row);
    if input.byte()? == FORMAT { Ok(input) } else { Err(Damaged("the row is of a later format")) }
}

/// What is still to be read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    fn taken(&self, whole: &[u8]) -> usize {
        whole.len() - self.0.len()
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.0.split_first().ok_or(Self::CUT)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn varint(&mut self) -> Result<usize, Damaged> {
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
    pub(super) fn part(&mut self) -> Result<&'a [u8], Damaged> {
        let len = self.varint()?;
        let (part, rest) = self.0.split_at_checked(len).ok_or(Self::CUT)?;
        self.0 = rest;
        Ok(part)
    }

    /// The next field's tag and value, if there is one.
    fn field(&mut self) -> Result<Option<(u8, &'a [u8])>, Damaged> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.byte()?, self.part()?)))
    }

    const CUT: Damaged = Damaged("it ends too early");
}

#[cfg(test)]
mod tests;
