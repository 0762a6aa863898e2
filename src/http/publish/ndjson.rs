//! A stream of events, a line of JSON each, stored as they come.
//!
//! Lines are read, stored and told in their order: while some are on their way to the disk, the next ones gather, and no
//! more is read than they may be. So the publisher writes as fast as the log stores, and what is held of it is bounded. It
//! has a task of its own: when the publisher goes, the lines that had come are still stored, as far as that needs no waiting,
//! and receipts that nobody reads yet hold up nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::IntGauge;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::App;
use super::super::problem::Problem;
use super::acks::Acks;
use super::content::{Content, late};
use super::lines::Lines;
use super::object::{self, Said};
use super::receipts::{Outcome, Sum, answer};
use super::store;
use crate::access::{Leave, Permit};
use crate::event::Event;
use crate::log::{AppendError, Receipt};

/// The most that is on its way to the disk, and that gathers meanwhile.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 1 << 20;
/// How long nothing may come. An empty line is something.
const IDLE: Duration = Duration::from_secs(120);
/// How long whoever was told that the gateway stops has to read that, before it is cut.
const FAREWELL: Duration = Duration::from_secs(1);
/// How soon a log that is busy is asked again; later each time, up to what it says.
const AGAIN: Duration = Duration::from_millis(10);
/// How long none of them may be stored, for want of a quota or as the log is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many streams are read at a time, all publishers together. Each holds up to twice [`GROUP_BYTES`] of events, and a
/// line.
const STREAMS: i64 = 512;

