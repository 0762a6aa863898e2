//! The one thread that writes: it takes what waits, stores it in one transaction with one sync, shows it to the tails,
//! and only then answers the publishers. What is removed from the midst of the log goes in between, in slices
//! (see `removal`).
//!
//! A batch is all or nothing: if one of its keys was used for other content, only that batch is refused. If the
//! transaction fails, all of them are, and every key of theirs is free again.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::super::clock::{Now, Trusted};
use super::super::keep::Kept;
use super::super::known::Known;
use super::super::{AppendError, Epochs, Keys, Live, PAGE, PAGE_BYTES, Receipt, Repeat, Retention};
use super::callers::{Answer, Caller, Desks};
use super::error::{Broken, Failure};
use super::keyed::Keyed;
use super::recover::Run;
use super::removal::Deletion;
use super::retention::{self, Incoming, Trimmed};
use super::schema::PAGE_SIZE;
use super::shared::{Shared, Size};
use super::{Readers, codec, directory, places, schema};
use crate::event::{Appended, Event, Offset, Timestamp};

/// What the writer is asked to do.
pub(super) enum Job {
    Append(Append),
    Delete(Deletion),
}

/// One call of `append`, on its way to the writer.
pub(super) struct Append {
    pub(super) events: Vec<Event>,
    pub(super) size: Size,
    pub(super) caller: Caller,
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) clock: Trusted,
    pub(super) retention: Retention,
    pub(super) epochs: Arc<Epochs>,
    pub(super) live: Arc<Live>,
    pub(super) readers: Arc<Readers>,
    pub(super) shared: Arc<Shared>,
    pub(super) keys: Keys,
    /// What handles know of places; which events are gone is known to the readers.
    pub(super) known: Arc<Known>,
    /// The events of topics that have rules.
    pub(super) kept: Kept,
    /// What is to be deleted, in the order in which that was asked.
    pub(super) deletions: VecDeque<Deletion>,
    /// By whom publishers are told.
    pub(super) desks: Desks,
    /// Pages that are worth writing anew, and when that was last done.
    pub(super) compact: BTreeSet<u64>,
    pub(super) compacted: Instant,
    /// How many bytes say how far topics were trimmed, beyond the last row that says it of all of them.
    pub(super) marks_bytes: MarksBytes,
    /// What was deleted may still be in the write-ahead log.
    pub(super) truncate: bool,
    /// When it was last tried to change that.
    pub(super) truncated: Instant,
    /// Somebody read it then.
    pub(super) truncate_busy: bool,
    /// The newest offset that is stored.
    pub(super) last: Offset,
    /// When it was stored; what is stored next gets no earlier time.
    pub(super) time: Timestamp,
    /// The run of this opening, until there is room for it on the disk.
    pub(super) unwritten: Option<Run>,
    /// Set by the first write that failed for good.
    pub(super) broken: Option<Broken>,
    /// Retention has more to take away than one step may.
    pub(super) behind: bool,
    /// About how many pages of the write-ahead log are not in the file yet.
    pub(super) ahead_pages: u64,
    /// Where the lock lies.
    pub(super) directory: PathBuf,
    /// When it was last seen that it is still there.
    pub(super) seen: Instant,
    /// The row that is being encoded; kept for its capacity.
    pub(super) row: Vec<u8>,
    /// The last two fields, in this order: whoever waits for the end finds the directory free.
    pub(super) lock: File,
    pub(super) ended: DropGuard,
}

/// How much is written of how far topics were trimmed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MarksBytes {
    /// What the row of all of them takes.
    pub(super) whole: u64,
    /// What the rows since then take.
    pub(super) since: u64,
}

impl MarksBytes {
    /// Whether the rows since then are worth one that takes their place.
    fn is_much(self) -> bool {
        self.since > self.whole.max(256 << 10)
    }
}

/// What one transaction is to store, and what the publishers are told after it.
struct Staged {
    events: Vec<Arc<Appended>>,
    answers: Vec<(Caller, Answer)>,
}

impl Writer {
    /// How long the thread sleeps when nothing comes; then it looks whether events have grown too old.
    const WAKE: Duration = Duration::from_secs(1);
    /// When a transaction has this much, no further batch joins it; the last one may be larger than what was left.
    const GROUP: Size = Size { events: 4096, bytes: 4 << 20 };
    /// After about how many pages (8 MiB) the write-ahead log is moved into the file. More would make that pause longer, fewer
    /// would write pages of the tree that soon change again.
    const CHECKPOINT_PAGES: u64 = (8 << 20) / PAGE_SIZE;
    /// How long that may wait for readers to leave the write-ahead log, so that it begins anew instead of growing. Ours
    /// leave after a page; another program may stay.
    pub(super) const READER_PATIENCE: Duration = Duration::from_millis(100);

