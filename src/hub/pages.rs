//! The pages that are in memory: the newest ones, pinned, and those that readers behind them asked for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::Page;
use crate::event::{Appended, Gone, Offset};
use crate::log::{PAGE, within};

/// How much is kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct PagesOptions {
    /// Events in pinned pages.
    pub pinned_events: u64,
    /// Bytes in pinned pages.
    pub pinned_bytes: u64,
    /// Bytes in pages that readers behind the pinned ones share.
    pub cached_bytes: u64,
    /// How many page reads and backward searches may go on at once; others wait their turn.
    pub replays: usize,
}

impl Default for PagesOptions {
    fn default() -> Self {
        Self { pinned_events: 64 * 1024, pinned_bytes: 64 << 20, cached_bytes: 64 << 20, replays: 64 }
    }
}

/// Every page in memory.
///
/// Pinned pages are consecutive up to the live edge; the oldest go when there are too many. Cached pages are let go by
/// least recent use. A reader holds a page only while it takes a step, so what is kept here is what there is. A page
/// grows while its events are rendered, so its bytes are looked at anew each time pages have grown by 1 MiB.
#[derive(Debug)]
pub struct Pages {
    options: PagesOptions,
    edge: AtomicU64,
    pinned: RwLock<VecDeque<Arc<Page>>>,
    cached: Mutex<Cached>,
    flights: Mutex<HashMap<u64, Weak<Flight>>>,
    /// How many bytes renderings have added to pages since their bytes were looked at.
    grown: Arc<AtomicU64>,
    removals: AtomicU64,
    removed: Mutex<Removed>,
}

type Flight = tokio::sync::Mutex<()>;

/// The newest removals: a page that was read before one of them and comes after it must not bring anything back.
#[derive(Debug, Default)]
struct Removed {
    newest: VecDeque<(Arc<[Offset]>, Gone)>,
    /// The number of the first of them; each has the next number. So many there were when [`Pages::removals`] is that.
    begin: u64,
    offsets: usize,
    /// Everything before this is gone.
    floor: Offset,
}

#[derive(Debug, Default)]
struct Cached {
    pages: BTreeMap<Offset, (Arc<Page>, u64)>,
    clock: u64,
}

impl Pages {
    /// By how many bytes pages may grow beyond their limits.
    const GROWTH: u64 = 1 << 20;

    /// The pages of a log whose newest page holds `newest` and whose newest offset is `edge`.
    #[must_use]
    pub fn new(edge: Offset, newest: &[Arc<Appended>], options: PagesOptions) -> Self {
        let grown = Arc::default();
        let live = Page::begin(newest.first().map_or(edge + 1, |event| event.cursor.offset), &grown);
        let pages = Self {
            options,
            edge: AtomicU64::new(edge),
            pinned: RwLock::new(VecDeque::from([Arc::new(live)])),
            cached: Mutex::default(),
            flights: Mutex::default(),
            grown,
            removals: AtomicU64::new(0),
            removed: Mutex::default(),
        };
        // Anything after `edge` comes by the tail.
        let upto_edge: Vec<_> = newest.iter().filter(|event| event.cursor.offset <= edge).cloned().collect();
        pages.fill(&upto_edge);
        pages
    }

    /// The newest offset in memory.
    #[must_use]
    pub fn edge(&self) -> Offset {
        self.edge.load(Ordering::Acquire)
    }

    /// Adds a commit at the live edge. Only one writer may call this.
    pub(super) fn push(&self, commit: &[Arc<Appended>]) {
        self.fill(commit);
        if let Some(last) = commit.last() {
            self.pass(last.cursor.offset);
        }
    }

    /// Moves the live edge on to `edge`. What is not in a page up to there is in the log, or gone: readers find out.
    pub(super) fn pass(&self, edge: Offset) {
        self.edge.fetch_max(edge, Ordering::Release);
    }

    /// Marks events as gone, at rising offsets, in every page that holds them.
    pub(crate) fn remove(&self, offsets: &Arc<[Offset]>, why: Gone) {
        self.removed().push(Arc::clone(offsets), why); // First: a page that comes in now either is found below, or finds this.
        self.for_each_page(|page| mark(page, offsets, why));
        self.removals.fetch_add(1, Ordering::Release); // After the marks: who sees the new count sees them.
    }

