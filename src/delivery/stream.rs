//! One open stream: a cursor in a feed, with its deadlines. One value, no async, no socket.
//!
//! Whoever carries it calls [`Stream::step`] and does what it says: write, fetch a page, wait, end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::closed::{Asker, Closed};
use super::ending::Ending;
use super::extras::{Extras, Farewell};
use super::live::Live;
use super::open::pad;
use super::receipts::{Proof, Proved};
use super::{Batch, EndReason, Feed, FeedStep, Memo, OnGap, Peer, TURN, quarter_of, wait_after_gap};
use crate::event::Offset;
use crate::hub::{Budget, Hub, Page, Reader, Snapshot, Step as Read};
use crate::log::Missing;
use crate::transport::{Bye, Keeps, Notice, Rendering};

/// What a stream wants of its carrier.
#[derive(Debug)]
pub enum Step {
    /// Write these bytes, then step again.
    Write(Bytes),
    /// Fetch the page that holds an offset and [`Stream::give`] it, then step again.
    Load {
        /// The offset.
        at: Offset,
        /// Step again then even so, and go on fetching: something else is due.
        until: Instant,
    },
    /// Let others have their turn, then step again.
    Yield,
    /// Nothing to do until the feed wakes, or until then.
    Wait(Instant),
    /// The stream is over.
    End,
}

/// How a stream beats while there is no news.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// After this long without a byte.
    pub interval: Duration,
    /// As an event that scripts can see, instead of a comment.
    pub as_event: bool,
}

/// How a stream goes, as its subscriber wants it.
pub struct Terms {
    /// How it beats.
    pub heartbeat: Heartbeat,
    /// How many events the log keeps at most.
    pub retention: u64,
    /// After what time to come back, where the stream ends by itself.
    pub retry: Duration,
    /// How many events it gives at most.
    pub limit: Option<u64>,
    /// What it does when something is gone.
    pub on_gap: OnGap,
    /// Where to note that it was closed on a gap, and as whose.
    pub(super) closing: Option<(Arc<Closed>, Asker)>,
    /// What it gives first.
    pub snapshot: Option<Snapshot>,
    /// Its subscriber asked for what there is, and not for what came since it was here.
    pub begins_anew: bool,
    /// It ends after its first events, or at this time: its path holds them until the answer ends.
    pub finish: Option<Instant>,
    /// Its client says what it got.
    pub(super) proof: Option<Proof>,
}

impl Terms {
    /// A stream that goes on for ever, with this heartbeat, in a log that keeps so many events.
    #[must_use]
    pub fn new(heartbeat: Heartbeat, retention: u64) -> Self {
        let retry = Duration::from_secs(2);
        Self {
            heartbeat,
            retention,
            retry,
            limit: None,
            on_gap: OnGap::GoOn,
            closing: None,
            snapshot: None,
            begins_anew: false,
            finish: None,
            proof: None,
        }
    }
}

/// One open stream.
///
/// Cost: 160 bytes, and at the live edge nothing beside them, if its subscriber wants nothing special.
pub struct Stream {
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    reader: Reader,
    heartbeat: Interval,
    retention: u64,
    /// The newest position the client was told.
    told: Offset,
    /// What most streams have not, or not for long.
    extras: Option<Box<Extras>>,
    ending: Ending,
}

/// A [`Heartbeat`], in little room.
#[derive(Clone, Copy)]
struct Interval {
    milliseconds: u32,
    as_event: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ending.gave(self.told);
    }
}

impl Stream {
    /// After how many heartbeats a state transport shows its state again: a part's header must not grow for ever.
    const BEATS_A_PART: u32 = 40;

    /// How soon a state that nothing followed is sent again: Chromium (156) paints a part when the next one begins.
    const AGAIN: Duration = Duration::from_millis(200);

