//! Polls: one answer, at once or as soon as there is something.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::conflate::without_older;
use super::open::{Begin, Beginning, OnGap, Wanted};
use super::{Delivery, EndReason, Ending, StreamId, quarter_of};
use crate::event::{Appended, Cursor};
use crate::hub::{Budget, Reader, Snapshot, Step};
use crate::log::{Missing, ReadError};
use crate::transport::{Carry, Resume, answer};

/// What a poll is answered.
#[derive(Debug)]
pub struct Answered {
    /// What the poll is called.
    pub id: StreamId,
    /// How far the log was looked through: where the next poll goes on.
    pub cursor: Cursor,
    /// Whether it went on from a cursor.
    pub resume: Resume,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Whether there are events, or may be some that were not looked at: otherwise nothing is new since the start position.
    pub has_news: bool,
    /// Whether one of the events is private.
    pub has_private: bool,
    /// The body; none if the poll was cut.
    pub body: Option<Bytes>,
}

/// How many bytes of events an answer holds at most; a single event may be larger.
const ANSWER_BYTES: usize = 1 << 20;

/// How many events an answer holds at most, if nothing else was asked for.
const ANSWER_EVENTS: u64 = 1000;

/// How long a poll may look through what went by already, however short a time it has for what is to come.
const LOOK: Duration = Duration::from_secs(1);

/// What was found for a poll.
#[derive(Default)]
struct News {
    events: Vec<Arc<Appended>>,
    /// Events went by up to which was not looked.
    more: bool,
}

impl Delivery {
    /// Answers a poll: at once if there is news, a gap, or no start position, or if it does not want to wait; else when there
    /// is, or after its timeout, or when the gateway drains.
    ///
    /// Dropping the future is how a peer that left ends its poll; nothing is lost, as nothing was taken.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn answer(&self, wanted: Wanted) -> Result<Answered, ReadError> {
        let waits = wanted.transport.carry != Carry::AtOnce;
        let timeout = if waits { wanted.timeout } else { Duration::ZERO };
        let (until, look_until) = (Instant::now() + timeout, Instant::now() + timeout.max(LOOK));
        let mut beginning = self.begin(&wanted).await?;
        let (id, transport, resume) = (StreamId::new(), wanted.transport, beginning.resume);
        let key = wanted.key();
        let rendering = key.rendering;
        let (peer, shutdown) = (Arc::clone(&wanted.peer), self.shutdown.clone());
        let (names, named) = ((transport.name, resume.as_str()), (self.arrive(&wanted, id).0, id.short()));
        let multiplexed = wanted.multiplexed;
        let mut ending = Ending::open(&self.metrics, &self.diagnosis, names, named, peer, multiplexed, shutdown);
        let mut reader = Reader::new(Arc::clone(&wanted.selection), beginning.after);
        if resume == Resume::New {
            reader = reader.asking_for_what_is_there(&self.hub);
        }
        let feed = self.feeds.join(key, &self.hub);
        let cut = self.enter(id, None);
        let mut leave = wanted.selection.permit().leave();

        let news = loop {
            if leave.is_withdrawn(wanted.selection.topics()) {
                break Some(News::default());
            }
            let mut woken = pin!(feed.woken());
            woken.as_mut().enable(); // Before looking: what is published from here on wakes us.
            // What did not concern it is not read: it may be gone by now, and that would look like a gap.
            reader.skip_to(feed.quiet_after(reader.cursor()));
            let news = match self.gather(&mut reader, &mut beginning, &wanted, look_until).await {
                Ok(news) => news,
                Err(error) => {
                    ending.because(EndReason::SourceError);
                    return Err(error);
                }
            };
            let at_once = wanted.begin == Begin::Unsaid || beginning.gap.is_some() || self.shutdown.is_draining();
            if at_once || news.more || !news.events.is_empty() || Instant::now() >= until {
                break Some(news);
            }
            tokio::select! {
                () = woken => {}
                () = sleep_until(until) => {}
                () = self.shutdown.draining() => {}
                () = leave.withdrawn(wanted.selection.topics()) => {}
                _ = cut.asked() => break None,
            }
        };

