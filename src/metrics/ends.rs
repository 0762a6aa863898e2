//! What is counted of how streams end, and said of the paths they came by.

use std::time::{Duration, SystemTime};

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::exemplars::{Carrier, Exemplars};
use super::{Labels, Registered};

/// How streams end, and what is known of their paths.
#[derive(Debug)]
pub struct Ends {
    stream_ends: IntCounterVec,
    stream_signs: IntCounterVec,
    stream_age: HistogramVec,
    stream_idle: HistogramVec,
    path_idle_limit: GaugeVec,
    path_duration_limit: GaugeVec,
    path_finding: IntGaugeVec,
    path_setting: IntGaugeVec,
    outage: Histogram,
    early: IntCounter,
    undelivered: Histogram,
    receipt_delay: HistogramVec,
    receipts_missing: IntCounterVec,
    heartbeat: GaugeVec,
    pub(super) exemplars: Exemplars,
}

/// The end of one stream, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its transport.
    pub transport: &'static str,
    /// Why it ended.
    pub reason: &'static str,
    /// The name of its path.
    pub path: &'a str,
    /// How old it was.
    pub age: Duration,
    /// How long nothing had been written to it.
    pub idle: Duration,
    /// The first eight digits of its id, by which it is shown.
    pub stream: u32,
}

/// The path of those that have no place of their own, which is there from the start.
const PATH: &str = "other";

/// Edges just below and above the timers that intermediaries are known for, so that a cluster stays visible.
const TIMER_EDGES: &[f64] = &[
    1.0, 5.0, 10.0, 14.5, 16.0, 28.0, 31.0, 49.0, 52.0, 54.0, 57.0, 59.0, 63.0, 88.0, 98.0, 106.0, 118.0, 128.0, 178.0,
    190.0, 238.0, 250.0, 295.0, 315.0, 345.0, 365.0, 590.0, 640.0, 890.0, 960.0, 3590.0, 3700.0, 14400.0, 86400.0,
];

/// What is counted of ends with the streams that ended as exemplars.
const ENDS: Carrier =
    Carrier { family: "encke_stream_ends_total", labels: &["reason", "transport", "path"], edges: &[] };
const AGE: Carrier = Carrier { family: "encke_stream_age_at_end_seconds", labels: &["path"], edges: TIMER_EDGES };
const IDLE: Carrier = Carrier { family: "encke_stream_idle_at_end_seconds", labels: &["path"], edges: TIMER_EDGES };

/// How many exemplars are kept: three a stream, of as many streams as have a story (`diagnosis/story`). An older one leads
/// nowhere any more.
const EXEMPLARS: usize = 3 * 256;

