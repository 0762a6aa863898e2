//! Ends that come from outside: by a signal that comes twice, and by a limit on files.

use std::process::Command;

use super::publish::{assert_stored, post};
use super::start::directory;
use super::{KEY, stored};
use crate::support::gateway::{Addresses, Gateway};
use crate::support::http::{Connection, Request};
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_second_sigterm_ends_at_once_and_still_closes_the_log() {
    // 1. A publisher does not send its content, so that the drain waits. 2. It is told to end, and told again.
    let mut gateway = Gateway::start_with(&["--read", "public", "--drain", "3600"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    for data in ["a", "b"] {
        assert_stored(data, &post("/events/t", data).ask(gateway.address()));
    }
    let mut connection = Connection::open(gateway.address());
    let slow = post("/events/t", "").without("Content-Length").field("Content-Length", "9");
    connection.send(slow.field("Expect", "100-continue").head());
    assert_eq!(connection.head().status, 100, "the content is waited for");
    gateway.terminate();
    wait_for("the drain to begin", || gateway.process().errors().contains("draining"));
    gateway.terminate();
    assert!(gateway.wait().success());
    let errors = gateway.process().errors();
    assert!(errors.contains("in_time=false"), "it was cut: {errors}");
    let left: Vec<_> = std::fs::read_dir(gateway.data_dir()).expect("the directory").flatten().collect();
    let left: Vec<_> = left.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(left.iter().any(|name| name == "encke.db") && !left.iter().any(|name| name.contains("-wal")), "{left:?}");
    gateway.restart();
    assert_eq!(stored(&gateway).len(), 2);
}

/// It was told that the gateway stops, and need not be waited for as long as others whose stream ends early.
#[test]
fn a_publisher_whose_stream_stays_open_does_not_hold_up_the_end() {
    let mut gateway = Gateway::start_with(&["--read", "public", "--drain", "8"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let mut connection = Connection::open(gateway.address());
    let request = post("/events?ack=each", "").without("Content-Length").field("Transfer-Encoding", "chunked");
    connection.send(request.without("Content-Type").field("Content-Type", "application/x-ndjson").head());
    let line = r#"{"topic":"t","data":"x"}"#;
    connection.send(format!("{:x}\r\n{line}\n\r\n", line.len() + 1));
    assert_eq!(connection.head().status, 200);
    connection.chunks_until("\"id\"");
    gateway.terminate();
    connection.chunks_until("503");
    assert!(gateway.wait().success());
    let errors = gateway.process().errors();
    assert!(errors.contains("in_time=true"), "{errors}");
    gateway.restart();
    assert_eq!(stored(&gateway).len(), 1);
}

#[test]
fn a_file_that_may_not_grow_refuses_events_and_does_not_end_the_process() {
    let data = directory();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 6000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_encke"), "serve", "--dev"]);
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data.path());
    let mut process = Process::spawn(command);
    let addresses = Addresses::told_by(&mut process, true).expect("it listens");
    let address = addresses.public.expect("an address");
    let address = address.trim_start_matches("http://");
    assert_stored("small", &post("/events/t", "small").ask(address));
    let large = "x".repeat(1 << 20);
    let refused = (0..20).map(|_| post("/events/t", &large).ask(address)).find(|answer| answer.status != 201);
    let refused = refused.expect("20 MiB do not fit");
    assert!(matches!(refused.status, 503 | 507), "{refused:?} {}", refused.text());
    let answer = Request::get("/events/t?transport=long-poll&lastEventId=earliest&limit=1").ask(address);
    assert_eq!(answer.json()["events"][0]["data"], "small", "reading goes on");
    process.terminate();
    assert!(process.wait(PATIENCE).success());
}
