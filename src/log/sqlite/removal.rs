//! What the writer takes from the midst of the log: what was asked to be deleted, what topics keep no longer, and, when there
//! is time, the room that this took.
//!
//! Each step is bounded, and publishers have their turn between two of them. A step that fails changes nothing: a deletion
//! is refused, and what is asked again finds what is left of it; room is made later.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::clock::Now;
use super::super::{AppendError, Delete, PAGE};
use super::error::Failure;
use super::rewrite::{self, Erased};
use super::schema;
use super::shared::Size;
use super::writer::Writer;
use crate::event::{Event, Gone, Offset, TopicSelector};

/// One call of `delete`, on its way to the writer, and how far it got.
pub(super) struct Deletion {
    pub(super) which: Delete,
    pub(super) answer: oneshot::Sender<Result<u64, AppendError>>,
    /// From where on to look, and how far; not known before it is begun.
    range: Option<(Offset, Offset)>,
    deleted: u64,
}

impl Deletion {
    /// What it takes of the queue.
    pub(super) const SIZE: Size = Size { events: 1, bytes: 0 };

    pub(super) fn new(which: Delete, answer: oneshot::Sender<Result<u64, AppendError>>) -> Self {
        Self { which, answer, range: None, deleted: 0 }
    }
}

/// How many pages one step erases from or makes room of at most, and how many bytes of rows it writes.
const STEP: (usize, u64) = (16, 4 << 20);

impl Writer {
    /// How often room is made while publishers come.
    pub(super) const COMPACT_EVERY: Duration = Duration::from_millis(100);
    /// How often it is tried to cut the write-ahead log off that somebody reads, a backup perhaps: each time makes publishers
    /// wait for a moment.
    const TRUNCATE_EVERY: Duration = Duration::from_secs(5);
    /// How long to wait before room is made again, when that failed: another program may hold the file for long.
    const COMPACT_AGAIN: Duration = Duration::from_secs(10);

    /// One step of each: what is to be deleted, and what room can be made.
    pub(super) fn remove(&mut self) {
        if let Some(deletion) = self.deletions.pop_front() {
            self.delete(deletion);
        }
        if self.is_compacting() && self.compacted.elapsed() >= Self::COMPACT_EVERY {
            self.compact();
        }
        if self.deletions.is_empty() {
            self.truncate();
        }
    }

    /// Whether there is room to be made, and a way to do it.
    pub(super) fn is_compacting(&self) -> bool {
        !self.compact.is_empty() && self.broken.is_none() && !self.shared.full.load(Relaxed)
    }

    /// Removes what the rules of topics keep no longer.
    pub(super) fn let_go(&mut self, Now { stored, trimming }: Now) {
        let gone = self.kept.let_go(stored, trimming);
        if gone.is_empty() {
            return;
        }
        {
            let mut removed = self.readers.removed_mut();
            gone.iter().for_each(|offset| removed.expire(*offset));
        }
        self.note_worth_compacting(gone.iter().map(|offset| offset / PAGE));
        self.shared.expired.fetch_add(gone.len() as u64, Relaxed);
        self.live.remove(gone, Gone::Expired);
    }

    fn note_worth_compacting(&mut self, pages: impl Iterator<Item = u64>) {
        let newest = (self.last + 1) / PAGE;
        let removed = self.readers.removed();
        let mut before = None;
        for page in pages.filter(|page| *page < newest) {
            if before.replace(page) != Some(page) && removed.is_worth_compacting(page) {
                self.compact.insert(page);
            }
        }
    }

    /// One step of a deletion, which is put back if there is more to it.
    fn delete(&mut self, mut deletion: Deletion) {
        let finished = self.delete_some(&mut deletion);
        match finished {
            Ok(false) => self.deletions.push_front(deletion),
            Ok(true) => {
                self.live.remove(Vec::new(), Gone::Deleted);
                self.truncate(); // What was erased is in the write-ahead log as it was before.
                self.shared.waiting.leave(Deletion::SIZE);
                let _ = deletion.answer.send(Ok(deletion.deleted));
            }
            Err(failure) => {
                self.shared.waiting.leave(Deletion::SIZE);
                self.note_failure(failure.clone());
                let _ = deletion.answer.send(Err(failure.refusal()));
            }
        }
        self.checkpoint();
    }

