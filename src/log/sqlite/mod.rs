//! The store that survives: one SQLite file in WAL mode, written by one thread and read beside it.
//!
//! `append` hands a batch to the `writer`; it comes back when the transaction that holds it is synced. Tails follow
//! [`Live`]; whoever is behind reads pages through `Readers`. The tables are drawn in `schema`, the bytes of an event
//! in `codec`. What leaves at the old end is decided in `retention`, what leaves from the midst in `removal`. Only this
//! module knows SQL.
//!
//! Invariants: an offset is never given twice, also after a crash and when every event has expired; nothing is shown
//! before it is durable; a read never sees more than [`Log::bounds`] says; what the disk gives is checked, and a row that
//! is damaged or not there is a [hole](Page::hole): it is told, never passed over in silence, and what is around it is read.
//!
//! *Deliberately absent*: an index by topic in the file (see `schema`), and giving room back to the file system: the file stays as large as
//! retention once let it grow, and its free pages are used again.

mod backup;
mod callers;
mod codec;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod keyed;
mod places;
mod reader;
mod recover;
mod removal;
mod removed;
mod retention;
mod rewrite;
mod schema;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    AppendError, Bounds, Change, Clock, Delete, Durability, Epochs, Live, Log, Page, Position, ReadError, Receipt,
    Retention, Start, Stats, Steady, Wanted, clock::Trusted, keep::Kept, known::Known, steady_clock, system_clock,
};
use crate::event::{Cursor, Event, Offset, TopicSelector};

pub use backup::{BackupError, Copied, Stage, backup};
use callers::{Answer, Caller, Desks};
pub use error::OpenError;
use reader::Readers;
use removal::Deletion;
use shared::{Shared, Size};
#[cfg(test)]
pub(super) use tests::as_killed;
use writer::{Append, Job, MarksBytes, Writer};

/// How a log is opened.
#[derive(Clone)]
pub struct SqliteOptions {
    /// Where `encke.db` lies; made if it is not there. It belongs to one process at a time.
    pub directory: PathBuf,
    /// Whether an append waits for the disk ([`Durability::Fsync`]) or only for the operating system (anything else).
    pub durability: Durability,
    /// How much is kept.
    pub retention: Retention,
    /// Where the time is read.
    pub clock: Clock,
    /// What tells whether `clock` has jumped.
    pub steady: Steady,
    /// How long to wait for a process that still has the directory.
    pub lock_patience: Duration,
    /// How many events may wait to be written; more are refused as busy.
    pub queue_events: usize,
    /// How many bytes of events may wait to be written; more are refused as busy.
    pub queue_bytes: usize,
}

impl SqliteOptions {
    /// The defaults, for a log in `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Fsync,
            retention: Retention::default(),
            clock: system_clock(),
            steady: steady_clock(),
            lock_patience: Duration::from_secs(10),
            queue_events: 8192,
            queue_bytes: 16 << 20,
        }
    }
}

/// A log in a SQLite file. Clones are handles of the same log; it closes when the last one goes, or by [`Log::close`].
#[derive(Clone)]
pub struct SqliteLog {
    inner: Arc<Inner>,
}

struct Inner {
    durability: Durability,
    most_waiting: Size,
    write_ahead_log: PathBuf,
    epochs: Arc<Epochs>,
    live: Arc<Live>,
    readers: Arc<Readers>,
    known: Arc<Known>,
    shared: Arc<Shared>,
    /// The way to the writer; gone once the log is closed. The thread ends when this has gone and all is stored.
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    /// The writer has stopped, and the directory is free.
    ended: CancellationToken,
}

