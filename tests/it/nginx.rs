//! Behind a real nginx, with the files that `deploy/nginx` ships: everything flows, and whoever is cut comes back.

mod away;
mod browsers;
mod crowd;
mod ends;
mod flow;

use std::path::Path;
use std::process::Command;

use tokio::time::Instant;

use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::process::Process;

/// An answer that has come to its end.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// A header field's value; nothing if it is not there.
    fn field(&self, name: &str) -> &str {
        field(&self.head, name)
    }
}

/// Asks with curl, and waits for the whole answer.
#[track_caller]
fn ask(url: &str, args: &[&str]) -> Answer {
    let output = curl(url, args).args(["--max-time", "60"]).output().expect("curl runs (package curl)");
    let text = String::from_utf8(output.stdout).expect("the answers of these tests are UTF-8");
    assert!(output.status.success(), "{url}: {}{text}", String::from_utf8_lossy(&output.stderr));
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and its end");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Publishes with curl. Panics unless it is stored.
#[track_caller]
fn publish(base: &str, topic: &str, data: &str) {
    let answer = ask(&format!("{base}/events/{topic}"), &["-d", data]);
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// An answer that stays open, read by `curl -N` line by line.
struct Following {
    process: Process,
    head: String,
}

impl Following {
    /// Asks, and returns as soon as the head of the answer has come.
    #[track_caller]
    fn open(url: &str, args: &[&str]) -> Self {
        Self::try_open(url, args).unwrap_or_else(|| panic!("no head from {url}"))
    }

    /// The same; none if the connection ends before a head has come.
    fn try_open(url: &str, args: &[&str]) -> Option<Self> {
        let mut command = curl(url, args);
        command.arg("-N");
        let process = Process::spawn(command);
        let mut head = String::new();
        loop {
            let line = process.line(PATIENCE)?;
            if line.trim_end().is_empty() {
                return Some(Self { process, head });
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    /// Reads on to a line that holds `text`. Panics if there is none in time; heartbeats do not lengthen that time.
    #[track_caller]
    fn until(&self, text: &str) -> String {
        self.find(text, |line| line.contains(text))
    }

    /// Reads on to a line that is a heartbeat of an event stream.
    #[track_caller]
    fn until_heartbeat(&self) {
        self.find("a heartbeat", |line| line == ":");
    }

    #[track_caller]
    fn find(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Some(line) = self.process.line(deadline.saturating_duration_since(Instant::now())) {
            if is_it(&line) {
                return line;
            }
            seen.push(line);
        }
        panic!("waited in vain for {what:?}; after\n{}\nthere came {seen:#?}", self.head)
    }

    /// Reads to the end of the answer. Panics if it does not end.
    #[track_caller]
    fn rest(&mut self) -> Vec<String> {
        let lines: Vec<_> = std::iter::from_fn(|| self.process.line(PATIENCE)).collect();
        self.process.wait(PATIENCE);
        lines
    }
}

fn curl(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    // Nothing from this machine's settings; globs are for topics.
    command.args(["-q", "-sS", "-i", "-g", "--noproxy", "*", "-H", "Expect:"]).args(args).arg(url);
    command
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = fields.filter(|(named, _)| named.eq_ignore_ascii_case(name));
    values.next().map_or("", |(_, value)| value.trim_end())
}

/// The sum of a metric's series that have all of `labels`, such as `sign="closed"`.
#[track_caller]
fn metric(gateway: &Gateway, name: &str, labels: &[&str]) -> u64 {
    let scraped = ask(&format!("{}/metrics", gateway.admin_url()), &[]).body;
    let series =
        scraped.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values: Vec<u64> = series
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a whole number"))
        .collect();
    assert!(!values.is_empty(), "there is a series {name} with {labels:?}");
    values.iter().sum()
}

/// How many streams and polls of a transport have ended because nginx closed or reset their connection.
fn ended_by_peer(gateway: &Gateway, transport: &str) -> u64 {
    let transport = format!("transport=\"{transport}\"");
    let signs = |sign| metric(gateway, "encke_stream_last_signs_total", &[&transport, sign]);
    signs("sign=\"closed\"") + signs("sign=\"reset\"")
}

/// How many streams and polls have ended for a reason that the gateway does not know. Always meant to be 0.
fn ended_unknown(gateway: &Gateway) -> u64 {
    metric(gateway, "encke_stream_ends_total", &["reason=\"unknown\""])
}

/// A file of so many bytes in `directory`, for curl to send.
fn file_of(directory: &Path, bytes: usize) -> String {
    let path = directory.join(format!("{bytes}-bytes"));
    std::fs::write(&path, "x".repeat(bytes)).expect("the directory can be written");
    format!("@{}", path.display())
}