    /// Answers whether that was all.
    fn delete_some(&mut self, deletion: &mut Deletion) -> Result<bool, Failure> {
        if let Some(broken) = &self.broken {
            return Err(Failure::Broken(broken.clone()));
        }
        let bounds = self.live.bounds();
        let whole = match &deletion.which {
            Delete::Topic(_) => Some((bounds.first, bounds.last)),
            Delete::Event(cursor) if self.epochs.cursor(cursor.offset) != *cursor => None,
            // With it is written what has expired before it: see below.
            Delete::Event(cursor) if self.kept.is_needed() => Some((bounds.first, cursor.offset)),
            Delete::Event(cursor) => Some((cursor.offset, cursor.offset)),
        };
        let Some((mut from, upto)) = deletion.range.or(whole) else { return Ok(true) };
        let now = self.now().trimming;
        let readers = Arc::clone(&self.readers);
        let mut pages = Vec::new();
        let mut bytes = 0;
        {
            let removed = readers.removed();
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            while pages.len() < STEP.0 && bytes < STEP.1 {
                from = from.max(bounds.first);
                let next = match &deletion.which {
                    Delete::Topic(topic) => self.known.index().next_on(&[TopicSelector::Exact(topic.clone())], from),
                    Delete::Event(cursor) => from.max(cursor.offset),
                };
                // Of a topic that has fewer events by then, more would be kept when the log is opened anew: what a rule has
                // let go must not come back, so rows say that it is gone before they say it of what is deleted.
                let unwritten = if self.kept.is_needed() { removed.next_unwritten(from) } else { Offset::MAX };
                from = next.min(unwritten);
                if from > upto.min(bounds.last) {
                    break;
                }
                let page = from / PAGE;
                let has_expired = |at| removed.of(page).and_then(|of| of.why(at)) == Some(Gone::Expired);
                let which = |at: Offset, event: &Event| match &deletion.which {
                    Delete::Topic(topic) => has_expired(at) || at <= upto && event.topics.contains(topic),
                    Delete::Event(cursor) => has_expired(at) || at == cursor.offset,
                };
                let erased = rewrite::erase(&transaction, page, &removed, &self.keys, now, which)?;
                bytes += erased.bytes;
                pages.push((page, erased));
                from = (page + 1) * PAGE;
            }
            transaction.commit()?;
        }
        self.ahead_pages += bytes / schema::PAGE_SIZE + 2 * pages.len() as u64;
        deletion.deleted += self.note_erased(&pages);
        deletion.range = Some((from, upto));
        Ok(from > upto.min(bounds.last))
    }

    /// Has everybody know what was erased, and answers how many events that were.
    fn note_erased(&mut self, pages: &[(u64, Erased)]) -> u64 {
        let mut offsets = Vec::new();
        {
            let mut removed = self.readers.removed_mut();
            for (_, erased) in pages {
                erased.expired.iter().for_each(|offset| removed.erase(*offset, Gone::Expired));
                erased.events.iter().for_each(|(offset, _)| removed.erase(*offset, Gone::Deleted));
            }
        }
        for (offset, event) in pages.iter().flat_map(|(_, erased)| &erased.events) {
            self.kept.forget(event.topic(), *offset);
            offsets.push(*offset);
        }
        self.truncate |= pages.iter().any(|(_, erased)| erased.bytes > 0);
        let deleted = offsets.len() as u64;
        self.shared.deleted.fetch_add(deleted, Relaxed);
        if deleted > 0 {
            self.live.remove(offsets, Gone::Deleted);
        }
        deleted
    }

    /// Writes a few pages anew that are worth it.
    fn compact(&mut self) {
        self.compacted = Instant::now();
        if let Err(failure) = self.compact_some() {
            self.compacted += Self::COMPACT_AGAIN;
            self.note_failure(failure);
        }
        self.checkpoint();
    }

    fn compact_some(&mut self) -> Result<(), Failure> {
        let now = self.now().trimming;
        let readers = Arc::clone(&self.readers);
        let mut pages = Vec::new();
        let mut bytes = 0;
        {
            let removed = readers.removed();
            // What stays of a page gets another place, and may be deleted one day: nothing of it stays where it was.
            let zeroing = Zeroing::begin(&self.connection)?;
            let transaction = zeroing.unchecked_transaction()?;
            for &page in self.compact.iter().take(STEP.0) {
                let compacted = rewrite::compact(&transaction, page, &removed, &self.keys, now)?;
                bytes += compacted.bytes;
                pages.push((page, compacted));
                if bytes > STEP.1 {
                    break;
                }
            }
            transaction.commit()?;
        }
        self.ahead_pages += 2 * bytes / schema::PAGE_SIZE + 4 * pages.len() as u64;
        self.shared.compacted.fetch_add(pages.len() as u64, Relaxed);
        let mut removed = readers.removed_mut();
        for (page, compacted) in pages {
            removed.written(page, compacted.gone, compacted.outlived);
            self.compact.remove(&page);
        }
        Ok(())
    }

    /// Moves the write-ahead log into the file and cuts it off, so that nothing that was erased is left in it. If somebody
    /// reads for long, that is done later.
    fn truncate(&mut self) {
        let too_soon = self.truncate_busy && self.truncated.elapsed() < Self::TRUNCATE_EVERY;
        if !self.truncate || too_soon || self.broken.is_some() {
            return;
        }
        self.truncated = Instant::now();
        let cut = || -> rusqlite::Result<bool> {
            self.connection.busy_timeout(Self::READER_PATIENCE)?;
            let busy: i64 = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
            self.connection.busy_timeout(schema::LOCK_PATIENCE)?;
            Ok(busy == 0)
        };
        match cut() {
            Ok(done) => {
                (self.truncate, self.truncate_busy) = (!done, !done);
                self.ahead_pages = if done { 0 } else { self.ahead_pages };
            }
            Err(error) => self.note_failure(error.into()),
        }
    }
}

/// A connection that zeroes pages as they become free, for as long as this lives.
struct Zeroing<'a>(&'a Connection);

impl<'a> Zeroing<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Self> {
        schema::zero_free_pages(connection, true)?;
        Ok(Self(connection))
    }
}

impl Deref for Zeroing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Zeroing<'_> {
    fn drop(&mut self) {
        if let Err(error) = schema::zero_free_pages(self.0, false) {
            tracing::warn!(error = &error as &dyn std::error::Error, "free pages are zeroed from now on");
        }
    }
}
