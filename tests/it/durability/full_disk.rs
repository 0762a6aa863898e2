//! A disk with no room left ends publishing until there is room again. It never ends reading, not even over a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::data_directory::refusal;
use super::{gateway, holds, publish, status};
use crate::support::gateway::Gateway;
use crate::support::told::all_after;
use crate::support::wait_for;

/// Room for the log as it begins, and some events.
const DISK: &str = "size=8m";

#[test]
fn a_gateway_that_starts_on_a_full_disk_is_read_and_takes_events_when_there_is_room() {
    check(Gateway::kill9);
}

#[test]
fn so_does_one_that_was_stopped_before() {
    check(|gateway| {
        gateway.terminate();
        assert!(gateway.wait().success());
    });
}

fn check(stop: fn(&mut Gateway)) {
    let mut gateway = gateway(&[]);
    gateway.terminate();
    assert!(gateway.wait().success());
    let disk = Disk::mount(gateway.data_dir());
    gateway.restart();
    let mut stored = Vec::new();
    for number in 0..20 {
        stored.push(number.to_string());
        publish(&gateway, &stored[number]).expect("there is room yet");
    }
    disk.fill();
    while let Ok(receipt) = publish(&gateway, "what still fits into files that are there") {
        assert_eq!(receipt, 201);
        stored.push("what still fits into files that are there".to_owned());
    }
    stop(&mut gateway);
    disk.fill(); // The files may have left some room behind.

    gateway.restart();
    holds(&gateway, &stored);
    assert_eq!(publish(&gateway, "refused"), Err(507));
    assert_eq!(status(&gateway, "/health/ready?for=publish"), 503);
    assert_eq!(status(&gateway, "/health/ready"), 200, "readers are not sent away");

    disk.clear();
    wait_for("readiness to tell publishers that there is room", || {
        status(&gateway, "/health/ready?for=publish") == 200
    });
    publish(&gateway, "after").expect("there is room again");
    stored.push("after".to_owned());
    holds(&gateway, &stored);
    let cursors: Vec<_> = all_after(gateway.address(), None).into_iter().map(|event| event.id).collect();
    gateway.restart();
    holds(&gateway, &stored);
    let again: Vec<_> = all_after(gateway.address(), None).into_iter().map(|event| event.id).collect();
    assert_eq!(again, cursors, "the run that began on a full disk is remembered");
}

#[test]
fn a_disk_that_became_full_since_a_clean_stop_is_named() {
    let mut gateway = gateway(&[]);
    gateway.terminate();
    assert!(gateway.wait().success());
    let disk = Disk::mount(gateway.data_dir());
    gateway.restart();
    publish(&gateway, "before").expect("there is room");
    gateway.terminate();
    assert!(gateway.wait().success());
    disk.fill();
    let words = refusal(gateway.data_dir());
    assert!(words.contains("there is no room on its disk; free some first"), "{words}");
    disk.clear();
    gateway.restart();
    holds(&gateway, &["before"]);
}

/// A small file system in memory, mounted for as long as this is held.
struct Disk(PathBuf);

impl Disk {
    #[track_caller]
    fn mount(at: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "none"]).arg(at).status();
        assert!(
            mounted.expect("mount is installed").success(),
            "this test mounts a file system, so it must run as root"
        );
        Self(at.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::options().append(true).create(true).open(self.ballast()).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.ballast()).expect("it can be removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The gateway may still be in there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
