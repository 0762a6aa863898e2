//! More connections than there is room for, in memory and on a paused clock.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Seek;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::*;

type Answer = Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible>;

/// Connections as a test makes them.
struct Arriving(UnboundedReceiver<DuplexStream>);

impl Accept for Arriving {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
        match self.0.recv().await {
            Some(io) => Ok((io, None)),
            None => std::future::pending().await,
        }
    }
}

/// Streams without end for those that there is room for; the others are refused, or left without an answer.
async fn answer(request: Request<Content>) -> Answer {
    let body = if request.extensions().get::<Crowded>().is_none() {
        StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>()).boxed_unsync()
    } else if request.uri().path() == "/hang" {
        std::future::pending().await
    } else {
        Full::new(Bytes::from_static(b"crowded")).boxed_unsync()
    };
    Ok(Response::new(body))
}

struct Clients {
    arrive: UnboundedSender<DuplexStream>,
    counters: Arc<Counters>,
}

impl Clients {
    fn of(connections: usize) -> Self {
        let (arrive, arriving) = unbounded_channel();
        let (counters, shutdown) = (Arc::<Counters>::default(), Shutdown::default());
        let options = Options { connections, ..Options::default() };
        let shared =
            Shared { options, counters: Arc::clone(&counters), shutdown: shutdown.clone(), cores: Cores::default() };
        shutdown.spawn(accept_from(Arriving(arriving), tower::service_fn(answer), shared));
        Self { arrive, counters }
    }

    async fn ask(&self, target: &str) -> DuplexStream {
        let (mut client, server) = duplex(1024);
        client.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        self.arrive.send(server).unwrap();
        client
    }

    fn count(&self) -> [u64; 3] {
        [&self.counters.accepted, &self.counters.crowded, &self.counters.open]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

async fn head(client: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
}

async fn rest(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_all_places_are_taken_is_refused_until_one_is_free() {
    let clients = Clients::of(2);
    let mut served: VecDeque<_> = [clients.ask("/").await, clients.ask("/").await].into();
    for client in &mut served {
        head(client).await;
    }
    for refused in 1..=20 {
        let answer = rest(&mut clients.ask("/").await).await;
        assert!(answer.ends_with("crowded"), "{answer}");
        assert_eq!(clients.count()[..2], [2 + refused, refused]);
    }
    served.pop_front();
    while clients.count()[2] > 1 {
        tokio::task::yield_now().await;
    }
    head(&mut clients.ask("/").await).await;
    assert_eq!(clients.count()[..2], [23, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_few_are_refused_at_once_and_each_for_a_short_time() {
    let clients = Clients::of(1);
    let mut served = clients.ask("/").await;
    head(&mut served).await;
    let begun = Instant::now();
    let mut hanging = Vec::new();
    for _ in 0..8 {
        hanging.push(clients.ask("/hang").await);
    }
    let mut last = clients.ask("/").await;
    while clients.count()[1] < 8 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(REFUSAL / 2).await;
    assert_eq!(clients.count(), [9, 8, 9], "the last one waits to be accepted");
    assert!(rest(&mut last).await.ends_with("crowded"));
    assert_eq!(begun.elapsed(), REFUSAL);
    for client in &mut hanging {
        assert_eq!(rest(client).await, "");
    }
    assert_eq!(clients.count()[..2], [10, 9]);
}

/// A listener without descriptors.
struct Failing;

impl Accept for Failing {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
        Err(io::Error::from_raw_os_error(24))
    }
}

#[tokio::test(start_paused = true)]
async fn accepts_that_fail_without_end_are_told_once_a_minute() {
    let mut told = tempfile::tempfile().unwrap();
    let writer = Arc::new(told.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let shared = Shared {
        options: Options::default(),
        counters: Arc::default(),
        shutdown: Shutdown::default(),
        cores: Cores::default(),
    };
    let serve = accept_from(Failing, tower::service_fn(answer), shared);
    assert!(timeout(Duration::from_secs(150), serve).await.is_err());
    told.rewind().unwrap();
    let words = io::read_to_string(told).unwrap();
    let times: Vec<u32> = words.lines().map(|line| line.rsplit_once("times=").unwrap().1.parse().unwrap()).collect();
    assert_eq!((times.len(), times[0]), (3, 1), "{words}");
    assert!(times[1] > 50 && times[2] > 50, "{words}");
}
