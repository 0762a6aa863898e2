//! Publishes past hyper, in memory and on a paused clock: the same answers as by hyper, and the same ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Answer, Content, Endless, GET, Seat, echo, rest, shared, whole};
use crate::delivery::Gone;
use crate::net::express::AT_ONCE;
use crate::net::{RawHead, connection};

const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";

/// Serves a connection by `service` while `talk` runs: in a task of its own, which nothing wakes but what should.
macro_rules! served {
    ($server:expr, $service:expr, $shared:expr, $talk:expr) => {{
        let serve = connection::serve($server, None, Seat::default(), $service, Arc::clone(&$shared));
        let serving = spawned(serve);
        let came = $talk.await;
        serving.await.unwrap();
        came
    }};
}

#[expect(clippy::disallowed_methods, reason = "who spawns it waits for it")]
fn spawned(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

/// The answers to these bytes if hyper reads them all: it does not begin with a part of a method.
async fn by_hyper(bytes: &[u8]) -> String {
    answers(&[&bytes[..1], &bytes[1..]]).await
}

/// The answers to these pieces, each of which is read before the next one comes.
async fn answers(pieces: &[&[u8]]) -> String {
    let (mut client, server) = duplex(1 << 16);
    let talk = async {
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What waits for content that never comes waits for good: that is the service's affair.
        let (mut answers, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(100), client.read(&mut piece)).await {
            answers.extend_from_slice(&piece[..read]);
        }
        drop(client);
        String::from_utf8(answers).unwrap()
    };
    let answers = served!(server, tower::service_fn(told), shared(), talk);
    // Dates are by the clock of the machine, and the order of fields means nothing.
    let mut lines: Vec<_> = answers.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    for head in lines.split_mut(|line| line.is_empty()) {
        head.sort_unstable();
    }
    lines.join("\n")
}

/// Answers with all that is known of a request, sized or in chunks.
async fn told(request: Request<Content>) -> Answer {
    let (parts, body) = request.into_parts();
    let raw = parts.extensions.get::<RawHead>().unwrap().as_bytes().len();
    let content = body.collect().await.map(http_body_util::Collected::to_bytes);
    let known = format!("{} {} {:?} {raw} {content:?}\r\n", parts.method, parts.uri, parts.headers);
    if parts.uri.path() != "/chunks" {
        let length = HeaderValue::from(known.len());
        let mut answer = whole(known)?;
        if parts.method == Method::PUT {
            answer.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        return Ok(answer);
    }
    let middle = known.len() / 2;
    let pieces = [known[..middle].to_owned(), String::new(), known[middle..].to_owned()];
    let frames = tokio_stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece)))));
    Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
}

/// How many turns others have while so many of these requests, which came all at once, are answered.
fn turns(request: &[u8], count: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = duplex(1 << 20);
        let requests = request.repeat(count);
        client.write_all(&requests).await.unwrap();
        client.shutdown().await.unwrap();
        let serve = connection::serve(server, None, Seat::default(), tower::service_fn(echo), shared());
        let turns = AtomicUsize::new(0);
        let others = async {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = serve => {}
            () = others => {}
        }
        turns.into_inner()
    })
}

