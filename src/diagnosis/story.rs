//! What became of single streams: of the last that ended, all that was recorded of each, as data and in a few sentences.
//!
//! Bounded: a ring of [`Stories::KEPT`]. Nothing of what a stream was of, nor of who read it: a stream is told apart by a part of
//! its id alone.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::num::NonZeroU64;
use std::time::Duration;

use super::signature::PathKey;
use super::signature::Protocol;
use super::{Departure, EndReason, Gone, Product, Seconds, TcpInfo};

/// The life of one stream that has ended for a reason that is final.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// A keyed hash of its id.
    pub stream: NonZeroU64,
    /// Its path; none if that had no place of its own.
    pub path: Option<PathKey>,
    /// When it ended.
    pub ended: Duration,
    /// How it ended.
    pub end: Departure,
    /// Why.
    pub reason: EndReason,
    /// The timer of its path that explains it.
    pub limit: Option<Duration>,
    /// Its reason was open until it was known whether its client came back.
    pub waited: bool,
    /// Its client, which came back.
    pub back: Option<Back>,
}

/// How the client of a stream that had ended came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    /// How long it was away.
    pub after: Duration,
    /// It was known by its session; else by its address, its user agent and what it reads.
    pub is_strong: bool,
    /// How many events it had not been given that had been written to its stream; none if that is not known.
    pub missed: Option<u64>,
}

/// The story of one of the last ends, by which it is found while it is kept.
pub(super) type StoryNumber = u64;

/// The stories of the last ends.
#[derive(Debug, Default)]
pub(super) struct Stories {
    kept: VecDeque<Story>,
    /// The number of the first that is kept.
    first: StoryNumber,
}

impl Stories {
    /// How many are kept.
    pub(super) const KEPT: usize = 256;

    /// Keeps one more, in the place of the oldest if there are too many.
    pub(super) fn keep(&mut self, story: Story) -> StoryNumber {
        if self.kept.len() == Self::KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(story);
        self.first + self.kept.len() as u64 - 1
    }

    /// The one with this number, if it is still kept.
    pub(super) fn get(&mut self, number: StoryNumber) -> Option<&mut Story> {
        self.kept.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The newest of a stream. Cost: a look at each that is kept.
    pub(super) fn of(&mut self, stream: NonZeroU64) -> Option<&mut Story> {
        self.kept.iter_mut().rev().find(|story| story.stream == stream)
    }

    /// All of them, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Story> {
        self.kept.iter().rev()
    }
}

impl Story {
    /// The name of its path, as metrics are labelled with it.
    #[must_use]
    pub fn label(&self) -> String {
        self.path.map_or_else(|| "other".to_owned(), |path| path.to_string())
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.ended.saturating_sub(self.end.age)
    }

    /// All of it in a few sentences. `at`: a moment as people tell it.
    #[must_use]
    pub fn told(&self, at: impl Fn(Duration) -> String) -> String {
        let Self { end, .. } = self;
        let mut told = format!("Opened at {} {}, as {}", at(self.began()), self.way(), end.transport);
        let _ = match end.age.saturating_sub(end.idle) {
            Duration::ZERO => write!(told, "; not a byte was sent"),
            _ => write!(told, "; sent its last byte at {}", at(self.ended.saturating_sub(end.idle))),
        };
        let later = Span(end.idle);
        let _ = match (self.ours(), end.gone) {
            (Some(ours), Gone::No) => write!(told, "; {later} later {ours}"),
            (Some(ours), gone) => write!(told, "; {later} later {ours}; {}", went(gone)),
            (None, gone) => write!(told, "; {later} later {}", went(gone)),
        };
        let _ = match end.blocked {
            Some(blocked) => write!(told, ", after its socket had taken nothing for {}.", Span(blocked)),
            None => write!(told, "."),
        };
        if let Some(quiet) = Some(end.outlived.max(end.quiet_before)).filter(|quiet| !quiet.is_zero()) {
            let _ = write!(told, " The longest quiet between its writes was {}.", Span(quiet));
        }
        if let Some(tcp) = &end.tcp {
            let _ = write!(told, " {}", kernel(tcp));
        }
        let _ = write!(told, " {}", self.verdict());
        let _ = write!(told, " {}", self.return_of_its_client());
        told
    }

    /// By whom and how its request came.
    fn way(&self) -> String {
        let Some(path) = self.path else { return "by a path without a place of its own".to_owned() };
        let over = match path.protocol() {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        };
        match path.product() {
            Product::Direct => format!("over {over} without an intermediary that can be seen"),
            Product::Unknown => format!("by an intermediary that is not known over {over}"),
            product => format!("by {} over {over}", product.title()),
        }
    }

