//! What is written down of pages and of how far topics were trimmed, and how it is read when the log opens.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::super::index::{Closed, Index, sorted};
use super::super::keep::Kept;
use super::super::marks::{Mark, Marks};
use super::super::{Bounds, PAGE, index};
use super::codec;
use super::removed::Removed;
use crate::event::{Offset, Timestamp, Topic};

/// In an offset: the one behind it is that of the last event that was not private. SQLite's integers leave this bit free.
const TWO: Offset = 1 << 63;

/// Writes the rows of pages that are full; one of which nothing is known gets none.
pub(super) fn write_pages(transaction: &Connection, removed: &Removed, closed: &[Closed]) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO pages (page, gone, topics) VALUES (?1, ?2, ?3)")?;
    for (page, hashes) in closed {
        let Some(hashes) = hashes else { continue };
        let topics: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        insert.execute(params![page, removed.of(*page).map_or(0, super::removed::OfPage::written), topics])?;
    }
    Ok(())
}

/// Notes how many events of a page its rows show as gone, if the page has a row.
pub(super) fn write_gone(transaction: &Connection, page: u64, gone: u64) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE pages SET gone = ?2 WHERE page = ?1")?.execute([page, gone]).map(drop)
}

/// Writes marks, after which the log begins at `first`; answers how many bytes they take.
pub(super) fn write_marks<'a>(
    transaction: &Connection,
    first: Offset,
    floor: Offset,
    marks: impl IntoIterator<Item = (&'a Topic, Mark)>,
) -> rusqlite::Result<u64> {
    let mut blob = floor.to_le_bytes().to_vec();
    for (topic, Mark { last, open }) in marks {
        if open == last {
            blob.extend_from_slice(&last.to_le_bytes());
        } else {
            blob.extend_from_slice(&(last | TWO).to_le_bytes());
            blob.extend_from_slice(&open.to_le_bytes());
        }
        codec::put_varint(&mut blob, topic.as_str().len());
        blob.extend_from_slice(topic.as_str().as_bytes());
    }
    let sql = "INSERT OR REPLACE INTO trims (first, marks) VALUES (?1, ?2)";
    transaction.prepare_cached(sql)?.execute(params![first, blob])?;
    Ok(blob.len() as u64)
}

/// Writes all marks in place of the rows that are there; answers how many bytes they take.
pub(super) fn write_all_marks(transaction: &Connection, first: Offset, marks: &Marks) -> rusqlite::Result<u64> {
    transaction.execute("DELETE FROM trims", ())?;
    write_marks(transaction, first, marks.floor(), marks.iter())
}

/// How far each topic was trimmed in a log that begins at `first`, and how many bytes say so. If they cannot be read, nothing
/// is known.
pub(super) fn read_marks(connection: &Connection, first: Offset) -> rusqlite::Result<(Marks, u64)> {
    let mut marks = Marks::default();
    let mut bytes = 0;
    let mut select = connection.prepare("SELECT marks FROM trims ORDER BY first")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let blob = row.get_ref(0)?.as_blob()?;
        bytes += blob.len() as u64;
        let Some((floor, read)) = parse_marks(blob) else {
            tracing::error!("how far topics were trimmed cannot be read; readers that come back late are told gaps");
            marks.raise_floor(first - 1);
            break;
        };
        marks.raise_floor(floor);
        let upto = read.last().map_or(0, |(_, mark)| mark.last);
        marks.add(read, upto);
    }
    marks.add([], first - 1);
    Ok((marks, bytes))
}

fn parse_marks(blob: &[u8]) -> Option<(Offset, Vec<(Topic, Mark)>)> {
    let mut input = codec::Input(blob);
    let floor = take_offset(&mut input)?;
    let mut marks = Vec::new();
    let mut before = 0;
    while !input.0.is_empty() {
        let first = take_offset(&mut input)?;
        let last = first & !TWO;
        let open = if first == last { last } else { take_offset(&mut input)? };
        let topic = Topic::parse(std::str::from_utf8(input.part().ok()?).ok()?).ok()?;
        if last < before || open > last {
            return None;
        }
        before = last;
        marks.push((topic, Mark { last, open }));
    }
    Some((floor, marks))
}

fn take_offset(input: &mut codec::Input<'_>) -> Option<Offset> {
    let (offset, rest) = input.0.split_first_chunk()?;
    input.0 = rest;
    Some(Offset::from_le_bytes(*offset))
}

