//! `encke serve` on one core, under callgrind or not, and those who speak to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// The publish key of these gateways.
const KEY: &str = "a-key-for-benchmarks";

/// The core of the gateway. One: the number of shards, and so some counts, go by the number of cores.
const CORE: &str = "0";

/// How long anything is waited for. Under valgrind all is some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program that ships, which `benches/instructions/run` has built.
fn gateway() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let gateway = Path::new(&target).join("release/encke");
    gateway
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run benches/instructions/run", gateway.display()))
}

pub(crate) struct Serving {
    child: Child,
    address: String,
    directory: TempDir,
}

impl Serving {
    /// As it is.
    pub(crate) fn start() -> Self {
        Self::started(&[])
    }

    /// Under callgrind, which counts every instruction from [`Serving::begin`] on.
    pub(crate) fn counted() -> Self {
        Self::started(&["valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet", "--callgrind-out-file=counts"])
    }

    /// What there is to be done is done: from now on it counts.
    pub(crate) fn begin(&self) {
        let process = format!("--pid={}", self.child.id());
        let told = Command::new("vgdb").args([process.as_str(), "instrumentation", "on"]).output();
        let told = told.expect("vgdb can be run (package valgrind)");
        let words = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "valgrind does not take commands (it wants ptrace and /tmp): {words}");
    }

    fn started(through: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("encke-bench-").tempdir().expect("a temporary directory");
        let mut command = Command::new("taskset");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ENCKE_")) {
            command.env_remove(name);
        }
        command.args(["-c", CORE]).args(through).arg(gateway()).args(["serve", "--store", "memory"]);
        command.args(["--read", "public", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn"]);
        command.env("ENCKE_PUBLISH_KEY", KEY).current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("taskset can be run (package util-linux)");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let listening = lines.map_while(Result::ok).find_map(|line| {
            let (_, address) = line.strip_prefix("listening on ")?.split_once("//")?;
            Some(address.to_owned())
        });
        let Some(address) = listening else {
            let _ = child.wait();
            panic!("the gateway did not start; `tests/run --install-only` installs valgrind");
        };
        Self { child, address, directory }
    }

    pub(crate) fn connect(&self) -> Connection {
        let socket = TcpStream::connect(&self.address).expect("the gateway takes connections");
        socket.set_nodelay(true).expect("bytes go out at once");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Connection { socket: BufReader::new(socket) }
    }

    /// A stream of one topic, which has begun.
    pub(crate) fn subscribe(&self, query: &str) -> Connection {
        let mut stream = self.connect();
        stream.send(
            &format!("GET /events/prices{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"),
            b"",
        );
        stream.lines_up_to("encke.hello");
        stream.lines_up_to("\r\n"); // The hello ends with an empty line, and its chunk with another.
        stream
    }

    pub(crate) fn streams(&self, count: usize, query: &str) -> Vec<Connection> {
        (0..count).map(|_| self.subscribe(query)).collect()
    }

    /// Memory of its own, in bytes (`RssAnon`).
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") << 10
    }

    /// Ends it; how many instructions it took in all.
    pub(crate) fn count(mut self) -> u64 {
        self.terminate();
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "the gateway ended with {status}");
        total(&self.directory.path().join("counts"))
    }

    fn terminate(&self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.terminate();
            let _ = self.child.wait();
        }
    }
}

/// The sum over all threads and functions.
fn total(file: &Path) -> u64 {
    let file = PathBuf::from(file);
    let text = fs::read_to_string(&file).expect("callgrind has written its counts");
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("they have a total");
    line.trim().parse().expect("a number of instructions")
}

pub(crate) struct Connection {
    socket: BufReader<TcpStream>,
}

impl Connection {
    /// Publishes an event of 100 bytes, and waits for the receipt.
    pub(crate) fn publish(&mut self, data: &str) {
        self.post("text/plain", data.as_bytes());
    }

    /// Publishes many at once, and waits for the receipts.
    pub(crate) fn publish_all(&mut self, data: &[String]) {
        let events: Vec<_> = data.iter().map(|data| format!(r#"{{"topic":"prices","data":"{data}"}}"#)).collect();
        self.post("application/json", format!("[{}]", events.join(",")).as_bytes());
    }

    fn post(&mut self, content_type: &str, content: &[u8]) {
        let (length, target) = (content.len(), if content_type == "text/plain" { "/events/prices" } else { "/events" });
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.send(&head, content);
        let head = self.lines_up_to("\r\n");
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut receipt = vec![0; length.parse().expect("a number")];
        self.socket.read_exact(&mut receipt).expect("a receipt");
    }

    /// Reads lines up to and with the one that is, or holds, `wanted`: of an empty line the whole.
    pub(crate) fn lines_up_to(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        loop {
            let begin = text.len();
            assert_ne!(self.socket.read_line(&mut text).expect("a line"), 0, "it goes on");
            let line = &text[begin..];
            if line == wanted || (wanted != "\r\n" && line.contains(wanted)) {
                return text;
            }
        }
    }

    /// Goes, once all that was sent is read: who leaves with unread bytes resets the connection.
    pub(crate) fn leave(self) {
        let socket = self.socket.into_inner();
        socket.shutdown(Shutdown::Write).expect("it is open");
        let mut rest = &socket;
        let _ = std::io::copy(&mut rest, &mut std::io::sink());
    }

    fn send(&mut self, head: &str, content: &[u8]) {
        let request = [head.as_bytes(), content].concat();
        self.socket.get_mut().write_all(&request).expect("the gateway takes it");
    }
}
