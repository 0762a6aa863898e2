//! The store that forgets with its process: for tests, for `--store memory`, and as the plainest reading of the contract.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use smallvec::SmallVec;

use super::{
    AppendError, Bounds, Change, Clock, Commit, Delete, Durability, Epochs, Keys, Live, Log, PAGE, PAGE_BYTES, Page,
    Position, ReadError, Receipt, Repeat, Retention, Start, Stats, Steady, Wanted,
    clock::{Now, Trusted},
    counted,
    keep::Kept,
    known::Known,
    marks::Trimming,
    new_epoch, steady_clock,
};
use crate::event::{Appended, Cursor, Event, Gone, Offset, Timestamp, Topic, TopicSelector};

/// A log in memory.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

struct Inner {
    retention: Retention,
    epochs: Epochs,
    state: Mutex<State>,
    known: Known,
    live: Arc<Live>,
}

struct State {
    clock: Trusted,
    events: VecDeque<Arc<Appended>>,
    keys: Keys,
    /// The events of topics that have rules.
    kept: Kept,
    last: Offset,
    time: Timestamp,
    bytes: u64,
    commits: u64,
    trimmed: u64,
    expired: u64,
    deleted: u64,
    /// Places of events that are gone.
    gone: u64,
    closed: bool,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(retention: Retention, clock: Clock) -> Self {
        Self::with_clocks(retention, clock, steady_clock())
    }

    /// An empty log whose time is all the caller's: `steady` tells whether `clock` has jumped.
    #[must_use]
    pub fn with_clocks(retention: Retention, clock: Clock, steady: Steady) -> Self {
        let state = State {
            clock: Trusted::new(clock, steady, retention.age, None),
            events: VecDeque::new(),
            keys: Keys::default(),
            kept: Kept::new(&retention.topics),
            last: 0,
            time: Timestamp::default(),
            bytes: 0,
            commits: 0,
            trimmed: 0,
            expired: 0,
            deleted: 0,
            gone: 0,
            closed: false,
        };
        let inner = Inner {
            retention,
            epochs: Epochs::new(new_epoch(), 1),
            state: Mutex::new(state),
            known: Known::default(),
            live: Arc::new(Live::new(Bounds { first: 1, last: 0 })),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    fn append(&self, batch: Vec<Event>) -> Result<Vec<Receipt>, AppendError> {
        let (mut state, clock) = self.state_and_time();
        if state.closed {
            return Err(AppendError::ReadOnly(None));
        }
        state.time = state.time.max(clock.stored);
        let now = state.time;
        state.keys.expire(now);
        let before = state.last;
        let mut receipts = Vec::with_capacity(batch.len());
        let mut commit = SmallVec::<[Arc<Appended>; 1]>::with_capacity(batch.len());
        for (index, event) in batch.into_iter().enumerate() {
            let (offset, duplicate) = match state.keys.check(&event) {
                Repeat::Same(offset) => (offset, true),
                Repeat::New => (before + 1 + commit.len() as u64, false),
                Repeat::Other => {
                    commit.iter().rev().for_each(|stored| state.keys.forget(&stored.event, stored.cursor.offset));
                    return Err(AppendError::KeyReused { index });
                }
            };
            let cursor = self.epochs.cursor(offset);
            receipts.push(Receipt { cursor, duplicate });
            if !duplicate {
                state.keys.remember(&event, offset, now);
                commit.push(Arc::new(Appended::new(cursor, now, event)));
            }
        }
        state.bytes += commit.iter().map(|stored| stored.event.weight() as u64).sum::<u64>();
        state.last = before + commit.len() as u64;
        state.commits += u64::from(!commit.is_empty());
        let visible = Commit::from(&commit[..]);
        state.events.extend(commit);
        visible.iter().for_each(|stored| state.kept.add(&stored.event, stored.cursor.offset, now));
        self.known.index_mut().add(&visible);
        self.trim(&mut state, clock.trimming);
        self.live.commit(visible); // Under the lock, so that commits become visible in their order.
        self.let_go(&mut state, clock);
        Ok(receipts)
    }

    fn trim(&self, state: &mut State, now: Timestamp) {
        let age = u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX);
        let mut topics = Trimming::default();
        let mut first = None;
        while let Some(oldest) = state.events.front() {
            let over = counted(state.events.len() as u64, state.gone) > self.retention.events
                || state.bytes > self.retention.bytes
                || oldest.time.0.saturating_add(age) < now.0;
            if !over {
                break;
            }
            let (offset, private) = (oldest.cursor.offset, oldest.event.private);
            oldest.event.topics.iter().for_each(|topic| topics.note(topic.as_str(), offset, private));
            state.bytes -= oldest.event.weight() as u64;
            let gone = u64::from(oldest.gone().is_some());
            state.gone -= gone;
            state.trimmed += 1 - gone;
            state.events.pop_front();
            first = Some(offset + 1);
        }
        if let Some(first) = first {
            topics.topics().for_each(|topic| state.kept.trim(topic.as_str(), first));
            self.known.marks_mut().add(topics.marks(), first - 1);
            self.known.index_mut().trim(first);
            self.live.trim(first);
        }
    }

    /// Removes what the rules of topics keep no longer.
    fn let_go(&self, state: &mut State, now: Now) {
        let gone = state.kept.let_go(state.time.max(now.stored), now.trimming);
        gone.iter().for_each(|at| drop(state.bury(*at, Gone::Expired)));
        state.expired += gone.len() as u64;
        self.live.remove(gone, Gone::Expired);
    }

    /// The state, with what has grown too old gone.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state_and_time().0
    }

