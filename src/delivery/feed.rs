//! One selection in one format, shared by all subscribers that want the same: matched, rendered and batched once.
//!
//! A stream is a cursor in a feed. The feed keeps the newest few batches; a stream that is further behind reads the
//! pages itself until it has caught up. Feeds are woken by topic, so an event costs nothing to those it does not concern.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::event::{Appended, Event, Offset, Topic, TopicSelector};
use crate::hub::{Budget, Hub, Reader, Selection, Step};
use crate::transport::{Keeps, Rendering};

/// How much one write holds at most; also what a reader that does not read can make us keep for it.
pub const TURN: Budget = Budget { events: 1024, bytes: 256 * 1024 };

/// What equal subscribers share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedKey {
    /// Which events.
    pub selection: Arc<Selection>,
    /// How they are written.
    pub rendering: Rendering,
    /// Whether all of them or only the newest.
    pub keeps: Keeps,
}

/// Rendered events, ready to be written.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The cursor after it.
    pub to: Offset,
    /// What is written.
    pub bytes: Bytes,
    /// How many events it delivers.
    pub events: u64,
    /// How many it passes over (state transports).
    pub skipped: u64,
}

impl Batch {
    /// Renders matching events. A single event's bytes are shared, not copied; of several one buffer is made.
    ///
    /// # Panics
    /// If there is no event.
    #[must_use]
    pub fn render(events: &[Arc<Appended>], rendering: Rendering, keeps: Keeps) -> Self {
        let to = events.last().expect("a step gives at least one event").cursor.offset;
        let told = match keeps {
            Keeps::Events => events,
            Keeps::State => &events[events.len() - 1..],
        };
        let bytes = match told {
            [event] => rendering.event(event),
            _ => {
                let rendered: Vec<Bytes> = told.iter().map(|event| rendering.event(event)).collect();
                let mut all = BytesMut::with_capacity(rendered.iter().map(Bytes::len).sum());
                rendered.iter().for_each(|bytes| all.extend_from_slice(bytes));
                all.freeze()
            }
        };
        Self { to, bytes, events: told.len() as u64, skipped: (events.len() - told.len()) as u64 }
    }
}

/// What a feed has for a cursor.
#[derive(Debug)]
pub enum FeedStep {
    /// This comes next.
    Batch(Batch),
    /// Nothing new; everything up to this offset was looked at.
    Edge(Offset),
    /// The cursor is further behind than the feed's batches: read the pages.
    Behind,
}

/// One selection in one format. It goes with the last of its subscribers.
#[derive(Debug)]
pub struct Feed {
    key: FeedKey,
    wake: Notify,
    recent: Mutex<Recent>,
    feeds: Weak<Feeds>,
}

/// The newest batches. Between two of them nothing matched.
#[derive(Debug)]
struct Recent {
    reader: Reader,
    /// Cursors from here on can be served.
    begin: Offset,
    batches: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    /// The first event in it: a cursor before it, and after the batch before, gets this batch whole.
    first: Offset,
    batch: Batch,
}

impl Feed {
    /// How many batches and bytes of them are kept for streams that are a little behind.
    const KEPT: (usize, usize) = (8, 256 * 1024);

    fn new(key: FeedKey, edge: Offset, feeds: Weak<Feeds>) -> Self {
        let reader = Reader::new(Arc::clone(&key.selection), edge);
        let recent = Recent { reader, begin: edge, batches: VecDeque::new(), bytes: 0 };
        Self { key, wake: Notify::new(), recent: Mutex::new(recent), feeds }
    }

    /// What its subscribers share.
    #[must_use]
    pub fn key(&self) -> &FeedKey {
        &self.key
    }

    /// Resolves when there may be something new. Take it before looking, or a change in between is missed.
    pub fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.wake.notified()
    }

    /// What comes after `cursor`.
    ///
    /// Cost at the live edge: a lock, and a clone of shared bytes; the first of the feed's streams to ask renders.
    pub fn after(&self, cursor: Offset, hub: &Hub) -> FeedStep {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if cursor < recent.begin {
            return FeedStep::Behind;
        }
        if recent.batches.back().is_none_or(|newest| newest.batch.to <= cursor) {
            // Up to the cursor first: beyond it all streams of the feed then share one batch boundary.
            recent.advance(cursor, &self.key, hub);
            recent.advance(hub.pages().edge(), &self.key, hub);
        }
        recent.after(cursor)
    }
}

impl Recent {
    fn after(&self, cursor: Offset) -> FeedStep {
        if cursor < self.begin {
            return FeedStep::Behind;
        }
        let next = self.batches.partition_point(|kept| kept.batch.to <= cursor);
        match self.batches.get(next) {
            None => FeedStep::Edge(self.reader.cursor().max(cursor)),
            Some(kept) if cursor < kept.first => FeedStep::Batch(kept.batch.clone()),
            Some(_) => FeedStep::Behind, // In the midst of a batch.
        }
    }

