//! The bare loop: what fan-out costs when nothing is done but what must be.
//!
//! One thread, one epoll, one `write` of ready bytes for each subscriber. It has topics, since without them nothing can be
//! published, and a log of what somebody has not got, since a socket may be full; it has no ids, no history, no access, no
//! HTTP beyond the request line and the length, and nobody should use it.
//!
//! `GET /t` subscribes to `/t`, `POST /t` publishes to it.

mod request;
mod topic;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock;
use crate::load::Poller;
use request::{Request, take_request};
use topic::Topic;

/// How a bare loop behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether all ready publishes of a turn are read first, and then everything that waits for a subscriber leaves in one
    /// `write`. Else each event is written to each subscriber by itself, before the next publish is read.
    pub merging: bool,
    /// Every so often a comment is written to all.
    pub heartbeat: Option<Duration>,
}

/// A bare loop and those it serves.
pub struct Bare {
    options: Options,
    listener: TcpListener,
    poller: Poller,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    names: HashMap<Vec<u8>, usize>,
    topics: Vec<Topic>,
    /// Topics with bytes that nobody was given yet.
    dirty: Vec<usize>,
    next_beat: u64,
}

struct Peer {
    socket: TcpStream,
    role: Role,
}

enum Role {
    /// Bytes of a request that is not complete. Publishers stay so.
    Asking(Vec<u8>),
    /// Where in the log of the topic its socket is; whether it is full.
    Subscriber { topic: u32, at: u64, full: bool },
}

/// How many sockets it is told of at once, as nginx is.
const AT_ONCE: usize = 512;
const LISTENER: u64 = u64::MAX;
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n";
const RECEIPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BEAT: &[u8] = b":\n\n";

