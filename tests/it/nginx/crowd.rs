//! Two thousand streams through an nginx that is set up as the documents advise: people come, leave, lose their network and
//! are back, and nothing of that is called a fault of anybody between.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::http1;
use crate::support::nginx::{Configuration, Nginx};
use crate::support::wait_for;
use crate::support::whatwg::Parser;

/// How many people there are.
const PEOPLE: u32 = 2000;

/// From the first to the last who comes.
const COMING: Duration = Duration::from_secs(5);

/// Until when, after that, those who leave have left and those who lose their network have lost it.
const RESTLESS: Duration = Duration::from_secs(15);

/// Topics, of which half are quiet but for heartbeats.
const TOPICS: u32 = 8;

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Stays,
    /// Goes some time, for good.
    Leaves,
    /// Loses its network some time, and is back soon after that; and once more.
    Returns,
}

impl Habit {
    fn of(number: u32) -> Self {
        match number % 10 {
            0..5 => Self::Stays,
            5..7 => Self::Leaves,
            _ => Self::Returns,
        }
    }

    /// By this it is told afterwards whose ends were which.
    fn transport(self) -> &'static str {
        if self == Self::Leaves { "ndjson" } else { "sse" }
    }
}

#[test]
fn two_thousand_people_who_come_and_go_are_no_fault_of_anything_between() {
    allow_open_files(u64::from(PEOPLE) * 3);
    let gateway = Gateway::start_with(&["--dev", "--heartbeat", "5"], &[("ENCKE_GRACE", "8")]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).worker_connections(3 * PEOPLE));
    let (over, is_over) = watch::channel(false);
    let (authority, address, settled) = (nginx.authority(), gateway.address().to_owned(), AtomicU32::new(0));
    let ends = std::thread::scope(|threads| {
        threads.spawn(|| run(&authority, &settled, &is_over));
        threads.spawn(|| publish(&address, &is_over));
        // Whatever fails: the crowd ends with the test.
        let _over = OnDrop(|| over.send_replace(true));
        wait_for("all to have come and gone", || settled.load(Ordering::Relaxed) == PEOPLE);
        wait_for("all ends to be decided", || confusion::report(&gateway)["undecided"] == 0);
        let report = confusion::report(&gateway);
        let paths = report["paths"].as_array().expect("a list of paths");
        assert!(paths.iter().all(|path| path["findings"] == json!([])), "{report:#}");
        assert_eq!(paths.iter().filter(|path| path["product"] == "nginx").count(), paths.len(), "{report:#}");
        confusion::of_report(&report)
    });
    for (cause, habit) in [("client_left", Habit::Leaves), ("dropped_came_back", Habit::Returns)] {
        confusion::note_ends(cause, Limit::Known, &confusion::of_transport(&gateway, habit.transport()));
    }
    let of = |habit| (0..PEOPLE).filter(|number| Habit::of(*number) == habit).count() as u64;
    let expected = [("client_left", of(Habit::Leaves)), ("dropped_came_back", 2 * of(Habit::Returns))];
    assert_eq!(ends, Ends::from(expected.map(|(reason, count)| (reason.to_owned(), count))));
}

/// Raises the number of files that this process, and those that it starts, may open.
fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit { current: Some(count), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("so many files may be opened");
    }
}

struct OnDrop<F: FnMut() -> bool>(F);

impl<F: FnMut() -> bool> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Publishes numbers, on each lively topic twice a second.
fn publish(address: &str, is_over: &watch::Receiver<bool>) {
    let mut connection = http1::Connection::open(address).expect("the gateway takes connections");
    let mut number = 0_u64;
    while !*is_over.borrow() {
        for topic in 0..TOPICS / 2 {
            let data = number.to_string();
            connection.publish("", &format!("crowd/{topic}"), None, data.as_bytes()).expect("it is stored");
        }
        number += 1;
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

/// The life of all of them, on one thread.
fn run(nginx: &str, settled: &AtomicU32, is_over: &watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
        let mut people = JoinSet::new();
        for number in 0..PEOPLE {
            let person = Person { number, nginx: nginx.to_owned(), parser: Parser::new(), newest: None };
            people.spawn(person.live(told.clone(), is_over.clone()));
        }
        drop(told);
        while tell.recv().await.is_some() {
            settled.fetch_add(1, Ordering::Relaxed);
        }
        while let Some(life) = people.join_next().await {
            life.expect("nobody panics").expect("nobody is cut or refused");
        }
    });
}

