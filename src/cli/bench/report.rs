//! What came of a run, for a person: as text, or several as a table of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::course::{Plan, Run};
use super::histogram::Histogram;
use super::publisher::Outcome;
use crate::cli::progress::{bar, rate, size, took};
use crate::cli::wire::trouble::Kind;

/// The quantiles that are told of a latency.
pub(super) const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// The most lines that a histogram takes.
const ROWS: u32 = 16;
/// What of a core makes the client itself the bottleneck.
const BUSY: f64 = 0.9;

impl Run {
    /// Deliveries that are missing: those that did not come about, or, where nobody knows what was published, those that the
    /// server said to be gone.
    pub(super) fn missing(&self) -> u64 {
        if self.publishing.is_some() { self.lost } else { self.counts.gone.max(self.counts.gaps) }
    }

    /// The report on one run.
    pub(super) fn text(&self, plan: &Plan) -> String {
        let mut text = String::new();
        let mut line = |name: &str, words: String| {
            writeln!(text, "{name:<12} {words}").expect("a string takes every write");
        };
        let (counts, cost) = (&self.counts, &self.cost);
        line("run", self.title(plan));
        line("connected", format!("{} of {} at the end", self.open, plan.connections));
        line("opened", format!("{} ({} again), failed {}", counts.opened, counts.reopened, told(&counts.failed)));
        line("first byte", quantiles(&counts.first_byte));
        line("ended", told(&counts.ended));
        if let Some((outcome, due)) = &self.publishing {
            line("published", published(outcome, *due, cost.time));
            line("answered", quantiles(&outcome.answered));
        }
        line("delivered", self.delivered());
        line("rate", format!("{} events", rate(cost.events, cost.time)));
        let received = per(cost.received, cost.time);
        let each = per_event(cost.received, cost.events, |bytes| format!("{bytes:.0} bytes"));
        line("received", format!("{}/s, {each} an event", size(received)));
        let sent = per(cost.sent, cost.time);
        line("sent", format!("{}/s, {} requests", size(sent), cost.requests));
        line("client CPU", cpu(cost.client, cost.time, cost.events));
        if let Some(server) = cost.server {
            line("server CPU", cpu(server, cost.time, cost.events));
        }
        if counts.latency.count() > 0 {
            line("latency", quantiles(&counts.latency));
            text += &rows(&counts.latency);
        }
        text
    }

    fn title(&self, plan: &Plan) -> String {
        let topic = plan.target.topic().map(|topic| format!(", topic {topic}")).unwrap_or_default();
        let version = if plan.streams.is_some() { "HTTP/2" } else { "HTTP/1.1" };
        format!(
            "{} over {version} from {}{topic}, {:.1} s",
            self.carriage,
            plan.target.place(),
            self.cost.time.as_secs_f64()
        )
    }

    fn delivered(&self) -> String {
        let counts = &self.counts;
        let judged = match self.publishing.is_some() {
            true => format!("{} lost, {} doubled, {} reordered", self.lost, counts.doubled, counts.reordered),
            false => format!("{} doubled, {} reordered by their ids", counts.doubled, counts.reordered),
        };
        let mut words = format!("{} events: {judged}", counts.events);
        for (count, what) in [
            (counts.skipped, "skipped for newer ones"),
            (counts.left_out, "numbers left out between ids"),
            (counts.foreign, "of others"),
        ] {
            if count > 0 {
                write!(words, ", {count} {what}").expect("a string takes every write");
            }
        }
        if counts.gaps > 0 {
            write!(words, "; gaps told {}×, {} events gone", counts.gaps, counts.gone)
                .expect("a string takes every write");
        }
        words
    }

    /// What a reader of the report should know before believing it.
    pub(super) fn warnings(&self, plan: &Plan) -> Vec<String> {
        let mut warnings = Vec::new();
        let cores = share(self.cost.client, self.cost.time);
        #[expect(clippy::cast_precision_loss, reason = "a number of threads")]
        let threads = plan.threads as f64;
        if cores > BUSY * threads {
            warnings.push(format!(
                "this command itself used {cores:.2} of a core, so latencies are partly its own: give it more --threads, or \
                 measure from several machines"
            ));
        }
        if let Some((outcome, due)) = &self.publishing {
            let sent: u64 = outcome.published.end.iter().sum();
            if sent < *due {
                warnings.push(format!(
                    "only {sent} of {due} events were sent in the time: the server answered too slowly for so few \
                     --publishers, or the run was ended before"
                ));
            }
            if outcome.failed > 0 {
                warnings.push(format!("publishing failed {}×", outcome.failed));
            }
        }
        warnings
    }
}

/// Several runs side by side.
pub(super) fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| transport | delivered | lost | p50 | p99 | max | requests | sent | received | client CPU | server CPU |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for Run { carriage, counts, cost, lost, .. } in runs {
        let latency = |quantile| counts.latency.quantile(quantile).map_or("–".to_owned(), took);
        let server = cost.server.map_or("–".to_owned(), took);
        writeln!(
            text,
            "| {carriage} | {} | {lost} | {} | {} | {} | {} | {} | {} | {} | {server} |",
            counts.events,
            latency(0.5),
            latency(0.99),
            counts.latency.max().map_or("–".to_owned(), took),
            cost.requests,
            size(cost.sent),
            size(cost.received),
            took(cost.client),
        )
        .expect("a string takes every write");
    }
    text
}

fn published(outcome: &Outcome, due: u64, time: Duration) -> String {
    let unsure: usize = outcome.published.unsure.iter().map(Vec::len).sum();
    let unsure = if unsure > 0 { format!(", {unsure} more without an answer") } else { String::new() };
    let late = outcome.late.quantile(0.99).map_or("–".to_owned(), took);
    format!("{} of {due} events, {}{unsure}; sent late by {late} (p99)", outcome.stored, rate(outcome.stored, time))
}

/// Kinds with their counts.
pub(super) fn told(counts: &BTreeMap<Kind, u64>) -> String {
    let all: u64 = counts.values().sum();
    let kinds: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { "0".into() } else { format!("{all}: {}", kinds.join(", ")) }
}

fn quantiles(histogram: &Histogram) -> String {
    let Some(max) = histogram.max() else { return "–".into() };
    let quantiles =
        QUANTILES.iter().filter_map(|(name, at)| Some(format!("{name} {}", took(histogram.quantile(*at)?))));
    let quantiles: Vec<_> = quantiles.collect();
    format!("{}  max {}", quantiles.join("  "), took(max))
}

/// A histogram in text.
fn rows(histogram: &Histogram) -> String {
    let mut text = String::new();
    for (end, count) in histogram.rows(ROWS) {
        let end = format!("< {}", took(end));
        writeln!(text, "{:13}{end:<10} {} {count}", "", bar(count, histogram.count()))
            .expect("a string takes every write");
    }
    text
}

fn cpu(used: Duration, time: Duration, events: u64) -> String {
    let each = match u32::try_from(events) {
        Ok(events @ 1..) => took(used / events),
        _ => "–".into(),
    };
    format!("{} ({:.2} of a core), {each} an event", took(used), share(used, time))
}

fn share(used: Duration, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { used.div_duration_f64(time) }
}

fn per(count: u64, time: Duration) -> u64 {
    let nanoseconds = time.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

fn per_event(count: u64, events: u64, words: impl FnOnce(f64) -> String) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded for a person")]
    let each = count as f64 / events as f64;
    if events == 0 { "–".into() } else { words(each) }
}
