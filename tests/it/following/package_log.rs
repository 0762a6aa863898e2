//! The package manager's own log, growing, read by a browser and by curl while the gateway is killed.

use std::fs;
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::packages::Packages;
use super::{command, encke, gateway};
use crate::support::browser::Browser;
use crate::support::page_server::{PageServer, page};
use crate::support::process::Process;
use crate::support::whatwg::Parser;
use crate::support::{PATIENCE, wait_for};

/// Where dpkg writes (`dpkg(1)`, FILES).
const LOG: &str = "/var/log/dpkg.log";
/// How long the log has to be.
const LINES: usize = 10_000;
const TOPIC: &str = "machine/packages";
/// What is published after the last line.
const END: &str = "this is no line of the log";
/// For thousands of syncs on a slow disk.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn every_line_of_the_package_managers_log_is_seen_once_by_a_browser_and_by_curl() {
    let packages = Packages::build(40);
    while log_lines().len() < LINES {
        packages.come_and_go();
    }
    let before = log_lines().len();

    let pages = PageServer::start();
    let origin = pages.url("");
    let mut gateway = gateway(&["--cors-origin", &origin]);
    let stream = format!("{}/events/{TOPIC}?lastEventId=earliest", gateway.url());
    pages.page("/", &page(&script(&stream)));
    let mut tail = encke(&gateway, ["tail", LOG, "--from-start", "--topic", TOPIC]);
    let _browser = Browser::chromium(&pages.url("/"));
    let curl = Curl::default();
    let lines_at_end = thread::scope(|scope| {
        let _over = Over(&curl);
        scope.spawn(|| curl.read_over_restarts(&stream));
        let writes = scope.spawn(|| packages.come_and_go());
        assert_eq!(pages.result(), "open", "the browser reads along before the kill");
        curl.wait_for(LINES / 3);
        gateway.kill9();
        writes.join().expect("dpkg did its work while the log was followed");
        // Whatever was written by now may have been published before the kill.
        packages.come_and_go();
        wait_for("tail to miss the gateway", || tail.errors().contains("trying until it answers"));
        gateway.restart();
        assert!(log_lines().len() > before, "the log grew");
        curl.wait_for(log_lines().len());
        // At the live edge, too.
        packages.come_and_go();
        let lines = log_lines().len();
        curl.wait_for(lines);
        tail.terminate();
        assert_eq!(tail.wait(PATIENCE).code(), Some(0));
        let published = command(&gateway, ["publish", TOPIC, END]).output().expect("encke runs");
        assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
        lines
    });
    assert!(tail.errors().contains("is back after"), "tail went through the kill: {}", tail.errors());

    // Another dpkg of this machine may have written a few lines more.
    let log = log_lines();
    let curl = curl.seen.into_inner().expect("nobody panicked with it");
    assert!(curl.opened > 1, "curl was cut and came back");
    let curl = curl.lines;
    assert!(curl.len() >= lines_at_end);
    assert_same("curl", &curl, &log[..curl.len().min(log.len())]);
    let report = pages.result_within(LONG_PATIENCE);
    let browser: Vec<String> = serde_json::from_value(report["lines"].clone()).expect("a list of lines");
    assert_same("the browser", &browser, &curl);
    assert!(report["opened"].as_u64() > Some(1), "the browser was cut and came back: {}", report["opened"]);
    assert_eq!(report["told"], Value::Array(Vec::new()), "no gap was told");
}

fn log_lines() -> Vec<String> {
    let log = fs::read(LOG).unwrap_or_else(|error| panic!("{LOG}: {error}; this test needs a system with dpkg"));
    let log = String::from_utf8(log).expect("dpkg writes ASCII");
    log.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_same(who: &str, seen: &[String], expected: &[String]) {
    let at = seen.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let (seen_at, expected_at) = (seen.get(at), expected.get(at));
    let lengths = (seen.len(), expected.len());
    assert!(seen == expected, "{who}: {lengths:?} lines; line {at} is {seen_at:?} and not {expected_at:?}");
}

/// Collects the lines, over every reconnection that the browser makes by itself.
fn script(stream: &str) -> String {
    format!(
        r#"
const lines = [], told = [];
let opened = 0;
const source = new EventSource({stream:?});
source.onopen = () => {{ if (++opened === 1) report("open"); }};
source.onmessage = (event) => {{
  if (event.data !== {END:?}) return lines.push(event.data);
  source.close();
  report({{ lines, opened, told }});
}};
source.addEventListener("encke.gap", (event) => told.push(event.data));
"#
    )
}

/// `curl -N` in a loop, each time with the last id that it was given.
#[derive(Default)]
struct Curl {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    opened: usize,
    over: bool,
}

/// Ends the loop also when the test fails.
struct Over<'a>(&'a Curl);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.seen().over = true;
        }
    }
}

impl Curl {
    fn read_over_restarts(&self, stream: &str) {
        let mut last = String::new();
        while !self.seen().over {
            last = self.read(stream, last);
        }
    }

    /// One run, up to its cut; gives the last id.
    fn read(&self, stream: &str, last: String) -> String {
        let mut curl = Command::new("curl");
        // Retried is only what was never answered.
        curl.args(["-sSN", "--retry", "30", "--retry-delay", "1", "--retry-connrefused", stream]);
        if !last.is_empty() {
            curl.args(["-H", &format!("Last-Event-ID: {last}")]);
        }
        let curl = Process::spawn(curl);
        let (mut parser, mut last) = (Parser::new(), last);
        self.seen().opened += 1;
        while let Some(line) = curl.line(PATIENCE) {
            for event in parser.feed(format!("{line}\n").as_bytes()) {
                last.clone_from(&event.last_event_id);
                let mut seen = self.seen();
                match event.kind.as_str() {
                    "message" if event.data == END => seen.over = true,
                    "message" => seen.lines.push(event.data),
                    _ => assert_eq!(event.kind, "encke.hello", "{event:?}"),
                }
                self.more.notify_all();
            }
            if self.seen().over {
                break;
            }
        }
        last
    }

    /// Waits for so many lines.
    #[track_caller]
    fn wait_for(&self, lines: usize) {
        let seen = self.seen();
        let waited = self.more.wait_timeout_while(seen, LONG_PATIENCE, |seen| seen.lines.len() < lines);
        let (seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "curl saw {} lines of {lines}", seen.lines.len());
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A check that fails with it in hand is told by itself; it must not hide behind a second panic.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
