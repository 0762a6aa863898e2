//! Listening sockets: of the network, of the file system, and such as another process opened for us.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::diagnosis::TcpInfo;

use super::Options;
use super::listener::Accept;
use super::socket_file::{self, SocketFile};

/// A socket that connections come from.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp {
        listener: TcpListener,
        /// Whether accepted sockets are as they should be: on Linux they are made like the one that listens.
        inherits: bool,
    },
    Unix(UnixListener, #[allow(dead_code, reason = "it is held for its end")] Option<SocketFile>),
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// In the network.
    Tcp(SocketAddr),
    /// In the network, over TLS.
    Tls(SocketAddr),
    /// In the file system; a socket that was passed to us may have no name.
    Unix(Option<PathBuf>),
}

impl Listener {
    /// Listens on `address`; `[::]` takes IPv4 too.
    ///
    /// # Errors
    /// Those of the operating system: the address is in use, not ours, or not allowed.
    pub fn tcp(address: SocketAddr, options: &Options) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified()) {
            socket.set_only_v6(false)?;
        }
        #[cfg(unix)] // Elsewhere it lets another process take the port.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        let inherits = cfg!(target_os = "linux");
        if inherits {
            tune(&SockRef::from(&socket), options.notsent_lowat);
        }
        socket.listen(backlog(options))?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into()).map(|listener| Self(Kind::Tcp { listener, inherits }))
    }

    /// Listens on a socket in the file system, to which those may connect whom `mode` lets write to it. One that a dead
    /// process has left is replaced; ours is removed at the end.
    ///
    /// # Errors
    /// Those of the operating system; somebody serves it already, or there is a file of this name that is no socket.
    pub fn unix(path: &Path, mode: u32, options: &Options) -> io::Result<Self> {
        let (socket, file) = socket_file::listen(path, mode, backlog(options))?;
        UnixListener::from_std(socket.into()).map(|socket| Self(Kind::Unix(socket, Some(file))))
    }

    /// Takes a TCP socket that listens already. Its backlog is its maker's affair.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn passed_tcp(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Who came before us has sockets as its maker left them.
        TcpListener::from_std(socket).map(|listener| Self(Kind::Tcp { listener, inherits: false }))
    }

    /// Takes a Unix socket that listens already. Its file is its maker's affair.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn passed_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(|socket| Self(Kind::Unix(socket, None)))
    }

    /// Where it is.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn place(&self) -> io::Result<Local> {
        match &self.0 {
            Kind::Tcp { listener, .. } => listener.local_addr().map(Local::Tcp),
            Kind::Unix(socket, _) => {
                socket.local_addr().map(|address| Local::Unix(address.as_pathname().map(Path::to_owned)))
            }
        }
    }

    fn poll_accept(&self, notsent_lowat: u32, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        match &self.0 {
            Kind::Tcp { listener, inherits } => {
                let (socket, address) = ready!(listener.poll_accept(cx))?;
                if !inherits {
                    tune(&SockRef::from(&socket), notsent_lowat);
                }
                // An IPv4 peer of an IPv6 socket is an IPv4 peer.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                Poll::Ready(Ok((Either::Left(socket), Some(address))))
            }
            Kind::Unix(listener, _) => {
                let (socket, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok((Either::Right(socket), None)))
            }
        }
    }
}

impl Local {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address().is_none_or(|address| address.ip().is_loopback())
    }

    /// Its address in the network, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The same place, where TCP connections are over TLS.
    #[must_use]
    pub fn over_tls(self) -> Self {
        match self {
            Self::Tcp(address) => Self::Tls(address),
            other => other,
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

fn backlog(options: &Options) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// What connections come on.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether it is a socket, on which bytes go as they are written.
    const IS_SOCKET: bool;

    /// Moves it to the runtime that runs this.
    ///
    /// # Errors
    /// Those of the operating system.
    fn moved_here(self) -> io::Result<Self>
    where
        Self: Sized;

    /// The socket alone, which no runtime watches any more.
    fn into_socket(self) -> Option<OwnedFd>;

    /// What the kernel knows of it, if it is a TCP socket and can be asked.
    fn tcp_info(&self) -> Option<TcpInfo>;
}

impl Wire for Stream {
    const IS_SOCKET: bool = true;

    fn moved_here(self) -> io::Result<Self> {
        match self {
            Self::Left(socket) => TcpStream::from_std(socket.into_std()?).map(Self::Left),
            Self::Right(socket) => UnixStream::from_std(socket.into_std()?).map(Self::Right),
        }
    }

    fn into_socket(self) -> Option<OwnedFd> {
        match self {
            Self::Left(socket) => socket.into_std().ok().map(OwnedFd::from),
            Self::Right(socket) => socket.into_std().ok().map(OwnedFd::from),
        }
    }

    fn tcp_info(&self) -> Option<TcpInfo> {
        match self {
            Self::Left(socket) => crate::delivery::tcp_info(socket),
            Self::Right(_) => None,
        }
    }
}

/// A connection in memory stays where it is.
#[cfg(any(test, feature = "fuzzing"))]
impl Wire for tokio::io::DuplexStream {
    const IS_SOCKET: bool = false;

    fn moved_here(self) -> io::Result<Self> {
        Ok(self)
    }

    fn into_socket(self) -> Option<OwnedFd> {
        None
    }

    fn tcp_info(&self) -> Option<TcpInfo> {
        None
    }
}

/// A connection of either kind.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// Several listeners, as one.
pub(super) struct Listeners {
    pub(super) listeners: Vec<Listener>,
    pub(super) notsent_lowat: u32,
    /// Which one is asked first, so that none of them waits for the others.
    pub(super) first: usize,
}

impl Accept for Listeners {
    type Io = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, Option<SocketAddr>)> {
        std::future::poll_fn(|cx| {
            for at in 0..self.listeners.len() {
                let at = (self.first + at) % self.listeners.len();
                if let Poll::Ready(accepted) = self.listeners[at].poll_accept(self.notsent_lowat, cx) {
                    self.first = at + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Sends at once what is written, keeps what is not sent small, and has the kernel look for peers that are gone. It fails
/// only if the peer is gone already, which the connection finds out by itself.
fn tune(socket: &SockRef<'_>, notsent_lowat: u32) {
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive());
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(notsent_lowat);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = notsent_lowat;
}

fn keepalive() -> TcpKeepalive {
    let (idle, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle);
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
    let keepalive = keepalive.with_interval(interval).with_retries(retries);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")))]
    let _ = (interval, retries);
    keepalive
}

/// A peer that is silent this long is asked whether it is there, then this often, this many times: one that is gone
/// without a word holds a descriptor for two minutes, also where nothing is written to it.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
