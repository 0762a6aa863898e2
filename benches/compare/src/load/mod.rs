//! The load generator: subscribers that check what they get, and publishers that wait for their receipts.
//!
//! One thread, edge-triggered epoll, raw sockets. While it measures it polls instead of sleeping: a receiver that sleeps
//! makes each send of the server pay for waking another processor, which no network card asks for. So its use of the
//! processor says nothing; how much of its time it had something to do ([`Tally::busy_nanos`]) does.

mod connection;
mod poller;
mod topics;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::clock;
use crate::histogram::Histogram;
use crate::ledger::{Faults, Ledger};
use crate::marker::{Marker, Markers};
use crate::peer::Door;
use crate::wire::{EventStream, Told};
use connection::{Came, Connection, Reads};
pub use poller::{Manner, Poller, Ready, connect};
use topics::Topics;

/// Subscribers, publishers, and what came of them.
pub struct Load {
    door: Door,
    payload: usize,
    poller: Poller,
    /// Of the publishers alone: receipts are not to wait until thousands of subscribers have been read.
    receipts: Poller,
    buffer: Vec<u8>,
    markers: Markers,
    topics: Topics,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// In turn, as a connection on which nothing happens may be closed.
    idle: VecDeque<usize>,
    tally: Tally,
    data: Vec<u8>,
}

/// What was counted since it was last taken.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Events that reached a subscriber for the first time.
    pub deliveries: u64,
    /// Publishes that were answered with 2xx.
    pub receipts: u64,
    /// Streams whose answer has begun.
    pub opened: u64,
    /// Comments that reached a subscriber.
    pub comments: u64,
    /// Streams that ended though nobody here ended them.
    pub closed: u64,
    /// Reads by which subscribers got all that.
    pub reads: u64,
    /// Bytes that they got.
    pub bytes: u64,
    /// How long there was something to do.
    pub busy_nanos: u64,
    /// From when each event was to be sent until a subscriber had it.
    pub latency: Histogram,
    /// From when each event was to be sent until its receipt.
    pub receipt: Histogram,
}

struct Subscriber {
    connection: Option<Connection>,
    stream: EventStream,
    ledger: Ledger,
    paused: bool,
    /// Whether an event is open until this one has it.
    awaited: bool,
}

struct Publisher {
    connection: Connection,
    /// When what is under way was to be sent.
    scheduled: u64,
    /// What is under way, if something is: topic and sequence number.
    under_way: Option<(u32, u64)>,
}

/// How many may be connecting at once when they are not told otherwise: less than the shortest queue of a listener here.
pub const GENTLY: usize = 64;

/// How many subscribers are served between two looks at the clock and at the publishers.
const AT_ONCE: usize = 64;
const BUFFER: usize = 64 * 1024;

/// The address of the loopback that a subscriber comes from, one of sixteen: where tens of thousands of ports of one address
/// are taken, the kernel looks half a millisecond for the next, and the load would be what is measured.
fn address_of(subscriber: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + (subscriber % 16) as u8))
}

impl Load {
    /// A load on the server behind `door`: so many topics, contents of so many bytes.
    pub fn new(door: Door, topics: usize, payload: usize) -> Result<Self> {
        Ok(Self {
            door,
            payload,
            poller: Poller::new(AT_ONCE)?,
            receipts: Poller::new(AT_ONCE)?,
            buffer: vec![0; BUFFER],
            markers: Markers::default(),
            topics: Topics::new(topics),
            subscribers: Vec::new(),
            publishers: Vec::new(),
            idle: VecDeque::new(),
            tally: Tally::default(),
            data: Vec::new(),
        })
    }

    /// What was counted since the last time.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What is counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Events that somebody who is waited for has not got.
    pub fn open(&self) -> usize {
        self.topics.open()
    }

    /// How many subscribers there are, connected or not.
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// The sum of what went wrong, if nothing more is to come.
    pub fn faults(&self) -> Faults {
        self.faults_of(0..self.subscribers.len())
    }

    /// The same, of some subscribers.
    pub fn faults_of(&self, which: impl Iterator<Item = usize>) -> Faults {
        let mut sum = Faults::default();
        for subscriber in which.map(|index| &self.subscribers[index]) {
            sum += subscriber.ledger.faults(self.topics.next(subscriber.ledger.topic()));
        }
        sum
    }

    /// What is on its way is waited for no more; it counts as lost unless it comes all the same.
    pub fn forget_open(&mut self) {
        self.topics.forget_open();
    }

