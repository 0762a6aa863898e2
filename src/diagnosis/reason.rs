//! Why streams end: a closed set.

/// Why a stream or a poll ended. Exactly one for each; doubt is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// We gave the whole answer, or ended a stream that had all it was to have.
    Complete,
    /// The gateway is shutting down.
    ServerShutdown,
    /// We cut it because we were asked to.
    ServerRecycle,
    /// The rules or keys changed, and it may no longer read what it asked for.
    AuthExpired,
    /// Its session has a newer one.
    Superseded,
    /// Something was gone, and the subscriber had asked to be closed then.
    GapClose,
    /// It had been given as many events as it had asked for.
    Limit,
    /// The log could not be read.
    SourceError,
    /// Its client said that it leaves.
    ClientGoodbye,
    /// The other end closed it, and did not come back: a tab closed, a page left, a program ended.
    ClientLeft,
    /// The peer took no byte for too long, or an intermediary gave it up for that.
    SlowReader,
    /// Nothing came back any more, not even acknowledgements: a dead host, link or route.
    Blackhole,
    /// What was written after a long quiet was answered by a reset: a NAT or load balancer had forgotten the connection.
    NatIdleExpired,
    /// The connection was lost, and its client came back by itself: nobody wanted that.
    DroppedCameBack,
    /// An intermediary's timer for quiet connections.
    ProxyIdleTimeout,
    /// An intermediary's timer for how long an answer may take in all.
    ProxyMaxDuration,
    /// Many streams of one path ended at once: an intermediary was restarted or took a new configuration.
    ProxyRestart,
    /// We ended it as an intermediary hands on nothing before the end.
    Held,
    /// The other end reset the HTTP/2 stream with another code than `CANCEL`.
    H2Reset,
    /// The HTTP/2 connection was lost with several streams.
    H2ConnectionLost,
    /// Anything else.
    Unknown,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 21] = [
        Self::Complete,
        Self::ServerShutdown,
        Self::ServerRecycle,
        Self::AuthExpired,
        Self::Superseded,
        Self::GapClose,
        Self::Limit,
        Self::SourceError,
        Self::ClientGoodbye,
        Self::ClientLeft,
        Self::SlowReader,
        Self::Blackhole,
        Self::NatIdleExpired,
        Self::DroppedCameBack,
        Self::ProxyIdleTimeout,
        Self::ProxyMaxDuration,
        Self::ProxyRestart,
        Self::Held,
        Self::H2Reset,
        Self::H2ConnectionLost,
        Self::Unknown,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ServerShutdown => "server_shutdown",
            Self::ServerRecycle => "server_recycle",
            Self::AuthExpired => "auth_expired",
            Self::Superseded => "superseded",
            Self::GapClose => "gap_close",
            Self::Limit => "limit",
            Self::SourceError => "source_error",
            Self::ClientGoodbye => "client_goodbye",
            Self::ClientLeft => "client_left",
            Self::SlowReader => "slow_reader",
            Self::Blackhole => "blackhole",
            Self::NatIdleExpired => "nat_idle_expired",
            Self::DroppedCameBack => "dropped_came_back",
            Self::ProxyIdleTimeout => "proxy_idle_timeout",
            Self::ProxyMaxDuration => "proxy_max_duration",
            Self::ProxyRestart => "proxy_restart",
            Self::Held => "held",
            Self::H2Reset => "h2_reset",
            Self::H2ConnectionLost => "h2_connection_lost",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_stands_in_the_list() {
        let names: HashSet<_> = EndReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), EndReason::ALL.len());
        // A reason that is added and not listed has no series from the start: the last of the enum is the last of the list.
        assert_eq!(EndReason::ALL.len(), EndReason::Unknown as usize + 1);
    }
}