/// Stores the lines; answers at their end, or with `each` at once.
pub(super) async fn publish(app: Arc<App>, permit: Permit, parts: &Parts, content: Content, each: bool) -> Response {
    let Some(active) = Active::new(&app.metrics.intakes) else {
        return content.refuse(crowded()).await.into_response();
    };
    let acks = each.then(Acks::default);
    let (begun, has_begun) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let intake = Intake {
        lines: Lines::new(line_bytes(&app)),
        waiting: VecDeque::new(),
        bytes: 0,
        upto: GROUP,
        sum: Sum::new(app.log.durability()),
        acks: acks.clone(),
        permit,
        gone: CancellationToken::new(),
        _active: active,
        app: app.clone(),
    };
    app.shutdown.spawn(intake.run(content, begun, end));
    let Some(acks) = acks else { return ended.await.unwrap_or_else(|_| Problem::shutting_down().into_response()) };
    if parts.headers.contains_key(header::EXPECT) {
        // The client writes only once it is told to go on, and an answer would come before that.
        let _ = has_begun.await;
    }
    let mut response = Body::from_stream(acks.lines()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One stream of events on its way into the log.
struct Intake {
    app: Arc<App>,
    permit: Permit,
    lines: Lines,
    /// Lines that were read and of which nothing was told yet; events among them may be on their way to the disk.
    waiting: VecDeque<Waiting>,
    /// What they weigh.
    bytes: usize,
    /// How many of them may be tried next: fewer than a group while one is looked for whose key was used before.
    upto: usize,
    sum: Sum,
    acks: Option<Acks>,
    /// Set once the content ended before it was complete: nobody is there to wait for.
    gone: CancellationToken,
    _active: Active,
}

struct Waiting {
    line: u64,
    weight: usize,
    said: Result<Event, Outcome>,
}

/// Why no further line is stored.
struct Stop {
    /// The first that was not.
    line: u64,
    problem: Problem,
}

/// What became of events that were on their way.
enum Tried {
    /// This many of them were stored, the first ones.
    Stored(Vec<Receipt>),
    /// The key of this one was used before. None was stored.
    KeyReused(usize),
    /// None was stored, nor can be.
    Failed(Problem),
}

type Try = Pin<Box<dyn Future<Output = Tried> + Send>>;

impl Intake {
    async fn run(mut self, mut content: Content, begun: oneshot::Sender<()>, end: oneshot::Sender<Response>) {
        let stop = self.store_all(&mut content, begun).await;
        let (stopped, shutdown) = (stop.is_some(), self.app.shutdown.clone());
        self.tell_end(stop, end);
        drop(self);
        if stopped {
            let drained = async {
                shutdown.draining().await;
                tokio::time::sleep(FAREWELL).await;
            };
            tokio::select! {
                () = content.forget() => {}
                () = drained => {}
            }
        }
    }

    /// Reads to the end, or to what stops it.
    async fn store_all(&mut self, content: &mut Content, begun: oneshot::Sender<()>) -> Option<Stop> {
        let mut begun = Some(begun);
        let shutdown = self.app.shutdown.clone();
        let mut leave = self.permit.leave();
        let mut trying: Option<Try> = None;
        // Why nothing more is read: at the end of the content nothing is wrong.
        let mut over: Option<Result<(), Problem>> = None;
        loop {
            self.gather();
            if trying.is_none() {
                if !self.tell_what_is_no_event() {
                    return Some(self.stop(unread()));
                }
                trying = self.next_try();
            }
            if trying.is_none() && self.lines.has_more() {
                tokio::task::yield_now().await;
                continue; // There was room for what is no event, and it was told.
            }
            if trying.is_none() && over.is_some() {
                return over?.err().map(|problem| self.stop(problem));
            }
            let reads = over.is_none() && self.has_room() && !self.lines.has_more();
            tokio::select! {
                biased;
                tried = async { trying.as_mut().expect("it is asked for only then").await }, if trying.is_some() => {
                    trying = None;
                    if let Err(problem) = self.tell(tried) {
                        return Some(self.stop(problem));
                    }
                }
                () = leave.withdrawn_to_publish(), if over.is_none() => over = Some(Err(withdrawn())),
                () = shutdown.draining(), if over.is_none() => over = Some(Err(Problem::shutting_down())),
                // Dropped by the others: `piece` loses nothing, and whoever is waited for has more time.
                piece = timeout(IDLE, content.piece()), if reads => {
                    drop(begun.take());
                    match piece {
                        Ok(Ok(Some(piece))) => self.lines.feed(piece),
                        Ok(Ok(None)) => {
                            if let Some((line, bytes)) = self.lines.finish() {
                                self.keep(line, bytes);
                            }
                            over = Some(Ok(()));
                        }
                        Ok(Err(problem)) => {
                            self.gone.cancel();
                            over = Some(Err(problem));
                        }
                        Err(_) => over = Some(Err(late("no line came for 120 s; an empty one is enough to go on"))),
                    }
                }
            }
        }
    }

    /// Cuts lines, as long as there is room for them.
    fn gather(&mut self) {
        while self.has_room()
            && let Some((line, bytes)) = self.lines.next()
        {
            self.keep(line, bytes);
        }
    }

    /// Whether more may be read. What is on its way counts, and so does what gathers.
    fn has_room(&self) -> bool {
        self.waiting.len() < 2 * GROUP && self.bytes < 2 * GROUP_BYTES
    }

    fn keep(&mut self, line: u64, bytes: Option<Bytes>) {
        let Some(bytes) = bytes else {
            let why = format!("a line has at most {} bytes", line_bytes(&self.app));
            return self.keep_said(line, Err(Outcome::Refused(why)));
        };
        let text = bytes.trim_ascii();
        if text.is_empty() {
            return;
        }
        let said = match object::parse(text, &self.permit, &self.app.options) {
            Ok(Said::Event(mut event)) => {
                store::by_rule(&self.app, &mut event);
                Ok(event)
            }
            Ok(Said::Notice) => Err(Outcome::Ignored),
            Err(problem) => Err(Outcome::Refused(problem.detail().to_owned())),
        };
        self.keep_said(line, said);
    }

    fn keep_said(&mut self, line: u64, said: Result<Event, Outcome>) {
        let weight = said.as_ref().map_or(0, Event::weight);
        self.bytes += weight;
        self.waiting.push_back(Waiting { line, weight, said });
    }

    /// The next events, on their way to the log.
    fn next_try(&self) -> Option<Try> {
        let mut bytes = 0;
        let fitting = self.waiting.iter().filter_map(|waiting| waiting.said.as_ref().ok()).take_while(|event| {
            let first = bytes == 0;
            bytes += event.weight();
            first || bytes <= GROUP_BYTES
        });
        let events: Vec<Event> = fitting.take(self.upto).cloned().collect();
        (!events.is_empty()).then(|| {
            let patience = Patience::new(&self.gone);
            Box::pin(store(self.app.clone(), self.permit.leave(), patience, events)) as Try
        })
    }

    /// Tells what became of events, and of the lines between them.
    fn tell(&mut self, tried: Tried) -> Result<(), Problem> {
        self.upto = GROUP;
        let mut receipts = match tried {
            Tried::Stored(receipts) => receipts.into_iter(),
            Tried::Failed(problem) => return Err(problem),
            // What is before it goes first, so that it is found at the front the next time.
            Tried::KeyReused(index) if index > 0 => {
                self.upto = index;
                return Ok(());
            }
            Tried::KeyReused(_) => {
                let next = self.waiting.front_mut().expect("lines before an event were told before it went");
                self.bytes -= std::mem::take(&mut next.weight);
                next.said = Err(Outcome::Refused(AppendError::KeyReused { index: 0 }.to_string()));
                return Ok(());
            }
        };
        let mut room = true;
        while receipts.len() > 0 {
            let Waiting { line, weight, said } = self.waiting.pop_front().expect("what was stored was waiting");
            self.bytes -= weight;
            let outcome = match said {
                Ok(_) => Outcome::Stored(receipts.next().expect("there is one")),
                Err(outcome) => outcome,
            };
            room &= self.tell_line(line, outcome); // What was stored is told in any case: there is room for a group.
        }
        if room { Ok(()) } else { Err(unread()) }
    }

    /// Tells the lines before the next event. Answers whether more can be told.
    fn tell_what_is_no_event(&mut self) -> bool {
        while let Some(Waiting { said: Err(_), .. }) = self.waiting.front() {
            let Some(Waiting { line, said: Err(outcome), .. }) = self.waiting.pop_front() else { break };
            if !self.tell_line(line, outcome) {
                return false;
            }
        }
        true
    }

    fn tell_line(&mut self, line: u64, outcome: Outcome) -> bool {
        self.sum.add(line, &outcome);
        if matches!(outcome, Outcome::Refused(_)) {
            self.app.metrics.bad_lines.inc();
        }
        self.acks.as_ref().is_none_or(|acks| acks.push(line, outcome))
    }

    fn stop(&self, problem: Problem) -> Stop {
        let line = self.waiting.front().map_or(self.lines.number() + 1, |waiting| waiting.line);
        Stop { line, problem }
    }

    /// The last word; where the head was given long ago, it is the last line.
    fn tell_end(&self, stop: Option<Stop>, end: oneshot::Sender<Response>) {
        let errors = self.acks.is_none();
        let stopped = stop.map(|Stop { line, problem }| self.sum.stopped(problem, line, errors));
        if let Some(acks) = &self.acks {
            let sum = || self.sum.told(errors);
            return acks.end(stopped.map_or_else(sum, |problem| problem.document().to_string()));
        }
        let sum = || answer(StatusCode::OK, self.sum.told(errors));
        let _ = end.send(stopped.map_or_else(sum, IntoResponse::into_response)); // The publisher may have gone.
    }
}

/// The longest line: twice the largest event, as base64 and escapes take room.
fn line_bytes(app: &App) -> usize {
    app.options.event_bytes.saturating_mul(2)
}

impl Drop for Intake {
    /// Whoever reads receipts is told an end, also if there was none with words.
    fn drop(&mut self) {
        if let Some(acks) = &self.acks {
            let mistake =
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway made a mistake; its log says more");
            acks.end(mistake.document().to_string());
        }
    }
}

/// More receipts are unread than are kept.
fn unread() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too many receipts are unread; read them while you write, or leave out ack=each",
    )
}

