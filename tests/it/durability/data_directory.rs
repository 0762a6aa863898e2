//! A directory that cannot be used is refused with words that say what to do, and left as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{KEY, gateway};
use crate::support::http1::Connection;
use crate::support::process::Process;
use crate::support::told::all_after;
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_second_process_on_the_same_directory_is_refused_with_words() {
    let gateway = gateway(&[]);
    let words = refusal(gateway.data_dir());
    assert!(words.contains("is used by another process; stop that one first, or give this one its own"), "{words}");
    let mut connection = Connection::open(gateway.address()).expect("the first one goes on");
    connection.publish(KEY, "a", None, b"x").expect("the first one goes on");
}

#[test]
fn a_second_process_gets_the_directory_when_the_first_one_ends() {
    let mut first = gateway(&[]);
    let mut connection = Connection::open(first.address()).expect("the gateway listens");
    connection.publish(KEY, "a", None, b"from the first").expect("a receipt");
    let mut second = Process::spawn(serve(first.data_dir()));
    first.terminate();
    assert!(first.wait().success());
    let line = second.line(PATIENCE).expect("the second one listens");
    let address = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
    let data: Vec<_> = all_after(&address, None).into_iter().map(|event| event.data).collect();
    assert_eq!(data, ["from the first"]);
    second.kill9();
}

#[test]
fn a_directory_that_is_removed_ends_publishing_and_not_in_silence() {
    let gateway = gateway(&[]);
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    connection.publish(KEY, "a", None, b"before").expect("a receipt");
    fs::remove_dir_all(gateway.data_dir()).expect("the directory can be removed");
    let admin = gateway.admin_url().replace("http://", "");
    wait_for("readiness to tell publishers", || {
        let mut connection = Connection::open(&admin).expect("the admin address answers");
        let ready = connection.exchange("GET /health/ready?for=publish", &[], b"").expect("an answer");
        ready.status == 503
    });
    let refused = connection.publish(KEY, "a", None, b"after");
    assert!(refused.is_err(), "what would be lost is not acknowledged: {refused:?}");
    let mut reader = Connection::open(&admin).expect("the admin address answers");
    assert_eq!(reader.exchange("GET /health/ready", &[], b"").expect("an answer").status, 200, "readers stay");
}

#[test]
fn a_damaged_database_is_refused_with_words_and_left_as_it_is() {
    let mut gateway = gateway(&[]);
    let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
    for number in 0..100 {
        let data = format!("{number}{}", " ".repeat(1000));
        connection.publish(KEY, "a", None, data.as_bytes()).expect("a receipt");
    }
    gateway.terminate();
    assert!(gateway.wait().success());
    let file = gateway.data_dir().join("encke.db");
    let whole = fs::read(&file).expect("the log is a file");

    let check = |what: &str, damage: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        fs::write(&file, &damaged).expect("the file can be written");
        let words = refusal(gateway.data_dir());
        assert!(words.contains(&*file.to_string_lossy()) && words.contains(expected), "{what}: {words}");
        assert!(fs::read(&file).expect("it is still there") == damaged, "{what}: the file was changed");
    };
    // The header of the file format (SQLite's "Database File Format", § 1.3): the magic string.
    check("another magic", &|bytes| bytes[..16].fill(b'x'), "is not a log of Encke");
    check("a text file", &|bytes| *bytes = b"notes\n".repeat(1000), "is not a log of Encke");
    // The header of the first page's tree follows it; that page is the schema.
    check("no page type", &|bytes| bytes[100] ^= 0xff, "is damaged: ");
    check("cut in half", &|bytes| bytes.truncate(bytes.len() / 2 / 4096 * 4096), "is damaged: ");
    check("all but the first page gone", &|bytes| bytes[4096..].fill(0), "is damaged: ");

    fs::write(&file, &whole).expect("the file can be written");
    gateway.restart();
    assert_eq!(all_after(gateway.address(), None).len(), 100, "restored, it is whole again");
}

fn serve(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--read", "public", "--data"])
        .arg(data);
    command.env("ENCKE_PUBLISH_KEY", KEY);
    command
}

/// What a gateway says on its way out that cannot use `data`. It never says that it listens.
pub(super) fn refusal(data: &Path) -> String {
    let mut process = Process::spawn(serve(data));
    assert_eq!(process.line(PATIENCE), None, "it does not listen");
    assert_eq!(process.wait(PATIENCE).code(), Some(1));
    process.errors()
}
