//! Why a connection could not be opened, or ended: the kinds are counted, the words told.

use std::fmt;
use std::io;

/// What went wrong, in a closed set that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Kind {
    /// The server ended its answer in order.
    Ended,
    /// It said goodbye first (`encke.bye`).
    Goodbye,
    /// The connection was closed in the midst of an answer.
    Cut,
    /// It was reset.
    Reset,
    /// Nobody listens there.
    Refused,
    /// No connection, or no answer, in time.
    Timeout,
    /// No TLS came about.
    Tls,
    /// This machine has no port, or this process no descriptor, left for another connection.
    Exhausted,
    /// The answer is no HTTP, or its content is not what it says.
    Malformed,
    /// The answer was of another status than 200.
    Status(u16),
    /// The answer is of another media type.
    MediaType,
    /// Anything else that the operating system told.
    Network,
}

/// A kind with its words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{words}")]
pub(in crate::cli) struct Trouble {
    pub(in crate::cli) kind: Kind,
    pub(in crate::cli) words: String,
}

impl Trouble {
    pub(in crate::cli) fn new(kind: Kind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }

    /// The answer was not the one that was hoped for.
    pub(in crate::cli) fn status(status: u16) -> Self {
        Self::new(Kind::Status(status), format!("the answer has the status {status}"))
    }

    /// Nothing came for too long.
    pub(in crate::cli) fn late() -> Self {
        Self::new(Kind::Timeout, "no answer in time")
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Kind::Reset
            }
            io::ErrorKind::UnexpectedEof => Kind::Cut,
            io::ErrorKind::TimedOut => Kind::Timeout,
            io::ErrorKind::AddrNotAvailable => Kind::Exhausted,
            io::ErrorKind::InvalidData => Kind::Tls, // So rustls says that it understands nothing.
            // EMFILE and ENFILE have no kind of their own.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => Kind::Exhausted,
            _ => Kind::Network,
        };
        Self::new(kind, error.to_string())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "ended",
            Self::Goodbye => "goodbye",
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Exhausted => "exhausted",
            Self::Malformed => "malformed",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::MediaType => "media type",
            Self::Network => "network",
        })
    }
}
