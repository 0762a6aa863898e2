//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::content::Content;
use super::exchange::Exchange;
use super::express::{self, After};
use super::observe::Observed;
use super::refusal::{Refusal, close, linger, refuse};
use super::service::{Http1, Http2};
use super::sips::Sips;
use super::sniff::{PREFACE, Spoken, sniff};
use super::socket::Wire;
use super::streams::Streams;
use super::takeover::Taken;
use super::tls::{self, Carried};
use super::waits::HeadTimer;
use super::watch::Watched;
use super::whole;
use super::{Cores, Counters, Options};
use crate::delivery::{Connection, Gone, Held, Peer};
use crate::shutdown::Shutdown;

/// HTTP/2: bytes of one stream that h2 may hold; `Sent` hands over no more either.
const H2_SEND_BUFFER: usize = 32 * 1024;
/// HTTP/2: bytes that a peer may send ahead, a stream and a connection.
const H2_WINDOW: u32 = 64 * 1024;
/// HTTP/2: streams a connection.
const H2_STREAMS: u32 = 256;
/// HTTP/2: a PING this often, and how long its answer may take. Streams need no life sign of their own for this.
const H2_PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) counters: Arc<Counters>,
    pub(super) shutdown: Shutdown,
    pub(super) cores: Cores,
}

/// Where a connection is served, and what goes with it until its end.
pub(super) struct Seat {
    pub(super) core: usize,
    pub(super) held: Held,
}

impl Default for Seat {
    fn default() -> Self {
        Self { core: 0, held: Box::new(()) }
    }
}

/// Counts a connection as open until it is dropped, also by a panic.
pub(super) struct Open(Arc<Counters>);

impl Open {
    pub(super) fn count(counters: &Arc<Counters>) -> Self {
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<T, S, B>(io: T, address: Option<SocketAddr>, seat: Seat, service: S, shared: Arc<Shared>)
where
    T: Wire,
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Shared { options, counters, shutdown, cores } = &*shared;
    let tls = options.tls.as_ref().filter(|_| address.is_some()); // Only TCP has addresses.
    let peer = Arc::new(Peer::new(address).over_tls(tls.is_some()));
    let io = Watched::new(io, T::tcp_info, Arc::clone(&peer), Arc::clone(counters), options.stall);
    let io = match tls {
        None => Carried::Plain(io),
        // Boxed: it is large, and the task of a plain connection would have its size.
        Some(tls) => match Box::pin(tls::accept(io, tls, &shared)).await {
            Some(io) => io,
            None => return,
        },
    };
    let mut io = Observed::new(io, Arc::clone(&peer), options.stall);
    match sniff(&mut io, options, shutdown).await {
        Spoken::Nothing => {}
        Spoken::Part => late(io, &shared).await,
        Spoken::Http1(mut prefix, mut begun) => {
            let mut served = false;
            if whole::may_begin(&prefix) {
                match express::serve(&mut io, prefix, service.clone(), &peer, &shared).await {
                    After::Hyper(rest, others) => (prefix, begun, served) = (rest, Instant::now(), others),
                    After::Last => return farewell(close(io.into_inner(), options.linger), &shared).await,
                    After::Over => return,
                }
            }
            let begun = (!matches!(prefix[0], b'\r' | b'\n')).then_some(begun);
            let exchange = Arc::new(Exchange::new(options.head_bytes, begun));
            if served {
                exchange.inbound.has_served();
            }
            if T::IS_SOCKET && tls.is_none() && cores.shards.is_some() {
                exchange.takeover.allow();
            }
            io.replay(&prefix, Some(Arc::clone(&exchange)));
            serve_http1(io, seat, Http1 { service, peer, exchange }, &shared).await;
        }
        Spoken::Http2 => {
            io.replay(PREFACE, None);
            let streams = Streams::none(shutdown.clone());
            // Boxed: it is large, and the task of an HTTP/1 connection would have its size.
            Box::pin(serve_http2(io, Http2 { service, peer, streams }, &shared)).await;
        }
    }
}

/// HTTP/1.0 and 1.1.
///
/// A peer that closes its writing side ends the exchange, as with hyper's default: on a stream that is how a reader
/// leaves, and a FIN does not say which of the two it is. A client that half-closes after its request (`nc -N`) gets no
/// answer.
async fn serve_http1<T, S, B>(io: Observed<Carried<T>>, seat: Seat, service: Http1<S>, shared: &Shared)
where
    T: Wire,
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let options = &shared.options;
    let (exchange, peer) = (Arc::clone(&service.exchange), Arc::clone(&service.peer));
    let timer = HeadTimer::new(Arc::clone(&exchange), options.head_timeout, options.keep_alive);
    let connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(options.head_timeout) // Switches the timer on; how long it takes is the timer's own affair.
        // Above the limit for heads, so that ours is reached first and answered in our words. What an answer may hold of
        // this is bounded by `Paced`.
        .max_buf_size(options.head_bytes + 8192)
        .writev(false)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = Leaving { connection, exchange: Arc::clone(&exchange) };
    let finish = |leaving: Pin<&mut Leaving<_>>| {
        http1::Connection::graceful_shutdown(Pin::new(&mut leaving.get_mut().connection));
    };
    let Some(end) = drive(Pin::new(&mut connection), finish, pending(), &shared.shutdown).await else { return };
    let io = connection.connection.into_parts().io.into_inner();
    let Some(end) = end else { return leave(io, seat, &exchange, shared) };
    match end {
        Err(error) if error.is_timeout() => {
            // An idle connection, or one that has not even taken its last answer, is closed without words.
            if exchange.inbound.progress().begun.is_some() && !exchange.outbound.is_blocked() {
                late(io, shared).await;
            }
        }
        Err(_) if exchange.inbound.is_too_large() => {
            shared.counters.head_too_large.fetch_add(1, Ordering::Relaxed);
            farewell(refuse(io.into_inner(), Refusal::Large, options), shared).await;
        }
        Err(error) if error.is_parse() => {
            // hyper's own answer has no words, and was kept back.
            let (refusal, counter) = if error.is_parse_too_large() {
                (Refusal::Many, &shared.counters.head_too_large)
            } else {
                (Refusal::Bad { tls: peer.is_over_tls() }, &shared.counters.bad_heads)
            };
            counter.fetch_add(1, Ordering::Relaxed);
            farewell(refuse(io.into_inner(), refusal, options), shared).await;
        }
        Ok(()) if !io.is_closed() => farewell(linger(io.into_inner(), options.linger), shared).await,
        Ok(()) | Err(_) => {}
    }
}

