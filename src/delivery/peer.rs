//! What a connection knows of its other end. `net` records it; a stream's ending reads it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::diagnosis::{Gone, TcpInfo};

/// The other end of one connection, or of one stream of an HTTP/2 connection.
#[derive(Debug)]
pub struct Peer {
    address: Option<SocketAddr>,
    over_tls: bool,
    gone: AtomicU8,
    last_sight: OnceLock<Box<LastSight>>,
    /// The end of the connection that a stream is part of.
    connection: Option<Arc<Self>>,
    /// How many streams it carries. It stays as it is once the connection has gone.
    carries: AtomicU32,
}

/// How the other end of a connection was seen for the last time.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSight {
    /// For how long the socket had not taken all that was written, if it had not.
    pub blocked: Option<Duration>,
    /// What the kernel knew.
    pub tcp: Option<TcpInfo>,
}

/// What the kernel knows of a connection; none where it cannot be asked.
#[cfg(target_os = "linux")]
pub fn tcp_info(socket: impl std::os::fd::AsFd) -> Option<TcpInfo> {
    let info = crate::sys::tcp_info(socket.as_fd()).ok()?;
    Some(TcpInfo {
        since_acknowledged: info.since_acknowledged,
        unacknowledged: info.unacknowledged,
        not_sent: info.not_sent,
        retransmitted: info.retransmitted,
        round_trip: info.round_trip,
    })
}

/// What the kernel knows of a connection; none where it cannot be asked.
#[cfg(not(target_os = "linux"))]
pub fn tcp_info<T>(_socket: T) -> Option<TcpInfo> {
    None
}

/// What an error of the socket says of the other end. `closed`: whether it was seen to close its side.
#[must_use]
pub fn gone_by(error: &io::Error, closed: bool) -> Gone {
    match error.kind() {
        io::ErrorKind::ConnectionReset => Gone::Reset,
        // Linux says EPIPE first only to one whose peer had closed before it reset (`tcp_reset` in CLOSE_WAIT), also
        // when we have not read as far as its FIN.
        io::ErrorKind::BrokenPipe if closed || cfg!(target_os = "linux") => Gone::Closed,
        io::ErrorKind::BrokenPipe => Gone::Reset,
        io::ErrorKind::TimedOut => Gone::Silent,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Gone::Unreachable,
        _ => Gone::Failed,
    }
}

impl Peer {
    /// An end of which nothing is known but where it is.
    #[must_use]
    pub fn new(address: Option<SocketAddr>) -> Self {
        Self {
            address,
            over_tls: false,
            gone: AtomicU8::new(Gone::No as u8),
            last_sight: OnceLock::new(),
            connection: None,
            carries: AtomicU32::new(0),
        }
    }

    /// The same end, of a connection over TLS or not.
    #[must_use]
    pub fn over_tls(self, over_tls: bool) -> Self {
        let mut this = self;
        this.over_tls = over_tls;
        this
    }

    /// The end of one stream of a connection: it can go alone, and goes with the connection.
    #[must_use]
    pub fn of_stream(connection: &Arc<Self>) -> Self {
        connection.carries.fetch_add(1, Ordering::Relaxed);
        let mut this = Self::new(connection.address).over_tls(connection.over_tls);
        this.connection = Some(Arc::clone(connection));
        this
    }

    /// Its address; none on a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether it speaks TLS to us. A proxy in between may do so to it where this one does not.
    #[must_use]
    pub fn is_over_tls(&self) -> bool {
        self.over_tls
    }

    /// Records how it went. The first word counts: what follows is an effect of it.
    pub fn record(&self, gone: Gone) {
        let _ = self.gone.compare_exchange(Gone::No as u8, gone as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records how it was seen for the last time.
    pub fn record_sight(&self, sight: LastSight) {
        let _ = self.last_sight.set(Box::new(sight));
    }

    /// How it was seen for the last time, if anybody looked.
    #[must_use]
    pub fn last_sight(&self) -> LastSight {
        let own = self.last_sight.get().map(|sight| **sight);
        own.or_else(|| self.connection.as_ref().map(|connection| connection.last_sight())).unwrap_or_default()
    }

    /// How it went. What a stream recorded for itself counts before what its connection did.
    #[must_use]
    pub fn gone(&self) -> Gone {
        match Gone::from_u8(self.gone.load(Ordering::Relaxed)) {
            Gone::No => self.connection.as_ref().map_or(Gone::No, |connection| connection.gone()),
            gone => gone,
        }
    }

    /// Whether it is one of several streams that went with their connection.
    #[must_use]
    pub fn went_with_others(&self) -> bool {
        Gone::from_u8(self.gone.load(Ordering::Relaxed)) == Gone::No
            && self.connection.as_ref().is_some_and(|connection| {
                connection.gone() != Gone::No && connection.carries.load(Ordering::Relaxed) > 1
            })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection
            && connection.gone() == Gone::No
        {
            connection.carries.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
