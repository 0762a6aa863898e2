//! One open stream: a cursor in a feed, with its deadlines. One value, no async, no socket.
//!
//! Whoever carries it calls [`Stream::step`] and does what it says: write, fetch a page, wait, end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::closed::{Asker, Closed};
use super::ending::{EndReason, Ending};
use super::feed::{Batch, Feed, FeedStep, TURN};
use super::{OnGap, quarter_of, wait_after_gap};
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
        }
    }
}

/// One open stream.
pub struct Stream {
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    reader: Reader,
    /// What is still to be written before anything else: preamble, hello, gap.
    opening: Option<Bytes>,
    terms: Terms,
    next_beat: Instant,
    /// The newest position the client was told.
    told: Offset,
    /// The state that a state transport shows, to be shown again instead of too many heartbeats.
    shown: Option<Shown>,
    /// When what is shown is to be sent once more, unless something newer comes before.
    again: Option<Instant>,
    beats: u32,
    farewell: Option<Farewell>,
    ending: Ending,
    /// How often events had been removed when its last step began.
    removals: u64,
}

/// What a state transport shows: one event, at the end of its batch.
struct Shown {
    batch: Batch,
    /// How often events had been removed when it was known to be there.
    removals: u64,
}

#[derive(Debug)]
enum Farewell {
    Due { bye: Bye, retry: Duration, reason: EndReason },
    Said,
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
        let next_beat = Instant::now() + terms.heartbeat.interval;
        Self {
            hub,
            feed,
            reader,
            opening: Some(opening),
            terms,
            next_beat,
            told: after,
            shown: None,
            again: None,
            beats: 0,
            farewell: None,
            ending,
            removals: 0,
        }
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

    /// Hands over the page that [`Step::Load`] asked for.
    pub fn give(&mut self, page: Arc<Page>) {
        match &mut self.terms.snapshot {
            Some(snapshot) => snapshot.give(page),
            None => self.reader.give(page),
        }
    }

    /// Has it say goodbye at its next step, and end.
    pub fn farewell(&mut self, bye: Bye, retry: Duration, reason: EndReason) {
        self.farewell.get_or_insert(Farewell::Due { bye, retry, reason });
    }

    /// Names why it is about to be dropped.
    pub fn because(&mut self, reason: EndReason) {
        self.ending.because(reason);
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(opening) = self.opening.take() {
            return self.write(opening, 0, 0, now);
        }
        match self.farewell.take() {
            None => {}
            Some(Farewell::Due { bye, retry, reason }) => return self.say_goodbye(bye, retry, reason, now),
            Some(Farewell::Said) => {
                self.farewell = Some(Farewell::Said);
                return Step::End;
            }
        }
        self.removals = self.hub.pages().removals();
        if self.terms.snapshot.is_some() {
            return self.tell_snapshot(now);
        }
        if self.reader.owes_gap() {
            return self.catch_up(self.reader.cursor(), now); // Nobody else comes by what it is to tell.
        }
        // Its carrier holds the feed a second time while it steps.
        let alone = Arc::strong_count(&self.feed) <= 2;
        match self.feed.after(self.reader.cursor(), &self.hub, alone) {
            // All of it would be too much: it reads for itself what is left to it.
            FeedStep::Batch(batch) if self.terms.limit.is_some_and(|left| left < batch.events) => {
                self.catch_up(self.reader.cursor(), now)
            }
            FeedStep::Batch(batch) => self.deliver(batch, now),
            FeedStep::Edge(edge) => self.rest(edge, now),
            FeedStep::Behind(quiet) => self.catch_up(quiet, now),
        }
    }