    /// Runs until every sender of `queue` is gone, and stores, or deletes, all that was sent.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            match queue.recv_timeout(self.patience()) {
                Ok(job) => {
                    let group = self.gather(job, queue);
                    if !group.is_empty() {
                        self.commit(group);
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.deletions.is_empty() => self.trim(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.remove();
        }
        while !self.deletions.is_empty() {
            self.remove();
        }
        self.finish();
    }

    /// How long to wait for publishers before something else is done.
    fn patience(&self) -> Duration {
        if self.behind || !self.deletions.is_empty() {
            return Duration::ZERO;
        }
        if self.is_compacting() { Self::COMPACT_EVERY.saturating_sub(self.compacted.elapsed()) } else { Self::WAKE }
    }

    /// What waits now, up to [`Self::GROUP`]. Deletions are put aside, and go on counting as waiting until they are answered.
    fn gather(&mut self, first: Job, queue: &Receiver<Job>) -> Vec<Append> {
        let (mut size, mut taken) = (Size::default(), Size::default());
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append(append) => {
                    size += append.size;
                    taken += append.size;
                    group.push(append);
                }
                Job::Delete(deletion) => {
                    size += Deletion::SIZE;
                    self.deletions.push_back(deletion);
                }
            }
            next = if size.fits(Self::GROUP) { queue.try_recv().ok() } else { None };
        }
        self.shared.waiting.leave(taken);
        group
    }

    fn commit(&mut self, group: Vec<Append>) {
        self.look_after_directory();
        let looked = self.now();
        let Now { stored: now, trimming } = looked;
        self.keys.expire(now);
        self.let_go(looked); // Before the whole log is trimmed: what is gone counts for hardly anything.
        let mut staged = Staged { events: Vec::with_capacity(group.len()), answers: Vec::with_capacity(group.len()) };
        for Append { events, caller, .. } in group {
            let receipts = self.stage(events, now, &mut staged.events);
            staged.answers.push((caller, receipts));
        }
        match self.store(&staged.events, now, trimming) {
            Ok(trimmed) => self.publish(staged, trimmed),
            Err(failure) => self.refuse(staged, &failure),
        }
        self.checkpoint();
    }

    /// Gives the events of one batch their places behind those in `stored`, or none of them.
    fn stage(&mut self, batch: Vec<Event>, now: Timestamp, stored: &mut Vec<Arc<Appended>>) -> Answer {
        let before = stored.len();
        let mut receipts = Vec::with_capacity(batch.len());
        for (index, event) in batch.into_iter().enumerate() {
            let (offset, duplicate) = match self.keys.check(&event) {
                Repeat::New => (self.last + 1 + stored.len() as u64, false),
                Repeat::Same(offset) => (offset, true),
                Repeat::Other => {
                    self.take_back(stored, before);
                    return Err(AppendError::KeyReused { index });
                }
            };
            let cursor = self.epochs.cursor(offset);
            receipts.push(Receipt { cursor, duplicate });
            if !duplicate {
                self.keys.remember(&event, offset, now);
                stored.push(Arc::new(Appended::new(cursor, now, event)));
            }
        }
        Ok(receipts)
    }

    /// Drops all but the first `keep` events again, newest first, and frees their keys.
    fn take_back(&mut self, stored: &mut Vec<Arc<Appended>>, keep: usize) {
        for event in stored.drain(keep..).rev() {
            self.keys.forget(&event.event, event.cursor.offset);
        }
    }

    /// Stores `events` and takes away what is too much, in one transaction. Nothing of the log's own state has changed
    /// if this fails.
    fn store(
        &mut self,
        events: &[Arc<Appended>],
        now: Timestamp,
        trimming: Timestamp,
    ) -> Result<Option<Trimmed>, Failure> {
        if let Some(broken) = &self.broken {
            return if events.is_empty() { Ok(None) } else { Err(Failure::Broken(broken.clone())) };
        }
        let readers = Arc::clone(&self.readers);
        let removed = readers.removed();
        let incoming = Incoming {
            first: self.live.bounds().first,
            removed: &removed,
            last: self.last + events.len() as u64,
            events: events.len() as u64,
            bytes: events.iter().map(|event| codec::encoded_len(&event.event) as u64).sum(),
            expired_keys: self.keys.gone_bytes(),
        };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(run) = &self.unwritten {
            run.write(&transaction)?;
        }
        // First, so that the room of the old rows is there for the new ones.
        let mut trimmed = retention::trim(&transaction, &self.retention, trimming, &incoming)?;
        let mut marks_bytes = self.marks_bytes;
        if let Some(trimmed) = &mut trimmed {
            retention::keep_keys(&transaction, &self.keys, incoming.first..trimmed.first)?;
            marks_bytes = mark(&transaction, trimmed, &self.known, marks_bytes)?;
        }
        let mut pages = insert(&transaction, events, now, &mut self.row)?;
        let closed = self.known.index().closing(events);
        places::write_pages(&transaction, &removed, &closed)?;
        if trimmed.as_ref().is_some_and(|trimmed| trimmed.first > incoming.last) {
            retention::note_emptied(&transaction, incoming.last, self.time)?;
        }
        let bytes = retention::used_bytes(&transaction)?;
        transaction.commit()?; // The sync.
        pages += 2 * closed.len() as u64 + u64::from(trimmed.is_some()) * (1 + marks_bytes.since / PAGE_SIZE);
        self.compact.extend(closed.iter().map(|(page, _)| *page).filter(|page| removed.is_worth_compacting(*page)));
        self.marks_bytes = marks_bytes;
        self.unwritten = None;
        self.last = incoming.last;
        self.ahead_pages += pages;
        self.shared.bytes.store(bytes, Relaxed);
        Ok(trimmed)
    }

    /// The commit is durable: shows it to the tails, then answers.
    fn publish(&mut self, staged: Staged, trimmed: Option<Trimmed>) {
        if !staged.events.is_empty() {
            self.shared.full.store(false, Relaxed);
            self.shared.commits.fetch_add(1, Relaxed);
            self.known.index_mut().add(&staged.events); // Before anybody can come to look for them.
            for event in &staged.events {
                self.kept.add(&event.event, event.cursor.offset, event.time);
            }
            self.live.commit(staged.events.into());
        }
        self.note_trimmed(trimmed);
        self.desks.tell(staged.answers);
    }

    fn refuse(&mut self, mut staged: Staged, failure: &Failure) {
        self.take_back(&mut staged.events, 0);
        self.note_failure(failure.clone()); // Before the answers: whoever is refused finds readiness told of it.
        self.desks.tell(staged.answers.into_iter().map(|(caller, _)| (caller, Err(failure.refusal()))).collect());
    }

    /// Fails the log if its directory was removed or replaced: what is written would be lost, though it were synced.
    fn look_after_directory(&mut self) {
        if self.broken.is_some() || self.seen.elapsed() < Self::WAKE {
            return;
        }
        self.seen = Instant::now();
        if !directory::is_there(&self.directory, &self.lock) {
            let gone = std::io::Error::new(std::io::ErrorKind::NotFound, "the data directory was removed or replaced");
            self.fail(Broken::of(gone));
        }
    }

    /// After a full disk: tries whether there is room again, so that publishers may be sent here again.
    fn try_again(&mut self) {
        if self.shared.full.load(Relaxed) && schema::write_something(&self.connection).is_ok() {
            self.shared.full.store(false, Relaxed);
        }
    }

    /// One step of retention when nobody publishes.
    fn trim(&mut self) {
        self.look_after_directory();
        self.try_again();
        let now = self.now();
        self.let_go(now);
        match self.store(&[], now.stored, now.trimming) {
            Ok(trimmed) => self.note_trimmed(trimmed),
            Err(failure) => self.note_failure(failure),
        }
        self.checkpoint();
    }

    fn note_trimmed(&mut self, trimmed: Option<Trimmed>) {
        self.behind = trimmed.as_ref().is_some_and(|trimmed| trimmed.more);
        if let Some(Trimmed { first, gone, topics, .. }) = trimmed {
            self.shared.trimmed.fetch_add((first - self.live.bounds().first).saturating_sub(gone), Relaxed);
            self.live.trim(first);
            self.keys.trimmed(first);
            self.known.index_mut().trim(first);
            self.readers.removed_mut().trim(first, gone);
            topics.topics().for_each(|topic| self.kept.trim(topic.as_str(), first));
            self.compact = self.compact.split_off(&(first / PAGE));
        }
    }

    pub(super) fn note_failure(&mut self, failure: Failure) {
        self.behind = false; // Trying at once again would not help.
        match failure {
            Failure::Full => {
                if !self.shared.full.swap(true, Relaxed) {
                    tracing::warn!("the disk is full; events are refused until there is room");
                }
            }
            Failure::Locked => {
                tracing::warn!("another program has locked the log; events are refused until it is done")
            }
            Failure::Broken(broken) => self.fail(broken),
        }
    }

    /// From here on nothing is written any more.
    fn fail(&mut self, broken: Broken) {
        if self.broken.is_none() {
            let error: &dyn std::error::Error = &broken;
            tracing::error!(error, "the log cannot be written any more; it is read only until a restart");
            self.shared.broken.store(true, Relaxed);
            self.broken = Some(broken);
        }
    }

    /// Moves the write-ahead log into the file once it is long enough, while no publisher waits for an answer.
    ///
    /// A full disk is no harm here: what is in the write-ahead log is stored.
    pub(super) fn checkpoint(&mut self) {
        if self.ahead_pages < Self::CHECKPOINT_PAGES || self.broken.is_some() {
            return;
        }
        self.ahead_pages = 0;
        let restart = || {
            self.connection.busy_timeout(Self::READER_PATIENCE)?;
            self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", (), |_| Ok(()))?;
            self.connection.busy_timeout(schema::LOCK_PATIENCE)
        };
        if let Err(error) = restart() {
            self.note_failure(error.into());
        }
    }

    /// The clock, but stored time is never earlier than what is stored.
    pub(super) fn now(&mut self) -> Now {
        let now = self.clock.look();
        self.time = self.time.max(now.stored);
        Now { stored: self.time, ..now }
    }

    /// Leaves one file behind that holds everything; and on a full disk those without which the next process could not even
    /// read it, as there would be no room to make them.
    fn finish(self) {
        self.readers.close();
        if self.broken.is_none()
            && let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the write-ahead log stays until the next start");
        }
        // Read-only, and the last to close, so that it leaves the shared memory and the empty write-ahead log behind.
        let keeper = self.shared.full.load(Relaxed).then(|| schema::open_reader(&directory::database(&self.directory)));
        if let Some(Ok(keeper)) = &keeper {
            let _ = keeper.query_row("SELECT count(*) FROM epochs", (), |_| Ok(())); // Only then they are open.
        }
        let Self { connection, lock, ended, .. } = self;
        drop(connection);
        drop(keeper);
        drop(lock);
        drop(ended);
    }
}

