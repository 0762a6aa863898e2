//! Exactly one end for every stream and poll.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::peer::Peer;
use crate::diagnosis::{Departure, Diagnosis, EndReason, Gone, Outlived, ShortName, Ticket};
use crate::event::Offset;
use crate::metrics::{Metrics, StreamMetrics};
use crate::shutdown::Shutdown;

/// Counts a stream while it lives, and tells of its end when it is dropped, whoever drops it.
#[derive(Debug)]
pub struct Ending {
    metrics: Arc<Metrics>,
    stream: StreamMetrics,
    diagnosis: Arc<Diagnosis>,
    ticket: Ticket,
    peer: Arc<Peer>,
    shutdown: Shutdown,
    opened: Instant,
    written: Instant,
    /// The quiet before the last write, in milliseconds; less than a second is none.
    quiet_before: u32,
    /// The longest quiet before the writes before that one, in milliseconds.
    outlived: u32,
    /// Up to where everything was given.
    given: Offset,
    /// How it is shown.
    name: ShortName,
    multiplexed: bool,
    /// What it was told to outlive of what cuts others of its path.
    told: Outlived,
    reason: Option<EndReason>,
}

impl Ending {
    /// A stream that has just been opened. `multiplexed`: it shares its connection with others (HTTP/2).
    #[must_use]
    pub fn open(
        metrics: &Arc<Metrics>,
        diagnosis: &Arc<Diagnosis>,
        (transport, resume): (&'static str, &'static str),
        (ticket, name): (Ticket, ShortName),
        peer: Arc<Peer>,
        multiplexed: bool,
        shutdown: Shutdown,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream: metrics.open(transport, resume),
            metrics: Arc::clone(metrics),
            diagnosis: Arc::clone(diagnosis),
            ticket,
            peer,
            shutdown,
            opened: now,
            written: now,
            quiet_before: 0,
            outlived: 0,
            given: 0,
            name,
            multiplexed,
            told: Outlived::default(),
            reason: None,
        }
    }

    /// Notes what was handed to the connection.
    pub fn wrote(&mut self, events: u64, skipped: u64, bytes: usize, now: Instant) {
        self.stream.wrote(events, skipped, bytes);
        let quiet = now.saturating_duration_since(self.written);
        if quiet.as_secs() > 0 || self.quiet_before > 0 {
            self.was_quiet(quiet);
        }
        self.written = now;
    }

    #[cold]
    fn was_quiet(&mut self, quiet: Duration) {
        self.outlived = self.outlived.max(self.quiet_before);
        self.quiet_before = milliseconds(quiet);
        // A peer that has gone finds out by this write: what was before the last one was outlived.
        let age = milliseconds(self.written.saturating_duration_since(self.opened));
        self.told = self.diagnosis.outlives(&self.ticket, self.told, self.outlived, age);
    }

    /// Notes up to where everything was given.
    pub(super) fn gave(&mut self, upto: Offset) {
        self.given = upto;
    }

    /// Its client has not what was written, though it would have said so.
    pub(super) fn is_held(&self) {
        self.diagnosis.held(&self.ticket);
    }

    /// The other end.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// When it was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// What it keeps of its arrival, how it is shown, and its transport.
    pub(super) fn names(&self) -> (Ticket, ShortName, &'static str) {
        (self.ticket, self.name, self.stream.transport())
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
}

