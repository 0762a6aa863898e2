//! What was published in a round, by offset, as the publishers' receipts say: the truth that readers are held to.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::support::PATIENCE;

/// Every topic of the soak. The last is closed and opened again by reloads.
pub(super) const TOPICS: [&str; 6] = ["news/a", "news/b", "quiet/1", "bulk/1", "bulk/2", GATE];
pub(super) const GATE: &str = "gate/1";

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) topics: Vec<&'static str>,
    /// What its data begins with, and no other's does.
    pub(super) number: u64,
    /// How long its data is.
    pub(super) length: usize,
}

/// The events of a round.
pub(super) struct Ledger {
    pub(super) epoch: String,
    /// The last offset before the round.
    pub(super) before: u64,
    entries: Mutex<Entries>,
    moved: Condvar,
}

#[derive(Default)]
struct Entries {
    by_place: Vec<Option<Entry>>,
    /// How many from the first on are known.
    complete: usize,
    /// What may have been deleted: whatever is on a topic up to an offset, and single offsets.
    cleared: Vec<(&'static str, u64)>,
    deleted: Vec<u64>,
    /// How far the reader has come that publishers wait for.
    walked: u64,
    /// How many publishers are not done.
    publishing: usize,
    /// Whether only those with the key may read what is behind the gate, or so it will be soon.
    closed: bool,
    /// Whether somebody has failed: then nobody waits for anything any more.
    failed: bool,
    /// The offset of the event that ends the round, and when it was published.
    end: Option<(u64, Instant)>,
}

impl Ledger {
    /// A round that begins behind this cursor.
    pub(super) fn after(cursor: &str, publishers: usize) -> Self {
        let (epoch, before) = split(cursor);
        let entries = Mutex::new(Entries { walked: before, publishing: publishers, ..Entries::default() });
        Self { epoch: epoch.to_owned(), before, entries, moved: Condvar::new() }
    }

    /// The offset of a cursor, which is one of this run of the log.
    #[track_caller]
    pub(super) fn offset(&self, cursor: &str) -> u64 {
        let (epoch, offset) = split(cursor);
        assert_eq!(epoch, self.epoch, "one run of the log has one epoch");
        offset
    }

    pub(super) fn cursor(&self, offset: u64) -> String {
        format!("{}-{offset}", self.epoch)
    }

    /// Enters an event at the cursor of its receipt; gives the offset.
    #[track_caller]
    pub(super) fn enter(&self, cursor: &str, entry: Entry) -> u64 {
        let offset = self.offset(cursor);
        let place = self.place(offset);
        let mut entries = self.entries();
        if entries.by_place.len() <= place {
            entries.by_place.resize(place + 1, None);
        }
        assert!(entries.by_place[place].is_none(), "the offset {offset} was given twice");
        entries.by_place[place] = Some(entry);
        while entries.by_place.get(entries.complete).is_some_and(Option::is_some) {
            entries.complete += 1;
        }
        drop(entries);
        self.moved.notify_all();
        offset
    }

    /// Notes that what is on a topic may be deleted from now on; [`Ledger::cleared`] says up to where.
    pub(super) fn clears(&self, topic: &'static str) {
        self.entries().cleared.push((topic, u64::MAX));
    }

    /// A deletion is over, which was asked for before the event at `upto` was published.
    pub(super) fn cleared(&self, topic: &'static str, upto: u64) {
        let mut entries = self.entries();
        let found = entries.cleared.iter_mut().find(|cleared| **cleared == (topic, u64::MAX));
        found.expect("it was announced").1 = upto;
    }

    /// Notes that one event may be deleted from now on, and gives its cursor: the newest but `back` that is known.
    pub(super) fn deletes(&self, back: usize) -> Option<String> {
        let mut entries = self.entries();
        let offset = self.before + entries.complete.checked_sub(back)? as u64;
        if offset == self.before {
            return None;
        }
        entries.deleted.push(offset);
        Some(self.cursor(offset))
    }

    /// Notes the event that ends the round.
    pub(super) fn end_at(&self, offset: u64) {
        self.entries().end = Some((offset, Instant::now()));
        self.moved.notify_all();
    }

