//! `encke tail` of what it can follow beside a plain growing file: rotated files, pipes, other gateways.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use super::{command, encke, gateway, stored, wait_for_stored};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http1::Connection;
use crate::support::process::Process;
use crate::support::told::{Told, all_after};

/// Lines `name 0`, `name 1`, and so on.
fn lines(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_file_is_followed_over_rotations_a_kill_and_a_tail_that_is_started_again() {
    let mut gateway = gateway(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (file, state) = (directory.path().join("app.log"), directory.path().join("state"));
    let start = |gateway: &Gateway| {
        let arguments = ["tail", &file.to_string_lossy(), "--from-start", "--topic", "a", "--state"].map(str::to_owned);
        encke(gateway, arguments.into_iter().chain([state.to_string_lossy().into_owned()]))
    };
    let append = |text: &str| {
        let mut file = File::options().append(true).create(true).open(&file).expect("the file can be written");
        file.write_all(text.as_bytes()).expect("the file can be written");
    };
    // Like logrotate: the newest one is `app.log.1`.
    let rotate = |count: usize| {
        let name = |number: usize| match number {
            0 => file.clone(),
            _ => directory.path().join(format!("app.log.{number}")),
        };
        (0..count).rev().for_each(|n| fs::rename(name(n), name(n + 1)).expect("the file can be renamed"));
    };

    let all: Vec<Vec<String>> =
        ["one", "two", "three", "four", "five", "six"].iter().map(|name| lines(name, 500)).collect();
    append(&text(&all[0]));
    let mut tail = start(&gateway);
    wait_for_stored(&gateway, 100);
    gateway.kill9();
    rotate(1);
    append(&text(&all[1]));
    rotate(2);
    append(&text(&all[2]));
    gateway.restart();
    wait_for_stored(&gateway, 1500);

    tail.terminate();
    assert_eq!(tail.wait(PATIENCE).code(), Some(0));
    append(&text(&all[3]));
    rotate(3);
    append(&text(&all[4]));
    rotate(4);
    append(&text(&all[5]));
    let mut tail = start(&gateway);
    wait_for_stored(&gateway, 3000);
    // What is still on its way by mistake would come before this line.
    append("the end\n");
    wait_for_stored(&gateway, 3001);
    tail.terminate();
    assert_eq!(tail.wait(PATIENCE).code(), Some(0));
    assert_eq!(stored(&gateway), [all.concat(), vec!["the end".to_owned()]].concat());
}

#[test]
fn standard_input_is_published_line_by_line_and_its_end_is_the_end() {
    let mut gateway = gateway(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs (package coreutils)").success());
    let tail = command(&gateway, [""; 0]);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" tail - --topic a <"$1""#]).arg(tail.get_program()).arg(&pipe);
    shell.envs(tail.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut tail = Process::spawn(shell);
    let mut input = File::options().write(true).open(&pipe).expect("it reads the pipe");
    let all = lines("line", 600);
    input.write_all(text(&all[..300]).as_bytes()).expect("it reads");
    wait_for_stored(&gateway, 100);
    gateway.kill9();
    input.write_all(text(&all[300..]).as_bytes()).expect("it reads");
    input.write_all("no line end\r\n\nlast, without one".as_bytes()).expect("it reads");
    drop(input);
    gateway.restart();
    assert_eq!(tail.wait(PATIENCE).code(), Some(0), "{}", tail.errors());
    let rest = ["no line end", "", "last, without one"].map(str::to_owned);
    assert_eq!(stored(&gateway), [all, rest.to_vec()].concat());
}

#[test]
fn another_gateways_stream_is_followed_over_kills_of_both() {
    let (mut from, mut to) = (gateway(&[]), gateway(&[]));
    let url = format!("{}/events?topic=**&lastEventId=earliest&retry=500", from.url());
    let mut tail = encke(&to, ["tail", &url, "--topic", "copy"]);
    let mut number = 0;
    let mut publish = |gateway: &Gateway, count: usize| {
        let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
        for _ in 0..count {
            number += 1;
            let topic = ["a", "b?type=paid", "c/d?type=shipped"][number % 3];
            connection.publish(super::KEY, topic, None, format!("event\n{number}").as_bytes()).expect("a receipt");
        }
    };
    publish(&from, 200);
    wait_for_stored(&to, 50);
    to.kill9();
    publish(&from, 200);
    from.kill9();
    to.restart();
    from.restart();
    publish(&from, 200);
    wait_for_stored(&to, 600);
    publish(&from, 1);
    wait_for_stored(&to, 601);
    tail.terminate();
    assert_eq!(tail.wait(PATIENCE).code(), Some(0));
    let shape = |gateway: &Gateway| -> Vec<(String, String)> {
        all_after(gateway.address(), None).into_iter().map(|Told { kind, data, .. }| (kind, data)).collect()
    };
    assert_eq!(shape(&to), shape(&from));
}

#[test]
fn a_tail_that_is_refused_ends_and_says_why() {
    let gateway = gateway(&[]);
    let mut wrong = command(&gateway, ["tail", "/etc/hostname", "--topic", "a", "--from-start"]);
    wrong.env("ENCKE_PUBLISH_KEY", "not-the-key-of-this-gateway");
    let mut wrong = Process::spawn(wrong);
    assert_eq!(wrong.wait(PATIENCE).code(), Some(3), "{}", wrong.errors());
    assert!(wrong.errors().contains("Unauthorized (401)"), "{}", wrong.errors());

    // A line that is no event is left out, the others are not; and the exit code says so.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("lines");
    fs::write(&file, "{}\nno JSON\n[1]\n").expect("the file can be written");
    let file = file.to_string_lossy().into_owned();
    let arguments = ["tail", &file, "--topic", "a", "--from-start", "--once", "--content-type", "application/json"];
    let mut some = encke(&gateway, arguments);
    assert_eq!(some.wait(PATIENCE).code(), Some(4), "{}", some.errors());
    assert_eq!(stored(&gateway), ["{}", "[1]"]);
}

#[test]
fn a_stream_that_is_to_be_read_once_and_cannot_be_opened_is_an_error() {
    let (gateway, mut from) = (gateway(&[]), gateway(&[]));
    let url = format!("{}/events/a", from.url());
    from.kill9();
    let mut tail = encke(&gateway, ["tail", &url, "--topic", "copy", "--once"]);
    assert_eq!(tail.wait(PATIENCE).code(), Some(1), "{}", tail.errors());
    assert!(tail.errors().contains(&url) && tail.errors().contains("no connection"), "{}", tail.errors());
}
