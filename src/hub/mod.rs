//! The log's events in memory, in pages, and the way through them.
//!
//! The newest pages are pinned and filled by the log's tail; older ones are read when somebody needs them and shared by
//! all that do. Replay and live are the same thing here: the page after a cursor, which at the live edge is not full yet.
//! *Deliberately absent*: formats and sockets.

mod page;
mod pages;
mod reader;
mod selection;
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_core::stream::BoxStream;
use tokio::sync::{Notify, Semaphore};
use tokio_stream::StreamExt;

use crate::event::{Appended, Gone, Offset, Timestamp};
use crate::log::{Change, Clock, GapReason, Log, Missing, Position, ReadError, Start, system_clock};
use crate::shutdown::Shutdown;

pub use page::Page;
pub use pages::{Pages, PagesOptions};
pub use reader::{Budget, Reader, Step};
pub use selection::Selection;
pub use snapshot::Snapshot;

/// The pages of one log.
pub struct Hub {
    log: Arc<dyn Log>,
    pages: Pages,
    moved: Notify,
    passed: Notify,
    replays: Semaphore,
    loads: AtomicU64,
    waits: AtomicU64,
    waiting: AtomicU64,
    clock: Clock,
}

impl Hub {
    /// Loads the page at the live edge and follows the log's tail from there.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn start(log: Arc<dyn Log>, options: PagesOptions, shutdown: &Shutdown) -> Result<Arc<Self>, ReadError> {
        Self::start_at(log, options, system_clock(), shutdown).await
    }

    /// As [`Hub::start`], with another clock to tell which events have outlived their time.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn start_at(
        log: Arc<dyn Log>,
        options: PagesOptions,
        clock: Clock,
        shutdown: &Shutdown,
    ) -> Result<Arc<Self>, ReadError> {
        let edge = log.bounds().last;
        let tail = log.tail(edge); // Before the page is read: what is removed from then on is told.
        let newest = log.read(edge.max(1)).await?;
        let replays = options.replays;
        let hub = Arc::new(Self::over(log, Pages::new(edge, &newest.events, options), clock, replays));
        let (following, stop) = (Arc::clone(&hub), shutdown.clone());
        shutdown.spawn_service(async move {
            tokio::select! {
                () = following.follow(tail) => {}
                () = stop.quiet() => {} // Nobody is left who would read.
            }
        });
        Ok(hub)
    }

    fn over(log: Arc<dyn Log>, pages: Pages, clock: Clock, replays: usize) -> Self {
        let replays = Semaphore::new(replays);
        let (loads, waits, waiting) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { log, pages, moved: Notify::new(), passed: Notify::new(), replays, loads, waits, waiting, clock }
    }

    async fn follow(&self, mut tail: BoxStream<'static, Change>) {
        while let Some(change) = tail.next().await {
            match change {
                Change::Commit(commit) => self.pages.push(&commit),
                Change::Trimmed => self.pages.pass(self.log.bounds().last),
                Change::Removed { offsets, why } => {
                    let trimmed = if why == Gone::Deleted { self.log.bounds().first } else { 0 };
                    self.pages.remove_before(trimmed);
                    self.pages.remove(&offsets, why);
                }
                Change::MissedRemovals => self.pages.forget(),
            }
            self.moved.notify_one();
            self.passed.notify_waiters();
        }
    }

    /// Resolves when the live edge has moved since the last call. For one follower: the feeds.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Resolves once all that was durable before the call is in memory: whoever was told that its event is stored finds it.
    pub async fn caught_up(&self) {
        let last = self.log.bounds().last;
        loop {
            let mut passed = std::pin::pin!(self.passed.notified());
            passed.as_mut().enable(); // Before looking: what comes from here on wakes us.
            if self.pages.edge() >= last {
                return;
            }
            passed.await;
        }
    }

    /// The pages in memory.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The log behind the pages.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// How many pages were read from the log since the start.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// How many of them had to wait for a turn.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// How many page reads wait for their turn.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Why an event is gone, if it is: removed, or older than its publisher wanted it to become.
    ///
    /// Cost: two loads; the clock is looked at only for an event with a time of its own.
    #[must_use]
    pub fn gone(&self, event: &Appended) -> Option<GapReason> {
        match event.gone() {
            Some(Gone::Expired) => Some(GapReason::Expired),
            Some(Gone::Deleted) => Some(GapReason::Deleted),
            None => self.is_over(expires(event)?).then_some(GapReason::Expired),
        }
    }

    /// The time, by the clock of events.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Whether this moment has passed.
    #[must_use]
    pub fn is_over(&self, moment: Timestamp) -> bool {
        moment < self.now()
    }

    /// The page that holds `at`, read from the log if it is not in memory; the oldest page if `at` was trimmed. However
    /// many ask for one page at once, it is read once.
    ///
    /// # Errors
    /// The log could not be read.
    ///
    /// # Panics
    /// Never: the semaphore is not closed.
    pub async fn load(&self, at: Offset) -> Result<Arc<Page>, ReadError> {
        let flight = self.pages.flight(at);
        let _landed = flight.lock().await;
        if let Some(page) = self.pages.get(at) {
            return Ok(page);
        }
        let _turn = match self.replays.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                self.waits.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting::begin(&self.waiting);
                // First come, first served: a turn is one page, so that a long replay does not keep out the others.
                self.replays.acquire().await.expect("the semaphore is never closed")
            }
        };
        self.loads.fetch_add(1, Ordering::Relaxed);
        loop {
            let (last, removal) = (self.log.bounds().last, self.pages.removals());
            let page = self.log.read(at).await?;
            if page.events.is_empty() {
                // Nothing is left of what there was, or nothing that can be read: what comes next, comes behind it.
                let first = if page.hole { last + 1 } else { self.log.bounds().first };
                return Ok(Arc::new(Page::empty(first).behind_hole(page.hole)));
            }
            if let Some(page) = self.pages.keep_since(&page, removal) {
                return Ok(page);
            }
        }
    }

    /// Where reading begins for `start`.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn seek(&self, start: Start, selection: &Selection) -> Result<Position, ReadError> {
        match start {
            // At the live edge as far as it is in memory: what is durable but not here yet will still be delivered.
            Start::Latest => Ok(Position { after: self.pages.edge(), missing: None }),
            _ => self.log.seek(start, selection.wanted()).await,
        }
    }

    /// The offset after which exactly the newest `count` matching events stand (fewer, if there are fewer). If the store
    /// lost events on the way there, any of which may have matched, it says so.
    ///
    /// Cost: reads back those pages in which they may stand until they are found; of a glob that is every page.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn newest(&self, selection: &Selection, count: usize) -> Result<Position, ReadError> {
        let mut at = self.pages.edge();
        let mut wanted = count;
        let mut lost = 0;
        while wanted > 0
            && let Some(page) = self.page_before(selection, &mut at, &mut lost).await?
        {
            let matching = page.events(page.first(), at).rev();
            let matching = matching.filter(|event| selection.matches(&event.event) && self.gone(event).is_none());
            let found: Vec<Offset> = matching.take(wanted).map(|event| event.cursor.offset).collect();
            wanted -= found.len();
            at = found.last().filter(|_| wanted == 0).map_or(page.first(), |oldest| *oldest) - 1;
            tokio::task::yield_now().await; // A long way back must not keep others waiting.
        }
        // What is still in memory, though it was trimmed, is no place to begin.
        let after = at.max(self.log.bounds().first - 1);
        let missing = (lost > 0).then_some(Missing { reason: GapReason::Hole, offsets: Some(lost) });
        Ok(Position { after, missing })
    }

    /// The next page on the way back from `at`, which moves to where something of the selection may stand in it. What the
    /// store lost on the way is counted. Nothing if there is none any more.
    async fn page_before(
        &self,
        selection: &Selection,
        at: &mut Offset,
        lost: &mut u64,
    ) -> Result<Option<Arc<Page>>, ReadError> {
        loop {
            *at = self.log.previous_on(selection.topics(), *at);
            if *at < self.log.bounds().first {
                return Ok(None);
            }
            let page = self.page(*at).await?;
            if page.first() > *at && page.is_behind_hole() {
                let before = self.before_hole(*at).await?;
                *lost += *at - before;
                *at = before;
                continue;
            }
            let was_trimmed = page.first() > *at || page.is_empty();
            return Ok((!was_trimmed).then_some(page));
        }
    }

    /// The newest offset before `at`, which is lost, that can be read; if there is none, the one before the oldest.
    ///
    /// Cost: the log can only be asked for what comes next, so it is asked from ever further back, which takes a read for
    /// each doubling of the hole's length, and then on to the hole.
    async fn before_hole(&self, at: Offset) -> Result<Offset, ReadError> {
        let first = self.log.bounds().first;
        let mut back = 1;
        let mut before = loop {
            let from = at.saturating_sub(back).max(first);
            let page = self.page(from).await?;
            if page.first() < at && !page.is_empty() {
                break page.last();
            }
            if from == first {
                return Ok(first - 1);
            }
            back *= 2;
        };
        loop {
            let page = self.page(before + 1).await?;
            if page.first() > at || page.is_empty() {
                return Ok(before.min(at - 1)); // It may be none any more.
            }
            before = page.last();
        }
    }

    async fn page(&self, at: Offset) -> Result<Arc<Page>, ReadError> {
        match self.pages.get(at) {
            Some(page) => Ok(page),
            None => self.load(at).await,
        }
    }
}

/// The moment after which an event is not delivered any more, if its publisher named one. Whoever is there when it comes
/// is given it, however short its time: that is what it is for.
#[must_use]
pub fn expires(event: &Appended) -> Option<Timestamp> {
    /// What is delivered within so many milliseconds was delivered as it came.
    const LIVE: u64 = 1000;
    Some(event.expires()?.max(Timestamp(event.time.0.saturating_add(LIVE))))
}

/// One that waits for its turn to read, whoever drops it.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
