//! One selection in one format, shared by all subscribers that want the same: matched, rendered and batched once.
//!
//! A stream is a cursor in a feed. The feed keeps the newest few batches; a stream that is further behind reads the
//! pages itself until it has caught up. Feeds are woken by topic, so an event costs nothing to those it does not concern;
//! and a feed remembers where the events stand that do concern it, so that nobody reads, or misses, what is between them.
//! What it keeps does not outlive the events: batches are dropped when events are removed, and not given when one of
//! theirs has outlived its time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::matched::Matched;
#[cfg(target_os = "linux")]
use super::shard::{Call, Cord, Cords};
use super::{Batch, TURN};
use crate::event::{Appended, Offset, Topic, TopicSelector};
use crate::hub::{Hub, Reader, Selection, Step};
use crate::transport::{Keeps, Rendering};

/// What equal subscribers share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedKey {
    /// Which events.
    pub selection: Arc<Selection>,
    /// How they are written.
    pub rendering: Rendering,
    /// Whether all of them or only the newest.
    pub keeps: Keeps,
    /// Of events that conflate only the newest of what comes together.
    pub conflates: bool,
}

/// What a feed has for a cursor.
#[derive(Debug)]
pub enum FeedStep {
    /// This comes next.
    Batch(Batch),
    /// Nothing new; everything up to this offset was looked at.
    Edge(Offset),
    /// The cursor is further behind than the feed's batches: read the pages after this offset, up to which nothing matches.
    Behind(Offset),
}

/// One selection in one format. It goes with the last of its subscribers.
#[derive(Debug)]
pub struct Feed {
    key: FeedKey,
    wake: Arc<Notify>,
    /// To the shards that have streams of it.
    #[cfg(target_os = "linux")]
    cords: Cords<Call>,
    recent: Mutex<Recent>,
    /// How far it is known, for every feed, which events concern it.
    looked: Arc<AtomicU64>,
    /// Its place among the feeds that the events being looked at concern, and in which round that was.
    concern: AtomicU64,
    feeds: Weak<Feeds>,
}

/// The newest batches. Between two of them nothing matched.
#[derive(Debug)]
struct Recent {
    /// How far events were read into batches.
    reader: Reader,
    /// What matches, since the feed began and as far as was looked.
    matched: Matched,
    /// Cursors from here on can be served.
    begin: Offset,
    batches: VecDeque<Kept>,
    bytes: usize,
    /// Several batches as one, by the first event in them, for those who are behind by the same ones.
    joined: SmallVec<[(Offset, Batch); 0]>,
    /// How often events had been removed when the batches were made.
    removals: u64,
}

#[derive(Debug)]
struct Kept {
    /// The first event in it: a cursor before it, and after the batch before, gets this batch whole.
    first: Offset,
    batch: Batch,
}

impl Feed {
    /// How many batches and bytes of them are kept for streams that are a little behind.
    const KEPT: (usize, usize) = (64, 256 * 1024);

    /// How many joined batches are kept.
    const JOINED: usize = 8;

    fn new(key: FeedKey, edge: Offset, looked: Arc<AtomicU64>, feeds: Weak<Feeds>) -> Self {
        let recent = Recent {
            reader: Reader::new(Arc::clone(&key.selection), edge),
            matched: Matched::new(edge),
            begin: edge,
            batches: VecDeque::new(),
            bytes: 0,
            joined: SmallVec::new(),
            removals: 0,
        };
        Self {
            key,
            wake: Arc::default(),
            #[cfg(target_os = "linux")]
            cords: Cords::default(),
            recent: Mutex::new(recent),
            looked,
            concern: AtomicU64::new(0),
            feeds,
        }
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

    /// The same, for as long as it is kept.
    pub(super) fn woken_owned(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.wake).notified_owned()
    }

