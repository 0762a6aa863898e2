//! One HTTP/1.1 connection: a request that is written, an answer that is read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use crate::wire::{AnswerReader, Content};

/// A connection and where its exchange stands.
pub(super) struct Connection {
    socket: TcpStream,
    request: Vec<u8>,
    written: usize,
    answer: AnswerReader,
    content: Option<Content>,
    closes: bool,
}

/// What a round of reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Nothing more now.
    Drained,
    /// The answer is complete.
    Complete,
    /// The peer has closed.
    Closed,
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, request: Vec::new(), written: 0, answer: AnswerReader::default(), content: None, closes: false }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the head of an answer is there.
    pub(super) fn is_answered(&self) -> bool {
        self.content.is_some()
    }

    /// Whether the server said that it ends the connection.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// Takes the next request, which `write` appends, and writes what the socket takes of it.
    pub(super) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.request.clear();
        self.written = 0;
        self.content = None;
        write(&mut self.request);
        self.go_on_writing()
    }

    /// Writes what is left of the request; not yet connected is not yet writable.
    pub(super) fn go_on_writing(&mut self) -> Result<()> {
        while self.written < self.request.len() {
            match self.socket.write(&self.request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a request could not be written"),
            }
        }
        Ok(())
    }

    /// A stream that stays open needs its request no more.
    pub(super) fn forget_request(&mut self) {
        self.request = Vec::new();
        self.written = 0;
    }

    /// Reads what there is, up to an end if there is one, and gives the content of 2xx answers to `sink`.
    pub(super) fn read(
        &mut self,
        ended: bool,
        buffer: &mut [u8],
        reads: &mut Reads,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Came> {
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => return Ok(Came::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Came::Drained),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Came::Closed),
                Err(error) => return Err(error).context("an answer could not be read"),
            };
            reads.reads += 1;
            reads.bytes += count as u64;
            if self.take(&buffer[..count], &mut sink)? {
                return Ok(Came::Complete);
            }
            // Edge-triggered: less than was asked for means that there is no more (epoll(7)), but for an end that was
            // told of already.
            if count < buffer.len() && !ended {
                return Ok(Came::Drained);
            }
        }
    }

    /// Whether the answer is complete.
    fn take(&mut self, mut input: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<bool> {
        if self.content.is_none() {
            let (taken, answer) = self.answer.feed(input)?;
            input = &input[taken..];
            let Some(answer) = answer else { return Ok(false) };
            ensure!((200..300).contains(&answer.status), "the server answered {}", answer.status);
            self.content = Some(answer.content);
            self.closes = answer.closes;
        }
        let Some(content) = &mut self.content else { return Ok(false) };
        content.feed(input, sink)?;
        Ok(content.is_done())
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    pub(super) reads: u64,
    pub(super) bytes: u64,
}