/// Stores the first of these events, as many as their quotas allow. What is too much for now waits: the stream is held up
/// by it, and fails only when that takes too long, or nobody is there any more to whom it would matter.
async fn store(app: Arc<App>, mut leave: Leave, patience: Patience, mut events: Vec<Event>) -> Tried {
    let mut again = AGAIN;
    loop {
        if leave.is_withdrawn_to_publish() {
            return Tried::Failed(withdrawn());
        }
        let (wait, problem) = match app.limits.take_some(store::topics(&events), Instant::now()) {
            Err(wait) => (wait, Problem::over_quota(wait)),
            Ok(allowed) => {
                events.truncate(allowed);
                match store::append(&app, events.clone()).await {
                    Ok(receipts) => return Tried::Stored(receipts),
                    Err(AppendError::KeyReused { index }) => return Tried::KeyReused(index),
                    Err(error @ AppendError::Busy { retry_after }) => {
                        let wait = again.min(retry_after);
                        again = wait.saturating_mul(2);
                        (wait, error.into())
                    }
                    Err(error @ (AppendError::Full | AppendError::ReadOnly(_))) => return Tried::Failed(error.into()),
                }
            }
        };
        if !patience.lasts(wait) {
            return Tried::Failed(problem);
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = patience.gone.cancelled() => {} // What is allowed now is stored, and the next time nothing waits.
            () = leave.withdrawn_to_publish() => {}
            () = app.shutdown.draining() => return Tried::Failed(Problem::shutting_down()),
        }
    }
}

