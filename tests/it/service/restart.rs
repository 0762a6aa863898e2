//! A restart that nobody notices: whoever holds the listening socket starts the next gateway when the last one has ended.
//! That is what systemd does for a service with a socket unit; here the test does it.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{KEY, clean, directory};
use crate::support::http1::{Connection, Stream};
use crate::support::process::Process;
use crate::support::told::next_line;
use crate::support::{PATIENCE, long, wait_for};

/// How long a connection on which nothing came yet is kept at the end (`net::Options::last_call`).
const LAST_CALL: Duration = Duration::from_secs(1);

/// Starts a gateway that serves `socket`, as systemd would: as descriptor 3, with what `sd_listen_fds(3)` wants.
fn activated(socket: &TcpListener, data: &Path) -> Process {
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=encke.socket exec \"$@\"";
    let mut command = clean(Command::new("sh"), &["-c", script, "sh", env!("CARGO_BIN_EXE_encke"), "serve"]);
    command.args(["--read", "public", "--admin", "127.0.0.1:0", "--drain", "3600", "--data"]).arg(data);
    let passed = OwnedFd::from(socket.try_clone().expect("a socket can be cloned"));
    let process = Process::spawn_with(command, Stdio::from(passed));
    // As systemd waits for READY=1: before that a signal finds nobody who would drain.
    assert!(process.line(PATIENCE).is_some_and(|line| line.starts_with("listening on ")), "{}", process.errors());
    process
}

/// What all clients share.
struct Load {
    address: String,
    /// How many publishes were acknowledged.
    acknowledged: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// A connection; one that is refused or reset ends the test.
    fn connect(&self) -> Connection {
        Connection::open(&self.address).expect("no connection is refused")
    }

    /// Publishes until the end, each event over a connection of its own. Answers what was acknowledged.
    fn publish_anew(&self, name: &str) -> Vec<String> {
        self.publish(name, |data| {
            self.ask(
                |connection| connection.send_event(KEY, "t", Some(data), data.as_bytes()),
                |mut connection| connection.receipt(),
            );
        })
    }

    /// Asks over a new connection. That must be answered, unless it was long before the request was sent, because this
    /// process stood still: then it is asked again, as a client would.
    fn ask<T>(
        &self,
        send: impl Fn(&mut Connection) -> io::Result<()>,
        read: impl Fn(Connection) -> io::Result<T>,
    ) -> T {
        loop {
            let begun = Instant::now();
            let mut connection = self.connect();
            let sent = send(&mut connection);
            let took = begun.elapsed();
            match sent.and_then(|()| read(connection)) {
                Ok(answer) => return answer,
                Err(error) if is_end(&error) && took >= LAST_CALL => {}
                Err(error) => panic!("not answered, though sent within {took:?}: {error}"),
            }
        }
    }

    /// The same over one connection, for as long as the gateway keeps it. When it closes that, it may be that a request
    /// is on the way: then it is sent again, and recognised by its key.
    fn publish_on(&self, name: &str) -> Vec<String> {
        let mut connection = self.connect();
        self.publish(name, |data| {
            while let Err(error) = connection.publish(KEY, "t", Some(data), data.as_bytes()) {
                assert!(is_end(&error), "{data} was not published: {error}");
                connection = self.connect();
            }
        })
    }

    fn publish(&self, name: &str, mut publish: impl FnMut(&str)) -> Vec<String> {
        let mut acknowledged = Vec::new();
        while !self.over.load(SeqCst) {
            let data = format!("{name}-{}", acknowledged.len());
            publish(&data);
            acknowledged.push(data);
            self.acknowledged.fetch_add(1, SeqCst);
        }
        acknowledged
    }

    /// Follows from the beginning, over every restart, up to the event `end`. Answers what it was told.
    fn follow(&self) -> Followed {
        let mut followed = Followed::default();
        loop {
            let id = followed.cursor.clone().unwrap_or_else(|| "earliest".to_owned());
            let fields = [("Last-Event-ID", id.as_str()), ("Accept", "application/x-ndjson")];
            let stream = self.ask(|connection| connection.send("GET /events/t", &fields, b""), Connection::streamed);
            if followed.read(stream) {
                return followed;
            }
            followed.streams += 1;
        }
    }
}

/// What one reader was told, over all of its streams.
#[derive(Default)]
struct Followed {
    data: Vec<String>,
    cursor: Option<String>,
    streams: usize,
}

impl Followed {
    /// Reads to the end of one stream; whether the event `end` came.
    fn read(&mut self, mut stream: Stream) -> bool {
        while let Some(told) = next_line(&mut stream).expect("a stream ends as the gateway means it") {
            match told.kind.as_str() {
                "message" => {
                    self.cursor = Some(told.id);
                    if told.data == "end" {
                        return true;
                    }
                    self.data.push(told.data);
                }
                "encke.gap" => panic!("nothing is gone, but there was {}", told.data),
                _ => {}
            }
        }
        false
    }
}

/// Whether a connection ended without an answer.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

#[test]
fn a_restart_refuses_no_connection_and_loses_no_event() {
    let directory = directory();
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = socket.local_addr().expect("an address").to_string();
    let load = Load { address, acknowledged: AtomicUsize::new(0), over: AtomicBool::new(false) };
    let rounds = if long() { 50 } else { 4 };
    let mut gateway = activated(&socket, directory.path());

    let (acknowledged, readers) = thread::scope(|scope| {
        let load = &load;
        let publishers: Vec<_> = (0..2)
            .map(|number| scope.spawn(move || load.publish_anew(&format!("anew{number}"))))
            .chain([scope.spawn(move || load.publish_on("kept"))])
            .collect();
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| load.follow())).collect();
        let more = || {
            let before = load.acknowledged.load(SeqCst);
            wait_for("some load", || load.acknowledged.load(SeqCst) >= before + 50);
        };
        for _ in 0..rounds {
            more();
            gateway.terminate();
            let status = gateway.wait(PATIENCE);
            assert!(status.success(), "{status}: {}", gateway.errors());
            // Whoever connects now waits in the backlog of the socket.
            gateway = activated(&socket, directory.path());
        }
        more();
        load.over.store(true, SeqCst);
        let acknowledged: Vec<String> =
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("a publisher ends well")).collect();
        load.connect().publish(KEY, "t", None, b"end").expect("the last event");
        let readers: Vec<Followed> =
            readers.into_iter().map(|reader| reader.join().expect("a reader ends well")).collect();
        (acknowledged, readers)
    });

    let published: BTreeSet<&str> = acknowledged.iter().map(String::as_str).collect();
    assert_eq!(published.len(), acknowledged.len());
    for reader in &readers {
        let told: BTreeSet<&str> = reader.data.iter().map(String::as_str).collect();
        assert_eq!(told.len(), reader.data.len(), "nothing is told twice");
        assert_eq!(told, published, "what was acknowledged is told, and nothing else");
        assert_eq!(reader.data, readers[0].data, "all are told the same in the same order");
        assert!(reader.streams >= rounds, "it was cut by each restart: {} times", reader.streams);
    }
    gateway.terminate();
    assert!(gateway.wait(PATIENCE).success());
}
