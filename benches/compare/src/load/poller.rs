//! Edge-triggered epoll over sockets that have numbers.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel is asked about.
pub struct Poller {
    epoll: OwnedFd,
    ready: Vec<Event>,
}

/// What the kernel says of one socket.
#[derive(Clone, Copy)]
pub struct Ready {
    /// The number under which the socket was watched.
    pub number: u64,
    /// It can be written.
    pub writable: bool,
    /// There is something to read, or an end.
    pub readable: bool,
    /// There is an end.
    pub ended: bool,
}

const END: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

impl Poller {
    /// One that watches nothing yet, and tells of so many sockets at once.
    pub fn new(at_once: usize) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Self { epoll, ready: vec![nothing; at_once] })
    }

    /// Watches a socket, until it is closed.
    pub fn watch(&self, socket: impl AsFd, number: u64) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(number), flags).context("epoll: watch")
    }

    /// Waits so long at most (zero: only looks); how many sockets are ready.
    pub fn wait(&mut self, at_most: Duration) -> Result<usize> {
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        match epoll::wait(&self.epoll, &mut self.ready[..], Some(&timeout)) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error).context("epoll: wait"),
        }
    }

    /// One of those that the last wait told of.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.ready[index];
        let flags = event.flags;
        Ready {
            number: event.data.u64(),
            writable: flags.contains(EventFlags::OUT),
            readable: flags.intersects(EventFlags::IN | END),
            ended: flags.intersects(END),
        }
    }
}

/// How a connection is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// With so little room on its way (small segments, a small buffer) that a hundred kilobytes unread fill it.
    pub narrow: bool,
}

/// Begins to connect, from this address if it matters; the socket is writable when it is done.
pub fn connect(to: SocketAddr, from: Option<IpAddr>, manner: Manner) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if manner.narrow {
        socket.set_recv_buffer_size(4096)?;
        socket.set_tcp_mss(536)?;
    }
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error).with_context(|| format!("connect to {to}")),
    }
    Ok(socket.into())
}
