//! An event stream that is opened again whenever it ends, with the last event ID: read as one.
//!
//! Invariant: the ID it resumes with is that of the last message that was taken out, never of one still waiting. So a
//! message that its reader had no time for is sent again.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use serde::Deserialize;
use tokio::time::Instant;

use super::CliError;
use super::backoff::Backoff;
use super::client::Source;
use super::event_stream::{Message, Parser};
use super::problem::{Failure, cause};

/// The type of a gateway's first message.
const HELLO: &str = "encke.hello";
/// The longest wait a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A stream and its place in it.
pub(crate) struct Resuming {
    source: Source,
    last_event_id: String,
    parser: Parser,
    waiting: VecDeque<Message>,
    response: Option<Response>,
    was_open: bool,
    silence: Option<Duration>,
    backoff: Backoff,
    retry: Option<Duration>,
    not_before: Option<Instant>,
    outage: Option<Instant>,
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Bytes came; there may be messages now.
    Fed,
    /// The stream is open: for the first time, or again after so long.
    Open(Option<Duration>),
    /// It ended, or could not be opened; it will be tried again after the time.
    Away(String, Duration),
    /// The server says that nothing more will come.
    End,
}

impl Resuming {
    /// How long a gateway may be silent before its hello tells its heartbeat: 2.5 × the default of 15 s.
    pub(crate) const GATEWAY_SILENCE: Duration = Duration::from_millis(37_500);

    /// A stream that begins after `last_event_id` (empty: at the server's choice). A connection that is silent for
    /// `silence` is given up; a gateway's hello puts 2.5 × its heartbeat in its place.
    pub(crate) fn new(source: Source, last_event_id: &str, silence: Option<Duration>, backoff: Backoff) -> Self {
        Self {
            source,
            last_event_id: last_event_id.to_owned(),
            parser: Parser::default(),
            waiting: VecDeque::new(),
            response: None,
            was_open: false,
            silence,
            backoff,
            retry: None,
            not_before: None,
            outage: None,
        }
    }

    /// The next message that is already here. Taking one says that those before it are done with.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        let message = self.waiting.pop_front()?;
        self.last_event_id.clone_from(&message.id);
        if message.kind == HELLO {
            self.heed(&message.data);
        }
        Some(message)
    }

    /// What the stream would resume with.
    pub(crate) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Where the stream comes from.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Waits for more, and opens the stream if it is not open. Only to be called when nothing is [`Self::ready`].
    /// Dropped half way it loses nothing: at worst a connection is made anew.
    ///
    /// # Errors
    /// The server refuses for good.
    pub(crate) async fn wait(&mut self) -> Result<Change, CliError> {
        debug_assert!(self.waiting.is_empty(), "waiting messages would be lost when the stream is opened again");
        let Some(response) = &mut self.response else { return self.open().await };
        self.parser.last_event_id().clone_into(&mut self.last_event_id); // Also that of a block without data.
        let why = match within(self.silence, response.chunk()).await {
            None => "nothing came for too long".into(),
            Some(Ok(Some(bytes))) => match self.parser.feed(&bytes, &mut self.waiting) {
                Ok(()) => return Ok(Change::Fed),
                Err(error) => return Err(CliError::Failed(error.to_string())),
            },
            Some(Ok(None)) => "the stream ended".into(),
            Some(Err(error)) => cause(error),
        };
        self.response = None;
        self.outage = Some(Instant::now());
        self.retry = self.parser.reconnection_time().or(self.retry);
        // The server's own time is already spread by the server: it is kept as it is.
        let wait = self.retry.unwrap_or_else(|| self.backoff.after_failure());
        Ok(self.away(why, wait))
    }

    async fn open(&mut self) -> Result<Change, CliError> {
        if let Some(time) = self.not_before {
            tokio::time::sleep_until(time).await;
        }
        let opened = match within(self.silence, self.source.open(&self.last_event_id)).await {
            None => Err(Failure::Away("no answer in time".into())),
            Some(opened) => opened,
        };
        let (why, after) = match opened {
            Ok(Some(response)) => {
                self.response = Some(response);
                self.was_open = true;
                self.parser = Parser::resuming(&self.last_event_id);
                self.backoff.reset();
                return Ok(Change::Open(self.outage.take().map(|since| since.elapsed())));
            }
            Ok(None) => return Ok(Change::End),
            // A page in place of a stream that was there before is an intermediary's excuse, not an answer for good.
            Err(Failure::Refused(problem)) if problem.status < 400 && self.was_open => {
                (problem.to_string(), Duration::ZERO)
            }
            Err(Failure::Refused(problem)) => return Err(CliError::Refused(problem)),
            Err(Failure::Away(why)) => (why, Duration::ZERO),
            Err(Failure::Later { problem, after }) => (problem.to_string(), after.unwrap_or_default()),
        };
        self.outage.get_or_insert_with(Instant::now);
        let wait = self.backoff.after_failure().max(after);
        Ok(self.away(why, wait))
    }

    fn away(&mut self, why: String, wait: Duration) -> Change {
        let wait = wait.min(MAX_WAIT);
        self.not_before = Some(Instant::now() + wait);
        Change::Away(why, wait)
    }

    /// Learns from a gateway's hello how long it may be silent.
    fn heed(&mut self, hello: &str) {
        #[derive(Deserialize)]
        struct Hello {
            heartbeat: f64,
        }
        if let Ok(Hello { heartbeat }) = serde_json::from_str(hello)
            && (1.0..86_400.0).contains(&heartbeat)
        {
            self.silence = Some(Duration::from_secs_f64(heartbeat * 2.5));
        }
    }
}

