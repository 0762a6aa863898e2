//! Connections that streams come on: read piece by piece, left politely or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::runtime::Runtime;

use crate::KEY;
use crate::figures;
use crate::support::PATIENCE;

/// What a reader speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http10,
    Http11,
    Http2,
}

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) target: &'a str,
    pub(super) last_event_id: Option<&'a str>,
    /// Whether the key is sent, with which everything may be read.
    pub(super) with_key: bool,
    /// Whether the kernel is to take little for a reader that does not read.
    pub(super) narrow: bool,
}

/// Where to connect to.
pub(super) struct Doors {
    address: SocketAddr,
    /// Tells the oldest offset that is still in the log.
    oldest: Box<dyn Fn() -> u64 + Send + Sync>,
    runtime: Runtime,
    http2: reqwest::Client,
}

impl Doors {
    pub(super) fn of(address: &str, admin: &str) -> Self {
        let admin = admin.to_owned();
        Self::to(address, move || figures::first_offset(&admin))
    }

    /// To a gateway of which something else tells how far its log reaches back.
    pub(super) fn to(address: &str, oldest: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default(); // Another test may have been first.
        let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy();
        // As much as a stream may have under way: a reader that does not read is soon noticed.
        let client = client.http2_initial_stream_window_size(64 << 10).read_timeout(PATIENCE);
        Self {
            address: address.parse().expect("an address"),
            oldest: Box::new(oldest),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("threads"),
            http2: client.build().expect("a client"),
        }
    }

    /// Sends a request and reads the head of the answer: its status, and what follows.
    pub(super) fn ask(&self, protocol: Protocol, request: &Request<'_>) -> io::Result<(u16, Wire<'_>)> {
        if protocol == Protocol::Http2 {
            return self.ask_http2(request);
        }
        let (socket, version) =
            (self.connect(request.narrow)?, if protocol == Protocol::Http10 { "1.0" } else { "1.1" });
        let mut head = format!("GET {} HTTP/{version}\r\nHost: {}\r\n", request.target, self.address);
        for (name, value) in request.fields() {
            head += &format!("{name}: {value}\r\n");
        }
        let mut plain = Plain { socket, unread: Vec::new(), framing: Framing::UntilClose };
        plain.socket.write_all(format!("{head}\r\n").as_bytes())?;
        let status = plain.head()?;
        Ok((status, Wire::Plain(plain)))
    }

    /// Connects, asks, and goes without a look at the answer.
    pub(super) fn ask_and_go(&self, request: &Request<'_>) -> io::Result<()> {
        let mut socket = self.connect(false)?;
        socket.write_all(format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", request.target, self.address).as_bytes())?;
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))
    }

    /// The oldest offset that is still in the log.
    pub(super) fn first_offset(&self) -> u64 {
        (self.oldest)()
    }

    fn connect(&self, narrow: bool) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        if narrow {
            socket.set_recv_buffer_size(16 << 10)?;
            socket.set_tcp_mss(1460)?; // With segments as large as those of loopback a small window opens by timers alone.
        }
        socket.connect(&self.address.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    fn ask_http2(&self, request: &Request<'_>) -> io::Result<(u16, Wire<'_>)> {
        let mut asked = self.http2.get(format!("http://{}{}", self.address, request.target));
        for (name, value) in request.fields() {
            asked = asked.header(name, value);
        }
        let answer = self.runtime.block_on(async { asked.send().await }).map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        Ok((status, Wire::Http2(Multiplexed { runtime: &self.runtime, answer: Some(Box::new(answer)) })))
    }
}

impl Request<'_> {
    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let last = self.last_event_id.map(|id| ("Last-Event-ID", id.to_owned()));
        last.into_iter().chain(self.with_key.then(|| ("Authorization", format!("Bearer {KEY}"))))
    }
}

/// An answer that goes on.
pub(super) enum Wire<'a> {
    Plain(Plain),
    Http2(Multiplexed<'a>),
}

/// An answer of HTTP/2; the stream is cancelled when it is dropped.
pub(super) struct Multiplexed<'a> {
    runtime: &'a Runtime,
    answer: Option<Box<reqwest::Response>>,
}

impl Drop for Multiplexed<'_> {
    fn drop(&mut self) {
        let _inside = self.runtime.enter(); // Its timer wants to be dropped there.
        self.answer = None;
    }
}

impl Wire<'_> {
    /// The next piece of the content; none at its end.
    pub(super) fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Plain(plain) => plain.read(),
            Self::Http2(Multiplexed { runtime, answer }) => {
                let Some(answer) = answer else { return Ok(None) };
                let chunk = runtime.block_on(async { answer.chunk().await }).map_err(io::Error::other)?;
                Ok(chunk.map(|chunk| chunk.to_vec()))
            }
        }
    }

    /// From now on the kernel takes as much as ever.
    pub(super) fn widen(&self) {
        if let Self::Plain(plain) = self {
            let _ = SockRef::from(&plain.socket).set_recv_buffer_size(1 << 20);
        }
    }

    /// Ends with a FIN, on HTTP/2 by cancelling the stream.
    pub(super) fn close(self) {
        if let Self::Plain(plain) = &self {
            let _ = plain.socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends with a RST, on HTTP/2 by cancelling the stream.
    pub(super) fn reset(self) {
        if let Self::Plain(plain) = &self {
            let _ = SockRef::from(&plain.socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// An answer of HTTP/1.
pub(super) struct Plain {
    socket: TcpStream,
    unread: Vec<u8>,
    framing: Framing,
}

enum Framing {
    UntilClose,
    Chunked,
    /// So many bytes are still to come.
    Length(usize),
    Ended,
}

impl Plain {
    fn head(&mut self) -> io::Result<u16> {
        let end = self.up_to(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.unread[..end]).to_ascii_lowercase();
        self.unread.drain(..end);
        if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            self.framing = Framing::Chunked;
        }
        if let Some((_, length)) = head.split_once("\r\ncontent-length: ") {
            let length = length.lines().next().and_then(|length| length.parse().ok());
            self.framing = Framing::Length(length.ok_or_else(|| io::Error::other("no length"))?);
        }
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other(head))
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Ended | Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                if self.unread.is_empty() && !self.more()? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.framing = Framing::Length(left.checked_sub(self.unread.len()).expect("no more than it says"));
                Ok(Some(std::mem::take(&mut self.unread)))
            }
            Framing::UntilClose => {
                let more = !self.unread.is_empty() || self.more()?;
                Ok(more.then(|| std::mem::take(&mut self.unread)))
            }
            Framing::Chunked => self.chunk(),
        }
    }

    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.up_to(b"\r\n")?;
        let size =
            std::str::from_utf8(&self.unread[..line - 2]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| io::Error::other("no size of a chunk"))?;
        while self.unread.len() < line + size + 2 {
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let chunk = self.unread[line..line + size].to_vec();
        assert_eq!(&self.unread[line + size..line + size + 2], b"\r\n", "a chunk ends where it says");
        self.unread.drain(..line + size + 2);
        if size > 0 {
            return Ok(Some(chunk));
        }
        self.framing = Framing::Ended;
        Ok(None)
    }

    /// Reads until these bytes are there; how many there are up to and with them.
    fn up_to(&mut self, end: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Ok(at + end.len());
            }
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let read = self.socket.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }
}
