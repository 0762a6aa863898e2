//! `curl` on multipart-replace, which shows the newest state: order never goes back, and the final state is right.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::multipart::{self, Part};
use super::publisher::{Event, Publisher};
use super::reading::cut;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

#[test]
fn curl_over_http_1_0_ends_with_the_newest_state() {
    shows_the_newest_state("--http1.0");
}

#[test]
fn curl_over_http_1_1_ends_with_the_newest_state() {
    shows_the_newest_state("--http1.1");
}

#[test]
fn curl_over_http_2_ends_with_the_newest_state() {
    shows_the_newest_state("--http2-prior-knowledge");
}

fn shows_the_newest_state(version: &str) {
    let mut gateway = Gateway::start(&["--dev"]);
    let publisher = Publisher::start(gateway.url(), "state", |n| ("message", format!("{n}\r\n--not a boundary\r\n")));
    let mut shown = Vec::new();

    let mut first = Curl::open(&gateway, version, None);
    first.shows_states(20);
    cut(gateway.url(), &first.field("encke-stream"));
    shown.extend(first.ended());

    // Behind a cursor, the newest state is that of what has come since.
    let last_event_id = id(shown.last().expect("a state was shown"));
    let mut second = Curl::open(&gateway, version, Some(&last_event_id));
    assert_eq!(second.field("encke-resume"), "resumed");
    second.shows_states(20);
    gateway.restart();
    shown.extend(second.ended());

    let mut third = Curl::open(&gateway, version, None);
    third.shows_states(20);
    let published = publisher.stop();
    let newest = &published.last().expect("something was published").id;
    wait_for("the last state", || third.states().last().is_some_and(|part| id(part) == *newest));
    gateway.terminate();
    shown.extend(third.ended());
    never_goes_back(&shown, &published);

    gateway.wait();
    gateway.restart();
    let mut fourth = Curl::open(&gateway, version, None);
    fourth.shows_states(1);
    assert_eq!(id(&fourth.states()[0]), *newest, "who comes anew is shown the newest state at once");
    gateway.kill9();
    never_goes_back(&fourth.ended(), &published);
}

/// Each state is one that was published, and none is older than the one before; the same may be shown again.
fn never_goes_back(shown: &[Part], published: &[Event]) {
    let mut oldest = 0;
    for part in shown {
        let at = published.iter().position(|event| event.id == id(part)).expect("what is shown was published");
        assert!(at >= oldest, "state {at} was shown after state {oldest}");
        assert_eq!(part.content, published[at].data.as_bytes());
        oldest = at;
    }
}

fn id(part: &Part) -> String {
    part.field("encke-id").expect("a part has an id").to_owned()
}

/// One `curl`, whose output goes to a file, as its bytes matter.
struct Curl {
    process: Process,
    directory: TempDir,
}

impl Curl {
    fn open(gateway: &Gateway, version: &str, last_event_id: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--no-buffer",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            version,
        ]);
        command.args(["--header", "Accept: multipart/x-mixed-replace"]);
        if let Some(id) = last_event_id {
            command.args(["--header", &format!("Last-Event-ID: {id}")]);
        }
        command.arg("--output").arg(directory.path().join("content"));
        command.arg("--dump-header").arg(directory.path().join("head"));
        command.arg(format!("{}/events?topic=state", gateway.url()));
        let curl = Self { process: Process::spawn(command), directory };
        wait_for("a whole head", || curl.read("head").ends_with(b"\r\n\r\n"));
        curl
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let path: PathBuf = self.directory.path().join(name);
        fs::read(path).unwrap_or_default()
    }

    /// A header field of the answer.
    fn field(&self, name: &str) -> String {
        let head = String::from_utf8(self.read("head")).expect("a head is ASCII");
        let field = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
        field.unwrap_or_else(|| panic!("no {name} in {head}"))
    }

    /// The parts that have come whole, read strictly.
    fn states(&self) -> Vec<Part> {
        let content_type = self.field("content-type");
        let boundary = content_type.strip_prefix("multipart/x-mixed-replace;boundary=").expect("a boundary");
        let content = self.read("content");
        let delimiter = format!("--{boundary}\r\n");
        let whole = content.windows(delimiter.len()).rposition(|bytes| bytes == delimiter.as_bytes());
        let Some(whole) = whole else { return Vec::new() };
        let (parts, rest) = multipart::read(boundary, &content[..whole + delimiter.len()]).expect("strictly multipart");
        assert!(rest.is_empty(), "nothing but parts");
        parts
    }

    #[track_caller]
    fn shows_states(&self, count: usize) {
        wait_for("states to be shown", || self.states().len() >= count);
    }

    /// All that came until it was cut off.
    fn ended(&mut self) -> Vec<Part> {
        self.process.wait(PATIENCE);
        self.states()
    }
}
