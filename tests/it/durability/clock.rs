//! A wall clock that jumps takes no event along, and a process that was stopped goes on where it was.
//!
//! libfaketime stands between the gateway and the clock, and reads from a file how far that is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use super::{KEY, gateway, holds, publish, status, stop};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::told::{lines_after, next_line};

#[test]
fn a_clock_that_jumps_ahead_deletes_nothing_and_is_not_stored() {
    jumps("+400d");
}

#[test]
fn nor_does_one_that_jumps_back() {
    jumps("-400d");
}

fn jumps(by: &str) {
    let clock = Clock::new();
    let mut gateway = clock.gateway();
    publish(&gateway, "before").expect("a receipt");
    clock.set(by);
    // Each commit looks at the clock, and takes away what is too old by it.
    for _ in 0..3 {
        publish(&gateway, "meanwhile").expect("a receipt");
    }
    let expected = ["before", "meanwhile", "meanwhile", "meanwhile"];
    holds(&gateway, &expected);
    let years: Vec<_> = times(&gateway).iter().map(|time| time[..4].to_owned()).collect();
    assert!(years.iter().all(|year| *year == years[0]), "stored times go on as if the clock had not jumped: {years:?}");
    assert!(gateway.process().errors().contains("the clock has jumped"), "{}", gateway.process().errors());
    assert_eq!(status(&gateway, "/health/ready?for=publish"), 200);
    clock.set("+0");
    publish(&gateway, "after").expect("a receipt");
    assert!(times(&gateway).is_sorted(), "stored times never fall: {:?}", times(&gateway));
    stop(&mut gateway);

    // While nobody was looking: what was stored in the future by this clock, or is too old by it, stays for now.
    clock.set(by);
    gateway.restart();
    publish(&gateway, "after a restart").expect("a receipt");
    holds(&gateway, &[&expected[..], &["after", "after a restart"]].concat());
    assert!(times(&gateway).is_sorted(), "stored times never fall: {:?}", times(&gateway));
}

/// Frozen (`SIGSTOP`), as a debugger or a hypervisor does it: who waits, waits, and nothing is lost.
#[test]
fn a_process_that_was_stopped_goes_on_where_it_was() {
    let mut gateway = gateway(&[]);
    publish(&gateway, "before").expect("a receipt");
    let address = gateway.address().to_owned();
    let mut reader = lines_after(&address, "a", None).expect("a stream");
    for kind in ["encke.hello", "message"] {
        assert_eq!(next_line(&mut reader).expect("a line").expect("the stream goes on").kind, kind);
    }
    gateway.process().signal("STOP");
    let publisher = thread::spawn({
        let address = address.clone();
        move || Request::post("/events/a", "meanwhile").bearer(KEY).ask(&address).status
    });
    gateway.process().signal("CONT");
    assert_eq!(publisher.join().expect("an answer"), 201);
    assert_eq!(next_line(&mut reader).expect("a line").expect("the stream goes on").data, "meanwhile");
    holds(&gateway, &["before", "meanwhile"]);
}

/// When each event was stored, as readers are told.
fn times(gateway: &Gateway) -> Vec<String> {
    let target = "/events?topic=**&transport=long-poll&timeout=0&lastEventId=earliest";
    let answer: Value = Request::get(target).ask(gateway.address()).json();
    let events = answer["events"].as_array().expect("a list of events").iter();
    events.map(|event| event["time"].as_str().expect("a time").to_owned()).collect()
}

/// A wall clock that can be set.
pub(super) struct Clock(tempfile::NamedTempFile);

impl Clock {
    pub(super) fn new() -> Self {
        let clock = Self(tempfile::NamedTempFile::new().expect("a temporary file"));
        clock.set("+0");
        clock
    }

    pub(super) fn set(&self, offset: &str) {
        fs::write(self.0.path(), format!("{offset}\n")).expect("it can be written");
    }

    pub(super) fn gateway(&self) -> Gateway {
        let library = faketime();
        let env = [
            ("LD_PRELOAD", library.to_str().expect("a path in UTF-8")),
            ("FAKETIME_TIMESTAMP_FILE", self.0.path().to_str().expect("a path in UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("ENCKE_PUBLISH_KEY", KEY),
        ];
        Gateway::start_with(&["--read", "public"], &env)
    }
}

/// Where Debian's package has put the library on this architecture.
fn faketime() -> PathBuf {
    let listed = Command::new("dpkg").args(["-L", "libfaketime"]).output().expect("dpkg runs");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    let library = listed.lines().map(Path::new).find(|path| path.ends_with("libfaketime.so.1"));
    library.expect("libfaketime is installed (`tests/run --install-only` installs what is missing)").to_owned()
}
