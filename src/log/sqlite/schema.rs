//! The tables, and how their file is opened.
//!
//! ```text
//! commits: the events of one group commit, a row each; split so that no row crosses a multiple of PAGE offsets
//!          or holds more than PAGE_BYTES, unless a single event is larger
//!   first   offset of its first event, and the row's own key: new rows go to the right edge of the tree,
//!           old ones leave from the left, and no page between them is touched           8 bytes
//!   count   how many events                                                             1–2 bytes
//!   time    when they were stored, in milliseconds since 1970                           6 bytes
//!   keys    how many of them carry a publisher's key, those of the public in the upper
//!           bits (see `keyed`), so that opening the log reads only the rows it needs
//!           for recognising repeats                                                     0–4 bytes
//!   events  the events (see `codec`); last, so that the other columns are read without it
//!
//! pages: what is known of a page of PAGE offsets once its last one is stored; written in that commit, so at the right
//!        edge as well. Of a page without a row the same is found in its commits                4 bytes an event and topic, at most
//!   page    its number: its offsets divided by PAGE
//!   gone    how many of its events were removed; the only thing here that is ever changed
//!   topics  sorted hashes (see `log::index`) of all topics that its events were on, four bytes each
//!
//! trims: how far each topic was trimmed; a row in each transaction that trims, with the topics that it concerns. Now and
//!        then one row with all of them takes the place of the others
//!   first   offset of the oldest event after it
//!   marks   below which offset nothing is known any more, then for each its last offset, the last that was not
//!           private if that is another, and its name (see `places`)
//!
//! epochs: the runs of the log, oldest first                                             ~20 bytes a start
//!   run     rising number
//!   name    the epoch's eight characters
//!   first   offset at which it begins: the newest offset at that start, plus one
//!
//! emptied: at most one row, written only when the last event has expired               ~15 bytes
//!   last, time   the newest offset and time there were, as then no row of `commits` tells them
//!
//! expired_keys: what recognises repeats of events that are gone, for as long as their keys are remembered;
//!               empty unless retention takes events of the last ten minutes              ~40 bytes a key
//!   offset, time   where the event was, and when it was stored
//!   key, content   a digest of its key, and one of what a repeat must share with it
//!
//! expired_public_keys: the same for events that were published without a key of the gateway
//! ```
//!
//! There is no index by topic or key: it would be written at random places, which costs far more than the events
//! themselves. Offsets of a row's events follow from `first`, and keys are kept in memory.
//!
//! An event that is deleted is overwritten where it stands, in a row that stays as long as it was: so nothing moves, and no
//! copy of it stays behind. What retention by topic lets go is made room of later, page by page (see `rewrite`).
//!
//! Format 1 had neither `pages` nor `trims`, and the key itself in `expired_keys`; it is made into format 2 when it is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::super::keys::digest;
use super::{OpenError, places};
use crate::event::Key;

/// "Enck", as SQLite and `file(1)` see it.
const APPLICATION_ID: i64 = 0x456e_636b;

/// Rises with every change that an earlier version could not read.
const FORMAT: i64 = 2;

/// Bytes of a database page. A commit writes at least two or three of them, however small it is. Measured with 100-byte
/// events on three topics at full retention: with pages of 16 KiB, 64 publishers store a quarter to a half fewer events
/// a second, and batches of 512 gain nothing that shows.
pub(super) const PAGE_SIZE: u64 = 4096;

