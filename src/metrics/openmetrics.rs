//! `OpenMetrics` 1.0.0: the form of what is scraped that can carry exemplars.
//!
//! The `prometheus` crate writes only its own older text, in which an exemplar has no place.
//!
//! *Deliberately absent*: timestamps of samples, `_created` lines (nobody asks when a series began), and what is not declared
//! here: summaries, and counters whose names do not end with `_total`.

use std::fmt::Write as _;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{self, Exemplar, Exemplars};

/// The families that a registry gathered, each with the exemplars of its series, and the end of the text.
///
/// Cost: that of the text, and a look-up for each series of the families that carry exemplars.
pub(super) fn encoded(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut text = String::new();
    for family in families {
        let kind = family.get_field_type();
        let Some((name, word)) = named(family.name(), kind) else { continue };
        describe(&mut text, (name, word), family.help());
        for metric in family.get_metric() {
            let exemplars = exemplars.of(family.name(), metric.get_label());
            Lines { into: &mut text, name, labels: metric.get_label() }.series(kind, metric, &exemplars);
        }
    }
    text.push_str("# EOF\n");
    text
}

/// A family's name, which is a counter's without the `_total` of its samples, and the word for its type.
fn named(declared: &str, kind: MetricType) -> Option<(&str, &'static str)> {
    match kind {
        MetricType::COUNTER => Some((declared.strip_suffix(TOTAL)?, "counter")),
        MetricType::GAUGE => Some((declared, "gauge")),
        MetricType::HISTOGRAM => Some((declared, "histogram")),
        MetricType::SUMMARY | MetricType::UNTYPED => None,
    }
}

/// Writes what is said of a family before its samples.
fn describe(into: &mut String, (name, kind): (&str, &str), help: &str) {
    let _ = writeln!(into, "# TYPE {name} {kind}");
    if let Some(unit) = UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|name| name.ends_with('_'))) {
        let _ = writeln!(into, "# UNIT {name} {unit}");
    }
    let _ = write!(into, "# HELP {name} ");
    escape(into, help);
    into.push('\n');
}

/// Writes the lines of one series.
struct Lines<'a> {
    into: &'a mut String,
    name: &'a str,
    labels: &'a [LabelPair],
}

/// What is counted one by one, or measured.
#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Real(f64),
}

impl Lines<'_> {
    fn series(&mut self, kind: MetricType, metric: &Metric, exemplars: &[Exemplar]) {
        match kind {
            MetricType::COUNTER => {
                let count = Number::Real(metric.get_counter().get_value());
                self.sample(TOTAL, None, count, Exemplar::newest(exemplars, |_| true));
            }
            MetricType::GAUGE => self.sample("", None, Number::Real(metric.get_gauge().get_value()), None),
            MetricType::HISTOGRAM => self.histogram(metric.get_histogram(), exemplars),
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }

    /// Buckets, each with the newest exemplar whose value is in it, and then the count and the sum.
    fn histogram(&mut self, histogram: &Histogram, exemplars: &[Exemplar]) {
        let finite = histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        let mut lower = f64::NEG_INFINITY;
        for (upper, count) in finite.chain([(f64::INFINITY, histogram.get_sample_count())]) {
            let newest = Exemplar::newest(exemplars, |value| lower < value && value <= upper);
            self.sample("_bucket", Some(upper), Number::Whole(count), newest);
            lower = upper;
        }
        self.sample("_count", None, Number::Whole(histogram.get_sample_count()), None);
        self.sample("_sum", None, Number::Real(histogram.get_sample_sum()), None);
    }

    /// Writes one sample; a bucket's with its edge behind its own labels.
    fn sample(&mut self, suffix: &str, edge: Option<f64>, value: Number, exemplar: Option<&Exemplar>) {
        let into = &mut *self.into;
        into.push_str(self.name);
        into.push_str(suffix);
        let mut before = '{';
        for label in self.labels {
            into.push(before);
            into.push_str(label.name());
            into.push_str("=\"");
            escape(into, label.value());
            into.push('"');
            before = ',';
        }
        if let Some(edge) = edge {
            let _ = write!(into, "{before}le=\"");
            canonical(into, edge);
            into.push('"');
            before = ',';
        }
        into.push_str(if before == ',' { "} " } else { " " });
        match value {
            Number::Whole(value) => drop(write!(into, "{value}")),
            Number::Real(value) => real(into, value),
        }
        if let Some(exemplar) = exemplar {
            let _ = write!(into, " # {{{}=\"{:08x}\"}} ", exemplars::LABEL, exemplar.stream);
            real(into, exemplar.value);
            let _ = write!(into, " {}.{:03}", exemplar.at.as_secs(), exemplar.at.subsec_millis());
        }
        into.push('\n');
    }
}

/// Writes what help and label values may not hold as it stands: a backslash, a quotation mark, the end of a line.
fn escape(into: &mut String, text: &str) {
    for piece in text.split_inclusive(['\\', '"', '\n']) {
        let plain = piece.trim_end_matches(['\\', '"', '\n']);
        into.push_str(plain);
        match &piece[plain.len()..] {
            "\n" => into.push_str("\\n"),
            "" => {}
            mark => {
                into.push('\\');
                into.push_str(mark);
            }
        }
    }
}

/// Writes a value: one that is whole without a fraction, as it is most likely a count.
fn real(into: &mut String, number: f64) {
    if number.fract() == 0.0 && number.abs() < WHOLE {
        let _ = write!(into, "{number}");
    } else {
        canonical(into, number);
    }
}

/// Writes a number as the format wants it where it is a label ("Canonical Numbers"), so that an edge is the same series
/// whoever writes it: as Go's `%g` does, and with `.0` where that would look like an integer.
fn canonical(into: &mut String, number: f64) {
    let _ = match number.abs() {
        f64::INFINITY => write!(into, "{}Inf", if number > 0.0 { '+' } else { '-' }),
        size if size.is_nan() => write!(into, "NaN"),
        size if size != 0.0 && !FIXED.contains(&size) => {
            let number = format!("{number:e}");
            let (digits, power) = number.split_once('e').unwrap_or((&number, "0"));
            write!(into, "{digits}e{:+03}", power.parse::<i16>().unwrap_or_default())
        }
        _ if number.fract() == 0.0 => write!(into, "{number}.0"),
        _ => write!(into, "{number}"),
    };
}

/// How the name of a counter's sample ends.
const TOTAL: &str = "_total";

/// Units that are told, of families whose names end with them.
const UNITS: &[&str] = &["seconds", "bytes"];

/// Below it every whole number is one of its own.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Where numbers are written without an exponent.
const FIXED: std::ops::Range<f64> = 1e-4..1e6;

#[cfg(test)]
mod tests;
