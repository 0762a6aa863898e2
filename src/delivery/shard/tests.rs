//! A shard over real sockets, driven by hand: between two lines of a test nothing happens but what they say.

mod shown;
mod sockets;
mod trains;

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use socket2::SockRef;

use super::*;
use crate::access::Permit;
use crate::delivery::fixture::Fixture;
use crate::delivery::{Feed, Peer, Stream};

/// What stands for the head of a response.
const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// Longer than any test.
const AGES: Duration = Duration::from_secs(1_000_000);

struct Hand {
    fixture: Fixture,
    delivery: Delivery,
    shard: Shard,
}

impl Hand {
    async fn new() -> Self {
        Self::over(Fixture::new(1_000_000, 1024).await, SocketOptions::default())
    }

    fn over(fixture: Fixture, options: SocketOptions) -> Self {
        let (bell, poller) = (Arc::new(Bell::default()), Poller::new().expect("a descriptor"));
        let pump = Pump::new(poller, Arc::clone(&bell), options, Arc::default(), Instant::now());
        let shutdown = fixture.shutdown.clone();
        let shard =
            Shard { pump, bell, shutdown, listings: Listings::default(), newest: None, heeds: false, over: false };
        Self { delivery: fixture.delivery(), fixture, shard }
    }

    /// A stream of this feed from the live edge on, on a socket with room for some kilobytes.
    fn follow(&self, feed: &Arc<Feed>) -> Client {
        self.arrive(self.fixture.stream(feed, self.fixture.hub.pages().edge(), AGES), Framing::Chunked)
    }

    /// A stream comes; it is taken in at the next turn.
    fn arrive(&self, stream: Stream, framing: Framing) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        SockRef::from(&ours).set_send_buffer_size(1).expect("a socket"); // The least that there is.
        let (peer, held) = (Arc::clone(stream.peer()), Arc::new(()));
        let (permit, delivery) = (Permit::everything(), self.delivery.clone());
        let stream = Unbegun { stream, delivery, cut: crate::delivery::Cut::never(), leave: permit.leave(), permit };
        let (socket, head) = (ours.into(), HEAD.as_bytes().to_vec());
        let connection = Connection { socket, head, framing, held: Box::new(Arc::clone(&held)) };
        self.shard.bell.ring(Call::Arrival(Box::new(Arrival { stream, connection })));
        Client { socket: theirs, framing, bytes: Vec::new(), is_over: false, peer, held }
    }

    /// What the shard does when it is woken. Answers whether there was anything to do.
    fn turn(&mut self) -> bool {
        let mut calls = Vec::new();
        let called = self.shard.bell.take(&mut calls);
        calls.into_iter().for_each(|call| self.shard.heed(call));
        let now = Instant::now();
        let more = self.shard.pump.listen(now).expect("sockets can be watched");
        self.shard.pump.look_after(now);
        let works = self.shard.pump.has_work() || !self.shard.listings.is_empty();
        self.shard.pump.slice(now);
        self.shard.listings.go_on(&self.shard.pump, now);
        self.shard.fetch();
        called || works || more
    }

    /// Turns until there is nothing to do, also not with pages that are on their way.
    async fn rest(&mut self) {
        let (mut turns, mut idle) = (0, 0);
        while idle < 3 {
            idle = if self.turn() { 0 } else { idle + 1 };
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            turns += 1;
            assert!(turns < 100_000, "it finds no rest");
        }
    }

    /// Until everybody has taken all that comes.
    async fn settle<'a>(&mut self, clients: impl IntoIterator<Item = &'a mut Client>) {
        let mut clients: Vec<_> = clients.into_iter().collect();
        self.rest().await;
        while clients.iter_mut().map(|client| client.take(usize::MAX)).sum::<usize>() > 0 {
            self.rest().await;
        }
    }
}

/// The other end of a stream.
struct Client {
    socket: UnixStream,
    framing: Framing,
    bytes: Vec<u8>,
    /// Whether its peer has closed.
    is_over: bool,
    /// What is known of it at the other end.
    peer: Arc<Peer>,
    held: Arc<()>,
}

impl Client {
    /// Takes what is there, so many bytes at most. Answers how many.
    fn take(&mut self, most: usize) -> usize {
        let (mut taken, mut piece) = (0, [0; 8192]);
        while taken < most && !self.is_over {
            let room = piece.len().min(most - taken);
            match self.socket.read(&mut piece[..room]) {
                Ok(0) => self.is_over = true,
                Ok(read) => {
                    self.bytes.extend_from_slice(&piece[..read]);
                    taken += read;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        taken
    }

    /// Sends something that nothing asked for.
    fn stray(&mut self, bytes: usize) {
        self.socket.write_all(&vec![b'x'; bytes]).expect("the peer reads");
    }

    /// The content so far, and whether it is at its end. Panics where it is not as HTTP/1.1 wants it.
    fn content(&self) -> (String, bool) {
        let head = HEAD.len().min(self.bytes.len());
        assert_eq!(self.bytes[..head], HEAD.as_bytes()[..head]);
        let (content, ended) = match self.framing {
            Framing::Chunked => dechunked(&self.bytes[head..]),
            Framing::UntilClose => (self.bytes[head..].to_vec(), self.is_over),
        };
        (String::from_utf8(content).expect("text"), ended)
    }

    fn text(&self) -> String {
        self.content().0
    }

    /// Whether the other end has let go of the connection and all that went with it.
    fn is_let_go(&self) -> bool {
        Arc::strong_count(&self.held) == 1
    }
}

/// What stands in chunks as this gateway writes them (RFC 9112 § 7.1, no extensions, no trailers), which may be cut off
/// anywhere, and whether the last one is among them.
fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    loop {
        let Some(line) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            assert!(bytes.len() < 10, "no size of a chunk: {:?}", String::from_utf8_lossy(bytes));
            return (content, false);
        };
        let size = std::str::from_utf8(&bytes[..line]).expect("a size");
        let wide = usize::from_str_radix(size, 16).expect("a size");
        assert_eq!(format!("{wide:x}"), size);
        let rest = &bytes[line + 2..];
        let (data, behind) = rest.split_at(wide.min(rest.len()));
        content.extend_from_slice(data);
        let end = &behind[..behind.len().min(2)];
        assert_eq!(end, &b"\r\n"[..end.len()], "what follows a chunk");
        if wide == 0 {
            assert!(behind.len() <= 2, "something follows the last chunk");
            return (content, behind.len() == 2);
        }
        if end.len() < 2 {
            return (content, false);
        }
        bytes = &behind[2..];
    }
}

#[test]
fn chunks_are_read_strictly() {
    let check = |text: &str, content: &str, ended| {
        assert_eq!(dechunked(text.as_bytes()), (content.as_bytes().to_vec(), ended), "{text:?}");
    };
    check("3\r\nabc\r\n0\r\n\r\n", "abc", true);
    check("3\r\nabc\r\n0\r\n\r", "abc", false);
    check("3\r\nabc\r", "abc", false);
    check("3\r\nab", "ab", false);
    check("1", "", false);
    let refused = |text: &'static str| {
        let read = std::panic::catch_unwind(|| dechunked(text.as_bytes()));
        assert!(read.is_err(), "{text:?}");
    };
    refused("3\r\nabcd\r\n");
    refused("03\r\nabc\r\n");
    refused("A\r\n0123456789\r\n");
    refused("0\r\n\r\n0\r\n\r\n");
}
