//! The pump: brings every stream of a shard as far as its socket takes it.
//!
//! **In.** Sockets with their streams; news of feeds; sockets that can be written again; moments that have come.
//! **Out.** One `send` for each socket that has something new, of bytes that were rendered, batched and framed once.
//!
//! News of a feed starts a *train*: a visit to each of its streams, in the order of their slots. The first event after
//! quiet goes out at once. What comes while the train runs is not queued for anybody: whoever is visited next gets all that
//! is there by then in one write, and the train goes on until it has come by everybody once more. So under load streams
//! get several events a write, without a timer, and alone an event never waits.
//!
//! Trains run in *slices* of [`SLICE`] visits. Between two slices the core's runtime has its turn: it accepts, answers
//! publishers and takes new events in. Several trains take turns by slices. A stream that is behind, or has something of
//! its own to say (hello, goodbye, a heartbeat), stands in the *line* and is visited one by one, before the trains.
//!
//! Cost of a visit: some 150 instructions, two cache lines of the slot, and the `send`. A socket that takes nothing costs
//! nothing until it can be written again: its cursor stays where it is.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::bell::{Bell, Cord, News};
use super::dues::{Dues, Tick};
use super::slab::{Slab, SlotId};
use super::slot::{Frames, LAST_CHUNK, Slot};
use super::{Call, Connection, Framing, Held, Loaded, Want};
use crate::access::Permit;
use crate::delivery::live::Chosen;
use crate::delivery::{EndReason, Feed, Gone, Memo, Step, Stream};
use crate::event::Offset;
use crate::hub::Hub;
use crate::sys::{self, Poller, Ready};
use crate::transport::Bye;

/// Visits before others have their turn: less than a tenth of a millisecond of sends, so that a publisher hardly waits for
/// them, and what it brings is taken along by the train that runs. A turn of the runtime costs a fiftieth of that. In tests
/// so few that they come between everywhere.
const SLICE: usize = if cfg!(test) { 4 } else { 16 };

/// Writes that one visit may make, for a stream that is behind.
const WRITES: usize = 4;

/// How sockets are treated.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// How long a peer may take no byte though some are offered.
    pub stall: Duration,
    /// How long to wait after the last byte until the peer closes, so that it sees it before a reset (RFC 9112 § 9.6).
    pub linger: Duration,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { stall: Duration::from_secs(120), linger: Duration::from_secs(1) }
    }
}

/// The sockets of one shard, and what is to be done with them.
pub(super) struct Pump {
    slots: Slab<Slot>,
    pub(super) poller: Poller,
    pub(super) dues: Dues,
    groups: Vec<Group>,
    free_groups: Vec<u32>,
    by_feed: HashMap<usize, u32>,
    /// Groups on whose streams a train is to run, or runs.
    trains: VecDeque<u32>,
    /// Slots to be visited one by one.
    line: VecDeque<u32>,
    memo: Memo,
    frames: Frames,
    bell: Arc<Bell<Call>>,
    options: SocketOptions,
    pub(super) stalled: Arc<AtomicU64>,
    /// The slot in hand, should something panic.
    in_hand: Option<u32>,
    /// Sockets that have become ready.
    found: Vec<Ready>,
    /// Pages that streams wait for.
    pub(super) wants: Vec<Want>,
}

/// The streams of one feed.
#[derive(Default)]
struct Group {
    /// None: nobody is in it.
    feed: Option<(Arc<Feed>, Arc<Cord<Call>>)>,
    slots: Vec<u32>,
    /// Whom the train visits next.
    at: usize,
    /// How many it has yet to visit.
    left: usize,
}

impl Pump {
    pub(super) fn new(
        poller: Poller,
        bell: Arc<Bell<Call>>,
        options: SocketOptions,
        stalled: Arc<AtomicU64>,
        now: Instant,
    ) -> Self {
        Self {
            slots: Slab::default(),
            poller,
            dues: Dues::new(now),
            groups: Vec::new(),
            free_groups: Vec::new(),
            by_feed: HashMap::new(),
            trains: VecDeque::new(),
            line: VecDeque::new(),
            memo: Memo::default(),
            frames: Frames::default(),
            bell,
            options,
            stalled,
            in_hand: None,
            found: Vec::new(),
            wants: Vec::new(),
        }
    }