/// A connection of hyper's, until its end, or until an answer leaves it: then there is no end.
struct Leaving<C> {
    connection: C,
    exchange: Arc<Exchange>,
}

impl<C: Future + Unpin> Future for Leaving<C> {
    type Output = Option<C::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match Pin::new(&mut this.connection).poll(context) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if this.exchange.takeover.is_taken() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Gives a stream whose answer has left hyper to the shard of this core. What the peer has sent ahead is passed over, as
/// the answer says that it is the last one.
fn leave<T: Wire>(io: Observed<Carried<T>>, seat: Seat, exchange: &Exchange, shared: &Shared) {
    let Some((Taken { head, framing, stream }, shards)) = exchange.takeover.taken().zip(shared.cores.shards.as_ref())
    else {
        return;
    };
    if io.is_closed() {
        return; // It is known why, and with the stream goes the end of it.
    }
    let Carried::Plain(watched) = io.into_inner() else { return };
    let Some(socket) = watched.into_inner().into_socket() else { return };
    shards.adopt(seat.core, *stream, Connection { socket, head, framing, held: seat.held });
}

/// HTTP/2 by prior knowledge. How fast streams may be reset is limited by h2's own defaults (CVE-2023-44487).
async fn serve_http2<T, S, B>(io: Observed<T>, service: Http2<S>, shared: &Shared)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let peer = Arc::clone(&service.peer);
    let streams = service.streams.clone();
    let mut connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_send_buf_size(H2_SEND_BUFFER)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW)
        .max_concurrent_streams(H2_STREAMS)
        .keep_alive_interval(H2_PING.0)
        .keep_alive_timeout(H2_PING.1)
        .max_header_list_size(u32::try_from(shared.options.head_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(Sips::of(io, streams.clone())), service);
    let idle = streams.idle_for(shared.options.keep_alive);
    let driven = drive(Pin::new(&mut connection), http2::Connection::graceful_shutdown, idle, &shared.shutdown);
    let end = tokio::select! {
        biased; // What the peer takes now is not late.
        end = driven => end,
        never = streams.end_stalled(shared.options.stall, &shared.counters) => match never {},
    };
    if let Some(Err(_)) = end {
        peer.record(Gone::Failed); // No answer to a PING, or a broken protocol. What the socket said before stays.
    }
}

/// Drives a connection to its end: `None` if it was cut. It is told to `finish` at a drain, and once it is `idle`.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
    idle: impl Future<Output = ()>,
    shutdown: &Shutdown,
) -> Option<C::Output>
where
    C: Future,
{
    tokio::select! {
        biased; // A request that has come is still read before the connection is told to finish.
        end = connection.as_mut() => return Some(end),
        () = shutdown.draining() => finish(connection.as_mut()),
        () = idle => finish(connection.as_mut()), // HTTP/1 has a timer of its own.
    }
    tokio::select! {
        end = connection => Some(end),
        () = shutdown.cutting() => None,
    }
}

/// A head has begun and not ended in time.
async fn late<T: AsyncRead + AsyncWrite + Unpin>(io: Observed<T>, shared: &Shared) {
    shared.counters.head_timeouts.fetch_add(1, Ordering::Relaxed);
    farewell(refuse(io.into_inner(), Refusal::Late, &shared.options), shared).await;
}

/// Last words, as long as there is time for them.
pub(super) async fn farewell(words: impl Future<Output = ()>, shared: &Shared) {
    tokio::select! {
        () = words => {}
        () = shared.shutdown.cutting() => {}
    }
}