    /// From here on: what went wrong before is forgotten, and each subscriber is to get what is published from now on.
    pub fn begin_accounts(&mut self) {
        self.topics.forget_open();
        for subscriber in &mut self.subscribers {
            let topic = subscriber.ledger.topic();
            subscriber.ledger = Ledger::new(topic, self.topics.next(topic));
        }
        self.tally = Tally::default();
    }

    /// Adds a subscriber, which is to get what is published to `topic` from now on; it is not connected yet.
    pub fn add_subscriber(&mut self, topic: u32) -> usize {
        let ledger = Ledger::new(topic, self.topics.next(topic));
        self.topics.join(topic);
        let stream = EventStream::default();
        self.subscribers.push(Subscriber { connection: None, stream, ledger, paused: false, awaited: true });
        self.subscribers.len() - 1
    }

    /// What is published from now on is not open until this one has it.
    pub fn do_not_await(&mut self, index: usize) {
        let subscriber = &mut self.subscribers[index];
        if std::mem::take(&mut subscriber.awaited) {
            self.topics.leave(subscriber.ledger.topic());
        }
    }

    /// Begins to connect a subscriber, with its last event ID if it has one.
    pub fn begin_connecting(&mut self, index: usize, manner: Manner) -> Result<()> {
        let subscriber = &mut self.subscribers[index];
        let topic = subscriber.ledger.topic();
        let session = self.door.enrol(topic)?;
        let mut connection = Connection::new(connect(self.door.events, Some(address_of(index)), manner)?);
        self.poller.watch(connection.socket(), index as u64)?;
        subscriber.stream.begin_anew();
        let (door, last_id) = (&self.door, subscriber.stream.last_id().as_bytes());
        connection.send(|out| door.subscribe(topic, &session, last_id, out))?;
        subscriber.connection = Some(connection);
        Ok(())
    }

    /// Whether a subscriber's stream is open.
    pub fn is_streaming(&self, index: usize) -> bool {
        self.subscribers[index].connection.as_ref().is_some_and(Connection::is_answered)
    }

    /// Connects these subscribers, so many at once, and comes back when all their streams are open.
    pub fn connect(&mut self, which: impl Iterator<Item = usize>, at_once: usize, manner: Manner) -> Result<()> {
        let mut waiting: Vec<usize> = Vec::new();
        let mut which = which.peekable();
        let mut progress = clock::now();
        while which.peek().is_some() || !waiting.is_empty() {
            while waiting.len() < at_once {
                let Some(index) = which.next() else { break };
                self.begin_connecting(index, manner)?;
                waiting.push(index);
            }
            self.turn()?;
            let before = waiting.len();
            waiting.retain(|index| !self.is_streaming(*index));
            if waiting.len() < before {
                progress = clock::now();
            }
            ensure!(clock::now() - progress < 20_000_000_000, "{} streams were not opened within 20 s", waiting.len());
        }
        Ok(())
    }

    /// Adds so many subscribers, of `topic_of` each, and connects them.
    pub fn subscribe(&mut self, count: usize, topic_of: impl Fn(usize) -> u32) -> Result<()> {
        let first = self.subscribers.len();
        for index in 0..count {
            self.add_subscriber(topic_of(index));
        }
        self.connect(first..first + count, GENTLY, Manner::default())
    }

    /// Ends a subscriber's stream, by a reset or in order.
    pub fn cut(&mut self, index: usize) {
        if let Some(connection) = self.subscribers[index].connection.take() {
            let _ = connection.socket().shutdown(Shutdown::Both);
        }
    }

    /// A paused subscriber reads nothing; one that goes on reads what has come meanwhile.
    pub fn pause(&mut self, index: usize, paused: bool) -> Result<()> {
        self.subscribers[index].paused = paused;
        // Edges that came meanwhile are past: there may be an end.
        if paused { Ok(()) } else { self.read_subscriber(index, true) }
    }

