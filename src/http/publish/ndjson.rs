//! A stream of events, a line of JSON each, stored as they come.
//!
//! Lines are read, stored and told in their order: while some are on their way to the disk, the next ones gather, and no
//! more is read than they may be. So the publisher writes as fast as the log stores, and what is held of it is bounded. It
//! has a task of its own: when the publisher goes, the lines that had come are still stored, and receipts that nobody reads
//! yet hold up nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::IntGauge;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::super::App;
use super::super::problem::Problem;
use super::acks::Acks;
use super::content::{Content, late};
use super::lines::Lines;
use super::object::{self, Said};
use super::receipts::{Outcome, Sum, answer};
use super::store;
use crate::access::Permit;
use crate::event::Event;
use crate::log::{AppendError, Receipt};

/// The most that is on its way to the disk, and that gathers meanwhile.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 1 << 20;
/// How long nothing may come. An empty line is something.
const IDLE: Duration = Duration::from_secs(120);
/// How soon a log that is busy is asked again; later each time, up to what it says.
const AGAIN: Duration = Duration::from_millis(10);

/// Stores the lines; answers at their end, or with `each` at once.
pub(super) async fn publish(app: App, permit: Permit, parts: &Parts, content: Content, each: bool) -> Response {
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
        _active: Active::new(&app.metrics.intakes),
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
    app: App,
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
        let stopped = stop.is_some();
        self.tell_end(stop, end);
        drop(self);
        if stopped {
            content.forget().await;
        }
    }

    /// Reads to the end, or to what stops it.
    async fn store_all(&mut self, content: &mut Content, begun: oneshot::Sender<()>) -> Option<Stop> {
        let mut begun = Some(begun);
        let shutdown = self.app.shutdown.clone();
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
                        Ok(Err(problem)) => over = Some(Err(problem)),
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
        (!events.is_empty()).then(|| Box::pin(store(self.app.clone(), events)) as Try)
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
/// by it, and nothing fails.
async fn store(app: App, mut events: Vec<Event>) -> Tried {
    loop {
        match app.limits.take_some(store::topics(&events), Instant::now()) {
            Ok(allowed) => break events.truncate(allowed),
            Err(wait) if !pause(&app, wait).await => return Tried::Failed(Problem::shutting_down()),
            Err(_) => {}
        }
    }
    let mut again = AGAIN;
    loop {
        match store::append(&app, events.clone()).await {
            Ok(receipts) => return Tried::Stored(receipts),
            Err(AppendError::KeyReused { index }) => return Tried::KeyReused(index),
            Err(AppendError::Busy { retry_after }) => {
                if !pause(&app, again.min(retry_after)).await {
                    return Tried::Failed(Problem::shutting_down());
                }
                again *= 2;
            }
            Err(error @ (AppendError::Full | AppendError::ReadOnly(_))) => return Tried::Failed(error.into()),
        }
    }
}

/// Waits. Answers whether there is still time for anything.
async fn pause(app: &App, time: Duration) -> bool {
    tokio::select! {
        () = sleep(time) => true,
        () = app.shutdown.draining() => false,
    }
}

/// Counts a stream while it is read.
struct Active(IntGauge);

impl Active {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}
