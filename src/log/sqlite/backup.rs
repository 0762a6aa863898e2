//! A copy of the log in one file, taken while the gateway writes on, or when it is stopped.
//!
//! The pages of the database are copied as they are, all in one read transaction: so the copy is the log as it was at one
//! moment, whatever tables it has, and a log that is opened from it knows every epoch of before. This is the one read that
//! outlives a page of events. Meanwhile the write-ahead log cannot begin anew and grows by what is published; the
//! writer waits for nobody but its usual moment ([`READER_PATIENCE`](super::writer)) each time it would like to.
//!
//! Invariants: under its final name the copy is whole, checked and synced, or it is not there; a log whose write-ahead
//! log grows too large is left alone ([`most_ahead`]).

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::super::{Bounds, Epochs, StoreError};
use super::schema::PAGE_SIZE;
use super::{OpenError, directory, recover, schema};
use crate::event::Cursor;

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// So many bytes of all are copied.
    Copying {
        /// Bytes that are.
        done: u64,
        /// All of them.
        all: u64,
    },
    /// The copy is read through, and synced.
    Checking,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The newest event in it, or the place after which an empty log begins.
    pub newest: Cursor,
    /// How many events.
    pub events: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// Why there is no backup. What stood under its name is untouched, and so is the log.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory holds no log.
    #[error("there is no log in {}; name its directory with --data", directory.display())]
    NoLog {
        /// Which directory.
        directory: PathBuf,
    },
    /// Something has the name.
    #[error("{} is there already; name another file, or replace this one with --force", file.display())]
    Exists {
        /// Which file.
        file: PathBuf,
    },
    /// The copy would lie beside the log, where it could be taken for a part of it.
    #[error("{} lies in the directory of the log; put the copy elsewhere, best on another disk", file.display())]
    Inside {
        /// Which file.
        file: PathBuf,
    },
    /// Another process makes a backup under this name.
    #[error("another process writes {} just now", file.display())]
    InUse {
        /// Which file.
        file: PathBuf,
    },
    /// The copy cannot be written.
    #[error("{} cannot be written", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What the operating system or SQLite says.
        #[source]
        source: StoreError,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Events came faster than they could be copied.
    #[error(
        "the write-ahead log of {} has grown by {} MiB meanwhile, so the copy was given up; write it to a faster disk, or at \
         a quieter time",
        directory.display(),
        grown >> 20
    )]
    TooSlow {
        /// The directory of the log.
        directory: PathBuf,
        /// By how many bytes.
        grown: u64,
    },
    /// What was copied is not a sound log.
    #[error("the copy does not hold what the log holds ({0}), so it was not kept; the log may be damaged")]
    Unsound(String),
    /// The caller had enough.
    #[error("it was stopped")]
    Stopped,
}

/// Copies the log in `directory` to `file`, which must not be there unless it may be replaced. Blocks on the disk; between
/// two steps it asks `go_on`, and tells it how far it is.
///
/// # Errors
/// See [`BackupError`].
pub fn backup(
    directory: &Path,
    file: &Path,
    replace: bool,
    mut go_on: impl FnMut(Stage) -> ControlFlow<()>,
) -> Result<Copied, BackupError> {
    if !directory::database(directory).is_file() {
        return Err(BackupError::NoLog { directory: directory.to_owned() });
    }
    may_write(directory, file, replace)?;
    let aside = Aside::open(file)?;
    let expected = copy(directory, &aside.path, &mut go_on)?;
    if go_on(Stage::Checking).is_break() {
        return Err(BackupError::Stopped);
    }
    let found = check(&aside.path)?;
    if found != expected {
        return Err(BackupError::Unsound("its newest events are others".into()));
    }
    may_write(directory, file, replace)?; // It took a while.
    let bytes = aside.keep_as(file).map_err(|error| unwritable(file, error))?;
    Ok(Copied { newest: found.newest, events: found.bounds.events(), bytes })
}

/// Refuses a name that is taken, or that lies in the directory of the log.
fn may_write(directory: &Path, file: &Path, replace: bool) -> Result<(), BackupError> {
    let parent = parent(file).canonicalize().map_err(|error| unwritable(file, error))?;
    if directory.canonicalize().is_ok_and(|directory| directory == parent) {
        return Err(BackupError::Inside { file: file.to_owned() });
    }
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_dir() => Err(unwritable(file, io::Error::from(io::ErrorKind::IsADirectory))),
        Ok(_) if !replace => Err(BackupError::Exists { file: file.to_owned() }),
        _ => Ok(()),
    }
}

