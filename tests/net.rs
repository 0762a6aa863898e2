//! The listener over real sockets: protocols, raw heads, how peers go, limits, and the end.
#![expect(clippy::unwrap_used, reason = "what cannot go on here is a failed test")]

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use bytes::Bytes;
use encke::delivery::{Gone, Peer};
use encke::net::{Counters, Listener, Local, Options, RawHead, serve};
use encke::shutdown::Shutdown;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

/// What the test sees of the service.
#[derive(Clone)]
struct App {
    /// Bytes for the next `/stream`.
    stream: Arc<Mutex<mpsc::Receiver<&'static str>>>,
    /// The peers of the streams that have begun.
    came: mpsc::UnboundedSender<Arc<Peer>>,
    /// How they went, as seen when the body was dropped.
    ended: mpsc::UnboundedSender<Gone>,
    /// Bytes asked of `/endless`.
    pulled: Arc<AtomicUsize>,
}

/// Tells at the end of a stream how its peer went.
struct Told(Arc<Peer>, mpsc::UnboundedSender<Gone>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.gone());
    }
}

fn peer(request: &Request) -> Arc<Peer> {
    Arc::clone(request.extensions().get::<Arc<Peer>>().unwrap())
}

impl App {
    fn came(&self, request: &Request) -> Told {
        let _ = self.came.send(peer(request));
        Told(peer(request), self.ended.clone())
    }
}

/// The raw head, then the body.
async fn echo(request: Request) -> Response {
    let head = request.extensions().get::<RawHead>().cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut answer = head.map(|head| head.as_bytes().to_vec()).unwrap_or_default();
    answer.extend_from_slice(&body);
    Response::new(answer.into())
}

async fn version(request: Request) -> String {
    format!("{:?} {}", request.version(), peer(&request).address().unwrap())
}

/// What the test sends, until it stops.
async fn stream(State(app): State<App>, request: Request) -> Response {
    let guard = app.came(&request);
    Response::new(Body::from_stream(async_stream::stream! {
        let _guard = guard;
        let mut stream = app.stream.lock().await;
        while let Some(bytes) = stream.recv().await {
            yield Ok::<_, Infallible>(Bytes::from(bytes));
        }
    }))
}

async fn endless(State(app): State<App>, request: Request) -> Response {
    let guard = app.came(&request);
    Response::new(Body::from_stream(async_stream::stream! {
        let _guard = guard;
        loop {
            app.pulled.fetch_add(4000, Ordering::Relaxed);
            yield Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4000]));
        }
    }))
}

async fn refuse() -> http::StatusCode {
    http::StatusCode::PAYLOAD_TOO_LARGE
}

async fn panics() {
    panic!("a bug in one request, on purpose");
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    counters: Arc<Counters>,
    serving: tokio::task::JoinSet<()>,
    chunks: mpsc::Sender<&'static str>,
    came: mpsc::UnboundedReceiver<Arc<Peer>>,
    ended: mpsc::UnboundedReceiver<Gone>,
    pulled: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        Self::with("127.0.0.1:0", Options::default())
    }

    fn with(address: &str, options: Options) -> Self {
        let (chunks, stream_from) = mpsc::channel(8);
        let (came_to, came) = mpsc::unbounded_channel();
        let (ended_to, ended) = mpsc::unbounded_channel();
        let pulled = Arc::<AtomicUsize>::default();
        let app = App {
            stream: Arc::new(Mutex::new(stream_from)),
            came: came_to,
            ended: ended_to,
            pulled: Arc::clone(&pulled),
        };
        let service = Router::new()
            .route("/echo", any(echo))
            .route("/version", get(version))
            .route("/stream", any(stream))
            .route("/endless", get(endless))
            .route("/refuse", post(refuse))
            .route("/panic", get(panics))
            .with_state(app);
        let listener = Listener::tcp(address.parse().unwrap(), &options).unwrap();
        let Ok(Local::Tcp(address)) = listener.place() else { panic!("an address") };
        let (shutdown, counters) = (Shutdown::default(), Arc::<Counters>::default());
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(serve(vec![listener], service, options, shutdown.clone(), Arc::clone(&counters)));
        Self { address, shutdown, counters, serving, chunks, came, ended, pulled }
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn ended(&mut self) -> Gone {
        within(self.ended.recv()).await.unwrap()
    }

    async fn came(&mut self) -> Arc<Peer> {
        within(self.came.recv()).await.unwrap()
    }

    /// Ends `/stream`.
    fn end_stream(&mut self) {
        self.chunks = mpsc::channel(1).0;
    }

    /// Begins the end, and waits until nothing is accepted any more.
    async fn drain(&mut self) {
        self.shutdown.drain();
        within(self.serving.join_next()).await.unwrap().unwrap();
    }

    /// Whether all connections ended by themselves.
    async fn finish(&self) -> bool {
        within(self.shutdown.finish(Duration::from_secs(10))).await
    }
}

