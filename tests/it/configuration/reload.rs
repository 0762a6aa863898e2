//! `SIGHUP`: the configuration is read again, and what a running gateway can take over holds from then on.

use super::{Files, KEY, publish, read};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::wait_for;

/// Tells the gateway to read its configuration again, and waits until it says `words` in its log.
#[track_caller]
fn reload(gateway: &mut Gateway, words: &str) -> String {
    let before = gateway.process().errors().len();
    gateway.process().signal("HUP");
    let told = |gateway: &mut Gateway| gateway.process().errors()[before..].to_owned();
    wait_for(words, || told(gateway).contains(words));
    told(gateway)
}

const READ_AGAIN: &str = "the configuration was read again";

#[test]
fn rules_hold_from_the_signal_on() {
    let files = Files::with("[[topics]]\nmatch = \"news\"\nread = \"public\"\n");
    let mut gateway = files.gateway();
    assert_eq!((read(&gateway, "news").status, read(&gateway, "other").status), (200, 401));
    files.write("encke.toml", "[[topics]]\nmatch = \"other\"\nread = \"public\"\n");
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[\"topics\"]"), "{told}");
    assert_eq!((read(&gateway, "news").status, read(&gateway, "other").status), (401, 200));
    files.write("encke.toml", "read = \"public\"\n");
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("\"read\"") && told.contains("\"topics\""), "{told}");
    assert_eq!(read(&gateway, "anything").status, 200);
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let files = Files::with("read = \"public\"\n");
    let mut gateway = files.gateway();
    files.write("encke.toml", "read = \"key\"\nhartbeat = 20\n");
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("encke.toml:2:1: there is no option `hartbeat`"), "{told}");
    assert_eq!(read(&gateway, "a").status, 200);
    std::fs::remove_file(files.path("encke.toml")).expect("it is there");
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("cannot be read"), "{told}");
    assert_eq!((read(&gateway, "a").status, publish(&gateway, "a", "x").status), (200, 201));
}

#[test]
fn what_needs_a_restart_is_named_each_time_and_not_taken() {
    let files = Files::with("event-bytes = \"1KiB\"\n");
    let mut gateway = files.gateway();
    files.write("encke.toml", "event-bytes = \"2KiB\"\ndev = true\n");
    for _ in 0..2 {
        let told = reload(&mut gateway, "wait for a restart");
        assert!(told.contains("changed=[]") && told.contains("options=[\"dev\", \"event-bytes\"]"), "{told}");
        assert_eq!(publish(&gateway, "a", &"x".repeat(1025)).status, 413);
        assert_eq!(Request::post("/events/a", "x").ask(gateway.address()).status, 401, "dev holds from the start only");
    }
}

#[test]
fn a_key_is_changed_without_a_moment_in_which_neither_is_good() {
    let files = Files::with("");
    let key = files.path("key");
    files.write("key", KEY);
    files.write("encke.toml", &format!("publish-key-file = \"{}\"\n", key.display()));
    let mut gateway = Gateway::start(&["--config", &files.file()]);
    let new = "another-key-for-tests-9876543210";
    let with = |gateway: &Gateway, key: &str| Request::post("/events/a", "x").bearer(key).ask(gateway.address()).status;
    assert_eq!((with(&gateway, KEY), with(&gateway, new)), (201, 401));
    files.write("key", &format!("{new}\n{KEY}\n"));
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[\"publish key\"]") && !told.contains(new), "{told}");
    assert_eq!((with(&gateway, KEY), with(&gateway, new)), (201, 201));
    files.write("key", new);
    reload(&mut gateway, READ_AGAIN);
    assert_eq!((with(&gateway, KEY), with(&gateway, new)), (401, 201));
}

#[test]
fn the_log_is_as_loud_as_the_file_says() {
    let files = Files::with("log-level = \"info\"\n");
    let mut gateway = files.gateway();
    publish(&gateway, "before", "x");
    assert!(!gateway.process().errors().contains("DEBUG"));
    files.write("encke.toml", "log-level = \"debug\"\n");
    reload(&mut gateway, READ_AGAIN);
    read(&gateway, "after");
    wait_for("a line of the debug level", || gateway.process().errors().contains("DEBUG"));
}

#[test]
fn a_gateway_without_a_file_survives_the_signal() {
    let mut gateway = Gateway::start(&["--dev"]);
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[]"), "{told}");
    assert_eq!(Request::post("/events/a", "x").ask(gateway.address()).status, 201);
}
