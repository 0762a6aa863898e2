//! The accept loop.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tower::ServiceExt;

use super::complaint::Complaint;
use super::connection::{self, Open, Seat, Shared};
use super::content::Content;
use super::room::{Place, Room};
use super::socket::{Listener, Listeners, Wire};
use super::{Counters, Options};
use crate::delivery::Shards;
use crate::shutdown::Shutdown;

/// How long a connection may take that is only there to be refused: others wait for its place, and may be publishers.
const REFUSAL: Duration = Duration::from_millis(500);

/// The first and the longest pause after an accept that failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Connections that are accepted before whoever is connected has its turn: each brings a request, and what these cost is
/// what a publisher waits for when ten thousand come back at once.
const AT_ONCE: usize = 2;

/// Marks a request of a connection for which there is no room. It is to be refused; the connection ends soon, in any case
/// after half a second.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// Serves what `listeners` accept until `shutdown` drains. Connections then finish what they are at, or are cut. The bound
/// on connections is one for all of these listeners.
pub async fn serve<S, B>(
    listeners: Vec<Listener>,
    service: S,
    options: Options,
    shutdown: Shutdown,
    counters: Arc<Counters>,
) where
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    serve_on(Cores::default(), listeners, service, options, shutdown, counters).await;
}

/// Where connections are served.
#[derive(Clone, Default)]
pub struct Cores {
    /// The runtimes of cores, to which connections go in turn; none: that which accepts them.
    pub runtimes: Vec<Handle>,
    /// The shards of those cores, which carry streams of plain connections; none: everything stays in hyper.
    pub shards: Option<Arc<Shards>>,
}

/// As [`serve`], on several cores, with the socket carrier.
pub async fn serve_on<S, B>(
    cores: Cores,
    listeners: Vec<Listener>,
    service: S,
    options: Options,
    shutdown: Shutdown,
    counters: Arc<Counters>,
) where
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let sockets = Listeners { listeners, notsent_lowat: options.notsent_lowat, first: 0 };
    accept_from(sockets, service, Shared { options, counters, shutdown, cores }).await;
}

/// Where connections come from.
pub(super) trait Accept: Send {
    /// A connection.
    type Io: Wire;

    /// The next one, and where it comes from. Nothing is lost if the future is dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<SocketAddr>)>> + Send;
}

/// The accept loop itself.
pub(super) async fn accept_from<A, S, B>(mut sockets: A, service: S, shared: Shared)
where
    A: Accept,
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let shared = Arc::new(shared);
    let room = Room::new(shared.options.connections);
    let mut next_core = 0;
    let (mut full, mut failing) = (Complaint::default(), Complaint::default());
    let (mut pause, mut taken) = (PAUSE.0, 0);
    loop {
        if taken == AT_ONCE {
            taken = 0;
            tokio::task::yield_now().await; // Until sockets have been looked at.
        }
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
                taken += 1;
                take(io, address, place, next_core, &service, &shared);
                next_core = (next_core + 1) % shared.cores.runtimes.len().max(1);
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

/// Serves a connection as a task of its own, on this core.
fn take<T, S, B>(io: T, address: Option<SocketAddr>, place: Place, core: usize, service: &S, shared: &Arc<Shared>)
where
    T: Wire,
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let crowded = place.crowded;
    let service = service.clone().map_request(move |mut request: Request<Content>| {
        if crowded {
            request.extensions_mut().insert(Crowded);
        }
        request
    });
    let seat = Seat { core, held: Box::new((Open::count(&shared.counters), place, shared.shutdown.hold())) };
    let served = Arc::clone(shared);
    let moves = shared.cores.runtimes.len() > 1;
    let task = async move {
        let here = if moves { io.moved_here() } else { Ok(io) };
        let Ok(io) = here else { return }; // It was over before it began.
        let connection = connection::serve(io, address, seat, service, served);
        if crowded {
            let _ = timeout(REFUSAL, connection).await;
        } else {
            connection.await;
        }
    };
    match shared.cores.runtimes.get(core) {
        Some(runtime) => shared.shutdown.spawn_on(runtime, task),
        None => drop(shared.shutdown.spawn(task)),
    }
}

/// Whether the error is that of a connection that went before it was accepted, not ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