    /// The offset of the event that ends the round, once there is one. Panics if it has been there for too long.
    #[track_caller]
    pub(super) fn end(&self, who: &dyn std::fmt::Debug) -> Option<u64> {
        let entries = self.entries();
        let (failed, end) = (entries.failed, entries.end);
        drop(entries);
        if failed {
            give_up();
        }
        let (offset, since) = end?;
        assert!(since.elapsed() < 2 * PATIENCE, "{who:?} does not come to the end of the round, {offset}");
        Some(offset)
    }

    /// Up to where everything is known.
    pub(super) fn known(&self) -> u64 {
        self.before + self.entries().complete as u64
    }

    /// Waits until so many more events are known, or all publishers are done; whether there is more to come.
    pub(super) fn wait_for_more(&self, count: u64) -> bool {
        let enough = self.known() + count;
        let entries = self.wait("the publishers to go on", |entries| {
            entries.publishing == 0 || self.before + entries.complete as u64 >= enough
        });
        entries.publishing > 0
    }

    /// Waits until the reader that is always there is at most `most` events behind: nobody could follow a flood without end.
    pub(super) fn wait_for_walker(&self, most: u64) {
        drop(self.wait("the reader that always reads", |entries| {
            entries.walked + most >= self.before + entries.complete as u64
        }));
    }

    /// Notes that the gate is closed from now on, or open.
    pub(super) fn close(&self, closed: bool) {
        self.entries().closed = closed;
        self.moved.notify_all();
    }

    pub(super) fn wait_until_open(&self) {
        drop(self.wait("the gate to be opened", |entries| !entries.closed));
    }

    /// The reader that is always there has come so far.
    pub(super) fn walked(&self, upto: u64) {
        self.entries().walked = upto;
        self.moved.notify_all();
    }

    /// A publisher is done.
    pub(super) fn published(&self) {
        self.entries().publishing -= 1;
        self.moved.notify_all();
    }

    /// Waits for as long as the publishers go on, and some time after.
    #[track_caller]
    fn wait(&self, what: &str, done: impl Fn(&Entries) -> bool) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries();
        loop {
            let begun = entries.complete;
            let still = |entries: &mut Entries| !entries.failed && !done(entries) && entries.complete == begun;
            let (now, waited) =
                self.moved.wait_timeout_while(entries, PATIENCE, still).unwrap_or_else(PoisonError::into_inner);
            entries = now;
            let known = self.before + entries.complete as u64;
            if entries.failed {
                give_up();
            }
            assert!(!waited.timed_out(), "waited in vain for {what}; everything up to {known} is known");
            if done(&entries) {
                return entries;
            }
        }
    }

    /// What was published behind `after` and up to `upto`: each offset, and whether it may have been deleted.
    ///
    /// An event may be read before its receipt is; and every offset has a receipt. So this waits for those that are missing.
    #[track_caller]
    pub(super) fn between<T>(
        &self,
        after: u64,
        upto: u64,
        mut each: impl FnMut(u64, &Entry, bool) -> Option<T>,
    ) -> Vec<T> {
        assert!(after >= self.before, "{after} is before this round, which begins behind {}", self.before);
        let entries = self.wait("a receipt", |entries| self.before + entries.complete as u64 >= upto);
        let mut found = Vec::new();
        for offset in after + 1..=upto {
            let entry = entries.by_place[self.place(offset)].as_ref().expect("everything up to there is known");
            let on = |(topic, upto): &(&str, u64)| offset <= *upto && entry.topics.contains(topic);
            let deleted = entries.deleted.contains(&offset) || entries.cleared.iter().any(on);
            found.extend(each(offset, entry, deleted));
        }
        found
    }

    fn place(&self, offset: u64) -> usize {
        usize::try_from(offset.checked_sub(self.before + 1).expect("it is of this round")).expect("a small number")
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets all others fail, too, if whoever holds it does.
    pub(super) fn alarm(&self) -> Alarm<'_> {
        Alarm(self)
    }
}

pub(super) struct Alarm<'a>(&'a Ledger);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.entries().failed = true;
            self.0.moved.notify_all();
        }
    }
}

/// Ends with whoever has failed, who has said why.
fn give_up() -> ! {
    std::panic::resume_unwind(Box::new("another has failed"))
}

/// Epoch and offset.
#[track_caller]
fn split(cursor: &str) -> (&str, u64) {
    let parts = cursor.split_once('-').and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?)));
    parts.unwrap_or_else(|| panic!("no cursor: {cursor:?}"))
}