    /// The same, and what the clocks said.
    fn state_and_time(&self) -> (MutexGuard<'_, State>, Now) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.clock.look();
        self.trim(&mut state, now.trimming);
        self.let_go(&mut state, now);
        (state, now)
    }

    /// Deletes one event, if it is there.
    fn delete_event(&self, cursor: Cursor) -> u64 {
        let mut state = self.state();
        let there = self.epochs.cursor(cursor.offset) == cursor && state.is_there(cursor.offset);
        if there { self.delete_all(&mut state, vec![cursor.offset]) } else { 0 }
    }

    /// Deletes what is on `topic` from one offset up to another, as far as one page goes. Answers how many that were, and
    /// where to go on.
    fn delete_some(&self, topic: &[TopicSelector], from: Offset, upto: Offset) -> (u64, Offset) {
        let mut state = self.state();
        let bounds = self.live.bounds();
        let from = self.known.next_on(topic, from.max(bounds.first), bounds);
        let next = (from - from % PAGE + PAGE).min(upto.min(bounds.last) + 1);
        let on_topic = |event: &Event| event.topics.iter().any(|on| topic.iter().any(|wanted| wanted.matches(on)));
        let these = (from..next).filter(|at| state.is_there(*at) && state.at(*at).is_some_and(|e| on_topic(&e.event)));
        let these = these.collect();
        (self.delete_all(&mut state, these), next.max(from))
    }

    /// Deletes what is there at these offsets. What has outlived its time goes too, but was not there to be deleted.
    fn delete_all(&self, state: &mut State, mut offsets: Vec<Offset>) -> u64 {
        let now = state.clock.look().trimming;
        offsets.retain(|at| {
            let why = if state.is_over(*at, now) { Gone::Expired } else { Gone::Deleted };
            if let Some(topic) = state.bury(*at, why) {
                state.kept.forget(&topic, *at);
            }
            why == Gone::Deleted
        });
        let deleted = offsets.len() as u64;
        state.deleted += deleted;
        if deleted > 0 {
            self.live.remove(offsets, Gone::Deleted);
        }
        deleted
    }

    fn read(&self, at: Offset) -> Page {
        let state = self.state();
        let Some(first) = state.events.front().map(|event| event.cursor.offset) else { return Page::default() };
        let at = at.max(first);
        if at > state.last {
            return Page::default();
        }
        let begin = (at - at % PAGE).max(first);
        let index = usize::try_from(begin - first).unwrap_or(usize::MAX);
        // Pages are cut by bytes from their first event on, so that every reader finds the same cuts.
        let mut page = Page::default();
        let mut bytes = 0;
        for event in state.events.iter().skip(index).take_while(|event| event.cursor.offset / PAGE == at / PAGE) {
            if bytes > 0 && bytes + event.event.weight() > PAGE_BYTES {
                if event.cursor.offset > at {
                    break;
                }
                page.events.clear();
                bytes = 0;
            }
            bytes += event.event.weight();
            page.events.push(Arc::clone(event));
        }
        page
    }
}

