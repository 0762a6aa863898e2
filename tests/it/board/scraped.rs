//! What `/metrics` says, read back.

use std::collections::{BTreeMap, BTreeSet};

use super::client::get;

/// One scrape.
#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) text: String,
    series: Vec<Series>,
}

/// One line of it.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Scraped {
    /// Scrapes `address`.
    #[track_caller]
    pub(super) fn from(address: &str) -> Self {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self::of(answer.body)
    }

    /// Reads what was scraped, in either form.
    #[track_caller]
    pub(super) fn of(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| Series::parse(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect();
        Self { text, series }
    }

    pub(super) fn series(&self) -> &[Series] {
        &self.series
    }

    /// The sum over the series of `name` that have these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &&Series| {
            series.name == name
                && labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|v| v == value))
        };
        let matching: Vec<_> = self.series.iter().filter(has).collect();
        assert!(!matching.is_empty(), "there is no series {name} {labels:?}");
        matching.iter().map(|series| series.value).sum()
    }

    /// Whether there is a series of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.series.iter().any(|series| series.name == name)
    }

    /// How streams ended, on all paths: reason and transport of each that is not zero.
    pub(super) fn ends(&self) -> BTreeMap<(&str, &str), u64> {
        let ends = self.series.iter().filter(|series| series.name == "encke_stream_ends_total" && series.value > 0.0);
        let mut of_all_paths = BTreeMap::new();
        for series in ends {
            let key = (series.labels["reason"].as_str(), series.labels["transport"].as_str());
            let count: u64 = format!("{}", series.value).parse().expect("a counter is a whole number");
            *of_all_paths.entry(key).or_default() += count;
        }
        of_all_paths
    }

    /// The metrics and their labels, without the `le` of histograms.
    pub(super) fn metrics(&self) -> BTreeMap<String, BTreeSet<String>> {
        let histograms = self.histograms();
        let mut metrics = BTreeMap::<_, BTreeSet<String>>::new();
        for series in &self.series {
            let labels = series.labels.keys().filter(|label| *label != "le").cloned();
            metrics.entry(base(&series.name, &histograms).to_owned()).or_default().extend(labels);
        }
        metrics
    }

    /// The name of the metric that a series belongs to, which is another one for the series of a histogram.
    pub(super) fn metric_of<'a>(&self, series: &'a str) -> &'a str {
        base(series, &self.histograms())
    }

    /// Every value of every label but `le`.
    pub(super) fn label_values(&self) -> BTreeSet<(&str, &str)> {
        let labels = self.series.iter().flat_map(|series| &series.labels).filter(|(label, _)| *label != "le");
        labels.map(|(label, value)| (label.as_str(), value.as_str())).collect()
    }

    fn histograms(&self) -> BTreeSet<&str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.strip_suffix(" histogram")).collect()
    }
}

fn base<'a>(series: &'a str, histograms: &BTreeSet<&str>) -> &'a str {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| series.strip_suffix(part));
    parts.into_iter().find(|base| histograms.contains(base)).unwrap_or(series)
}

impl Series {
    /// `name{label="value",…} 1`, and an exemplar behind it; our labels hold no escapes and no commas.
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.split(" # ").next()?.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let pairs = labels.strip_suffix('}')?.split(',').filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (label, value) = pair.split_once('=')?;
            Some((label.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: labels.collect::<Option<_>>()?, value: value.parse().ok()? })
    }
}
