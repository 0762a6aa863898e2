//! From facts to exactly one end reason: the order in which they are looked at, and nothing else.
//!
//! The order is that of certainty: what we did ourselves, what the client said, what the kernel knows, what many streams of
//! the path have taught, and last whether the client came back. RST or FIN alone decides nothing: proxies and browsers use
//! both for the same (measured: `HAProxy` resets where nginx closes; a killed Firefox resets, a killed Chromium closes).

use std::time::Duration;

use super::{Departure, EndReason, Gone};

/// What is known about an end beside its own facts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// Its client said goodbye.
    pub(super) goodbye: bool,
    /// It is as old as streams of its path may become.
    pub(super) at_duration_limit: bool,
    /// It had been quiet for as long as streams of its path may be.
    pub(super) at_idle_limit: bool,
    /// Many others of its path ended with it, of several ages.
    pub(super) in_mass: bool,
    /// Others of its HTTP/2 connection ended with it.
    pub(super) with_its_connection: bool,
    /// Its client came back.
    pub(super) came_back: bool,
}

/// How long the socket must have taken nothing for an end to be one of a slow reader: proxies give up after 50 or 60 s of
/// that, and shorter waits are the ordinary pace of a network.
pub(super) const BLOCKED: Duration = Duration::from_secs(10);

/// The quiet from which on a NAT or load balancer may forget a connection.
const FORGETTABLE: Duration = Duration::from_secs(60);

/// How soon a reset comes after a write to a connection that was forgotten: a round trip or two.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Why a stream ended.
#[must_use]
pub(super) fn judge(end: &Departure, known: Circumstances) -> EndReason {
    if let Some(reason) = end.reason {
        return reason; // A peer that left while we were saying goodbye was told so first.
    }
    if known.goodbye {
        return EndReason::ClientGoodbye;
    }
    if let Some(reason) = by_the_kernel(end) {
        return reason;
    }
    if end.gone == Gone::No {
        // The drain time was over before its turn to say goodbye came: it was cut.
        return if end.draining { EndReason::ServerShutdown } else { EndReason::Unknown };
    }
    if !end.gone.is_by_peer() {
        return EndReason::Unknown;
    }
    match known {
        Circumstances { at_duration_limit: true, .. } => EndReason::ProxyMaxDuration,
        Circumstances { at_idle_limit: true, .. } => EndReason::ProxyIdleTimeout,
        Circumstances { in_mass: true, .. } => EndReason::ProxyRestart,
        _ if end.gone == Gone::StreamReset => EndReason::H2Reset,
        // A browser that is closed takes its connection with all streams along, too; but it does not come back.
        Circumstances { with_its_connection: true, came_back: true, .. } => EndReason::H2ConnectionLost,
        Circumstances { came_back: true, .. } => EndReason::DroppedCameBack,
        _ => EndReason::ClientLeft,
    }
}

/// Whether nothing that may become known later changes the verdict.
#[must_use]
pub(super) fn is_final(end: &Departure) -> bool {
    end.reason.is_some() || by_the_kernel(end).is_some() || !end.gone.is_by_peer()
}

/// Whether an end may be a timer's: the other end closed, and nothing of our own explains it.
#[must_use]
pub(super) fn is_evidence(end: &Departure) -> bool {
    end.reason.is_none() && end.gone.is_by_peer() && by_the_kernel(end).is_none()
}

/// What the socket and the kernel alone make certain.
fn by_the_kernel(end: &Departure) -> Option<EndReason> {
    let is_blocked = end.blocked.is_some_and(|blocked| blocked >= BLOCKED);
    match end.gone {
        Gone::Stalled => Some(EndReason::SlowReader),
        // Probes of a shut window are answered by a peer that lives: it is slow, and not lost.
        Gone::Silent if is_blocked && end.tcp.is_some_and(|tcp| tcp.since_acknowledged < BLOCKED) => {
            Some(EndReason::SlowReader)
        }
        Gone::Silent | Gone::Unreachable => Some(EndReason::Blackhole),
        _ if end.gone.is_by_peer() && is_blocked => Some(EndReason::SlowReader),
        Gone::Reset if end.quiet_before >= FORGETTABLE && end.idle <= AT_ONCE && !is_acknowledged(end) => {
            Some(EndReason::NatIdleExpired)
        }
        _ => None,
    }
}

/// Whether the last write is known to have reached the other end before the end came.
fn is_acknowledged(end: &Departure) -> bool {
    end.tcp.is_some_and(|tcp| tcp.unacknowledged == 0 && tcp.since_acknowledged <= end.idle)
}

#[cfg(test)]
mod tests {
    use super::super::{ShortName, TcpInfo};
    use super::*;

    const NOTHING: Circumstances = Circumstances {
        goodbye: false,
        at_duration_limit: false,
        at_idle_limit: false,
        in_mass: false,
        with_its_connection: false,
        came_back: false,
    };

