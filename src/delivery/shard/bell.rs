//! How a shard is told that there is something for it: calls gather, and the first of them wakes it.
//!
//! Invariant: a call that is made is heard. Whoever calls does so after what it calls for can be seen; the shard takes the
//! calls before it looks. Nothing is lost in between, as both hold the lock: a call that comes while the shard falls asleep
//! finds its waker. Held by a model of every interleaving (`tests/loom`), for which this file names its locks through
//! `super::sync`.

use std::fmt;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering};

/// Where calls for one shard gather.
pub(crate) struct Bell<T>(Mutex<Calls<T>>);

struct Calls<T> {
    waiting: Vec<T>,
    /// The shard's, while it sleeps.
    waker: Option<Waker>,
}

impl<T> Default for Bell<T> {
    fn default() -> Self {
        Self(Mutex::new(Calls { waiting: Vec::new(), waker: None }))
    }
}

impl<T> fmt::Debug for Bell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

impl<T> Bell<T> {
    /// Adds a call, and wakes the shard if it sleeps.
    pub(crate) fn ring(&self, call: T) {
        let mut calls = self.calls();
        calls.waiting.push(call);
        let waker = calls.waker.take();
        drop(calls); // Whoever is woken takes the lock.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the calls into `taken`, which is empty. Answers whether there are any.
    pub(crate) fn take(&self, taken: &mut Vec<T>) -> bool {
        std::mem::swap(&mut self.calls().waiting, taken);
        !taken.is_empty()
    }

    /// Ready once there is a call. For one shard.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut calls = self.calls();
        if !calls.waiting.is_empty() {
            return Poll::Ready(());
        }
        if !calls.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            calls.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn calls(&self) -> MutexGuard<'_, Calls<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is news for a group of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct News(pub(crate) u32);

/// The cord of a feed to the bell of a shard that has streams of it. However often it is pulled before the shard hears it,
/// it is one call.
pub(crate) struct Cord<T> {
    bell: Arc<Bell<T>>,
    pulled: AtomicBool,
    news: News,
}

impl<T> fmt::Debug for Cord<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cord").field(&self.news).finish()
    }
}

impl<T: From<News>> Cord<T> {
    /// A cord that tells of this news.
    pub(crate) fn new(bell: Arc<Bell<T>>, news: News) -> Self {
        Self { bell, pulled: AtomicBool::new(false), news }
    }

    /// Tells the shard that there is news, which can be seen by now.
    pub(crate) fn pull(&self) {
        if !self.pulled.swap(true, Ordering::AcqRel) {
            self.bell.ring(T::from(self.news));
        }
    }

    /// The shard has the call, and looks for the news after this.
    pub(crate) fn heard(&self) {
        // A swap, not a store: what whoever pulled last could see before that, can be seen after this.
        self.pulled.swap(false, Ordering::AcqRel);
    }
}

/// The cords of a feed, one to each shard that has streams of it.
pub(crate) struct Cords<T>(Mutex<SmallVec<[Arc<Cord<T>>; 1]>>);

impl<T> Default for Cords<T> {
    fn default() -> Self {
        Self(Mutex::new(SmallVec::new()))
    }
}

impl<T> fmt::Debug for Cords<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cords")
    }
}

impl<T: From<News>> Cords<T> {
    /// Ties a shard, which hears of all that is new from here on: whoever is to miss nothing looks after this.
    pub(crate) fn tie(&self, cord: Arc<Cord<T>>) {
        self.cords().push(cord);
    }

    /// Lets a shard hear no more.
    pub(crate) fn untie(&self, cord: &Arc<Cord<T>>) {
        self.cords().retain(|tied| !Arc::ptr_eq(tied, cord));
    }

    /// Tells all of them that there is news, which can be seen by now.
    pub(crate) fn pull(&self) {
        self.cords().iter().for_each(|cord| cord.pull());
    }

    fn cords(&self) -> MutexGuard<'_, SmallVec<[Arc<Cord<T>>; 1]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