/// Seven weeks at most, in little room.
fn milliseconds(duration: Duration) -> u32 {
    if duration.as_secs() == 0 {
        return 0;
    }
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Drop for Ending {
    fn drop(&mut self) {
        let now = Instant::now();
        let sight = self.peer.last_sight();
        // The connection lives and yet the stream was dropped: only an RST_STREAM does that.
        let gone = match self.peer.gone() {
            Gone::No if self.multiplexed && !self.shutdown.is_draining() => Gone::Cancelled,
            gone => gone,
        };
        let end = Departure {
            name: self.name,
            transport: self.stream.transport(),
            reason: self.reason,
            gone,
            draining: self.shutdown.is_draining(),
            age: now.saturating_duration_since(self.opened),
            idle: now.saturating_duration_since(self.written),
            quiet_before: Duration::from_millis(self.quiet_before.into()),
            outlived: Duration::from_millis(self.outlived.into()),
            blocked: sight.blocked,
            tcp: sight.tcp,
            given: self.given,
            time_limit: None,
        };
        self.diagnosis.depart(self.ticket, end, self.peer.went_with_others());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{BeatBounds, Beats, Signature, Visitor};
    use crate::metrics::{Form, Labels};

    /// A gateway's worth of what an ending needs.
    struct Place {
        metrics: Arc<Metrics>,
        diagnosis: Arc<Diagnosis>,
        shutdown: Shutdown,
    }

    impl Place {
        const GRACE: Duration = Duration::from_secs(35);

        fn new() -> Self {
            let ends: Vec<_> = EndReason::ALL.iter().map(|reason| reason.as_str()).collect();
            let labels =
                Labels { transports: &["sse"], ends: &ends, signs: &[], gaps: &[], resumes: &["new"], refusals: &[] };
            let metrics = Arc::new(Metrics::new(labels));
            let diagnosis = Arc::new(Diagnosis::new(
                Arc::clone(&metrics),
                Self::GRACE,
                Beats { default: Duration::from_secs(15), bounds: BeatBounds::default() },
            ));
            Self { metrics, diagnosis, shutdown: Shutdown::default() }
        }

        fn open(&self, peer: &Arc<Peer>, multiplexed: bool) -> Ending {
            let visitor = Visitor {
                session: None,
                who: self.diagnosis.hash(1),
                prefix: None,
                browser: None,
                has: None,
                stream: self.diagnosis.hash(1),
            };
            let (ticket, _) = self.diagnosis.arrive(&Signature::of_head(b""), &visitor, "sse");
            let (peer, shutdown) = (Arc::clone(peer), self.shutdown.clone());
            let named = (ticket, ShortName(0));
            Ending::open(&self.metrics, &self.diagnosis, ("sse", "new"), named, peer, multiplexed, shutdown)
        }

        /// What was counted once nothing waits any more.
        fn counted(&self) -> Vec<String> {
            self.diagnosis.close();
            let text = self.metrics.scrape(Form::Text, |_| 0);
            let ends =
                text.lines().filter(|line| line.starts_with("encke_stream_ends_total{") && !line.ends_with(" 0"));
            ends.map(|line| line.split('"').nth(3).expect("a reason").to_owned()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answered_poll_leaves_no_age_that_looks_like_a_timer() {
        for (reason, expected) in [(EndReason::Complete, false), (EndReason::Limit, true)] {
            let place = Place::new();
            let mut poll = place.open(&Arc::new(Peer::new(None)), false);
            tokio::time::advance(Duration::from_secs(25)).await;
            poll.because(reason);
            drop(poll);
            let text = place.metrics.scrape(Form::Text, |_| 0);
            let ended = text
                .lines()
                .any(|line| line.starts_with("encke_stream_age_at_end_seconds_count") && line.ends_with(" 1"));
            assert_eq!(ended, expected, "{reason:?}\n{text}");
        }
    }

    /// What is counted for a stream that is dropped while the socket says `gone` and nobody named a reason.
    fn check(gone: Gone, multiplexed: bool, draining: bool, expected: EndReason) {
        let (place, peer) = (Place::new(), Arc::new(Peer::new(None)));
        let ending = place.open(&peer, multiplexed);
        if draining {
            place.shutdown.drain();
        }
        peer.record(gone);
        drop(ending);
        assert_eq!(place.counted(), [expected.as_str()], "{gone:?}, multiplexed: {multiplexed}, draining: {draining}");
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_ends_as_its_socket_says() {
        check(Gone::Closed, false, false, EndReason::ClientLeft);
        check(Gone::Reset, false, false, EndReason::ClientLeft);
        check(Gone::Stalled, false, false, EndReason::SlowReader);
        check(Gone::Silent, false, false, EndReason::Blackhole);
        check(Gone::Failed, false, false, EndReason::Unknown);
        check(Gone::No, false, false, EndReason::Unknown);
        check(Gone::No, true, false, EndReason::ClientLeft);
        check(Gone::StreamReset, true, false, EndReason::H2Reset);
        check(Gone::Failed, true, false, EndReason::Unknown);
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_after_the_drain_time_was_shut_down_and_one_whose_peer_left_was_left() {
        check(Gone::No, false, true, EndReason::ServerShutdown);
        check(Gone::No, true, true, EndReason::ServerShutdown);
        check(Gone::Closed, false, true, EndReason::ClientLeft);
        check(Gone::Reset, false, true, EndReason::ClientLeft);
    }

    #[tokio::test]
    async fn streams_that_go_with_their_connection_know_of_one_another() {
        let connection = Arc::new(Peer::new(None));
        let (one, other) = (Peer::of_stream(&connection), Peer::of_stream(&connection));
        drop(other);
        let another = Peer::of_stream(&connection);
        assert!(!one.went_with_others() && !another.went_with_others());
        connection.record(Gone::Reset);
        assert!(another.went_with_others());
        drop(another);
        assert!(one.went_with_others(), "also the last to be dropped");
        let alone = Arc::new(Peer::new(None));
        let stream = Peer::of_stream(&alone);
        alone.record(Gone::Reset);
        assert!(!stream.went_with_others());
    }
}