/// How long to wait for a lock that another program (a shell, a backup) holds on the file.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE commits (
        first INTEGER PRIMARY KEY,
        count INTEGER NOT NULL,
        time INTEGER NOT NULL,
        keys INTEGER NOT NULL,
        events BLOB NOT NULL
    ) STRICT;
    CREATE TABLE epochs (
        run INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        first INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE emptied (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        last INTEGER NOT NULL,
        time INTEGER NOT NULL
    ) STRICT;
";

/// Those that format 1 had not, or not like this.
const TABLES_OF_2: &str = "
    CREATE TABLE pages (
        page INTEGER PRIMARY KEY,
        gone INTEGER NOT NULL,
        topics BLOB NOT NULL
    ) STRICT;
    CREATE TABLE trims (
        first INTEGER PRIMARY KEY,
        marks BLOB NOT NULL
    ) STRICT;
    CREATE TABLE expired_keys (
        offset INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        key BLOB NOT NULL,
        content BLOB NOT NULL
    ) STRICT;
";

/// That of the public's keys, which the first databases of format 2 had not.
const PUBLIC_KEYS: &str = "
    CREATE TABLE IF NOT EXISTS expired_public_keys (
        offset INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        key BLOB NOT NULL,
        content BLOB NOT NULL
    ) STRICT;
";

/// Opens the file for writing, or makes it. Every commit on this connection is synced.
pub(super) fn open(file: &Path, write_ahead_log: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::of_sqlite(file, error);
    let len = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if len(file) == 0 && len(write_ahead_log) > 0 {
        // SQLite would take the database for a new one and remove what is left of the old one.
        return Err(OpenError::Damaged {
            file: file.to_owned(),
            what: "its write-ahead log is there, but the file itself is not",
            source: None,
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    connection.busy_timeout(LOCK_PATIENCE).map_err(failed)?;
    match header(&connection).map_err(failed)? {
        Header { application: 0, format: 0, tables: 0 } => create(&mut connection).map_err(failed)?,
        Header { application: APPLICATION_ID, format: 1 | FORMAT, .. } => {}
        Header { application: APPLICATION_ID, format, .. } if format > FORMAT => {
            return Err(OpenError::Newer { file: file.to_owned(), found: format, known: FORMAT });
        }
        _ => return Err(OpenError::Foreign { file: file.to_owned(), source: None }),
    }
    configure(&connection).map_err(failed)?;
    if header(&connection).map_err(failed)?.format == 1 {
        upgrade(&mut connection).map_err(failed)?;
    }
    connection.execute_batch(PUBLIC_KEYS).map_err(failed)?;
    Ok(connection)
}

/// Opens the file once more, for reading pages.
pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    // A page of events is read once and then shared above; only the inner pages of the tree are worth keeping.
    connection.pragma_update(None, "cache_size", -1024)?;
    Ok(connection)
}

/// Writes what is there already, to learn whether the disk takes a page.
pub(super) fn write_something(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", FORMAT)
}

/// What a file says of itself.
struct Header {
    application: i64,
    format: i64,
    tables: i64,
}

fn header(connection: &Connection) -> rusqlite::Result<Header> {
    let number = |sql| connection.query_row(sql, (), |row| row.get(0));
    Ok(Header {
        application: number("PRAGMA application_id")?,
        format: number("PRAGMA user_version")?,
        tables: number("SELECT count(*) FROM sqlite_schema")?,
    })
}

/// Writes the tables in one transaction, before the write-ahead log exists: so the file alone always says what it is.
fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(TABLES_OF_2)?;
    transaction.execute_batch(PUBLIC_KEYS)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// Makes format 1 into format 2, in one transaction. Events stay as they are; of what was trimmed before, nothing is known.
fn upgrade(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("ALTER TABLE expired_keys RENAME TO keys_of_1")?;
    transaction.execute_batch(TABLES_OF_2)?;
    {
        let mut select = transaction.prepare("SELECT offset, time, key, content FROM keys_of_1 ORDER BY offset")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let Ok(key) = Key::parse(row.get_ref(2)?.as_str()?) else { continue }; // No key that can be used again.
            transaction.execute(
                "INSERT INTO expired_keys (offset, time, key, content) VALUES (?1, ?2, ?3, ?4)",
                params![row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, digest(&key), row.get::<_, Vec<u8>>(3)?],
            )?;
        }
    }
    transaction.execute_batch("DROP TABLE keys_of_1")?;
    let first = "SELECT coalesce((SELECT min(first) FROM commits), (SELECT last + 1 FROM emptied), 1)";
    let first: u64 = transaction.query_row(first, (), |row| row.get(0))?;
    places::write_marks(&transaction, first, first.saturating_sub(1), [])?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    tracing::info!("the log was written by an earlier version; it has been made into format {FORMAT}");
    Ok(())
}

/// Whether rows that are written anew may leave what they held in the free pages of the file. Zeroing those costs as much
/// as writing them, so it is done only where events stay that may be deleted one day; within pages it is always done.
pub(super) fn zero_free_pages(connection: &Connection, zero: bool) -> rusqlite::Result<()> {
    let value = if zero { "ON" } else { "FAST" };
    connection.query_row(&format!("PRAGMA secure_delete = {value}"), (), |_| Ok(()))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        let why = "the file system offers no shared memory, which the write-ahead log needs".to_owned();
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(why),
        ));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    zero_free_pages(connection, false)?;
    // The writer moves the write-ahead log into the file by itself, after the publishers have their answers.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A write-ahead log that once grew larger (a reader held it, a huge batch) gives its room back.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // A whole group commit with what it trims, so that no page is written twice in one transaction.
    connection.pragma_update(None, "cache_size", -16 * 1024)
}

/// Refuses a file that is no log, or one of a later version.
pub(super) fn known(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    match header(connection).map_err(|error| OpenError::of_sqlite(file, error))? {
        Header { application: APPLICATION_ID, format, .. } if format <= FORMAT => Ok(()),
        Header { application: APPLICATION_ID, format, .. } => {
            Err(OpenError::Newer { file: file.to_owned(), found: format, known: FORMAT })
        }
        _ => Err(OpenError::Foreign { file: file.to_owned(), source: None }),
    }
}
