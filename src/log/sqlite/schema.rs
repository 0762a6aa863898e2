//! The tables, and how their file is opened.
//!
//! ```text
//! commits: the events of one group commit, a row each; split so that no row crosses a multiple of PAGE offsets
//!          or holds more than PAGE_BYTES, unless a single event is larger
//!   first   offset of its first event, and the row's own key: new rows go to the right edge of the tree,
//!           old ones leave from the left, and no page between them is touched           8 bytes
//!   count   how many events                                                             1–2 bytes
//!   time    when they were stored, in milliseconds since 1970                           6 bytes
//!   keys    how many of them carry a publisher's key, so that opening the log reads
//!           only the rows it needs for recognising repeats                              0–2 bytes
//!   events  the events (see `codec`); last, so that the other columns are read without it
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
//!   key, content   its key, and a digest of what a repeat must share with it
//! ```
//!
//! There is no index: it would be written at random places, which costs far more than the events themselves. Offsets of
//! a row's events follow from `first`, topics are looked for by whoever reads, and keys are kept in memory.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;

/// "Enck", as SQLite and `file(1)` see it.
const APPLICATION_ID: i64 = 0x456e_636b;

/// Rises with every change that an earlier version could not read.
const FORMAT: i64 = 1;

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
    CREATE TABLE expired_keys (
        offset INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        key TEXT NOT NULL,
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
        Header { application: APPLICATION_ID, format: FORMAT, .. } => {}
        Header { application: APPLICATION_ID, format, .. } if format > FORMAT => {
            return Err(OpenError::Newer { file: file.to_owned(), found: format, known: FORMAT });
        }
        _ => return Err(OpenError::Foreign { file: file.to_owned(), source: None }),
    }
    configure(&connection).map_err(failed)?;
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
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
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
