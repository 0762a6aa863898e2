//! Streams of HTTP/2 by prior knowledge, a hundred on a connection.
//!
//! The load is the `h2` package on one thread of tokio, which sleeps when there is nothing to read; it is dearer than the
//! load of the other questions, and wakes up for many streams at once.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::counting::sum_of_callgrind;
use super::{Asked, Bound, Figure, Outcome, Promise, Scenario};
use crate::clock;
use crate::histogram::Histogram;
use crate::ledger::{Faults, Ledger};
use crate::marker::{Marker, Markers};
use crate::peer::{Door, Peer, Running, Setting, name};
use crate::wire::{AnswerReader, EventStream, Told};

pub(super) const HTTP2: Scenario = Scenario {
    name: "http2",
    title: "HTTP/2: 10 000 streams on 100 connections",
    does: "By prior knowledge, one event at a time.",
    peers: &[Peer::Encke],
    figures: &[
        Figure { key: "cpu", title: "CPU a delivery, µs", digits: 2 },
        Figure { key: "rate", title: "deliveries/s", digits: 0 },
        Figure { key: "p99", title: "p99, ms", digits: 1 },
        Figure { key: "bytes", title: "bytes a stream", digits: 0 },
    ],
    promises: &[Promise { figure: "bytes", of: Peer::Encke, against: None, bound: Bound::AtMost(2_500.0) }],
    ask: http2,
};

pub(super) const GROWTH: Scenario = Scenario {
    name: "h2growth",
    title: "HTTP/2: 1 000, 10 000 and 100 000 streams",
    does: "As above, on 10, 100 and 1 000 connections, each number on a server of its own.",
    peers: &[Peer::Encke],
    figures: &[
        Figure { key: "cpu_1k", title: "CPU a delivery, µs: 1 000", digits: 2 },
        Figure { key: "cpu_10k", title: "10 000", digits: 2 },
        Figure { key: "cpu_100k", title: "100 000", digits: 2 },
        Figure { key: "bytes_100k", title: "bytes a stream, of 100 000", digits: 0 },
        Figure { key: "p99_100k", title: "p99, ms, of 100 000", digits: 1 },
    ],
    promises: &[Promise { figure: "bytes_100k", of: Peer::Encke, against: None, bound: Bound::AtMost(2_500.0) }],
    ask: growth,
};

pub(super) const INSTRUCTIONS: Scenario = Scenario {
    name: "h2instructions",
    title: "HTTP/2: instructions a delivery",
    does: "User space alone, counted by callgrind: 200 streams on two connections, one event at a time, the difference of a \
           longer and a shorter run.",
    peers: &[Peer::Encke],
    figures: &[Figure { key: "instructions", title: "instructions a delivery", digits: 0 }],
    promises: &[],
    ask: instructions,
};

const STREAMS_A_CONNECTION: usize = 100;
const EVENTS: u64 = 40;
const AT_MOST: Duration = Duration::from_secs(120);

fn http2(asked: &Asked<'_>) -> Result<Outcome> {
    measured(&asked.start()?, asked.sized(100), EVENTS)
}

fn growth(asked: &Asked<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (connections, events, name) in [(10, 400, "1k"), (100, EVENTS, "10k"), (1_000, 10, "100k")] {
        let of = measured(&asked.start()?, asked.sized(connections), events)?;
        outcome.faults += of.faults;
        of.figures.iter().for_each(|(key, value)| outcome.set(&format!("{key}_{name}"), *value));
    }
    Ok(outcome)
}

fn instructions(asked: &Asked<'_>) -> Result<Outcome> {
    let counted = |events: u64| -> Result<(u64, Faults)> {
        let running = asked.start_as(&Setting { counting_instructions: true, ..Setting::default() })?;
        let outcome = measured(&running, 2, events)?;
        Ok((sum_of_callgrind(running.stop().path())?, outcome.faults))
    };
    let ((few, faults), (many, _)) = (counted(10)?, counted(10 + EVENTS)?);
    let mut outcome = Outcome { faults, ..Outcome::default() };
    outcome.set("instructions", (many as f64 - few as f64) / (EVENTS as usize * 2 * STREAMS_A_CONNECTION) as f64);
    Ok(outcome)
}

fn measured(running: &Running, connections: usize, events: u64) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(AT_MOST, measure(running, connections, events)).await });
    measured.with_context(|| format!("not everything came within {AT_MOST:?}"))?
}

/// What all streams have in common.
#[derive(Default)]
struct Shared {
    ledgers: RefCell<Vec<Ledger>>,
    latency: RefCell<Histogram>,
    deliveries: Cell<u64>,
    open: Cell<usize>,
    changed: Notify,
    markers: Markers,
}

