//! What is asked of a server: one file a question.
//!
//! Each question is asked of a fresh server, each round anew: nothing that an earlier one left in it can be measured.

mod connecting;
mod counting;
mod fan;
mod http2;
mod latency;
mod measure;
mod memory;
mod over_tls;
mod proxied;
mod publishing;
mod resuming;
mod slow;
mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ledger::Faults;
use crate::load::Load;
use crate::peer::{Peer, Programs, Running, Setting};
pub use measure::Measure;

/// A question, and of whom it is asked.
pub struct Scenario {
    /// By which it is chosen and noted.
    pub name: &'static str,
    /// The heading of its table.
    pub title: &'static str,
    /// What is done, in a sentence or two.
    pub does: &'static str,
    /// Who is asked unless it is said otherwise.
    pub peers: &'static [Peer],
    /// What its table shows.
    pub figures: &'static [Figure],
    /// What we promise of it.
    pub promises: &'static [Promise],
    /// Asks it.
    pub ask: fn(&Asked<'_>) -> Result<Outcome>,
}

/// A column of a table.
pub struct Figure {
    /// The name in the raw results.
    pub key: &'static str,
    /// The heading.
    pub title: &'static str,
    /// How many digits behind the point.
    pub digits: usize,
}

/// What we promise of a figure of the gateway.
pub struct Promise {
    /// Which figure.
    pub figure: &'static str,
    /// Of which server.
    pub of: Peer,
    /// Against which other server, in the same round; else the figure itself.
    pub against: Option<Peer>,
    /// Not more than this, or not less.
    pub bound: Bound,
}

/// Where a promise ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

impl Bound {
    /// Whether a value keeps it.
    pub fn is_kept(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As promised.
    Full,
    /// A tenth: for a first look.
    Quick,
}

/// One server, asked one question.
pub struct Asked<'a> {
    /// The server.
    pub peer: Peer,
    /// Where programs are.
    pub programs: &'a Programs,
    /// How large.
    pub scale: Scale,
}

/// What one round of one question to one server came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// By the names of [`Figure::key`], and more.
    pub figures: BTreeMap<String, f64>,
    /// What went wrong.
    pub faults: Faults,
    /// Streams that the server ended by itself.
    pub closed: u64,
    /// What else is to be known.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Enters a figure.
    pub fn set(&mut self, key: &str, value: f64) {
        self.figures.insert(key.to_owned(), value);
    }
}

impl Asked<'_> {
    /// So many, or a tenth of them.
    pub fn sized(&self, full: usize) -> usize {
        match self.scale {
            Scale::Full => full,
            Scale::Quick => (full / 10).max(1),
        }
    }

    /// So long at most, or a tenth of it.
    pub fn lasting(&self, full: Duration) -> Duration {
        match self.scale {
            Scale::Full => full,
            Scale::Quick => full / 10,
        }
    }

    /// A fresh server.
    pub fn start(&self) -> Result<Running> {
        self.start_as(&Setting::default())
    }

    /// A fresh server that is set like this.
    pub fn start_as(&self, setting: &Setting) -> Result<Running> {
        self.peer.start(self.programs, setting).with_context(|| format!("{} did not start", self.peer.name()))
    }
}

/// How long nothing may come before what is missing is taken for lost: longer than a busy machine keeps a server waiting.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes `events` events, `topic_of` each, at most `open` of them on their way at once; stops early when `at_most` is
/// over. What does not come is waited for no longer than [`PATIENCE`].
pub fn publish_closed(
    load: &mut Load,
    events: usize,
    open: usize,
    at_most: Duration,
    topic_of: impl Fn(usize) -> u32,
) -> Result<usize> {
    let end = crate::clock::after(at_most);
    let mut sent = 0;
    loop {
        while sent < events && load.open() < open && load.idle_publishers() > 0 && crate::clock::now() < end {
            load.publish(topic_of(sent), crate::clock::now())?;
            sent += 1;
        }
        let last = sent == events || crate::clock::now() >= end;
        let may_go_on = |load: &Load| match last {
            true => load.open() == 0 && load.unanswered() == 0,
            false => load.open() < open && load.idle_publishers() > 0,
        };
        if !load.poll_until(PATIENCE, may_go_on)? {
            load.forget_open();
            anyhow::ensure!(load.idle_publishers() > 0, "a publish was not answered within {PATIENCE:?}");
        }
        if last {
            return Ok(sent);
        }
    }
}

/// Publishes until every subscriber has got something, then begins the accounts: from here on streams are known to work.
pub fn warm_up(load: &mut Load, topics: u32) -> Result<()> {
    let mut complete = false;
    for _ in 0..5 {
        for topic in 0..topics {
            load.poll_until(PATIENCE, |load| load.idle_publishers() > 0)?;
            load.publish(topic, crate::clock::now())?;
        }
        complete = load.poll_until(PATIENCE, |load| load.open() == 0 && load.unanswered() == 0)?;
        load.forget_open();
        if complete {
            break;
        }
    }
    anyhow::ensure!(complete, "not every subscriber got the events by which the streams are tried");
    load.begin_accounts();
    Ok(())
}

/// All questions, in the order of the document.
pub const ALL: &[&Scenario] = &[
    &fan::FAN_1K,
    &fan::FAN_5K,
    &fan::FAN_10K,
    &fan::FAN_19K,
    &fan::BURST_1K,
    &fan::BURST_10K,
    &latency::LATENCY_1K,
    &latency::LATENCY_10K,
    &topics::TOPICS_1K,
    &topics::TOPICS_10K,
    &publishing::PUBLISH,
    &publishing::DURABLE,
    &memory::IDLE_10K,
    &memory::IDLE_19K,
    &memory::STALLED,
    &memory::HEARTBEAT,
    &connecting::CONNECT,
    &connecting::STORM,
    &resuming::RESUME,
    &slow::SLOW,
    &proxied::BEHIND_NGINX,
    &over_tls::OVER_TLS,
    &http2::HTTP2,
    &http2::GROWTH,
    &http2::INSTRUCTIONS,
    &counting::INSTRUCTIONS,
    &counting::SYSCALLS,
];
