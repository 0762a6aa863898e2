//! One event stream on a connection of its own: what came, when, and how it ended.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::cli::event_stream::{Message, Parser};
use crate::cli::wire::dial::{Dialer, Io, Traffic};
use crate::cli::wire::framing::Framing;
use crate::cli::wire::head;
use crate::cli::wire::request::written;
use crate::cli::wire::trouble::{Kind, Trouble};

/// An answer that is being read.
pub(super) struct Stream {
    io: Io,
    framing: Framing,
    /// What came with the head.
    first: Vec<u8>,
    parser: Parser,
    pub(super) answer: Answer,
    /// When the request was written.
    pub(super) asked: Instant,
    /// When the newest bytes came; those of the head count.
    pub(super) last: Instant,
    /// The longest time without a byte that the stream outlived.
    pub(super) longest: Duration,
    /// What the server said before it ended the stream itself (`encke.bye`).
    pub(super) goodbye: Option<String>,
}

/// The head of an answer, and how long it took.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) media_type: String,
    pub(super) location: Option<String>,
    pub(super) fields: HeaderMap,
    pub(super) is_1_1: bool,
    /// Whether the content ends with the connection, so that a cut looks like an end.
    pub(super) ends_with_connection: bool,
    /// From the written request to the whole head.
    pub(super) after: Duration,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order: the last chunk, or the last byte of its length, has come.
    Ended,
    /// The connection was closed (FIN) in the midst of the content.
    Cut,
    /// The connection was closed (FIN), and nothing else would have told the end of this content.
    Closed,
    /// The connection was reset (RST).
    Reset,
    /// Something else.
    Other(String),
}

impl End {
    /// The same for programs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Cut => "cut",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "ended in order, by the last chunk",
            Self::Cut => "closed (FIN) in the midst of the answer",
            Self::Closed => "closed (FIN)",
            Self::Reset => "reset (RST)",
            Self::Other(words) => words,
        })
    }
}

impl Stream {
    /// Connects, asks, and waits for the head; the caller sets the patience.
    pub(super) async fn open(dialer: &Dialer, request: &Request<Bytes>) -> Result<Self, Trouble> {
        Self::ask(dialer.dial(&Arc::new(Traffic::default())).await?, request).await
    }

    /// The same on a connection.
    pub(super) async fn ask(mut io: Io, request: &Request<Bytes>) -> Result<Self, Trouble> {
        let bytes = written(request);
        let asked = Instant::now();
        io.write_all(&bytes).await?;
        io.flush().await?;
        let mut begun = Vec::new();
        loop {
            let taken = |bytes: &[u8]| {
                begun.extend_from_slice(bytes);
                bytes.len()
            };
            if io.read(taken).await? == 0 {
                return Err(Trouble::new(Kind::Cut, "the connection was closed without an answer"));
            }
            let Some(read) = head::read(&begun)? else { continue };
            begun.drain(..read.used);
            let answer = Answer {
                status: read.head.status,
                media_type: read.head.media_type,
                location: read.head.location,
                fields: read.fields,
                is_1_1: read.is_1_1,
                ends_with_connection: read.framing == Framing::Close,
                after: asked.elapsed(),
            };
            return Ok(Self {
                io,
                framing: read.framing,
                first: begun,
                parser: Parser::default(),
                answer,
                asked,
                last: Instant::now(),
                longest: Duration::ZERO,
                goodbye: None,
            });
        }
    }

    /// Waits for more and adds the messages that it completes; gives the end when there is no more.
    ///
    /// Nothing is lost if this is dropped: bytes are taken by the poll that finds them.
    pub(super) async fn next(&mut self, messages: &mut VecDeque<Message>) -> Option<End> {
        let (framing, parser) = (&mut self.framing, &mut self.parser);
        let mut malformed = None;
        let before = messages.len();
        let mut had_content = false;
        let mut take = |bytes: &[u8]| {
            let read = framing.read(bytes, &mut |content| {
                had_content |= !content.is_empty();
                if let Err(error) = parser.feed(content, messages) {
                    malformed = Some(error.to_string());
                }
            });
            read.map_err(|_| "its chunks are malformed".to_owned())
        };
        let read = if self.first.is_empty() {
            self.io.read(|bytes| (!bytes.is_empty()).then(|| take(bytes))).await
        } else {
            Ok(Some(take(&std::mem::take(&mut self.first))))
        };
        let bye = messages.iter().skip(before).find(|message| message.kind == "encke.bye");
        if let Some(bye) = bye {
            self.goodbye = Some(bye.data.clone());
        }
        match read {
            Ok(Some(Ok(read))) => {
                // An end in order, by the last chunk, is no sign of life.
                if had_content || !read.done {
                    let now = Instant::now();
                    self.longest = self.longest.max(now - self.last);
                    self.last = now;
                }
                malformed.map(End::Other).or(read.done.then_some(End::Ended))
            }
            Ok(Some(Err(words))) => Some(End::Other(words)),
            Ok(None) if self.framing.is_done() => Some(End::Ended),
            Ok(None) => Some(if self.framing.may_close() { End::Closed } else { End::Cut }),
            // A connection over TLS that is closed without a word of TLS is closed all the same.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Some(End::Cut),
            Err(error) => Some(match Trouble::from(error) {
                Trouble { kind: Kind::Reset, .. } => End::Reset,
                Trouble { words, .. } => End::Other(words),
            }),
        }
    }

    /// Whether there may be content without waiting for it: what came with the head.
    pub(super) fn has_begun(&self) -> bool {
        !self.first.is_empty()
    }

    /// The same for content that is asked for whole: reads to its end.
    pub(super) async fn rest(&mut self) -> End {
        let mut messages = VecDeque::new();
        loop {
            if let Some(end) = self.next(&mut messages).await {
                return end;
            }
            messages.clear();
        }
    }

    /// Says that nothing more will be asked (`shutdown(SHUT_WR)`, over TLS behind a `close_notify`), which some take for
    /// leaving. It can be read on.
    pub(super) async fn half_close(&mut self) -> std::io::Result<()> {
        self.io.shutdown().await
    }
}