fn unwritable(file: &Path, error: impl Into<StoreError>) -> BackupError {
    BackupError::File { file: file.to_owned(), source: error.into() }
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a log holds, as far as its copy is compared with it.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    bounds: Bounds,
    newest: Cursor,
    /// Of each table.
    extents: Vec<Extent>,
}

/// A table's name, and its first and last row.
type Extent = (String, Option<i64>, Option<i64>);

impl Contents {
    /// Cost: a few look-ups, however large the log is.
    fn of(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let (bounds, _) = recover::newest(connection)?;
        let mut runs = recover::runs(connection)?.unwrap_or_default().into_iter();
        let Some((epoch, first)) = runs.next() else { return Ok(None) };
        let mut epochs = Epochs::new(epoch, first);
        for (epoch, first) in runs {
            epochs.begin(epoch, first);
        }
        Ok(Some(Self { bounds, newest: epochs.cursor(bounds.last), extents: extents(connection)? }))
    }
}

/// The first and the last row of each table that has row ids, whatever it is called.
fn extents(connection: &Connection) -> rusqlite::Result<Vec<Extent>> {
    let tables = "SELECT name FROM pragma_table_list
                  WHERE schema = 'main' AND type = 'table' AND wr = 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let mut select = connection.prepare(tables)?;
    let names: Vec<String> = select.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
    let extent = |name: String| {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        // Two queries, as SQLite looks only a single minimum or maximum up; both at once would read every row.
        let sql = format!("SELECT (SELECT min(rowid) FROM {quoted}), (SELECT max(rowid) FROM {quoted})");
        connection.query_row(&sql, (), |row| Ok((name, row.get(0)?, row.get(1)?)))
    };
    names.into_iter().map(extent).collect()
}

/// How many pages are copied before anybody is asked: 4 MiB.
const PAGES_A_STEP: i32 = 1024;

/// How much the write-ahead log may grow while a log of `bytes` is copied: as much as the log itself, or a quarter of
/// a GiB. Else a slow disk for the copy would fill that of the log.
fn most_ahead(bytes: u64) -> u64 {
    bytes.max(256 << 20)
}

/// Copies every page of the log as it is now into `to`, and answers what it holds.
fn copy(
    directory: &Path,
    to: &Path,
    go_on: &mut impl FnMut(Stage) -> ControlFlow<()>,
) -> Result<Contents, BackupError> {
    let file = directory::database(directory);
    let failed = |error| BackupError::Log(OpenError::of_sqlite(&file, error));
    let source = schema::open_reader(&file).map_err(failed)?;
    schema::known(&source, &file)?;
    let mut target =
        Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .and_then(|target| {
                // A copy that is cut short is thrown away, and one that is not is synced at its end.
                target.pragma_update(None, "journal_mode", "OFF")?;
                target.pragma_update(None, "synchronous", "OFF")?;
                Ok(target)
            })
            .map_err(|error| unwritable(to, error))?;
    let snapshot = source.unchecked_transaction().map_err(failed)?;
    let contents = Contents::of(&snapshot).map_err(failed)?.ok_or_else(|| OpenError::Damaged {
        file: file.clone(),
        what: "its table of epochs cannot be read",
        source: None,
    })?;
    let ahead = || fs::metadata(directory::write_ahead_log(directory)).map_or(0, |found| found.len());
    let before = ahead();
    let pages = Backup::new(&snapshot, &mut target).map_err(failed)?;
    loop {
        // It says on which side the failure was only by its code; the log's own side was just read.
        let step = pages.step(PAGES_A_STEP).map_err(|error| unwritable(to, error))?;
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * PAGE_SIZE;
        let progress = pages.progress();
        let all = bytes(progress.pagecount);
        let stage = Stage::Copying { done: all - bytes(progress.remaining).min(all), all };
        if go_on(stage).is_break() {
            return Err(BackupError::Stopped);
        }
        let grown = ahead().saturating_sub(before);
        match step {
            StepResult::Done => break,
            _ if grown > most_ahead(all) => {
                return Err(BackupError::TooSlow { directory: directory.to_owned(), grown });
            }
            StepResult::More => {}
            // Nobody else knows the target, and nothing keeps a reader from the source.
            _ => return Err(BackupError::InUse { file: to.to_owned() }),
        }
    }
    drop(pages);
    drop(snapshot); // From here on the write-ahead log may begin anew.
    target.close().map_err(|(_, error)| unwritable(to, error))?;
    Ok(contents)
}

