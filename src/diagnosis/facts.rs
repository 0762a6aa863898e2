//! What is recorded of a stream: who opened it, and how it ended. Plain data; owners of sockets fill it in.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::EndReason;

/// How the other end went, as the socket told it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gone {
    /// It is still there, as far as we know.
    No,
    /// It closed its side (FIN).
    Closed,
    /// It reset the connection (RST), or wrote to us what no peer may.
    Reset,
    /// It took no byte for so long that we gave up.
    Stalled,
    /// Nothing was acknowledged for so long that the kernel, or we, gave up (`ETIMEDOUT`).
    Silent,
    /// The network says that there is no way to it (`EHOSTUNREACH`, `ENETUNREACH`).
    Unreachable,
    /// It cancelled the HTTP/2 stream (`RST_STREAM` with `CANCEL` or `NO_ERROR`).
    Cancelled,
    /// It reset the HTTP/2 stream with another code.
    StreamReset,
    /// Another error of the socket.
    Failed,
}

impl Gone {
    /// Every way.
    pub const ALL: [Self; 9] = [
        Self::No,
        Self::Closed,
        Self::Reset,
        Self::Stalled,
        Self::Silent,
        Self::Unreachable,
        Self::Cancelled,
        Self::StreamReset,
        Self::Failed,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "none",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Cancelled => "cancelled",
            Self::StreamReset => "stream_reset",
            Self::Failed => "failed",
        }
    }

    /// The value with this number, as it is kept in an atomic.
    #[must_use]
    pub fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::No)
    }

    /// Whether the other end, or something on the way, ended the connection or the stream on purpose.
    #[must_use]
    pub fn is_by_peer(self) -> bool {
        matches!(self, Self::Closed | Self::Reset | Self::Cancelled | Self::StreamReset)
    }
}

/// What the kernel knew of a connection when it ended (`TCP_INFO`, Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// For how long no acknowledgement had come.
    pub since_acknowledged: Duration,
    /// Segments that were sent and not acknowledged.
    pub unacknowledged: u32,
    /// Bytes that were not even sent, as the peer's window or the network did not let them.
    pub not_sent: u32,
    /// Segments sent again, since the connection began.
    pub retransmitted: u32,
    /// The smoothed time of a round trip.
    pub round_trip: Duration,
}

/// How a stream is called where it is shown: the first eight digits of its id. Whoever knows the whole id can speak for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortName(pub u32);

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A stream that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// How it is shown.
    pub name: ShortName,
    /// The keyed hash of its whole id, if whoever asks knows that.
    pub stream: Option<NonZeroU64>,
}

impl Called {
    /// Whether a stream of this name and hash is meant.
    #[must_use]
    pub fn is(&self, name: ShortName, stream: NonZeroU64) -> bool {
        self.name == name && self.stream.is_none_or(|asked| asked == stream)
    }
}

/// Who opened a stream, as far as it matters for why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// A keyed hash of its session and selection, if it named a session.
    pub session: Option<NonZeroU64>,
    /// A keyed hash of its address, user agent and selection.
    pub who: NonZeroU64,
    /// A keyed hash of its client's address prefix. None if that is not known, or if it is one's own.
    pub prefix: Option<NonZeroU32>,
    /// A keyed hash of its address and user agent, if both are those of one browser: it comes straight, from an address of
    /// one's own.
    pub browser: Option<NonZeroU32>,
    /// Up to which offset it says that it has everything: it was here before.
    pub has: Option<u64>,
    /// A keyed hash of what the stream is called.
    pub stream: NonZeroU64,
}

/// Which limits of its path an open stream was told to be past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlived {
    /// That of its quiet.
    pub quiet: bool,
    /// That of its age.
    pub age: bool,
}

/// What a client said when it had the beginning of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How much later it had it than it was written, and the time that its word took.
    pub late: Option<Duration>,
    /// Bytes of padding that were sent until it had it.
    pub padded: u32,
}

/// How a stream or poll ended, as its owner saw it.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// How it is shown.
    pub name: ShortName,
    /// Its transport.
    pub transport: &'static str,
    /// Our own reason, if we ended it.
    pub reason: Option<EndReason>,
    /// What the socket said.
    pub gone: Gone,
    /// The gateway was draining.
    pub draining: bool,
    /// From its opening to its end.
    pub age: Duration,
    /// From our last byte to its end.
    pub idle: Duration,
    /// The quiet before our last byte.
    pub quiet_before: Duration,
    /// The longest quiet that it outlived: there was another write after the one that ended it.
    pub outlived: Duration,
    /// For how long the socket had not taken all that was written, if it had not.
    pub blocked: Option<Duration>,
    /// What the kernel knew, where that could be asked.
    pub tcp: Option<TcpInfo>,
    /// Up to which offset it had been given everything.
    pub given: u64,
    /// How old its request said that it may become (Envoy: `x-envoy-expected-rq-timeout-ms`).
    pub time_limit: Option<Duration>,
}