#[test]
fn others_have_a_turn_after_few_requests_that_came_all_at_once() {
    let by_hyper = [GET, b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, x\r\nContent-Length: 2\r\n\r\nhi"];
    for request in by_hyper.into_iter().chain([POST]) {
        let (turns, most) = (turns(request, 1000), 1000 / AT_ONCE);
        // The peer's end is seen while some are unanswered yet, and what is not answered then is not any more.
        assert!((most / 2..2 * most).contains(&turns), "{turns} turns of {}", String::from_utf8_lossy(request));
    }
}

fn request() -> impl Strategy<Value = String> {
    let method = prop_oneof![8 => Just("POST"), 2 => Just("PUT"), 1 => Just("GET"), 1 => Just("post")];
    let path = prop_oneof![6 => Just("/a?b=c"), 3 => Just("/chunks"), 1 => Just("*"), 1 => Just("/a b"), 1 => Just("http://h/x")];
    let field = prop_oneof![
        Just("X: y\r\n"),
        Just("x:  y  \r\n"),
        Just("Connection: keep-alive\r\n"),
        Just("Connection: close\r\n"),
        Just("X : y\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Expect: 100-continue\r\n"),
        Just("X: \u{e9}\r\n"),
    ];
    let fields = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(field, 1..3)];
    let version = prop_oneof![9 => Just("1.1"), 1 => Just("1.0")];
    (method, path, fields, version, "[a-z]{0,20}").prop_map(|(method, path, fields, version, content)| {
        let length = content.len();
        format!(
            "{method} {path} HTTP/{version}\r\nHost: h\r\n{}Content-Length: {length}\r\n\r\n{content}",
            fields.concat()
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_said_is_answered_as_hyper_does(
        requests in prop::collection::vec(request(), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = requests.concat().into_bytes();
        let (first, second) = bytes.split_at(cut.index(bytes.len()).max(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let (expected, at_once, cut) =
            runtime.block_on(async { (by_hyper(&bytes).await, answers(&[&bytes]).await, answers(&[first, second]).await) });
        prop_assert_eq!(&at_once, &expected);
        prop_assert_eq!(&cut, &expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_publishes_may_be_idle_as_long_as_any() {
    let (mut client, server) = duplex(1024);
    let talk = async {
        for wait in [0, 74, 70] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            client.write_all(POST).await.unwrap();
            let mut answer = [0; 1024];
            let read = client.read(&mut answer).await.unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n") && answer[..read].ends_with(b"\r\n\r\nhi"));
        }
        let since = Instant::now();
        assert_eq!(rest(&mut client).await, "");
        since.elapsed().as_secs()
    };
    assert_eq!(served!(server, tower::service_fn(echo), shared(), talk), 75);
}

#[tokio::test(start_paused = true)]
async fn other_requests_go_to_hyper_with_their_own_limits() {
    let check = async |last: &[u8], seconds: u64, words: &str| {
        let (mut client, server) = duplex(1024);
        let talk = async {
            client.write_all(&[POST, POST, last].concat()).await.unwrap();
            let since = Instant::now();
            (rest(&mut client).await, since.elapsed().as_secs())
        };
        let (answers, took) = served!(server, tower::service_fn(echo), shared(), talk);
        assert_eq!(answers.matches("\r\n\r\nhi").count(), 2, "{answers}");
        assert_eq!((took, answers.matches(words).count()), (seconds, 1), "{answers}");
    };
    check(GET, 75, "content-length: 0").await;
    check(b"POST /a HT", 10, "HTTP/1.1 408 ").await;
    check(b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nh\r\n", 75, "\r\n\r\nh\r").await;
    check(b"POST nonsense\r\n\r\n", 0, "HTTP/1.1 400 ").await;
}

/// Says one thing, and gives what is answered to it.
async fn ask(client: &mut DuplexStream) -> String {
    client.write_all(POST).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = client.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..read].to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_connection_when_its_request_is_answered() {
    for busy in [false, true] {
        let (mut client, server) = duplex(1024);
        let shared = shared();
        let service = tower::service_fn(move |request| async move {
            if busy {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            echo(request).await
        });
        let begin_end = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            shared.shutdown.drain();
        };
        let talk = async {
            let ((), answer) = tokio::join!(begin_end, ask(&mut client));
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert_eq!(answer.contains("\r\nconnection: close\r\n"), busy, "{answer}");
            assert_eq!(rest(&mut client).await, "");
        };
        let begun = Instant::now();
        let talk = async {
            talk.await;
            begun.elapsed().as_millis()
        };
        assert_eq!(served!(server, service, shared, talk), if busy { 1000 } else { 500 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_being_served_ends_when_its_peer_leaves_or_is_cut() {
    for cut in [false, true] {
        let (mut client, server) = duplex(1024);
        let (dropped, mut drops) = mpsc::unbounded_channel();
        let shared = shared();
        let service = tower::service_fn(move |_: Request<Content>| {
            let guard = Guard(dropped.clone());
            async move {
                let _guard = guard;
                std::future::pending::<Answer>().await
            }
        });
        let begun = Instant::now();
        let talk = async {
            client.write_all(POST).await.unwrap();
            client.write_all(b"and more").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if cut {
                shared.shutdown.finish(Duration::ZERO).await;
            } else {
                drop(client);
            }
            drops.recv().await.unwrap();
        };
        served!(server, service, shared, talk);
        assert_eq!(begun.elapsed().as_secs(), 1);
    }
}

struct Guard(mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_goes_on_while_it_is_taken_and_ends_as_stalled() {
    for frame in [100, 10_000, 1_000_000] {
        let (mut client, server) = duplex(1024);
        let (ended, mut endings) = mpsc::unbounded_channel();
        let endless = Arc::new(Endless { pulled: Arc::default(), ended });
        let pulled = Arc::clone(&endless.pulled);
        let service = tower::service_fn(move |request| std::future::ready(endless.answer(&request, frame)));
        let talk = async {
            client.write_all(POST).await.unwrap();
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(119)).await;
                client.read_exact(&mut [0; 1024]).await.unwrap();
            }
            let since = Instant::now();
            assert_eq!(endings.recv().await, Some(Gone::Stalled));
            since.elapsed().as_secs()
        };
        assert_eq!(served!(server, service, shared(), talk), 120);
        let pulled = pulled.load(std::sync::atomic::Ordering::Relaxed);
        assert!(pulled <= 12 * 1024 + super::super::outbound::AHEAD + 2 * frame, "{pulled} bytes of {frame} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_whole_or_seen_not_to_be() {
    let answer = |status: StatusCode, fails: bool, closes: bool| {
        move |_: Request<Content>| {
            let end = if fails { Err(std::io::Error::other("it ended")) } else { Ok(Frame::data(Bytes::new())) };
            let frames = [Ok(Frame::data(Bytes::from_static(b"content"))), end];
            let mut answer = Response::new(StreamBody::new(tokio_stream::iter(frames)));
            *answer.status_mut() = status;
            if closes {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            std::future::ready(Ok::<_, Infallible>(answer))
        }
    };
    for (status, fails, closes, end) in [
        (StatusCode::OK, false, true, "\r\n\r\n7\r\ncontent\r\n0\r\n\r\n"),
        (StatusCode::OK, true, false, "\r\n\r\n"),
        (StatusCode::NO_CONTENT, false, true, "\r\n\r\n"),
    ] {
        let (mut client, server) = duplex(1024);
        let talk = async {
            client.write_all(POST).await.unwrap();
            rest(&mut client).await
        };
        let answer = served!(server, tower::service_fn(answer(status, fails, closes)), shared(), talk);
        let (_, content) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(answer.is_empty() && fails || format!("\r\n\r\n{content}") == end, "{status}: {answer}");
        assert_eq!(answer.contains("connection: close"), closes, "{answer}");
    }
}
