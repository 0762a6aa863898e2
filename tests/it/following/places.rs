//! `encke subscribe` over many runs: its place in a file, what it says when it is ended, and what a terminal shows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::{KEY, command, encke, gateway};
use crate::support::gateway::Gateway;
use crate::support::http1::Connection;
use crate::support::{PATIENCE, wait_for};

fn say(address: &str, topic: &str, numbers: std::ops::Range<usize>) {
    let mut connection = Connection::open(address).expect("the gateway listens");
    for number in numbers {
        connection.publish(KEY, topic, None, format!("event {number}").as_bytes()).expect("a receipt");
    }
}

fn events(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("event {number}")).collect()
}

/// What one run of a job prints that reads what is there.
fn job(gateway: &Gateway, place: &Path, more: &[&str]) -> Vec<String> {
    let arguments = ["subscribe", "a", "--once", "--from", "earliest", "--state"];
    let output = command(gateway, arguments).arg(place).args(more).output().expect("encke runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn a_job_that_keeps_its_place_sees_every_event_once_over_restarts_of_the_gateway() {
    let mut gateway = gateway(&[]);
    let directory = TempDir::new().expect("a directory");
    let place = directory.path().join("place");
    assert!(job(&gateway, &place, &[]).is_empty());
    say(gateway.address(), "a", 0..1500); // More than a page.
    assert_eq!(job(&gateway, &place, &[]), events(0..1500));
    assert!(job(&gateway, &place, &[]).is_empty());
    say(gateway.address(), "a", 1500..1510);
    assert_eq!(job(&gateway, &place, &["--count", "4"]), events(1500..1504));
    gateway.kill9();
    let failed = command(&gateway, ["subscribe", "a", "--once", "--state"]).arg(&place).output().expect("encke runs");
    assert_eq!(failed.status.code(), Some(1), "a gateway that is away is told");
    gateway.restart();
    say(gateway.address(), "b", 0..10);
    assert_eq!(job(&gateway, &place, &[]), events(1504..1510));
    // What concerns it not is passed over, and the place goes on.
    let before = fs::read_to_string(&place).expect("it is there");
    say(gateway.address(), "b", 10..20);
    assert!(job(&gateway, &place, &[]).is_empty());
    assert_ne!(fs::read_to_string(&place).expect("it is there"), before);
}

#[test]
fn a_subscriber_that_is_killed_and_started_again_loses_nothing() {
    let gateway = gateway(&[]);
    let directory = TempDir::new().expect("a directory");
    let place = directory.path().join("place");
    let arguments = ["subscribe", "a", "--from", "earliest", "--state"].map(std::ffi::OsString::from);
    let arguments = || arguments.iter().cloned().chain([place.clone().into_os_string()]);
    let (mut seen, mut last) = (Vec::new(), 0);
    thread::scope(|scope| {
        let address = gateway.address().to_owned();
        scope.spawn(move || say(&address, "a", 0..3000));
        for round in 1..=6 {
            let mut run = encke(&gateway, arguments());
            while seen.len() < round * 500 || (round == 6 && last < 2999) {
                let line = run.line(PATIENCE).expect("an event");
                last = line.trim_start_matches("event ").parse().expect("a number");
                seen.push(line);
            }
            run.kill9();
            seen.extend(std::iter::from_fn(|| run.line(PATIENCE))); // It was written, and so it counts.
        }
    });
    let mut once = seen.clone();
    once.sort_by_key(|line| line.trim_start_matches("event ").parse::<usize>().expect("a number"));
    once.dedup();
    assert_eq!(once, events(0..3000));
}

#[test]
fn a_subscriber_ends_in_order_when_it_is_told_to() {
    let gateway = gateway(&[]);
    let directory = TempDir::new().expect("a directory");
    say(gateway.address(), "a", 0..1);
    for (signal, code) in [("TERM", 0), ("INT", 130)] {
        let place = directory.path().join(signal);
        let arguments = ["subscribe", "a", "--from", "earliest", "--state"].map(std::ffi::OsString::from);
        let mut run = encke(&gateway, arguments.into_iter().chain([place.clone().into_os_string()]));
        assert_eq!(run.line(PATIENCE).as_deref(), Some("event 0"));
        run.signal(signal);
        assert_eq!(run.wait(PATIENCE).code(), Some(code), "{signal}");
        assert_eq!(run.errors(), "");
        assert!(fs::read_to_string(&place).expect("it is there").ends_with("-1\n"));
    }
    let mut late = encke(&gateway, ["subscribe", "a", "--timeout", "1s", "--count", "1"]);
    assert_eq!(late.wait(PATIENCE).code(), Some(124));
    assert!(late.errors().contains("the time was up with 1 of 1 events still to come"), "{}", late.errors());
}

/// As `encke subscribe a | head -1` does, though nothing more is published.
#[test]
fn a_subscriber_ends_when_whoever_reads_it_has_enough() {
    let gateway = gateway(&[]);
    say(gateway.address(), "a", 0..1);
    let mut child = command(&gateway, ["subscribe", "a", "--from", "earliest"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("encke runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it prints");
    assert_eq!(line, "event 0\n");
    let mut status = None;
    wait_for("the subscriber to end", || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_subscriber_whose_output_nobody_reads_can_still_be_ended() {
    let gateway = gateway(&[]);
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    for _ in 0..8 {
        connection.publish(KEY, "a", None, "x\n".repeat(256 << 10).as_bytes()).expect("a receipt");
    }
    let mut child = command(&gateway, ["subscribe", "a", "--from", "earliest"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("encke runs");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    output.read_line(&mut String::new()).expect("it prints");
    // From here on nobody reads: a pipe holds far less than was published.
    let sent = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(sent.expect("the command `kill` can be run (package procps)").success());
    let mut status = None;
    wait_for("the subscriber to end", || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_terminal_shows_heads_and_colours_and_cannot_be_steered() {
    let gateway = gateway(&[]);
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    connection.publish(KEY, "a/b?type=paid", None, "one \x1b[2J\u{202e}".as_bytes()).expect("a receipt");
    let on_a_terminal = |arguments: &str, variables: &[(&str, &str)]| {
        let line = format!("{} subscribe --from earliest --count 1 {arguments}", env!("CARGO_BIN_EXE_encke"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            script.env_remove(name);
        }
        script.env("ENCKE_URL", gateway.url()).env("TERM", "xterm").envs(variables.iter().copied());
        let output = script.output().expect("the command `script` can be run (package bsdutils)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).expect("text")
    };
    let escaped = "one \\u001b[2J\\u202e\r\n";
    assert_eq!(on_a_terminal("a/b", &[]), escaped, "one topic alone needs no head");
    let coloured = on_a_terminal("'a/*'", &[]);
    assert!(
        coloured.contains("\x1b[36ma/b\x1b[0m  \x1b[33mpaid\x1b[0m  ") && coloured.ends_with(escaped),
        "{coloured}"
    );
    for (arguments, variables) in [("'a/*'", &[("NO_COLOR", "1")][..]), ("'a/*' --color never", &[])] {
        let plain = on_a_terminal(arguments, variables);
        assert!(plain.ends_with(&format!("  a/b  paid  {escaped}")) && !plain.contains('\x1b'), "{plain}");
    }
    // In a pipe the data are as they were published, and heads only where they are asked for.
    let piped = |more: &[&str], variables: &[(&str, &str)]| {
        let mut run = command(&gateway, ["subscribe", "a/*", "--from", "earliest", "--count", "1"]);
        let output = run.args(more).envs(variables.iter().copied()).output().expect("encke runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(piped(&[], &[]), "one \x1b[2J\u{202e}\n");
    assert!(piped(&["--verbose"], &[("CLICOLOR_FORCE", "1")]).contains("\x1b[36ma/b\x1b[0m"));
}
