//! What retention takes away, in small steps from the old end, within the transaction of a commit.
//!
//! Whole rows go. By count and by bytes the newest events always stay: a row leaves only if what is left is still enough.
//! An event that is gone counts for a 64th of one, so that their places are bounded, too.
//!
//! While publishers wait, a little too much may stay, so that not each commit of one event reads and deletes one row: that
//! is done for up to 1 024 events at once, or when nobody publishes.

use std::ops::Range;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::keys::Remembered;
use super::super::marks::Trimming;
use super::super::{Keys, PAGE, Retention, counted};
use super::codec;
use super::removed::Removed;
use super::schema::PAGE_SIZE;
use crate::event::{Offset, Publisher, Timestamp};

/// How many rows leave in one transaction at most: twice and more what a full group commit of small rows adds, and all that
/// may stay too long.
const ROWS: usize = 1024 + 256;

/// How many bytes leave in one transaction at most: twice what a full group commit adds.
const BYTES: u64 = 8 << 20;

/// How much too much may stay while publishers wait.
struct Slack {
    events: u64,
    bytes: u64,
    age: u64,
}

impl Slack {
    const NONE: Self = Self { events: 0, bytes: 0, age: 0 };

    /// A little of what is kept: of a small log nothing.
    fn of(retention: &Retention) -> Self {
        Self {
            events: (retention.events / 256).min(1024),
            bytes: (retention.bytes / 256).min(1 << 20),
            age: milliseconds(retention.age / 256).min(10_000),
        }
    }
}

/// What a transaction is about to add, and to what.
pub(super) struct Incoming<'a> {
    /// The oldest offset before it.
    pub(super) first: Offset,
    /// The newest offset after it.
    pub(super) last: Offset,
    /// How many of the events up to `last` it adds.
    pub(super) events: u64,
    /// About how many bytes it adds.
    pub(super) bytes: u64,
    /// About how many of the bytes in use are those of `expired_keys`: no events leave to make room for keys.
    pub(super) expired_keys: u64,
    /// Which events are gone.
    pub(super) removed: &'a Removed,
}

/// What a transaction has taken away.
pub(super) struct Trimmed {
    /// The oldest offset that is left.
    pub(super) first: Offset,
    /// More must go than one step may take.
    pub(super) more: bool,
    /// How many of these events were gone already.
    pub(super) gone: u64,
    /// The topics they were on.
    pub(super) topics: Trimming,
}

