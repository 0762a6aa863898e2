//! What the network does to streams, between two hosts of the test's own: each fault gives its reason.

use std::process::Command;

use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Addresses;
use crate::support::hosts::{Hosts, SERVER};
use crate::support::process::Process;
use crate::support::wait_for;

const KEY: &str = "a-key-of-this-test-0123456789";

/// How many readers a fault meets.
const READERS: u64 = 6;

/// A gateway on the first of two hosts.
struct Place {
    hosts: Hosts,
    admin: String,
    _gateway: Process,
    _data: TempDir,
}

impl Place {
    fn new() -> Self {
        let (hosts, data) = (Hosts::new(), tempfile::tempdir().expect("a temporary directory"));
        let mut command = hosts.on_server(env!("CARGO_BIN_EXE_encke"));
        command.args(["serve", "--listen", &format!("{SERVER}:8080"), "--admin", "127.0.0.1:8081", "--read", "public"]);
        command.args(["--stall", "10", "--grace", "1", "--data"]).arg(data.path()).env("ENCKE_PUBLISH_KEY", KEY);
        let mut gateway = Process::spawn(command);
        let addresses = Addresses::told_by(&mut gateway, false).expect("it listens");
        Self { hosts, admin: addresses.admin.expect("an admin address"), _gateway: gateway, _data: data }
    }

    /// Readers on the second host that have been told hello.
    fn readers(&self, query: &str) -> Vec<Process> {
        (0..READERS).map(|_| self.reader(query)).collect()
    }

    fn reader(&self, query: &str) -> Process {
        let mut curl = self.hosts.on_client("curl");
        curl.args(["-qsN", &format!("http://{SERVER}:8080/events/quiet?{query}")]);
        let curl = Process::spawn(curl);
        while curl.line(PATIENCE).expect("a hello comes") != "event: encke.hello" {}
        curl
    }

    fn publish(&self, bytes: usize) {
        let file = self._data.path().join("content");
        std::fs::write(&file, "x".repeat(bytes)).expect("a file can be written");
        let mut curl = self.hosts.on_server("curl");
        curl.args(["-qsf", "-H", &format!("Authorization: Bearer {KEY}"), "--data-binary"]);
        curl.arg(format!("@{}", file.display())).arg(format!("http://{SERVER}:8080/events/quiet"));
        assert!(run(&mut curl).contains("\"id\""));
    }

    /// Waits until all readers have been told why they ended, and holds that it was this.
    #[track_caller]
    fn wait_for_ends(&self, reason: &str) {
        let mut ends = Ends::new();
        wait_for(&format!("{READERS} ends as {reason}"), || {
            let told = run(self.hosts.on_server("curl").args(["-qsf", &format!("{}/diagnosis", self.admin)]));
            ends = confusion::of_report(&serde_json::from_str(&told).expect("JSON"));
            ends.values().sum::<u64>() >= READERS
        });
        confusion::note_ends(reason, Limit::Known, &ends);
        assert_eq!(ends, Ends::from([(reason.to_owned(), READERS)]));
    }
}

fn run(command: &mut Command) -> String {
    let done = command.output().expect("it runs");
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn a_host_that_is_silent_all_at_once_is_a_black_hole() {
    let place = Place::new();
    let _readers = place.readers("heartbeat=5");
    place.hosts.silence_client();
    place.wait_for_ends("blackhole");
}

#[test]
fn a_connection_that_was_forgotten_while_it_was_quiet_is_one_that_a_nat_has_let_go() {
    let mut place = Place::new();
    let readers = place.readers("heartbeat=120");
    // So long a quiet is what a forgotten connection is told by. There is nothing to wait for but the time itself.
    std::thread::sleep(std::time::Duration::from_secs(61));
    place.hosts.silence_client();
    drop(readers);
    place.hosts.replace_client();
    place.publish(1);
    place.wait_for_ends("nat_idle_expired");
}

#[test]
fn a_reader_that_stops_reading_is_slow() {
    let place = Place::new();
    let mut readers = place.readers("heartbeat=5");
    readers.iter_mut().for_each(|reader| reader.signal("STOP"));
    // `ip` has become curl by `exec`, so the signal was for it. More than the buffers of both ends take:
    for _ in 0..20 {
        place.publish(1 << 20);
    }
    place.wait_for_ends("slow_reader");
}