    /// Connects publishers.
    pub fn add_publishers(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let number = self.publishers.len();
            let connection = Connection::new(connect(self.door.publishing, None, Manner::default())?);
            self.receipts.watch(connection.socket(), number as u64)?;
            self.publishers.push(Publisher { connection, scheduled: 0, under_way: None });
            self.idle.push_back(number);
        }
        Ok(())
    }

    /// Publishers that wait for no receipt.
    pub fn idle_publishers(&self) -> usize {
        self.idle.len()
    }

    /// How many publishes have no receipt yet.
    pub fn unanswered(&self) -> usize {
        self.publishers.len() - self.idle.len()
    }

    /// Publishes the next event of `topic`, which was to be sent at `scheduled`, by a publisher that is idle.
    pub fn publish(&mut self, topic: u32, scheduled: u64) -> Result<()> {
        let number = self.idle.pop_front().context("no publisher is idle")?;
        let sequence = self.topics.publish(topic);
        self.data.clear();
        Marker { sequence, sent: scheduled, topic }.write(self.payload, &mut self.data);
        let publisher = &mut self.publishers[number];
        publisher.scheduled = scheduled;
        publisher.under_way = Some((topic, sequence));
        publisher.connection.send(|out| self.door.publish(topic, &self.data, out))
    }

    /// Does some of what there is to do, and never waits.
    pub fn turn(&mut self) -> Result<()> {
        let receipts = self.receipts.wait(Duration::ZERO)?;
        let count = self.poller.wait(Duration::ZERO)?;
        if receipts + count == 0 {
            return Ok(());
        }
        let begun = clock::now();
        for index in 0..receipts {
            let ready = self.receipts.ready(index);
            self.serve_publisher(ready.number as usize, ready)?;
        }
        for index in 0..count {
            let ready = self.poller.ready(index);
            self.serve_subscriber(ready.number as usize, ready)?;
        }
        self.tally.busy_nanos += clock::now() - begun;
        Ok(())
    }

    /// Polls until `done`, or until nothing was delivered or answered for `patience`; whether it is done.
    pub fn poll_until(&mut self, patience: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool> {
        let mut seen = (0, 0, 0, 0);
        let mut progress = clock::now();
        while !done(self) {
            self.turn()?;
            let now = (self.tally.deliveries, self.tally.receipts, self.tally.comments, self.tally.opened);
            if now != seen {
                seen = now;
                progress = clock::now();
            } else if clock::now() - progress > patience.as_nanos() as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn serve_subscriber(&mut self, index: usize, ready: Ready) -> Result<()> {
        let Some(connection) = &mut self.subscribers[index].connection else { return Ok(()) };
        if ready.writable {
            connection.go_on_writing()?;
        }
        if ready.readable && !self.subscribers[index].paused {
            self.read_subscriber(index, ready.ended)?;
        }
        Ok(())
    }

    fn read_subscriber(&mut self, index: usize, ended: bool) -> Result<()> {
        let Self { buffer, markers, topics, subscribers, tally, .. } = self;
        let Subscriber { connection, stream, ledger, awaited, .. } = &mut subscribers[index];
        let Some(open) = connection else { return Ok(()) };
        let now = clock::now();
        let (mut reads, was_answered) = (Reads::default(), open.is_answered());
        let (deliveries, comments, latency) = (&mut tally.deliveries, &mut tally.comments, &mut tally.latency);
        let mut told = |told: Told| match told {
            Told::Comment => *comments += 1,
            Told::Event(marker) => {
                if ledger.enter(marker, topics.due(marker.topic, marker.sequence)) {
                    *deliveries += 1;
                    latency.record(now.saturating_sub(marker.sent));
                    if *awaited {
                        topics.got(marker.topic, marker.sequence);
                    }
                }
            }
        };
        let came = open.read(ended, buffer, &mut reads, |content| stream.feed(content, markers, &mut told))?;
        tally.reads += reads.reads;
        tally.bytes += reads.bytes;
        if !was_answered && open.is_answered() {
            open.forget_request();
            tally.opened += 1;
        }
        if came != Came::Drained {
            tally.closed += 1;
            *connection = None;
        }
        Ok(())
    }

    fn serve_publisher(&mut self, number: usize, ready: Ready) -> Result<()> {
        let publisher = &mut self.publishers[number];
        publisher.connection.go_on_writing()?;
        if !ready.readable {
            return Ok(());
        }
        match publisher
            .connection
            .read(ready.ended, &mut self.buffer, &mut Reads::default(), |_| ())
            .context("a publish")?
        {
            Came::Drained => return Ok(()),
            Came::Complete => {
                self.tally.receipts += 1;
                self.tally.receipt.record(clock::now().saturating_sub(publisher.scheduled));
                if let Some((topic, sequence)) = publisher.under_way.take() {
                    self.topics.answered(topic, sequence);
                }
                self.idle.push_back(number);
            }
            Came::Closed if publisher.under_way.is_none() => {}
            Came::Closed => bail!("the server closed a publisher's connection"),
        }
        if ready.ended || publisher.connection.closes() {
            // Nothing is under way: servers close such connections, at once or after a while, and clients open others.
            publisher.connection = Connection::new(connect(self.door.publishing, None, Manner::default())?);
            self.receipts.watch(publisher.connection.socket(), number as u64)?;
        }
        Ok(())
    }
}