/// Writes down how far the topics of what is trimmed were trimmed, and lets readers know it before it is so.
fn mark(
    transaction: &Connection,
    trimmed: &mut Trimmed,
    known: &Known,
    bytes: MarksBytes,
) -> rusqlite::Result<MarksBytes> {
    let fresh = trimmed.topics.marks();
    let mut marks = known.marks_mut();
    marks.raise_floor(trimmed.topics.unknown);
    marks.add(fresh.iter().cloned(), trimmed.first - 1);
    if bytes.is_much() {
        let whole = places::write_all_marks(transaction, trimmed.first, &marks)?;
        return Ok(MarksBytes { whole, since: 0 });
    }
    let fresh = fresh.iter().map(|(topic, mark)| (topic, *mark));
    let since = places::write_marks(transaction, trimmed.first, marks.floor(), fresh)?;
    Ok(MarksBytes { since: bytes.since + since, ..bytes })
}

/// Writes `events` as rows, and answers how many pages that took, about.
fn insert(
    transaction: &Connection,
    mut events: &[Arc<Appended>],
    now: Timestamp,
    row: &mut Vec<u8>,
) -> rusqlite::Result<u64> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO commits (first, count, time, keys, events) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut pages = 0;
    while let Some(first) = events.first() {
        codec::begin(row);
        let count = fill(row, events);
        let (these, rest) = events.split_at(count);
        let keyed = Keyed::of(these.iter().map(|event| &event.event));
        insert.execute(params![first.cursor.offset, count, now.0, keyed.number(), &*row])?;
        pages += 2 + row.len() as u64 / PAGE_SIZE;
        events = rest;
    }
    Ok(pages)
}

/// Encodes as many of `events` as one row holds, at least one, and answers how many.
fn fill(row: &mut Vec<u8>, events: &[Arc<Appended>]) -> usize {
    let page = events[0].cursor.offset / PAGE;
    for (count, event) in events.iter().enumerate() {
        let fits = event.cursor.offset / PAGE == page && row.len() + codec::encoded_len(&event.event) <= PAGE_BYTES;
        if count > 0 && !fits {
            return count;
        }
        codec::encode(&event.event, row);
    }
    events.len()
}
