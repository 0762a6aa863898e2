//! One reader's way to the server: requests out, answers in. HTTP/1.1 over a connection of its own, which is kept from one
//! answer to the next, or a stream of an HTTP/2 connection that several share.
//!
//! HTTP/1.1 is spoken here by hand: a stream that waits is a socket and a few numbers then, and an event costs one read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::wire::dial::{Dialer, Io, Traffic};
use crate::cli::wire::framing::{Framing, Malformed};
use crate::cli::wire::head::{self, Head};
use crate::cli::wire::request::written;
use crate::cli::wire::trouble::{Kind, Trouble};

/// How connections are made, and where their bytes are counted.
#[derive(Clone)]
pub(super) struct Lines {
    pub(super) dialer: Arc<Dialer>,
    pub(super) traffic: Arc<Traffic>,
}

/// One way to the server.
pub(super) enum Line {
    /// With the connection that the last answer left open.
    Http1(Lines, Option<Io>),
    Http2(Arc<Shared>),
}

/// An HTTP/2 connection that several lines use; it is opened when it is needed, and again when it is gone.
pub(super) struct Shared {
    lines: Lines,
    open: Mutex<Option<Open>>,
}

struct Open {
    requests: SendRequest<Full<Bytes>>,
    /// Aborted with this.
    _driver: JoinSet<()>,
}

/// An answer whose content is still to come.
pub(super) struct Answer {
    pub(super) head: Head,
    content: Content,
}

enum Content {
    Http1 {
        io: Io,
        framing: Framing,
        is_kept: bool,
        /// What came with the head.
        first: Vec<u8>,
    },
    Http2(Box<Incoming>),
}

impl Shared {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, open: Mutex::new(None) }
    }

    async fn requests(&self) -> Result<SendRequest<Full<Bytes>>, Trouble> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref().filter(|open| !open.requests.is_closed()) {
            return Ok(open.requests.clone());
        }
        let io = self.lines.dialer.dial(&self.lines.traffic).await?;
        let (requests, driver) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.map_err(|error| told(&error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = driver.await; // What went wrong is told to each of its streams.
        });
        *open = Some(Open { requests: requests.clone(), _driver: tasks });
        Ok(requests)
    }
}

impl Line {
    /// Sends a request and waits for the head of its answer, at most `patience`.
    pub(super) async fn send(&mut self, request: Request<Bytes>, patience: Duration) -> Result<Answer, Trouble> {
        match self {
            Self::Http2(shared) => {
                let answered = async {
                    let mut requests = shared.requests().await?;
                    requests.ready().await.map_err(|error| told(&error))?;
                    let answer = requests.send_request(request.map(Full::new)).await.map_err(|error| told(&error))?;
                    let head = Head::new(answer.status().as_u16(), answer.headers());
                    Ok(Answer { head, content: Content::Http2(Box::new(answer.into_body())) })
                };
                timeout(patience, answered).await.unwrap_or_else(|_| Err(Trouble::late()))
            }
            Self::Http1(lines, kept) => {
                let bytes = written(&request);
                if let Some(io) = kept.take() {
                    match timeout(patience, asked(io, &bytes)).await {
                        Err(_) => return Err(Trouble::late()),
                        // It was closed while nobody needed it (RFC 9112 § 9.3.1), which is no failure of a question.
                        Ok(Err(_)) if request.method() == http::Method::GET => {}
                        Ok(answered) => return answered,
                    }
                }
                let io = lines.dialer.dial(&lines.traffic).await?;
                timeout(patience, asked(io, &bytes)).await.unwrap_or_else(|_| Err(Trouble::late()))
            }
        }
    }

    /// Keeps the connection of an answer that was read to its end for the next request.
    pub(super) fn keep(&mut self, answer: Answer) {
        if let (Self::Http1(_, kept), Content::Http1 { io, framing, is_kept: true, first }) = (self, answer.content)
            && framing.is_done()
            && first.is_empty()
        {
            *kept = Some(io);
        }
    }
}

async fn asked(mut io: Io, request: &[u8]) -> Result<Answer, Trouble> {
    io.write_all(request).await?;
    io.flush().await?;
    let mut begun = Vec::new();
    loop {
        let length = io
            .read(|bytes| {
                begun.extend_from_slice(bytes);
                bytes.len()
            })
            .await?;
        if length == 0 {
            return Err(Trouble::new(Kind::Cut, "the connection was closed without an answer"));
        }
        if let Some(head::Read { head, framing, is_kept, used, .. }) = head::read(&begun)? {
            begun.drain(..used);
            return Ok(Answer { head, content: Content::Http1 { io, framing, is_kept, first: begun } });
        }
    }
}

impl Answer {
    /// Waits for more of the content and shows it; `false` at its end.
    pub(super) async fn next(&mut self, look: &mut impl FnMut(&[u8])) -> Result<bool, Trouble> {
        match &mut self.content {
            Content::Http1 { io, framing, first, .. } => {
                let is_malformed =
                    |_: Malformed| Trouble::new(Kind::Malformed, "the chunks of the answer are malformed");
                if !first.is_empty() {
                    let bytes = std::mem::take(first);
                    let read = framing.read(&bytes, look).map_err(is_malformed)?;
                    *first = bytes[read.used..].to_vec();
                    return Ok(!read.done);
                }
                if framing.is_done() {
                    return Ok(false);
                }
                let read = io.read(|bytes| (!bytes.is_empty()).then(|| framing.read(bytes, look))).await?;
                match read {
                    Some(read) => Ok(!read.map_err(is_malformed)?.done),
                    None if framing.may_close() => Ok(false),
                    None => Err(Trouble::new(Kind::Cut, "the connection was closed in the midst of the answer")),
                }
            }
            Content::Http2(content) => match content.frame().await {
                None => Ok(false),
                Some(Err(error)) => Err(told(&error)),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        look(bytes);
                    }
                    Ok(true)
                }
            },
        }
    }

    /// The whole content, of at most `most` bytes.
    pub(super) async fn whole(&mut self, most: usize) -> Result<Vec<u8>, Trouble> {
        let mut content = Vec::new();
        while self.next(&mut |bytes| content.extend_from_slice(bytes)).await? {
            if content.len() > most {
                return Err(Trouble::new(Kind::Malformed, format!("the answer has more than {most} bytes")));
            }
        }
        Ok(content)
    }
}

/// What hyper says of an HTTP/2 connection or stream.
fn told(error: &hyper::Error) -> Trouble {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let kind = match innermost.downcast_ref::<std::io::Error>() {
        Some(error) => Trouble::from(std::io::Error::from(error.kind())).kind,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => Kind::Cut,
        None => Kind::Reset, // RST_STREAM, GOAWAY, or what breaks the rules of HTTP/2.
    };
    Trouble::new(kind, format!("HTTP/2: {innermost}"))
}
