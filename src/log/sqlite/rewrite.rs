//! Rows that are written anew because events in their midst are gone.
//!
//! *Erasing* overwrites events where they stand: the row stays as long as it is, so SQLite changes the bytes in place and
//! leaves no copy of them behind; it frees no room. *Compacting* frees room, of what may be read by who finds the file: rows
//! of a page are written as short as can be, and neighbours of which nothing is left become one.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::super::{Keys, PAGE};
use super::codec::{self, Stored};
use super::keyed::Keyed;
use super::removed::Removed;
use super::{places, retention};
use crate::event::{Event, Gone, Offset, Timestamp};

/// A row of `commits`.
struct Row {
    first: Offset,
    count: u64,
    time: u64,
    events: Bytes,
}

/// What was erased from a page.
#[derive(Default)]
pub(super) struct Erased {
    /// Where those stand that were still there, with what they were, rising.
    pub(super) events: Vec<(Offset, Event)>,
    /// Where those stand that had expired, but could still be found in the file.
    pub(super) expired: Vec<Offset>,
    /// How many bytes the rows have that were written.
    pub(super) bytes: u64,
}

/// Erases the events of a page that `which` picks. Their keys stay remembered. Rows that cannot be read are left alone.
pub(super) fn erase(
    transaction: &Connection,
    page: u64,
    removed: &Removed,
    keys: &Keys,
    now: Timestamp,
    which: impl Fn(Offset, &Event) -> bool,
) -> rusqlite::Result<Erased> {
    let mut erased = Erased::default();
    let mut update = transaction.prepare_cached("UPDATE commits SET events = ?2 WHERE first = ?1")?;
    for row in rows(transaction, page)? {
        let Ok(stored) = codec::decode(&row.events) else { continue };
        // What had expired before stays expired, also after a restart.
        let why = |offset, event: &Event| {
            if is_gone(event, offset, row.time, removed, now) { Gone::Expired } else { Gone::Deleted }
        };
        let picked: HashMap<u64, Gone> = (0..)
            .zip(&stored)
            .filter(|(number, stored)| stored.gone.is_none() && which(row.first + number, &stored.event))
            .map(|(number, stored)| (number, why(row.first + number, &stored.event)))
            .collect();
        if picked.is_empty() {
            continue;
        }
        let mut events = row.events.to_vec();
        if codec::erase(&mut events, |number| picked.get(&number).copied()).is_err() {
            continue;
        }
        update.execute(params![row.first, events])?;
        erased.bytes += events.len() as u64;
        retention::keep_keys(transaction, keys, row.first..row.first + stored.len() as u64)?;
        for (number, Stored { event, .. }) in (0..).zip(stored) {
            let offset = row.first + number;
            match picked.get(&number) {
                Some(Gone::Expired) => erased.expired.push(offset),
                Some(Gone::Deleted) => erased.events.push((offset, event)),
                None => {}
            }
        }
    }
    let more = (erased.events.len() + erased.expired.len()) as u64;
    if more > 0 {
        let written = removed.of(page).map_or(0, super::removed::OfPage::written);
        places::write_gone(transaction, page, written + more)?;
    }
    Ok(erased)
}

/// What became of a page.
pub(super) struct Compacted {
    /// How many of its places its rows show as gone now.
    pub(super) gone: u64,
    /// How many of them had not been removed, but have outlived their time.
    pub(super) outlived: u64,
    /// How many bytes its rows had.
    pub(super) bytes: u64,
}