/// How long events may wait for a quota or a busy log.
struct Patience {
    until: Instant,
    /// The publisher is gone.
    gone: CancellationToken,
}

impl Patience {
    fn new(gone: &CancellationToken) -> Self {
        Self { until: Instant::now() + PATIENCE, gone: gone.clone() }
    }

    fn lasts(&self, wait: Duration) -> bool {
        !self.gone.is_cancelled() && Instant::now() + wait <= self.until
    }
}

/// What the publisher had when it came is not enough any more.
fn withdrawn() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "who may publish has changed, and this stream may no longer; send the rest with another key",
    )
}

/// There are as many streams of events as there may be.
fn crowded() -> Problem {
    Problem::too_many("there are too many streams of events just now; come back later, or send a batch")
}

/// Counts a stream while it is read.
struct Active(IntGauge);

impl Active {
    /// None: there are as many as there may be.
    fn new(gauge: &IntGauge) -> Option<Self> {
        gauge.inc();
        let active = Self(gauge.clone());
        (gauge.get() <= STREAMS).then_some(active)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_streams_are_read_and_one_that_ends_makes_room() {
        let gauge = IntGauge::new("active", "streams").expect("a gauge");
        let mut streams: Vec<_> = (0..STREAMS).map(|_| Active::new(&gauge).expect("there is room")).collect();
        assert!(Active::new(&gauge).is_none() && Active::new(&gauge).is_none());
        assert_eq!(gauge.get(), STREAMS, "those that were refused are not counted");
        streams.pop();
        assert!(Active::new(&gauge).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_its_time_and_with_the_publisher() {
        let gone = CancellationToken::new();
        let patience = Patience::new(&gone);
        assert!(patience.lasts(PATIENCE) && !patience.lasts(PATIENCE + Duration::from_millis(1)));
        tokio::time::advance(PATIENCE).await;
        assert!(patience.lasts(Duration::ZERO) && !patience.lasts(Duration::from_millis(1)));
        gone.cancel();
        assert!(!Patience::new(&gone).lasts(Duration::ZERO));
    }
}