    /// Reads the pages after `quiet` by itself, until it has caught up with its feed.
    #[cold]
    fn catch_up(&mut self, quiet: Offset, now: Instant) -> Step {
        self.reader.skip_to(quiet); // Not to be read: it may be gone by now, and that would look like a gap.
        match self.reader.step(&self.hub, self.hub.pages().edge(), self.turn()) {
            Read::Events(events) => {
                let batch = Batch::render(&events, self.feed.key());
                if events.last().is_some_and(|newest| batch.to < newest.cursor.offset) {
                    self.reader.back_to(batch.to);
                }
                self.deliver(batch, now)
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
        let turn = self.turn();
        let Some(snapshot) = &mut self.terms.snapshot else { return Step::Yield };
        match snapshot.step(&self.hub, turn) {
            Read::Events(events) => {
                let batch = Batch::render(&events, self.feed.key());
                snapshot.back_to(batch.to);
                self.deliver(batch, now)
            }
            Read::Gap(missing) => {
                self.reader.skip_to(snapshot.cursor());
                self.tell_gap(missing, now)
            }
            // What it has given so far is no position to be told without news: it was told with the events.
            Read::Behind(at) => self.idle(|_| u64::MAX, now).unwrap_or_else(|| Step::Load { at, until: self.due() }),
            Read::Scanned | Read::LiveEdge => {
                self.reader.skip_to(snapshot.edge());
                self.terms.snapshot = None;
                Step::Yield
            }
        }
    }

    /// How much it may be given at once.
    fn turn(&self) -> Budget {
        let left = self.terms.limit.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        Budget { events: TURN.events.min(left), ..TURN }
    }

    fn deliver(&mut self, batch: Batch, now: Instant) -> Step {
        self.reader.skip_to(batch.to);
        self.told = batch.to;
        if let Some(left) = &mut self.terms.limit {
            *left -= batch.events;
            if *left == 0 {
                self.farewell(Bye::Limit, self.terms.retry, EndReason::Limit);
            }
        }
        let (bytes, events, skipped) = (batch.bytes.clone(), batch.events, batch.skipped);
        if self.keeps_state() {
            self.shown = Some(Shown { batch, removals: self.removals });
            self.again = Some(now + Self::AGAIN);
            self.beats = 0;
        }
        self.write(bytes, events, skipped, now)
    }

    /// At the live edge: there is nothing to do but what is due without news.
    fn rest(&mut self, edge: Offset, now: Instant) -> Step {
        self.reader.skip_to(edge);
        self.idle(Self::quarter_of_retention, now).unwrap_or_else(|| Step::Wait(self.due()))
    }

    /// When the next thing is due that is written without news.
    fn due(&self) -> Instant {
        self.again.map_or(self.next_beat, |again| again.min(self.next_beat))
    }

    /// What is due without news, if anything is: what is shown once more, a heartbeat, or in its place a new position if the
    /// reader has moved on by `stale` events unseen.
    fn idle(&mut self, stale: impl FnOnce(&Self) -> u64, now: Instant) -> Option<Step> {
        if now < self.due() {
            return None;
        }
        if self.again.take_if(|again| *again <= now).is_some() {
            if let Some(shown) = self.shown() {
                return Some(self.write(shown, 0, 0, now));
            }
            if now < self.next_beat {
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

    fn quarter_of_retention(&self) -> u64 {
        quarter_of(&self.hub, self.terms.retention)
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
        self.beats += 1;
        let shown = self.shown(); // At each beat, as older removals are not known.
        if self.beats.is_multiple_of(Self::BEATS_A_PART)
            && let Some(shown) = shown
        {
            return shown;
        }
        if self.terms.heartbeat.as_event && !self.keeps_state() {
            self.rendering().notice(&Notice::Heartbeat)
        } else {
            self.rendering().heartbeat()
        }
    }

    /// What a state transport shows, if it is still to be shown.
    fn shown(&mut self) -> Option<Bytes> {
        let Shown { batch, removals } = self.shown.take()?;
        let (pages, at) = (self.hub.pages(), batch.to);
        let now = pages.removals();
        // What is in memory is marked when it goes; of what is not, the newest removals tell.
        let held = || pages.get(at).and_then(|page| page.events(at, at).next().map(|event| event.gone().is_none()));
        let is_there = !pages.may_be_removed(at..=at, removals) || held().unwrap_or(false);
        if !is_there || batch.is_over(&self.hub) {
            return None;
        }
        let bytes = batch.bytes.clone();
        self.shown = Some(Shown { batch, removals: now });
        Some(bytes)
    }

    #[cold]
    fn tell_gap(&mut self, missing: Missing, now: Instant) -> Step {
        self.ending.metrics().gap(missing.reason.as_str());
        let closes = self.terms.on_gap == OnGap::Close;
        // A state transport would not show the newest state then.
        let goes_on_at_edge = self.terms.on_gap == OnGap::Latest && !self.keeps_state();
        if goes_on_at_edge {
            self.terms.snapshot = None;
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
        if let Some((closed, asker)) = &self.terms.closing {
            closed.note(*asker, asked);
        }
        self.farewell(Bye::Gap, self.terms.retry, EndReason::GapClose);
    }

    #[cold]
    fn say_goodbye(&mut self, bye: Bye, retry: Duration, reason: EndReason, now: Instant) -> Step {
        self.ending.because(reason);
        self.farewell = Some(Farewell::Said);
        let notice = Notice::Bye { reason: bye, retry, id: None };
        let mut bytes = BytesMut::from(&self.rendering().notice(&notice)[..]);
        bytes.extend_from_slice(&self.rendering().end());
        if bytes.is_empty() { Step::End } else { self.write(bytes.freeze(), 0, 0, now) }
    }

    fn write(&mut self, bytes: Bytes, events: u64, skipped: u64, now: Instant) -> Step {
        self.next_beat = now + self.terms.heartbeat.interval;
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