    fn end(gone: Gone) -> Departure {
        Departure {
            name: ShortName(0),
            transport: "sse",
            reason: None,
            gone,
            draining: false,
            age: Duration::from_secs(100),
            idle: Duration::from_secs(5),
            quiet_before: Duration::from_secs(15),
            outlived: Duration::from_secs(15),
            blocked: None,
            tcp: None,
            given: 0,
            time_limit: None,
        }
    }

    #[track_caller]
    fn check(end: Departure, known: Circumstances, expected: EndReason) {
        assert_eq!(judge(&end, known), expected, "{end:?} {known:?}");
    }

    #[test]
    fn what_we_did_ourselves_comes_first() {
        let ours = Departure { reason: Some(EndReason::Limit), ..end(Gone::Reset) };
        check(ours, Circumstances { goodbye: true, at_idle_limit: true, ..NOTHING }, EndReason::Limit);
        check(end(Gone::No), NOTHING, EndReason::Unknown);
        check(Departure { draining: true, ..end(Gone::No) }, NOTHING, EndReason::ServerShutdown);
        check(Departure { draining: true, ..end(Gone::Closed) }, NOTHING, EndReason::ClientLeft);
    }

    #[test]
    fn who_says_goodbye_is_believed() {
        let all = Circumstances { goodbye: true, at_idle_limit: true, came_back: true, ..NOTHING };
        check(end(Gone::Closed), all, EndReason::ClientGoodbye);
    }

    #[test]
    fn the_kernel_knows_who_takes_nothing_and_who_is_lost() {
        let tcp = |since_acknowledged, unacknowledged| {
            Some(TcpInfo { since_acknowledged, unacknowledged, ..TcpInfo::default() })
        };
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(60));
        check(end(Gone::Stalled), NOTHING, EndReason::SlowReader);
        check(end(Gone::Silent), NOTHING, EndReason::Blackhole);
        check(end(Gone::Unreachable), NOTHING, EndReason::Blackhole);
        check(
            Departure { blocked: Some(long), tcp: tcp(short, 3), ..end(Gone::Silent) },
            NOTHING,
            EndReason::SlowReader,
        );
        check(Departure { blocked: Some(long), tcp: tcp(long, 3), ..end(Gone::Silent) }, NOTHING, EndReason::Blackhole);
        check(Departure { blocked: Some(long), ..end(Gone::Reset) }, NOTHING, EndReason::SlowReader);
        check(Departure { blocked: Some(short), ..end(Gone::Reset) }, NOTHING, EndReason::ClientLeft);
    }

    #[test]
    fn a_reset_right_after_a_long_quiet_is_a_forgotten_connection() {
        let quiet = Duration::from_secs(90);
        let forgotten = Departure { quiet_before: quiet, idle: Duration::from_millis(80), ..end(Gone::Reset) };
        check(forgotten, Circumstances { came_back: true, ..NOTHING }, EndReason::NatIdleExpired);
        check(Departure { idle: quiet, ..forgotten }, NOTHING, EndReason::ClientLeft);
        check(Departure { gone: Gone::Closed, ..forgotten }, NOTHING, EndReason::ClientLeft);
        let acknowledged = TcpInfo { since_acknowledged: Duration::from_millis(40), ..TcpInfo::default() };
        check(Departure { tcp: Some(acknowledged), ..forgotten }, NOTHING, EndReason::ClientLeft);
    }

    #[test]
    fn what_the_path_has_taught_comes_before_whether_the_client_came_back() {
        let known = Circumstances { came_back: true, ..NOTHING };
        check(end(Gone::Closed), Circumstances { at_idle_limit: true, ..known }, EndReason::ProxyIdleTimeout);
        check(
            end(Gone::Reset),
            Circumstances { at_duration_limit: true, at_idle_limit: true, ..known },
            EndReason::ProxyMaxDuration,
        );
        check(end(Gone::Closed), Circumstances { in_mass: true, ..known }, EndReason::ProxyRestart);
        check(end(Gone::Closed), known, EndReason::DroppedCameBack);
        check(end(Gone::Reset), NOTHING, EndReason::ClientLeft);
    }

    #[test]
    fn streams_of_http2_end_alone_or_with_their_connection() {
        let one = end;
        check(one(Gone::Cancelled), NOTHING, EndReason::ClientLeft);
        check(one(Gone::StreamReset), NOTHING, EndReason::H2Reset);
        let together = Circumstances { with_its_connection: true, ..NOTHING };
        check(one(Gone::Reset), together, EndReason::ClientLeft);
        check(one(Gone::Reset), Circumstances { came_back: true, ..together }, EndReason::H2ConnectionLost);
        check(end(Gone::Failed), NOTHING, EndReason::Unknown);
    }
}