    /// A stream that begins with `opening` and goes on behind `after`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, feed: Arc<Feed>, after: Offset, opening: Bytes, terms: Terms, ending: Ending) -> Self {
        let mut reader = Reader::new(Arc::clone(&feed.key().selection), after);
        if terms.begins_anew {
            reader = reader.asking_for_what_is_there(&hub);
        }
        let Terms { heartbeat, retention, retry, limit, on_gap, closing, snapshot, begins_anew: _, finish, proof } =
            terms;
        let opening = Some(opening);
        let extras =
            Box::new(Extras { opening, limit, on_gap, closing, snapshot, finish, proof, ..Extras::new(retry) });
        let milliseconds = u32::try_from(heartbeat.interval.as_millis()).unwrap_or(u32::MAX);
        let heartbeat = Interval { milliseconds, as_event: heartbeat.as_event };
        Self { hub, feed, reader, heartbeat, retention, told: after, extras: Some(extras), ending }
    }

    /// The feed that wakes it.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The hub that it reads.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// How it stands, in a log of which so much is in memory. What does not concern it keeps it from nothing, so that is no lag.
    pub(super) fn live(&self, edge: Offset, now: Instant) -> Live {
        let (ticket, name, transport) = self.ending.names();
        let cursor = self.feed.quiet_after(self.reader.cursor());
        Live {
            name,
            stream: ticket.stream(),
            path: ticket.path(),
            transport,
            age: now.saturating_duration_since(self.ending.opened()),
            quiet: now.saturating_duration_since(self.ending.written()),
            heartbeat: Duration::from_millis(self.heartbeat.milliseconds.into()),
            lag: edge.saturating_sub(cursor),
            not_taken: 0,
            blocked: None,
        }
    }

    /// Up to where it was given everything, or passed over what does not concern it.
    pub(super) fn cursor(&self) -> Offset {
        self.reader.cursor()
    }

    /// When it wrote something last, or was opened.
    pub(super) fn written(&self) -> Instant {
        self.ending.written()
    }

    /// The other end.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        self.ending.peer()
    }

    /// Whether it has nothing to say before its next heartbeat, unless there is news.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.extras.is_none()
    }

    /// Whether it is known to have nothing to do, after it has written, before its next heartbeat. Spares a step.
    #[must_use]
    pub fn rests(&self, memo: &Memo) -> bool {
        self.extras.is_none() && memo.is_edge(&self.feed, self.reader.cursor()) && !self.reader.owes_gap()
    }

    /// Has it beat a little earlier than it says, for a carrier that looks a little late.
    pub fn beat_earlier(&mut self, by: Duration) {
        let by = u32::try_from(by.as_millis()).unwrap_or(u32::MAX);
        self.heartbeat.milliseconds = self.heartbeat.milliseconds.saturating_sub(by);
    }

    /// Hands over the page that [`Step::Load`] asked for.
    pub fn give(&mut self, page: Arc<Page>) {
        match self.snapshot_mut() {
            Some(snapshot) => snapshot.give(page),
            None => self.reader.give(page),
        }
    }

    /// Has it say goodbye at its next step, and end.
    pub fn farewell(&mut self, bye: Bye, retry: Duration, reason: EndReason) {
        self.extras_mut().farewell.get_or_insert(Farewell::Due { bye, retry, reason });
    }

    fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_insert_with(|| Box::new(Extras::new(Duration::ZERO)))
    }

    fn snapshot_mut(&mut self) -> Option<&mut Snapshot> {
        self.extras.as_mut()?.snapshot.as_mut()
    }

    /// Names why it is about to be dropped.
    pub fn because(&mut self, reason: EndReason) {
        self.ending.because(reason);
    }

    /// What is to be done now. `memo`: what was found for another stream of the same feed a moment ago.
    ///
    /// Cost at the live edge with a memo that fits: some ten branches, and a clone of shared bytes.
    pub fn step(&mut self, now: Instant, memo: &mut Memo) -> Step {
        if self.extras.is_some()
            && let Some(step) = self.step_specially(now)
        {
            return step;
        }
        if self.reader.owes_gap() {
            return self.catch_up(self.reader.cursor(), now); // Nobody else comes by what it is to tell.
        }
        // Its carrier holds the feed a second time while it steps.
        let alone = || Arc::strong_count(&self.feed) <= 2;
        match memo.after(&self.feed, self.reader.cursor(), &self.hub, alone) {
            // All of it would be too much: it reads for itself what is left to it.
            FeedStep::Batch(batch) if self.limit().is_some_and(|left| left < batch.events) => {
                self.catch_up(self.reader.cursor(), now)
            }
            FeedStep::Batch(batch) => self.deliver(batch, now),
            FeedStep::Edge(edge) => self.rest(*edge, now),
            FeedStep::Behind(quiet) => self.catch_up(*quiet, now),
        }
    }

    /// What comes before what its feed has, if anything does.
    #[cold]
    fn step_specially(&mut self, now: Instant) -> Option<Step> {
        let extras = self.extras.as_mut()?;
        if let Some(opening) = extras.opening.take() {
            return Some(self.write(opening, 0, 0, now));
        }
        match extras.farewell.take() {
            None => {}
            Some(Farewell::Due { bye, retry, reason }) => return Some(self.say_goodbye(bye, retry, reason, now)),
            Some(Farewell::Said) => {
                extras.farewell = Some(Farewell::Said);
                return Some(Step::End);
            }
        }
        if extras.snapshot.is_some() {
            return Some(self.tell_snapshot(now));
        }
        self.extras.take_if(|extras| extras.is_over());
        None
    }

    fn limit(&self) -> Option<u64> {
        self.extras.as_ref()?.limit
    }

    /// Reads the pages after `quiet` by itself, until it has caught up with its feed.
    #[cold]
    fn catch_up(&mut self, quiet: Offset, now: Instant) -> Step {
        self.reader.skip_to(quiet); // Not to be read: it may be gone by now, and that would look like a gap.
        let removals = self.hub.pages().removals();
        match self.reader.step(&self.hub, self.hub.pages().edge(), self.turn()) {
            Read::Events(events) => {
                let batch = Batch { removals, ..Batch::render(&events, self.feed.key()) };
                if events.last().is_some_and(|newest| batch.to < newest.cursor.offset) {
                    self.reader.back_to(batch.to);
                }
                self.deliver(&batch, now)
            }
            // A replay that matches nothing must not be silent: an intermediary would cut it, and whoever comes back with
            // the position from before would begin all over.
            Read::Behind(at) => self.idle(|_| 1, now).unwrap_or_else(|| Step::Load { at, until: self.due() }),
            Read::Scanned => self.idle(|_| 1, now).unwrap_or(Step::Yield),
            Read::LiveEdge => self.rest(self.reader.cursor(), now),
            Read::Gap(missing) => self.tell_gap(missing, now),
        }
    }

    /// Gives what comes before anything that is new.
    #[cold]
    fn tell_snapshot(&mut self, now: Instant) -> Step {
        let (turn, removals) = (self.turn(), self.hub.pages().removals());
        let Some(snapshot) = self.extras.as_mut().and_then(|extras| extras.snapshot.as_mut()) else {
            return Step::Yield;
        };
        match snapshot.step(&self.hub, turn) {
            Read::Events(events) => {
                let batch = Batch { removals, ..Batch::render(&events, self.feed.key()) };
                snapshot.back_to(batch.to);
                self.deliver(&batch, now)
            }
            Read::Gap(missing) => {
                self.reader.skip_to(snapshot.cursor());
                self.tell_gap(missing, now)
            }
            // What it has given so far is no position to be told without news: it was told with the events.
            Read::Behind(at) => self.idle(|_| u64::MAX, now).unwrap_or_else(|| Step::Load { at, until: self.due() }),
            Read::Scanned | Read::LiveEdge => {
                self.reader.skip_to(snapshot.edge());
                self.extras_mut().snapshot = None;
                Step::Yield
            }
        }
    }

    /// How much it may be given at once.
    fn turn(&self) -> Budget {
        let left = self.limit().and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        Budget { events: TURN.events.min(left), ..TURN }
    }

    fn deliver(&mut self, batch: &Batch, now: Instant) -> Step {
        self.reader.skip_to(batch.to);
        self.told = batch.to;
        if self.extras.is_some() || self.keeps_state() {
            self.deliver_specially(batch, now);
        }
        self.write(batch.bytes.clone(), batch.events, batch.skipped, now)
    }

    #[cold]
    fn deliver_specially(&mut self, batch: &Batch, now: Instant) {
        if let Some(extras) = &mut self.extras
            && let Some(left) = &mut extras.limit
        {
            *left -= batch.events;
            if *left == 0 {
                let retry = extras.retry;
                self.farewell(Bye::Limit, retry, EndReason::Limit);
            }
        }
        if let Some(extras) = &mut self.extras
            && batch.events > 0
        {
            let retry = extras.retry;
            if let Some(proof) = &mut extras.proof {
                proof.gave(batch.to, now);
            }
            if extras.finish.is_some() && extras.snapshot.is_none() {
                self.farewell(Bye::Held, retry, EndReason::Held);
            }
        }
        if self.keeps_state() {
            let extras = self.extras_mut();
            extras.shown = Some(batch.clone());
            extras.again = Some(now + Self::AGAIN);
            extras.beats = 0;
        }
    }

    /// At the live edge: there is nothing to do but what is due without news.
    fn rest(&mut self, edge: Offset, now: Instant) -> Step {
        self.reader.skip_to(edge);
        self.idle(Self::quarter_of_retention, now).unwrap_or_else(|| Step::Wait(self.due()))
    }

    /// When the next thing is due that is written without news.
    pub fn due(&self) -> Instant {
        let next_beat = self.next_beat();
        self.extras.as_ref().and_then(|extras| extras.due()).map_or(next_beat, |due| due.min(next_beat))
    }

    fn next_beat(&self) -> Instant {
        self.ending.written() + Duration::from_millis(u64::from(self.heartbeat.milliseconds))
    }

    /// What is due without news, if anything is: what is shown once more, a heartbeat, or in its place a new position if the
    /// reader has moved on by `stale` events unseen.
    fn idle(&mut self, stale: impl FnOnce(&Self) -> u64, now: Instant) -> Option<Step> {
        if now < self.due() {
            return None;
        }
        if self.extras.is_some() {
            if let Some(step) = self.prove(now) {
                return Some(step);
            }
            if now < self.due() {
                return None;
            }
        }
        if self.extras.as_mut().is_some_and(|extras| extras.again.take_if(|again| *again <= now).is_some()) {
            if let Some(shown) = self.shown() {
                return Some(self.write(shown, 0, 0, now));
            }
            if now < self.next_beat() {
                return None;
            }
        }
        if let Some(missing) = self.reader.take_gap() {
            return Some(self.tell_gap(missing, now)); // Who comes back behind it would not be told.
        }
        let stale = self.reader.cursor() - self.told >= stale(self);
        let bytes = if stale { self.position() } else { self.beat() };
        Some(self.write(bytes, 0, 0, now))
    }

    /// Sees whether what was written arrives, and ends what does not.
    #[cold]
    fn prove(&mut self, now: Instant) -> Option<Step> {
        let extras = self.extras.as_mut()?;
        match extras.proof.as_mut().map_or(Proved::Nothing, |proof| proof.look(now)) {
            Proved::Nothing => {}
            Proved::Pad(size) => {
                let mut bytes = BytesMut::new();
                pad(&mut bytes, size);
                return Some(self.write(bytes.freeze(), 0, 0, now));
            }
            Proved::Silent => extras.finish = Some(now),
            Proved::Held => {
                self.ending.is_held();
                extras.finish = Some(now);
            }
        }
        extras.finish.filter(|finish| *finish <= now)?;
        let retry = extras.retry;
        self.farewell(Bye::Held, retry, EndReason::Held);
        Some(Step::Yield)
    }

    fn quarter_of_retention(&self) -> u64 {
        quarter_of(&self.hub, self.retention)
    }

    /// A position without news: whoever comes back with a cursor that retention has passed would be told a false gap. Not
    /// on a state transport, whose reader would come back behind the state that it no longer shows.
    #[cold]
    fn position(&mut self) -> Bytes {
        let at = self.reader.cursor();
        let bytes = self.rendering().notice(&Notice::Cursor { id: self.hub.log().cursor(at) });
        if bytes.is_empty() || self.keeps_state() {
            return self.beat();
        }
        self.told = at;
        bytes
    }

    fn beat(&mut self) -> Bytes {
        if self.keeps_state() {
            return self.beat_with_state();
        }
        let rendering = self.rendering();
        if self.heartbeat.as_event { rendering.notice(&Notice::Heartbeat) } else { rendering.heartbeat() }
    }

    fn beat_with_state(&mut self) -> Bytes {
        let shown = self.shown(); // At each beat, as older removals are not known.
        let extras = self.extras_mut();
        extras.beats += 1;
        let is_turn = extras.beats.is_multiple_of(Self::BEATS_A_PART);
        shown.filter(|_| is_turn).unwrap_or_else(|| self.rendering().heartbeat())
    }

    /// What a state transport shows, if it is still to be shown.
    fn shown(&mut self) -> Option<Bytes> {
        let extras = self.extras.as_mut()?;
        let batch = extras.shown.take()?;
        let (pages, at) = (self.hub.pages(), batch.to);
        let now = pages.removals();
        // What is in memory is marked when it goes; of what is not, the newest removals tell.
        let held = || pages.get(at).and_then(|page| page.events(at, at).next().map(|event| event.gone().is_none()));
        let is_there = !pages.may_be_removed(at..=at, batch.removals) || held().unwrap_or(false);
        if !is_there || batch.is_over(&self.hub) {
            return None;
        }
        let bytes = batch.bytes.clone();
        extras.shown = Some(Batch { removals: now, ..batch });
        Some(bytes)
    }

    #[cold]
    fn tell_gap(&mut self, missing: Missing, now: Instant) -> Step {
        self.ending.metrics().gap(missing.reason.as_str());
        let on_gap = self.extras.as_ref().map_or(OnGap::GoOn, |extras| extras.on_gap);
        let closes = on_gap == OnGap::Close;
        // A state transport would not show the newest state then.
        let goes_on_at_edge = on_gap == OnGap::Latest && !self.keeps_state();
        if goes_on_at_edge {
            self.extras_mut().snapshot = None;
            self.reader.skip_to(self.hub.pages().edge());
        }
        let log = self.hub.log();
        let (asked, id) = (log.cursor(self.told).to_string(), log.cursor(self.reader.cursor()));
        let notice = Notice::Gap {
            id: (!closes).then_some(id),
            asked: &asked,
            first: log.cursor(self.reader.cursor() + 1),
            reason: missing.reason.as_str(),
            lost: missing.offsets.filter(|_| !goes_on_at_edge),
            wait: wait_after_gap(self.ending.metrics()),
        };
        let bytes = self.rendering().notice(&notice);
        if closes {
            self.close(&asked);
        } else {
            self.told = self.reader.cursor();
        }
        if bytes.is_empty() { Step::Yield } else { self.write(bytes, 0, 0, now) }
    }

    /// Has it end, because something is gone behind the position that its reader has, or asked for.
    pub(super) fn close(&mut self, asked: &str) {
        let extras = self.extras_mut();
        if let Some((closed, asker)) = &extras.closing {
            closed.note(*asker, asked);
        }
        let retry = extras.retry;
        self.farewell(Bye::Gap, retry, EndReason::GapClose);
    }

    #[cold]
    fn say_goodbye(&mut self, bye: Bye, retry: Duration, reason: EndReason, now: Instant) -> Step {
        self.ending.because(reason);
        self.extras_mut().farewell = Some(Farewell::Said);
        let notice = Notice::Bye { reason: bye, retry, id: None };
        let mut bytes = BytesMut::from(&self.rendering().notice(&notice)[..]);
        bytes.extend_from_slice(&self.rendering().end());
        if bytes.is_empty() { Step::End } else { self.write(bytes.freeze(), 0, 0, now) }
    }

    fn write(&mut self, bytes: Bytes, events: u64, skipped: u64, now: Instant) -> Step {
        self.ending.wrote(events, skipped, bytes.len(), now);
        Step::Write(bytes)
    }

    fn rendering(&self) -> Rendering {
        self.feed.key().rendering
    }

    fn keeps_state(&self) -> bool {
        self.feed.key().keeps == Keeps::State
    }
}

#[cfg(test)]
mod tests;
