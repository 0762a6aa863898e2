//! What a connection knows of its other end. `net` records it; a stream's ending reads it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The other end of one connection, or of one stream of an HTTP/2 connection.
#[derive(Debug)]
pub struct Peer {
    address: Option<SocketAddr>,
    over_tls: bool,
    gone: AtomicU8,
    /// The end of the connection that a stream is part of.
    connection: Option<Arc<Self>>,
}

/// How the other end went, as the socket told it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gone {
    /// It is still there, as far as we know.
    No,
    /// It closed its side (FIN).
    Closed,
    /// It reset the connection (RST), or wrote to us what no peer may.
    Reset,
    /// It took no byte for so long that we gave up.
    Stalled,
    /// Another error of the socket.
    Failed,
}

impl Gone {
    /// What an error of the socket says. `closed`: whether the peer was seen to close its side.
    #[must_use]
    pub fn of(error: &io::Error, closed: bool) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset => Self::Reset,
            // Linux says EPIPE first only to one whose peer had closed before it reset (`tcp_reset` in CLOSE_WAIT), also
            // when we have not read as far as its FIN.
            io::ErrorKind::BrokenPipe if closed || cfg!(target_os = "linux") => Self::Closed,
            io::ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Failed,
        }
    }
}

impl Peer {
    /// An end of which nothing is known but where it is.
    #[must_use]
    pub fn new(address: Option<SocketAddr>) -> Self {
        Self { address, over_tls: false, gone: AtomicU8::new(Gone::No as u8), connection: None }
    }

    /// The same end, of a connection over TLS or not.
    #[must_use]
    pub fn over_tls(self, over_tls: bool) -> Self {
        Self { over_tls, ..self }
    }

    /// The end of one stream of a connection: it can go alone, and goes with the connection.
    #[must_use]
    pub fn of_stream(connection: &Arc<Self>) -> Self {
        Self { connection: Some(Arc::clone(connection)), ..Self::new(connection.address).over_tls(connection.over_tls) }
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

    /// How it went. What a stream recorded for itself counts before what its connection did.
    #[must_use]
    pub fn gone(&self) -> Gone {
        match self.gone.load(Ordering::Relaxed) {
            1 => Gone::Closed,
            2 => Gone::Reset,
            3 => Gone::Stalled,
            4 => Gone::Failed,
            _ => self.connection.as_ref().map_or(Gone::No, |connection| connection.gone()),
        }
    }
}
