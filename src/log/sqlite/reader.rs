//! Reading pages back, beside the writer.
//!
//! No read transaction outlives one page: a longer one would keep the write-ahead log from beginning anew.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension};
use tokio::sync::Semaphore;

use super::super::{Epochs, PAGE, PAGE_BYTES, Page, ReadError, StoreError};
use super::codec::{self, Stored};
use super::removed::{OfPage, Removed};
use super::schema;
use crate::event::{Appended, Cursor, Offset, Timestamp};

/// A few connections that only read. Who finds all of them taken waits for a turn.
pub(super) struct Readers {
    file: PathBuf,
    epochs: Arc<Epochs>,
    turns: Arc<Semaphore>,
    /// Connections that nobody uses now; `None` once the log is closed.
    idle: Mutex<Option<Vec<Connection>>>,
    /// Which events are gone. Looked at after a row was read: what it showed then may be gone by now.
    removed: RwLock<Removed>,
    /// The offsets at which something is damaged, as far as that is known; each is said once.
    pub(super) damaged: Mutex<BTreeSet<Offset>>,
}

/// Why a page cannot be read, or a row of it.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("the log is closed")]
    Closed,
    #[error("the row is not there")]
    Missing,
    #[error("the row does not hold as many events as it says")]
    Count,
    #[error("a page of the database that the row is on is damaged")]
    Database,
    #[error(transparent)]
    Row(codec::Damaged),
}

impl Unreadable {
    /// That, if SQLite says so; another error of the database is given back.
    fn of(error: rusqlite::Error) -> rusqlite::Result<Self> {
        if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) { Ok(Self::Database) } else { Err(error) }
    }
}

impl Readers {
    /// How many pages are read at once: more would only compete for the same disk.
    const CONNECTIONS: usize = 4;

    pub(super) fn new(file: PathBuf, epochs: Arc<Epochs>, removed: Removed) -> Self {
        let (turns, idle) = (Arc::new(Semaphore::new(Self::CONNECTIONS)), Mutex::new(Some(Vec::new())));
        Self { file, epochs, turns, idle, removed: RwLock::new(removed), damaged: Mutex::default() }
    }

    /// Which events are gone.
    pub(super) fn removed(&self) -> RwLockReadGuard<'_, Removed> {
        self.removed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for the writer to change.
    pub(super) fn removed_mut(&self) -> RwLockWriteGuard<'_, Removed> {
        self.removed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that holds `at`, of events up to `last`; the oldest one if `at` was trimmed, and the
    /// next one if it was lost.
    pub(super) async fn page(self: Arc<Self>, at: Offset, last: Offset) -> Result<Page, ReadError> {
        let readers = Arc::clone(&self);
        self.run(move |connection| page(connection, &readers, at, last)).await
    }

    /// The last offset that was stored before `time`, among those up to `last`.
    pub(super) async fn before(self: Arc<Self>, time: Timestamp, last: Offset) -> Result<Offset, ReadError> {
        self.run(move |connection| before(connection, time, last)).await
    }

    /// Closes the connections. A page that is being read is still given.
    pub(super) fn close(&self) {
        drop(self.idle.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// If the caller goes away, `job` still ends, and its connection is kept for the next one.
    async fn run<T, F>(self: Arc<Self>, job: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|closed| ReadError(closed.into()))?;
        let blocking = move || {
            let connection = self.take()?;
            let result = job(&connection)?; // A connection that has failed is not used again.
            self.put_back(connection);
            drop(turn);
            Ok(result)
        };
        let result = tokio::task::spawn_blocking(blocking).await;
        result.unwrap_or_else(|panic| Err(panic.into())).map_err(ReadError)
    }

    /// Tells the operator that the events from `at` on are lost; once.
    fn note(&self, at: Offset, unreadable: &Unreadable) {
        if self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(at) {
            let error: &dyn std::error::Error = unreadable;
            tracing::error!(error, offset = at, "the log is damaged; its readers pass over the events from here on");
        }
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or(Unreadable::Closed)?.pop();
        Ok(idle.map_or_else(|| schema::open_reader(&self.file), Ok)?)
    }

    fn put_back(&self, connection: Connection) {
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            idle.push(connection);
        }
    }
}

/// The page that holds `at`, or the first one behind it if `at` was lost.
///
/// Two passes over one snapshot: the lengths of the rows say where pages are cut, then the rows of one page are read. A
/// page also ends before a row that is damaged, and begins behind it.
fn page(connection: &Connection, readers: &Readers, at: Offset, last: Offset) -> Result<Page, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let oldest = snapshot
        .prepare_cached("SELECT first FROM commits ORDER BY first LIMIT 1")?
        .query_row((), |row| row.get::<_, Offset>(0))
        .optional()?;
    let Some(oldest) = oldest else { return Ok(Page::default()) };
    let mut at = at.max(oldest);
    let mut lost = false;
    while at <= last {
        let begins = (at - at % PAGE).max(oldest);
        let ends = (at - at % PAGE).saturating_add(PAGE - 1).min(last);
        for cut in cuts(&snapshot, readers, begins, ends)?.into_iter().filter(|cut| cut.end > at) {
            let page = read_cut(&snapshot, readers, &cut, at)?;
            if page.last() >= Some(at) {
                return Ok(Page { hole: page.hole || lost, ..page });
            }
            lost = true;
        }
        lost = true;
        let mut next = snapshot.prepare_cached("SELECT first FROM commits WHERE first > ?1 ORDER BY first LIMIT 1")?;
        at = match next.query_row([ends], |row| row.get(0)).optional() {
            Ok(first) => first.unwrap_or(Offset::MAX),
            Err(error) => {
                readers.note(ends + 1, &Unreadable::of(error)?);
                ends + 1
            }
        };
    }
    Ok(Page { hole: lost, ..Page::default() })
}