    /// Its place among those concerned, if it is known in this round. Both are kept in 32 bits, of which a round that
    /// comes again after so many finds nothing left.
    fn concern_of(&self, round: u64) -> Option<usize> {
        let concern = self.concern.load(Ordering::Relaxed);
        let is_of_round = concern >> 32 == round & u64::from(u32::MAX);
        usize::try_from(concern & u64::from(u32::MAX)).ok().filter(|_| is_of_round)
    }

    fn concern_is(&self, round: u64, place: usize) {
        self.concern.store(round << 32 | place as u64 & u64::from(u32::MAX), Ordering::Relaxed);
    }

    /// Says that there may be something new, to all that wait for it.
    fn wake(&self) {
        self.wake.notify_waiters();
        #[cfg(target_os = "linux")]
        self.cords.pull();
    }

    /// Ties it to a shard, which hears of all that is new from here on.
    #[cfg(target_os = "linux")]
    pub(super) fn tie(&self, cord: Arc<Cord<Call>>) {
        self.cords.tie(cord);
    }

    /// Lets a shard hear no more.
    #[cfg(target_os = "linux")]
    pub(super) fn untie(&self, cord: &Arc<Cord<Call>>) {
        self.cords.untie(cord);
    }

    /// What comes after `cursor`. `alone`: nobody else reads this feed, so what is given need not be kept.
    ///
    /// Cost at the live edge: a lock, and a clone of shared bytes; the first of the feed's streams to ask renders. Events
    /// that do not concern the feed cost it nothing, however many went by.
    pub fn after(&self, cursor: Offset, hub: &Hub, alone: bool) -> FeedStep {
        let mut recent = self.recent();
        recent.heed_removals(hub);
        let looked = self.looked.load(Ordering::Acquire); // Under the lock: what was looked at by then is noted here.
        let cursor = recent.matched.quiet_after(cursor, looked);
        if cursor < recent.begin {
            return FeedStep::Behind(cursor);
        }
        if cursor >= looked {
            return FeedStep::Edge(cursor);
        }
        if recent.batches.back().is_none_or(|newest| newest.batch.to <= cursor) {
            // Up to the cursor first: beyond it all streams of the feed then share one batch boundary.
            recent.advance(cursor, &self.key, hub);
            if recent.reader.cursor() < cursor {
                recent.begin_anew(cursor); // Those that are further behind read the pages; nobody waits for them.
            }
            recent.advance(looked, &self.key, hub);
        }
        let mut step = recent.after(cursor, &self.key, hub);
        if let FeedStep::Batch(batch) = &mut step {
            batch.is_last = recent.matched.quiet_after(batch.to, looked) >= looked;
        }
        if alone && let FeedStep::Batch(batch) = &step {
            recent.drop_up_to(batch.to);
        }
        step
    }

