//! Polls: one answer, at once or as soon as there is something.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::open::{Begin, Beginning, Wanted};
use super::{Delivery, EndReason, Ending, FeedKey, StreamId};
use crate::event::{Appended, Cursor};
use crate::hub::{Budget, Reader, Step};
use crate::log::{GapReason, ReadError};
use crate::transport::{Keeps, Rendering, Resume, answer};

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
    /// The body; none if the poll was cut.
    pub body: Option<Bytes>,
}

/// How many bytes of events an answer holds at most; a single event may be larger.
const ANSWER_BYTES: usize = 1 << 20;

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
    /// Answers a long poll: at once if there is news, a gap, or no start position; else when there is, or after its
    /// timeout, or when the gateway drains.
    ///
    /// Dropping the future is how a peer that left ends its poll; nothing is lost, as nothing was taken.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn answer(&self, wanted: Wanted) -> Result<Answered, ReadError> {
        let (until, look_until) = (Instant::now() + wanted.timeout, Instant::now() + wanted.timeout.max(LOOK));
        let mut beginning = self.begin(&wanted).await?;
        let (id, transport, resume) = (StreamId::new(), wanted.transport, beginning.resume);
        let rendering = Rendering { format: transport.format, envelope: false };
        let (peer, shutdown) = (Arc::clone(&wanted.peer), self.shutdown.clone());
        let mut ending =
            Ending::open(&self.metrics, transport.name, resume.as_str(), peer, wanted.multiplexed, shutdown);
        let mut reader = Reader::new(Arc::clone(&wanted.selection), beginning.after);
        let key = FeedKey { selection: Arc::clone(&wanted.selection), rendering, keeps: Keeps::Events };
        let feed = self.feeds.join(key, &self.hub);
        let cut = self.enter(id);
        let mut leave = wanted.selection.permit().leave();

        let news = loop {
            if leave.is_withdrawn(wanted.selection.topics()) {
                break Some(News::default());
            }
            let mut woken = pin!(feed.woken());
            woken.as_mut().enable(); // Before looking: what is published from here on wakes us.
            // What did not concern it is not read: it may be gone by now, and that would look like a gap.
            reader.skip_to(feed.quiet_after(reader.cursor()));
            let news = match self.gather(&mut reader, &mut beginning, wanted.limit, look_until).await {
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
                () = cut.asked() => break None,
            }
        };

        let cursor = self.hub.log().cursor(reader.cursor());
        let body = news.map(|news| {
            let gap = beginning.gap.as_ref().map(|gap| self.notice(gap, beginning.after, &wanted.selection));
            let events: Vec<Bytes> = news.events.iter().map(|event| rendering.event(event)).collect();
            let body = answer(cursor, &events, gap.as_ref(), news.more);
            ending.wrote(events.len() as u64, 0, body.len(), Instant::now());
            body
        });
        ending.because(match body {
            None => EndReason::ServerRecycle,
            Some(_) if leave.is_withdrawn(wanted.selection.topics()) => EndReason::AuthExpired,
            Some(_) => EndReason::Complete,
        });
        let resume = if beginning.gap.is_some() { Resume::Gap } else { resume };
        Ok(Answered { id, cursor, resume, content_type: rendering.content_type(), body })
    }

    /// Reads on to the next events that match, or to the live edge, or as far as it comes until then: a poll that looks for
    /// longer would be cut, and whoever asks again begins where the answer says.
    async fn gather(
        &self,
        reader: &mut Reader,
        beginning: &mut Beginning,
        limit: usize,
        until: Instant,
    ) -> Result<News, ReadError> {
        let budget = Budget { events: limit, bytes: ANSWER_BYTES };
        let begun = reader.cursor();
        loop {
            let edge = self.hub.pages().edge();
            let before = reader.cursor();
            match reader.step(self.hub.pages(), edge, budget) {
                Step::Events(events) => return Ok(News { events, more: reader.cursor() < edge }),
                Step::LiveEdge => return Ok(News::default()),
                // Not without having moved on, or those who ask again would stay where they are.
                Step::Behind(_) | Step::Scanned
                    if reader.cursor() > begun && (Instant::now() >= until || self.shutdown.is_draining()) =>
                {
                    return Ok(News { events: Vec::new(), more: true });
                }
                Step::Behind(at) => reader.give(self.hub.load(at).await?),
                Step::Scanned => tokio::task::yield_now().await,
                Step::Gap { lost, hole } => {
                    beginning.after = reader.cursor();
                    beginning.gap = Some(self.missing(before, lost, GapReason::of_missing(hole)));
                }
            }
        }
    }
}
