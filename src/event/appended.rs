//! An event at its place in the log, and what it costs to have it in memory.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Cursor, Event, Timestamp};

/// An event at its place in the log, shared by all that read it, with one slot for each rendering of it.
///
/// Cost: see [`Appended::footprint`]; the slots (40 bytes each) come with the first rendering. A rendering is made by the
/// first reader that needs it, and stays as long as the event.
#[derive(Debug)]
pub struct Appended {
    /// Its place; the same on every node and transport.
    pub cursor: Cursor,
    /// When it was stored; never falls from one offset to the next.
    pub time: Timestamp,
    /// What was published; of an event that is gone nothing but its topics need be there.
    pub event: Event,
    gone: AtomicU8,
    rendered: OnceLock<Box<Slots>>,
    tally: Option<Arc<Tally>>,
}

/// Renderings that are made when somebody needs them.
type Slots = [OnceLock<Bytes>];

/// One of the renderings of an event: the `nth` of the `of` that there are, which are the same for every event.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Which one, from 0.
    pub nth: usize,
    /// How many there are.
    pub of: usize,
}

impl Appended {
    /// What an allocation costs beside its content: its header, rounding, and the counts of those that share it.
    const ALLOCATION: usize = 32;
    /// What a rendering costs beside its bytes: its allocations, and room that was reserved for it and not needed.
    const RENDERING: usize = 128;

    /// Puts `event` at its place.
    #[must_use]
    pub fn new(cursor: Cursor, time: Timestamp, event: Event) -> Self {
        Self { cursor, time, event, gone: AtomicU8::new(0), rendered: OnceLock::new(), tally: None }
    }

    /// The place of an event that is gone: whoever would have read it is told so.
    #[must_use]
    pub fn tombstone(cursor: Cursor, time: Timestamp, event: Event, why: Gone) -> Self {
        let tombstone = Self::new(cursor, time, event);
        tombstone.remove(why);
        tombstone
    }

    /// Marks it as gone; the first word counts. Readers that come to it from now on are told a gap.
    pub fn remove(&self, why: Gone) {
        let _ = self.gone.compare_exchange(0, why as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why it is gone, if it was removed. See [`Appended::expires`] for those that go by themselves.
    #[must_use]
    pub fn gone(&self) -> Option<Gone> {
        match self.gone.load(Ordering::Relaxed) {
            1 => Some(Gone::Expired),
            2 => Some(Gone::Deleted),
            _ => None,
        }
    }

    /// When it goes by itself, if its publisher said so.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let ttl = u64::try_from(self.event.ttl?.as_millis()).unwrap_or(u64::MAX);
        Some(Timestamp(self.time.0.saturating_add(ttl)))
    }

    /// The same event, with renderings of its own, which are counted in `tally` as they are kept.
    #[must_use]
    pub fn counted(&self, tally: &Arc<Tally>) -> Self {
        let gone = AtomicU8::new(self.gone.load(Ordering::Relaxed));
        Self { tally: Some(Arc::clone(tally)), gone, ..Self::new(self.cursor, self.time, self.event.clone()) }
    }

    /// How many bytes of memory it takes, without renderings. Rather a little more than less.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let Event { topics, kind, data, content_type, key, conflate, .. } = &self.event;
        let optional = [kind.is_some(), content_type.is_some(), key.is_some(), conflate.is_some()];
        let names = topics.len() + optional.map(usize::from).iter().sum::<usize>();
        let more_topics =
            if topics.spilled() { topics.capacity() * size_of::<super::Topic>() + Self::ALLOCATION } else { 0 };
        // Names count twice: parsed, and in the row of which the data are a slice.
        let bytes = 2 * self.event.weight() - data.len();
        size_of::<Self>() + bytes + more_topics + (2 + names) * Self::ALLOCATION
    }

    /// The rendering in `slot`, made by `render` if nobody has needed it yet.
    pub fn rendered(&self, slot: Slot, render: impl FnOnce() -> Bytes) -> Bytes {
        let slots = self.rendered.get_or_init(|| {
            let slots: Box<Slots> = std::iter::repeat_with(OnceLock::new).take(slot.of).collect();
            self.keep(size_of_val(&*slots) + Self::ALLOCATION);
            slots
        });
        let rendered = slots[slot.nth].get_or_init(|| {
            let rendered = render();
            self.keep(rendered.len() + Self::RENDERING);
            rendered
        });
        rendered.clone()
    }

    fn keep(&self, bytes: usize) {
        if let Some(tally) = &self.tally {
            tally.keep(bytes);
        }
    }
}

/// Why an event is gone though the log still knows its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Gone {
    /// Its own time, or that of its topic, is over, or its topic keeps no more.
    Expired = 1,
    /// It was removed on purpose.
    Deleted = 2,
}

/// How many bytes of memory the events of one page take, with the renderings that are kept of them.
#[derive(Debug)]
pub struct Tally {
    bytes: AtomicU64,
    /// Bytes of renderings, of every page; whoever bounds the pages sees by it when to look.
    grown: Arc<AtomicU64>,
}

impl Tally {
    /// Begins at `bytes`, and adds what renderings take to `grown`, too.
    #[must_use]
    pub fn new(bytes: usize, grown: &Arc<AtomicU64>) -> Self {
        Self { bytes: AtomicU64::new(bytes as u64), grown: Arc::clone(grown) }
    }

    /// Adds what an event takes.
    pub fn add(&self, event: &Appended) {
        self.bytes.fetch_add(event.footprint() as u64, Ordering::Relaxed);
    }

    /// The sum.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn keep(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.grown.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
