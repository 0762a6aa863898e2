//! A run of consecutive events in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::event::{Appended, Offset, Tally};
use crate::log::{PAGE, PAGE_BYTES};

/// Up to 1 024 consecutive events. The newest page is still being filled, by one writer, while any number read it.
#[derive(Debug)]
pub struct Page {
    first: Offset,
    /// One past the newest offset it holds.
    end: AtomicU64,
    /// Bytes as [`PAGE_BYTES`] counts them.
    weight: AtomicU64,
    /// Bytes of memory, renderings included.
    tally: Arc<Tally>,
    behind_hole: bool,
    slots: Box<[OnceLock<Arc<Appended>>]>,
}

impl Page {
    /// An empty page that begins at `first` and has room up to the next multiple of [`PAGE`]. Of this and the others,
    /// `grown` counts what the renderings of its events take.
    #[must_use]
    pub fn begin(first: Offset, grown: &Arc<AtomicU64>) -> Self {
        Self::with_room(first, usize::try_from(PAGE - first % PAGE).unwrap_or_default(), grown)
    }

    /// A page of these events, to which none will be added.
    #[must_use]
    pub fn of(events: &[Arc<Appended>], grown: &Arc<AtomicU64>) -> Self {
        let page = Self::with_room(events.first().map_or(1, |event| event.cursor.offset), events.len(), grown);
        events.iter().for_each(|event| page.put(event));
        page
    }

    /// No events, and nothing before `first`.
    #[must_use]
    pub(super) fn empty(first: Offset) -> Self {
        Self::with_room(first, 0, &Arc::default())
    }

    fn with_room(first: Offset, room: usize, grown: &Arc<AtomicU64>) -> Self {
        let slots: Box<[_]> = std::iter::repeat_with(OnceLock::new).take(room).collect();
        let tally = Arc::new(Tally::new(size_of::<Self>() + size_of_val(&*slots), grown));
        Self { first, end: AtomicU64::new(first), weight: AtomicU64::new(0), tally, behind_hole: false, slots }
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

    /// Adds the event whose offset is the page's next one, with renderings of its own: what the log keeps of the event
    /// must not hold them longer than the page. Only one writer may call this.
    pub(super) fn put(&self, event: &Arc<Appended>) {
        let end = self.end.load(Ordering::Relaxed);
        debug_assert_eq!(event.cursor.offset, end, "events of a page are consecutive");
        let slot = self.slots.get(usize::try_from(end - self.first).unwrap_or(usize::MAX));
        let fresh = slot.is_some_and(|slot| slot.set(Arc::new(event.counted(&self.tally))).is_ok());
        debug_assert!(fresh, "a page has room for what is put in it");
        self.weight.fetch_add(event.event.weight() as u64, Ordering::Relaxed);
        self.tally.add(event);
        self.end.store(end + 1, Ordering::Release); // Publishes the slot to readers that load `end`.
    }

    /// Whether another event of `weight` bytes belongs on the next page.
    pub(super) fn is_full(&self, weight: usize) -> bool {
        let held = self.end.load(Ordering::Relaxed) - self.first;
        let weight = self.weight.load(Ordering::Relaxed) + weight as u64;
        held == self.slots.len() as u64 || (held > 0 && weight > PAGE_BYTES as u64)
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

    /// How many bytes of memory it takes, with what is kept of its events' renderings.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tally.bytes()
    }

    /// The events from one offset to another, both included, as far as the page holds them.
    pub fn events(&self, from: Offset, upto: Offset) -> impl DoubleEndedIterator<Item = &Arc<Appended>> {
        let index = |offset: Offset| usize::try_from(offset - self.first).unwrap_or(usize::MAX);
        let (begin, end) = (index(from.max(self.first)), index(upto.min(self.last()).max(self.first - 1) + 1));
        self.slots.get(begin..end).unwrap_or_default().iter().filter_map(OnceLock::get)
    }
}