impl Ends {
    pub(super) fn declared(add: &Registered<'_>) -> Self {
        Self {
            stream_ends: add.counters(
                ENDS.family,
                "Streams and polls ended, each with exactly one reason; doubt is `unknown`.",
                ENDS.labels,
            ),
            stream_signs: add.counters(
                "encke_stream_last_signs_total",
                "What the sockets of streams and polls said when those ended, at once: none where we ended them. Why it \
                 was, is encke_stream_ends_total, once it is known who came back.",
                &["sign", "transport"],
            ),
            stream_age: add.histograms(
                AGE.family,
                "How old streams were when they ended, answered polls left out: a cluster is a duration limit of an \
                 intermediary.",
                AGE.labels,
                AGE.edges,
            ),
            stream_idle: add.histograms(
                IDLE.family,
                "How long nothing had been written when streams ended, answered polls left out: a cluster is an idle \
                 limit of an intermediary.",
                IDLE.labels,
                IDLE.edges,
            ),
            path_idle_limit: add.seconds(
                "encke_path_idle_limit_seconds",
                "For how long a stream of this path may be quiet before an intermediary cuts it. Absent while unknown.",
            ),
            path_duration_limit: add.seconds(
                "encke_path_duration_limit_seconds",
                "How old a stream of this path may become before an intermediary cuts it. Absent while unknown.",
            ),
            path_finding: add.gauges(
                "encke_path_finding",
                "1 while something is known of this path that an operator should mend; /diagnosis says what, and how.",
                &["path", "kind"],
            ),
            path_setting: add.gauges(
                "encke_path_setting_info",
                "1 while something is found of this path: the setting of its product to change, `unknown` where it has none, or \
                 the product is not known.",
                &["path", "kind", "setting"],
            ),
            outage: add.histogram(
                "encke_reconnect_outage_seconds",
                "How long clients were away that came back, from the end of the one stream to the beginning of the next.",
                &[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0],
            ),
            early: add.counter(
                "encke_ends_decided_early_total",
                "Ends of which the reason was decided before it was known whether their client came back, as too many waited.",
            ),
            undelivered: add.histogram(
                "encke_undelivered_at_reconnect_events",
                "Events that had been written to a stream and had not reached its client when it came back: more than a few \
                 are held by something in between.",
                &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0],
            ),
            receipt_delay: add.histograms(
                "encke_receipt_delay_seconds",
                "How much later clients had the beginning of their stream than it was written, and the time that their word \
                 took (`beacon=1`).",
                &["path"],
                &[0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0],
            ),
            receipts_missing: add.counters(
                "encke_receipts_missing_total",
                "Streams whose clients did not have what was written, though they would have said so (`beacon=1`): \
                 something holds it.",
                &["path"],
            ),
            heartbeat: add.seconds(
                "encke_heartbeat_seconds",
                "After how long without a byte a stream is sent a heartbeat, unless it asked otherwise.",
            ),
            exemplars: Exemplars::new(&[ENDS, AGE, IDLE], EXEMPLARS),
        }
    }

    /// Creates the series of a transport on the path that is there from the start.
    pub(super) fn create_series(&self, transport: &'static str, labels: Labels<'_>) {
        labels.signs.iter().for_each(|sign| drop(self.stream_signs.with_label_values(&[*sign, transport])));
        self.begin_path(PATH, transport, labels.ends);
    }

    /// Counts a poll that was answered. It is as old as it was asked to become: among the others it would look like a timer.
    pub fn count_answered(&self, transport: &'static str, reason: &'static str, path: &str) {
        self.stream_ends.with_label_values(&[reason, transport, path]).inc();
    }

    /// Counts the end of a stream, with how old it was and how long nothing had been written to it. It is the exemplar of all
    /// that it is counted in.
    ///
    /// Cost: some 800 instructions; 2 600 more for one of the few a second that become exemplars.
    pub fn count(&self, ended: &Ended<'_>, at: SystemTime) {
        let Ended { transport, reason, path, age, idle, stream } = *ended;
        let (age, idle) = (age.as_secs_f64(), idle.as_secs_f64());
        self.stream_ends.with_label_values(&[reason, transport, path]).inc();
        self.stream_age.with_label_values(&[path]).observe(age);
        self.stream_idle.with_label_values(&[path]).observe(idle);
        if self.exemplars.has_room(at) {
            self.exemplars.record(ENDS.family, &[reason, transport, path], 1.0, stream, at);
            self.exemplars.record(AGE.family, &[path], age, stream, at);
            self.exemplars.record(IDLE.family, &[path], idle, stream, at);
        }
    }

    /// Counts what a socket said at the end of a stream.
    pub fn last_sign(&self, transport: &'static str, sign: &'static str) {
        self.stream_signs.with_label_values(&[sign, transport]).inc();
    }

    /// A transport is used on a path for the first time: its series are there before something is counted.
    pub fn begin_path(&self, path: &str, transport: &'static str, ends: &[&'static str]) {
        ends.iter().for_each(|reason| drop(self.stream_ends.with_label_values(&[*reason, transport, path])));
        self.stream_age.with_label_values(&[path]);
        self.stream_idle.with_label_values(&[path]);
        self.receipt_delay.with_label_values(&[path]);
        self.receipts_missing.with_label_values(&[path]);
    }

    /// A path is no more: nor are its series.
    pub fn forget_path(
        &self,
        path: &str,
        transports: &[&'static str],
        ends: &[&'static str],
        findings: &[(&'static str, &'static str)],
    ) {
        for (transport, reason) in transports.iter().flat_map(|transport| ends.iter().map(move |end| (transport, end)))
        {
            let _ = self.stream_ends.remove_label_values(&[*reason, *transport, path]);
        }
        for (kind, setting) in findings {
            let _ = self.path_finding.remove_label_values(&[path, *kind]);
            let _ = self.path_setting.remove_label_values(&[path, *kind, *setting]);
        }
        for gauge in [&self.path_idle_limit, &self.path_duration_limit, &self.heartbeat] {
            let _ = gauge.remove_label_values(&[path]);
        }
        let _ = self.receipts_missing.remove_label_values(&[path]);
        for histogram in [&self.stream_age, &self.stream_idle, &self.receipt_delay] {
            let _ = histogram.remove_label_values(&[path]);
        }
        self.exemplars.forget("path", path);
    }

    /// Says what is known of a path: its limits, how often streams beat there, and of each kind of finding, with the setting
    /// that it is about, whether there is one.
    pub fn path(
        &self,
        path: &str,
        (idle, duration): (Option<Duration>, Option<Duration>),
        heartbeat: Duration,
        findings: &[(&'static str, &'static str, bool)],
    ) {
        for (gauge, limit) in [(&self.path_idle_limit, idle), (&self.path_duration_limit, duration)] {
            match limit {
                Some(limit) => gauge.with_label_values(&[path]).set(limit.as_secs_f64()),
                None => drop(gauge.remove_label_values(&[path])),
            }
        }
        self.heartbeat.with_label_values(&[path]).set(heartbeat.as_secs_f64());
        for (kind, setting, found) in findings {
            let finding = self.path_finding.with_label_values(&[path, *kind]);
            if *found {
                self.path_setting.with_label_values(&[path, *kind, *setting]).set(1);
            } else if finding.get() > 0 {
                let _ = self.path_setting.remove_label_values(&[path, *kind, *setting]);
            }
            finding.set((*found).into());
        }
    }

    /// Records how long a client was away that has come back.
    pub fn came_back(&self, outage: Duration) {
        self.outage.observe(outage.as_secs_f64());
    }

    /// Counts ends that were decided before their time.
    pub fn decided_early(&self, ends: u64) {
        self.early.inc_by(ends);
    }

    /// Records how many events that had been written had not reached a client that has come back.
    pub fn undelivered(&self, events: u64) {
        self.undelivered.observe(events as f64);
    }

    /// Records how late a client had its stream.
    pub fn receipt(&self, late: Duration, path: &str) {
        self.receipt_delay.with_label_values(&[path]).observe(late.as_secs_f64());
    }

    /// Counts a stream that did not arrive.
    pub fn receipt_missing(&self, path: &str) {
        self.receipts_missing.with_label_values(&[path]).inc();
    }

    /// Says how often streams beat that did not ask for an interval of their own.
    pub fn heartbeat(&self, interval: Duration) {
        self.heartbeat.with_label_values(&[PATH]).set(interval.as_secs_f64());
    }
}