    /// How far a reader at `cursor` may move on without passing over an event that matches.
    pub fn quiet_after(&self, cursor: Offset) -> Offset {
        let recent = self.recent();
        recent.matched.quiet_after(cursor, self.looked.load(Ordering::Acquire))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn after(&mut self, cursor: Offset, key: &FeedKey, hub: &Hub) -> FeedStep {
        if cursor < self.begin {
            return FeedStep::Behind(cursor);
        }
        let next = self.batches.partition_point(|kept| kept.batch.to <= cursor);
        match self.batches.get(next) {
            None => FeedStep::Edge(self.reader.cursor().max(cursor)),
            Some(kept) if cursor < kept.first && !kept.batch.is_over(hub) => {
                let batch = if next + 1 == self.batches.len() { kept.batch.clone() } else { self.join(next, key, hub) };
                FeedStep::Batch(Batch { removals: self.removals, ..batch })
            }
            Some(_) => FeedStep::Behind(cursor), // In the midst of a batch, or it is to be read for what is gone.
        }
    }

    /// The batches from this one on as one, as many as one write holds.
    ///
    /// Cost: a copy, once for all who are behind by the same batches.
    #[cold]
    fn join(&mut self, next: usize, key: &FeedKey, hub: &Hub) -> Batch {
        let (first, newest) = (self.batches[next].first, self.batches[self.batches.len() - 1].batch.to);
        let is_same = |(from, batch): &&(Offset, Batch)| *from == first && batch.to == newest && !batch.is_over(hub);
        if let Some((_, batch)) = self.joined.iter().find(is_same) {
            return batch.clone();
        }
        let (mut events, mut bytes) = (0, 0);
        let fits = |kept: &&Kept| {
            (events, bytes) = (events + kept.batch.events, bytes + kept.batch.bytes.len());
            let is_first = kept.first == first;
            is_first
                || (events <= TURN.events as u64 && bytes <= TURN.bytes && !kept.batch.is_over(hub) && !key.conflates)
        };
        let batches: SmallVec<[&Batch; 8]> =
            self.batches.range(next..).take_while(fits).map(|kept| &kept.batch).collect();
        let batch = Batch::join(&batches, key.keeps);
        if self.joined.len() == Feed::JOINED {
            self.joined.remove(0);
        }
        self.joined.push((first, batch.clone()));
        batch
    }

    /// Drops the batches that may hold events that were removed since, and those before them.
    fn heed_removals(&mut self, hub: &Hub) {
        let pages = hub.pages();
        let before = std::mem::replace(&mut self.removals, pages.removals());
        if before == self.removals {
            return;
        }
        let concerned = |kept: &&Kept| pages.may_be_removed(kept.first..=kept.batch.to, before);
        if let Some(upto) = self.batches.iter().rev().find(concerned).map(|kept| kept.batch.to) {
            self.drop_up_to(upto);
        }
    }

    /// Reads on up to `upto`, as far as which was looked, and makes one batch of what matches.
    fn advance(&mut self, upto: Offset, key: &FeedKey, hub: &Hub) {
        loop {
            // What does not match is not read.
            self.reader.skip_to(self.matched.quiet_after(self.reader.cursor(), upto).min(upto));
            if self.reader.cursor() >= upto {
                return;
            }
            match self.reader.step(hub, upto, TURN) {
                Step::Events(events) => {
                    let first = events[0].cursor.offset;
                    let batch = Batch::render(&events, key);
                    if events.last().is_some_and(|newest| batch.to < newest.cursor.offset) {
                        self.reader.back_to(batch.to);
                    }
                    return self.keep(Kept { first, batch });
                }
                Step::Scanned | Step::LiveEdge => {}
                // Nobody has asked for so long that the pages are no longer in memory, or what is there is gone.
                Step::Gap(_) | Step::Behind(_) => self.begin_anew(upto),
            }
        }
    }

    /// Serves cursors from `at` on only.
    #[cold]
    fn begin_anew(&mut self, at: Offset) {
        let at = at.max(self.reader.cursor());
        self.reader = Reader::new(Arc::clone(self.reader.selection()), at);
        self.drop_up_to(at);
    }

    fn keep(&mut self, kept: Kept) {
        self.joined.clear();
        self.bytes += kept.batch.bytes.len();
        self.batches.push_back(kept);
        while self.batches.len() > Feed::KEPT.0 || (self.bytes > Feed::KEPT.1 && self.batches.len() > 1) {
            self.drop_oldest();
        }
    }

    fn drop_up_to(&mut self, cursor: Offset) {
        while self.batches.front().is_some_and(|oldest| oldest.batch.to <= cursor) {
            self.drop_oldest();
        }
        self.begin = self.begin.max(cursor);
    }

    fn drop_oldest(&mut self) {
        self.joined.clear();
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= oldest.batch.bytes.len();
            self.begin = oldest.batch.to;
        }
    }
}

/// Every feed that has a subscriber, found by what it wants and by the topics that concern it.
#[derive(Debug)]
pub struct Feeds {
    table: Mutex<Table>,
    /// How often events were looked at.
    round: AtomicU64,
    looked: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<FeedKey, Weak<Feed>>,
    by_topic: HashMap<Topic, Vec<Weak<Feed>>>,
    globs: Vec<Weak<Feed>>,
}

