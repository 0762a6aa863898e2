//! A disk that fails ends publishing until a restart, and one that hangs keeps publishers waiting. Readers go on in both.
//!
//! strace makes the calls of the running gateway fail, or take as long as it stays.

use std::process::Command;
use std::thread;

use super::{KEY, data, figure, gateway, publish, status};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::process::Process;
use crate::support::told::{lines_after, next_line};
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_sync_that_fails_ends_publishing_until_a_restart() {
    check("fdatasync,fsync:error=EIO");
}

#[test]
fn so_does_a_write_that_fails() {
    check("pwrite64:error=EIO");
}

fn check(fault: &str) {
    let mut gateway = gateway(&[]);
    publish(&gateway, "before").expect("the disk is well");
    let mut reader = lines_after(gateway.address(), "a", None).expect("a stream");
    let hello = next_line(&mut reader).expect("a line").expect("the stream goes on");
    let before = next_line(&mut reader).expect("a line").expect("the stream goes on");
    assert_eq!((hello.kind.as_str(), before.data.as_str()), ("encke.hello", "before"));

    let fault = Fault::inject(&mut gateway, fault);
    assert_eq!(publish(&gateway, "refused"), Err(503));
    assert_eq!(status(&gateway, "/health/ready?for=publish"), 503);
    assert_eq!(status(&gateway, "/health/ready"), 200, "readers are not sent away");
    assert_eq!(figure(&gateway, "encke_log_writable"), 0);
    assert_eq!(data(&gateway), ["before"], "what is not stored is not delivered");
    fault.mend();
    // What a failed sync has left of a file is known only once the file is read anew.
    assert_eq!(publish(&gateway, "refused"), Err(503));
    assert_eq!(data(&gateway), ["before"]);
    assert_eq!(figure(&gateway, "encke_streams_active{transport=\"ndjson\"}"), 1, "the reader was not ended");

    gateway.restart();
    publish(&gateway, "after").expect("the disk is well");
    // A refusal says that it may be lost, not that it is.
    wait_for("both to be read", || {
        let told = data(&gateway);
        told.iter().filter(|data| *data != "refused").eq(["before", "after"])
    });
}

/// As large as an event may be: 16 MiB may wait, and what the writer has in hand.
const LARGE: usize = 1 << 20;
const PUBLISHERS: usize = 40;

#[test]
fn while_a_sync_hangs_publishers_wait_up_to_a_bound_and_readers_go_on() {
    let mut gateway = gateway(&["--heartbeat", "5"]);
    publish(&gateway, "before").expect("a receipt");
    let mut reader = lines_after(gateway.address(), "a", None).expect("a stream");
    for kind in ["encke.hello", "message"] {
        assert_eq!(next_line(&mut reader).expect("a line").expect("the stream goes on").kind, kind);
    }

    let fault = Fault::inject(&mut gateway, "fdatasync,fsync:delay_enter=600000000");
    let address = gateway.address().to_owned();
    let large = Request::post("/events/large", vec![b'x'; LARGE]).bearer(KEY);
    let answers = thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(|| large.ask(&address))).collect();
        wait_for("some publishers to be sent away", || figure(&gateway, "encke_log_refused_total") > 0);
        assert_eq!(data(&gateway), ["before"], "what is there can be read, and nothing else is shown");
        let mut heartbeat = String::new();
        std::io::BufRead::read_line(&mut reader, &mut heartbeat).expect("a heartbeat");
        assert_eq!(heartbeat, "\n", "streams are kept alive");
        assert_eq!(status(&gateway, "/health/ready"), 200, "readers are not sent away");
        wait_for("all others to wait", || {
            figure(&gateway, "encke_log_refused_total")
                == publishers.iter().filter(|thread| thread.is_finished()).count()
        });
        assert_eq!(figure(&gateway, "encke_published_total"), 1, "nobody is told that it is stored");
        fault.mend();
        publishers.into_iter().map(|thread| thread.join().expect("an answer")).collect::<Vec<_>>()
    });
    let (stored, sent_away): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    for answer in &sent_away {
        assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("1")), "{answer:?}");
    }
    assert!(stored.len() >= 16, "16 MiB may wait: {}", stored.len());
    wait_for("each that waited to be read", || data(&gateway).len() == 1 + stored.len());
}

/// A fault of the disk, for as long as it is held.
struct Fault(Process);

impl Fault {
    /// `fault` is what strace calls it: system calls, and what becomes of them.
    #[track_caller]
    fn inject(gateway: &mut Gateway, fault: &str) -> Self {
        let (calls, _) = fault.split_once(':').expect("calls and their fate");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={calls}"), "-e", &format!("inject={fault}"), "-o", "/dev/null"]);
        let strace = Process::spawn({
            command.args(["-p", &gateway.process().id().to_string()]);
            command
        });
        wait_for("strace to be attached", || strace.errors().contains("attached"));
        Self(strace)
    }

    fn mend(mut self) {
        self.0.terminate();
        self.0.wait(PATIENCE);
    }
}