/// What is known of the places of a log that opens.
pub(super) struct Places {
    pub(super) index: Index,
    pub(super) removed: Removed,
    /// Rows of pages that were found in the commits, and are to be written.
    pub(super) rebuilt: Vec<Closed>,
}

/// Reads what is known of the pages; of those without a row, and of all if topics have rules, the commits are read.
///
/// Cost: with a row four bytes for each topic of a page; without one the page. Rules of topics cost reading the whole log:
/// about a second for a million events.
pub(super) fn read_pages(connection: &Connection, bounds: Bounds, kept: &mut Kept) -> rusqlite::Result<Places> {
    let newest = (bounds.last + 1) / PAGE;
    let mut written: std::collections::BTreeMap<u64, (u64, Vec<u8>)> = std::collections::BTreeMap::new();
    let mut select = connection.prepare("SELECT page, gone, topics FROM pages WHERE page BETWEEN ?1 AND ?2")?;
    let mut rows = select.query([bounds.first / PAGE, newest])?;
    while let Some(row) = rows.next()? {
        written.insert(row.get(0)?, (row.get(1)?, row.get_ref(2)?.as_blob()?.to_vec()));
    }
    drop(rows);
    let mut removed = Removed::default();
    let (mut closed, mut rebuilt) = (Vec::new(), Vec::new());
    for page in bounds.first / PAGE..newest {
        let row = written.remove(&page);
        let whole = page * PAGE >= bounds.first; // Of the oldest page a part may be trimmed, and what was gone in it.
        let hashes = row.as_ref().and_then(|(_, topics)| parse_hashes(topics));
        if let (Some(_), Some((gone, _))) = (&hashes, &row)
            && whole
            && !kept.is_needed()
        {
            removed.recall(page, *gone);
            closed.push((page, hashes));
            continue;
        }
        let found = look_through(connection, page, bounds, kept)?;
        removed.recall(page, found.gone);
        let hashes = match hashes {
            Some(hashes) => Some(hashes),
            None => {
                let found = (!found.damaged).then(|| sorted(&found.topics));
                rebuilt.push((page, found.clone()));
                found
            }
        };
        closed.push((page, hashes));
    }
    let mut index = Index::recovered(bounds.first, bounds.last, closed);
    let open = look_through(connection, newest, bounds, kept)?;
    removed.recall(newest, open.gone);
    index.recall(open.topics, open.damaged);
    Ok(Places { index, removed, rebuilt })
}

fn parse_hashes(topics: &[u8]) -> Option<Box<[u32]>> {
    let (hashes, rest) = topics.as_chunks();
    let hashes: Box<[u32]> = hashes.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    (rest.is_empty() && hashes.is_sorted()).then_some(hashes)
}

/// What the commits of one page hold.
#[derive(Default)]
struct Found {
    topics: HashSet<u32>,
    gone: u64,
    damaged: bool,
}

fn look_through(connection: &Connection, page: u64, bounds: Bounds, kept: &mut Kept) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    let (begins, ends) = ((page * PAGE).max(bounds.first), (page * PAGE + PAGE - 1).min(bounds.last));
    let mut next = begins;
    let mut select = connection
        .prepare_cached("SELECT first, time, events FROM commits WHERE first BETWEEN ?1 AND ?2 ORDER BY first")?;
    let mut rows = select.query([begins, ends])?;
    while let Some(row) = rows.next()? {
        let (first, time): (Offset, u64) = (row.get(0)?, row.get(1)?);
        found.damaged |= first != next;
        let blob = row.get_ref(2)?.as_blob()?;
        let Some(count) = look_through_row(blob, first, Timestamp(time), kept, &mut found) else {
            found.damaged = true;
            break;
        };
        next = first + count;
    }
    found.damaged |= next != ends + 1;
    Ok(found)
}

/// Answers how many places the row holds, unless it is damaged.
fn look_through_row(blob: &[u8], first: Offset, time: Timestamp, kept: &mut Kept, found: &mut Found) -> Option<u64> {
    let (mut count, mut gone) = (0, 0);
    let topics = &mut found.topics;
    let scanned = codec::scan(blob, |record| {
        topics.extend(index::hashes(record.topics.iter().copied()));
        count += record.count;
        gone += if record.gone { record.count } else { 0 };
    });
    scanned.ok()?;
    found.gone += gone;
    if kept.is_needed() {
        let stored = codec::decode(&Bytes::copy_from_slice(blob)).ok()?;
        for (offset, stored) in (first..).zip(stored).filter(|(_, stored)| stored.gone.is_none()) {
            kept.add(&stored.event, offset, time);
        }
    }
    Some(count)
}