/// Reads the copy through, and answers what it holds.
fn check(copy: &Path) -> Result<Contents, BackupError> {
    let failed = |error: rusqlite::Error| BackupError::Unsound(error.to_string());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags).map_err(failed)?;
    // The pages say that there is a write-ahead log: then none needs shared memory, which not every file system has.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(BackupError::Unsound(verdict));
    }
    let contents = Contents::of(&connection).map_err(failed)?;
    // And from here on they say that there is none: whoever looks into the copy leaves nothing beside it.
    connection.query_row("PRAGMA journal_mode = DELETE", (), |_| Ok(())).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    contents.ok_or_else(|| BackupError::Unsound("it has no epochs".into()))
}

/// The file in which the copy grows, under another name until it is whole. Dropped before that, it is removed.
struct Aside {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Aside {
    fn open(target: &Path) -> Result<Self, BackupError> {
        let failed = |error| unwritable(target, error);
        let path = beside(target, ".new");
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600); // As private as the log's own directory.
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::InUse { file: path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let aside = Self { path, file, kept: false };
        aside.clear(); // Of one that was killed.
        aside.file.set_len(0).map_err(failed)?;
        Ok(aside)
    }

    /// Syncs the copy and gives it its name. Answers its size.
    fn keep_as(mut self, target: &Path) -> io::Result<u64> {
        self.file.sync_all()?; // Before the rename: after a power cut the name must not stand for half a copy.
        let bytes = self.file.metadata()?.len();
        fs::rename(&self.path, target)?;
        self.kept = true;
        if cfg!(unix) {
            File::open(parent(target))?.sync_all()?; // Elsewhere a directory cannot be opened as a file.
        }
        Ok(bytes)
    }

    /// Removes what SQLite keeps beside a file while it is open.
    fn clear(&self) {
        for end in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(&self.path, end)); // Most often it is not there.
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.kept {
            self.clear();
            let _ = fs::remove_file(&self.path); // What stays is taken over by the next backup of this name.
        }
    }
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::runtime::Handle;
    use tokio::task::spawn_blocking;

    use super::super::super::contract::{data, event, keyed};
    use super::super::{SqliteLog, SqliteOptions};
    use super::*;
    use crate::event::TopicSelector;
    use crate::log::{Durability, GapReason, Log, Start, Wanted};

    fn open(directory: &Path) -> SqliteLog {
        let options = SqliteOptions {
            durability: Durability::Os,
            lock_patience: Duration::from_secs(20),
            ..SqliteOptions::new(directory)
        };
        SqliteLog::open(options).expect("a log")
    }

    /// A log of about 10 MiB, so that copying it takes several steps.
    async fn large(directory: &Path) -> SqliteLog {
        let log = open(directory);
        let big = "x".repeat(100 << 10);
        for _ in 0..100 {
            log.append(vec![event(&big)]).await.expect("stored");
        }
        log
    }

