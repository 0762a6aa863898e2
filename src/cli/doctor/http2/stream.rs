//! One event stream of HTTP/2 on a connection of its own, and how it ended. By `h2` itself: hyper does not tell the codes.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Parts, Uri};
use http::{Request, Version};
use tokio::time::Instant;

use crate::cli::event_stream::{Message, Parser};
use crate::cli::wire::dial::Io;

/// An answer that is being read.
pub(super) struct Stream {
    connection: Driven,
    requests: SendRequest<Bytes>,
    content: RecvStream,
    parser: Parser,
    pub(super) head: Head,
    /// When the request was handed over.
    pub(super) asked: Instant,
}

/// What is looked at of the head, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::doctor) struct Head {
    pub(in crate::cli::doctor) status: u16,
    pub(in crate::cli::doctor) media_type: String,
    pub(in crate::cli::doctor) after: Duration,
}

/// How a stream of HTTP/2 ended, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::doctor) enum End {
    /// In order (`END_STREAM`).
    Ended,
    /// By `RST_STREAM` with this code.
    Reset(Reason),
    /// With the connection, behind a `GOAWAY` with this code.
    GoAway(Reason),
    /// With the connection, and nothing was said.
    Cut,
    /// Something else.
    Other(String),
}

/// A connection that is only heard while somebody waits for something on it.
struct Driven {
    connection: Connection<Io, Bytes>,
    is_over: bool,
}

/// How much may come unasked: as much as browsers take, as a smaller window would hold events back.
const WINDOW: u32 = 1 << 20;

/// What only one connection of HTTP/1.1 has to do with (RFC 9113 § 8.2.2). `Host` is in the authority.
const OF_HTTP_1: [HeaderName; 5] = [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, HOST];

impl Stream {
    /// Asks, and waits for the head; the caller sets the patience.
    pub(super) async fn ask(io: Io, request: &Request<Bytes>) -> Result<Self, End> {
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
        let (requests, connection) = builder.handshake(io).await.map_err(|error| End::of(&error))?;
        let mut connection = Driven { connection, is_over: false };
        let mut requests = connection.drive(requests.ready()).await.map_err(|error| End::of(&error))?;
        let asked = Instant::now();
        let (answer, _) = requests.send_request(of_http_2(request), true).map_err(|error| End::of(&error))?;
        let answer = match connection.drive(answer).await {
            Ok(answer) => answer,
            Err(error) => return Err(ended(&mut requests, &error)),
        };
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let head = Head { status: answer.status().as_u16(), media_type, after: asked.elapsed() };
        Ok(Self { connection, requests, content: answer.into_body(), parser: Parser::default(), head, asked })
    }

    /// Waits for more and adds the messages that it completes; gives the end when there is no more.
    ///
    /// Nothing is lost if this is dropped: bytes are taken by the poll that finds them.
    pub(super) async fn next(&mut self, messages: &mut VecDeque<Message>) -> Option<End> {
        let content = &mut self.content;
        match self.connection.drive(poll_fn(|context| content.poll_data(context))).await {
            Some(Ok(bytes)) => {
                // It fails for more than there was, and this is what there was.
                let _ = content.flow_control().release_capacity(bytes.len());
                self.parser.feed(&bytes, messages).err().map(|error| End::Other(error.to_string()))
            }
            Some(Err(error)) => Some(ended(&mut self.requests, &error)),
            None => Some(End::Ended),
        }
    }
}

impl Driven {
    /// Waits for `what`, while the connection is read and written.
    async fn drive<F: Future>(&mut self, what: F) -> F::Output {
        let mut what = pin!(what);
        poll_fn(|context| {
            // Its failure is told to what waits on it.
            self.is_over = self.is_over || Pin::new(&mut self.connection).poll(context).is_ready();
            what.as_mut().poll(context)
        })
        .await
    }
}

/// How it ended: where the connection was closed, what was said before that is known where requests are made.
fn ended(requests: &mut SendRequest<Bytes>, error: &h2::Error) -> End {
    match (End::of(error), requests.poll_ready(&mut Context::from_waker(Waker::noop()))) {
        (End::Cut, Poll::Ready(Err(error))) => End::of(&error),
        (end, _) => end,
    }
}

