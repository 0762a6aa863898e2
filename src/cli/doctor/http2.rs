//! Probe: which version of HTTP browsers would speak here, and one stream over HTTP/2 where it is that.
//!
//! A hop may treat it otherwise than streams over HTTP/1.1: it may refuse it, hold it back, or have timers for it alone. Those
//! are watched beside it, as long, and what differs is told (`judging/http2`).

mod stream;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path as File;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use self::stream::Stream;
pub(super) use self::stream::{End, Head};
use super::path::Path;
use super::watching::{BUSY, Horizon};
use crate::cli::CliError;
use crate::cli::event_stream::Message;
use crate::cli::wire::dial::{Dialer, Traffic};

/// One stream over HTTP/2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Http2 {
    /// Nothing came before, or instead of, the end.
    pub(super) head: Option<Head>,
    /// From the request to the first event.
    pub(super) first_event: Option<Duration>,
    /// How old it became, and how it ended, if it did.
    pub(super) age: Duration,
    pub(super) end: Option<End>,
    /// Whether the server had said that it ends it.
    pub(super) is_farewell: bool,
    /// The time for the head, or for the first event, is up.
    pub(super) is_overdue: bool,
}

/// The stream while it is watched; nothing before it is asked for.
#[derive(Debug, Default)]
pub(super) struct Watched(RefCell<Option<Seen>>);

#[derive(Debug)]
struct Seen {
    asked: Instant,
    /// When its time is up.
    until: Instant,
    /// All but its age while it is open.
    stream: Http2,
}

/// Connects as browsers do, which offer HTTP/2 over TLS, and nowhere else.
///
/// # Errors
/// TLS cannot be prepared.
pub(super) async fn browser(path: &Path, ca: Option<&File>) -> Result<Option<Dialer>, CliError> {
    if path.target.url().scheme() != "https" {
        return Ok(None);
    }
    Dialer::new(path.target.url(), &["h2", "http/1.1"], ca).await.map(Some)
}

/// The name of the version that is chosen if HTTP/2 is offered, too.
pub(super) async fn chosen(browser: &Dialer) -> Option<String> {
    let io = browser.dial(&Arc::new(Traffic::default())).await.ok()?;
    Some(io.chosen().unwrap_or_else(|| "http/1.1".into()))
}

/// Opens a stream on which something is sent, as far as that can be asked for, and watches it.
pub(super) async fn probe(path: &Path, browser: &Dialer, is_encke: bool, horizon: Horizon, watched: &Watched) {
    let beat = is_encke.then(|| ("heartbeat", BUSY.to_string()));
    let request = path.target.stream(&beat.into_iter().collect::<Vec<_>>());
    let Ok(io) = browser.dial(&Arc::new(Traffic::default())).await else { return };
    let asked = Instant::now();
    let until = asked + horizon.of_busy(is_encke);
    watched.0.replace(Some(Seen { asked, until, stream: Http2::default() }));
    let mut stream = match timeout(path.patience, Stream::ask(io, &request)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(end)) => return watched.end(end),
        Err(_) => return watched.change(|seen| seen.is_overdue = true),
    };
    watched.change(|seen| seen.head = Some(stream.head.clone()));
    let mut messages = VecDeque::new();
    let first =
        timeout_at(asked + path.patience, watched.read(&mut stream, &mut messages, |seen| seen.first_event.is_none()));
    match first.await {
        Ok(true) => return,
        Ok(false) => {}
        Err(_) => watched.change(|seen| seen.is_overdue = true),
    }
    // Its time is up, or it is at its end.
    let _ = timeout_at(until, watched.read(&mut stream, &mut messages, |_| true)).await;
}

impl Watched {
    /// Reads for as long as it is `wanted`, or to the end; whether it is there.
    async fn read(
        &self,
        stream: &mut Stream,
        messages: &mut VecDeque<Message>,
        wanted: impl Fn(&Http2) -> bool,
    ) -> bool {
        loop {
            let end = stream.next(messages).await;
            self.change(|seen| {
                if !messages.is_empty() {
                    seen.first_event.get_or_insert_with(|| stream.asked.elapsed());
                }
                seen.is_farewell |= messages.drain(..).any(|message| message.kind == "encke.bye");
            });
            if let Some(end) = end {
                self.end(end);
                return true;
            }
            if !self.seen().is_some_and(|seen| wanted(&seen)) {
                return false;
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Http2)) {
        if let Some(seen) = &mut *self.0.borrow_mut() {
            change(&mut seen.stream);
        }
    }

    fn end(&self, end: End) {
        if let Some(seen) = &mut *self.0.borrow_mut() {
            (seen.stream.age, seen.stream.end) = (seen.asked.elapsed(), Some(end));
        }
    }

    /// What is known of it until now.
    pub(super) fn seen(&self) -> Option<Http2> {
        let seen = self.0.borrow();
        let Seen { asked, until, stream } = seen.as_ref()?;
        let age = if stream.end.is_some() { stream.age } else { Instant::now().min(*until) - *asked };
        Some(Http2 { age, ..stream.clone() })
    }
}