    fn go_on(_: Stage) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn words(directory: &Path, file: &Path) -> String {
        backup(directory, file, false, go_on).expect_err("no copy").to_string()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_copy_of_a_live_log_is_the_log_at_one_moment() {
        let (directory, copies, restored) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
        let log = large(directory.path()).await;
        let before = log.append(vec![keyed("k", "the last one before")]).await.expect("stored")[0].cursor;
        let copy = copies.path().join("copy.db");
        let (from, to, writing, here) = (directory.path().to_owned(), copy.clone(), log.clone(), Handle::current());
        let (copied, stages, after) = spawn_blocking(move || {
            let (mut stages, mut after) = (Vec::new(), Vec::new());
            let copied = backup(&from, &to, false, |stage| {
                let receipts = here.block_on(writing.append(vec![event("meanwhile")]));
                after.push(receipts.expect("the copy is in nobody's way")[0].cursor);
                stages.push(stage);
                ControlFlow::Continue(())
            });
            (copied.expect("a copy"), stages, after)
        })
        .await
        .expect("no panic");
        assert_eq!((copied.newest, copied.events), (before, 101));
        assert_eq!(copied.bytes, fs::metadata(&copy).unwrap().len());
        assert!(stages.len() > 3 && stages.last() == Some(&Stage::Checking), "{stages:?}");
        assert_eq!(names(copies.path()), ["copy.db"], "nothing is left beside it");
        log.close().await;

        // Restored: what it holds is there, what came later is told as lost, and no cursor means two events.
        fs::copy(&copy, restored.path().join("encke.db")).expect("copied");
        let log = open(restored.path());
        let position =
            log.seek(Start::Cursor(before), Wanted::all(&[TopicSelector::everything()])).await.expect("a position");
        assert_eq!((position.after, position.missing.is_none()), (before.offset, true));
        let position =
            log.seek(Start::Cursor(after[0]), Wanted::all(&[TopicSelector::everything()])).await.expect("a position");
        assert_eq!(position.missing.map(|missing| missing.reason), Some(GapReason::Ahead));
        let again = log.append(vec![keyed("k", "the last one before")]).await.expect("a repeat")[0];
        assert_eq!((again.cursor, again.duplicate), (before, true));
        let next = log.append(vec![event("another")]).await.expect("stored")[0].cursor;
        assert_eq!(next.offset, after[0].offset);
        assert_ne!(next, after[0]);
        let page = log.read(101).await.expect("a page");
        assert_eq!(data(&page.events).last().map(String::as_str), Some("another"));
    }

    #[tokio::test]
    async fn a_log_that_was_stopped_or_killed_is_copied_too() {
        let (directory, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        open(directory.path()).close().await;
        let copied = backup(directory.path(), &copies.path().join("empty"), false, go_on).expect("a copy");
        assert_eq!((copied.newest.offset, copied.events), (0, 0));
        let log = open(directory.path());
        let newest = log.append(vec![event("a")]).await.expect("stored")[0].cursor;
        // As a killed process leaves it: the event is in the write-ahead log alone.
        let killed = TempDir::new().unwrap();
        for name in ["encke.db", "encke.db-wal"] {
            fs::copy(directory.path().join(name), killed.path().join(name)).expect("copied");
        }
        let copied = backup(killed.path(), &copies.path().join("killed"), false, go_on).expect("a copy");
        assert_eq!((copied.newest, copied.events), (newest, 1));
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_kept_unless_it_may_be_replaced() {
        let (directory, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let log = open(directory.path());
        let file = copies.path().join("copy");
        fs::write(&file, "precious").expect("written");
        assert!(words(directory.path(), &file).contains("is there already"));
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        // One that was killed has left something behind, also beside it.
        fs::write(copies.path().join("copy.new"), "half a copy").expect("written");
        fs::write(copies.path().join("copy.new-wal"), "half a copy").expect("written");
        backup(directory.path(), &file, true, go_on).expect("a copy");
        assert_eq!(names(copies.path()), ["copy"]);
        let other = File::create(copies.path().join("new.new")).expect("a file");
        other.lock().expect("a lock");
        assert!(words(directory.path(), &copies.path().join("new")).contains("another process writes"));
        log.close().await;
    }

    #[tokio::test]
    async fn what_cannot_be_copied_is_refused_and_leaves_nothing_behind() {
        let (directory, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = copies.path().join("copy");
        assert!(words(directory.path(), &file).contains("there is no log in"));
        fs::write(directory.path().join("encke.db"), "notes\n".repeat(1000)).expect("written");
        assert!(words(directory.path(), &file).contains("is not a log of Encke"));
        fs::remove_file(directory.path().join("encke.db")).expect("removed");
        let log = large(directory.path()).await;
        assert!(words(directory.path(), &directory.path().join("encke.db")).contains("the directory of the log"));
        assert!(words(directory.path(), &copies.path().join("no/copy")).contains("cannot be written"));
        assert!(words(directory.path(), copies.path()).contains("cannot be written"));
        let stopped = backup(directory.path(), &file, false, |_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(BackupError::Stopped)));
        log.close().await;
        // A page of a tree that is none: the log itself opens, as it looks at its newest pages alone.
        let database = directory.path().join("encke.db");
        let mut bytes = fs::read(&database).expect("readable");
        let page = bytes.len() / 2 / 4096 * 4096;
        bytes[page..page + 4096].fill(0xff);
        fs::write(&database, bytes).expect("written");
        assert!(words(directory.path(), &file).contains("the log may be damaged"));
        assert!(names(copies.path()).is_empty(), "{:?}", names(copies.path()));
    }
}
