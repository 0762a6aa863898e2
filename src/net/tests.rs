//! Connections in memory, on a paused clock: everything that is about time, and bytes that no client would send.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use proptest::prelude::*;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::either::Either;

use super::connection::{self, Seat, Shared};
use super::listener::{Accept, accept_from};
use super::socket::Listeners;
use super::{Content, Cores, Counters, Listener, Local, Options};
use crate::delivery::{Gone, Peer};
use crate::shutdown::Shutdown;

mod express;
mod http2;
mod tls;

type Answer = Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible>;

fn whole(content: impl Into<Bytes>) -> Answer {
    Ok(Response::new(Full::new(content.into()).boxed_unsync()))
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        options: Options::default(),
        counters: Arc::default(),
        shutdown: Shutdown::default(),
        cores: Cores::default(),
    })
}

/// Answers with the body it got.
async fn echo(request: Request<Content>) -> Answer {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    whole(body)
}

/// Serves `server` by `echo` while `client` runs.
async fn with<T>(shared: &Arc<Shared>, client: impl Future<Output = T>, server: DuplexStream) -> T {
    let serve = connection::serve(server, None, Seat::default(), tower::service_fn(echo), Arc::clone(shared));
    tokio::join!(serve, client).1
}

async fn rest(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_closed_without_words() {
    let (mut client, server) = duplex(1024);
    let (begun, shared) = (Instant::now(), shared());
    assert_eq!(with(&shared, rest(&mut client), server).await, "");
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(shared.counters.head_timeouts.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_is_heard_for_a_second_after_the_end_has_begun() {
    for (waits, words) in [(0, "HTTP/1.1 200 OK"), (900, "HTTP/1.1 200 OK"), (1100, "")] {
        let (mut client, server) = duplex(1024);
        let shared = shared();
        shared.shutdown.drain();
        let talk = async {
            tokio::time::sleep(Duration::from_millis(waits)).await;
            let _ = client.write_all(GET).await;
            rest(&mut client).await
        };
        let answer = with(&shared, talk, server).await;
        assert!(answer.starts_with(words) && answer.is_empty() == words.is_empty(), "after {waits} ms: {answer}");
    }
    let (mut client, server) = duplex(1024);
    let (begun, shared) = (Instant::now(), shared());
    let cut = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        shared.shutdown.finish(Duration::ZERO).await;
        rest(&mut client).await
    };
    assert_eq!(with(&shared, cut, server).await, "");
    assert_eq!(begun.elapsed().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_not_complete_in_time_is_answered_408() {
    for part in ["P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"] {
        let (mut client, server) = duplex(1024);
        let shared = shared();
        let talk = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            client.write_all(part.as_bytes()).await.unwrap();
            let begun = Instant::now();
            let answer = rest(&mut client).await;
            (answer, begun.elapsed().as_secs())
        };
        let (answer, seconds) = with(&shared, talk, server).await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{part:?}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.ends_with("}") && answer.contains("\"status\":408"), "{answer}");
        assert_eq!(seconds, 10, "{part:?}");
        assert_eq!(shared.counters.head_timeouts.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_trickle_do_not_win_time() {
    let (mut client, server) = duplex(1024);
    let shared = shared();
    let talk = async {
        let begun = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while begun.elapsed() < Duration::from_millis(9500) {
            client.write_all(b"A: b\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        (rest(&mut client).await, begun.elapsed().as_secs())
    };
    let (answer, seconds) = with(&shared, talk, server).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(seconds, 10);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_words_and_a_slow_second_head_with_408() {
    for (second, limit, words) in [("", 75, ""), ("GET", 10, "HTTP/1.1 408 "), ("\r\n", 75, "")] {
        let (mut client, server) = duplex(1024);
        let talk = async {
            client.write_all(GET).await.unwrap();
            let mut answer = [0; 1024];
            let read = client.read(&mut answer).await.unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
            client.write_all(second.as_bytes()).await.unwrap();
            let since = Instant::now();
            (rest(&mut client).await, since.elapsed().as_secs())
        };
        let (answer, seconds) = with(&shared(), talk, server).await;
        assert!(answer.starts_with(words) && answer.is_empty() == words.is_empty(), "{second:?}: {answer}");
        assert_eq!(seconds, limit, "{second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipelined_head_has_its_whole_time_after_the_answer_before_it() {
    let (mut client, server) = duplex(1024);
    let service = tower::service_fn(|_: Request<Content>| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        whole(Bytes::new())
    });
    let begun = Instant::now();
    let talk = async {
        client.write_all(&[GET, b"GET"].concat()).await.unwrap();
        let answers = rest(&mut client).await;
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n") && answers.contains("\nHTTP/1.1 408 "), "{answers}");
        assert_eq!(begun.elapsed().as_secs(), 70);
    };
    tokio::join!(connection::serve(server, None, Seat::default(), service, shared()), talk);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_answer_is_still_being_taken_is_not_idle() {
    // 1. The service answers before it has read the request. 2. The client does not take all of the answer. 3. It sends
    // the rest of its request: for hyper the exchange is over, and its head timer starts.
    let (mut client, server) = duplex(1024);
    let (bodies, mut body) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: Request<Content>| {
        bodies.send(request.into_body()).unwrap();
        std::future::ready(whole(vec![b'x'; 5000]))
    });
    let talk = async {
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
        let mut body: Content = body.recv().await.unwrap();
        client.read_exact(&mut [0; 1]).await.unwrap();
        client.write_all(b"llo").await.unwrap();
        while !body.is_end_stream() {
            body.frame().await.unwrap().unwrap(); // To its last byte; hyper tells its end only with the next request.
        }
        tokio::time::sleep(Duration::from_secs(100)).await; // Longer than `keep_alive`, shorter than `stall`.
        let since = Instant::now();
        let answer = rest(&mut client).await;
        (answer, since.elapsed().as_secs())
    };
    let ((), (answer, seconds)) =
        tokio::join!(connection::serve(server, None, Seat::default(), service, shared()), talk);
    assert!(answer.ends_with(&format!("\r\n\r\n{}", "x".repeat(5000))), "{} bytes", answer.len());
    assert_eq!(seconds, 75);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_come_when_the_end_begins_is_answered() {
    for _ in 0..20 {
        let (mut client, server) = duplex(1024);
        let shared = shared();
        client.write_all(GET).await.unwrap();
        shared.shutdown.drain();
        let answer = with(&shared, rest(&mut client), server).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
}

/// The other end of a stream without end: pulls are counted, and its drop tells how the peer went.
struct Endless {
    pulled: Arc<AtomicUsize>,
    ended: mpsc::UnboundedSender<Gone>,
}

impl Endless {
    fn answer(&self, request: &Request<Content>, frame: usize) -> Answer {
        let peer = Arc::clone(request.extensions().get::<Arc<Peer>>().unwrap());
        let (guard, pulled) = (Told(peer, self.ended.clone()), Arc::clone(&self.pulled));
        let frames = async_stream::stream! {
            let _guard = guard;
            loop {
                pulled.fetch_add(frame, Ordering::Relaxed);
                yield Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; frame])));
            }
        };
        Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
    }
}

struct Told(Arc<Peer>, mpsc::UnboundedSender<Gone>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.gone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_costs_little_and_ends_as_stalled() {
    for frame in [100, 10_000, 1_000_000] {
        let (mut client, server) = duplex(1024);
        let (ended, mut endings) = mpsc::unbounded_channel();
        let endless = Arc::new(Endless { pulled: Arc::default(), ended });
        let (pulled, shared) = (Arc::clone(&endless.pulled), shared());
        let service = tower::service_fn(move |request| std::future::ready(endless.answer(&request, frame)));
        let begun = Instant::now();
        let serve = connection::serve(server, None, Seat::default(), service, Arc::clone(&shared));
        let talk = async {
            client.write_all(GET).await.unwrap();
            assert_eq!(endings.recv().await, Some(Gone::Stalled));
        };
        tokio::join!(serve, talk);
        assert_eq!(begun.elapsed().as_secs(), 120);
        assert_eq!(shared.counters.stalled.load(Ordering::Relaxed), 1);
        let pulled = pulled.load(Ordering::Relaxed);
        assert!(pulled <= super::outbound::AHEAD + 1024 + 2 * frame, "{pulled} bytes in frames of {frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_a_little_now_and_then_is_not_stalled() {
    let (mut client, server) = duplex(1024);
    let (ended, mut endings) = mpsc::unbounded_channel();
    let endless = Arc::new(Endless { pulled: Arc::default(), ended });
    let shared = shared();
    let service = tower::service_fn(move |request| std::future::ready(endless.answer(&request, 500)));
    let serve = connection::serve(server, None, Seat::default(), service, Arc::clone(&shared));
    let talk = async move {
        client.write_all(GET).await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(119)).await;
            client.read_exact(&mut [0; 1024]).await.unwrap();
        }
        drop(client);
        assert_eq!(endings.recv().await, Some(Gone::Closed));
    };
    tokio::join!(serve, talk);
    assert_eq!(shared.counters.stalled.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_arrives_whole_through_small_pieces() {
    let (mut client, server) = duplex(1000);
    let body: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let request = format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let talk = async {
        client.write_all(request.as_bytes()).await.unwrap();
        client.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = with(&shared(), talk, server).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(answer.ends_with(&body) && answer.len() < body.len() + 200);
}

#[tokio::test(start_paused = true)]
async fn content_that_is_answered_while_it_is_read_flows() {
    let (mut client, server) = duplex(1024);
    let reflect =
        |request: Request<Content>| std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())));
    let talk = async {
        for pieces in [1, 10, 100] {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 700 * pieces);
            client.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(client.read_u8().await.unwrap());
            }
            for _ in 0..pieces {
                client.write_all(&[b'x'; 700]).await.unwrap();
                client.read_exact(&mut [0; 700]).await.unwrap();
            }
        }
        drop(client);
    };
    tokio::join!(connection::serve(server, None, Seat::default(), tower::service_fn(reflect), shared()), talk);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_on_behind_an_open_answer_is_read_a_little_ahead_and_ends_after_the_stall_time() {
    let (mut client, server) = duplex(64);
    let peers = Arc::new(std::sync::Mutex::new(None));
    let seen = Arc::clone(&peers);
    let service = tower::service_fn(move |request: Request<Content>| {
        *seen.lock().unwrap() = request.extensions().get::<Arc<Peer>>().cloned();
        std::future::ready(Ok::<_, Infallible>(Response::new(
            StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>()).boxed_unsync(),
        )))
    });
    let begun = Instant::now();
    let talk = async {
        client.write_all(GET).await.unwrap();
        let mut sent = 0;
        while let Ok(more) = client.write(&[b'x'; 16]).await {
            sent += more;
        }
        sent
    };
    let ((), sent) = tokio::join!(connection::serve(server, None, Seat::default(), service, shared()), talk);
    assert_eq!(begun.elapsed().as_secs(), 120);
    assert_eq!(sent, 8 * 1024 + 64, "what is read ahead, and the pipe");
    assert_eq!(peers.lock().unwrap().as_ref().unwrap().gone(), Gone::Failed);
}

/// Connections and errors as a test wants them, then none.
struct Scripted {
    script: VecDeque<io::Result<DuplexStream>>,
    asked: Arc<AtomicU64>,
}

impl Accept for Scripted {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.script.pop_front() {
            Some(accepted) => accepted.map(|io| (io, None)),
            None => pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn accept_errors_are_counted_and_neither_end_the_loop_nor_spin() {
    let (mut client, server) = duplex(1024);
    let emfile = || Err(io::Error::from_raw_os_error(24));
    let aborted = Err(io::ErrorKind::ConnectionAborted.into());
    let script = [emfile(), emfile(), emfile(), emfile(), aborted, Ok(server)].into();
    let sockets = Scripted { script, asked: Arc::default() };
    let (counters, shutdown) = (Arc::<Counters>::default(), Shutdown::default());
    let shared = Shared {
        options: Options::default(),
        counters: Arc::clone(&counters),
        shutdown: shutdown.clone(),
        cores: Cores::default(),
    };
    let begun = Instant::now();
    let talk = async {
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        drop(client);
        assert!(shutdown.finish(Duration::from_secs(5)).await);
    };
    tokio::join!(accept_from(sockets, tower::service_fn(echo), shared), talk);
    assert_eq!(counters.accept_errors.load(Ordering::Relaxed), 5);
    // 10 + 20 + 40 + 80 ms; the aborted connection costs no pause.
    assert_eq!(begun.elapsed().as_millis(), 150);
}

#[tokio::test]
async fn accepted_sockets_send_at_once_keep_little_unsent_and_find_peers_that_are_gone() {
    let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { notsent_lowat: 12_345, ..Options::default() };
    let own = Listener::tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    for listener in [own, Listener::passed_tcp(passed).unwrap()] {
        let Local::Tcp(address) = listener.place().unwrap() else { panic!("an address") };
        let mut sockets = Listeners { listeners: vec![listener], notsent_lowat: 12_345, first: 0 };
        let (accepted, client) = tokio::join!(sockets.accept(), TcpStream::connect(address));
        let (Either::Left(socket), from) = accepted.unwrap() else { panic!("a TCP socket") };
        assert_eq!(from, Some(client.unwrap().local_addr().unwrap()));
        assert!(socket.nodelay().unwrap());
        assert!(SockRef::from(&socket).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(&socket);
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 12_345);
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        }
    }
}

#[tokio::test]
async fn several_listeners_take_turns_and_a_peer_of_a_unix_socket_has_no_address() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let options = Options::default();
    let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let Local::Tcp(address) = tcp.place().unwrap() else { panic!("an address") };
    let unix = Listener::unix(&path, 0o600, &options).unwrap();
    let mut sockets = Listeners { listeners: vec![tcp, unix], notsent_lowat: 12_345, first: 0 };
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Either::Left(TcpStream::connect(address).await.unwrap()));
        clients.push(Either::Right(tokio::net::UnixStream::connect(&path).await.unwrap()));
    }
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(sockets.accept().await.unwrap().1.is_some());
    }
    assert_eq!(came.iter().filter(|tcp| **tcp).count(), 3, "{came:?}");
    assert!(came.windows(2).any(|pair| pair[0] != pair[1]) && came[..3].contains(&false), "{came:?}");
}

/// What a hostile or broken client may send: pieces of sense, and noise.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let sense = prop_oneof![
        Just(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        Just(b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
        Just(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        // HEADERS with a request, END_STREAM and END_HEADERS: GET, http, /.
        Just(b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(vec![b'A'; 70_000]),
    ];
    prop_oneof![4 => sense, 1 => proptest::collection::vec(any::<u8>(), 0..300)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_make_a_connection_panic_or_stay(
        pieces in proptest::collection::vec(noise(), 1..6),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 1_usize..5000,
        leaves in any::<bool>(),
    ) {
        let mut bytes = pieces.concat();
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let shared = shared();
        runtime.block_on(async {
            let (client, server) = duplex(1024);
            let (mut reading, mut writing) = tokio::io::split(client);
            let talk = async {
                for piece in bytes.chunks(cut) {
                    if writing.write_all(piece).await.is_err() {
                        break;
                    }
                }
                if leaves {
                    let _ = writing.shutdown().await;
                }
            };
            let mut answers = Vec::new();
            let serve = connection::serve(server, None, Seat::default(), tower::service_fn(echo), Arc::clone(&shared));
            let ends = async { tokio::join!(serve, talk, reading.read_to_end(&mut answers)) };
            // A body that never comes is the service's affair: `echo` waits for it as long as its client stays.
            let in_time = tokio::time::timeout(Duration::from_secs(1000), ends).await.is_ok();
            assert!(in_time || !leaves, "a connection outlived its client");
            shared.shutdown.finish(Duration::ZERO).await; // Returns: no task of it is left.
        });
    }
}

#[tokio::test(start_paused = true)]
async fn bad_heads_are_answered_in_words_behind_whatever_was_asked_before() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    for (bad, status) in [("GET / HTTP/9.9\r\n\r\n", 400), ("A B\r\n\r\n", 400), (many.as_str(), 431)] {
        // A small pipe: the answer before it leaves in many pieces.
        for (before, pipe) in [(0, 1024), (1, 1024), (3, 64)] {
            let (mut client, server) = duplex(pipe);
            let shared = shared();
            let asked = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".repeat(before);
            let (mut reading, mut writing) = tokio::io::split(&mut client);
            let mut answers = String::new();
            let talk = async {
                let sent = [asked, bad.as_bytes().to_vec()].concat();
                let write = async { writing.write_all(&sent).await.unwrap() };
                tokio::join!(write, async { reading.read_to_string(&mut answers).await.unwrap() });
            };
            with(&shared, talk, server).await;
            assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), before, "{answers}");
            let (_, refusal) = answers.split_once(&format!("HTTP/1.1 {status} ")).unwrap();
            assert!(!refusal.contains("HTTP/1.1 4") && refusal.contains("\r\nx-content-type-options: nosniff\r\n"));
            assert!(refusal.ends_with('}') && refusal.contains(&format!("\"status\":{status}")), "{refusal}");
            let counted = [&shared.counters.bad_heads, &shared.counters.head_too_large];
            let counted = counted.map(|counter| counter.load(Ordering::Relaxed));
            assert_eq!(counted, if status == 400 { [1, 0] } else { [0, 1] });
        }
    }
}
