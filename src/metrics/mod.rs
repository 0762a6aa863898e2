//! What Prometheus scrapes. Each metric is declared once, here; its help text says what it means to an operator.
//!
//! Labels come from closed sets that their owners hand over when the gateway is built, and every series exists at zero
//! from the start, so that `increase()` sees the first drop. Never a label from the network: no id, topic or address. Only
//! beside the samples of ends a stream is named, by a part of its id, as an exemplar (`openmetrics`).
//! Gauges of things that others own (the log, the pages, the connections) are read from their owner at each scrape.

mod ends;
mod exemplars;
mod form;
mod openmetrics;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub use ends::{Ended, Ends};
pub use form::Form;

/// The closed sets that labels are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Names of transports.
    pub transports: &'a [&'static str],
    /// Reasons why a stream ends.
    pub ends: &'a [&'static str],
    /// What a socket says at the end of a stream.
    pub signs: &'a [&'static str],
    /// Reasons of gaps.
    pub gaps: &'a [&'static str],
    /// How a stream begins: `new`, `resumed`, `gap`.
    pub resumes: &'a [&'static str],
    /// Why a request was refused.
    pub refusals: &'a [&'static str],
}

/// What contents take while they arrive, in bytes: of publishers who have a key, and of the public.
#[derive(Debug)]
pub struct Contents {
    /// With a key.
    pub key: IntGauge,
    /// Where a rule lets everybody publish.
    pub public: IntGauge,
}

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    open: IntGauge,
    streams_active: IntGaugeVec,
    stream_opens: IntCounterVec,
    /// How streams end, and what is known of their paths.
    pub ends: Ends,
    delivered: IntCounterVec,
    delivered_bytes: IntCounterVec,
    skipped: IntCounterVec,
    /// What streams of each transport count with.
    transports: Vec<Arc<Rows>>,
    gaps: IntCounterVec,
    refused: IntCounterVec,
    /// Events stored.
    pub published: IntCounter,
    /// Publishes answered as repeats.
    pub duplicates: IntCounter,
    /// Bytes of data of events stored.
    pub published_bytes: IntCounter,
    /// Lines of streams of events that were refused.
    pub bad_lines: IntCounter,
    /// Streams of events that are being read.
    pub intakes: IntGauge,
    /// What contents take while they arrive.
    pub contents: Contents,
    /// From a publish's last byte to its receipt.
    pub publish_seconds: Histogram,
    sampled: Vec<(Sampled, IntGauge)>,
    sampled_totals: Vec<(Sampled, IntCounter)>,
    /// Held by a scrape: two at once would both add what came since the last one.
    scraping: Mutex<()>,
}

/// What is read from its owner at each scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampled {
    /// Events in the log.
    LogEvents,
    /// Bytes of the log that count against retention.
    LogBytes,
    /// Bytes of the write-ahead log.
    LogWalBytes,
    /// The oldest offset.
    LogFirstOffset,
    /// The newest offset.
    LogLastOffset,
    /// Whether the log can be written.
    LogWritable,
    /// Commits.
    LogCommits,
    /// Events trimmed.
    LogTrimmed,
    /// Events removed by the rules of their topics.
    LogExpired,
    /// Events deleted.
    LogDeleted,
    /// Places of events that are gone.
    LogGone,
    /// Pages written anew.
    LogCompacted,
    /// Topics of which it is known how far they were trimmed.
    LogMarks,
    /// Bytes that say which topics stand in which page.
    LogIndexBytes,
    /// Appends refused as too much was waiting.
    LogRefused,
    /// Bytes of pinned pages.
    PagesPinnedBytes,
    /// Bytes of cached pages.
    PagesCachedBytes,
    /// Pages read from the log.
    PageLoads,
    /// Page reads that wait for their turn.
    ReplaysWaiting,
    /// Reads of pages that waited for a turn.
    PageLoadWaits,
    /// Feeds.
    Feeds,
    /// Open connections.
    ConnectionsActive,
    /// Accepted connections.
    Connections,
    /// Connections for which there was no room.
    ConnectionsRefused,
    /// Failed accepts.
    AcceptErrors,
    /// Heads that took too long.
    HeadTimeouts,
    /// Heads that were too large.
    HeadsTooLarge,
    /// Heads that were not HTTP/1.1.
    BadHeads,
    /// TLS handshakes that came to nothing.
    TlsHandshakeFailures,
    /// Connections that took no byte for too long.
    Stalled,
    /// Whether the gateway is draining.
    Draining,
}