    /// What we did, if we ended it.
    fn ours(&self) -> Option<&'static str> {
        Some(match self.end.reason? {
            EndReason::ServerShutdown => "the gateway ended it, as it stopped",
            EndReason::ServerRecycle => "it was cut by request",
            EndReason::AuthExpired => "the gateway ended it, as it might no longer read what it asked for",
            EndReason::Superseded => "the gateway ended it, as its session had a newer one",
            EndReason::GapClose => "the gateway ended it, as events were gone and it had asked for that",
            EndReason::Limit => "the gateway ended it, as it had been given all that it had asked for",
            EndReason::SourceError => "the gateway ended it, as the log could not be read",
            EndReason::Held => "the gateway ended it, as its client had not what was written",
            _ => "the gateway ended it",
        })
    }

    /// The reason, and what it rests on.
    fn verdict(&self) -> String {
        let reason = self.reason.as_str();
        let limit = self.limit.map(|limit| format!(" ({})", Seconds(limit))).unwrap_or_default();
        let why = match self.reason {
            EndReason::ProxyIdleTimeout => format!("That is where this path cuts quiet streams{limit}"),
            EndReason::ProxyMaxDuration => format!("That is the age at which this path cuts streams{limit}"),
            EndReason::ProxyRestart => "Many others of its path ended with it".to_owned(),
            EndReason::ClientGoodbye => "Its client had said that it leaves".to_owned(),
            EndReason::ClientLeft => "Nothing on the way explains that, so its client left".to_owned(),
            EndReason::SlowReader => "Its reader took too little for too long".to_owned(),
            EndReason::Blackhole => "Nothing came back any more, not even acknowledgements".to_owned(),
            EndReason::NatIdleExpired => {
                "Something on the way had forgotten the connection while it was quiet".to_owned()
            }
            EndReason::DroppedCameBack => "Its client did not want that, as it came back".to_owned(),
            EndReason::H2Reset => "The HTTP/2 stream was reset with another code than CANCEL".to_owned(),
            EndReason::H2ConnectionLost => "Its HTTP/2 connection was lost with other streams".to_owned(),
            EndReason::Unknown => "Why is not known".to_owned(),
            EndReason::Complete
            | EndReason::ServerShutdown
            | EndReason::ServerRecycle
            | EndReason::AuthExpired
            | EndReason::Superseded
            | EndReason::GapClose
            | EndReason::Limit
            | EndReason::SourceError => "The gateway did that itself".to_owned(),
            EndReason::Held => "Something on the way seems to hold events until an answer ends".to_owned(),
        };
        format!("{why}: `{reason}`.")
    }

    fn return_of_its_client(&self) -> String {
        let Some(Back { after, is_strong, missed }) = self.back else {
            return if self.waited { "Nobody came back in time." } else { "Nobody has come back yet." }.to_owned();
        };
        let by = if is_strong { "its session" } else { "its address and what it reads" };
        let missed = match missed {
            Some(0) if self.reason == EndReason::Held => " and had all of it then".to_owned(),
            Some(0) => " and had missed nothing".to_owned(),
            Some(1) => " and had not been given 1 event that had been written".to_owned(),
            Some(events) => format!(" and had not been given {events} events that had been written"),
            None => String::new(),
        };
        format!("Its client, known by {by}, was back {} later{missed}.", Span(after))
    }
}

/// What the socket said, as the end of a sentence.
fn went(gone: Gone) -> &'static str {
    match gone {
        Gone::No => "it ended though its connection was there",
        Gone::Closed => "the other end closed (FIN)",
        Gone::Reset => "the other end reset the connection (RST)",
        Gone::Stalled => "it was given up, as the other end took no byte",
        Gone::Silent => "it was given up, as the other end acknowledged nothing",
        Gone::Unreachable => "the network said that there is no way to the other end",
        Gone::Cancelled => "the other end cancelled the HTTP/2 stream",
        Gone::StreamReset => "the other end reset the HTTP/2 stream",
        Gone::Failed => "the socket failed",
    }
}

/// What the kernel knew.
fn kernel(tcp: &TcpInfo) -> String {
    let TcpInfo { since_acknowledged, unacknowledged, not_sent, retransmitted, round_trip } = *tcp;
    let mut told = match unacknowledged {
        0 => "As the kernel knew, all that it had sent was acknowledged".to_owned(),
        some => format!(
            "As the kernel knew, {some} segments were not acknowledged; the last acknowledgement was {} old",
            Span(since_acknowledged)
        ),
    };
    if retransmitted > 0 {
        let _ = write!(told, "; {retransmitted} segments had been sent again");
    }
    if not_sent > 0 {
        let _ = write!(told, "; {not_sent} bytes had not even been sent");
    }
    let _ = write!(told, "; a round trip took {:.2} ms.", round_trip.as_secs_f64() * 1000.0);
    told
}

/// A stretch of time in the life of a stream: `40 ms`, `60.1 s`, `12 min 3 s`, `5 h 10 min`, `3 d 4 h`.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        match whole {
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..600 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            600..3600 => write!(f, "{} min {} s", whole / 60, whole % 60),
            3600..172_800 => write!(f, "{} h {} min", whole / 3600, whole % 3600 / 60),
            _ => write!(f, "{} d {} h", whole / 86_400, whole % 86_400 / 3600),
        }
    }
}

#[cfg(test)]
mod tests;