/// Deletes the oldest rows as far as `retention` says and one step allows. Nothing if there is nothing to do. `now` is
/// the time that may be trusted with deleting (see `log::clock`).
///
/// Cost when there is none: three look-ups in pages that the connection holds in memory.
pub(super) fn trim(
    transaction: &Connection,
    retention: &Retention,
    now: Timestamp,
    incoming: &Incoming<'_>,
) -> rusqlite::Result<Option<Trimmed>> {
    let slack = if incoming.events > 0 { Slack::of(retention) } else { Slack::NONE };
    let (age, gone) = (milliseconds(retention.age), incoming.removed.total());
    let newest_stored = incoming.last - incoming.events;
    let bytes = used_bytes(transaction)?.saturating_sub(incoming.expired_keys).saturating_add(incoming.bytes);
    let mut select =
        transaction.prepare_cached("SELECT first, time, length(events) FROM commits ORDER BY first LIMIT ?1")?;
    let mut rows = select.query([ROWS + 2])?;
    let mut row = rows.next()?.map(read_row).transpose()?;
    let events = counted((incoming.last + 1).saturating_sub(incoming.first), gone);
    let too_much = events > retention.events.saturating_add(slack.events)
        || bytes > retention.bytes.saturating_add(slack.bytes)
        || row.is_some_and(|(_, time, _)| time.saturating_add(age).saturating_add(slack.age) < now.0);
    if !too_much {
        return Ok(None);
    }
    let mut trimmed = Trimmed { first: incoming.first, more: false, gone: 0, topics: Trimming::default() };
    let (mut taken, mut freed) = (0, 0);
    while let Some((first, time, len)) = row {
        row = rows.next()?.map(read_row).transpose()?;
        // Where the next row begins, not where this one says that it ends: that may be damaged, and would delete more.
        let next = row.map_or(newest_stored + 1, |(first, ..)| first);
        let left = (incoming.last + 1).saturating_sub(next);
        let still_over = time.saturating_add(age) < now.0
            || (bytes.saturating_sub(freed) > retention.bytes && next <= newest_stored);
        if !still_over && left < retention.events {
            break; // Even if all of these are still there.
        }
        if taken == ROWS || freed > BYTES {
            trimmed.more = true;
            break;
        }
        let gone_here = if gone > 0 { count_gone(transaction, first, incoming.removed)? } else { 0 };
        if !still_over && counted(left, gone.saturating_sub(trimmed.gone + gone_here)) < retention.events {
            break;
        }
        note_topics(transaction, first..next, &mut trimmed.topics)?;
        taken += 1;
        freed += len;
        trimmed.gone += gone_here;
        trimmed.first = next;
    }
    drop(rows);
    if taken == 0 {
        return Ok(None);
    }
    transaction.prepare_cached("DELETE FROM commits WHERE first < ?1")?.execute([trimmed.first])?;
    if trimmed.first / PAGE > incoming.first / PAGE {
        transaction.prepare_cached("DELETE FROM pages WHERE page < ?1")?.execute([trimmed.first / PAGE])?;
    }
    Ok(Some(trimmed))
}

/// How many events of a row are gone already; of one that is damaged, what can be read.
fn count_gone(transaction: &Connection, first: Offset, removed: &Removed) -> rusqlite::Result<u64> {
    let of_page = removed.of(first / PAGE);
    let (mut at, mut gone) = (first, 0);
    let _ = scan(transaction, first, |record| {
        let removed = of_page.is_some_and(|of| of.why(at).is_some());
        gone += if record.gone || removed { record.count } else { 0 };
        at += record.count;
    })?;
    Ok(gone)
}

/// Notes the topics of a row that leaves. If it is damaged, they are not known.
fn note_topics(transaction: &Connection, offsets: Range<Offset>, topics: &mut Trimming) -> rusqlite::Result<()> {
    let mut at = offsets.start;
    let whole = scan(transaction, offsets.start, |record| {
        at += record.count;
        record.topics.iter().for_each(|topic| topics.note(topic, at - 1, record.private));
    })?;
    if !whole || at != offsets.end {
        topics.unknown = offsets.end - 1;
    }
    Ok(())
}