/// Writes the rows of a page as short as they can be, now that these events are gone. Rows that cannot be read stay as they
/// are.
pub(super) fn compact(
    transaction: &Connection,
    page: u64,
    removed: &Removed,
    keys: &Keys,
    now: Timestamp,
) -> rusqlite::Result<Compacted> {
    let mut compacted = Compacted { gone: 0, outlived: 0, bytes: 0 };
    let mut pending: Option<Gathered> = None;
    for row in rows(transaction, page)? {
        compacted.bytes += row.events.len() as u64;
        let stored = codec::decode(&row.events).ok().filter(|stored| stored.len() as u64 == row.count);
        let Some(mut stored) = stored else {
            flush(transaction, pending.take(), keys)?;
            continue;
        };
        let mut fresh = false;
        for (offset, stored) in (row.first..).zip(&mut stored).filter(|(_, stored)| stored.gone.is_none()) {
            if is_gone(&stored.event, offset, row.time, removed, now) {
                let why = removed.of(page).and_then(|of| of.why(offset));
                compacted.outlived += u64::from(why.is_none());
                *stored = Stored { event: codec::left(&stored.event), gone: Some(why.unwrap_or(Gone::Expired)) };
                fresh = true;
            }
        }
        compacted.gone += stored.iter().filter(|stored| stored.gone.is_some()).count() as u64;
        let dead = stored.iter().all(|stored| stored.gone.is_some());
        match &mut pending {
            Some(before) if dead && before.dead => before.append(&row, stored),
            _ => {
                flush(transaction, pending.take(), keys)?;
                pending = Some(Gathered { first: row.first, time: row.time, rows: 1, stored, fresh, dead });
            }
        }
    }
    flush(transaction, pending, keys)?;
    places::write_gone(transaction, page, compacted.gone)?;
    Ok(compacted)
}

/// Neighbouring rows that become one.
struct Gathered {
    first: Offset,
    time: u64,
    rows: usize,
    stored: Vec<Stored>,
    /// Something in the first of them is gone that it does not show.
    fresh: bool,
    /// Nothing in them is left.
    dead: bool,
}

impl Gathered {
    fn append(&mut self, row: &Row, stored: Vec<Stored>) {
        self.rows += 1;
        self.time = row.time; // That of the newest: time must not fall.
        self.stored.extend(stored);
    }
}

fn flush(transaction: &Connection, gathered: Option<Gathered>, keys: &Keys) -> rusqlite::Result<()> {
    let Some(Gathered { first, time, rows, stored, fresh, .. }) = gathered else { return Ok(()) };
    if !fresh && rows == 1 {
        return Ok(());
    }
    let mut row = Vec::new();
    codec::begin(&mut row);
    for alike in stored.chunk_by(|a, b| a.gone.is_some() && a == b) {
        match alike[0].gone {
            Some(why) => codec::encode_gone(&alike[0].event, why, alike.len() as u64, &mut row),
            None => codec::encode(&alike[0].event, &mut row),
        }
    }
    let end = first + stored.len() as u64;
    let keyed = Keyed::of(stored.iter().filter(|stored| stored.gone.is_none()).map(|stored| &stored.event));
    retention::keep_keys(transaction, keys, first..end)?;
    transaction.prepare_cached("DELETE FROM commits WHERE first >= ?1 AND first < ?2")?.execute([first, end])?;
    transaction
        .prepare_cached("INSERT INTO commits (first, count, time, keys, events) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![first, stored.len(), time, keyed.number(), row])?;
    Ok(())
}

/// Whether an event that its row still shows is gone: removed, or older than it was to become.
fn is_gone(event: &Event, offset: Offset, time: u64, removed: &Removed, now: Timestamp) -> bool {
    let outlived = || {
        let ttl = event.ttl.and_then(|ttl| u64::try_from(ttl.as_millis()).ok());
        ttl.is_some_and(|ttl| time.saturating_add(ttl) < now.0)
    };
    removed.of(offset / PAGE).is_some_and(|of| of.why(offset).is_some()) || outlived()
}

fn rows(transaction: &Connection, page: u64) -> rusqlite::Result<Vec<Row>> {
    let mut select = transaction.prepare_cached(
        "SELECT first, count, time, events FROM commits WHERE first BETWEEN ?1 AND ?2 ORDER BY first",
    )?;
    let rows = select.query_map([page * PAGE, page * PAGE + PAGE - 1], |row| {
        Ok(Row {
            first: row.get(0)?,
            count: row.get::<_, i64>(1)?.try_into().unwrap_or_default(),
            time: row.get(2)?,
            events: Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?),
        })
    })?;
    rows.collect()
}
