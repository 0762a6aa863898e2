//! The tools of the tests, tested: a process ends with its value, a browser's page reports back, a gateway's lines are read.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::support::browser::{Browser, Kind};
use crate::support::gateway::{Addresses, Gateway};
use crate::support::page_server::PageServer;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

#[test]
fn chromium_runs_a_page_that_reports() {
    reports_its_name_and_a_sum(Kind::Chromium, "Chrome/");
}

#[test]
fn firefox_runs_a_page_that_reports() {
    reports_its_name_and_a_sum(Kind::Firefox, "Firefox/");
}

fn reports_its_name_and_a_sum(kind: Kind, name: &str) {
    let server =
        PageServer::of_script("report({ agent: navigator.userAgent, sum: 1 + 1 }); await report('and another');");
    let mut browser = Browser::open(kind, &server.url("/"), &[]);
    let group = browser.process().id();
    let first = server.result();
    assert!(first["agent"].as_str().is_some_and(|agent| agent.contains(name)), "{first}");
    assert_eq!(first["sum"], 2);
    assert_eq!(server.result(), "and another");
    drop(browser);
    wait_for("every process of the browser to be gone", || members(group).is_empty());
}

#[test]
fn a_page_that_fails_is_told_from_one_that_is_silent() {
    let server = PageServer::of_script("throw new Error('as meant')");
    let _browser = Browser::chromium(&server.url("/"));
    let failure = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.result()));
    assert!(words(failure).contains("as meant"));
}

#[test]
fn a_dropped_process_takes_its_children_along() {
    let process = shell("sleep 1000 & echo started; wait");
    assert_eq!(process.line(PATIENCE).as_deref(), Some("started"));
    let group = process.id();
    assert_eq!(members(group).len(), 2, "the shell and what it started");
    drop(process);
    wait_for("the whole group to be gone", || members(group).is_empty());
}

#[test]
fn a_process_is_terminated_killed_and_waited_for() {
    let mut drains = shell("trap 'echo draining; echo bye >&2; exit 3' TERM; sleep 1000 >&- 2>&- & echo up; wait");
    let group = drains.id();
    assert_eq!(drains.line(PATIENCE).as_deref(), Some("up"));
    drains.terminate();
    assert_eq!(drains.line(PATIENCE).as_deref(), Some("draining"));
    assert_eq!(drains.wait(PATIENCE).code(), Some(3));
    assert_eq!(drains.errors(), "bye\n");
    wait_for("what it left running to be gone", || members(group).is_empty());

    let mut killed = shell("sleep 1000");
    assert_eq!(killed.kill9().signal(), Some(9));

    let mut ends = shell("echo one; echo two >&2; exit 4");
    assert_eq!(ends.wait(PATIENCE).code(), Some(4));
    assert_eq!(ends.errors(), "two\n");
}

#[test]
fn the_addresses_of_a_gateway_are_read_from_its_lines() {
    let mut says = shell(
        "echo encke 0.1.0; echo listening on unix:/run/encke; echo 'listening on http://127.0.0.1:4711/ (demo topics)'
         echo listening on http://127.0.0.1:4712; echo admin on http://127.0.0.1:4713",
    );
    let read = Addresses::told_by(&mut says, false).expect("both are told");
    assert_eq!(read.public.as_deref(), Some("http://127.0.0.1:4711"));
    assert_eq!(read.admin.as_deref(), Some("http://127.0.0.1:4713"));

    let mut dev = shell("echo listening on http://127.0.0.1:4711; sleep 1000");
    let read = Addresses::told_by(&mut dev, true).expect("under --dev there is no second listener to wait for");
    assert_eq!((read.public.as_deref(), read.admin), (Some("http://127.0.0.1:4711"), None));
}

#[test]
fn a_gateway_that_ends_before_it_listens_says_why() {
    let mut ends = shell("echo starting; echo 'no key is configured' >&2; exit 2");
    let told = Addresses::told_by(&mut ends, false).expect_err("it never listened");
    assert!(told.contains("ended before it listened") && told.contains("no key is configured"), "{told}");

    let refused = std::panic::catch_unwind(|| Gateway::start(&["--no-such-option"]));
    assert!(words(refused).contains("ended before it listened"));
}

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::spawn(command)
}

/// The processes of a group that still run.
fn members(group: u32) -> Vec<String> {
    let listed = Command::new("ps").args(["-eo", "pgid=,stat=,args="]).output().expect("ps runs (package procps)");
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|line| line.split_whitespace().next() == Some(&group.to_string()))
        // A dead process that init has not yet taken away runs no more.
        .filter(|line| !line.split_whitespace().nth(1).is_some_and(|state| state.starts_with('Z')))
        .map(str::to_owned)
        .collect()
}

/// What a panic said.
fn words<T>(outcome: std::thread::Result<T>) -> String {
    let panic = outcome.err().expect("it panics");
    panic.downcast_ref::<String>().expect("a panic with words").clone()
}