/// Looks through a row, and answers whether it could be read to its end.
fn scan(transaction: &Connection, first: Offset, each: impl FnMut(&codec::Scanned<'_>)) -> rusqlite::Result<bool> {
    let mut select = transaction.prepare_cached("SELECT events FROM commits WHERE first = ?1")?;
    let scanned = select.query_row([first], |row| Ok(codec::scan(row.get_ref(0)?.as_blob()?, each).is_ok()));
    Ok(scanned.optional()?.unwrap_or(false))
}

/// The first offset, the time and the length of a row.
fn read_row(row: &Row<'_>) -> rusqlite::Result<(Offset, u64, u64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes down where offsets and times must go on, when no row is left that tells it.
pub(super) fn note_emptied(transaction: &Connection, last: Offset, time: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO emptied (id, last, time) VALUES (1, ?1, ?2)";
    transaction.execute(sql, params![last, time.0]).map(drop)
}

/// Writes down the keys of events that are deleted in this transaction, so that repeats are recognised after a restart
/// too; and forgets those that are remembered no more.
///
/// Keys go in as they went into the log, so a table is written at its right edge; and each publisher has its own, so that
/// what is forgotten stands at its left edge.
pub(super) fn keep_keys(transaction: &Connection, keys: &Keys, gone: Range<Offset>) -> rusqlite::Result<()> {
    for (publisher, insert, delete) in [
        (
            Publisher::Key,
            "INSERT OR REPLACE INTO expired_keys (offset, time, key, content) VALUES (?1, ?2, ?3, ?4)",
            "DELETE FROM expired_keys WHERE offset < ?1",
        ),
        (
            Publisher::Public,
            "INSERT OR REPLACE INTO expired_public_keys (offset, time, key, content) VALUES (?1, ?2, ?3, ?4)",
            "DELETE FROM expired_public_keys WHERE offset < ?1",
        ),
    ] {
        let mut insert = transaction.prepare_cached(insert)?;
        for Remembered { offset, time, key, content, .. } in keys.within(publisher, gone.clone()) {
            insert.execute(params![offset, time.0, key, content])?;
        }
        let oldest = keys.oldest(publisher).unwrap_or(Offset::try_from(i64::MAX).unwrap_or_default());
        transaction.prepare_cached(delete)?.execute([oldest])?;
    }
    Ok(())
}

/// The bytes of the file that hold something. Pages that were freed are used again before the file grows.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let count = |sql| connection.prepare_cached(sql)?.query_row((), |row| row.get::<_, u64>(0));
    Ok(count("PRAGMA page_count")?.saturating_sub(count("PRAGMA freelist_count")?) * PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::super::super::contract::EVERYTHING;
    use super::super::tests::{closed_log_of_rows, open_file};
    use super::*;

    fn retention() -> Retention {
        Retention { events: 1024, age: Duration::from_secs(256), ..EVERYTHING }
    }

    /// Up to where a log of 1 024 rows of one event each, stored at 0, is trimmed before so many more are stored.
    fn trimmed(connection: &Connection, more: u64, now: u64) -> Option<Offset> {
        let removed = Removed::default();
        let (first, last) = (1, 1024 + more);
        let incoming = Incoming { first, last, events: more, bytes: 0, expired_keys: 0, removed: &removed };
        let transaction = connection.unchecked_transaction().expect("a transaction");
        let trimmed = trim(&transaction, &retention(), Timestamp(now), &incoming).expect("readable");
        let rows: u64 = transaction
            .query_row("SELECT coalesce(min(first), 1025) FROM commits", (), |row| row.get(0))
            .expect("rows");
        assert_eq!(rows, trimmed.as_ref().map_or(1, |trimmed| trimmed.first));
        trimmed.map(|trimmed| trimmed.first)
    }

    #[tokio::test]
    async fn while_publishers_wait_a_256th_too_much_may_stay() {
        let directory = closed_log_of_rows(1024).await;
        let connection = open_file(directory.path());
        assert_eq!([0, 1, 4, 5, 6].map(|more| trimmed(&connection, more, 0)), [None, None, None, Some(6), Some(7)]);
        let at = |more, now| trimmed(&connection, more, now);
        assert_eq!([256_000, 256_001].map(|now| at(0, now)), [None, Some(1025)], "nobody waits");
        assert_eq!([257_000, 257_001].map(|now| at(1, now)), [None, Some(1025)]);
    }

    #[tokio::test]
    async fn what_is_gone_counts_for_hardly_anything_and_so_does_its_leaving() {
        let directory = closed_log_of_rows(1024).await;
        let connection = open_file(directory.path());
        let mut removed = Removed::default();
        (1..=512).for_each(|offset| removed.expire(offset));
        let incoming = Incoming { first: 1, last: 1024, events: 0, bytes: 0, expired_keys: 0, removed: &removed };
        let trim = |events| {
            let transaction = connection.unchecked_transaction().expect("a transaction");
            let trimmed = trim(&transaction, &Retention { events, ..EVERYTHING }, Timestamp(0), &incoming);
            trimmed.expect("readable").map(|trimmed| (trimmed.first, trimmed.gone))
        };
        assert_eq!(trim(512 + 8), None);
        assert_eq!(trim(500), Some((525, 512)), "500 that are there stay");
    }
}