/// Gauges among the sampled figures: name and help.
const GAUGES: &[(Sampled, &str, &str)] = &[
    (Sampled::LogEvents, "encke_log_events", "Events kept in the log."),
    (Sampled::LogBytes, "encke_log_bytes", "Bytes of the log that count against its retention."),
    (Sampled::LogWalBytes, "encke_log_wal_bytes", "Bytes of the store's write-ahead log file."),
    (Sampled::LogFirstOffset, "encke_log_first_offset", "The oldest offset that can still be read."),
    (Sampled::LogLastOffset, "encke_log_last_offset", "The newest offset."),
    (
        Sampled::LogWritable,
        "encke_log_writable",
        "1 while events can be stored; 0 while the disk is full, and after a failed write until a restart.",
    ),
    (
        Sampled::LogGone,
        "encke_log_gone_events",
        "Places in the log of events that were deleted or removed by the rule of their topic; each counts for a 64th of \
         an event.",
    ),
    (
        Sampled::LogMarks,
        "encke_log_trimmed_topics",
        "Topics of which the log knows how far they were trimmed, at most 100 000.",
    ),
    (
        Sampled::LogIndexBytes,
        "encke_log_index_bytes",
        "Bytes of memory that say which topics stand in which page of the log.",
    ),
    (Sampled::PagesPinnedBytes, "encke_pages_pinned_bytes", "Bytes of events in memory at the live edge."),
    (
        Sampled::PagesCachedBytes,
        "encke_pages_cached_bytes",
        "Bytes of events in memory for readers behind the live edge.",
    ),
    (
        Sampled::ReplaysWaiting,
        "encke_replays_waiting",
        "Readers behind the live edge that wait for their turn to have a page read from the log.",
    ),
    (Sampled::Feeds, "encke_feeds_active", "Different things that are subscribed to: a selection in a format each."),
    (Sampled::ConnectionsActive, "encke_connections_active", "Open connections."),
    (Sampled::Draining, "encke_draining", "1 once the gateway is shutting down."),
];

/// Counters among the sampled figures: name and help.
const COUNTERS: &[(Sampled, &str, &str)] = &[
    (Sampled::LogCommits, "encke_log_commits_total", "Commits to the store; each holds all that was waiting."),
    (Sampled::LogTrimmed, "encke_log_trimmed_events_total", "Events that retention let go."),
    (
        Sampled::LogExpired,
        "encke_log_expired_events_total",
        "Events removed because their topic keeps no more, or not for so long.",
    ),
    (Sampled::LogDeleted, "encke_log_deleted_events_total", "Events deleted on purpose."),
    (
        Sampled::LogCompacted,
        "encke_log_compacted_pages_total",
        "Pages of the log written anew to make room of events that are gone.",
    ),
    (Sampled::LogRefused, "encke_log_refused_total", "Appends refused because too much was waiting."),
    (Sampled::PageLoads, "encke_page_loads_total", "Pages read from the log for readers behind the pinned ones."),
    (
        Sampled::PageLoadWaits,
        "encke_page_load_waits_total",
        "Pages that were read only after a wait, as --replays others were being read.",
    ),
    (Sampled::Connections, "encke_connections_total", "Connections accepted."),
    (
        Sampled::ConnectionsRefused,
        "encke_connections_refused_total",
        "Connections beyond --max-connections, or what the limit of open files allows: told to come back, and closed.",
    ),
    (Sampled::AcceptErrors, "encke_accept_errors_total", "Failed accepts: raise the limit of open files if it rises."),
    (Sampled::HeadTimeouts, "encke_head_timeouts_total", "Connections closed because a request head took too long."),
    (Sampled::BadHeads, "encke_bad_heads_total", "Connections closed because a request head was not HTTP/1.1."),
    (Sampled::HeadsTooLarge, "encke_heads_too_large_total", "Connections closed because a request head was too large."),
    (
        Sampled::TlsHandshakeFailures,
        "encke_tls_handshake_failures_total",
        "Connections closed because a TLS handshake failed, was not complete in time, or was none.",
    ),
    (
        Sampled::Stalled,
        "encke_stalled_total",
        "Connections and HTTP/2 streams closed because the peer took no byte for too long.",
    ),
];