impl State {
    fn at(&self, offset: Offset) -> Option<&Arc<Appended>> {
        let first = self.events.front()?.cursor.offset;
        self.events.get(usize::try_from(offset.checked_sub(first)?).ok()?)
    }

    /// Whether there is an event that was not removed.
    fn is_there(&self, offset: Offset) -> bool {
        self.at(offset).is_some_and(|event| event.gone().is_none())
    }

    fn is_over(&self, offset: Offset, now: Timestamp) -> bool {
        self.at(offset).and_then(|event| event.expires()).is_some_and(|time| time < now)
    }

    /// Puts a tombstone in the place of an event, and answers on which canonical topic that was.
    fn bury(&mut self, offset: Offset, why: Gone) -> Option<Topic> {
        let event = self.at(offset)?;
        event.remove(why); // For those that hold it already.
        let Event { topics, private, .. } = &event.event;
        let left = Event { topics: topics.clone(), private: *private, ..Event::new(topics[0].clone(), "") };
        let (before, after) = (event.event.weight() as u64, left.weight() as u64);
        let topic = left.topic().clone();
        let tombstone = Appended::tombstone(event.cursor, event.time, left, why);
        let nth = usize::try_from(offset - self.events.front()?.cursor.offset).ok()?;
        self.events[nth] = Arc::new(tombstone);
        self.bytes = self.bytes + after - before;
        self.gone += 1;
        Some(topic)
    }
}

impl Log for MemoryLog {
    fn append(&self, batch: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        Box::pin(async { self.inner.append(batch) })
    }

    fn delete(&self, which: Delete) -> BoxFuture<'_, Result<u64, AppendError>> {
        Box::pin(async move {
            if self.inner.state().closed {
                return Err(AppendError::ReadOnly(None));
            }
            let topic = match which {
                Delete::Event(cursor) => {
                    let deleted = self.inner.delete_event(cursor);
                    self.inner.live.remove(Vec::new(), Gone::Deleted);
                    return Ok(deleted);
                }
                Delete::Topic(topic) => [TopicSelector::Exact(topic)],
            };
            let (mut deleted, mut from, upto) = (0, 0, self.bounds().last);
            while from <= upto {
                let (more, next) = self.inner.delete_some(&topic, from, upto);
                (deleted, from) = (deleted + more, next);
                tokio::task::yield_now().await; // A topic with many events must not keep publishers waiting.
            }
            self.inner.live.remove(Vec::new(), Gone::Deleted);
            Ok(deleted)
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
        let state = self.inner.state();
        let since = |time: Timestamp| {
            let older = state.events.partition_point(|event| event.time < time) as u64;
            state.last - state.events.len() as u64 + older
        };
        let has_trimmed = |after, upto| self.has_trimmed(wanted, after, upto);
        let position = Position::decide(start, &self.inner.epochs, self.inner.live.bounds(), since, has_trimmed);
        Box::pin(async move { Ok(position) })
    }

    fn read(&self, at: Offset) -> BoxFuture<'_, Result<Page, ReadError>> {
        Box::pin(async move { Ok(self.inner.read(at)) })
    }

    fn tail(&self, after: Offset) -> BoxStream<'static, Change> {
        // Weak, so that a tail does not keep the log; it ends with the log.
        let inner = Arc::downgrade(&self.inner);
        self.inner.live.tail(after, move |at| {
            let page = inner.upgrade().map(|inner| inner.read(at));
            Box::pin(async move { page.ok_or_else(|| ReadError("the log is gone".into())) })
        })
    }

    fn bounds(&self) -> Bounds {
        drop(self.inner.state()); // What has grown too old goes first.
        self.inner.live.bounds()
    }

    fn cursor(&self, offset: Offset) -> Cursor {
        self.inner.epochs.cursor(offset)
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn stats(&self) -> Stats {
        let state = self.inner.state();
        Stats {
            bytes: state.bytes,
            wal_bytes: 0,
            commits: state.commits,
            trimmed: state.trimmed,
            expired: state.expired,
            deleted: state.deleted,
            gone: state.gone,
            compacted: 0,
            marks: self.inner.known.marks().len() as u64,
            index_bytes: self.inner.known.index().bytes(),
            refused: 0,
            writable: !state.closed,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.state().closed = true;
        Box::pin(std::future::ready(()))
    }
}