impl SqliteLog {
    /// Opens the log, or makes it, and begins a new epoch. Blocks on the disk, and up to `lock_patience` on another
    /// process.
    ///
    /// # Errors
    /// See [`OpenError`]. A file is refused if SQLite finds its structure broken, if its newest events or its epochs are
    /// missing, or if events of the last ten minutes that carry keys cannot be read. Older rows are not looked at here:
    /// one that is damaged is a [hole](Page::hole) for those who read it.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        Self::open_tuned(options, |_| Ok(()))
    }

    /// As `open`; `tune` sets what tests need on the writer's connection.
    fn open_tuned(
        options: SqliteOptions,
        tune: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, OpenError> {
        let SqliteOptions { directory, durability, retention, clock, steady, lock_patience, queue_events, queue_bytes } =
            options;
        let most_waiting = Size { events: queue_events, bytes: queue_bytes };
        let durability = if durability == Durability::Fsync { durability } else { Durability::Os };
        let lock = directory::lock(&directory, lock_patience)?;
        let file = directory::database(&directory);
        let write_ahead_log = directory::write_ahead_log(&directory);
        let mut connection = schema::open(&file, &write_ahead_log)?;
        let mut kept = Kept::new(&retention.topics);
        let recover::Recovered { epochs, unwritten, bounds, time, keys, places, marks } =
            recover::recover(&mut connection, &file, clock(), &mut kept)?;
        let prepare = || {
            if durability == Durability::Os {
                connection.pragma_update(None, "synchronous", "NORMAL")?; // The new epoch was synced, if there was room.
            }
            tune(&connection)?;
            retention::used_bytes(&connection)
        };
        let newest = (bounds.events() > 0).then_some(time);
        let clock = Trusted::new(clock, steady, retention.age, newest);
        let bytes = prepare().map_err(|error| OpenError::of_sqlite(&file, error))?;

        let epochs = Arc::new(epochs);
        let live = Arc::new(Live::new(bounds));
        let shared = Arc::new(Shared::default());
        shared.bytes.store(bytes, Relaxed);
        if unwritten.is_some() {
            tracing::warn!("the disk is full; the log is read only until there is room");
            shared.full.store(true, Relaxed);
        }
        let (marks, marks_bytes) = marks;
        let known = Arc::new(Known::new(places.index, marks));
        let readers = Arc::new(Readers::new(file, Arc::clone(&epochs), places.removed));
        let ended = CancellationToken::new();
        let (queue, appends) = mpsc::channel();
        let mut writer = Writer {
            connection,
            clock,
            retention,
            epochs: Arc::clone(&epochs),
            live: Arc::clone(&live),
            readers: Arc::clone(&readers),
            shared: Arc::clone(&shared),
            keys,
            known: Arc::clone(&known),
            kept,
            deletions: VecDeque::new(),
            desks: Desks::default(),
            compact: BTreeSet::new(),
            compacted: tokio::time::Instant::now(),
            marks_bytes: MarksBytes { whole: 0, since: marks_bytes },
            truncate: false,
            truncated: tokio::time::Instant::now(),
            truncate_busy: false,
            last: bounds.last,
            time,
            unwritten,
            broken: None,
            behind: true, // Much may have expired while the log was closed.
            // Whoever was killed has left it there.
            ahead_pages: wal_bytes(&write_ahead_log) / schema::PAGE_SIZE,
            row: Vec::new(),
            directory: directory.clone(),
            seen: tokio::time::Instant::now(),
            lock,
            ended: ended.clone().drop_guard(),
        };
        // What the rules of topics had removed, and rows still show, does not come back.
        let now = writer.now();
        writer.let_go(now);
        let thread = std::thread::Builder::new().name("encke-log".to_owned());
        thread.spawn(move || writer.run(&appends)).map_err(|source| OpenError::Directory { directory, source })?;
        let queue = Mutex::new(Some(queue));
        let inner =
            Inner { durability, most_waiting, write_ahead_log, epochs, live, readers, known, shared, queue, ended };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// How long the write-ahead log is.
fn wal_bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

impl Inner {
    /// Hands a batch to the writer. Never waits: if too much waits already, the publisher is sent away.
    fn submit(&self, events: Vec<Event>) -> Result<oneshot::Receiver<Answer>, AppendError> {
        let size = Size::of(&events);
        let (caller, receipts) = Caller::here();
        self.send(Job::Append(Append { events, size, caller }), size)?;
        Ok(receipts)
    }

    fn send(&self, job: Job, size: Size) -> Result<(), AppendError> {
        let queue = self.queue();
        let Some(writer) = queue.as_ref() else { return Err(AppendError::ReadOnly(None)) };
        if !self.shared.waiting.enter(size, self.most_waiting) {
            self.shared.refused.fetch_add(1, Relaxed);
            return Err(AppendError::Busy { retry_after: error::RETRY_AFTER });
        }
        writer.send(job).map_err(|_| AppendError::ReadOnly(None))
    }

    fn queue(&self) -> MutexGuard<'_, Option<mpsc::Sender<Job>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, at: Offset) -> BoxFuture<'static, Result<Page, ReadError>> {
        let last = self.live.bounds().last;
        Box::pin(Arc::clone(&self.readers).page(at, last))
    }
}

impl Log for SqliteLog {
    fn append(&self, batch: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        Box::pin(async {
            let receipts = self.inner.submit(batch)?;
            receipts.await.unwrap_or(Err(AppendError::ReadOnly(None))) // The writer has died.
        })
    }

    fn delete(&self, which: Delete) -> BoxFuture<'_, Result<u64, AppendError>> {
        Box::pin(async {
            let (answer, deleted) = oneshot::channel();
            self.inner.send(Job::Delete(Deletion::new(which, answer)), Deletion::SIZE)?;
            deleted.await.unwrap_or(Err(AppendError::ReadOnly(None))) // The writer has died.
        })
    }

    fn has_trimmed(&self, wanted: Wanted<'_>, after: Offset, upto: Offset) -> bool {
        self.inner.known.has_trimmed(wanted, after, upto)
    }

    fn next_on(&self, topics: &[TopicSelector], from: Offset) -> Offset {
        self.inner.known.next_on(topics, from, self.inner.live.bounds())
    }

    fn previous_on(&self, topics: &[TopicSelector], upto: Offset) -> Offset {
        self.inner.known.previous_on(topics, upto, self.inner.live.bounds())
    }

    fn seek<'a>(&'a self, start: Start, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Position, ReadError>> {
        Box::pin(async move {
            let Inner { epochs, live, readers, known, .. } = &*self.inner;
            let before = match start {
                Start::Since(time) => Arc::clone(readers).before(time, live.bounds().last).await?,
                Start::Latest | Start::Earliest | Start::Cursor(_) | Start::Unreadable => 0,
            };
            let has_trimmed = |after, upto| known.has_trimmed(wanted, after, upto);
            Ok(Position::decide(start, epochs, live.bounds(), |_| before, has_trimmed))
        })
    }

    fn read(&self, at: Offset) -> BoxFuture<'_, Result<Page, ReadError>> {
        self.inner.read(at)
    }

    fn tail(&self, after: Offset) -> BoxStream<'static, Change> {
        // Weak, so that a tail does not keep the log open; it ends with the log.
        let inner = Arc::downgrade(&self.inner);
        self.inner.live.tail(after, move |at| match inner.upgrade() {
            Some(inner) => inner.read(at),
            None => Box::pin(async { Err(ReadError("the log was closed".into())) }),
        })
    }

    fn bounds(&self) -> Bounds {
        self.inner.live.bounds()
    }

    fn cursor(&self, offset: Offset) -> Cursor {
        self.inner.epochs.cursor(offset)
    }

    fn durability(&self) -> Durability {
        self.inner.durability
    }

    fn stats(&self) -> Stats {
        let Inner { shared, write_ahead_log, ended, known, readers, .. } = &*self.inner;
        let closed = self.inner.queue().is_none() || ended.is_cancelled();
        Stats {
            bytes: shared.bytes.load(Relaxed),
            wal_bytes: wal_bytes(write_ahead_log),
            commits: shared.commits.load(Relaxed),
            trimmed: shared.trimmed.load(Relaxed),
            expired: shared.expired.load(Relaxed),
            deleted: shared.deleted.load(Relaxed),
            gone: readers.removed().total(),
            compacted: shared.compacted.load(Relaxed),
            marks: known.marks().len() as u64,
            index_bytes: known.index().bytes(),
            refused: shared.refused.load(Relaxed),
            writable: !closed && !shared.broken.load(Relaxed) && !shared.full.load(Relaxed),
        }
    }

    fn is_alive(&self) -> bool {
        !self.inner.ended.is_cancelled()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            drop(self.inner.queue().take()); // The writer stores what was sent, then finds nobody left.
            self.inner.ended.cancelled().await;
        })
    }
}