impl Metrics {
    /// Declares every metric and creates every series.
    ///
    /// # Panics
    /// If a name is declared twice, which no run after the first test can meet.
    #[must_use]
    pub fn new(labels: Labels<'_>) -> Self {
        let registry = Registry::new();
        let add = Registered(&registry);
        let mut metrics = Self {
            transports: Vec::new(),
            // The sum over transports, for whoever spreads a load by it; not exported.
            open: IntGauge::new("open", "open").expect("a well-formed declaration"),
            streams_active: add.gauges("encke_streams_active", "Open streams and waiting polls.", &["transport"]),
            stream_opens: add.counters(
                "encke_stream_opens_total",
                "Streams and polls opened, by how they began: new, resumed by a cursor, or with a gap.",
                &["transport", "resume"],
            ),
            ends: Ends::declared(&add),
            delivered: add.counters("encke_delivered_total", "Events written to streams and polls.", &["transport"]),
            delivered_bytes: add.counters(
                "encke_delivered_bytes_total",
                "Bytes written to streams and polls.",
                &["transport"],
            ),
            skipped: add.counters(
                "encke_skipped_total",
                "Events passed over by state transports, or with conflate=1, because a newer one was there.",
                &["transport"],
            ),
            gaps: add.counters(
                "encke_gaps_total",
                "Gaps told to subscribers: events asked for that are gone.",
                &["reason"],
            ),
            refused: add.counters("encke_refused_total", "Requests refused, by the kind of refusal.", &["reason"]),
            published: add.counter("encke_published_total", "Events published over HTTP and stored."),
            duplicates: add.counter("encke_publish_duplicates_total", "Publishes recognised as repeats by their key."),
            published_bytes: add.counter("encke_published_bytes_total", "Bytes of data of events published over HTTP and stored."),
            bad_lines: add.counter(
                "encke_publish_bad_lines_total",
                "Lines of NDJSON that were no event, or not one that may be published; they were named, and passed over.",
            ),
            intakes: add.gauge("encke_publish_streams_active", "Publishers whose NDJSON is being read."),
            contents: {
                let help = "Bytes of contents that are arriving, beyond the first 16 KiB of each.";
                let all = add.gauges("encke_publish_content_bytes", help, &["publisher"]);
                Contents { key: all.with_label_values(&["key"]), public: all.with_label_values(&["public"]) }
            },
            publish_seconds: add.register(
                Histogram::with_opts(
                    HistogramOpts::new("encke_publish_seconds", "From a publish's last byte to its receipt.").buckets(
                        vec![0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0],
                    ),
                )
                .expect("a well-formed declaration"),
            ),
            sampled: GAUGES.iter().map(|&(sampled, name, help)| (sampled, add.gauge(name, help))).collect(),
            sampled_totals: COUNTERS.iter().map(|&(sampled, name, help)| (sampled, add.counter(name, help))).collect(),
            scraping: Mutex::default(),
            registry,
        };
        metrics.create_series(labels);
        metrics.transports = labels.transports.iter().map(|transport| Arc::new(metrics.rows(transport))).collect();
        metrics
    }

