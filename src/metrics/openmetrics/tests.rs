use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use proptest::prelude::*;

use super::super::exemplars::Carrier;
use super::*;

const CARRIERS: &[Carrier] = &[
    Carrier { family: "ends_total", labels: &["reason", "path"], edges: &[] },
    Carrier { family: "age_seconds", labels: &["path"], edges: &[1.0, 60.0] },
    Carrier { family: "odd", labels: &[], edges: &[] },
];

fn none() -> Exemplars {
    Exemplars::new(CARRIERS, 100)
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn text(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    encoded(families, exemplars)
}

fn gathered(collectors: Vec<Box<dyn Collector>>) -> Vec<MetricFamily> {
    let registry = Registry::new();
    for collector in collectors {
        registry.register(collector).expect("a name of its own");
    }
    registry.gather()
}

#[track_caller]
fn check(name: &str, collectors: Vec<Box<dyn Collector>>, expected: &[&str]) {
    assert_eq!(text(&gathered(collectors), &none()), expected.join("\n") + "\n# EOF\n", "{name}");
}

fn counter(name: &str, help: &str, count: u64) -> Box<dyn Collector> {
    let counter = IntCounter::new(name, help).expect("a declaration");
    counter.inc_by(count);
    Box::new(counter)
}

fn gauge(name: &str, help: &str, value: f64) -> Box<dyn Collector> {
    let gauge = Gauge::new(name, help).expect("a declaration");
    gauge.set(value);
    Box::new(gauge)
}

fn ends() -> IntCounterVec {
    IntCounterVec::new(Opts::new("ends_total", "Ends."), &["reason", "path"]).expect("a declaration")
}

fn ages(edges: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new("age_seconds", "Ages.").buckets(edges.to_vec());
    HistogramVec::new(options, &["path"]).expect("a declaration")
}

#[test]
fn nothing_is_but_its_end() {
    assert_eq!(text(&[], &none()), "# EOF\n");
}

#[test]
fn counters_are_named_without_total_and_counted_with_it() {
    check(
        "a counter",
        vec![counter("commits_total", "Commits.", 7)],
        &["# TYPE commits counter", "# HELP commits Commits.", "commits_total 7"],
    );
    check(
        "one with a unit",
        vec![counter("sent_bytes_total", "Sent.", 123_456_789)],
        &[
            "# TYPE sent_bytes counter",
            "# UNIT sent_bytes bytes",
            "# HELP sent_bytes Sent.",
            "sent_bytes_total 123456789",
        ],
    );
}

#[test]
fn families_have_units_only_where_their_names_end_with_them() {
    for (name, unit) in [
        ("a_seconds", Some("seconds")),
        ("a_b_bytes", Some("bytes")),
        ("open", None),
        ("seconds", None),
        ("kilobytes", None),
        ("bytes_read", None),
    ] {
        let unit = unit.map_or_else(String::new, |unit| format!("# UNIT {name} {unit}\n"));
        let expected = format!("# TYPE {name} gauge\n{unit}# HELP {name} Help.\n{name} -0.25");
        check(name, vec![gauge(name, "Help.", -0.25)], &[&expected]);
    }
}

#[test]
fn histograms_are_buckets_a_count_and_a_sum() {
    let ages = ages(&[0.000_25, 1.0, 14_400.0, 1e6]);
    for age in [0.5, 60.1, 86_400.0, 2e6] {
        ages.with_label_values(&["a"]).observe(age);
    }
    check(
        "a histogram",
        vec![Box::new(ages)],
        &[
            "# TYPE age_seconds histogram",
            "# UNIT age_seconds seconds",
            "# HELP age_seconds Ages.",
            "age_seconds_bucket{path=\"a\",le=\"0.00025\"} 0",
            "age_seconds_bucket{path=\"a\",le=\"1.0\"} 1",
            "age_seconds_bucket{path=\"a\",le=\"14400.0\"} 2",
            "age_seconds_bucket{path=\"a\",le=\"1e+06\"} 3",
            "age_seconds_bucket{path=\"a\",le=\"+Inf\"} 4",
            "age_seconds_count{path=\"a\"} 4",
            "age_seconds_sum{path=\"a\"} 2.0864606e+06",
        ],
    );
}

#[test]
fn help_and_label_values_are_escaped_and_labels_keep_their_order() {
    let ends =
        IntCounterVec::new(Opts::new("ends_total", "A \"b\\c\"\nd."), &["reason", "path"]).expect("a declaration");
    ends.with_label_values(&["a\nb", "\\\"é\r\""]).inc();
    check(
        "escapes",
        vec![Box::new(ends)],
        &[
            "# TYPE ends counter",
            "# HELP ends A \\\"b\\\\c\\\"\\nd.",
            "ends_total{path=\"\\\\\\\"é\r\\\"\",reason=\"a\\nb\"} 1",
        ],
    );
}

#[test]
fn numbers_are_canonical_in_labels_and_plain_in_values() {
    for (number, label, value) in [
        (0.0, "0.0", "0"),
        (1.0, "1.0", "1"),
        (-1.0, "-1.0", "-1"),
        (0.001, "0.001", "0.001"),
        (10.0, "10.0", "10"),
        (14.5, "14.5", "14.5"),
        (0.0001, "0.0001", "0.0001"),
        (0.000_099, "9.9e-05", "9.9e-05"),
        (0.000_01, "1e-05", "1e-05"),
        (1e-10, "1e-10", "1e-10"),
        (100_000.0, "100000.0", "100000"),
        (1e6, "1e+06", "1000000"),
        (1_234_567.0, "1.234567e+06", "1234567"),
        (1e10, "1e+10", "10000000000"),
        (9_007_199_254_740_991.0, "9.007199254740991e+15", "9007199254740991"),
        (9_007_199_254_740_992.0, "9.007199254740992e+15", "9.007199254740992e+15"),
        (1e100, "1e+100", "1e+100"),
        (f64::INFINITY, "+Inf", "+Inf"),
        (f64::NEG_INFINITY, "-Inf", "-Inf"),
        (f64::NAN, "NaN", "NaN"),
    ] {
        let (mut as_label, mut as_value) = (String::new(), String::new());
        canonical(&mut as_label, number);
        real(&mut as_value, number);
        assert_eq!((as_label.as_str(), as_value.as_str()), (label, value), "{number}");
    }
}

#[test]
fn counters_carry_the_newest_exemplar_of_their_series() {
    let (ends, exemplars) = (ends(), none());
    ends.with_label_values(&["lost", "a"]).inc();
    ends.with_label_values(&["lost", "b"]).inc();
    exemplars.record("ends_total", &["lost", "b"], 9.0, 1, at(1_600_000_000_000));
    exemplars.record("ends_total", &["lost", "b"], 60.1, 0x0a1b_2c3d, at(1_700_000_000_123));
    exemplars.record("ends_total", &["lost", "gone"], 3.0, 2, at(1_700_000_000_456));
    exemplars.record("ends_total", &["lost", "a"], f64::NAN, 3, at(1_700_000_000_456));
    exemplars.record("unheard_of_total", &["lost"], 3.0, 4, at(1_700_000_000_456));
    assert_eq!(
        text(&gathered(vec![Box::new(ends)]), &exemplars),
        "# TYPE ends counter\n\
         # HELP ends Ends.\n\
         ends_total{path=\"a\",reason=\"lost\"} 1\n\
         ends_total{path=\"b\",reason=\"lost\"} 1 # {stream=\"0a1b2c3d\"} 60.1 1700000000.123\n\
         # EOF\n"
    );
}

#[test]
fn buckets_carry_the_newest_exemplar_within_them() {
    let (ages, exemplars) = (ages(&[1.0, 60.0]), none());
    for (stream, age) in [(1, 0.0), (2, 60.0), (3, 1.0), (4, 60.1), (5, 99.0)] {
        ages.with_label_values(&["a"]).observe(age);
        exemplars.record("age_seconds", &["a"], age, stream, at(5000 + u64::from(stream)));
    }
    let text = text(&gathered(vec![Box::new(ages)]), &exemplars);
    let lines: Vec<_> = text.lines().skip(3).collect();
    assert_eq!(
        lines,
        [
            "age_seconds_bucket{path=\"a\",le=\"1.0\"} 2 # {stream=\"00000003\"} 1 5.003",
            "age_seconds_bucket{path=\"a\",le=\"60.0\"} 3 # {stream=\"00000002\"} 60 5.002",
            "age_seconds_bucket{path=\"a\",le=\"+Inf\"} 5 # {stream=\"00000005\"} 99 5.005",
            "age_seconds_count{path=\"a\"} 5",
            "age_seconds_sum{path=\"a\"} 220.1",
            "# EOF",
        ]
    );
}

#[test]
fn only_counters_and_buckets_carry_exemplars() {
    let exemplars = none();
    exemplars.record("odd", &[], 1.0, 1, at(0));
    let text = text(&gathered(vec![gauge("odd", "Odd.", 0.0)]), &exemplars);
    assert!(text.ends_with("odd 0\n# EOF\n"), "{text}");
}

/// The streams of the exemplars in a text.
fn streams(text: &str) -> Vec<u32> {
    let exemplars = text.lines().filter_map(|line| line.split_once(" # {stream=\""));
    exemplars.map(|(_, exemplar)| u32::from_str_radix(&exemplar[..8], 16).expect("eight digits")).collect()
}

#[test]
fn a_path_that_is_forgotten_takes_its_exemplars_along() {
    let (ends, ages, exemplars) = (ends(), ages(&[1.0, 60.0]), none());
    for (stream, path, reason) in [(1, "a", "lost"), (2, "b", "a"), (3, "a", "complete"), (4, "b", "complete")] {
        ends.with_label_values(&[reason, path]).inc();
        ages.with_label_values(&[path]).observe(2.0);
        exemplars.record("ends_total", &[reason, path], 2.0, stream, at(0));
        exemplars.record("age_seconds", &[path], 2.0, stream + 4, at(0));
    }
    let families = gathered(vec![Box::new(ends), Box::new(ages)]);
    assert_eq!(streams(&text(&families, &exemplars)), [7, 8, 3, 1, 2, 4]);
    exemplars.forget("path", "a");
    assert_eq!(streams(&text(&families, &exemplars)), [8, 2, 4]);
    exemplars.forget("path", "b");
    assert_eq!(streams(&text(&families, &exemplars)), [0; 0]);
    exemplars.record("ends_total", &["lost", "a"], 2.0, 9, at(0));
    assert_eq!(streams(&text(&families, &exemplars)), [9], "it may come back");
}

#[test]
fn only_so_many_a_second_become_exemplars() {
    let exemplars = Exemplars::new(CARRIERS, 1000);
    let at = |second: u64| UNIX_EPOCH + Duration::from_secs(second);
    let given = |second| (0..100).filter(|_| exemplars.has_room(at(second))).count();
    assert_eq!([given(1000), given(1000), given(1001), given(1700)], [32, 0, 32, 32]);
}

#[test]
fn beyond_the_bound_what_was_recorded_longest_ago_goes() {
    let (ends, exemplars) = (ends(), Exemplars::new(CARRIERS, 2));
    for (stream, path) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
        ends.with_label_values(&["lost", path]).inc();
        exemplars.record("ends_total", &["lost", path], 2.0, stream, at(0));
    }
    assert_eq!(streams(&text(&gathered(vec![Box::new(ends)]), &exemplars)), [3, 4]);
}

