//! A client that speaks bytes, and reads chunks as strictly as RFC 9112 § 7.1 allows.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// Asks for a stream.
pub(crate) const FOLLOW: &str = "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n";

/// After this a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    socket: TcpStream,
    /// All that came.
    bytes: Vec<u8>,
    /// How much of it was looked at.
    seen: usize,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, room: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(room) = room {
            socket.set_recv_buffer_size(room).unwrap();
        }
        Self { socket: within(socket.connect(address)).await.unwrap(), bytes: Vec::new(), seen: 0 }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.socket.write_all(bytes.as_ref())).await.unwrap();
    }

    /// All that came, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Reads until `end` has come behind what was looked at.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let fresh = String::from_utf8_lossy(&self.bytes[self.seen..]).into_owned();
            if let Some(at) = fresh.find(end) {
                self.seen += at + end.len();
                return fresh[..at + end.len()].to_owned();
            }
            assert!(self.more().await > 0, "the end before {end:?} in {fresh:?}");
        }
    }

    /// The same, and on to the end of the chunk, so that nothing is left unread there.
    pub(crate) async fn until_chunk(&mut self, end: &str) {
        self.until(end).await;
        self.until("\n\n\r\n").await;
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// The content of a response whose head was read, to its last chunk, which must be the last of the connection if it was
    /// to be closed.
    pub(crate) async fn chunks(&mut self) -> String {
        let mut content = String::new();
        loop {
            let line = self.until("\r\n").await;
            let size = line.trim_end();
            let wide = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no size of a chunk: {line:?}"));
            assert!(size == "0" || !size.starts_with('0'), "{line:?}");
            while self.bytes.len() < self.seen + wide + 2 {
                assert!(self.more().await > 0, "the end in a chunk");
            }
            let chunk = &self.bytes[self.seen..self.seen + wide + 2];
            assert_eq!(&chunk[wide..], b"\r\n");
            content.push_str(std::str::from_utf8(&chunk[..wide]).unwrap());
            self.seen += wide + 2;
            if wide == 0 {
                return content;
            }
        }
    }

    /// All that follows, to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await > 0 {}
        String::from_utf8(self.bytes[self.seen..].to_vec()).unwrap()
    }

    /// The connection ends, and nothing more comes before.
    pub(crate) async fn at_end(&mut self) {
        let rest = self.rest().await;
        assert!(self.seen == 0 || rest.is_empty(), "{rest:?}");
    }

    async fn more(&mut self) -> usize {
        let mut piece = [0; 4096];
        let read = within(self.socket.read(&mut piece)).await.unwrap();
        self.bytes.extend_from_slice(&piece[..read]);
        read
    }

    pub(crate) async fn close_side(&mut self) {
        match self.socket.shutdown().await {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => panic!("{error}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Leaves by a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A test that hangs fails.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits for what only somebody else can bring about.
pub(crate) async fn patiently(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
