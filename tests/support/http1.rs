//! HTTP/1.1 spoken by hand over one socket: what a publisher, a probe and a reader need, and no retries behind their back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;

/// A connection that is kept from one exchange to the next.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content: Vec<u8>,
}

/// What a publisher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: String,
    pub(crate) duplicate: bool,
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`. Whoever is silent for [`PATIENCE`] is an error.
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(socket) })
    }

    /// The same socket once more, to end it or to change its patience.
    pub(crate) fn socket(&self) -> io::Result<TcpStream> {
        self.reader.get_ref().try_clone()
    }

    /// Sends a request, such as `GET /events/a`, and reads the whole answer.
    pub(crate) fn exchange(&mut self, line: &str, fields: &[(&str, &str)], content: &[u8]) -> io::Result<Answer> {
        self.send(line, fields, content)?;
        self.answer()
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let head = Head::read(&mut self.reader)?;
        let mut body = Body { reader: &mut self.reader, left: head.length() };
        let mut content = Vec::new();
        body.read_to_end(&mut content)?;
        Ok(Answer { status: head.status, content })
    }

    /// Publishes one event. An answer other than a receipt is an error, too.
    pub(crate) fn publish(&mut self, key: &str, topic: &str, id: Option<&str>, data: &[u8]) -> io::Result<Receipt> {
        self.send_event(key, topic, id, data)?;
        self.receipt()
    }

    /// Sends what [`Connection::receipt`] reads the answer to.
    pub(crate) fn send_event(&mut self, key: &str, topic: &str, id: Option<&str>, data: &[u8]) -> io::Result<()> {
        let authorization = format!("Bearer {key}");
        let mut fields = vec![("Authorization", authorization.as_str())];
        fields.extend(id.map(|id| ("Idempotency-Key", id)));
        self.send(&format!("POST /events/{topic}"), &fields, data)
    }

    /// Reads the answer to an event.
    pub(crate) fn receipt(&mut self) -> io::Result<Receipt> {
        let answer = self.answer()?;
        let receipt: Value = serde_json::from_slice(&answer.content)?;
        match (answer.status, receipt["id"].as_str()) {
            (200 | 201, Some(id)) => Ok(Receipt { id: id.to_owned(), duplicate: answer.status == 200 }),
            _ => Err(io::Error::other(format!("{}: {receipt}", answer.status))),
        }
    }

    /// Sends a `GET` and reads the head of an answer that goes on. Any status but 200 is an error.
    pub(crate) fn stream(mut self, target: &str, fields: &[(&str, &str)]) -> io::Result<Stream> {
        self.send(&format!("GET {target}"), fields, b"")?;
        self.streamed()
    }

    /// Reads the head of an answer that goes on. Any status but 200 is an error.
    pub(crate) fn streamed(mut self) -> io::Result<Stream> {
        let head = Head::read(&mut self.reader)?;
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        let left = head.length();
        Ok(BufReader::new(Body { reader: self.reader, left }))
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, line: &str, fields: &[(&str, &str)], content: &[u8]) -> io::Result<()> {
        let mut request = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        if !line.starts_with("GET ") {
            request += &format!("Content-Length: {}\r\n", content.len());
        }
        let mut bytes = (request + "\r\n").into_bytes();
        bytes.extend_from_slice(content);
        self.reader.get_mut().write_all(&bytes)
    }
}

/// The body of an answer that goes on, read line by line. Its end is `Ok(0)` only if the server meant it.
pub(crate) type Stream = BufReader<Body<BufReader<TcpStream>>>;

/// Takes the transfer coding away.
pub(crate) struct Body<R> {
    reader: R,
    left: Left,
}

/// What is still to be read.
enum Left {
    /// So many bytes of the content.
    Content(u64),
    /// So many bytes of the chunk; more chunks follow.
    Chunk(u64),
    /// Nothing.
    Nothing,
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Left::Chunk(0) = self.left {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(|_| cut())?;
            self.left = if size > 0 { Left::Chunk(size) } else { Left::Nothing };
            if size == 0 {
                self.reader.read_line(&mut line)?;
            }
        }
        let (Left::Content(left) | Left::Chunk(left)) = &mut self.left else { return Ok(0) };
        if *left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(into.len());
        let read = self.reader.read(&mut into[..most])?;
        if read == 0 && most > 0 {
            return Err(cut());
        }
        *left -= read as u64;
        if let Left::Chunk(0) = self.left {
            self.reader.read_exact(&mut [0; 2])?;
        }
        Ok(read)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut")
}

struct Head {
    status: u16,
    chunked: bool,
    content_length: u64,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
        let mut head = Self { status, chunked: false, content_length: 0 };
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                return if line == "\r\n" { Ok(head) } else { Err(cut()) };
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.content_length = value.trim().parse().map_err(io::Error::other)?,
                "transfer-encoding" => head.chunked = value.trim() == "chunked",
                _ => {}
            }
        }
    }

    fn length(&self) -> Left {
        if self.chunked { Left::Chunk(0) } else { Left::Content(self.content_length) }
    }
}
