//! The accept loop.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt;

use super::complaint::Complaint;
use super::connection::{self, Open, Shared};
use super::room::{Place, Room};
use super::{Counters, Options};
use crate::shutdown::Shutdown;

/// The first and the longest pause after an accept that failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Listens on `address`; `[::]` takes IPv4 too.
///
/// # Errors
/// Those of the operating system: the address is in use, not ours, or not allowed.
pub fn bind(address: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified()) {
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)] // Elsewhere it lets another process take the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Marks a request of a connection for which there is no room. It is to be refused; the connection ends soon, in any case
/// when a request head should have been complete.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// Serves what `listener` accepts until `shutdown` drains. Connections then finish what they are at, or are cut.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    options: Options,
    shutdown: Shutdown,
    counters: Arc<Counters>,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let sockets = Tcp { listener, notsent_lowat: options.notsent_lowat };
    accept_from(sockets, service, Shared { options, counters, shutdown }).await;
}

/// Where connections come from.
pub(super) trait Accept: Send {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and where it comes from. Nothing is lost if the future is dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<SocketAddr>)>> + Send;
}

/// A listening TCP socket.
pub(super) struct Tcp {
    pub(super) listener: TcpListener,
    pub(super) notsent_lowat: u32,
}

impl Accept for Tcp {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (socket, address) = self.listener.accept().await?;
        tune(&socket, self.notsent_lowat);
        // An IPv4 peer of an IPv6 socket is an IPv4 peer.
        Ok((socket, Some(SocketAddr::new(address.ip().to_canonical(), address.port()))))
    }
}

/// Sends at once what is written, keeps what is not sent small, and has the kernel look for peers that are gone. It fails
/// only if the peer is gone already, which the connection finds out by itself.
fn tune(socket: &TcpStream, notsent_lowat: u32) {
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive());
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(notsent_lowat);
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

/// The accept loop itself.
pub(super) async fn accept_from<A, S, B>(mut sockets: A, service: S, shared: Shared)
where
    A: Accept,
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let shared = Arc::new(shared);
    let room = Room::new(shared.options.connections);
    let (mut full, mut failing) = (Complaint::default(), Complaint::default());
    let mut pause = PAUSE.0;
    loop {
        let accepted = tokio::select! {
            () = shared.shutdown.draining() => return,
            accepted = next(&mut sockets, &room) => accepted,
        };
        match accepted {
            Ok((io, address, place)) => {
                pause = PAUSE.0;
                if place.crowded {
                    shared.counters.crowded.fetch_add(1, Ordering::Relaxed);
                    if let Some(times) = full.again() {
                        let connections = shared.options.connections;
                        tracing::warn!(times, connections, "more connections than allowed; they are told to come back");
                    }
                }
                take(io, address, place, &service, &shared);
            }
            Err(error) => {
                shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if is_of_one_connection(&error) {
                    continue;
                }
                // EMFILE and its like: the connection stays in the backlog and is accepted when descriptors are free.
                // The listener stays readable, so without a pause this would spin.
                if let Some(times) = failing.again() {
                    tracing::warn!(error = &error as &dyn Error, times, "cannot accept connections");
                }
                tokio::select! {
                    () = shared.shutdown.draining() => return,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                }
            }
        }
    }
}

/// The next connection, and its place.
async fn next<A: Accept>(sockets: &mut A, room: &Room) -> io::Result<(A::Io, Option<SocketAddr>, Place)> {
    let place = room.place().await;
    let (io, address) = sockets.accept().await?;
    Ok((io, address, room.best(place)))
}

/// Serves a connection as a task of its own.
fn take<T, S, B>(io: T, address: Option<SocketAddr>, place: Place, service: &S, shared: &Arc<Shared>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let crowded = place.crowded;
    let service = service.clone().map_request(move |mut request: Request<Incoming>| {
        if crowded {
            request.extensions_mut().insert(Crowded);
        }
        request
    });
    let open = Open::count(&shared.counters);
    let connection = connection::serve(io, address, service, Arc::clone(shared));
    if crowded {
        let time = shared.options.head_timeout;
        shared.shutdown.spawn(async move {
            let _held = (open, place);
            let _ = timeout(time, connection).await;
        });
    } else {
        shared.shutdown.spawn(async move {
            let _held = (open, place);
            connection.await;
        });
    }
}

/// Whether the error is that of a connection that went before it was accepted, not ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