        let cursor = self.hub.log().cursor(reader.cursor());
        let has_news = news.as_ref().is_some_and(|news| news.more || !news.events.is_empty());
        let has_private = news.iter().flat_map(|news| &news.events).any(|event| event.event.private);
        let body = news.map(|news| {
            let gap = beginning.gap.as_ref().map(|gap| self.notice(gap, beginning.after, true));
            let keep = if wanted.conflate { without_older(&news.events) } else { vec![true; news.events.len()] };
            let kept = news.events.iter().zip(keep).filter(|(_, keep)| *keep);
            let events: Vec<Bytes> = kept.map(|(event, _)| rendering.event(event)).collect();
            let body = answer(cursor, &events, gap.as_ref(), news.more);
            ending.wrote(events.len() as u64, (news.events.len() - events.len()) as u64, body.len(), Instant::now());
            body
        });
        if beginning.gap.is_some() && wanted.on_gap == OnGap::Close {
            self.close(&wanted);
        }
        ending.because(match body {
            None => EndReason::ServerRecycle,
            Some(_) if leave.is_withdrawn(wanted.selection.topics()) => EndReason::AuthExpired,
            Some(_) => EndReason::Complete,
        });
        let resume = if beginning.gap.is_some() { Resume::Gap } else { resume };
        Ok(Answered { id, cursor, resume, content_type: rendering.content_type(), has_news, has_private, body })
    }

    /// Whether a reader that has this cursor should be given a fresh one: a quarter of what is kept went by since.
    #[must_use]
    pub fn is_stale(&self, cursor: Cursor) -> bool {
        self.hub.pages().edge().saturating_sub(cursor.offset) >= quarter_of(&self.hub, self.options.retention_events)
    }

    /// Reads on to the next events that match, or to the live edge, or as far as it comes until then: a poll that looks for
    /// longer would be cut, and whoever asks again begins where the answer says. An answer has one gap at most, before its
    /// events.
    async fn gather(
        &self,
        reader: &mut Reader,
        beginning: &mut Beginning,
        wanted: &Wanted,
        until: Instant,
    ) -> Result<News, ReadError> {
        let limit = wanted.limit.unwrap_or(ANSWER_EVENTS).min(ANSWER_EVENTS);
        let budget = Budget { events: usize::try_from(limit).unwrap_or(usize::MAX), bytes: ANSWER_BYTES };
        if let Some(snapshot) = beginning.snapshot.take() {
            return self.gather_snapshot(snapshot, reader, beginning, budget).await;
        }
        let begun = reader.cursor();
        let mut before = begun; // Where it was before it came by something that is gone.
        loop {
            if beginning.gap.is_some() && wanted.on_gap == OnGap::Close {
                return Ok(News::default());
            }
            if !reader.owes_gap() {
                before = reader.cursor();
            }
            let edge = self.hub.pages().edge();
            let gap = match reader.step(&self.hub, edge, budget) {
                Step::Events(events) => return Ok(News { events, more: reader.cursor() < edge }),
                Step::LiveEdge => return Ok(News::default()),
                Step::Gap(missing) => Some(missing),
                // Not without having moved on, or those who ask again would stay where they are.
                Step::Behind(_) | Step::Scanned if reader.cursor() > begun && self.is_late(until) => {
                    match reader.take_gap() {
                        None => return Ok(News { events: Vec::new(), more: true }),
                        gap => gap,
                    }
                }
                Step::Behind(at) => {
                    reader.give(self.hub.load(at).await?);
                    None
                }
                Step::Scanned => {
                    tokio::task::yield_now().await;
                    None
                }
            };
            if let Some(missing) = gap {
                if beginning.gap.is_some() {
                    reader.back_to(before); // The next answer begins with it.
                    return Ok(News { events: Vec::new(), more: true });
                }
                let goes_on_at_edge = wanted.on_gap == OnGap::Latest;
                if goes_on_at_edge {
                    reader.skip_to(edge);
                }
                let offsets = missing.offsets.filter(|_| !goes_on_at_edge);
                beginning.after = reader.cursor();
                beginning.gap = Some(self.missing(begun, Missing { offsets, ..missing }));
            }
        }
    }

    fn is_late(&self, until: Instant) -> bool {
        Instant::now() >= until || self.shutdown.is_draining()
    }

    /// As much of a snapshot as an answer holds. Whoever goes on from within it is given all events behind that.
    async fn gather_snapshot(
        &self,
        mut snapshot: Snapshot,
        reader: &mut Reader,
        beginning: &mut Beginning,
        budget: Budget,
    ) -> Result<News, ReadError> {
        loop {
            let before = reader.cursor();
            match snapshot.step(&self.hub, budget) {
                Step::Behind(at) => snapshot.give(self.hub.load(at).await?),
                Step::Events(events) if snapshot.is_over() => {
                    reader.skip_to(snapshot.edge());
                    return Ok(News { events, more: self.hub.pages().edge() > snapshot.edge() });
                }
                Step::Events(events) => {
                    reader.skip_to(snapshot.cursor());
                    return Ok(News { events, more: true });
                }
                Step::Gap(_) if beginning.gap.is_some() => return Ok(News { events: Vec::new(), more: true }),
                Step::Gap(missing) => {
                    reader.skip_to(snapshot.cursor());
                    beginning.after = reader.cursor();
                    beginning.gap = Some(self.missing(before, missing));
                }
                Step::Scanned | Step::LiveEdge => {
                    reader.skip_to(snapshot.edge());
                    return Ok(News::default());
                }
            }
        }
    }
}
