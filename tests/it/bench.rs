//! `encke bench`, end to end: what it says of a gateway that loses nothing, and of servers that do wrong.

mod faulty;
mod refusals;

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;

use self::faulty::Faulty;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::relay::Relay;
use crate::support::told::all_after;
use crate::support::wait_for;

/// The publish key of these gateways.
const KEY: &str = "a-key-for-tests-of-benches";

#[track_caller]
fn gateway(options: &[&str]) -> Gateway {
    let common = ["--store", "memory", "--read", "public"];
    Gateway::start_with(&[&common, options].concat(), &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// `encke bench` with `arguments`, and the key.
fn bench<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.arg("bench").args(arguments).env("ENCKE_PUBLISH_KEY", KEY);
    Process::spawn(command)
}

/// The report of a run with `--json`, and its code.
#[track_caller]
fn report(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, printed, errors) = bench([arguments, &["--json"]].concat()).ended();
    let report = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed:?}, {errors}"));
    (code, report)
}

/// The count at a place of a run's report.
#[track_caller]
fn count(run: &Value, place: &str) -> u64 {
    run.pointer(place).and_then(Value::as_u64).unwrap_or_else(|| panic!("no count at {place}: {run}"))
}

#[test]
fn every_transport_of_a_gateway_gives_each_reader_all_that_was_published() {
    let gateway = gateway(&[]);
    let transports = ["sse", "ndjson", "long-poll", "poll", "multipart-mixed", "multipart-replace"];
    let arguments = [
        gateway.url(),
        "--topic=bench/a b",
        "--transport=sse,ndjson,long-poll,poll:0.1,multipart-mixed,multipart-replace",
        "--connections=8",
        "--publish-rate=40",
        "--duration=0.5",
        "--wait=30",
        &format!("--pid={}", std::process::id()),
    ];
    let (code, report) = report(&arguments);
    assert_eq!(code, Some(0), "{report}");
    let runs = report["runs"].as_array().expect("a list of runs");
    let names: Vec<_> = runs.iter().map(|run| run["transport"].as_str().expect("a name")).collect();
    assert_eq!(names, transports);
    for run in runs {
        let stored = count(run, "/published/stored");
        assert!(stored > 0, "{run}");
        let own = count(run, "/delivered/events") - count(run, "/delivered/foreign");
        assert_eq!(own + count(run, "/delivered/skipped"), 8 * stored, "each of eight readers, or skipped: {run}");
        assert_eq!(count(run, "/latency/count"), own, "{run}");
        for nothing in ["lost", "doubled", "reordered", "gaps"] {
            assert_eq!(count(run, &format!("/delivered/{nothing}")), 0, "{nothing}: {run}");
        }
        // A state is that of the run before, first.
        let before = if run["transport"] == "multipart-replace" { 8 } else { 0 };
        assert_eq!(count(run, "/delivered/foreign"), before, "{run}");
        let polls = run["transport"].as_str().is_some_and(|name| name.ends_with("poll"));
        assert_eq!(count(run, "/opened"), 8, "{run}");
        assert_eq!(count(run, "/measured/requests") > 0, polls, "streams ask once, before it is measured: {run}");
        assert!(count(run, "/measured/received") > 0 && run["measured"]["serverCpu"].is_number(), "{run}");
    }
}

#[test]
fn streams_share_connections_of_http_2_and_publishers_the_rate() {
    let gateway = gateway(&[]);
    let arguments = [
        gateway.url(),
        "--topic=bench",
        "--http2",
        "--streams=5",
        "--connections=12",
        "--threads=2",
        "--publish-rate=60",
        "--publishers=3",
        "--payload-bytes=3000",
        "--duration=0.5",
        "--wait=30",
    ];
    let (code, report) = report(&arguments);
    assert_eq!(code, Some(0), "{report}");
    let run = &report["runs"][0];
    assert_eq!(report["http"], "2");
    let stored = count(run, "/published/stored");
    assert_eq!(count(run, "/delivered/events"), 12 * stored, "{run}");
    let events = all_after(gateway.address(), None);
    assert!(events.iter().all(|event| event.data.len() == 3000), "the size that was asked for");
    assert_eq!(events.len() as u64, stored);
    for publisher in ["0", "1", "2"] {
        let mine = |event: &&crate::support::told::Told| event.data.split(' ').nth(2) == Some(publisher);
        let numbers: Vec<_> = events.iter().filter(mine).map(|event| event.data.split(' ').nth(3)).collect();
        assert!(!numbers.is_empty(), "publisher {publisher} has its part");
    }
}

