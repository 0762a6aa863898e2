//! Where there is no socket carrier: there are no shards, so every stream stays on the ordinary one.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Unbegun;
use super::live::{Asked, Chosen};
use crate::shutdown::Shutdown;

/// How the content of a response is framed on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// In chunks (RFC 9112 § 7.1).
    Chunked,
    /// Not at all: it ends with the connection.
    UntilClose,
}

/// What goes with a connection until its end.
pub type Held = Box<dyn Send>;

/// A connection on which a response has yet to begin.
pub struct Connection {
    /// Its socket.
    pub socket: OwnedFd,
    /// The head of the response.
    pub head: Vec<u8>,
    /// How the content is framed.
    pub framing: Framing,
    /// What goes with the connection until its end.
    pub held: Held,
}

/// How sockets are treated.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// How long a peer may take no byte though some are offered.
    pub stall: Duration,
    /// How long to wait after the last byte until the peer closes.
    pub linger: Duration,
}

/// The shards of a gateway, of which there are none.
pub struct Shards(Infallible);

impl Shards {
    /// None.
    ///
    /// # Errors
    /// Never.
    pub fn start(_: &[Handle], _: &Shutdown, _: SocketOptions) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Never called.
    #[must_use]
    pub fn stalled(&self) -> u64 {
        match self.0 {}
    }

    /// Never called.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub(super) fn show(&self, _: Asked) -> Vec<oneshot::Receiver<Chosen>> {
        match self.0 {}
    }

    /// Never called.
    pub fn adopt(&self, _: usize, _: Unbegun, _: Connection) {
        match self.0 {}
    }
}