    /// Marks every event before `first` as gone: of what the log has trimmed nobody can say what was to be deleted.
    pub(super) fn remove_before(&self, first: Offset) {
        let mut removed = self.removed();
        if removed.floor >= first {
            return;
        }
        removed.floor = first;
        drop(removed);
        self.for_each_page(|page| mark_before(page, first));
    }

    fn for_each_page(&self, mark: impl Fn(&Page)) {
        let pinned: Vec<_> = self.pinned.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let cached: Vec<_> = self.cached().pages.values().map(|(page, _)| Arc::clone(page)).collect();
        pinned.iter().chain(&cached).for_each(|page| mark(page));
    }

    /// How often events were removed: what was made of events before this changes may hold some that are gone.
    #[must_use]
    pub fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Whether one of these events was removed after events had been removed `since` times. In doubt it may be: the newest
    /// removals are known, and no older ones.
    ///
    /// Cost: a look at one number where nothing was removed since; else a lock, and a search in each removal.
    pub(crate) fn may_be_removed(&self, offsets: RangeInclusive<Offset>, since: u64) -> bool {
        if since == self.removals() {
            return false;
        }
        let removed = self.removed();
        let (first, last) = offsets.into_inner();
        first < removed.floor
            || removed
                .since(since)
                .is_none_or(|mut newest| newest.any(|(these, _)| !within(these, first, last).is_empty()))
    }

    /// Lets every page go: what they hold may be gone.
    pub(super) fn forget(&self) {
        self.removed().forget();
        let next = self.live().last() + 1;
        let mut pinned = self.pinned.write().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::replace(&mut *pinned, VecDeque::from([Arc::new(Page::begin(next, &self.grown))]));
        drop(pinned);
        let cached = std::mem::take(&mut *self.cached());
        self.removals.fetch_add(1, Ordering::Release);
        drop((gone, cached));
    }

    fn fill(&self, events: &[Arc<Appended>]) {
        for event in events {
            let live = self.live();
            // Trimmed before the tail got to it, an event may be missing: a page holds consecutive ones only.
            let follows = event.cursor.offset == live.last() + 1;
            let full = !follows || live.is_full(event.event.weight());
            let live = if full { self.turn(event.cursor.offset) } else { live };
            live.put(event);
        }
    }

    fn live(&self) -> Arc<Page> {
        let pinned = self.pinned.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pinned.back().expect("there is always a page at the live edge"))
    }

    /// Begins a new page at the live edge, and lets the oldest go.
    #[cold]
    fn turn(&self, first: Offset) -> Arc<Page> {
        let page = Arc::new(Page::begin(first, &self.grown));
        self.pinned.write().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(&page));
        self.trim_pinned();
        page
    }

    /// Lets the oldest pinned pages go that are too many; never the one at the live edge.
    fn trim_pinned(&self) {
        let mut gone = Vec::new(); // Dropped last, when the lock is free again.
        let mut pinned = self.pinned.write().unwrap_or_else(PoisonError::into_inner);
        let newest = pinned.back().map_or(0, |page| page.first());
        let mut bytes: u64 = pinned.iter().map(|page| page.bytes()).sum();
        while let Some(oldest) = pinned.front()
            && pinned.len() > 1
            && (newest - oldest.first() > self.options.pinned_events || bytes > self.options.pinned_bytes)
        {
            bytes = bytes.saturating_sub(oldest.bytes()); // It may have grown since.
            gone.extend(pinned.pop_front());
        }
    }

    /// Keeps the limits though pages have grown.
    #[cold]
    fn trim_grown(&self) {
        self.grown.store(0, Ordering::Relaxed);
        self.trim_pinned();
        let gone = self.cached().trim(self.options.cached_bytes);
        drop(gone);
    }

    /// The page that holds `at`, if it is in memory.
    #[must_use]
    pub fn get(&self, at: Offset) -> Option<Arc<Page>> {
        if self.grown.load(Ordering::Relaxed) > Self::GROWTH {
            self.trim_grown();
        }
        self.pinned(at).or_else(|| self.cached().get(at))
    }

    fn pinned(&self, at: Offset) -> Option<Arc<Page>> {
        let pinned = self.pinned.read().unwrap_or_else(PoisonError::into_inner);
        let after = pinned.partition_point(|page| page.first() <= at);
        let page = pinned.get(after.checked_sub(1)?)?;
        (at <= page.last()).then(|| Arc::clone(page))
    }

    /// Keeps a page that was read from the log; it holds at least one event.
    #[cfg(test)]
    pub(super) fn keep(&self, read: &crate::log::Page) -> Arc<Page> {
        self.keep_since(read, self.removals()).expect("nothing is removed meanwhile")
    }

    /// Keeps a page that was read from the log when events had been removed so often ([`Pages::removals`]), and at least one
    /// event with it; without what was removed since then. Nothing if it is not known any more what that was: then it is to be read again.
    pub(super) fn keep_since(&self, read: &crate::log::Page, removal: u64) -> Option<Arc<Page>> {
        let page = Arc::new(Page::of(&read.events, &self.grown).behind_hole(read.hole));
        let removed = self.removed(); // Held until the page can be found.
        removed.since(removal)?.for_each(|(offsets, why)| mark(&page, offsets, *why));
        mark_before(&page, removed.floor);
        let mut cached = self.cached();
        let replaced = cached.insert(Arc::clone(&page));
        let gone = cached.trim(self.options.cached_bytes);
        drop(cached); // Before what it has let go.
        drop(removed);
        drop((replaced, gone));
        Some(page)
    }

    /// What those hold that wait for the same page to be read.
    pub(super) fn flight(&self, at: Offset) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&(at / PAGE)).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(Flight::default());
        flights.insert(at / PAGE, Arc::downgrade(&flight));
        flight
    }

    fn removed(&self) -> MutexGuard<'_, Removed> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes of memory the pages take, pinned and cached, with what is kept of renderings.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let pinned = self.pinned.read().unwrap_or_else(PoisonError::into_inner);
        (pinned.iter().map(|page| page.bytes()).sum(), self.cached().bytes())
    }
}

