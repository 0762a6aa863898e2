//! A run of consecutive events in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::event::{Appended, Offset};
use crate::log::{PAGE, PAGE_BYTES};

/// Up to 1 024 consecutive events. The newest page is still being filled, by one writer, while any number read it.
#[derive(Debug)]
pub struct Page {
    first: Offset,
    /// One past the newest offset it holds.
    end: AtomicU64,
    bytes: AtomicU64,
    behind_hole: bool,
    slots: Box<[OnceLock<Arc<Appended>>]>,
}

impl Page {
    /// An empty page that begins at `first` and has room up to the next multiple of [`PAGE`].
    #[must_use]
    pub fn begin(first: Offset) -> Self {
        Self::with_room(first, usize::try_from(PAGE - first % PAGE).unwrap_or_default())
    }

    /// A page of these events, to which none will be added.
    #[must_use]
    pub fn of(events: &[Arc<Appended>]) -> Self {
        let page = Self::with_room(events.first().map_or(1, |event| event.cursor.offset), events.len());
        events.iter().for_each(|event| page.put(event));
        page
    }

    fn with_room(first: Offset, room: usize) -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(room).collect();
        Self { first, end: AtomicU64::new(first), bytes: AtomicU64::new(0), behind_hole: false, slots }
    }

    /// Marks it as what comes next behind events that cannot be read. Only a reader that asked for those cares.
    #[must_use]
    pub(super) fn behind_hole(self, behind_hole: bool) -> Self {
        Self { behind_hole, ..self }
    }

    /// Whether what was asked for before it is lost, not trimmed.
    #[must_use]
    pub fn is_behind_hole(&self) -> bool {
        self.behind_hole
    }

    /// Adds the event whose offset is the page's next one. Only one writer may call this.
    pub(super) fn put(&self, event: &Arc<Appended>) {
        let end = self.end.load(Ordering::Relaxed);
        debug_assert_eq!(event.cursor.offset, end, "events of a page are consecutive");
        let slot = self.slots.get(usize::try_from(end - self.first).unwrap_or(usize::MAX));
        let fresh = slot.is_some_and(|slot| slot.set(Arc::clone(event)).is_ok());
        debug_assert!(fresh, "a page has room for what is put in it");
        self.bytes.fetch_add(event.event.weight() as u64, Ordering::Relaxed);
        self.end.store(end + 1, Ordering::Release); // Publishes the slot to readers that load `end`.
    }

    /// Whether another event of `weight` bytes belongs on the next page.
    pub(super) fn is_full(&self, weight: usize) -> bool {
        let held = self.end.load(Ordering::Relaxed) - self.first;
        held == self.slots.len() as u64 || (held > 0 && self.bytes() + weight as u64 > PAGE_BYTES as u64)
    }

    /// The offset at which it begins.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.first
    }

    /// The newest offset it holds; `first - 1` while it is empty.
    #[must_use]
    pub fn last(&self) -> Offset {
        self.end.load(Ordering::Acquire) - 1
    }

    /// Whether it holds no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last() < self.first
    }

    /// The bytes of its events.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The events from one offset to another, both included, as far as the page holds them.
    pub fn events(&self, from: Offset, upto: Offset) -> impl DoubleEndedIterator<Item = &Arc<Appended>> {
        let index = |offset: Offset| usize::try_from(offset - self.first).unwrap_or(usize::MAX);
        let (begin, end) = (index(from.max(self.first)), index(upto.min(self.last()).max(self.first - 1) + 1));
        self.slots.get(begin..end).unwrap_or_default().iter().filter_map(OnceLock::get)
    }
}
