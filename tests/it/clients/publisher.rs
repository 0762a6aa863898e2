//! A publisher that goes on while readers are cut off and gateways die: what fails is sent again with the same key, so
//! that every event is stored once, and the receipts say what every reader must have seen in the end.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::PATIENCE;

/// An event, as published or as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

/// Type and data of the n-th event.
pub(crate) type Payload = fn(usize) -> (&'static str, String);

/// The type of the last event of a publisher.
pub(crate) const LAST: &str = "last";

/// How long it rests between two events: a load that leaves a small machine some time for the readers.
const PACE: Duration = Duration::from_millis(5);

/// A thread that publishes to one topic until it is stopped.
pub(crate) struct Publisher {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Event>>,
}

impl Publisher {
    /// Begins to publish at the gateway that listens, or will listen again, at `url`.
    pub(crate) fn start(url: &str, topic: &'static str, payload: Payload) -> Self {
        let (stop, stopped) = channel();
        let url = url.to_owned();
        let thread = std::thread::spawn(move || {
            let mut published = Vec::new();
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let (kind, data) = payload(published.len());
                published.push(publish(&url, topic, kind, data, published.len()));
            }
            published.push(publish(&url, topic, LAST, String::new(), published.len()));
            published
        });
        Self { stop, thread }
    }

    /// Publishes a last event, of the type [`LAST`], and gives back everything that was published.
    pub(crate) fn stop(self) -> Vec<Event> {
        let _ = self.stop.send(());
        self.thread.join().expect("the publisher does not fail")
    }
}

/// Publishes one event, again and again until its receipt has come.
pub(crate) fn publish(url: &str, topic: &str, kind: &str, data: String, key: usize) -> Event {
    let kind_in_query = if kind == "message" { String::new() } else { format!("&type={}", escaped(kind)) };
    let target = format!("/events?topic={topic}{kind_in_query}&key={topic}-{key}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = post(url, &target, &[], data.as_bytes());
        match outcome {
            Ok((200 | 201, receipt)) => {
                let receipt: Value = serde_json::from_str(&receipt).expect("a receipt is JSON");
                let id = receipt["id"].as_str().expect("a receipt has an id").to_owned();
                return Event { kind: kind.to_owned(), id, data };
            }
            // Refused for a time: by a gateway that is gone, or going.
            Ok((503, _)) | Err(_) if Instant::now() < deadline => std::thread::sleep(PACE),
            other => panic!("event {key} of {topic} cannot be published: {other:?}"),
        }
    }
}

/// One `POST` on a connection of its own: the status and the content of the answer.
pub(crate) fn post(url: &str, target: &str, fields: &[(&str, &str)], content: &[u8]) -> io::Result<(u16, String)> {
    let authority = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(authority)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = content.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    connection.write_all(&[head.as_bytes(), content].concat())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, content) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, content.to_owned()))
}

/// A value for a query.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The types that [`hard`] uses.
pub(crate) const TYPES: [&str; 3] = ["message", "tick", "ünï type"];

/// Data full of what a transport of lines could trip over, under types that take turns.
pub(crate) fn hard(n: usize) -> (&'static str, String) {
    let data = match n % 11 {
        0 => format!("{n}"),
        1 => format!("  {n} between spaces  "),
        2 => format!("{n}\ntwo lines, and a third that is empty\n"),
        3 => format!("{n}\rCR\r\nCRLF\n\rLF, CR"),
        4 => format!("{n} ünï ✓ 漢字 🛰 \u{85}\u{2028}\u{2029}\u{c}\u{b}"),
        5 => format!("\0{n} \0"),
        6 => format!("\u{feff}{n}"),
        7 => format!(": {n}\ndata: x\nid: 1-1\nevent: y\nretry: 1\n\n"),
        8 => String::new(),
        9 => format!("{{\"n\":{n},\"text\":\"a\\nb\"}}"),
        _ => format!("{n}{}", "long ".repeat(2_000)),
    };
    (TYPES[n % TYPES.len()], data)
}
