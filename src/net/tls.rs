//! TLS on TCP connections: the handshake, and what a connection is carried by afterwards.
//!
//! TLS 1.2 and 1.3, by rustls with ring. Nothing is remembered of a connection that has ended: whoever comes back brings
//! its session along in a ticket, which only we can read, and is spared the signature. No data comes before the handshake is
//! complete (0-RTT could be replayed by anybody).
//!
//! Deliberately absent: files, which `config` reads, and certificates of clients.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Shared, farewell};
use super::refusal::{Refusal, refuse};
use super::sniff::first;
use super::watch::Watched;

/// The protocols that a client may choose from in its handshake (RFC 7301), the best first. Which one it speaks is told by
/// its first bytes, as without TLS.
const PROTOCOLS: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// With what a TLS client begins: a record of the handshake (RFC 8446 § 5.1).
const HANDSHAKE: u8 = 22;

/// Bytes of an answer that TLS may hold, encrypted, for a socket that takes none.
const HELD: usize = 16 * 1024;

/// By what listeners prove who they are. All clones are one.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Current>>);

struct Current {
    identity: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// A certificate with the chain to its authority, and its key.
    #[must_use]
    pub fn new(identity: Arc<CertifiedKey>) -> Self {
        let config = config(&identity);
        Self(Arc::new(RwLock::new(Current { identity, config })))
    }

    /// Takes another one for the handshakes to come, if it is another. Connections that are open go on.
    pub fn replace(&self, identity: Arc<CertifiedKey>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.identity.cert != identity.cert {
            *current = Current { config: config(&identity), identity };
        }
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn config(identity: &Arc<CertifiedKey>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))));
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    // Without randomness there are no tickets, and each handshake is a whole one.
    if let Ok(ticketer) = ring::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Arc::new(config)
}

/// What a connection is carried by.
pub(super) enum Carried<T> {
    /// The socket.
    Plain(Watched<T>),
    /// TLS over the socket. Boxed: it is large, and plain connections would have its size.
    Tls(Box<TlsStream<Watched<T>>>),
}

/// Shakes hands with a new connection. There is nothing more to do with one that cannot, or says nothing.
pub(super) async fn accept<T>(mut io: Watched<T>, tls: &Tls, shared: &Shared) -> Option<Carried<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Shared { options, counters, shutdown, .. } = shared;
    let spoken = first(io.peek(), options, shutdown).await??;
    let deadline = Instant::now() + options.head_timeout;
    let failed = |why: &dyn fmt::Display| {
        counters.tls_handshake_failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%why, "a TLS handshake failed");
    };
    if spoken != HANDSHAKE {
        failed(&"the other end does not speak TLS");
        if spoken.is_ascii_alphabetic() {
            farewell(refuse(io, Refusal::Plain, options), shared).await;
        }
        return None;
    }
    let handshake = TlsAcceptor::from(tls.config()).accept_with(io, |tls| tls.set_buffer_limit(Some(HELD)));
    tokio::select! {
        accepted = timeout_at(deadline, handshake) => match accepted {
            Ok(Ok(stream)) => return Some(Carried::Tls(Box::new(stream))),
            Ok(Err(error)) => failed(&error),
            Err(_) => failed(&"it was not complete in time"),
        },
        () = shutdown.cutting() => {}
    }
    None
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Carried<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => match Pin::new(io).poll_read(cx, buf) {
                // The socket's end without TLS's own (`close_notify`). Many clients leave so; content that is cut off says
                // so by its length.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => read,
            },
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Carried<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    /// Over TLS this waits: bytes that were written may still be there, encrypted.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