impl End {
    fn of(error: &h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_remote() && error.is_reset() => Self::Reset(reason),
            Some(reason) if error.is_remote() && error.is_go_away() => Self::GoAway(reason),
            None if error.is_io() => Self::Cut,
            _ => Self::Other(error.to_string()),
        }
    }

    /// The same for programs.
    pub(in crate::cli::doctor) fn name(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Reset(_) => "reset",
            Self::GoAway(_) => "goaway",
            Self::Cut => "cut",
            Self::Other(_) => "other",
        }
    }

    /// The code that came with it, by its name (RFC 9113 § 7).
    pub(in crate::cli::doctor) fn code(&self) -> Option<String> {
        match self {
            Self::Reset(reason) | Self::GoAway(reason) => Some(format!("{reason:?}")),
            Self::Ended | Self::Cut | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("ended in order (END_STREAM)"),
            Self::Reset(reason) => write!(f, "reset (RST_STREAM, {reason:?})"),
            Self::GoAway(reason) => write!(f, "cut with its connection (GOAWAY, {reason:?})"),
            Self::Cut => f.write_str("cut with its connection, without a word"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// The same request as it is made over HTTP/2.
fn of_http_2(request: &Request<Bytes>) -> Request<()> {
    let (mut parts, _) = request.clone().into_parts();
    let host = parts.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut uri = Parts::from(parts.uri.clone());
    uri.authority = host.or(uri.authority);
    parts.uri = Uri::from_parts(uri).unwrap_or(parts.uri);
    for name in OF_HTTP_1 {
        parts.headers.remove(name);
    }
    parts.version = Version::HTTP_2;
    Request::from_parts(parts, ())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use h2::server::{Connection, handshake};
    use reqwest::Url;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;
    use crate::cli::wire::dial::{Dialer, Traffic};

    /// What the server does once it has sent the head and one event, or instead.
    #[derive(Clone, Copy)]
    enum Then {
        Refuse,
        End,
        Reset,
        Leave,
        SayThatItLeaves,
        GoAway,
    }

    /// `is_read`: the client has read the event.
    async fn serve(listener: TcpListener, then: Then, is_read: Arc<Notify>) {
        let (socket, _) = listener.accept().await.expect("a connection");
        let mut connection = handshake(socket).await.expect("HTTP/2");
        let (request, mut answers) = connection.accept().await.expect("a stream").expect("a request");
        assert_eq!((request.uri().host(), request.headers().get(HOST)), (Some("other"), None));
        if let Then::Refuse = then {
            answers.send_reset(Reason::REFUSED_STREAM);
            return drive(&mut connection).await;
        }
        let head = http::Response::builder().header(CONTENT_TYPE, "Text/event-stream; charset=utf-8").body(());
        let mut content = answers.send_response(head.expect("a head"), false).expect("it is open");
        content.send_data(Bytes::from_static(b"data: 1\n\n"), false).expect("it is open");
        tokio::select! {
            () = drive(&mut connection) => unreachable!("the client waits for more"),
            () = is_read.notified() => {}
        }
        match then {
            Then::End => content.send_data(Bytes::new(), true).expect("it is open"),
            Then::Reset => content.send_reset(Reason::INTERNAL_ERROR),
            Then::GoAway => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
            Then::SayThatItLeaves => connection.abrupt_shutdown(Reason::NO_ERROR),
            Then::Leave | Then::Refuse => return,
        }
        drive(&mut connection).await;
    }

    /// Serves it until it is closed.
    async fn drive(connection: &mut Connection<TcpStream, Bytes>) {
        let _ = poll_fn(|context| connection.poll_closed(context)).await;
    }

    /// What was read, and how it ended.
    async fn read(then: Then) -> (usize, End) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/live", listener.local_addr().expect("an address"));
        let mut server = JoinSet::new();
        let is_read = Arc::new(Notify::new());
        server.spawn(serve(listener, then, Arc::clone(&is_read)));
        let dialer = Dialer::new(&Url::parse(&url).expect("a URL"), &[], None).await.expect("an address");
        let io = dialer.dial(&Arc::new(Traffic::default())).await.expect("a connection");
        let request = Request::get(&url).header(HOST, "other").header(CONNECTION, "close").body(Bytes::new());
        let mut stream = match Stream::ask(io, &request.expect("a request")).await {
            Ok(stream) => stream,
            Err(end) => return (0, end),
        };
        assert_eq!((stream.head.status, stream.head.media_type.as_str()), (200, "text/event-stream"));
        let mut messages = VecDeque::new();
        loop {
            if let Some(end) = stream.next(&mut messages).await {
                return (messages.len(), end);
            }
            is_read.notify_one();
        }
    }

    #[tokio::test]
    async fn each_way_to_end_is_told_with_its_code() {
        assert_eq!(read(Then::Refuse).await, (0, End::Reset(Reason::REFUSED_STREAM)));
        assert_eq!(read(Then::End).await, (1, End::Ended));
        assert_eq!(read(Then::Reset).await, (1, End::Reset(Reason::INTERNAL_ERROR)));
        assert_eq!(read(Then::GoAway).await, (1, End::GoAway(Reason::ENHANCE_YOUR_CALM)));
        assert_eq!(read(Then::SayThatItLeaves).await, (1, End::GoAway(Reason::NO_ERROR)));
        assert_eq!(read(Then::Leave).await, (1, End::Cut));
        let end = End::Reset(Reason::INTERNAL_ERROR);
        assert_eq!((end.name(), end.code().as_deref()), ("reset", Some("INTERNAL_ERROR")));
    }
}