/// A test that hangs fails.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// A client that speaks bytes.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads until `end` has come.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            text.push(within(self.0.read_u8()).await.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&text));
            }));
        }
        String::from_utf8(text).unwrap()
    }

    /// An answer of known length: its head and body.
    async fn answer(&mut self) -> (String, String) {
        let head = self.until("\r\n\r\n").await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        within(self.0.read_exact(&mut body)).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// Everything up to the end of the connection.
    async fn rest(&mut self) -> String {
        let mut text = String::new();
        within(self.0.read_to_string(&mut text)).await.unwrap();
        text
    }

    /// Leaves by a reset.
    fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

const STREAM: &str = "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n";

/// A client with a stream that has begun.
async fn streaming(server: &mut Server, request: &str) -> Client {
    let mut client = server.client().await;
    client.send(request).await;
    server.chunks.send("first").await.unwrap();
    // To the last byte: closing with unread ones would be a reset.
    client.until(if request.contains("HTTP/1.0") { "first" } else { "first\r\n" }).await;
    client
}

fn http2() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // Another test may have been first.
    reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()
}

// --- Protocols and raw heads

#[tokio::test]
async fn one_port_speaks_http_1_0_1_1_and_2() {
    let server = Server::start();
    for (version, name) in [("1.0", "HTTP/1.0"), ("1.1", "HTTP/1.1")] {
        let mut client = server.client().await;
        client.send(format!("GET /version HTTP/{version}\r\nHost: h\r\n\r\n")).await;
        let (head, body) = client.answer().await;
        assert!(head.starts_with(&format!("{name} 200 OK\r\n")), "{head}");
        assert_eq!(body, format!("{name} {}", client.0.local_addr().unwrap()));
    }
    let answer = within(http2().get(server.url("/version")).send()).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert!(answer.text().await.unwrap().starts_with("HTTP/2.0 127.0.0.1:"));
    assert_eq!(server.counters.accepted.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_ipv6_listener_takes_ipv4_peers_as_what_they_are() {
    let server = Server::with("[::]:0", Options::default());
    for host in ["127.0.0.1", "[::1]"] {
        let mut client = Client(TcpStream::connect(format!("{host}:{}", server.address.port())).await.unwrap());
        client.send("GET /version HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(client.answer().await.1.starts_with(&format!("HTTP/1.1 {host}:")));
    }
}

#[tokio::test]
async fn a_preface_in_single_bytes_is_http_2_and_what_only_begins_like_it_is_not() {
    let server = Server::start();
    let mut client = server.client().await;
    client.0.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        client.send([*byte]).await;
    }
    let mut frame = [0; 9];
    within(client.0.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS come first");

    let mut client = server.client().await;
    client.0.set_nodelay(true).unwrap();
    for byte in b"PROPFIND /echo HTTP/1.1\r\n\r\n" {
        client.send([*byte]).await;
    }
    assert_eq!(client.answer().await.1, "PROPFIND /echo HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn every_request_of_a_connection_has_its_own_raw_head() {
    let server = Server::start();
    let mut client = server.client().await;
    let requests = [
        ("GET /echo HTTP/1.1\r\nhOST: h\r\nX-b: 1\r\nX-A:  2\r\n\r\n", "", ""),
        ("GET /echo?second HTTP/1.1\r\nHost: h\r\n\r\n", "", ""),
        ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", "hello", "hello"),
        ("GET /echo?after-a-body HTTP/1.1\r\nHost: h\r\n\r\n", "", ""),
        (
            "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        ("GET /echo?after-chunks HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "", ""),
    ];
    let all: String = requests.iter().flat_map(|(head, sent, _)| [*head, *sent]).collect();
    client.send(all).await; // One segment.
    for (head, _, body) in requests {
        assert_eq!(client.answer().await.1, format!("{head}{body}"));
    }
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn http_1_0_streams_flow_at_once_until_the_connection_closes() {
    let mut server = Server::start();
    let mut client = server.client().await;
    client.send("GET /stream HTTP/1.0\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("transfer-encoding"), "{head}");
    for chunk in ["one\n", "two\n"] {
        server.chunks.send(chunk).await.unwrap();
        assert_eq!(client.until("\n").await, chunk);
    }
    server.end_stream();
    assert_eq!(client.rest().await, "");
    assert_eq!(server.ended().await, Gone::No);
}

// --- How peers go

#[tokio::test]
async fn a_client_that_closes_is_told_from_one_that_resets() {
    for version in ["1.0", "1.1"] {
        let mut server = Server::start();
        let request = format!("GET /stream HTTP/{version}\r\nHost: h\r\n\r\n");
        drop(streaming(&mut server, &request).await);
        assert_eq!(server.ended().await, Gone::Closed, "HTTP/{version}");
        streaming(&mut server, &request).await.reset();
        assert_eq!(server.ended().await, Gone::Reset, "HTTP/{version}");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_writing_side_has_left_its_stream() {
    let mut server = Server::start();
    let mut client = streaming(&mut server, STREAM).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(server.ended().await, Gone::Closed);
}

#[tokio::test]
async fn a_client_that_leaves_behind_pipelined_bytes_is_noticed_without_a_write() {
    let mut server = Server::start();
    let whole = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
    let long = format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n{}", "x".repeat(4000));
    for ahead in ["GET /echo", whole, &whole.repeat(3), &long] {
        drop(streaming(&mut server, &format!("{STREAM}{ahead}")).await);
        assert_eq!(server.ended().await, Gone::Closed, "{ahead}");
        streaming(&mut server, &format!("{STREAM}{ahead}")).await.reset();
        assert_eq!(server.ended().await, Gone::Reset, "{ahead}");
        let mut later = streaming(&mut server, STREAM).await;
        later.send(ahead).await;
        drop(later);
        assert_eq!(server.ended().await, Gone::Closed, "{ahead}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_content_that_nobody_reads_is_noticed_without_a_write() {
    for framing in ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut server = Server::start();
        let request = format!("POST /stream HTTP/1.1\r\nHost: h\r\n{framing}");
        drop(streaming(&mut server, &request).await);
        assert_eq!(server.ended().await, Gone::Closed, "{framing}");
        streaming(&mut server, &request).await.reset();
        assert_eq!(server.ended().await, Gone::Reset, "{framing}");
    }
}

#[tokio::test]
async fn a_request_behind_a_stream_is_answered_after_it_however_long_it_is() {
    for length in [0, 5, 8 * 1024, 1024 * 1024] {
        let mut server = Server::start();
        let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let request = head + &"x".repeat(length);
        let (ahead, rest) = request.split_at(request.len().min(32 * 1024)); // Of the longest, more than is read ahead.
        let mut client = streaming(&mut server, &format!("{STREAM}{ahead}")).await;
        server.end_stream();
        client.until("0\r\n\r\n").await;
        client.send(rest).await;
        assert!(client.answer().await.1 == request, "{length}");
    }
}

#[tokio::test]
async fn http_2_streams_have_a_peer_each_that_says_how_their_connection_went() {
    let mut server = Server::start();
    let client = http2();
    let first_answer = within(client.get(server.url("/stream")).send()).await.unwrap();
    let first = server.came().await;
    let second_answer = within(client.get(server.url("/stream")).send()).await.unwrap();
    let second = server.came().await;
    assert!(!Arc::ptr_eq(&first, &second), "one peer a stream");
    assert_eq!(first.address(), second.address(), "of one connection");
    drop((first_answer, second_answer, client));
    for _ in 0..2 {
        server.ended().await; // By RST_STREAM or with the connection, whichever came first.
    }
    server.drain().await;
    assert!(server.finish().await);
    assert_eq!((first.gone(), second.gone()), (Gone::Closed, Gone::Closed));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended_by_the_stall_rule() {
    let options = Options { stall: Duration::from_millis(300), ..Options::default() };
    let mut server = Server::with("127.0.0.1:0", options);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Client(socket.connect(server.address).await.unwrap());
    client.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(server.ended().await, Gone::Stalled);
    assert_eq!(server.counters.stalled.load(Ordering::Relaxed), 1);
    // What hyper holds, what the kernel may have unsent, and what the client's kernel has taken.
    let pulled = server.pulled.load(Ordering::Relaxed);
    assert!(pulled < 128 * 1024, "{pulled} bytes for a client that reads none");
}

#[tokio::test]
async fn a_client_that_reads_gets_all_it_can_take() {
    let mut server = Server::start();
    let mut client = server.client().await;
    client.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await;
    within(client.0.read_exact(&mut vec![0; 16 * 1024 * 1024])).await.unwrap();
    client.reset();
    assert_eq!(server.ended().await, Gone::Reset);
}

// --- Limits

/// Lingers as long as a busy machine may need.
fn patient() -> Options {
    Options { linger: Duration::from_secs(15), ..Options::default() }
}

#[tokio::test]
async fn a_head_may_have_64_kib_and_no_more() {
    let server = Server::with("127.0.0.1:0", patient());
    let request = |bytes: usize| {
        let head = "GET /version HTTP/1.1\r\nHost: h\r\nCookie: ";
        format!("{head}{}\r\n\r\n", "x".repeat(bytes - head.len() - 4))
    };
    let mut client = server.client().await;
    client.send(request(64 * 1024)).await;
    assert!(client.answer().await.0.starts_with("HTTP/1.1 200 OK\r\n"));
    for bytes in [64 * 1024 + 1, 16 * 1024 * 1024] {
        let mut client = server.client().await;
        client.send(request(bytes)).await;
        let (head, body) = client.answer().await;
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], 431);
        assert_eq!(client.rest().await, "");
    }
    assert_eq!(server.counters.head_too_large.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn more_than_a_hundred_fields_are_431_too() {
    let server = Server::start();
    let mut client = server.client().await;
    client.send(format!("GET /version HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
    assert_eq!(server.counters.head_too_large.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_slow_head_is_answered_408_over_a_socket() {
    let options = Options { head_timeout: Duration::from_millis(200), ..Options::default() };
    let server = Server::with("127.0.0.1:0", options);
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
    assert!(body.contains("\"status\":408"), "{body}");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn an_answer_to_a_body_that_nobody_reads_arrives() {
    // More than the kernel's buffers take: closing at once would reset the connection while the client still writes.
    let server = Server::with("127.0.0.1:0", patient());
    let mut client = server.client().await;
    let body = vec![b'x'; 16 * 1024 * 1024];
    client.send(format!("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.send(body).await;
    assert!(client.answer().await.0.starts_with("HTTP/1.1 413 "));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn malformed_heads_are_answered_400() {
    let server = Server::start();
    for head in ["\x16\x03\x01\x02\0\x01\0\x01\u{7f}\r\n\r\n", "GET / HTTP/1.1\r\nbad name: x\r\n\r\n", "GET /\r\n\r\n"]
    {
        let mut client = server.client().await;
        client.send(head).await;
        assert!(client.rest().await.starts_with("HTTP/1.1 400 "), "{head:?}");
    }
}

// --- The end

#[tokio::test]
async fn a_panic_ends_one_connection_alone() {
    let server = Server::start();
    let mut client = server.client().await;
    client.send("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.rest().await, "");
    assert!(within(http2().get(server.url("/panic")).send()).await.is_err());
    let mut client = server.client().await;
    client.send("GET /version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200 OK\r\n"));
    drop(client);
    assert!(server.finish().await);
    assert_eq!(server.counters.open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn draining_closes_idle_connections_and_lets_requests_finish() {
    let mut server = Server::start();
    let mut idle = server.client().await;
    idle.send("GET /version HTTP/1.1\r\nHost: h\r\n\r\n").await;
    idle.answer().await;
    let mut stream = streaming(&mut server, STREAM).await;
    let mut silent = server.client().await;
    let mut last = server.client().await; // Accepted after `silent`, so its answer says that `silent` was accepted.
    last.send("GET /version HTTP/1.1\r\nHost: h\r\n\r\n").await;
    last.answer().await;

    server.drain().await;
    assert_eq!(TcpStream::connect(server.address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    for client in [&mut idle, &mut silent, &mut last] {
        assert_eq!(client.rest().await, "");
    }
    server.chunks.send("last").await.unwrap();
    stream.until("last\r\n").await;
    server.end_stream();
    assert_eq!(stream.rest().await, "0\r\n\r\n");
    drop((silent, idle, last, stream));
    assert!(server.finish().await);
}

#[tokio::test]
async fn draining_says_goaway_and_lets_http_2_streams_finish() {
    let mut server = Server::start();
    let client = http2();
    let mut answer = within(client.get(server.url("/stream")).send()).await.unwrap();
    server.drain().await;
    server.chunks.send("last").await.unwrap();
    assert_eq!(within(answer.chunk()).await.unwrap().unwrap(), "last");
    server.end_stream();
    assert_eq!(within(answer.bytes()).await.unwrap(), "");
    assert!(server.finish().await, "the connection ended by itself");
    drop(client); // Held until here: it was not the client that closed.
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let mut server = Server::start();
    let client = streaming(&mut server, STREAM).await;
    let answer = within(http2().get(server.url("/endless")).send()).await.unwrap();
    let mut half = server.client().await;
    half.send("GET / HTTP/1.1\r\n").await;
    for _ in 0..2 {
        server.came().await;
    }
    assert!(!within(server.shutdown.finish(Duration::ZERO)).await);
    assert_eq!(server.counters.open.load(Ordering::Relaxed), 0);
    for _ in 0..2 {
        assert_eq!(server.ended().await, Gone::No, "it was us");
    }
    drop((client, answer, half));
}
