//! `encke backup` of a log that is written meanwhile, and life after it was restored.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::{KEY, gateway};
use crate::support::gateway::Gateway;
use crate::support::http1::Connection;
use crate::support::told::all_after;
use crate::support::wait_for;

/// Publishes events until it is told to stop; answers the data of each by its id.
fn publish_until(gateway: &str, stop: &AtomicBool, prefix: &str) -> BTreeMap<u64, (String, String)> {
    let mut connection = Connection::open(gateway).expect("the gateway listens");
    let mut published = BTreeMap::new();
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let data = format!("{prefix} {number} {}", " ".repeat(2000));
        let id = connection.publish(KEY, "a", None, data.as_bytes()).expect("a backup is in nobody's way").id;
        published.insert(offset(&id), (id, data));
    }
    published
}

fn offset(id: &str) -> u64 {
    id.rsplit_once('-').and_then(|(_, offset)| offset.parse().ok()).unwrap_or_else(|| panic!("no cursor: {id}"))
}

fn backup(gateway: &Gateway, file: &std::path::Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.arg("backup").arg(file).arg("--data").arg(gateway.data_dir()).args(more);
    command.output().expect("encke runs")
}

#[test]
fn a_backup_of_a_live_log_is_restored_and_resumed_from_and_no_id_means_two_events() {
    let mut gateway = gateway(&[]);
    let copies = TempDir::new().expect("a directory");
    let copy = copies.path().join("copy.db");
    let (address, stop) = (gateway.address().to_owned(), AtomicBool::new(false));
    let (before, newest) = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_until(&address, &stop, "before"));
        wait_for("some events to be stored", || all_after(&address, None).len() > 50);
        let output = backup(&gateway, &copy, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let newest = String::from_utf8(output.stdout).expect("an id").trim_end().to_owned();
        // Some more, of which the copy cannot know.
        wait_for("further events", || all_after(&address, Some(&newest)).len() > 20);
        stop.store(true, Relaxed);
        (publisher.join().expect("the publisher does not panic"), newest)
    });
    let (kept, lost): (Vec<_>, Vec<_>) = before.iter().partition(|(at, _)| **at <= offset(&newest));
    assert!(kept.len() > 50 && lost.len() > 20, "{} kept, {} lost", kept.len(), lost.len());
    assert!(kept.iter().any(|(_, (id, _))| *id == newest), "the id it prints is that of an event");
    gateway.terminate();
    assert!(gateway.wait().success());

    // As the manual says: the old directory away, the copy as encke.db into an empty one.
    for entry in fs::read_dir(gateway.data_dir()).expect("the directory can be read") {
        fs::remove_file(entry.expect("an entry").path()).expect("the file can be removed");
    }
    fs::copy(&copy, gateway.data_dir().join("encke.db")).expect("the copy can be copied");
    gateway.restart();
    let told = all_after(gateway.address(), None);
    let expected: Vec<_> = kept.iter().map(|(_, (id, data))| (id.as_str(), data.as_str())).collect();
    let found: Vec<_> = told.iter().map(|event| (event.id.as_str(), event.data.as_str())).collect();
    assert!(found == expected, "{} events of {} are there", found.len(), expected.len());

    // Cursors up to the copy go on without loss, also over what is published from now on.
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    let mut after = Vec::new();
    for number in 0..lost.len() + 10 {
        let data = format!("after {number}");
        after.push(connection.publish(KEY, "a", None, data.as_bytes()).expect("a receipt").id);
    }
    for (at, (id, _)) in [kept[0], kept[kept.len() / 2], kept[kept.len() - 1]] {
        let told = all_after(gateway.address(), Some(id));
        let ids: Vec<_> = told.iter().map(|event| event.id.as_str()).collect();
        let rest = kept.iter().filter(|(other, _)| *other > at).map(|(_, (id, _))| id.as_str());
        assert_eq!(ids, rest.chain(after.iter().map(String::as_str)).collect::<Vec<_>>());
    }
    // Those behind it are told so, although their offsets are used again; and no id is.
    for (_, (id, _)) in &lost {
        let fields = [("Last-Event-ID", id.as_str())];
        let answer = connection.exchange("GET /events?topic=a&transport=long-poll&timeout=0", &fields, b"");
        let page: Value = serde_json::from_slice(&answer.expect("an answer").content).expect("JSON");
        assert_eq!((&page["gap"]["reason"], &page["gap"]["asked"]), (&"ahead".into(), &id.as_str().into()), "{page}");
        assert!(!after.contains(id), "{id} means two events");
    }
    assert!(after.iter().any(|id| lost.iter().any(|(at, _)| **at == offset(id))), "their offsets were used again");
}

#[test]
fn a_backup_that_cannot_be_made_says_why_and_leaves_what_is_there() {
    let gateway = gateway(&[]);
    let copies = TempDir::new().expect("a directory");
    let copy = copies.path().join("copy.db");
    fs::write(&copy, "precious").expect("it can be written");
    let check = |output: &Output, words: &str| {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("encke: ") && told.contains(words), "{told}");
        assert!(output.stdout.is_empty());
    };
    check(&backup(&gateway, &copy, &[]), "is there already; name another file, or replace this one with --force");
    assert_eq!(fs::read(&copy).expect("it is there"), b"precious");
    check(&backup(&gateway, &gateway.data_dir().join("encke.db"), &["--force"]), "lies in the directory of the log");
    let nowhere = Command::new(env!("CARGO_BIN_EXE_encke"))
        .args(["backup", "copy", "--data"])
        .arg(copies.path())
        .current_dir(copies.path())
        .output();
    check(&nowhere.expect("encke runs"), "there is no log in");
    let output = backup(&gateway, &copy, &["--force"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(&copy).expect("it is there").starts_with(b"SQLite format 3\0"));
    let names: Vec<_> =
        fs::read_dir(copies.path()).expect("readable").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names, ["copy.db"], "nothing else is left");
}

/// The file names its log, and keys that the backup cannot read and does not need.
#[test]
fn a_backup_finds_the_log_by_the_configuration_of_its_gateway() {
    let gateway = gateway(&[]);
    Connection::open(gateway.address()).expect("the gateway listens").publish(KEY, "a", None, b"1").expect("stored");
    let copies = TempDir::new().expect("a directory");
    let file = copies.path().join("encke.toml");
    let configure = |text: String| fs::write(&file, text).expect("it can be written");
    let backup = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
        command.args(["backup", "copy.db", "--force", "--config", "encke.toml"]).args(more);
        command.current_dir(copies.path()).env_remove("ENCKE_DATA").output().expect("encke runs")
    };
    configure(format!("data = {:?}\npublish-key-file = \"/nowhere/key\"\n", gateway.data_dir()));
    let output = backup(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(copies.path().join("copy.db").exists());
    for (text, more, words) in [
        (format!("data = {:?}\n", gateway.data_dir()), &["--data", "."][..], "there is no log in"),
        ("data = [1]\n".to_owned(), &[], "encke.toml:1:"),
        ("datum = \"d\"\n".to_owned(), &[], "encke.toml:1:1"),
    ] {
        configure(text);
        let output = backup(more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(words), "{told}");
    }
}