    fn create_series(&self, labels: Labels<'_>) {
        for transport in labels.transports {
            self.streams_active.with_label_values(&[transport]);
            self.delivered.with_label_values(&[transport]);
            self.delivered_bytes.with_label_values(&[transport]);
            self.skipped.with_label_values(&[transport]);
            for resume in labels.resumes {
                self.stream_opens.with_label_values(&[transport, resume]);
            }
            self.ends.create_series(transport, labels);
        }
        labels.gaps.iter().for_each(|reason| drop(self.gaps.with_label_values(&[reason])));
        labels.refusals.iter().for_each(|reason| drop(self.refused.with_label_values(&[reason])));
    }

    /// Counts an opened stream, and gives what it counts with while it lives: the look-ups happen once.
    #[must_use]
    pub fn open(&self, transport: &'static str, resume: &'static str) -> StreamMetrics {
        self.stream_opens.with_label_values(&[transport, resume]).inc();
        let rows = self.transports.iter().find(|rows| rows.transport == transport);
        let rows = rows.map_or_else(|| Arc::new(self.rows(transport)), Arc::clone);
        rows.active.inc();
        rows.open.inc();
        StreamMetrics(rows)
    }

    fn rows(&self, transport: &'static str) -> Rows {
        Rows {
            transport,
            open: self.open.clone(),
            active: self.streams_active.with_label_values(&[transport]),
            delivered: self.delivered.with_label_values(&[transport]),
            delivered_bytes: self.delivered_bytes.with_label_values(&[transport]),
            skipped: self.skipped.with_label_values(&[transport]),
        }
    }

    /// Counts a gap told to a subscriber.
    pub fn gap(&self, reason: &'static str) {
        self.gaps.with_label_values(&[reason]).inc();
    }

    /// Counts a refused request.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// How many streams and polls are open.
    #[must_use]
    pub fn streams(&self) -> u64 {
        u64::try_from(self.open.get()).unwrap_or_default()
    }

    /// What Prometheus scrapes, in this form; `read` gives the figures that others own.
    ///
    /// # Panics
    /// Never: what was declared here can be written as text.
    pub fn scrape(&self, form: Form, read: impl Fn(Sampled) -> u64) -> String {
        let _alone = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        for (sampled, gauge) in &self.sampled {
            gauge.set(i64::try_from(read(*sampled)).unwrap_or(i64::MAX));
        }
        for (sampled, counter) in &self.sampled_totals {
            counter.inc_by(read(*sampled).saturating_sub(counter.get()));
        }
        let families = self.registry.gather();
        match form {
            Form::Text => {
                TextEncoder::new().encode_to_string(&families).expect("declared metrics can be written as text")
            }
            Form::OpenMetrics => openmetrics::encoded(&families, &self.ends.exemplars),
        }
    }
}

/// What one open stream counts with, which all of its transport share.
#[derive(Debug)]
pub struct StreamMetrics(Arc<Rows>);

#[derive(Debug)]
struct Rows {
    transport: &'static str,
    open: IntGauge,
    active: IntGauge,
    delivered: IntCounter,
    delivered_bytes: IntCounter,
    skipped: IntCounter,
}

impl StreamMetrics {
    /// The transport's name.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        self.0.transport
    }

    /// Counts events and bytes that were written, and events passed over.
    pub fn wrote(&self, events: u64, skipped: u64, bytes: usize) {
        if events > 0 {
            self.0.delivered.inc_by(events);
        }
        self.0.delivered_bytes.inc_by(bytes as u64);
        if skipped > 0 {
            self.0.skipped.inc_by(skipped);
        }
    }
}

impl Drop for StreamMetrics {
    fn drop(&mut self) {
        self.0.active.dec();
        self.0.open.dec();
    }
}

/// Declares metrics in a registry.
struct Registered<'a>(&'a Registry);

impl Registered<'_> {
    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.0.register(Box::new(collector.clone())).expect("each metric is declared once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect("a well-formed declaration"))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("a well-formed declaration"))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels).expect("a well-formed declaration"))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels).expect("a well-formed declaration"))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options).expect("a well-formed declaration"))
    }

    fn seconds(&self, name: &str, help: &str) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), &["path"]).expect("a well-formed declaration"))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels).expect("a well-formed declaration"))
    }
}

#[cfg(test)]
mod tests;
