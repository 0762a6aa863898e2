//! The system calls of one publish, as the kernel saw them: the disk has the event before the publisher has its answer.

use std::fs;
use std::process::Command;

use super::{KEY, gateway};
use crate::support::http1::Connection;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

/// Data that is found again in a trace.
const DATA: &str = "an event that is looked for in the trace";

#[test]
fn a_publish_is_answered_after_the_write_ahead_log_is_synced() {
    let calls = calls_of_one_publish("fsync");
    assert!(is_synced_before_the_answer(&calls), "{calls:#?}");
}

/// That the trace would show it if there were no sync.
#[test]
fn without_fsync_the_trace_shows_none() {
    let calls = calls_of_one_publish("os");
    assert!(!is_synced_before_the_answer(&calls), "{calls:#?}");
}

/// A system call with the lines of the trace in which it begins and ends.
#[derive(Debug)]
struct Call {
    text: String,
    begin: usize,
    end: usize,
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.text.split_once('(').is_some_and(|(called, _)| called == name)
    }

    fn succeeded(&self) -> bool {
        self.text.rsplit_once(" = ").is_some_and(|(_, result)| !result.starts_with('-'))
    }
}

fn is_synced_before_the_answer(calls: &[Call]) -> bool {
    let is_on_log = |call: &&Call| call.text.contains("/encke.db-wal>");
    let written = calls.iter().filter(is_on_log).find(|call| call.is("pwrite64") && call.text.contains(DATA));
    let written = written.expect("the event is written to the write-ahead log");
    let answered = calls.iter().find(|call| call.text.contains("HTTP/1.1 201")).expect("the publish is answered");
    // That the answer was sent, its reader has seen; strace may be told to go before it saw the call return.
    assert!(written.succeeded() && written.end < answered.begin, "{written:?}, {answered:?}");
    let synced = |call: &Call| (call.is("fdatasync") || call.is("fsync")) && call.succeeded();
    calls.iter().filter(is_on_log).any(|call| synced(call) && written.end < call.begin && call.end < answered.begin)
}

/// Attaches strace to a gateway, publishes once, and gives what came between.
fn calls_of_one_publish(durability: &str) -> Vec<Call> {
    let mut gateway = gateway(&["--durability", durability]);
    // The first publish makes the write-ahead log, and warms what is done once.
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    connection.publish(KEY, "a", None, b"the first event").expect("a receipt");

    let trace = gateway.data_dir().join("trace");
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-y",
        "-s",
        "65536",
        "-e",
        "trace=fdatasync,fsync,pwrite64,pwritev,write,writev,sendto,sendmsg",
    ]);
    command.arg("-o").arg(&trace).args(["-p", &gateway.process().id().to_string()]);
    let mut strace = Process::spawn(command);
    wait_for("strace to be attached", || strace.errors().contains("attached"));
    connection.publish(KEY, "a", None, DATA.as_bytes()).expect("a receipt");
    strace.terminate();
    strace.wait(PATIENCE);
    calls(&fs::read_to_string(&trace).expect("strace wrote its trace"))
}

/// Reads `THREAD CALL(…) = RESULT` lines; a call during which another thread made one has a line for each of its ends.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<(&str, Call)> = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(rest) = text.strip_prefix("<... ") {
            let open = calls.iter_mut().rfind(|(of, call)| *of == thread && call.end == usize::MAX);
            let Some((_, call)) = open else { continue };
            call.text += rest.split_once(" resumed>").map_or("", |(_, rest)| rest);
            call.end = at;
        } else if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            calls.push((thread, Call { text: begun.to_owned(), begin: at, end: usize::MAX }));
        } else {
            calls.push((thread, Call { text: text.to_owned(), begin: at, end: at }));
        }
    }
    calls.into_iter().map(|(_, call)| call).collect()
}
