//! Exactly one end reason for every stream and poll.

use std::sync::Arc;

use tokio::time::Instant;

use super::peer::{Gone, Peer};
use crate::metrics::{Metrics, StreamMetrics};
use crate::shutdown::Shutdown;

/// Why a stream or a poll ended. A closed set; doubt is `Unknown`.
///
/// `PeerClosed` and `PeerReset` say what the socket said and blame nobody: whether it was the client, a proxy's timer or
/// the network cannot be seen from one socket alone.
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
    /// Something was gone, and the subscriber had asked to be closed then.
    GapClose,
    /// It had been given as many events as it had asked for.
    Limit,
    /// The log could not be read.
    SourceError,
    /// The peer took no byte for too long.
    SlowReader,
    /// The peer closed: FIN, or `RST_STREAM` on HTTP/2.
    PeerClosed,
    /// The peer, or something on the way, reset the connection.
    PeerReset,
    /// Anything else.
    Unknown,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Complete,
        Self::ServerShutdown,
        Self::ServerRecycle,
        Self::AuthExpired,
        Self::GapClose,
        Self::Limit,
        Self::SourceError,
        Self::SlowReader,
        Self::PeerClosed,
        Self::PeerReset,
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
            Self::GapClose => "gap_close",
            Self::Limit => "limit",
            Self::SourceError => "source_error",
            Self::SlowReader => "slow_reader",
            Self::PeerClosed => "peer_closed",
            Self::PeerReset => "peer_reset",
            Self::Unknown => "unknown",
        }
    }
}

/// Counts a stream while it lives and its end when it is dropped, whoever drops it.
#[derive(Debug)]
pub struct Ending {
    metrics: Arc<Metrics>,
    stream: StreamMetrics,
    peer: Arc<Peer>,
    multiplexed: bool,
    shutdown: Shutdown,
    opened: Instant,
    written: Instant,
    reason: Option<EndReason>,
}

impl Ending {
    /// A stream that has just been opened. `multiplexed`: it shares its connection with others (HTTP/2).
    #[must_use]
    pub fn open(
        metrics: &Arc<Metrics>,
        transport: &'static str,
        resume: &'static str,
        peer: Arc<Peer>,
        multiplexed: bool,
        shutdown: Shutdown,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream: metrics.open(transport, resume),
            metrics: Arc::clone(metrics),
            peer,
            multiplexed,
            shutdown,
            opened: now,
            written: now,
            reason: None,
        }
    }

    /// Notes what was handed to the connection.
    pub fn wrote(&mut self, events: u64, skipped: u64, bytes: usize, now: Instant) {
        self.stream.wrote(events, skipped, bytes);
        self.written = now;
    }

    /// The other end.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// When something was handed to the connection last, or the stream was opened.
    pub(super) fn written(&self) -> Instant {
        self.written
    }

    /// Names the reason. The first one counts.
    pub fn because(&mut self, reason: EndReason) {
        self.reason.get_or_insert(reason);
    }

    /// Where gaps are counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn verdict(&self) -> EndReason {
        // A peer that left while we were saying goodbye was told so first: the reason is ours then, not the peer's.
        self.reason.unwrap_or_else(|| match self.peer.gone() {
            Gone::Closed => EndReason::PeerClosed,
            Gone::Reset => EndReason::PeerReset,
            Gone::Stalled => EndReason::SlowReader,
            // The drain time was over before its turn to say goodbye came: it was cut.
            Gone::No if self.shutdown.is_draining() => EndReason::ServerShutdown,
            // The connection lives and yet the stream was dropped: only an RST_STREAM does that.
            Gone::No if self.multiplexed => EndReason::PeerClosed,
            Gone::No | Gone::Failed => EndReason::Unknown,
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let now = Instant::now();
        let (age, idle) = (now - self.opened, now - self.written);
        let reason = self.verdict();
        self.metrics.end(self.stream.transport(), reason.as_str());
        // A poll that was answered is as old as it was asked to become: among the others it would look like a timer.
        if reason != EndReason::Complete {
            self.metrics.times_at_end(age, idle);
        }
        tracing::debug!(transport = self.stream.transport(), reason = reason.as_str(), ?age, ?idle, "stream ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Labels;

    #[tokio::test(start_paused = true)]
    async fn an_answered_poll_leaves_no_age_that_looks_like_a_timer() {
        let (metrics, ended) =
            (metrics(), |text: &str| text.contains("encke_stream_age_at_end_seconds_count{path=\"unknown\"} 1"));
        for (reason, expected) in [(EndReason::Complete, false), (EndReason::PeerClosed, true)] {
            let peer = Arc::new(Peer::new(None));
            let mut poll = Ending::open(&metrics, "sse", "new", peer, false, Shutdown::default());
            tokio::time::advance(std::time::Duration::from_secs(25)).await;
            poll.because(reason);
            drop(poll);
            assert_eq!(ended(&metrics.scrape(|_| 0)), expected, "{reason:?}");
        }
    }

    fn metrics() -> Arc<Metrics> {
        let ends: Vec<_> = EndReason::ALL.iter().map(|reason| reason.as_str()).collect();
        let labels = Labels { transports: &["sse"], ends: &ends, gaps: &[], resumes: &["new"], refusals: &[] };
        Arc::new(Metrics::new(labels))
    }

    /// What is counted for a stream that is dropped while the socket says `gone` and nobody named a reason.
    fn check(gone: Gone, multiplexed: bool, draining: bool, expected: EndReason) {
        let ends: Vec<_> = EndReason::ALL.iter().map(|reason| reason.as_str()).collect();
        let labels = Labels { transports: &["sse"], ends: &ends, gaps: &[], resumes: &["new"], refusals: &[] };
        let (metrics, peer, shutdown) =
            (Arc::new(Metrics::new(labels)), Arc::new(Peer::new(None)), Shutdown::default());
        let ending = Ending::open(&metrics, "sse", "new", Arc::clone(&peer), multiplexed, shutdown.clone());
        if draining {
            shutdown.drain();
        }
        peer.record(gone);
        drop(ending);
        let text = metrics.scrape(|_| 0);
        let counted: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("encke_stream_ends_total{path=\"unknown\",reason=\"")?.split_once('"'))
            .filter(|(_, rest)| !rest.ends_with(" 0"))
            .collect();
        let expected = (expected.as_str(), ",transport=\"sse\"} 1");
        assert_eq!(counted, [expected], "{gone:?}, multiplexed: {multiplexed}, draining: {draining}");
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_ends_as_its_socket_says() {
        check(Gone::Closed, false, false, EndReason::PeerClosed);
        check(Gone::Reset, false, false, EndReason::PeerReset);
        check(Gone::Stalled, false, false, EndReason::SlowReader);
        check(Gone::Failed, false, false, EndReason::Unknown);
        check(Gone::No, false, false, EndReason::Unknown);
        check(Gone::No, true, false, EndReason::PeerClosed);
        check(Gone::Failed, true, false, EndReason::Unknown);
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_after_the_drain_time_was_shut_down_and_one_whose_peer_left_was_left() {
        check(Gone::No, false, true, EndReason::ServerShutdown);
        check(Gone::No, true, true, EndReason::ServerShutdown);
        check(Gone::Closed, false, true, EndReason::PeerClosed);
        check(Gone::Reset, false, true, EndReason::PeerReset);
    }
}
