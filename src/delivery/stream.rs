//! One open stream: a cursor in a feed, with its deadlines. One value, no async, no socket.
//!
//! Whoever carries it calls [`Stream::step`] and does what it says: write, fetch a page, wait, end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::ending::{EndReason, Ending};
use super::feed::{Batch, Feed, FeedStep, TURN};
use crate::event::Offset;
use crate::hub::{Hub, Page, Reader, Step as Read};
use crate::log::GapReason;
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

/// One open stream.
pub struct Stream {
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    reader: Reader,
    /// What is still to be written before anything else: preamble, hello, gap.
    opening: Option<Bytes>,
    heartbeat: Heartbeat,
    next_beat: Instant,
    /// The newest position the client was told.
    told: Offset,
    /// How many events the log keeps at most.
    retention: u64,
    /// The state that a state transport shows, to be shown again instead of too many heartbeats.
    shown: Option<Bytes>,
    /// When what is shown is to be sent once more, unless something newer comes before.
    again: Option<Instant>,
    beats: u32,
    farewell: Option<Farewell>,
    ending: Ending,
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
    pub fn new(
        hub: Arc<Hub>,
        feed: Arc<Feed>,
        after: Offset,
        opening: Bytes,
        heartbeat: Heartbeat,
        retention: u64,
        ending: Ending,
    ) -> Self {
        let reader = Reader::new(Arc::clone(&feed.key().selection), after);
        let next_beat = Instant::now() + heartbeat.interval;
        Self {
            hub,
            feed,
            reader,
            opening: Some(opening),
            heartbeat,
            next_beat,
            told: after,
            retention,
            shown: None,
            again: None,
            beats: 0,
            farewell: None,
            ending,
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
        self.reader.give(page);
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
            Some(Farewell::Said) => return Step::End,
        }
        // Its carrier holds the feed a second time while it steps.
        let alone = Arc::strong_count(&self.feed) <= 2;
        match self.feed.after(self.reader.cursor(), &self.hub, alone) {
            FeedStep::Batch(batch) => self.deliver(batch, now),
            FeedStep::Edge(edge) => self.rest(edge, now),
            FeedStep::Behind(quiet) => self.catch_up(quiet, now),
        }
    }

    /// Reads the pages after `quiet` by itself, until it has caught up with its feed.
    #[cold]
    fn catch_up(&mut self, quiet: Offset, now: Instant) -> Step {
        self.reader.skip_to(quiet); // Not to be read: it may be gone by now, and that would look like a gap.
        match self.reader.step(self.hub.pages(), self.hub.pages().edge(), TURN) {
            Read::Events(events) => {
                let batch = Batch::render(&events, self.feed.key(), &mut self.reader);
                self.deliver(batch, now)
            }
            // A replay that matches nothing must not be silent: an intermediary would cut it, and whoever comes back with
            // the position from before would begin all over.
            Read::Behind(at) => self.idle(|_| 1, now).unwrap_or_else(|| Step::Load { at, until: self.due() }),
            Read::Scanned => self.idle(|_| 1, now).unwrap_or(Step::Yield),
            Read::LiveEdge => self.rest(self.reader.cursor(), now),
            Read::Gap { lost, hole } => self.tell_gap(lost, GapReason::of_missing(hole), now),
        }
    }

    fn deliver(&mut self, batch: Batch, now: Instant) -> Step {
        self.reader.skip_to(batch.to);
        self.told = batch.to;
        if self.keeps_state() {
            self.shown = Some(batch.bytes.clone());
            self.again = Some(now + Self::AGAIN);
            self.beats = 0;
        }
        self.write(batch.bytes, batch.events, batch.skipped, now)
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
            let shown = self.shown.clone().unwrap_or_default();
            return Some(self.write(shown, 0, 0, now));
        }
        let stale = self.reader.cursor() - self.told >= stale(self);
        let bytes = if stale { self.position() } else { self.beat() };
        Some(self.write(bytes, 0, 0, now))
    }

    /// How far a reader may move on without being told a position. Of a log that has trimmed nothing, nobody knows how
    /// many events it will come to keep.
    fn quarter_of_retention(&self) -> u64 {
        let bounds = self.hub.log().bounds();
        let kept = if bounds.first > 1 { bounds.events() } else { u64::MAX };
        (kept.min(self.retention) / 4).max(1)
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
        match &self.shown {
            Some(shown) if self.beats.is_multiple_of(Self::BEATS_A_PART) => shown.clone(),
            _ if self.heartbeat.as_event && !self.keeps_state() => self.rendering().notice(&Notice::Heartbeat),
            _ => self.rendering().heartbeat(),
        }
    }

    #[cold]
    fn tell_gap(&mut self, lost: u64, reason: GapReason, now: Instant) -> Step {
        let log = self.hub.log();
        let (asked, id) = (log.cursor(self.told), log.cursor(self.reader.cursor()));
        let notice = Notice::Gap {
            id,
            asked: &asked.to_string(),
            first: log.cursor(self.reader.cursor() + 1),
            reason: reason.as_str(),
            lost: self.reader.selection().is_everything().then_some(lost),
            wait: Duration::ZERO,
        };
        let bytes = self.rendering().notice(&notice);
        self.told = self.reader.cursor();
        self.ending.metrics().gap(reason.as_str());
        if bytes.is_empty() { Step::Yield } else { self.write(bytes, 0, 0, now) }
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
        self.next_beat = now + self.heartbeat.interval;
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
