//! `encke serve` on a core of its own, and those who speak to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The publish key of these gateways.
const KEY: &str = "a-key-for-benchmarks";

/// The core of the gateway; the load has another one, if there is one.
const CORES: [&str; 2] = ["0", "1"];

pub(crate) struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    pub(crate) fn start(data: &Path, options: &[&str]) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", CORES[0], env!("CARGO_BIN_EXE_encke"), "serve", "--read", "public"]);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn", "--data"]);
        command.arg(data).args(options).env("ENCKE_PUBLISH_KEY", KEY).stdout(Stdio::piped());
        let mut child = command.spawn().expect("taskset is installed");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let listening = lines.map_while(Result::ok).find_map(|line| {
            let (_, address) = line.strip_prefix("listening on ")?.split_once("//")?;
            Some(address.to_owned())
        });
        Self { child, address: listening.expect("the gateway listens") }
    }

    /// Of the gateway itself: `taskset` has become it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> Connection {
        let socket = TcpStream::connect(&self.address).expect("the gateway takes connections");
        socket.set_nodelay(true).expect("bytes go out at once");
        Connection { socket: BufReader::new(socket) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Keeps the load of this process off the gateway's core.
pub(crate) fn leave_the_gateways_core() {
    let _ = Command::new("taskset").args(["-a", "-p", "-c", CORES[1], &std::process::id().to_string()]).output();
}

pub(crate) struct Connection {
    socket: BufReader<TcpStream>,
}

impl Connection {
    /// Publishes, and waits for the receipt.
    pub(crate) fn publish(&mut self, topic: &str, data: &[u8]) {
        let head = format!(
            "POST /events/{topic} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {}\r\n\r\n",
            data.len()
        );
        let request = [head.as_bytes(), data].concat();
        self.socket.get_mut().write_all(&request).expect("the gateway takes it");
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut receipt = vec![0; length.parse().expect("a number")];
        self.socket.read_exact(&mut receipt).expect("a receipt");
    }

    /// Reads lines of JSON from the first event of `topic` on, up to the one with this data; how many events there were.
    pub(crate) fn read_up_to(mut self, topic: &str, last: &str) -> u64 {
        let target = format!("/events/{topic}?lastEventId=earliest&transport=ndjson");
        let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        self.socket.get_mut().write_all(request.as_bytes()).expect("the gateway takes it");
        self.head();
        let (mut line, mut events) = (String::new(), 0);
        loop {
            line.clear();
            assert_ne!(self.socket.read_line(&mut line).expect("a line"), 0, "the stream goes on");
            events += u64::from(line.contains("\"data\":\""));
            if line.contains(last) {
                return events;
            }
        }
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.socket.read_line(&mut head).expect("a head"), 0, "an answer");
        }
        head
    }
}