/// Rows that make one page unless some of them are damaged.
struct Cut {
    /// The offset of its first row.
    first: Offset,
    /// The offset of its last row.
    last: Offset,
    /// Where the next one begins, or the space for it.
    end: Offset,
    /// Rows are missing right before it.
    hole: bool,
}

/// The rows from `begins` to `ends`, cut by length and where rows are missing, so that every reader finds the same cuts.
fn cuts(snapshot: &Connection, readers: &Readers, begins: Offset, ends: Offset) -> Result<Vec<Cut>, StoreError> {
    let mut select = snapshot.prepare_cached(
        "SELECT first, count, length(events) FROM commits WHERE first BETWEEN ?1 AND ?2 ORDER BY first",
    )?;
    let mut rows = select.query([begins, ends])?;
    let mut cuts: Vec<Cut> = Vec::new();
    let mut next = begins;
    let mut bytes = 0;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) => {
                readers.note(next, &Unreadable::of(error)?);
                return Ok(cuts);
            }
        };
        let (first, count, len): (Offset, i64, usize) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let hole = first > next;
        if hole {
            readers.note(next, &Unreadable::Missing);
        }
        match cuts.last_mut() {
            Some(cut) if !hole && bytes + len <= PAGE_BYTES => {
                cut.last = first;
                bytes += len;
            }
            before => {
                if let Some(cut) = before {
                    cut.end = first;
                }
                cuts.push(Cut { first, last: first, end: ends + 1, hole });
                bytes = len;
            }
        }
        // A count that is wrong shows when the row is read.
        next = first.saturating_add(u64::try_from(count).unwrap_or(0));
    }
    if next <= ends {
        readers.note(next, &Unreadable::Missing);
    }
    Ok(cuts)
}

/// What can be read of `cut`: up to the first damaged row behind `at`, from behind the last one before that.
fn read_cut(snapshot: &Connection, readers: &Readers, cut: &Cut, at: Offset) -> Result<Page, StoreError> {
    let mut select = snapshot.prepare_cached(
        "SELECT first, count, time, events FROM commits WHERE first BETWEEN ?1 AND ?2 ORDER BY first",
    )?;
    let mut rows = select.query([cut.first, cut.last])?;
    let mut page = Page { hole: cut.hole, ..Page::default() };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(page),
            Err(error) => {
                readers.note(page.last().map_or(cut.first, |last| last + 1), &Unreadable::of(error)?);
                return Ok(page);
            }
        };
        let (first, count, time): (Offset, i64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let blob = Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?);
        let follows = page.last().is_none_or(|last| last + 1 == first);
        match decode(&blob, first, count, cut.end) {
            Ok(stored) if follows => {
                let removed = readers.removed();
                let removed = removed.of(first / PAGE);
                let stored = (first..).zip(stored);
                let place = |(at, stored)| appended(readers.epochs.cursor(at), Timestamp(time), stored, removed);
                page.events.extend(stored.map(place));
            }
            unreadable => {
                readers.note(first, &unreadable.err().unwrap_or(Unreadable::Count));
                if page.last() >= Some(at) {
                    return Ok(page);
                }
                page = Page { hole: true, ..Page::default() };
            }
        }
    }
}

/// What stands in a place, unless it is gone.
fn appended(cursor: Cursor, time: Timestamp, stored: Stored, removed: Option<&OfPage>) -> Arc<Appended> {
    let Stored { event, gone } = stored;
    Arc::new(match gone.or_else(|| removed?.why(cursor.offset)) {
        None => Appended::new(cursor, time, event),
        Some(why) => Appended::tombstone(cursor, time, codec::left(&event), why),
    })
}

/// What a row has, which is to hold `count` places, from `first` on, and must leave off before `end`.
fn decode(blob: &Bytes, first: Offset, count: i64, end: Offset) -> Result<Vec<Stored>, Unreadable> {
    let events = codec::decode(blob).map_err(Unreadable::Row)?;
    let held = events.len() as u64;
    if u64::try_from(count) != Ok(held) || held > end - first {
        return Err(Unreadable::Count);
    }
    Ok(events)
}

/// Times do not fall from row to row, so a few look-ups by offset find the place; an index by time is not needed.
fn before(connection: &Connection, time: Timestamp, last: Offset) -> Result<Offset, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut select =
        snapshot.prepare_cached("SELECT first, time FROM commits WHERE first <= ?1 ORDER BY first DESC LIMIT 1")?;
    // Events up to `known` are older than `time`; the row after `edge` is not, or there is none.
    let (mut known, mut edge) = (0, last);
    while known < edge {
        let middle = edge - (edge - known) / 2;
        let row = select.query_row([middle], |row| Ok((row.get(0)?, row.get::<_, u64>(1)?))).optional()?;
        match row {
            None => known = middle, // Trimmed, and so older than all that is kept.
            Some((_, stored)) if stored < time.0 => known = middle,
            Some((first, _)) => edge = Offset::saturating_sub(first, 1),
        }
    }
    Ok(known)
}
