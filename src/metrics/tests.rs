use std::time::{Duration, SystemTime};

use super::*;

fn metrics() -> Metrics {
    Metrics::new(Labels {
        transports: &["sse"],
        ends: &["complete", "unknown"],
        signs: &["closed"],
        gaps: &["expired"],
        resumes: &["new"],
        refusals: &["key"],
    })
}

#[test]
fn every_series_exists_at_zero_from_the_start() {
    let text = metrics().scrape(Form::Text, |_| 0);
    for series in [
        "encke_stream_ends_total{path=\"other\",reason=\"complete\",transport=\"sse\"} 0",
        "encke_streams_active{transport=\"sse\"} 0",
        "encke_gaps_total{reason=\"expired\"} 0",
        "encke_refused_total{reason=\"key\"} 0",
        "encke_log_commits_total 0",
    ] {
        assert!(text.contains(series), "{series} is missing in\n{text}");
    }
}

#[test]
fn a_stream_is_active_until_its_metrics_are_dropped() {
    let metrics = metrics();
    let stream = metrics.open("sse", "new");
    assert_eq!(metrics.streams(), 1);
    stream.wrote(2, 1, 100);
    drop(stream);
    assert_eq!(metrics.streams(), 0);
    let text = metrics.scrape(Form::Text, |_| 7);
    assert!(text.contains("encke_delivered_total{transport=\"sse\"} 2"), "{text}");
    assert!(text.contains("encke_log_commits_total 7"), "{text}");
}

/// The samples of a text, without their exemplars, as what is counted and what it comes to.
fn samples(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.split(" # ").next().and_then(|sample| sample.rsplit_once(' ')));
    let samples = samples.map(|sample| {
        let (series, value) = sample.expect("a sample has a value");
        // An edge is spelled otherwise.
        let series =
            match series.split_once("le=\"").and_then(|(before, rest)| Some((before, rest.strip_suffix("\"}")?))) {
                Some((before, edge)) => format!("{before}{:?}", edge.parse::<f64>().expect("an edge is a number")),
                None => series.to_owned(),
            };
        (series, value.parse().expect("a value is a number"))
    });
    let mut samples: Vec<_> = samples.collect();
    samples.sort_by(|(a, _), (b, _)| a.cmp(b));
    samples
}

const ENDED: Ended<'_> = Ended {
    transport: "sse",
    reason: "unknown",
    path: "a",
    age: Duration::from_secs(60),
    idle: Duration::from_millis(14_600),
    stream: 0x0a1b_2c3d,
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn both_forms_tell_the_same() {
    let metrics = metrics();
    metrics.ends.count(&ENDED, at(7));
    metrics.ends.path("a", (Some(Duration::from_millis(1500)), None), Duration::from_secs(15), &[]);
    metrics.publish_seconds.observe(0.000_3);
    let [text, open_metrics] = [Form::Text, Form::OpenMetrics].map(|form| metrics.scrape(form, |_| 3_000_000));
    assert_eq!(samples(&text), samples(&open_metrics));
    let kinds = |text: &str| text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(kinds(&text), kinds(&open_metrics));
}

/// The lines of a scrape that carry an exemplar.
fn exemplars(metrics: &Metrics) -> Vec<String> {
    let text = metrics.scrape(Form::OpenMetrics, |_| 0);
    text.lines().filter(|line| line.contains(" # {")).map(str::to_owned).collect()
}

#[test]
fn a_stream_that_ended_is_the_exemplar_of_what_it_is_counted_in() {
    let metrics = metrics();
    metrics.ends.count(&ENDED, at(7));
    assert_eq!(
        exemplars(&metrics),
        [
            "encke_stream_age_at_end_seconds_bucket{path=\"a\",le=\"63.0\"} 1 # {stream=\"0a1b2c3d\"} 60 7.000",
            "encke_stream_ends_total{path=\"a\",reason=\"unknown\",transport=\"sse\"} 1 # {stream=\"0a1b2c3d\"} 1 7.000",
            "encke_stream_idle_at_end_seconds_bucket{path=\"a\",le=\"16.0\"} 1 # {stream=\"0a1b2c3d\"} 14.6 7.000",
        ]
    );
    assert!(!metrics.scrape(Form::Text, |_| 0).contains("0a1b2c3d"), "the older form has no place for it");
}

#[test]
fn an_answered_poll_is_no_exemplar_and_a_path_that_is_no_more_has_none() {
    let metrics = metrics();
    metrics.ends.count_answered("sse", "complete", "a");
    assert_eq!(exemplars(&metrics), [""; 0]);
    metrics.ends.count(&ENDED, at(7));
    metrics.ends.forget_path("a", &["sse"], &["complete", "unknown"], &[]);
    // The path comes back.
    metrics.ends.begin_path("a", "sse", &["complete", "unknown"]);
    assert_eq!(exemplars(&metrics), [""; 0]);
}

#[test]
fn of_many_ends_the_newest_stay_as_exemplars() {
    let metrics = metrics();
    let paths: Vec<_> = (0..1000).map(|number| format!("path {number}")).collect();
    for (stream, path) in (0..).zip(&paths) {
        metrics.ends.count(&Ended { path, stream, ..ENDED }, at(stream.into()));
    }
    let exemplars = exemplars(&metrics);
    assert_eq!(exemplars.len(), 768);
    let is_new = |line: &String| (744..1000).any(|stream| line.contains(&format!("\"{stream:08x}\"")));
    assert!(exemplars.iter().all(is_new), "{exemplars:?}");
}