    /// Reads on up to `upto` and makes one batch of what matches.
    fn advance(&mut self, upto: Offset, key: &FeedKey, hub: &Hub) {
        while self.reader.cursor() < upto {
            match self.reader.step(hub.pages(), upto, TURN) {
                Step::Events(events) => {
                    let first = events[0].cursor.offset;
                    self.keep(Kept { first, batch: Batch::render(&events, key.rendering, key.keeps) });
                    return;
                }
                Step::Scanned => {}
                Step::LiveEdge => return,
                // Nobody has asked for so long that the pages are no longer in memory: begin anew at the live edge.
                Step::Gap(_) | Step::Behind(_) => {
                    let edge = hub.pages().edge();
                    self.reader.skip_to(edge);
                    (self.begin, self.bytes) = (edge, 0);
                    self.batches.clear();
                    return;
                }
            }
        }
    }

    fn keep(&mut self, kept: Kept) {
        self.bytes += kept.batch.bytes.len();
        self.batches.push_back(kept);
        while self.batches.len() > Feed::KEPT.0 || (self.bytes > Feed::KEPT.1 && self.batches.len() > 1) {
            let Some(oldest) = self.batches.pop_front() else { return };
            self.bytes -= oldest.batch.bytes.len();
            self.begin = oldest.batch.to;
        }
    }
}

/// Every feed that has a subscriber, found by what it wants and by the topics that concern it.
#[derive(Debug, Default)]
pub struct Feeds {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<FeedKey, Weak<Feed>>,
    by_topic: HashMap<Topic, Vec<Weak<Feed>>>,
    globs: Vec<Weak<Feed>>,
}

impl Feeds {
    /// The feed for `key`, which begins at the live edge if nobody has it yet.
    #[must_use]
    pub fn join(self: &Arc<Self>, key: FeedKey, hub: &Hub) -> Arc<Feed> {
        let mut table = self.table();
        if let Some(feed) = table.by_key.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed::new(key, hub.pages().edge(), Arc::downgrade(self)));
        table.insert(&feed);
        feed
    }

    /// Wakes the feeds that these events concern.
    pub fn wake<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let (woken, _passed_over) = self.table().concerned(events);
        woken.iter().for_each(|feed| feed.wake.notify_waiters());
    }

    /// Wakes every feed: what happened in between was not looked at.
    pub fn wake_all(&self) {
        let feeds: Vec<_> = self.table().by_key.values().filter_map(Weak::upgrade).collect();
        feeds.iter().for_each(|feed| feed.wake.notify_waiters());
    }

    /// How many feeds there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().by_key.len()
    }

    /// Whether nobody subscribes to anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, feed: &Arc<Feed>) {
        let weak = Arc::downgrade(feed);
        let mut is_glob = false;
        for selector in feed.key.selection.topics() {
            match selector {
                TopicSelector::Exact(topic) => {
                    self.by_topic.entry(topic.clone()).or_default().push(Weak::clone(&weak));
                }
                TopicSelector::Glob(_) => is_glob = true,
            }
        }
        if is_glob {
            self.globs.push(Weak::clone(&weak));
        }
        self.by_key.insert(feed.key.clone(), weak);
    }

    /// Forgets a feed. Its key may belong to a newer one by now.
    fn remove(&mut self, feed: &Feed) {
        let others = |held: &Weak<Feed>| !std::ptr::eq(held.as_ptr(), feed);
        for selector in feed.key.selection.topics() {
            if let TopicSelector::Exact(topic) = selector
                && let Some(feeds) = self.by_topic.get_mut(topic)
            {
                feeds.retain(others);
                if feeds.is_empty() {
                    self.by_topic.remove(topic);
                }
            }
        }
        self.globs.retain(others);
        if self.by_key.get(&feed.key).is_some_and(|held| !others(held)) {
            self.by_key.remove(&feed.key);
        }
    }

    /// The feeds that these events concern, and those that were looked at in vain: whoever calls drops them, without
    /// holding the table, as a feed that goes asks for it.
    fn concerned<'a>(&self, events: impl Iterator<Item = &'a Event>) -> (Vec<Arc<Feed>>, Vec<Arc<Feed>>) {
        let mut concerned: HashMap<*const Feed, Arc<Feed>> = HashMap::new();
        let globs: Vec<_> = self.globs.iter().filter_map(Weak::upgrade).collect();
        for event in events {
            let exact = event.topics.iter().filter_map(|topic| self.by_topic.get(topic)).flatten();
            let exact = exact.filter_map(Weak::upgrade);
            let matching = globs.iter().filter(|feed| feed.key.selection.matches(event)).cloned();
            for feed in exact.chain(matching) {
                // A feed that is there already is only cloned here, so that none is dropped while the table is held.
                concerned.entry(Arc::as_ptr(&feed)).or_insert(feed);
            }
        }
        (concerned.into_values().collect(), globs)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(feeds) = self.feeds.upgrade() {
            feeds.table().remove(self);
        }
    }
}
