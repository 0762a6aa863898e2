//! Reading pages back, beside the writer.
//!
//! No read transaction outlives one page: a longer one would keep the write-ahead log from beginning anew.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::Semaphore;

use super::super::{Epochs, PAGE, PAGE_BYTES, Page, ReadError, StoreError};
use super::{codec, schema};
use crate::event::{Appended, Offset, Timestamp};

/// A few connections that only read. Who finds all of them taken waits for a turn.
pub(super) struct Readers {
    file: PathBuf,
    epochs: Arc<Epochs>,
    turns: Arc<Semaphore>,
    /// Connections that nobody uses now; `None` once the log is closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

/// What a page cannot be made of.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("the log is closed")]
    Closed,
    #[error("events are missing from offset {0} on")]
    Hole(Offset),
    #[error("the row at offset {0} does not hold what it says")]
    Row(Offset, #[source] Option<codec::Damaged>),
}

impl Readers {
    /// How many pages are read at once: more would only compete for the same disk.
    const CONNECTIONS: usize = 4;

    pub(super) fn new(file: PathBuf, epochs: Arc<Epochs>) -> Self {
        Self { file, epochs, turns: Arc::new(Semaphore::new(Self::CONNECTIONS)), idle: Mutex::new(Some(Vec::new())) }
    }

    /// The page that holds `at`, of events up to `last`; the oldest one if `at` was trimmed.
    pub(super) async fn page(self: Arc<Self>, at: Offset, last: Offset) -> Result<Page, ReadError> {
        let epochs = Arc::clone(&self.epochs);
        self.run(move |connection| page(connection, &epochs, at, last)).await
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

/// Two passes over one snapshot: the lengths of the rows say where pages are cut, then the rows of one page are read.
fn page(connection: &Connection, epochs: &Epochs, at: Offset, last: Offset) -> Result<Page, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let oldest = snapshot
        .prepare_cached("SELECT first FROM commits ORDER BY first LIMIT 1")?
        .query_row((), |row| row.get::<_, Offset>(0))
        .optional()?;
    let Some(oldest) = oldest else { return Ok(Page::default()) };
    let at = at.max(oldest);
    if at > last {
        return Ok(Page::default());
    }
    let begins = (at - at % PAGE).max(oldest);
    let ends = (at - at % PAGE).saturating_add(PAGE - 1).min(last);
    let cut = cut(&snapshot, at, begins, ends)?;
    let mut select = snapshot.prepare_cached(
        "SELECT first, count, time, events FROM commits WHERE first BETWEEN ?1 AND ?2 ORDER BY first",
    )?;
    let mut rows = select.query([cut.first, cut.last])?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        append_row(row, epochs, &mut page)?;
    }
    Ok(page)
}

/// Rows that make one page, by the offset of their first events.
struct Cut {
    first: Offset,
    last: Offset,
}

/// The rows between `begins` and `ends` that share a page with `at`: cut by length from `begins` on, so that every reader
/// finds the same cuts.
fn cut(snapshot: &Connection, at: Offset, begins: Offset, ends: Offset) -> Result<Cut, StoreError> {
    let mut select = snapshot.prepare_cached(
        "SELECT first, count, length(events) FROM commits WHERE first BETWEEN ?1 AND ?2 ORDER BY first",
    )?;
    let mut rows = select.query([begins, ends])?;
    let mut next = begins;
    let mut bytes = 0;
    let mut cut = Cut { first: begins, last: begins };
    while let Some(row) = rows.next()? {
        let (first, count, len): (Offset, u64, usize) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if first != next {
            return Err(Unreadable::Hole(next).into());
        }
        if bytes > 0 && bytes + len > PAGE_BYTES {
            if first > at {
                return Ok(cut);
            }
            cut.first = first;
            bytes = 0;
        }
        cut.last = first;
        bytes += len;
        next = first + count;
    }
    if next <= ends { Err(Unreadable::Hole(next).into()) } else { Ok(cut) }
}

fn append_row(row: &Row<'_>, epochs: &Epochs, page: &mut Page) -> Result<(), StoreError> {
    let (first, count, time): (Offset, usize, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let blob = Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?);
    let events = codec::decode(&blob).map_err(|damaged| Unreadable::Row(first, Some(damaged)))?;
    if events.len() != count {
        return Err(Unreadable::Row(first, None).into());
    }
    page.events.extend(
        (first..).zip(events).map(|(at, event)| Arc::new(Appended::new(epochs.cursor(at), Timestamp(time), event))),
    );
    Ok(())
}

/// Times do not fall from row to row, so a few look-ups by offset find the place; an index by time is not needed.
fn before(connection: &Connection, time: Timestamp, last: Offset) -> Result<Offset, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut select = snapshot.prepare_cached(
        "SELECT first, first + count - 1, time FROM commits WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
    )?;
    // Events up to `known` are older than `time`; the row after `edge` is not, or there is none.
    let (mut known, mut edge) = (0, last);
    while known < edge {
        let middle = edge - (edge - known) / 2;
        let row = select.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, u64>(2)?))).optional()?;
        match row {
            None => known = middle, // Trimmed, and so older than all that is kept.
            Some((_, end, stored)) if stored < time.0 => known = middle.max(end).min(edge),
            Some((first, ..)) => edge = Offset::saturating_sub(first, 1),
        }
    }
    Ok(known)
}
