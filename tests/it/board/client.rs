//! Clients of bytes: requests written by hand, answers read as far as a test wants, connections ended in every way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use crate::support::PATIENCE;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// `GET target`, to its end.
#[track_caller]
pub(super) fn get(address: &str, target: &str) -> Answer {
    send(address, "GET", target, &[], "")
}

/// `POST target` with content, to its end.
#[track_caller]
pub(super) fn post(address: &str, target: &str, fields: &[(&str, &str)], content: &str) -> Answer {
    send(address, "POST", target, fields, content)
}

/// A request of HTTP/1.0, so that the answer ends with its connection. `fields` may name another `Host`.
#[track_caller]
pub(super) fn send(address: &str, method: &str, target: &str, fields: &[(&str, &str)], content: &str) -> Answer {
    let mut connection = Connection::open(address);
    let mut head = format!("{method} {target} HTTP/1.0\r\nContent-Length: {}\r\n", content.len());
    if !fields.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: {address}\r\n");
    }
    fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    connection.send(&format!("{head}\r\n{content}"));
    let text = connection.read_to_end();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {target}: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.unwrap_or_else(|| panic!("no status: {head}")), body: body.to_owned() }
}

/// One connection.
pub(super) struct Connection {
    address: String,
    socket: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    #[track_caller]
    pub(super) fn open(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
        Self { address: address.to_owned(), socket, read: Vec::new() }
    }

    /// Subscribes by HTTP/1.1 and reads up to `until`, which the first bytes of the answer hold.
    #[track_caller]
    pub(super) fn subscribe(address: &str, target: &str, until: &str) -> Self {
        let mut connection = Self::open(address);
        connection.send(&format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
        connection.read_until(until);
        connection
    }

    #[track_caller]
    pub(super) fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("the gateway takes what it is sent");
    }

    /// Reads until all that was read holds `needle`, and gives it.
    #[track_caller]
    pub(super) fn read_until(&mut self, needle: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = String::from_utf8_lossy(&self.read);
            if text.contains(needle) {
                return text.into_owned();
            }
            // Heartbeats must not keep this going.
            assert!(Instant::now() < deadline, "waited in vain for {needle:?}: {text}");
            let read = self.more();
            assert!(read > 0, "the connection ended before {needle:?}: {}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads to the end, clean or not, and gives all that was read.
    #[track_caller]
    pub(super) fn read_to_end(&mut self) -> String {
        while self.more() > 0 {}
        String::from_utf8_lossy(&self.read).into_owned()
    }

    #[track_caller]
    fn more(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let read = match self.socket.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{}: {error}; so far: {}", self.address, String::from_utf8_lossy(&self.read)),
        };
        self.read.extend_from_slice(&buffer[..read]);
        read
    }

    /// The value of a header field of the answer.
    #[track_caller]
    pub(super) fn field(&mut self, name: &str) -> String {
        let text = self.read_until("\r\n\r\n");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    /// Ends it with a FIN.
    pub(super) fn close(self) {
        self.socket.shutdown(Shutdown::Both).expect("an open connection can be closed");
    }

    /// Ends it with a RST.
    pub(super) fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("a reset can be asked for");
    }
}

/// An HTTP/2 connection by prior knowledge (RFC 9113), as much of it as subscribing takes.
pub(super) struct Http2 {
    connection: Connection,
    streams: Vec<(u32, Vec<u8>)>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM_AND_HEADERS: u8 = 0x5;
const ACK: u8 = 0x1;

impl Http2 {
    #[track_caller]
    pub(super) fn open(address: &str) -> Self {
        let mut http2 = Self { connection: Connection::open(address), streams: Vec::new() };
        http2.connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        http2.frame(SETTINGS, 0, 0, &[]);
        http2
    }

    /// Opens stream `id` (odd and rising) with a GET of `path`, and reads until its data holds `until`.
    #[track_caller]
    pub(super) fn subscribe(&mut self, id: u32, path: &str, until: &str) {
        // RFC 7541: indexed `:method: GET` and `:scheme: http`; `:authority` and `:path` as literals, not indexed.
        let mut fields = vec![0x82, 0x86];
        for (index, value) in [(0x01, self.connection.address.clone()), (0x04, path.to_owned())] {
            fields.extend([index, u8::try_from(value.len()).expect("a short value")]);
            fields.extend(value.as_bytes());
        }
        self.frame(HEADERS, END_STREAM_AND_HEADERS, id, &fields);
        self.streams.push((id, Vec::new()));
        self.read_until(id, until);
    }

    /// Cancels one stream; the connection and the others go on.
    pub(super) fn cancel(&mut self, id: u32) {
        self.reset_stream(id, 8);
    }

    /// The same with any error code (RFC 9113 § 7).
    pub(super) fn reset_stream(&mut self, id: u32, code: u32) {
        self.frame(RST_STREAM, 0, id, &code.to_be_bytes());
    }

    /// Reads until the data of stream `id` holds `needle`.
    #[track_caller]
    pub(super) fn read_until(&mut self, id: u32, needle: &str) {
        while !self.streams.iter().any(|(of, data)| *of == id && String::from_utf8_lossy(data).contains(needle)) {
            let length = self.have(9);
            let header: Vec<u8> = length.to_vec();
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let frame = self.have(9 + length)[9..].to_vec();
            self.connection.read.drain(..9 + length);
            let of = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            match header[3] {
                SETTINGS if header[4] & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                DATA => self.streams.iter_mut().filter(|(id, _)| *id == of).for_each(|(_, data)| data.extend(&frame)),
                RST_STREAM => panic!("stream {of} was reset by the gateway: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Ends the connection, and with it every stream, with a FIN.
    pub(super) fn close(self) {
        self.connection.close();
    }

    /// The same with a RST.
    pub(super) fn reset(self) {
        self.connection.reset();
    }

    #[track_caller]
    fn have(&mut self, length: usize) -> &[u8] {
        while self.connection.read.len() < length {
            assert!(self.connection.more() > 0, "the HTTP/2 connection ended");
        }
        &self.connection.read[..length]
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.connection.socket.write_all(&frame).expect("the gateway takes what it is sent");
    }
}
