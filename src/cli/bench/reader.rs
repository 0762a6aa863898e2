//! One reader: opens its stream, or polls, for as long as the run lasts, and comes back where it was whenever it is cut.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::carriage::Transport;
use super::contents::{self, Contents, Told, Unreadable};
use super::latch::Latch;
use super::line::{Answer, Line};
use super::tally::Tally;
use crate::cli::backoff::Backoff;
use crate::cli::problem::Problem;
use crate::cli::wire::target::Target;
use crate::cli::wire::trouble::{Kind, Trouble};

/// How long an answer may take to begin.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The same for one that waits for news: a gateway waits for 25 s, intermediaries may for more.
const LONG_PATIENCE: Duration = Duration::from_secs(90);
/// The longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// The most that is read of an answer that is none of ours.
const MAX_ANSWER: usize = 64 << 10;

/// What all readers of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) target: Target,
    pub(super) transport: Transport,
    /// Between the beginnings of two polls.
    pub(super) interval: Duration,
    /// Where all begin, so that one that comes late misses nothing. Empty: where the server likes.
    pub(super) start: String,
}

/// One reader.
pub(super) struct Reader {
    pub(super) reading: Arc<Reading>,
    /// Its number within the tally.
    pub(super) number: usize,
    /// Where in the interval it polls, from 0 to 1, so that not all ask at once.
    pub(super) phase: f64,
    pub(super) tally: Arc<Mutex<Tally>>,
    /// Counted down when its first attempt has succeeded or failed.
    pub(super) tried: Arc<Latch>,
    pub(super) line: Line,
}