async fn measure(running: &Running, connections: usize, events: u64) -> Result<Outcome> {
    let shared = Rc::new(Shared::default());
    let streams = connections * STREAMS_A_CONNECTION;
    running.wait_until_calm()?;
    let before = running.memory().proportional;
    for connection in 1..=connections {
        connect(running.door.events, &shared).await?;
        // No more at once, as with plain connections: else what they held while they were opened is weighed.
        wait(&shared, |shared| shared.open.get() == connection * STREAMS_A_CONNECTION).await;
    }
    // Before memory is weighed nobody may be in the midst of its first bytes.
    running.wait_until_calm()?;
    let after = running.memory().proportional;
    // Only now: a connection on which nothing is asked is closed after some seconds.
    let mut publisher = TcpStream::connect(running.door.publishing).await?;
    publisher.set_nodelay(true)?;
    publish(&running.door, &mut publisher, 0).await?;
    wait(&shared, |shared| shared.deliveries.get() == streams as u64).await;

    *shared.latency.borrow_mut() = Histogram::default();
    let (cpu, begun) = (running.cpu_nanos()?, clock::now());
    for sequence in 1..=events {
        publish(&running.door, &mut publisher, sequence).await?;
        wait(&shared, |shared| shared.deliveries.get() == streams as u64 * (sequence + 1)).await;
    }
    let (cpu, wall) = (running.cpu_nanos()? - cpu, clock::now() - begun);
    let deliveries = events * streams as u64;
    let mut outcome = Outcome::default();
    outcome.set("cpu", clock::micros_each(cpu, deliveries));
    outcome.set("rate", deliveries as f64 / wall as f64 * 1e9);
    outcome.set("p99", shared.latency.borrow().millis(0.99));
    outcome.set("bytes", (after as f64 - before as f64) / streams as f64);
    for ledger in shared.ledgers.borrow().iter() {
        outcome.faults += ledger.faults(events + 1);
    }
    Ok(outcome)
}

/// Opens a connection and its streams.
async fn connect(address: SocketAddr, shared: &Rc<Shared>) -> Result<()> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    // A window that many streams share, so that it is not what is measured.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
    let (sender, connection) = builder.handshake::<_, &[u8]>(socket).await?;
    tokio::task::spawn_local(async move {
        // It ends when the server does.
        let _ = connection.await;
    });
    let mut sender = sender.ready().await?;
    for _ in 0..STREAMS_A_CONNECTION {
        let index = shared.ledgers.borrow().len();
        shared.ledgers.borrow_mut().push(Ledger::new(0, 0));
        let answer = request(&mut sender, address)?;
        tokio::task::spawn_local(read(answer, index, Rc::clone(shared)));
        sender = sender.ready().await?;
    }
    Ok(())
}

fn request(sender: &mut SendRequest<&'static [u8]>, address: SocketAddr) -> Result<h2::client::ResponseFuture> {
    let uri = format!("http://{address}/events/{}", name(0));
    let request = http::Request::get(uri).header("accept", "text/event-stream").body(())?;
    Ok(sender.send_request(request, true)?.0)
}

/// Reads a stream to its end; what is missing then is counted as lost.
async fn read(answer: h2::client::ResponseFuture, index: usize, shared: Rc<Shared>) {
    let Ok(answer) = answer.await else { return };
    if !answer.status().is_success() {
        return;
    }
    shared.open.set(shared.open.get() + 1);
    shared.changed.notify_one();
    let (mut content, mut stream) = (answer.into_body(), EventStream::default());
    while let Some(Ok(bytes)) = content.data().await {
        let _ = content.flow_control().release_capacity(bytes.len());
        let now = clock::now();
        stream.feed(&bytes, &shared.markers, &mut |told| {
            let Told::Event(marker) = told else { return };
            if shared.ledgers.borrow_mut()[index].enter(marker, marker.sequence) {
                shared.deliveries.set(shared.deliveries.get() + 1);
                shared.latency.borrow_mut().record(now.saturating_sub(marker.sent));
            }
        });
        shared.changed.notify_one();
    }
}

async fn wait(shared: &Shared, done: impl Fn(&Shared) -> bool) {
    while !done(shared) {
        shared.changed.notified().await;
    }
}

/// Publishes over HTTP/1.1, and waits for the receipt.
async fn publish(door: &Door, socket: &mut TcpStream, sequence: u64) -> Result<()> {
    let (mut data, mut request) = (Vec::new(), Vec::new());
    Marker { sequence, sent: clock::now(), topic: 0 }.write(100, &mut data);
    door.publish(0, &data, &mut request);
    socket.write_all(&request).await?;
    let (mut reader, mut content, mut buffer) = (AnswerReader::default(), None, [0; 4096]);
    loop {
        let count = socket.read(&mut buffer).await?;
        ensure!(count > 0, "the server closed a publisher's connection");
        let mut input = &buffer[..count];
        if content.is_none() {
            let (taken, answer) = reader.feed(input)?;
            input = &input[taken..];
            let Some(answer) = answer else { continue };
            ensure!((200..300).contains(&answer.status), "the server answered {}", answer.status);
            content = Some(answer.content);
        }
        if let Some(content) = &mut content {
            content.feed(input, |_| ())?;
            if content.is_done() {
                return Ok(());
            }
        }
    }
}
