//! The one who runs the gateway: reloads, deletes, and sees to it that those end who never read.

use std::fs;

use tempfile::TempDir;

use crate::figures::{Figures, ended};
use crate::ledger::Ledger;
use crate::publishers::Publisher;
use crate::support::gateway::Gateway;
use crate::support::wait_for;
use crate::wire::{Doors, Protocol, Request, Wire};

/// How many events go by between two of its deeds.
const SOMETIMES: u64 = 250;

/// A file with rules, which is rewritten.
pub(super) struct Configuration {
    directory: TempDir,
    path: String,
}

impl Configuration {
    pub(super) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("encke-test-").tempdir().expect("a temporary directory");
        let path = directory.path().join("encke.toml").to_str().expect("a path of UTF-8").to_owned();
        let configuration = Self { directory, path };
        configuration.write(true);
        configuration
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether everybody may read what is behind the gate.
    fn write(&self, open: bool) {
        let read = if open { "public" } else { "key" };
        let text = format!("read = \"public\"\n[[topics]]\nmatch = \"gate/**\"\nread = \"{read}\"\n");
        let new = self.directory.path().join("new.toml");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)).expect("it can be written");
    }
}

/// The operator of a gateway.
pub(super) struct Operator<'a> {
    gateway: &'a mut Gateway,
    configuration: &'a Configuration,
    never_read: &'a [Protocol],
}

impl<'a> Operator<'a> {
    /// Of a gateway with this configuration. On each of the protocols somebody comes who never reads.
    pub(super) fn new(gateway: &'a mut Gateway, configuration: &'a Configuration, never_read: &'a [Protocol]) -> Self {
        Self { gateway, configuration, never_read }
    }

    /// While others publish, and a little longer: in the end everything is open, and those who never read have ended.
    ///
    /// Gives how many those were.
    pub(super) fn work(&mut self, ledger: &Ledger, doors: &Doors, own: &mut Publisher<'_>) -> u64 {
        let before = ended(self.gateway, "slow_reader");
        let idle: Vec<_> = self.never_read.iter().map(|protocol| never_read(*protocol, doors)).collect();
        let mut deeds = 0;
        while ledger.wait_for_more(SOMETIMES) {
            match deeds % 4 {
                0 => self.reload(ledger, true),
                2 => self.reload(ledger, false),
                _ => own.delete(),
            }
            deeds += 1;
        }
        self.reload(ledger, false);
        let all = before + idle.len() as u64;
        wait_for("those who never read to be ended as slow readers", || ended(self.gateway, "slow_reader") >= all);
        ledger.end_at(own.publish_everywhere());
        idle.len() as u64
    }

    /// Readers come to a closed gate only after it is closed, and are let go on only after it is open.
    fn reload(&mut self, ledger: &Ledger, closed: bool) {
        if closed {
            ledger.close(true);
        }
        self.configuration.write(!closed);
        let before = self.gateway.process().errors().len();
        self.gateway.process().signal("HUP");
        let told =
            |gateway: &mut Gateway| gateway.process().errors()[before..].contains("the configuration was read again");
        wait_for("the configuration to be read again", || told(self.gateway));
        if !closed {
            ledger.close(false);
        }
    }
}

/// A stream that nobody reads. All that is published is more than is under way to it.
fn never_read(protocol: Protocol, doors: &Doors) -> Wire<'_> {
    let target = "/events?topic=**&transport=ndjson&heartbeat=5";
    let request = Request { target, last_event_id: None, with_key: true, narrow: true };
    let (status, wire) = doors.ask(protocol, &request).expect("the gateway listens");
    assert_eq!(status, 200);
    wire
}

/// On what they come who never read.
pub(super) const NEVER_READ: &[Protocol] = &[Protocol::Http11, Protocol::Http10, Protocol::Http2];

/// Where the log ends, as a cursor.
pub(super) fn edge(gateway: &Gateway) -> String {
    Figures::edge(gateway)
}