#[test]
fn a_reader_that_is_cut_comes_back_and_loses_nothing() {
    let gateway = gateway(&["--retry", "500ms-500ms"]);
    // It breaks the first answer that holds the fourth event off in the midst of it: one reader of three.
    let relay = Relay::cut_once_after(gateway.address(), b" 0 3 ");
    for transport in ["sse", "ndjson", "multipart-mixed"] {
        let relay = if transport == "sse" { &relay } else { &Relay::cut_once_after(gateway.address(), b" 0 3 ") };
        let arguments = [
            &relay.url(),
            "--topic=bench",
            "--transport",
            transport,
            "--connections=3",
            "--publish-rate=100",
            "--duration=1",
            "--wait=30",
        ];
        let (code, report) = report(&arguments);
        assert_eq!(code, Some(0), "{report}");
        let run = &report["runs"][0];
        assert_eq!(count(run, "/delivered/events"), 3 * count(run, "/published/stored"), "{run}");
        assert_eq!(count(run, "/delivered/lost"), 0, "{run}");
        assert_eq!((count(run, "/opened"), count(run, "/reopened")), (4, 1), "{run}");
        assert_eq!(run["ended"], serde_json::json!({ "cut": 1 }), "{run}");
    }
}

#[test]
fn a_server_that_leaves_out_doubles_and_reorders_is_told_so_exactly() {
    let server = Faulty::start();
    let arguments =
        [&server.url(), "--topic=bench", "--connections=4", "--publish-rate=100", "--duration=1", "--wait=3"];
    let (code, told) = report(&arguments);
    assert_eq!(code, Some(4), "{told}");
    let run = &told["runs"][0];
    // Of each of four readers: see `Faulty`.
    let faults = ["lost", "doubled", "reordered"].map(|fault| count(run, &format!("/delivered/{fault}")));
    assert_eq!(faults, [2 * 4, 4, 4], "{run}");
    let events = count(run, "/delivered/events");
    assert_eq!(events, 4 * (count(run, "/published/stored") - 2 + 1), "{run}");

    let (code, printed, errors) = bench(arguments).ended();
    assert_eq!(code, Some(4), "{errors}");
    assert!(printed.contains("8 lost, 4 doubled, 4 reordered"), "{printed}");
    assert!(
        errors.contains("encke: not every event came once and in order: 8 lost, 4 doubled, 4 reordered"),
        "{errors}"
    );
}

#[test]
fn of_any_event_stream_the_ids_are_looked_at() {
    let server = Faulty::start();
    let (code, told) = report(&[&format!("{}/numbers", server.url()), "--connections=3", "--duration=2"]);
    assert_eq!(code, Some(4), "{told}");
    let run = &told["runs"][0];
    assert_eq!(run["delivered"]["lost"], Value::Null, "nobody knows: {run}");
    let faults = ["events", "doubled", "reordered", "leftOut"].map(|fault| count(run, &format!("/delivered/{fault}")));
    assert_eq!(faults, [3 * 5, 3, 3, 3 * 2], "{run}");
    assert_eq!(count(run, "/opened"), 3, "{run}");
    assert_eq!(run["failed"]["status 204"], 3, "it was told that there is no more: {run}");
}

#[test]
fn an_interruption_ends_it_with_the_report() {
    let gateway = gateway(&[]);
    for (signal, code) in [("INT", 130), ("TERM", 0)] {
        let arguments = [gateway.url(), "--topic", signal, "--publish-rate=50", "--duration=1h", "--wait=30"];
        let before = all_after(gateway.address(), None).len();
        let mut process = bench(arguments);
        wait_for("events to be published", || all_after(gateway.address(), None).len() > before + 3);
        process.signal(signal);
        let (ended, printed, errors) = process.ended();
        assert_eq!(ended, Some(code), "{errors}");
        assert!(printed.contains("0 lost, 0 doubled, 0 reordered"), "{printed}");
        assert!(printed.contains("latency      p50 ") && errors.contains("events were sent in the time"), "{errors}");
    }
}
