//! What the socket carrier asks of the kernel: which of many sockets are ready, and to take bytes without waiting.
//!
//! Only on Linux; elsewhere the ordinary carrier serves every stream. Rustix wraps the calls; where it does not, `tcp_info` does.

mod tcp_info;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

pub(crate) use tcp_info::tcp_info;

/// Tells which of its sockets have become ready: `epoll`, edge-triggered, each socket registered once.
#[derive(Debug)]
pub(crate) struct Poller(Arc<OwnedFd>);

/// One socket that has become ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// What the socket was registered as.
    pub(crate) token: u64,
    /// It may take bytes again.
    pub(crate) writable: bool,
    /// There is something to be read: bytes, the end, or an error.
    pub(crate) readable: bool,
}

impl Poller {
    /// How many sockets are told of at once: few, as many peers may leave at once, and to let one go is no small thing.
    const AT_ONCE: usize = 16;

    /// Of no sockets.
    ///
    /// # Errors
    /// Those of the operating system: there are too many open files.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self(Arc::new(epoll)))
    }

    /// Watches a socket until it is closed.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        Ok(epoll::add(&*self.0, socket, epoll::EventData::new_u64(token), flags)?)
    }

    /// Puts some of those that have become ready behind what is in `found`, and answers whether there may be more. Never
    /// waits.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn ready(&self, found: &mut Vec<Ready>) -> io::Result<bool> {
        use epoll::EventFlags as Flags;
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; Self::AT_ONCE];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = match epoll::wait(&*self.0, &mut events[..], Some(&now)) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        found.extend(ready.iter().map(|&epoll::Event { flags, data }| Ready {
            token: data.u64(),
            writable: flags.contains(Flags::OUT),
            readable: flags.intersects(Flags::IN | Flags::RDHUP | Flags::HUP | Flags::ERR),
        }));
        Ok(ready.len() == Self::AT_ONCE)
    }

    /// What is readable itself once a socket has become ready.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }
}

/// Offers bytes to a socket, and says how many it took; 0 if it takes none now.
///
/// # Errors
/// The connection is over, and how.
pub(crate) fn offer(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(taken) => Ok(taken),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// What a socket had to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing now.
    Nothing,
    /// So many bytes.
    Bytes(usize),
    /// The peer closed its side.
    End,
}

/// Reads some bytes and forgets them.
///
/// # Errors
/// The connection is over, and how.
pub(crate) fn discard(socket: BorrowedFd<'_>) -> io::Result<Input> {
    let mut scrap = [0_u8; 4096];
    loop {
        return match recv(socket, &mut scrap, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(Input::End),
            Ok((_, read)) => Ok(Input::Bytes(read)),
            Err(rustix::io::Errno::AGAIN) => Ok(Input::Nothing),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Tells the peer that nothing more comes.
pub(crate) fn close_write(socket: BorrowedFd<'_>) {
    let _ = shutdown(socket, Shutdown::Write); // It fails only where the connection is over.
}
