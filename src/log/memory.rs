//! The store that forgets with its process: for tests, for `--store memory`, and as the plainest reading of the contract.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;

use super::{
    AppendError, Bounds, Change, Clock, Delete, Durability, Epochs, Keys, Live, Log, PAGE, PAGE_BYTES, Page, Position,
    ReadError, Receipt, Repeat, Retention, Start, Stats, Steady, clock::Trusted, new_epoch, steady_clock,
};
use crate::event::{Appended, Cursor, Event, Offset, Timestamp, TopicSelector};

/// A log in memory.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

struct Inner {
    retention: Retention,
    epochs: Epochs,
    state: Mutex<State>,
    live: Arc<Live>,
}

struct State {
    clock: Trusted,
    events: VecDeque<Arc<Appended>>,
    keys: Keys,
    last: Offset,
    time: Timestamp,
    bytes: u64,
    commits: u64,
    trimmed: u64,
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
            last: 0,
            time: Timestamp::default(),
            bytes: 0,
            commits: 0,
            trimmed: 0,
            closed: false,
        };
        let inner = Inner {
            retention,
            epochs: Epochs::new(new_epoch(), 1),
            state: Mutex::new(state),
            live: Arc::new(Live::new(Bounds { first: 1, last: 0 })),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    fn append(&self, batch: Vec<Event>) -> Result<Vec<Receipt>, AppendError> {
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::ReadOnly(None));
        }
        let clock = state.clock.look();
        state.time = state.time.max(clock.stored);
        let now = state.time;
        state.keys.expire(now);
        let before = state.last;
        let mut receipts = Vec::with_capacity(batch.len());
        let mut commit: Vec<Arc<Appended>> = Vec::with_capacity(batch.len());
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
        state.events.extend(commit.iter().cloned());
        self.trim(&mut state, clock.trimming);
        self.live.commit(commit.into()); // Under the lock, so that commits become visible in their order.
        Ok(receipts)
    }

    fn trim(&self, state: &mut State, now: Timestamp) {
        let age = u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX);
        let before = state.trimmed;
        while let Some(oldest) = state.events.front() {
            let over = state.events.len() as u64 > self.retention.events
                || state.bytes > self.retention.bytes
                || oldest.time.0.saturating_add(age) < now.0;
            if !over {
                break;
            }
            state.bytes -= oldest.event.weight() as u64;
            state.trimmed += 1;
            state.events.pop_front();
        }
        if state.trimmed > before {
            self.live.trim(state.last + 1 - state.events.len() as u64);
        }
    }

    /// The state, with what has grown too old gone.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.clock.look().trimming;
        self.trim(&mut state, now);
        state
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

impl Log for MemoryLog {
    fn append(&self, batch: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        Box::pin(async { self.inner.append(batch) })
    }

    fn delete(&self, _: Delete) -> BoxFuture<'_, Result<u64, AppendError>> {
        todo!()
    }

    fn has_trimmed(&self, _: &[TopicSelector], _: Offset, _: Offset) -> bool {
        true
    }

    fn next_on(&self, _: &[TopicSelector], from: Offset) -> Offset {
        from
    }

    fn previous_on(&self, _: &[TopicSelector], upto: Offset) -> Offset {
        upto
    }

    fn seek<'a>(&'a self, start: Start, _: &'a [TopicSelector]) -> BoxFuture<'a, Result<Position, ReadError>> {
        let state = self.inner.state();
        let since = |time: Timestamp| {
            let older = state.events.partition_point(|event| event.time < time) as u64;
            state.last - state.events.len() as u64 + older
        };
        let position = Position::decide(start, &self.inner.epochs, self.inner.live.bounds(), since);
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
            refused: 0,
            writable: !state.closed,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.state().closed = true;
        Box::pin(std::future::ready(()))
    }
}