    /// Whether somebody is to be visited.
    pub(super) fn has_work(&self) -> bool {
        !self.line.is_empty() || !self.trains.is_empty()
    }

    /// Visits until a slice is over or nobody is left. A bug that concerns one stream ends that one.
    pub(super) fn slice(&mut self, now: Instant) {
        if catch_unwind(AssertUnwindSafe(|| self.visit_some(now))).is_err()
            && let Some(index) = self.in_hand.take()
        {
            self.give_up(index);
            let halted = self.groups.iter().zip(0..).filter(|(group, _)| group.left > 0);
            self.trains = halted.map(|(_, number)| number).collect();
        }
        (self.memo, self.frames) = (Memo::default(), Frames::default()); // Both are for one moment.
    }

    /// Lets go of a stream whose delivery panicked.
    #[cold]
    fn give_up(&mut self, index: u32) {
        tracing::error!("a stream ends, as its delivery panicked");
        let _ = catch_unwind(AssertUnwindSafe(|| self.remove(index)));
    }

    fn visit_some(&mut self, now: Instant) {
        let mut left = SLICE;
        // Trains get half of a slice at least, however long the line is.
        let of_the_line = if self.trains.is_empty() { SLICE } else { SLICE / 2 };
        while left > SLICE - of_the_line
            && let Some(index) = self.line.pop_front()
        {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.queued = false;
                self.visit(index, now);
            }
            left -= 1;
        }
        while left > 0
            && let Some(number) = self.trains.pop_front()
        {
            left -= self.run_train(number, left, now);
        }
    }

    /// Visits the next streams of a group, so many at most; answers how many.
    fn run_train(&mut self, number: u32, most: usize, now: Instant) -> usize {
        let mut visits = 0;
        while visits < most {
            let Some(group) = self.groups.get_mut(number as usize).filter(|group| group.left > 0) else {
                return visits;
            };
            group.left -= 1;
            if group.at >= group.slots.len() {
                group.at = 0;
            }
            let Some(&index) = group.slots.get(group.at) else { return visits };
            group.at += 1;
            visits += 1;
            self.visit(index, now);
        }
        if self.groups.get(number as usize).is_some_and(|group| group.left > 0) {
            self.trains.push_back(number); // The others first.
        }
        visits
    }

    /// Brings one stream as far as its socket takes it.
    fn visit(&mut self, index: u32, now: Instant) {
        self.in_hand = Some(index);
        for _ in 0..WRITES {
            let Some(slot) = self.slots.get_mut(index) else { return };
            if slot.rest.is_some() {
                return; // It goes on when it can be written again.
            }
            let Some(stream) = &mut slot.stream else { return };
            match stream.step(now, &mut self.memo) {
                Step::Write(content) => {
                    let rests = slot.entry != Tick::MAX && stream.rests(&self.memo);
                    let bytes = self.frames.of(slot.framing, content);
                    match slot.write(&bytes, now) {
                        Ok(true) if rests => return,
                        Ok(true) => {}
                        Ok(false) => return self.come_up(index),
                        Err(error) => return self.hang_up(index, &error),
                    }
                }
                Step::Wait(_) => {
                    if slot.entry == Tick::MAX || !stream.is_plain() {
                        self.come_up(index);
                    }
                    return;
                }
                Step::Load { at, .. } => return self.fetch(index, at),
                Step::Yield => break,
                Step::End => return self.finish(index, now),
            }
        }
        self.queue(index); // There is more, after others have had their turn.
    }

    /// Has a slot visited, after those that wait already.
    pub(super) fn queue(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index)
            && !slot.queued
        {
            slot.queued = true;
            self.line.push_back(index);
        }
    }

    /// Has a slot looked at when its next deadline comes, if it is not looked at before that anyway.
    fn come_up(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(due) = slot.due(self.options.stall) else { return };
        let tick = self.dues.tick(due);
        if tick < slot.entry {
            slot.entry = tick;
            self.dues.push(tick, index);
        }
    }

    #[cold]
    fn fetch(&mut self, index: u32, at: Offset) {
        let Some(id) = self.slots.id(index) else { return };
        if self.slots.get_mut(index).is_some_and(|slot| slot.loading.is_none()) {
            self.wants.push((id, at));
        }
        self.come_up(index);
    }

    /// The stream is over: says so on the connection, and closes it once the peer has seen it.
    #[cold]
    fn finish(&mut self, index: u32, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.stream = None; // Which counts its end.
        let last = if slot.framing == Framing::Chunked { LAST_CHUNK } else { bytes::Bytes::new() };
        if let Some(rest) = &mut slot.rest {
            rest.bytes = [&rest.bytes[..], &last[..]].concat().into();
            return self.come_up(index);
        }
        match slot.write(&last, now) {
            Ok(true) => self.close(index, now),
            Ok(false) => self.come_up(index),
            Err(error) => self.hang_up(index, &error),
        }
    }

    /// All is said: closes our side, and waits a moment for the peer's.
    #[cold]
    fn close(&mut self, index: u32, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        sys::close_write(std::os::fd::AsFd::as_fd(&slot.socket));
        slot.entry = self.dues.tick(now + self.options.linger);
        let entry = slot.entry;
        self.dues.push(entry, index);
    }

    #[cold]
    fn hang_up(&mut self, index: u32, error: &io::Error) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.fail(error);
        }
        self.remove(index);
    }

    /// Takes in a stream on its connection.
    pub(super) fn adopt(&mut self, mut stream: Stream, connection: Connection, permit: Permit) -> Option<SlotId> {
        let Connection { socket, head, framing, held } = connection;
        stream.beat_earlier(Dues::GRID); // What comes up on the grid comes up a little late.
        let feed = Arc::clone(stream.feed());
        let own = !permit.comes_with_the_same(feed.key().selection.permit());
        let (group, place) = self.join(&feed);
        let (peer, permit) = (Arc::clone(stream.peer()), own.then(|| Box::new(permit)));
        let id = self.slots.insert(Slot {
            socket,
            stream: Some(stream),
            peer,
            rest: None,
            loading: None,
            framing,
            queued: false,
            group,
            place,
            entry: Tick::MAX,
            strays: 0,
            permit,
            held,
        });
        self.groups[group as usize].slots.push(id.index);
        let now = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| self.begin(id, &head, now))) {
            Ok(Ok(())) => return Some(id),
            Ok(Err(error)) => self.hang_up(id.index, &error),
            Err(_) => self.give_up(id.index),
        }
        None
    }

    /// Writes the head with the first bytes of the content.
    fn begin(&mut self, id: SlotId, head: &[u8], now: Instant) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(id.index) else { return Ok(()) };
        self.poller.add(&slot.socket, id.token())?;
        let mut first = head.to_vec();
        if let Some(Step::Write(content)) = slot.stream.as_mut().map(|stream| stream.step(now, &mut Memo::default())) {
            first.extend_from_slice(&Frames::default().of(slot.framing, content));
        }
        if slot.is_withdrawn()
            && let Some(stream) = &mut slot.stream
        {
            stream.farewell(Bye::Expired, Duration::from_secs(2), EndReason::AuthExpired);
        }
        if slot.write(&first.into(), now)? {
            self.queue(id.index);
        } else {
            self.come_up(id.index);
        }
        Ok(())
    }

    /// The group of a feed, and the next place there.
    fn join(&mut self, feed: &Arc<Feed>) -> (u32, u32) {
        let key = Arc::as_ptr(feed) as usize;
        let number = *self.by_feed.entry(key).or_insert_with(|| {
            let number = self.free_groups.pop().unwrap_or_else(|| {
                self.groups.push(Group::default());
                u32::try_from(self.groups.len() - 1).expect("there are fewer feeds than that")
            });
            let cord = Arc::new(Cord::new(Arc::clone(&self.bell), News(number)));
            feed.tie(Arc::clone(&cord)); // Before anybody in it looks for news.
            self.groups[number as usize].feed = Some((Arc::clone(feed), cord));
            number
        });
        let group = &mut self.groups[number as usize];
        if group.left > 0 {
            group.left += 1; // A train that runs comes by the newcomer too, and must not stop one short for that.
        }
        let place = group.slots.len();
        (number, u32::try_from(place).expect("there are fewer streams than that"))
    }

    /// There is news for a group.
    pub(super) fn start_train(&mut self, News(number): News) {
        let Some(group) = self.groups.get_mut(number as usize) else { return };
        let Some((_, cord)) = &group.feed else { return };
        cord.heard();
        if group.left == 0 {
            self.trains.push_back(number);
            group.at += 1 + group.slots.len() / 7; // Nobody is always the last.
        }
        group.left = group.slots.len();
    }

    /// A socket has become ready.
    fn ready(&mut self, ready: Ready, now: Instant) {
        let id = SlotId::of(ready.token);
        let Some(slot) = self.slots.tenant_mut(id) else { return };
        if ready.readable && !slot.listen() {
            self.remove(id.index);
            return;
        }
        if ready.writable && slot.rest.is_some() {
            match slot.write_on(now) {
                Ok(true) if slot.stream.is_some() => {
                    self.come_up(id.index); // What stands there was for the end of its patience.
                    self.queue(id.index);
                }
                Ok(true) => self.close(id.index, now),
                Ok(false) => {}
                Err(error) => self.hang_up(id.index, &error),
            }
        }
    }

    /// Looks after those whose moment has come.
    pub(super) fn look_after(&mut self, now: Instant) {
        while let Some((tick, index)) = self.dues.pop(now) {
            let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.entry == tick) else { continue };
            slot.entry = Tick::MAX;
            match slot.due(self.options.stall) {
                Some(due) if due > now => self.come_up(index),
                Some(_) if slot.rest.is_some() => {
                    slot.peer.record(Gone::Stalled);
                    self.stalled.fetch_add(1, Ordering::Relaxed);
                    self.remove(index);
                }
                Some(_) if slot.is_lost(self.options.stall) => self.remove(index),
                Some(_) => self.queue(index),
                None => self.remove(index), // It was waited for long enough.
            }
        }
    }

    /// Has every stream say goodbye.
    pub(super) fn say_goodbye(&mut self, bye: Bye, retry: impl Fn() -> Duration, reason: EndReason) {
        for index in self.slots.indices() {
            if let Some(stream) = self.slots.get_mut(index).and_then(|slot| slot.stream.as_mut()) {
                stream.farewell(bye, retry(), reason);
                self.queue(index);
            }
        }
    }

    /// Has one stream say goodbye.
    pub(super) fn say_goodbye_to(&mut self, id: SlotId, bye: Bye, retry: Duration, reason: EndReason) {
        if let Some(stream) = self.slots.tenant_mut(id).and_then(|slot| slot.stream.as_mut()) {
            stream.farewell(bye, retry, reason);
            self.queue(id.index);
        }
    }

    /// Has every stream say goodbye whose reader would not be let in again.
    pub(super) fn heed_rules(&mut self, retry: impl Fn() -> Duration) {
        for index in self.slots.indices() {
            if let Some(slot) = self.slots.get_mut(index)
                && slot.is_withdrawn()
                && let Some(stream) = &mut slot.stream
            {
                stream.farewell(Bye::Expired, retry(), EndReason::AuthExpired);
                self.queue(index);
            }
        }
    }

    /// Ends all that is left.
    pub(super) fn end(&mut self) {
        self.slots.indices().into_iter().for_each(|index| self.remove(index));
    }

    /// Keeps something for as long as a stream is there.
    pub(super) fn hold(&mut self, id: SlotId, more: Held) {
        if let Some(slot) = self.slots.tenant_mut(id) {
            let held = std::mem::replace(&mut slot.held, Box::new(()));
            slot.held = Box::new((held, more));
        }
    }

    /// The hub from which a page is to be fetched for a stream, unless one is on its way: a stream may be visited twice
    /// before it is known to wait.
    pub(super) fn hub(&mut self, id: SlotId) -> Option<Arc<Hub>> {
        let slot = self.slots.tenant_mut(id).filter(|slot| slot.loading.is_none())?;
        slot.stream.as_ref().map(|stream| Arc::clone(stream.hub()))
    }

    /// A stream waits for a page that is being fetched.
    pub(super) fn waits(&mut self, id: SlotId, fetching: AbortHandle) {
        match self.slots.tenant_mut(id) {
            Some(slot) => slot.loading = Some(fetching),
            None => fetching.abort(),
        }
    }

    /// Gives a stream the page that it waits for.
    pub(super) fn give(&mut self, Loaded { slot: id, removals, page }: Loaded) {
        let Some(slot) = self.slots.tenant_mut(id) else { return };
        slot.loading = None;
        let Some(stream) = &mut slot.stream else { return };
        match page {
            Ok(page) => {
                // One that lay somewhere while events of it were removed, or would have to lie here, is fetched anew: nobody
                // marks them in a page that memory has let go.
                let is_stale = stream.hub().pages().may_be_removed(page.first()..=page.last(), removals);
                if !is_stale && slot.rest.is_none() {
                    stream.give(page);
                }
                self.queue(id.index); // Not visited here: what it finds is remembered for a slice, and none is on.
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a stream ends early");
                stream.because(EndReason::SourceError);
                self.finish(id.index, Instant::now());
            }
        }
    }

    /// Looks which sockets have become ready. Answers whether there may be more of them: others have their turn first, as
    /// many peers may leave at once.
    ///
    /// # Errors
    /// The sockets cannot be watched.
    pub(super) fn listen(&mut self, now: Instant) -> io::Result<bool> {
        self.found.clear();
        let more = self.poller.ready(&mut self.found)?;
        for at in 0..self.found.len() {
            self.ready(self.found[at], now);
        }
        Ok(more)
    }

    /// Offers the streams of one piece of the slab, to be shown. Answers whether there is another piece.
    pub(super) fn show(&self, piece: usize, chosen: &mut Chosen, now: Instant) -> bool {
        let Some(slots) = self.slots.piece(piece) else { return false };
        slots.filter_map(|slot| slot.live(now)).for_each(|live| chosen.offer(live));
        true
    }

    /// Ends a stream without a word, for this reason.
    pub(super) fn cut(&mut self, id: SlotId, reason: EndReason) {
        if let Some(slot) = self.slots.tenant_mut(id) {
            if let Some(stream) = &mut slot.stream {
                stream.because(reason);
            }
            self.remove(id.index);
        }
    }

    /// Ends a stream whose client has a newer one: with a word, for whoever is in between, if there is room for it.
    pub(super) fn supersede(&mut self, id: SlotId, retry: Duration) {
        let Some(slot) = self.slots.tenant_mut(id) else { return };
        match &mut slot.stream {
            Some(stream) if slot.rest.is_none() => {
                stream.because(EndReason::Superseded);
                stream.farewell(Bye::Superseded, retry, EndReason::Superseded);
                self.queue(id.index);
            }
            _ => self.cut(id, EndReason::Superseded),
        }
    }

    /// Lets a slot go, and with it its socket and its stream.
    fn remove(&mut self, index: u32) {
        let Some(slot) = self.slots.remove(index) else { return };
        let Some(group) = self.groups.get_mut(slot.group as usize) else { return };
        let place = slot.place as usize;
        if group.slots.get(place) == Some(&index) {
            group.slots.swap_remove(place);
        }
        let is_empty = group.slots.is_empty();
        let moved = group.slots.get(place).copied();
        // It may have been moved from where the train has yet to come to where it was.
        let is_missed = group.left > 0;
        if is_empty && let Some((feed, cord)) = std::mem::take(group).feed {
            feed.untie(&cord);
            self.by_feed.remove(&(Arc::as_ptr(&feed) as usize));
            self.free_groups.push(slot.group);
        }
        if let Some(moved) = moved {
            if let Some(moved) = self.slots.get_mut(moved) {
                moved.place = slot.place;
            }
            if is_missed {
                self.queue(moved);
            }
        }
    }
}
