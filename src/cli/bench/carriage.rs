//! By which transport events are read: `--transport sse,poll:1s,long-poll`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::time;

/// A transport, and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carriage {
    pub(super) transport: Transport,
    /// How often a poll asks, if that was said here.
    pub(super) interval: Option<Duration>,
}

/// The transports that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Sse,
    Ndjson,
    LongPoll,
    Poll,
    MultipartReplace,
    MultipartMixed,
}

/// Name and media type of each.
const ALL: [(Transport, &str, &str); 6] = [
    (Transport::Sse, "sse", "text/event-stream"),
    (Transport::Ndjson, "ndjson", "application/x-ndjson"),
    (Transport::LongPoll, "long-poll", "application/json"),
    (Transport::Poll, "poll", "application/json"),
    (Transport::MultipartReplace, "multipart-replace", "multipart/x-mixed-replace"),
    (Transport::MultipartMixed, "multipart-mixed", "multipart/mixed"),
];

impl Transport {
    /// As in `transport=`.
    pub(super) fn name(self) -> &'static str {
        self.row().1
    }

    /// What an answer by it is.
    pub(super) fn media_type(self) -> &'static str {
        self.row().2
    }

    /// Whether each answer ends, and the next is asked for.
    pub(super) fn is_polled(self) -> bool {
        matches!(self, Self::LongPoll | Self::Poll)
    }

    /// Whether it shows the newest event, and may leave out those before.
    pub(super) fn is_state(self) -> bool {
        self == Self::MultipartReplace
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        ALL.iter().find(|(transport, ..)| *transport == self).expect("every transport has a row")
    }
}

impl FromStr for Carriage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, interval) = text.split_once(':').map_or((text, None), |(name, interval)| (name, Some(interval)));
        let found = ALL.iter().find(|(_, known, _)| *known == name);
        let Some((transport, ..)) = found.copied() else {
            return Err(format!("use {}", ALL.map(|(_, name, _)| name).join(", ")));
        };
        if interval.is_some() && transport != Transport::Poll {
            return Err("only poll has an interval, as in poll:5s".into());
        }
        Ok(Self { transport, interval: interval.map(time).transpose()? })
    }
}

impl fmt::Display for Carriage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.transport.name())?;
        match self.interval {
            Some(interval) => write!(f, " every {} s", interval.as_secs_f64()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_named_and_only_polls_have_an_interval() {
        for (transport, name, _) in ALL {
            assert_eq!(name.parse(), Ok(Carriage { transport, interval: None }));
            assert_eq!(transport.name(), name);
        }
        let poll: Carriage = "poll:0.5".parse().expect("a poll");
        assert_eq!(poll.interval, Some(Duration::from_millis(500)));
        assert_eq!(poll.to_string(), "poll every 0.5 s");
        for wrong in ["", "SSE", "poll:", "poll:0", "poll:-1s", "sse:1s", "long-poll:5s", "poll:1s:2s"] {
            assert!(wrong.parse::<Carriage>().is_err(), "{wrong}");
        }
    }
}
