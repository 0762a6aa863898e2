//! `encke publish` of many events, a line each: what is stored, in which order, and what is told of the rest.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};
use std::thread;

use tempfile::TempDir;

use super::{command, encke, gateway, stored, wait_for_stored};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::told::all_after;

fn words(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs `encke publish` with this standard input.
fn publish(gateway: &Gateway, arguments: &[&str], stdin: Vec<u8>) -> Output {
    let mut child = command(gateway, [&["publish"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("encke runs");
    let mut pipe = child.stdin.take().expect("standard input is piped");
    thread::spawn(move || pipe.write_all(&stdin)); // It may not take all of it.
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_file_of_events_is_stored_in_order_and_bad_lines_are_named() {
    let gateway = gateway(&[]);
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("events.ndjson");
    let line = |number: usize| match number {
        777 | 20_000 => "{\"data\":\n".to_owned(),
        number if number % 10 == 0 => "\n".to_owned(),
        number => format!("{{\"topic\":\"t/{}\",\"data\":\"event {number}\"}}\n", number % 3),
    };
    fs::write(&file, (1..=20_003).map(line).collect::<String>()).expect("the file can be written");
    let output = publish(&gateway, &["--ndjson", file.to_str().expect("a path"), "--verbose"], Vec::new());
    let (code, id, errors) = words(&output);
    assert_eq!(code, Some(4), "{errors}");
    let expected: Vec<_> = (1..=20_003)
        .filter(|number| number % 10 != 0 && *number != 777)
        .map(|number| format!("event {number}"))
        .collect();
    let told = all_after(gateway.address(), None);
    assert!(told.iter().map(|event| &event.data).eq(&expected), "{} events", told.len());
    assert_eq!(told.last().map(|event| format!("{}\n", event.id)), Some(id));
    for words in ["line 777: ", "line 20000: ", &format!("{} events published, 2 refused", expected.len())] {
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn an_import_with_keys_survives_a_kill_of_the_gateway_and_stores_each_line_once() {
    let mut gateway = gateway(&[]);
    let lines: String = (1..=30_000).map(|number| format!("line {number}\n")).collect();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("lines");
    fs::write(&file, lines).expect("the file can be written");
    let arguments = ["publish", "a", "--key", "import", "--lines", file.to_str().expect("a path")];
    let mut import = encke(&gateway, arguments);
    wait_for_stored(&gateway, 1000);
    gateway.kill9();
    gateway.restart();
    assert_eq!(import.wait(PATIENCE).code(), Some(0), "{}", import.errors());
    let expected: Vec<_> = (1..=30_000).map(|number| format!("line {number}")).collect();
    assert!(stored(&gateway) == expected, "{} lines", stored(&gateway).len());
    // All of it again: nothing is stored twice.
    let again = command(&gateway, arguments).output().expect("encke runs");
    assert!(again.status.success());
    assert_eq!(stored(&gateway).len(), expected.len());
}

#[test]
fn a_slow_input_is_stored_line_by_line() {
    let gateway = gateway(&[]);
    let mut child = command(&gateway, ["publish", "a", "--lines"]).stdin(Stdio::piped()).spawn().expect("encke runs");
    let mut pipe = child.stdin.take().expect("standard input is piped");
    for count in 1..=3 {
        writeln!(pipe, "line {count}").expect("it reads");
        wait_for_stored(&gateway, count);
    }
    drop(pipe);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(stored(&gateway), ["line 1", "line 2", "line 3"]);
}

#[test]
fn what_subscribe_prints_can_be_published_elsewhere_as_it_is() {
    let (from, to) = (gateway(&[]), gateway(&[]));
    for (arguments, data) in [
        (&["a", "--type", "paid", "--key", "k"][..], &b"text\nof lines"[..]),
        (&["a/b", "--topic", "c", "--content-type", "application/json"], b"{\"x\": [1.50]}"),
        (&["d", "--content-type", "image/x"], b"\xff\0"),
    ] {
        assert!(publish(&from, arguments, data.to_vec()).status.success());
    }
    let read = |gateway: &Gateway| {
        let arguments = ["subscribe", "**", "--once", "--from", "earliest", "--json"];
        command(gateway, arguments).output().expect("encke runs").stdout
    };
    let output = publish(&to, &["--ndjson"], read(&from));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let without_place = |lines: Vec<u8>| {
        let lines = String::from_utf8(lines).expect("text");
        let member = |name: &str, line: &str| {
            format!("\"{name}\":{}", serde_json::from_str::<serde_json::Value>(line).expect("JSON")[name])
        };
        lines
            .lines()
            .map(|line| {
                ["topic", "topics", "type", "contentType", "encoding", "key", "data"].map(|name| member(name, line))
            })
            .collect::<Vec<_>>()
    };
    let (before, after) = (without_place(read(&from)), without_place(read(&to)));
    assert_eq!(before.len(), 3);
    assert_eq!(before, after);
}