impl Bare {
    /// Listens on a free port of the loopback.
    pub fn bind(options: Options) -> Result<Self> {
        // The library's own `bind` has a queue of 128.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let poller = Poller::new(AT_ONCE)?;
        poller.watch(&listener, LISTENER)?;
        let next_beat = options.heartbeat.map_or(u64::MAX, clock::after);
        Ok(Self {
            options,
            listener,
            poller,
            peers: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            topics: Vec::new(),
            dirty: Vec::new(),
            next_beat,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("the listener has no address")
    }

    /// Serves until the process ends.
    pub fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let rest = self.next_beat.saturating_sub(clock::now()).min(1_000_000_000);
            let count = self.poller.wait(Duration::from_nanos(rest))?;
            for index in 0..count {
                let ready = self.poller.ready(index);
                if ready.number == LISTENER {
                    self.accept()?;
                    continue;
                }
                let number = ready.number as usize;
                if ready.writable {
                    self.go_on(number);
                }
                if ready.readable {
                    self.read(number, &mut buffer);
                }
            }
            self.flush();
            if clock::now() >= self.next_beat {
                self.beat();
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Whoever came has left again.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accept"),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            self.poller.watch(&socket, number as u64)?;
            self.peers[number] = Some(Peer { socket, role: Role::Asking(Vec::new()) });
        }
    }

    fn read(&mut self, number: usize, buffer: &mut [u8]) {
        loop {
            let Some(peer) = &mut self.peers[number] else { return };
            let count = match peer.socket.read(buffer) {
                Ok(0) => return self.close(number),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.close(number),
            };
            if let Role::Asking(input) = &mut peer.role {
                input.extend_from_slice(&buffer[..count]);
                self.serve(number);
            }
        }
    }

    /// Does what the complete requests of a peer ask for.
    fn serve(&mut self, number: usize) {
        while let Some(Peer { role: Role::Asking(input), socket }) = &mut self.peers[number] {
            let Ok(request) = take_request(input) else { return self.close(number) };
            match request {
                None => return,
                Some(Request::Publish { target, data }) => {
                    let written = socket.write(RECEIPT);
                    let topic = self.topic(&target);
                    self.publish(topic, &data);
                    if !matches!(written, Ok(count) if count == RECEIPT.len()) {
                        return self.close(number);
                    }
                }
                Some(Request::Subscribe { target }) => {
                    if !matches!(socket.write(STREAM), Ok(count) if count == STREAM.len()) {
                        return self.close(number);
                    }
                    let topic = self.topic(&target);
                    self.join(number, topic);
                }
            }
        }
    }

    fn topic(&mut self, target: &[u8]) -> usize {
        if let Some(number) = self.names.get(target) {
            return *number;
        }
        self.topics.push(Topic::default());
        self.names.insert(target.to_vec(), self.topics.len() - 1);
        self.topics.len() - 1
    }

    fn join(&mut self, number: usize, topic: usize) {
        if let Some(peer) = &mut self.peers[number] {
            let members = &mut self.topics[topic];
            peer.role = Role::Subscriber { topic: topic as u32, at: members.end(), full: false };
            members.members.push(number);
        }
    }

    fn publish(&mut self, topic: usize, data: &[u8]) {
        if self.topics[topic].append(data, self.options.merging) {
            self.dirty.push(topic);
        }
        if !self.options.merging {
            self.flush();
        }
    }

    /// Writes what was published to all whom it concerns.
    fn flush(&mut self) {
        while let Some(number) = self.dirty.pop() {
            // Nobody joins or leaves meanwhile: reading does that, and nothing is read here.
            let members = std::mem::take(&mut self.topics[number].members);
            for member in &members {
                self.send(*member);
            }
            self.topics[number].members = members;
            self.forget_what_all_have(number);
        }
    }

    /// Forgets the bytes that every subscriber of a topic has got; who is too far behind is closed.
    fn forget_what_all_have(&mut self, topic: usize) {
        let Topic { members, full, .. } = &self.topics[topic];
        let end = self.topics[topic].end();
        let mut first = end;
        if *full > 0 {
            let mut lagging = Vec::new();
            for member in members {
                let Some(Peer { role: Role::Subscriber { at, .. }, .. }) = &self.peers[*member] else { continue };
                if end - at > topic::MOST_BYTES {
                    lagging.push(*member);
                } else {
                    first = first.min(*at);
                }
            }
            lagging.into_iter().for_each(|member| self.close(member));
        }
        self.topics[topic].forget(first);
    }

    /// Writes to a subscriber as much of what it has not got as its socket takes.
    fn send(&mut self, number: usize) {
        let Some(Peer { socket, role: Role::Subscriber { topic, at, full } }) = &mut self.peers[number] else { return };
        let topic = &mut self.topics[*topic as usize];
        if *full {
            return;
        }
        while let Some(bytes) = topic.after(*at) {
            match socket.write(bytes) {
                Ok(count) => *at += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *full = true;
                    topic.full += 1;
                    return;
                }
                // The read that follows says how it ended.
                Err(_) => *at = topic.end(),
            }
        }
    }

    /// The socket of a subscriber takes bytes again.
    fn go_on(&mut self, number: usize) {
        let Some(Peer { role: Role::Subscriber { topic, full, .. }, .. }) = &mut self.peers[number] else { return };
        let topic = *topic as usize;
        if std::mem::take(full) {
            self.topics[topic].full -= 1;
            self.send(number);
            self.forget_what_all_have(topic);
        }
    }

    fn beat(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            if matches!(peer.role, Role::Subscriber { full: false, .. }) {
                let _ = peer.socket.write(BEAT);
            }
        }
        self.next_beat += self.options.heartbeat.map_or(u64::MAX, |every| every.as_nanos() as u64);
    }

    fn close(&mut self, number: usize) {
        if let Some(Peer { role: Role::Subscriber { topic, full, .. }, .. }) = self.peers[number].take() {
            let topic = &mut self.topics[topic as usize];
            topic.members.retain(|member| *member != number);
            topic.full -= usize::from(full);
        }
        self.free.push(number);
    }
}