/// The future's output, or `None` if it takes longer than `limit`.
async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match limit {
        None => Some(future.await),
        Some(limit) => tokio::time::timeout(limit, future).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::test_server::{Reply, TestServer};

    const MS: Duration = Duration::from_millis(1);

    /// Reads until `count` messages came or the stream ended; gives their data and ids.
    async fn read(stream: &mut Resuming, count: usize) -> Vec<(String, String)> {
        let mut messages = Vec::new();
        while messages.len() < count {
            if let Some(message) = stream.ready() {
                messages.push((message.data, message.id));
            } else if stream.wait().await.expect("no refusal") == Change::End {
                break;
            }
        }
        messages
    }

    fn stream(server: &TestServer, silence: Option<Duration>) -> Resuming {
        let source = Source::new(&server.url()).expect("a URL");
        Resuming::new(source, "", silence, Backoff::new(MS, 5 * MS))
    }

    fn pair(data: &str, id: &str) -> (String, String) {
        (data.into(), id.into())
    }

    #[tokio::test]
    async fn an_ended_stream_is_resumed_after_the_last_complete_block() {
        let server = TestServer::start(|number, _| match number {
            0 => Reply::stream("retry: 1\n\nid: 1\ndata: a\n\nid: 2\ndata: ha"),
            1 => Reply::json(503, "{}"),
            2 => Reply::Drop,
            3 => Reply::json(200, "[]"),
            4 => Reply::stream("id: 2\ndata: b\n\nid: 3\n\n"), // The last block holds an id alone.
            5 => Reply::stream("data: c\n\n"),
            _ => Reply::json(204, ""),
        })
        .await;
        let mut stream = stream(&server, None);
        assert_eq!(read(&mut stream, 9).await, [pair("a", "1"), pair("b", "2"), pair("c", "3")]);
        let asked: Vec<_> = server.requests().iter().map(|r| r.header("last-event-id").map(str::to_owned)).collect();
        let expected = [None, Some("1"), Some("1"), Some("1"), Some("1"), Some("3"), Some("3")];
        assert_eq!(asked, expected.map(|id| id.map(str::to_owned)));
        assert_eq!(server.requests()[0].header("accept"), Some("text/event-stream"));
    }

    #[tokio::test]
    async fn a_connection_silent_for_too_long_is_given_up() {
        let server = TestServer::start(|_, request| match request.header("last-event-id") {
            None => Reply::stream("retry: 1\nid: 1\ndata: a\n\n").held_open(),
            _ => Reply::stream("data: b\n\n").held_open(),
        })
        .await;
        let mut stream = stream(&server, Some(100 * MS));
        assert_eq!(read(&mut stream, 2).await, [pair("a", "1"), pair("b", "1")]);
    }

    #[test]
    fn a_hello_tells_how_long_its_gateway_may_be_silent() {
        let source = Source::new("http://127.0.0.1:9/").expect("a URL");
        let mut stream = Resuming::new(source, "", None, Backoff::new(MS, MS));
        for (hello, expected) in [
            (r#"{"stream":"x","heartbeat":20}"#, Some(50_000 * MS)),
            (r#"{"heartbeat":-1}"#, Some(50_000 * MS)),
            ("{}", Some(50_000 * MS)),
            (r#"{"heartbeat":1e300}"#, Some(50_000 * MS)),
            (r#"{"heartbeat":6}"#, Some(15_000 * MS)),
        ] {
            stream.heed(hello);
            assert_eq!(stream.silence, expected, "{hello}");
        }
    }

    #[tokio::test]
    async fn what_never_was_an_event_stream_is_told_so() {
        let server = TestServer::start(|_, _| Reply::json(200, "[]")).await;
        let error = stream(&server, None).wait().await.expect_err("no stream");
        assert_eq!(error.to_string(), format!("not an event stream (200): {}", server.url()));
    }

    #[tokio::test]
    async fn a_refusal_ends_it() {
        let server = TestServer::start(|_, _| Reply::json(403, r#"{"title":"Not yours"}"#)).await;
        let error = stream(&server, None).wait().await.expect_err("refused");
        assert!(matches!(error, CliError::Refused(_)));
        assert_eq!(error.to_string(), "Not yours (403)");
    }
}
