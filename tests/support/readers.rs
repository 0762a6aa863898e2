//! Readers behind an intermediary: one that comes back like an `EventSource`, and one that waits to see whether it is cut.

use std::io::{self, BufRead, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::PATIENCE;
use super::http1::{Connection, Stream};
use super::whatwg::Parser;

/// What a browser sends: some intermediaries are told by what they make of it.
const FIELDS: [(&str, &str); 4] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"),
    ("Accept", "text/event-stream"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Connection", "keep-alive"),
];

/// How long an `EventSource` waits before it comes back.
const RECONNECTION_TIME: Duration = Duration::from_millis(500);

/// Readers that come back whenever they are cut. Dropping them ends their streams.
pub(crate) struct Readers {
    stopped: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    sockets: Vec<Arc<Mutex<Option<TcpStream>>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What all of them saw.
#[derive(Debug, Default)]
struct Seen {
    /// After how long each cut came.
    cuts: Vec<Duration>,
    events: usize,
}

impl Readers {
    /// Opens `count` streams, one each `pace`: the gateway counts moments, so that cuts have to come at several.
    pub(crate) fn open(address: &str, target: &str, count: u32, pace: Duration) -> Self {
        let (stopped, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let sockets: Vec<_> = (0..count).map(|_| Arc::new(Mutex::new(None))).collect();
        let threads = sockets.iter().zip(0..).map(|(socket, number)| {
            let reader = Reader {
                address: address.to_owned(),
                target: target.to_owned(),
                stopped: Arc::clone(&stopped),
                seen: Arc::clone(&seen),
                socket: Arc::clone(socket),
            };
            std::thread::spawn(move || reader.run(pace * number))
        });
        let threads = threads.collect();
        Self { stopped, seen, sockets, threads }
    }

    /// How often they were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.seen().cuts.len()
    }

    /// The shortest and the longest time from a request to the cut of its stream, in seconds.
    pub(crate) fn times(&self) -> (f64, f64) {
        let times = || self.seen().cuts.clone().into_iter();
        let seconds = |time: Option<Duration>| time.expect("somebody was cut").as_secs_f64();
        (seconds(times().min()), seconds(times().max()))
    }

    /// How many events they were given.
    pub(crate) fn events(&self) -> usize {
        self.seen().events
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no reader panics")
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for socket in &self.sockets {
            if let Some(socket) = &*socket.lock().expect("no reader panics") {
                let _ = socket.shutdown(Shutdown::Both); // The other end may have closed it.
            }
        }
        for thread in &self.threads {
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("no reader panics");
        }
    }
}

struct Reader {
    address: String,
    target: String,
    stopped: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    /// To end what it reads.
    socket: Arc<Mutex<Option<TcpStream>>>,
}

impl Reader {
    fn run(&self, begins_after: Duration) {
        let mut parser = Parser::new();
        self.pause(begins_after);
        while !self.stopped.load(Ordering::SeqCst) {
            let began = Instant::now();
            // How it ends does not matter: some intermediaries cut by what looks like the end of the answer.
            let _ = self.read(&mut parser);
            if !self.stopped.load(Ordering::SeqCst) {
                self.seen.lock().expect("no reader panics").cuts.push(began.elapsed());
            }
            self.pause(RECONNECTION_TIME);
        }
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped.load(Ordering::SeqCst) && Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    fn read(&self, parser: &mut Parser) -> io::Result<()> {
        let connection = Connection::open(&self.address)?;
        *self.socket.lock().expect("no reader panics") = Some(connection.socket()?);
        if self.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let last_id = parser.last_event_id().to_owned();
        let mut fields = FIELDS.to_vec();
        if !last_id.is_empty() {
            fields.push(("Last-Event-ID", &last_id));
        }
        let mut stream = connection.stream(&self.target, &fields)?;
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let events = parser.feed(&line).iter().filter(|event| event.kind == "message").count();
            self.seen.lock().expect("no reader panics").events += events;
        }
    }
}

/// One stream that is to outlive a timer, and is not opened again.
pub(crate) struct Patient {
    stream: Stream,
    socket: TcpStream,
}

impl Patient {
    /// Opens it, and reads its hello.
    #[track_caller]
    pub(crate) fn open(address: &str, target: &str) -> Self {
        let connection = Connection::open(address).expect("the intermediary takes connections");
        let socket = connection.socket().expect("a socket can be cloned");
        let mut stream = connection.stream(target, &FIELDS).expect("the gateway answers");
        let mut line = String::new();
        while line != "\n" {
            line.clear();
            assert!(stream.read_line(&mut line).expect("a hello comes") > 0, "the stream has a hello");
        }
        Self { stream, socket }
    }

    /// Sees nothing, and no end, for so long.
    #[track_caller]
    pub(crate) fn hears_nothing_for(&mut self, time: Duration) {
        self.socket.set_read_timeout(Some(time)).expect("a time limit for reading");
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        let is_quiet =
            read.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(is_quiet, "the stream is to be quiet for {time:?}: {read:?} {line:?}");
    }

    /// Reads up to an event with this data.
    #[track_caller]
    pub(crate) fn hears(&mut self, data: &str) {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a time limit for reading");
        let mut parser = Parser::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the stream ended before {data:?}");
            if parser.feed(&line).iter().any(|event| event.data == data) {
                return;
            }
        }
    }

    /// Reads to the end, which is a good one.
    #[track_caller]
    pub(crate) fn rest(mut self) {
        while !self.line().is_empty() {}
    }

    #[track_caller]
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the stream is not cut");
        line
    }
}
