//! TLS in memory, on a paused clock: handshakes that come to nothing, protocols, and that time and ends are as without it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Answer, Content, Cores, Endless, GET, Seat, Told, echo};
use crate::delivery::{Gone, Peer};
use crate::net::connection::{self, Shared};
use crate::net::tls::Tls;
use crate::net::{Counters, Options};
use crate::shutdown::Shutdown;

/// A certificate of its own making, for `localhost`.
fn identity() -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
}

fn shared(identity: &Arc<CertifiedKey>) -> Arc<Shared> {
    let options = Options { tls: Some(Tls::new(Arc::clone(identity))), ..Options::default() };
    Arc::new(Shared { options, counters: Arc::default(), shutdown: Shutdown::default(), cores: Cores::default() })
}

const FROM: Option<SocketAddr> = Some(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1));

fn connector(identity: &CertifiedKey, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::clone(&identity.cert[0])).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(connector: &TlsConnector, io: DuplexStream) -> io::Result<TlsStream<DuplexStream>> {
    connector.connect(ServerName::try_from("localhost").unwrap(), io).await
}

/// Serves `server` by `echo` while `client` runs.
async fn with<T>(shared: &Arc<Shared>, client: impl Future<Output = T>, server: DuplexStream) -> T {
    let serve = connection::serve(server, FROM, Seat::default(), tower::service_fn(echo), Arc::clone(shared));
    tokio::join!(Box::pin(serve), client).1
}