/// One of them.
struct Person {
    number: u32,
    nginx: String,
    /// Keeps the last event ID from one stream to the next.
    parser: Parser,
    /// The newest number that was read.
    newest: Option<u64>,
}

impl Person {
    /// Comes, does as is its habit, and says so when that is done.
    async fn live(
        mut self,
        settled: tokio::sync::mpsc::UnboundedSender<()>,
        mut is_over: watch::Receiver<bool>,
    ) -> io::Result<()> {
        sleep(COMING * self.number / PEOPLE).await;
        let habit = Habit::of(self.number);
        let mut socket = self.open().await?;
        let losses = if habit == Habit::Returns { 2 } else { 0 };
        for nth in 0..losses {
            let time = RESTLESS / 2 * self.dice(nth) / 1000;
            self.read_until(&mut socket, Instant::now() + time).await?;
            drop(socket);
            sleep(Duration::from_millis(200 + u64::from(self.dice(nth + 7)))).await;
            socket = self.open().await?;
        }
        if habit == Habit::Leaves {
            self.read_until(&mut socket, Instant::now() + RESTLESS * self.dice(3) / 1000).await?;
            return settled.send(()).map_err(io::Error::other);
        }
        // That its stream is there again is seen by its first bytes.
        self.read(&mut socket).await?;
        settled.send(()).map_err(io::Error::other)?;
        drop(settled);
        loop {
            tokio::select! {
                read = self.read(&mut socket) => read?,
                _ = is_over.wait_for(|over| *over) => return Ok(()),
            }
        }
    }

    /// 0 to 999, the same in each run.
    fn dice(&self, nth: u32) -> u32 {
        (self.number + 1).wrapping_mul(2_654_435_761).wrapping_add(nth.wrapping_mul(40_503_000)).rotate_left(13) % 1000
    }

    /// Asks for its topic. HTTP/1.0, so that what comes back is the stream itself, without a transfer coding.
    async fn open(&mut self) -> io::Result<TcpStream> {
        let Self { number, nginx, parser, .. } = self;
        let (topic, transport) = (*number % TOPICS, Habit::of(*number).transport());
        // One half says who it is, the other is known by where it comes from and what it looks like.
        let session = if *number % 2 == 0 { format!("&session={number}") } else { String::new() };
        let mut request = format!(
            "GET /events/crowd/{topic}?transport={transport}{session} HTTP/1.0\r\nHost: {nginx}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.{number}\r\n"
        );
        if !parser.last_event_id().is_empty() {
            request += &format!("Last-Event-ID: {}\r\n", parser.last_event_id());
        }
        let mut socket = TcpStream::connect(nginx.as_str()).await?;
        socket.write_all((request + "\r\n").as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        let is_stream = head.starts_with(b"HTTP/1.1 200 ") && String::from_utf8_lossy(&head).contains("ncke-");
        if is_stream { Ok(socket) } else { Err(io::Error::other(String::from_utf8_lossy(&head).into_owned())) }
    }

    async fn read_until(&mut self, socket: &mut TcpStream, end: Instant) -> io::Result<()> {
        while let Ok(read) = timeout_at(end, self.read(socket)).await {
            read?;
        }
        Ok(())
    }

    /// Reads once; nothing is lost if that is given up. Numbers follow one another, over all streams.
    async fn read(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let length = socket.read(&mut bytes).await?;
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} was cut", self.number)));
        }
        if Habit::of(self.number).transport() == "sse" {
            for event in self.parser.feed(&bytes[..length]).iter().filter(|event| event.kind == "message") {
                let number = event.data.parse().map_err(io::Error::other)?;
                let follows = self.newest.is_none_or(|newest| newest + 1 == number);
                assert!(follows, "{number} came after {:?}", self.newest);
                self.newest = Some(number);
            }
        }
        Ok(())
    }
}
