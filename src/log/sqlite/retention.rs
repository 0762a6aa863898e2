//! What retention takes away, in small steps from the old end, within the transaction of a commit.
//!
//! Whole rows go. By count and by bytes the newest events always stay: a row leaves only if what is left is still enough.

use std::ops::Range;

use rusqlite::{Connection, Row, params};

use super::super::keys::Remembered;
use super::super::{Keys, Retention};
use super::schema::PAGE_SIZE;
use crate::event::{Offset, Timestamp};

/// How many rows leave in one transaction at most: twice and more what a full group commit of small rows adds.
const ROWS: usize = 256;

/// How many bytes leave in one transaction at most: twice what a full group commit adds.
const BYTES: u64 = 8 << 20;

/// What a transaction is about to add.
pub(super) struct Incoming {
    /// The newest offset after it.
    pub(super) last: Offset,
    /// How many of the events up to `last` it adds.
    pub(super) events: u64,
    /// About how many bytes it adds.
    pub(super) bytes: u64,
    /// About how many of the bytes in use are those of `expired_keys`: no events leave to make room for keys.
    pub(super) expired_keys: u64,
}

/// What a transaction has taken away.
#[derive(Clone, Copy)]
pub(super) struct Trimmed {
    /// The oldest offset that is left.
    pub(super) first: Offset,
    /// More must go than one step may take.
    pub(super) more: bool,
}

/// Deletes the oldest rows as far as `retention` says and one step allows. Nothing if there is nothing to do. `now` is
/// the time that may be trusted with deleting (see `log::clock`).
///
/// Cost when there is none: three look-ups in pages that the connection holds in memory.
pub(super) fn trim(
    transaction: &Connection,
    retention: &Retention,
    now: Timestamp,
    incoming: &Incoming,
) -> rusqlite::Result<Option<Trimmed>> {
    let age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
    let newest_stored = incoming.last - incoming.events;
    let bytes = used_bytes(transaction)?.saturating_sub(incoming.expired_keys).saturating_add(incoming.bytes);
    let mut trimmed = None;
    let mut freed = 0;
    let mut select =
        transaction.prepare_cached("SELECT first, time, length(events) FROM commits ORDER BY first LIMIT ?1")?;
    let mut rows = select.query([ROWS + 2])?;
    let mut taken = 0;
    let mut row = rows.next()?.map(read_row).transpose()?;
    while let Some((time, len)) = row.map(|(_, time, len)| (time, len)) {
        row = rows.next()?.map(read_row).transpose()?;
        // Where the next row begins, not where this one says that it ends: that may be damaged, and would delete more.
        let next = row.map_or(newest_stored + 1, |(first, ..)| first);
        let left = (incoming.last + 1).saturating_sub(next);
        let over = left >= retention.events
            || time.saturating_add(age) < now.0
            || (bytes.saturating_sub(freed) > retention.bytes && next <= newest_stored);
        if !over {
            break;
        }
        if taken == ROWS || freed > BYTES {
            trimmed = trimmed.map(|trimmed| Trimmed { more: true, ..trimmed });
            break;
        }
        taken += 1;
        freed += len;
        trimmed = Some(Trimmed { first: next, more: false });
    }
    drop(rows);
    if let Some(Trimmed { first, .. }) = trimmed {
        transaction.prepare_cached("DELETE FROM commits WHERE first < ?1")?.execute([first])?;
    }
    Ok(trimmed)
}

/// The first offset, the time and the length of a row.
fn read_row(row: &Row<'_>) -> rusqlite::Result<(Offset, u64, u64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// Writes down where offsets and times must go on, when no row is left that tells it.
pub(super) fn note_emptied(transaction: &Connection, last: Offset, time: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO emptied (id, last, time) VALUES (1, ?1, ?2)";
    transaction.execute(sql, params![last, time.0]).map(drop)
}

/// Writes down the keys of events that are deleted in this transaction, so that repeats are recognised after a restart
/// too; and forgets those that are remembered no more.
///
/// Keys go in as they went into the log, so the table is written at its right edge.
pub(super) fn keep_keys(transaction: &Connection, keys: &Keys, gone: Range<Offset>) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO expired_keys (offset, time, key, content) VALUES (?1, ?2, ?3, ?4)")?;
    for Remembered { offset, time, key, content } in keys.within(gone) {
        insert.execute(params![offset, time.0, key.as_str(), content])?;
    }
    let oldest = keys.oldest().unwrap_or(Offset::try_from(i64::MAX).unwrap_or_default());
    transaction.prepare_cached("DELETE FROM expired_keys WHERE offset < ?1")?.execute([oldest]).map(drop)
}

/// The bytes of the file that hold something. Pages that were freed are used again before the file grows.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let count = |sql| connection.prepare_cached(sql)?.query_row((), |row| row.get::<_, u64>(0));
    Ok(count("PRAGMA page_count")?.saturating_sub(count("PRAGMA freelist_count")?) * PAGE_SIZE)
}
