//! Connections to one server: plain or TLS, counting what goes over the wire.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::trouble::{Kind, Trouble};
use crate::cli::{CliError, trust};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of all connections, as they go over TCP: heads, transfer codings and TLS included.
#[derive(Debug, Default)]
pub(in crate::cli) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Sent and received until now.
    pub(in crate::cli) fn now(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// Opens connections.
pub(in crate::cli) struct Dialer {
    addresses: Vec<SocketAddr>,
    /// The first address that answered.
    good: AtomicUsize,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// Looks up the name of the URL's host, once for all connections. Over TLS these versions of HTTP are offered, by their
    /// names there (RFC 7301 § 6).
    pub(in crate::cli) async fn new(url: &Url, offered: &[&str], ca: Option<&Path>) -> Result<Self, CliError> {
        let (host, port) = (host(url), url.port_or_known_default().unwrap_or(80));
        let found = tokio::net::lookup_host((host, port)).await;
        let addresses: Vec<_> =
            found.map_err(|error| CliError::Failed(format!("no address for {host}: {error}")))?.collect();
        let tls = if url.scheme() == "https" { Some(tls(host, offered, ca)?) } else { None };
        Ok(Self { addresses, good: AtomicUsize::new(0), tls })
    }

    /// Opens a connection whose bytes are counted in `traffic`.
    pub(in crate::cli) async fn dial(&self, traffic: &Arc<Traffic>) -> Result<Io, Trouble> {
        let late = |_| Trouble::new(Kind::Timeout, "no connection in time");
        timeout(CONNECT_TIMEOUT, async {
            let counted = Counted { socket: self.connect().await?, traffic: traffic.clone() };
            let Some((connector, name)) = &self.tls else { return Ok(Io::Plain(counted)) };
            let stream = connector.connect(name.clone(), counted).await.map_err(|error| {
                let words = match error.to_string() {
                    words if words.ends_with("InvalidContentType") => "the other end does not speak TLS".to_owned(),
                    words => words,
                };
                Trouble::new(Kind::Tls, format!("no TLS: {words}"))
            })?;
            Ok(Io::Tls(Box::new(stream)))
        })
        .await
        .map_err(late)?
    }

    async fn connect(&self) -> Result<TcpStream, Trouble> {
        let good = self.good.load(Ordering::Relaxed);
        let mut trouble = Trouble::new(Kind::Network, "the host has no address");
        for at in (0..self.addresses.len()).map(|n| (good + n) % self.addresses.len()) {
            match TcpStream::connect(self.addresses[at]).await {
                Ok(socket) => {
                    self.good.store(at, Ordering::Relaxed);
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(error) => trouble = Trouble { words: format!("no connection: {error}"), ..error.into() },
            }
        }
        Err(trouble)
    }
}

/// The name or address to connect to; an IPv6 address without its brackets.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// TLS that trusts what `ca` names, or else what the system trusts (or `SSL_CERT_FILE`), and offers these versions of HTTP.
fn tls(host: &str, offered: &[&str], ca: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), CliError> {
    let failed = |error: rustls::Error| CliError::Failed(format!("cannot prepare TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = match ca {
        Some(ca) => trust::config(ca)?,
        None => ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(failed)?
            .with_no_client_auth(),
    };
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| CliError::Usage(format!("no certificate can be for the host {host}")))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// A connection.
pub(in crate::cli) enum Io {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

/// A socket whose bytes are counted.
pub(in crate::cli) struct Counted {
    socket: TcpStream,
    traffic: Arc<Traffic>,
}

impl Io {
    /// The version of HTTP that the other end chose of those offered; none in the clear, or if it does not choose.
    pub(in crate::cli) fn chosen(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Waits for bytes and shows them, where they are: in memory that all connections of a thread share, as each holds it
    /// for as long as it looks at them. None are the end.
    pub(in crate::cli) async fn read<T>(&mut self, mut look: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *self).poll_read(context, &mut read))?;
                Poll::Ready(Ok(look(read.filled())))
            })
        })
        .await
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 << 10]);
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, into))?;
        let read = into.filled().len() - before;
        self.traffic.received.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_without_its_brackets() {
        for (url, expected) in [("https://[::1]/live", "::1"), ("http://h:81/a", "h")] {
            assert_eq!(host(&Url::parse(url).expect("a URL")), expected);
        }
    }
}
