//! HTTP/1 spoken in bytes over a plain socket: a request goes out exactly as a test wrote it, however wrong it is, and an
//! answer is shown exactly as it came.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;
use tokio::time::Instant;

use super::PATIENCE;

/// A request, right unless a test makes it wrong.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    line: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

impl Request {
    /// `METHOD target HTTP/1.1` to the host `localhost`.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self::of_line(format!("{method} {target} HTTP/1.1")).field("Host", "localhost")
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` with content and its length.
    pub(crate) fn post(target: &str, content: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).content(content)
    }

    /// Any request line, without a field: not even `Host`.
    pub(crate) fn of_line(line: impl AsRef<[u8]>) -> Self {
        Self { line: line.as_ref().to_vec(), fields: Vec::new(), content: Vec::new() }
    }

    /// One more field; a second of the same name stands beside the first.
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The same without the fields of this name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        self
    }

    /// The same to another host.
    pub(crate) fn host(self, host: impl AsRef<[u8]>) -> Self {
        self.without("Host").field("Host", host)
    }

    /// With a key or token.
    pub(crate) fn bearer(self, credential: &str) -> Self {
        self.field("Authorization", format!("Bearer {credential}"))
    }

    pub(crate) fn content(mut self, content: impl AsRef<[u8]>) -> Self {
        content.as_ref().clone_into(&mut self.content);
        let length = self.content.len().to_string();
        self.without("Content-Length").field("Content-Length", length)
    }

    /// The bytes up to and with the empty line.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut bytes = [&self.line[..], b"\r\n"].concat();
        for (name, value) in &self.fields {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.content.clone()].concat()
    }

    /// Sends it over a connection of its own and reads the whole answer.
    #[track_caller]
    pub(crate) fn ask(&self, address: &str) -> Answer {
        let mut connection = Connection::open(address);
        connection.offer(self.bytes());
        if self.line.starts_with(b"HEAD ") { connection.head() } else { connection.answer() }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) content: Vec<u8>,
}

impl Answer {
    /// The value of a field; those of several fields of this name, joined as RFC 9110 § 5.3 allows.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The content as text, for messages and searches.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.content).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A connection. Everything read from it is waited for with [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`.
    #[track_caller]
    pub(crate) fn open(address: &str) -> Self {
        let socket = TcpStream::connect(address).expect("the gateway takes connections");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit for reading");
        socket.set_write_timeout(Some(PATIENCE)).expect("a time limit for writing");
        socket.set_nodelay(true).expect("bytes go out at once");
        Self { socket, unread: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the gateway takes what is sent");
    }

    /// Sends as much as the other side takes: it may have answered and closed before the end.
    pub(crate) fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref());
    }

    /// Says that nothing more will be sent (FIN). The other side may be gone already.
    pub(crate) fn finish(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// The socket, for what is not HTTP.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Reads the next status line and fields, a `100 Continue` as well.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        let head = String::from_utf8(self.up_to(b"\r\n\r\n")).expect("a head of UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let mut words = lines.next().expect("a status line").splitn(3, ' ');
        let version = words.next().expect("a version");
        assert!(matches!(version, "HTTP/1.1" | "HTTP/1.0"), "{head}");
        let status = words.next().and_then(|status| status.parse().ok()).expect("a status");
        let reason = words.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Answer { status, reason, fields: fields.collect(), content: Vec::new() }
    }

    /// Reads a whole answer, by its own framing.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.status < 200 || matches!(answer.status, 204 | 304) {
            return answer;
        }
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().expect("a length");
            self.fill(length);
            answer.content = self.unread.drain(..length).collect();
        } else if answer.field("transfer-encoding").as_deref() == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.content.extend(chunk);
            }
        } else {
            while self.read() {}
            answer.content = std::mem::take(&mut self.unread);
        }
        answer
    }

    /// Reads the next chunk of a chunked answer, which is one write of the gateway; none at the end.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = String::from_utf8(self.up_to(b"\r\n")).expect("a chunk's size");
        let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk's size");
        self.fill(size + 2);
        let chunk: Vec<u8> = self.unread.drain(..size).collect();
        assert_eq!(self.unread.drain(..2).as_slice(), b"\r\n", "a chunk ends where it says");
        (size > 0).then_some(chunk)
    }

    /// Reads so many bytes of content.
    #[track_caller]
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        self.fill(length);
        self.unread.drain(..length).collect()
    }

    /// Reads chunks until there was all of `words`; heartbeats do not prolong the wait.
    #[track_caller]
    pub(crate) fn chunks_until(&mut self, words: &str) -> String {
        let (mut text, deadline) = (String::new(), Instant::now() + PATIENCE);
        while !text.contains(words) {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {words:?}; there was {text:?}");
            text += &String::from_utf8_lossy(&self.chunk().expect("a stream does not end by itself"));
        }
        text
    }

    /// Reads to the end of the connection; what came, a reset being an end too.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read() {}
        std::mem::take(&mut self.unread)
    }

    #[track_caller]
    fn up_to(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return self.unread.drain(..at + end.len()).collect();
            }
            assert!(self.read(), "the connection ended in {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    #[track_caller]
    fn fill(&mut self, length: usize) {
        while self.unread.len() < length {
            assert!(self.read(), "the connection ended {} bytes early", length - self.unread.len());
        }
    }

    /// Reads something; false at the end.
    #[track_caller]
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.unread.extend(&buffer[..length]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?} after {:?}", String::from_utf8_lossy(&self.unread))
            }
            Err(_) => false,
        }
    }
}

/// Text as it stands in a path segment or a query, every byte that is not a letter or a digit encoded.
pub(crate) fn encoded(text: impl AsRef<[u8]>) -> String {
    percent_encoding::percent_encode(text.as_ref(), percent_encoding::NON_ALPHANUMERIC).to_string()
}