/// A feed that events concern, from the first to the last of them.
struct Concerned {
    feed: Arc<Feed>,
    first: Offset,
    last: Offset,
}

impl Feeds {
    /// None yet; events after `edge` will be looked at.
    #[must_use]
    pub fn new(edge: Offset) -> Self {
        Self { table: Mutex::default(), round: AtomicU64::new(0), looked: Arc::new(AtomicU64::new(edge)) }
    }

    /// The feed for `key`, which begins at the live edge if nobody has it yet.
    #[must_use]
    pub fn join(self: &Arc<Self>, key: FeedKey, hub: &Hub) -> Arc<Feed> {
        let mut table = self.table();
        if let Some(feed) = table.by_key.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        // The edge is taken while the table is held: what is behind it was not looked at yet, and will find the feed.
        let feed = Arc::new(Feed::new(key, hub.pages().edge(), Arc::clone(&self.looked), Arc::downgrade(self)));
        table.insert(&feed);
        feed
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.table().by_key.len() as u64
    }

    /// Tells the feeds what concerns them of the next events, which end at `upto`, and wakes those. For one caller.
    pub fn wake<'a>(&self, events: impl Iterator<Item = &'a Arc<Appended>>, upto: Offset) {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        let (concerned, _passed_over) = self.table().concerned(events, round);
        self.tell(concerned, upto);
    }

    /// As [`Feeds::wake`], for events that could not be looked at: they may concern every feed.
    pub fn wake_all(&self, first: Offset, upto: Offset) {
        let feeds: Vec<_> = self.table().by_key.values().filter_map(Weak::upgrade).collect();
        self.tell(feeds.into_iter().map(|feed| Concerned { feed, first, last: upto }).collect(), upto);
    }

    /// Has all that wait for any feed look again at what is due without news: the end begins, or rules have changed.
    pub(super) fn rouse(&self) {
        let feeds: Vec<_> = self.table().by_key.values().filter_map(Weak::upgrade).collect();
        feeds.iter().for_each(|feed| feed.wake.notify_waiters());
    }

    /// Notes, then moves on how far was looked, then wakes: a feed that sees the new end knows all that is before it, and
    /// a stream that is woken sees the new end.
    fn tell(&self, concerned: Vec<Concerned>, upto: Offset) {
        concerned.iter().for_each(|Concerned { feed, first, last }| feed.recent().matched.note(*first, *last));
        self.looked.store(upto, Ordering::Release);
        concerned.into_iter().for_each(|Concerned { feed, .. }| feed.wake());
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
    fn concerned<'a>(
        &self,
        events: impl Iterator<Item = &'a Arc<Appended>>,
        round: u64,
    ) -> (Vec<Concerned>, Vec<Arc<Feed>>) {
        let mut concerned: Vec<Concerned> = Vec::new();
        let globs: Vec<_> = self.globs.iter().filter_map(Weak::upgrade).collect();
        let mut passed_over = Vec::new();
        for appended in events {
            let (event, offset) = (&appended.event, appended.cursor.offset);
            let exact = event.topics.iter().filter_map(|topic| self.by_topic.get(topic)).flatten();
            let exact = exact.filter_map(Weak::upgrade);
            for feed in exact.chain(globs.iter().cloned()) {
                if feed.key.selection.matches(event) {
                    match feed.concern_of(round).and_then(|place| concerned.get_mut(place)) {
                        Some(known) => {
                            known.last = offset;
                            passed_over.push(feed); // Not dropped while the table is held.
                        }
                        None => {
                            feed.concern_is(round, concerned.len());
                            concerned.push(Concerned { feed, first: offset, last: offset });
                        }
                    }
                } else {
                    passed_over.push(feed);
                }
            }
        }
        passed_over.extend(globs);
        (concerned, passed_over)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(feeds) = self.feeds.upgrade() {
            feeds.table().remove(self);
        }
    }
}

#[cfg(test)]
mod tests;
