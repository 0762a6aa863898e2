//! `encke doctor`, end to end: what it finds on the way through real proxies, and that it finds nothing where nothing is.

mod proxies;
mod servers;

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::process::Process;

/// The publish key of these gateways.
const KEY: &str = "a-key-for-tests-of-the-doctor";

#[track_caller]
fn gateway() -> Gateway {
    Gateway::start_with(&["--store", "memory", "--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// `encke doctor` with `arguments`, and the key.
fn doctor<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.arg("doctor").args(arguments).env("ENCKE_PUBLISH_KEY", KEY);
    Process::spawn(command)
}

/// The report of a run with `--json`, and its code.
#[track_caller]
fn report(arguments: &[&str]) -> (Option<i32>, Value) {
    read(doctor([arguments, &["--json"]].concat()))
}

#[track_caller]
fn read(process: Process) -> (Option<i32>, Value) {
    let (code, printed, errors) = process.ended();
    let report = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed:?}, {errors}"));
    (code, report)
}

/// The names of the findings that are problems.
fn problems(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("a list of findings").iter();
    let problems = findings.filter(|finding| finding["level"] == "problem");
    problems.map(|finding| finding["name"].as_str().expect("a name")).collect()
}

/// What is claimed of the path.
#[track_caller]
fn verdict(report: &Value) -> &str {
    report["verdict"]["is"].as_str().expect("a verdict")
}

/// Whether limits of silence, and of age, were looked for.
#[track_caller]
fn looked_for(report: &Value) -> [bool; 2] {
    ["idle", "duration"].map(|limit| report[limit]["isLookedFor"].as_bool().expect("it says so"))
}

/// What to change, of a finding.
#[track_caller]
fn remedy<'a>(report: &'a Value, name: &str) -> &'a str {
    let findings = report["findings"].as_array().expect("a list of findings");
    let finding = findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
    finding["remedy"][0].as_str().expect("a remedy")
}

/// The report of a path with just these problems, and a limit of so many seconds, within 3 %.
///
/// A timer is never early, and on a busy machine it is late, on either side: then it is measured again.
#[track_caller]
fn report_of_a_limit(arguments: &[&str], expected: &[&str], limit: &str, seconds: f64) -> Value {
    for _ in 0..5 {
        let (code, told) = report(arguments);
        let found = told.pointer(limit).and_then(Value::as_f64).unwrap_or_default() / 1e3;
        assert!(found == 0.0 || found > 0.97 * seconds, "{limit} is early: {told}");
        if problems(&told) == expected && (0.97..=1.03).contains(&(found / seconds)) {
            assert_eq!(code, Some(1), "{told}");
            return told;
        }
        eprintln!("not {seconds} s and {expected:?}: {told}");
    }
    panic!("five times {limit} was not {seconds} s, or there were other problems than {expected:?}");
}

#[test]
fn of_a_gateway_that_is_asked_directly_there_is_nothing_to_mend() {
    let gateway = gateway();
    let arguments = [gateway.url(), "--topic=t/1", "--quick"];
    let (code, told) = report(&arguments);
    assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
    assert_eq!((&told["isEncke"], &told["hops"], &told["http"]), (&true.into(), &Value::Array(vec![]), &"1.1".into()));
    assert_eq!(told["delay"]["late"].as_array().map(Vec::len), Some(12), "{told}");
    assert_eq!((&told["halfClose"], &told["atOnce"]["open"]), (&"cut".into(), &12.into()), "{told}");
    assert_eq!((&told["idle"]["limit"], &told["duration"]["limit"]), (&Value::Null, &Value::Null), "{told}");
    // Of limits of time three seconds say nothing, and it says so.
    assert_eq!((verdict(&told), looked_for(&told)), ("incomplete", [false, false]), "{told}");
    assert_eq!((&told["idle"]["watched"], &told["duration"]["watched"]), (&3e3.into(), &3e3.into()), "{told}");

    // As its stream's URL, without a key: it is recognised all the same.
    let (code, printed, errors) = doctor([&format!("{}/events/t/1", gateway.url()), "--quick"]).ended();
    assert_eq!(code, Some(0), "{errors}");
    assert!(printed.contains("HTTP/1.1, Encke, no hop names itself") && !printed.contains("healthy"), "{printed}");
    let last = "\nincomplete: nothing wrong in what shows within 3.00 s; longer limits of time were not looked for: run without --quick";
    assert!(printed.contains(last), "{printed}");
}

#[test]
fn over_tls_it_is_told_what_browsers_would_speak() {
    let gateway = Gateway::start_tls_with(&["--store", "memory", "--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let certificate = gateway.certificate().authority();
    let certificate = certificate.to_str().expect("a path in UTF-8");
    let (code, told) = report(&[gateway.own_url(), "--topic=t", "--quick", "--ca", certificate]);
    assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
    assert_eq!((&told["alpn"], &told["findings"]), (&"h2".into(), &Value::Array(vec![])), "{told}");
    assert_eq!(told["halfClose"], "cut", "{told}");
    assert_eq!((&told["http2"]["status"], &told["http2"]["end"]), (&200.into(), &Value::Null), "{told}");
    assert!(told["http2"]["firstEvent"].is_number(), "{told}");
}