/// The value of the label `path` in the one sample of a text, read back.
fn read_back(line: &str) -> String {
    let quoted = line.strip_prefix("ends_total{path=\"").and_then(|line| line.split_once("\",reason=\"lost\"} 1"));
    let (quoted, rest) = quoted.expect("one sample");
    assert_eq!(rest, " # {stream=\"00000001\"} 2 0.000");
    let (mut read, mut characters) = (String::new(), quoted.chars());
    while let Some(character) = characters.next() {
        assert_ne!(character, '"', "a quotation mark that is not escaped");
        read.push(match character {
            '\\' => match characters.next().expect("something behind a backslash") {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                other => panic!("\\{other} is no escape"),
            },
            plain => plain,
        });
    }
    read
}

proptest! {
    #[test]
    fn a_label_value_of_any_characters_is_one_line_and_is_read_back(
        value in prop::collection::vec(prop_oneof![any::<char>(), prop::sample::select(vec!['\\', '"', '\n', 'n', '\r', ','])], 0..20),
    ) {
        let value = String::from_iter(value);
        let (ends, exemplars) = (ends(), none());
        ends.with_label_values(&["lost", &value]).inc();
        exemplars.record("ends_total", &["lost", &value], 2.0, 1, at(0));
        let text = text(&gathered(vec![Box::new(ends)]), &exemplars);
        let lines: Vec<_> = text.split('\n').collect();
        prop_assert_eq!(lines.len(), 5, "{:?}", text);
        prop_assert_eq!(read_back(lines[2]), value);
    }

    #[test]
    fn numbers_are_read_back_exactly(number in any::<f64>().prop_filter("a number", |number| !number.is_nan())) {
        for write in [canonical, real] {
            let mut text = String::new();
            write(&mut text, number);
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(number.to_bits()), "{}", text);
        }
    }

    #[test]
    fn exemplars_are_bounded_and_the_newest_stay(
        bound in 0_usize..12,
        recorded in prop::collection::vec((0..2_i32, 0..4_i32, 0.0..100.0_f64), 0..60),
        forgotten in 0..4_i32,
    ) {
        let exemplars = Exemplars::new(CARRIERS, bound);
        let mut model: Vec<(i32, i32, usize, u32)> = Vec::new();
        for (stream, &(family, path, value)) in (0_u32..).zip(&recorded) {
            let name = path.to_string();
            let bucket = if family == 0 { 0 } else { [1.0, 60.0].iter().filter(|edge| **edge < value).count() };
            match family {
                0 => exemplars.record("ends_total", &["lost", &name], value, stream, at(0)),
                _ => exemplars.record("age_seconds", &[&name], value, stream, at(0)),
            }
            model.retain(|(f, p, b, _)| (*f, *p, *b) != (family, path, bucket));
            model.push((family, path, bucket, stream));
            model.drain(..model.len().saturating_sub(bound));
        }
        exemplars.forget("path", &forgotten.to_string());
        model.retain(|(_, path, ..)| *path != forgotten);
        let (ends, ages) = (ends(), ages(&[1.0, 60.0]));
        for path in 0..4 {
            ends.with_label_values(&["lost", &path.to_string()]);
            ages.with_label_values(&[path.to_string().as_str()]);
        }
        let mut seen = streams(&text(&gathered(vec![Box::new(ends), Box::new(ages)]), &exemplars));
        seen.sort_unstable();
        prop_assert_eq!(seen, model.iter().map(|(.., stream)| *stream).collect::<Vec<_>>());
    }
}

#[test]
fn gauges_of_a_vector_are_lines_of_one_family() {
    let limits = GaugeVec::new(Opts::new("limit_seconds", "Limits."), &["path"]).expect("a declaration");
    limits.with_label_values(&["a"]).set(60.0);
    limits.with_label_values(&["b"]).set(0.5);
    check(
        "two series",
        vec![Box::new(limits)],
        &[
            "# TYPE limit_seconds gauge",
            "# UNIT limit_seconds seconds",
            "# HELP limit_seconds Limits.",
            "limit_seconds{path=\"a\"} 60",
            "limit_seconds{path=\"b\"} 0.5",
        ],
    );
}