fn mark_before(page: &Page, first: Offset) {
    if page.first() < first {
        page.events(page.first(), first - 1).for_each(|event| event.remove(Gone::Expired));
    }
}

/// Marks events of a page as gone, of offsets that rise.
fn mark(page: &Page, offsets: &[Offset], why: Gone) {
    for at in within(offsets, page.first(), page.last()) {
        page.events(*at, *at).for_each(|event| event.remove(why));
    }
}

impl Removed {
    /// How many are known, and how many offsets in them, beside those of the newest one.
    const KEPT: (usize, usize) = (256, 128 * 1024);

    fn push(&mut self, offsets: Arc<[Offset]>, why: Gone) {
        self.offsets += offsets.len();
        self.newest.push_back((offsets, why));
        while self.newest.len() > Self::KEPT.0 || (self.offsets > Self::KEPT.1 && self.newest.len() > 1) {
            self.offsets -= self.newest.pop_front().map_or(0, |(offsets, _)| offsets.len());
            self.begin += 1;
        }
    }

    fn next(&self) -> u64 {
        self.begin + self.newest.len() as u64
    }

    /// Those from this number on, if all of them are known.
    fn since(&self, removal: u64) -> Option<impl Iterator<Item = &(Arc<[Offset]>, Gone)>> {
        let passed = usize::try_from(removal.checked_sub(self.begin)?).ok()?;
        Some(self.newest.iter().skip(passed))
    }

    /// Some more were there of which nothing is known.
    fn forget(&mut self) {
        *self = Self { begin: self.next() + 1, floor: self.floor, ..Self::default() };
    }
}

impl Cached {
    fn get(&mut self, at: Offset) -> Option<Arc<Page>> {
        self.clock += 1;
        let (_, (page, used)) = self.pages.range_mut(..=at).next_back()?;
        *used = self.clock;
        (at <= page.last()).then(|| Arc::clone(page))
    }

    /// Keeps a page, and gives back the one in whose place it is.
    fn insert(&mut self, page: Arc<Page>) -> Option<Arc<Page>> {
        self.clock += 1;
        self.pages.insert(page.first(), (page, self.clock)).map(|(replaced, _)| replaced)
    }

    /// Gives back what is to be dropped, by least recent use; never the last page.
    fn trim(&mut self, limit: u64) -> Vec<Arc<Page>> {
        let mut gone = Vec::new();
        let mut bytes = self.bytes();
        while bytes > limit && self.pages.len() > 1 {
            let oldest = self.pages.iter().min_by_key(|(_, (_, used))| *used).map(|(first, _)| *first);
            let Some((page, _)) = oldest.and_then(|first| self.pages.remove(&first)) else { break };
            bytes = bytes.saturating_sub(page.bytes());
            gone.push(page);
        }
        gone
    }

    fn bytes(&self) -> u64 {
        self.pages.values().map(|(page, _)| page.bytes()).sum()
    }
}

#[cfg(test)]
mod tests;
