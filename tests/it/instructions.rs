//! How `benches/instructions` judges what it has counted. The counting itself is a stage of its own.

#[allow(dead_code, reason = "only the judging is tried here")]
#[path = "../../benches/instructions/recorded.rs"]
mod recorded;

use serde_json::json;

use recorded::{Recorded, Toolchain, Verdict};

fn toolchain(rustc: &str) -> Toolchain {
    let told = json!({ "rustc": rustc, "libc": "", "valgrind": "", "cpu": "" });
    serde_json::from_value(told).expect("a toolchain")
}

fn recorded(count: u64, tolerance: f64) -> Recorded {
    let told =
        json!({ "toolchain": toolchain(""), "counts": { "publish": { "count": count, "tolerance": tolerance } } });
    serde_json::from_value(told).expect("a record")
}

#[track_caller]
fn check(count: u64, rustc: &str, expected: &str) {
    let verdict = match recorded(1000, 3.0).judge("publish", count, &toolchain(rustc)) {
        Verdict::Kept => String::new(),
        Verdict::Fallen(words) | Verdict::Risen(words) => words,
    };
    assert!(verdict.contains(expected) && verdict.is_empty() == expected.is_empty(), "{count}: {verdict:?}");
}

#[test]
fn a_count_may_rise_by_its_tolerance_and_no_more() {
    check(1000, "", "");
    check(1030, "", "");
    check(1031, "", "publish has RISEN by 3.1 %, from 1000 to 1031; 3 % are allowed");
    check(970, "", "");
    check(969, "", "publish has fallen by 3.1 %, from 1000 to 969");
}

#[test]
fn with_another_toolchain_more_is_let_pass_but_not_everything() {
    check(1031, "another", "");
    check(1150, "another", "");
    check(1151, "another", "publish has RISEN by 15.1 %");
    let (before, here) = (toolchain("one"), toolchain("another"));
    assert!(before.differs_from(&here).expect("it differs").contains("another toolchain"));
    assert_eq!(here.differs_from(&here), None);
}

#[test]
fn what_is_not_recorded_is_an_error_and_says_how_to_record_it() {
    let words = "connect is not recorded yet: benches/instructions/run --record connect";
    assert_eq!(recorded(1, 3.0).judge("connect", 1, &toolchain("")), Verdict::Risen(words.to_owned()));
}

#[test]
fn a_count_that_is_recorded_anew_keeps_its_tolerance() {
    let mut recorded = recorded(1000, 7.0);
    recorded.enter("publish", 2000);
    assert_eq!(recorded.judge("publish", 2139, &toolchain("")), Verdict::Kept);
    assert!(matches!(recorded.judge("publish", 2141, &toolchain("")), Verdict::Risen(_)));
}