impl Reader {
    /// Reads until it is dropped, or the server says that there is nothing more (204).
    pub(super) async fn run(mut self) {
        let mut place = self.reading.start.clone();
        let mut tried = Some(self.tried.clone());
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            let began = Instant::now();
            let request = self.reading.target.open(self.reading.transport, &place);
            let opened = match self.ask(request).await {
                Ok(answer) => {
                    self.count(|tally, reader| tally.opened(reader, began.elapsed()));
                    backoff.reset();
                    Ok(answer)
                }
                Err((trouble, later)) => {
                    self.count(|tally, reader| tally.failed(reader, trouble.kind));
                    Err((trouble.kind, later))
                }
            };
            if let Some(tried) = tried.take() {
                tried.count_down();
            }
            let wait = match opened {
                Ok(answer) => {
                    let (kind, retry) = if self.reading.transport.is_polled() {
                        (self.poll(answer, &mut place).await, None)
                    } else {
                        self.follow(answer, &mut place).await
                    };
                    self.count(|tally, reader| tally.ended(reader, kind));
                    retry
                }
                Err((Kind::Status(204), _)) => return,
                Err((_, later)) => later,
            };
            // A server's own time is already spread by the server: it is kept as it is.
            sleep(wait.unwrap_or_else(|| backoff.after_failure()).min(MAX_WAIT)).await;
        }
    }

    /// Sends a request and looks at the head of the answer. A failure says when to ask again, if the server did.
    async fn ask(&mut self, request: Request<Bytes>) -> Result<Answer, (Trouble, Option<Duration>)> {
        let Reading { target, transport, .. } = &*self.reading;
        let patience = if *transport == Transport::LongPoll { LONG_PATIENCE } else { PATIENCE };
        self.count(|tally, _| tally.counts.requests += 1);
        let mut answer = self.line.send(request, patience).await.map_err(|trouble| (trouble, None))?;
        match fit(target, *transport, &mut answer).await {
            Ok(()) => Ok(answer),
            Err((kind, problem)) => {
                let later = answer.head.retry_after;
                self.line.keep(answer);
                Err((Trouble::new(kind, problem.to_string()), later))
            }
        }
    }

    /// Reads a stream to its end; gives how it ended, and after what time the server wants to be asked again.
    async fn follow(&mut self, mut answer: Answer, place: &mut String) -> (Kind, Option<Duration>) {
        let mut contents = Contents::new(self.reading.transport, place);
        let mut goodbye = false;
        let ended = loop {
            let mut unreadable = None;
            let mut look = |bytes: &[u8]| {
                let read = self.take(|told| contents.read(bytes, told), &mut goodbye);
                unreadable = unreadable.take().or(read.err());
            };
            let next = answer.next(&mut look).await;
            if unreadable.is_some() {
                break Kind::Malformed;
            }
            match next {
                Ok(true) => {}
                Ok(false) => break if goodbye { Kind::Goodbye } else { Kind::Ended },
                Err(trouble) => break trouble.kind,
            }
        };
        contents.last_event_id().clone_into(place);
        (ended, contents.reconnection_time())
    }

    /// Reads the answer to a poll, and those to all that follow it, until one fails: gives how.
    async fn poll(&mut self, mut answer: Answer, place: &mut String) -> Kind {
        let interval = self.reading.interval;
        let mut due = Instant::now() + interval.mul_f64(self.phase);
        loop {
            let more = match self.page(answer, place).await {
                Ok(more) => more,
                Err(trouble) => return trouble.kind,
            };
            if self.reading.transport == Transport::Poll && !more {
                sleep_until(due).await;
                due += interval;
            }
            let request = self.reading.target.subscribe(self.reading.transport, place);
            answer = match self.ask(request).await {
                Ok(answer) => answer,
                Err((trouble, _)) => return trouble.kind,
            };
        }
    }

    /// Reads one answer; gives whether there is more already.
    async fn page(&mut self, mut answer: Answer, place: &mut String) -> Result<bool, Trouble> {
        let content =
            timeout(PATIENCE, answer.whole(contents::MAX_LEN)).await.unwrap_or_else(|_| Err(Trouble::late()))?;
        let (status, etag) = (answer.head.status, answer.head.etag.take());
        self.line.keep(answer);
        if status == 304 {
            return Ok(false);
        }
        let page = self.take(|told| contents::page(&content, told), &mut false);
        let page = page.map_err(|error| Trouble::new(Kind::Malformed, error.to_string()))?;
        let tag = etag.as_deref().map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
        *place = tag.unwrap_or(page.cursor);
        Ok(page.more)
    }

    /// Counts what is told, all at one time.
    fn take<T>(
        &self,
        read: impl FnOnce(&mut dyn FnMut(Told<'_>)) -> Result<T, Unreadable>,
        goodbye: &mut bool,
    ) -> Result<T, Unreadable> {
        let now = Instant::now();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        read(&mut |told| {
            *goodbye |= told.kind == GOODBYE;
            tally.take(self.number, told, now);
        })
    }

    fn count(&self, count: impl FnOnce(&mut Tally, usize)) {
        count(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner), self.number);
    }
}

/// The type of a gateway's last word.
const GOODBYE: &str = "encke.bye";

/// Whether an answer is what was asked for. If it is not, it says what it is instead.
pub(super) async fn fit(target: &Target, transport: Transport, answer: &mut Answer) -> Result<(), (Kind, Problem)> {
    let status = answer.head.status;
    match status {
        304 if transport == Transport::Poll => return Ok(()),
        200 if answer.head.media_type == transport.media_type() => return Ok(()),
        200 => {
            let what = if transport == Transport::Sse { "an event stream" } else { transport.media_type() };
            let given = answer.head.media_type.as_str();
            let given = if given.is_empty() { "no media type" } else { given };
            let detail = format!("{given} from {}", target.place());
            return Err((Kind::MediaType, Problem { status, title: format!("not {what}"), detail }));
        }
        _ => {}
    }
    let content = timeout(PATIENCE, answer.whole(MAX_ANSWER)).await.unwrap_or_else(|_| Err(Trouble::late()));
    let mut problem = Problem::read(status, &content.unwrap_or_default());
    if let (300..400, Some(location)) = (status, &answer.head.location) {
        problem.detail = format!("it is at {}", target.elsewhere(location));
    } else if problem.detail.is_empty() {
        problem.detail = target.place();
    }
    Err((Kind::Status(status), problem))
}
