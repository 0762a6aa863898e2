//! What systemd, or another service manager that speaks its protocol, leaves for us: open sockets, the place where it
//! listens for our state, and how often it wants a sign of life (`sd_listen_fds(3)`, `sd_notify(3)`,
//! `sd_watchdog_enabled(3)`).

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use socket2::SockRef;

/// What was left for this process. The variables are taken with it: they mean nothing to a child.
#[derive(Debug, Default)]
pub struct Systemd {
    /// Sockets that listen already, in the order in which they were passed.
    pub sockets: Vec<Passed>,
    /// `NOTIFY_SOCKET`.
    pub notify: Option<OsString>,
    /// Without a sign of life for this long we are held for dead.
    pub watchdog: Option<Duration>,
}

/// A socket that listens already.
#[derive(Debug)]
pub struct Passed {
    /// `FileDescriptorName=`; if that is not set, the name of the socket unit.
    pub name: String,
    /// The socket.
    pub socket: PassedSocket,
}

/// A socket of either kind.
#[derive(Debug)]
pub enum PassedSocket {
    /// Of the network.
    Tcp(TcpListener),
    /// Of the file system.
    Unix(UnixListener),
}

/// What was passed is not what we can serve.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// It is no such socket.
    #[error("the socket {name:?} that systemd passed is no stream of TCP or Unix; use ListenStream=")]
    Kind {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It is a connection.
    #[error("the socket {0:?} that systemd passed does not listen; use Accept=no")]
    Connected(String),
}

impl Passed {
    /// Whether it is meant for metrics and health.
    #[must_use]
    pub fn is_for_admin(&self) -> bool {
        self.name == "admin"
    }
}

impl Systemd {
    /// Takes what is there. To be called before there are other threads, as it removes variables.
    ///
    /// # Errors
    /// A socket is of another kind.
    #[allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
    pub fn take() -> Result<Self, SystemdError> {
        let is_ours = |name: &str| std::env::var(name).is_ok_and(|pid| pid == std::process::id().to_string());
        let sockets = if is_ours("LISTEN_PID") { sockets()? } else { Vec::new() };
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let watched = std::env::var_os("WATCHDOG_PID").is_none() || is_ours("WATCHDOG_PID");
        let watchdog = micros.filter(|micros| *micros > 0 && watched).map(Duration::from_micros);
        Ok(Self { sockets, notify: std::env::var_os("NOTIFY_SOCKET"), watchdog })
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
fn sockets() -> Result<Vec<Passed>, SystemdError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut descriptors = ListenFd::from_env();
    (0..descriptors.len())
        .map(|at| {
            let name = names.next().unwrap_or("unknown").to_owned();
            let socket = match socket(&mut descriptors, at) {
                Ok(socket) => socket,
                Err(source) => return Err(SystemdError::Kind { name, source }),
            };
            if socket.listens() { Ok(Passed { name, socket }) } else { Err(SystemdError::Connected(name)) }
        })
        .collect()
}

fn socket(descriptors: &mut ListenFd, at: usize) -> io::Result<PassedSocket> {
    if let Ok(Some(socket)) = descriptors.take_unix_listener(at) {
        return Ok(PassedSocket::Unix(socket));
    }
    let taken = descriptors.take_tcp_listener(at)?;
    Ok(PassedSocket::Tcp(taken.expect("each is taken once")))
}

impl PassedSocket {
    fn listens(&self) -> bool {
        let socket = match self {
            Self::Tcp(socket) => SockRef::from(socket),
            Self::Unix(socket) => SockRef::from(socket),
        };
        socket.is_listener().unwrap_or(false)
    }
}