fn failures(counters: &Counters) -> u64 {
    counters.tls_handshake_failures.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_the_time_of_a_head_and_whoever_says_nothing_is_closed_without_words() {
    // A record of the handshake of 512 bytes, of which the first few come.
    for (sent, counted) in [(&b""[..], 0), (b"\x16", 1), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 1)] {
        let (mut client, server) = duplex(1024);
        let shared = shared(&identity());
        let talk = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            client.write_all(sent).await.unwrap();
            let begun = Instant::now();
            let mut told = Vec::new();
            client.read_to_end(&mut told).await.unwrap();
            (told, begun.elapsed().as_secs())
        };
        let waited = if sent.is_empty() { 5 } else { 10 };
        assert_eq!(with(&shared, talk, server).await, (Vec::new(), waited), "{sent:?}");
        assert_eq!(failures(&shared.counters), counted, "{sent:?}");
        assert_eq!(shared.counters.head_timeouts.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn plain_http_is_told_so_and_anything_else_is_closed() {
    for (sent, words) in
        [(GET, "This port speaks TLS"), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "https://"), (b"\0\x01", "")]
    {
        let (mut client, server) = duplex(1024);
        let shared = shared(&identity());
        let talk = async {
            client.write_all(sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            told
        };
        let told = with(&shared, talk, server).await;
        assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{told}");
        assert!(words.is_empty() || told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
        assert_eq!(failures(&shared.counters), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_trust_leaves_and_is_counted() {
    let (client, server) = duplex(16 * 1024);
    let shared = shared(&identity());
    let connector = connector(&identity(), &[]);
    let refused = with(&shared, connect(&connector, client), server).await;
    assert!(refused.unwrap_err().to_string().contains("certificate"));
    assert_eq!(failures(&shared.counters), 1);
}

#[tokio::test(start_paused = true)]
async fn a_protocol_is_agreed_on_if_the_client_names_any() {
    let identity = identity();
    let check = async |offered: &[&[u8]], agreed: Option<Option<&[u8]>>| {
        let (client, server) = duplex(16 * 1024);
        let shared = shared(&identity);
        let connector = connector(&identity, offered);
        let talk = async {
            let stream = connect(&connector, client).await.ok()?;
            Some(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
        };
        let told = with(&shared, talk, server).await;
        assert_eq!(told.as_ref().map(Option::as_deref), agreed, "{offered:?}");
    };
    check(&[b"http/1.1", b"h2"], Some(Some(b"h2"))).await;
    check(&[b"http/1.1"], Some(Some(b"http/1.1"))).await;
    check(&[b"http/1.0"], Some(Some(b"http/1.0"))).await;
    check(&[], Some(None)).await;
    check(&[b"smtp"], None).await;
}

#[tokio::test(start_paused = true)]
async fn heads_are_refused_over_tls_in_the_same_words() {
    let identity = identity();
    let large = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(70_000));
    for (head, status) in [("GET / HT", 408), (large.as_str(), 431), ("A B\r\n\r\n", 400), ("PRI * HT", 408)] {
        let (client, server) = duplex(1024);
        let shared = shared(&identity);
        let talk = async {
            let (mut reading, mut writing) =
                tokio::io::split(connect(&connector(&identity, &[]), client).await.unwrap());
            let mut told = String::new();
            let write = async {
                let _ = writing.write_all(head.as_bytes()).await;
                let _ = writing.flush().await; // To the client it is written once TLS holds it.
            };
            tokio::join!(write, async { reading.read_to_string(&mut told).await.unwrap() });
            told
        };
        let told = with(&shared, talk, server).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        assert!(told.contains("\r\nconnection: close\r\n") && !told.contains("TLS"), "{told}");
        assert_eq!(failures(&shared.counters), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_with_the_end_of_tls() {
    let identity = identity();
    let (client, server) = duplex(1024);
    let talk = async {
        let mut stream = connect(&connector(&identity, &[]), client).await.unwrap();
        stream.write_all(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap(); // It would fail if the end were the socket's alone.
        told
    };
    let told = with(&shared(&identity), talk, server).await;
    assert!(told.starts_with("HTTP/1.0 200 OK\r\n") && told.ends_with("\r\n\r\nhello"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn unix_sockets_are_plain() {
    let (mut client, server) = duplex(1024);
    let shared = shared(&identity());
    let serve = connection::serve(server, None, Seat::default(), tower::service_fn(echo), shared);
    let talk = async {
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        super::rest(&mut client).await
    };
    let ((), told) = tokio::join!(serve, talk);
    assert!(told.starts_with("HTTP/1.0 200 OK\r\n"), "{told}");
}

/// Reads a stream's beginning through a pipe of so many bytes, has it go on with one piece of 5000, and leaves it as `leave`
/// does; gives how and when that was seen.
async fn left(pipe: usize, leave: impl AsyncFnOnce(TlsStream<DuplexStream>)) -> (Gone, u64) {
    let identity = identity();
    let (client, server) = duplex(pipe);
    let (ended, mut endings) = mpsc::unbounded_channel();
    let more = Arc::new(Notify::new());
    let told = Arc::clone(&more);
    let service = tower::service_fn(move |request: Request<Content>| {
        let guard = Told(Arc::clone(request.extensions().get::<Arc<Peer>>().unwrap()), ended.clone());
        let more = Arc::clone(&told);
        let frames = async_stream::stream! {
            let _guard = guard;
            yield Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"begun")));
            more.notified().await;
            yield Ok(Frame::data(Bytes::from_static(&[b'x'; 5000])));
            pending::<()>().await;
        };
        std::future::ready(Answer::Ok(Response::new(StreamBody::new(frames).boxed_unsync())))
    });
    let serve = connection::serve(server, FROM, Seat::default(), service, shared(&identity));
    let begun = Instant::now();
    let talk = async {
        let mut stream = connect(&connector(&identity, &[]), client).await.unwrap();
        stream.write_all(GET).await.unwrap();
        stream.flush().await.unwrap();
        let mut told = Vec::new();
        while !told.ends_with(b"begun\r\n") {
            stream.read_buf(&mut told).await.unwrap();
        }
        more.notify_one();
        leave(stream).await;
    };
    let seen = async { (endings.recv().await.unwrap(), begun.elapsed().as_secs()) };
    tokio::join!(Box::pin(serve), talk, seen).2
}

const WIDE: usize = 16 * 1024;

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_with_or_without_the_end_of_tls_has_closed() {
    // Held until the gateway has closed too: only TLS has said that it ends.
    let half = async |mut stream: TlsStream<DuplexStream>| {
        stream.get_mut().1.send_close_notify();
        stream.flush().await.unwrap();
        let (io, _) = stream.get_mut();
        while io.read(&mut [0; 100]).await.unwrap() > 0 {}
    };
    assert_eq!(left(WIDE, half).await, (Gone::Closed, 0));
    assert_eq!(left(WIDE, async |mut stream| stream.shutdown().await.unwrap()).await, (Gone::Closed, 0));
    assert_eq!(left(WIDE, async |stream| drop(stream)).await, (Gone::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_the_rules_of_tls_has_failed() {
    let broken = async |mut stream: TlsStream<DuplexStream>| {
        let (io, _) = stream.get_mut();
        io.write_all(b"\x17\x03\x03\x00\x20not encrypted by any key of TLS!").await.unwrap();
        while io.read(&mut [0; 100]).await.unwrap() > 0 {}
    };
    assert_eq!(left(WIDE, broken).await, (Gone::Failed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_costs_little_and_ends_as_stalled() {
    let identity = identity();
    for (frame, most) in [(100, 40_000), (10_000, 50_000), (1_000_000, 1_000_000)] {
        let (client, server) = duplex(1024);
        let (ended, mut endings) = mpsc::unbounded_channel();
        let endless = Arc::new(Endless { pulled: Arc::default(), ended });
        let (pulled, shared) = (Arc::clone(&endless.pulled), shared(&identity));
        let service = tower::service_fn(move |request| std::future::ready(endless.answer(&request, frame)));
        let begun = Instant::now();
        let talk = async {
            let mut stream = connect(&connector(&identity, &[]), client).await.unwrap();
            stream.write_all(GET).await.unwrap();
            assert_eq!(endings.recv().await, Some(Gone::Stalled));
        };
        tokio::join!(Box::pin(connection::serve(server, FROM, Seat::default(), service, Arc::clone(&shared))), talk);
        assert_eq!(begun.elapsed().as_secs(), 120);
        assert_eq!(shared.counters.stalled.load(Ordering::Relaxed), 1);
        let pulled = pulled.load(Ordering::Relaxed);
        assert!(pulled <= most, "{pulled} bytes were taken from a body of {frame} a frame");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_seen_also_while_all_that_was_written_waits_encrypted() {
    // Less than TLS holds: to hyper all is written, and only the flush waits.
    let holds = async |stream: TlsStream<DuplexStream>| {
        tokio::time::sleep(Duration::from_secs(1000)).await;
        drop(stream);
    };
    assert_eq!(left(64, holds).await, (Gone::Stalled, 120));
    let slow = async |mut stream: TlsStream<DuplexStream>| {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(119)).await;
            stream.get_mut().0.read_exact(&mut [0; 64]).await.unwrap();
        }
    };
    assert_eq!(left(64, slow).await, (Gone::Closed, 20 * 119));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_resumed_by_a_ticket_until_the_certificate_is_another() {
    let first = identity();
    let shared = shared(&first);
    let tls = shared.options.tls.clone().unwrap();
    let connector = connector(&first, &[]);
    let kind = async || {
        let (client, server) = duplex(16 * 1024);
        let talk = async {
            let mut stream = connect(&connector, client).await?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
            stream.read_to_end(&mut Vec::new()).await?;
            io::Result::Ok(stream.get_ref().1.handshake_kind())
        };
        with(&shared, talk, server).await
    };
    assert_eq!(kind().await.unwrap(), Some(HandshakeKind::Full));
    assert_eq!(kind().await.unwrap(), Some(HandshakeKind::Resumed));
    tls.replace(Arc::clone(&first)); // It is read again with every reload.
    assert_eq!(kind().await.unwrap(), Some(HandshakeKind::Resumed));
    tls.replace(identity());
    assert!(kind().await.is_err(), "the client does not trust the new certificate");
    tls.replace(first);
    assert_eq!(kind().await.unwrap(), Some(HandshakeKind::Full));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_heard_for_a_second_after_the_end_has_begun() {
    let identity = identity();
    for (waits, served) in [(900, true), (1100, false)] {
        let (client, server) = duplex(16 * 1024);
        let shared = shared(&identity);
        shared.shutdown.drain();
        let talk = async {
            tokio::time::sleep(Duration::from_millis(waits)).await;
            let mut stream = connect(&connector(&identity, &[]), client).await.ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
            stream.read_to_end(&mut Vec::new()).await.ok()
        };
        assert_eq!(with(&shared, talk, server).await.is_some(), served, "after {waits} ms");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_make_a_handshake_panic_or_stay(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        record in any::<bool>(),
        cut in 1_usize..400,
    ) {
        if record {
            // A record of the handshake, a ClientHello in it, as long as what comes.
            let length = u16::try_from(bytes.len() + 4).unwrap().to_be_bytes();
            let hello = [1, 0, length[0], length[1].wrapping_sub(4)];
            bytes = [&[22, 3, 1, length[0], length[1]][..], &hello, &bytes].concat();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = duplex(1024);
            let talk = async {
                for piece in bytes.chunks(cut) {
                    if client.write_all(piece).await.is_err() {
                        break;
                    }
                }
                let _ = client.shutdown().await;
                let _ = client.read_to_end(&mut Vec::new()).await;
            };
            let shared = shared(&FIXED.with(Arc::clone));
            tokio::time::timeout(Duration::from_secs(100), with(&shared, talk, server)).await.unwrap();
            shared.shutdown.finish(Duration::ZERO).await;
        });
    }
}

thread_local! {
    /// One certificate for many cases.
    static FIXED: Arc<CertifiedKey> = identity();
}
