//! Listeners and connections: our own accept loop over hyper.
//!
//! Sockets enter; requests leave, to a tower `Service`, each with what only the socket knows in its extensions: an
//! `Arc<Peer>` (one a connection, with HTTP/2 one a stream; it also says later how the peer went) and, for HTTP/1, the [`RawHead`]. HTTP/1.0,
//! HTTP/1.1 and HTTP/2 by prior knowledge come in on one port; over TLS, if there is a certificate, on those of TCP.
//!
//! Invariants: nothing that a peer sends or leaves out ends the loop, panics, or holds more than a bounded piece of
//! memory and a bounded time. Deliberately absent: routes, problem documents other than for heads that never became a
//! request.

mod answer;
mod chunks;
mod complaint;
mod connection;
mod content;
mod descriptors;
mod exchange;
mod express;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod inbound;
mod listener;
mod observe;
mod outbound;
mod refusal;
mod resets;
mod room;
mod service;
mod sips;
mod sniff;
mod socket;
mod socket_file;
mod streams;
mod takeover;
#[cfg(test)]
mod tests;
mod tls;
mod turn;
mod waits;
mod watch;
mod whole;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use content::Content;
pub use descriptors::connections;
pub use head::RawHead;
pub use listener::{Cores, Crowded, serve, serve_on};
pub use socket::{Listener, Local};
pub use tls::Tls;

/// What a listener and its connections allow.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time a request head may take from its first byte to its last; also the time a new connection may be silent.
    pub head_timeout: Duration,
    /// The bytes a request head may have; more is answered 431.
    pub head_bytes: usize,
    /// How long a connection may be idle: between two requests of HTTP/1, without an open stream of HTTP/2.
    pub keep_alive: Duration,
    /// How long a peer may take no byte though some are offered: of a connection, and of each HTTP/2 stream.
    pub stall: Duration,
    /// How long to read on after the last answer, so that the peer sees it before a reset (RFC 9112 § 9.6).
    pub linger: Duration,
    /// How long a connection that has said nothing yet may take to do so when the end begins.
    pub last_call: Duration,
    /// Connections at once. Of those beyond, requests are marked as [`Crowded`], a few at a time; more wait to be accepted.
    pub connections: usize,
    /// Connections that may wait to be accepted. Linux cuts this to `net.core.somaxconn`.
    pub backlog: u32,
    /// `TCP_NOTSENT_LOWAT`, in bytes: a slow peer's backlog stays with us as a cursor, not in the kernel as bytes. With
    /// it a writable socket also means that the peer takes bytes, which is what makes `stall` a fair rule.
    pub notsent_lowat: u32,
    /// What TCP connections shake hands by; none: they are plain, as those of Unix sockets always are.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            keep_alive: Duration::from_secs(75),
            stall: Duration::from_secs(120),
            linger: Duration::from_secs(1),
            last_call: Duration::from_secs(1),
            connections: usize::MAX,
            backlog: 4096,
            notsent_lowat: 16 * 1024,
            tls: None,
        }
    }
}

/// What listeners count; read when metrics are scraped.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections accepted beyond those that there is room for.
    pub crowded: AtomicU64,
    /// Accepts that failed.
    pub accept_errors: AtomicU64,
    /// Request heads begun but not complete in time (408).
    pub head_timeouts: AtomicU64,
    /// Request heads that were too large (431).
    pub head_too_large: AtomicU64,
    /// Request heads that are not HTTP/1.1 (400).
    pub bad_heads: AtomicU64,
    /// TLS handshakes that were begun and came to nothing.
    pub tls_handshake_failures: AtomicU64,
    /// Connections and HTTP/2 streams ended because the peer took no byte for too long.
    pub stalled: AtomicU64,
}
