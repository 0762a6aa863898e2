//! What the process holds, and what it has counted.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use serde_json::Value;

use crate::round::Tally;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::wait_for;

/// Figures of a gateway at rest: nobody is connected.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    process: u32,
    /// Memory of its own, in bytes (`RssAnon`).
    memory: u64,
    descriptors: usize,
    threads: u64,
    /// Streams opened, by transport.
    opens: BTreeMap<String, u64>,
    /// Streams ended, by transport.
    ends: BTreeMap<String, u64>,
    /// Streams ended, by reason.
    reasons: BTreeMap<String, u64>,
}

/// Reasons for which streams end here. Nobody is to be told that we do not know, or that we failed.
const EXPECTED: [&str; 5] = ["complete", "auth_expired", "slow_reader", "client_left", "dropped_came_back"];

impl Figures {
    /// Waits until nobody is connected, and looks.
    #[track_caller]
    pub(super) fn at_rest(gateway: &mut Gateway) -> Self {
        let mut text = String::new();
        // Whoever asks is connected, too.
        wait_for("everybody to have left", || {
            text = scrape(gateway);
            let active = (
                sum(&text, "encke_streams_active"),
                sum(&text, "encke_feeds_active"),
                sum(&text, "encke_connections_active"),
            );
            active == (0, 0, 1)
        });
        wait_for("it to be decided why each has ended", || {
            text = scrape(gateway);
            sum(&text, "encke_stream_opens_total") == sum(&text, "encke_stream_ends_total")
        });
        Self::of(gateway.process().id(), &text)
    }

    /// What a process holds, and what its metrics say.
    pub(super) fn of(process: u32, text: &str) -> Self {
        Self {
            process,
            memory: status(process, "RssAnon") << 10,
            descriptors: descriptors(process),
            threads: status(process, "Threads"),
            opens: by(text, "encke_stream_opens_total", "transport"),
            ends: by(text, "encke_stream_ends_total", "transport"),
            reasons: by(text, "encke_stream_ends_total", "reason"),
        }
    }

    /// The last of these, with the least memory that any has.
    pub(super) fn least_of(all: &[Self]) -> Self {
        let memory = all.iter().map(|figures| figures.memory).min().expect("there is one");
        Self { memory, ..all.last().expect("there is one").clone() }
    }

    /// The same of a process that holds so much memory.
    pub(super) fn with_memory(self, memory: u64) -> Self {
        Self { memory, ..self }
    }

    /// The end of the log, as a poll is told that begins there.
    pub(super) fn edge(gateway: &Gateway) -> String {
        let answer = Request::get("/events/news/a?transport=long-poll").ask(gateway.address());
        let answer: Value = answer.json();
        answer["cursor"].as_str().expect("a cursor").to_owned()
    }

    /// Every stream that was opened since `before` has ended, and there are as many as clients know of.
    #[track_caller]
    pub(super) fn hold_ends(&self, before: &Self, tally: &Tally) {
        assert_eq!(self.opens, self.ends, "what was opened has ended, with one reason each");
        for (transport, opens) in &self.opens {
            let (opened, known) =
                (opens - before.opens[transport], tally.opened.get(transport.as_str()).copied().unwrap_or(0));
            let most = known + tally.unsure;
            assert!(
                (known..=most).contains(&opened),
                "{transport}: {opened} opened; clients know of {known} to {most}"
            );
        }
        for (reason, count) in &self.reasons {
            let ended = count - before.reasons[reason];
            assert!(ended == 0 || EXPECTED.contains(&reason.as_str()), "{ended} streams ended as {reason}");
        }
        let slow = self.reasons["slow_reader"] - before.reasons["slow_reader"];
        assert!(slow >= tally.never_read, "{slow} slow readers, and {} never read", tally.never_read);
    }

    /// The process holds what it held before, but for `kept` bytes, and `files` that its store may open later.
    #[track_caller]
    pub(super) fn hold(&self, before: &Self, kept: u64, files: usize) {
        // The connection of the last scrape may be on its way out; threads for blocking calls end after some seconds.
        wait_for("descriptors as before", || descriptors(self.process) <= before.descriptors + files);
        wait_for("threads as before", || status(self.process, "Threads") <= before.threads);
        self.hold_memory(before, kept);
    }

    /// There are at most `kept` bytes more.
    #[track_caller]
    pub(super) fn hold_memory(&self, before: &Self, kept: u64) {
        let grown = self.memory.saturating_sub(before.memory);
        assert!(
            grown <= kept,
            "memory has grown by {grown} bytes, of which {kept} may stay: before {before}; now {self}"
        );
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, descriptors, threads, .. } = self;
        let ended: u64 = self.ends.values().sum();
        write!(f, "{} KiB, {descriptors} descriptors, {threads} threads, {ended} streams ended", memory >> 10)
    }
}

/// How many streams have ended for this reason.
pub(super) fn ended(gateway: &Gateway, reason: &str) -> u64 {
    by(&scrape(gateway), "encke_stream_ends_total", "reason")[reason]
}

/// The oldest offset that can still be read, as the admin address tells it.
pub(super) fn first_offset(admin: &str) -> u64 {
    sum(&scrape_from(admin), "encke_log_first_offset")
}

fn scrape(gateway: &Gateway) -> String {
    scrape_from(gateway.admin_url().trim_start_matches("http://"))
}

fn scrape_from(admin: &str) -> String {
    Request::get("/metrics").ask(admin).text()
}

fn sum(text: &str, name: &str) -> u64 {
    samples(text, name).map(|(_, value)| value).sum()
}

/// The sums of a metric by the values of a label.
fn by(text: &str, name: &str, label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in samples(text, name) {
        let (_, rest) = labels.split_once(&format!("{label}=\"")).expect("it has the label");
        let (of, _) = rest.split_once('"').expect("a value in quotes");
        *sums.entry(of.to_owned()).or_default() += value;
    }
    sums
}

/// Labels and value of each series of a metric.
fn samples<'a>(text: &'a str, name: &str) -> impl Iterator<Item = (&'a str, u64)> {
    let lines =
        text.lines().filter_map(move |line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    lines.map(|rest| {
        let (labels, value) = rest.rsplit_once(' ').expect("a value");
        (labels, value.parse().expect("a whole number"))
    })
}

/// How many files it has open.
fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count()
}

/// A number of `proc(5)`, `status`; of memory in KiB.
fn status(process: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("it is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
