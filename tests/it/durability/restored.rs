//! A log that is older than what readers have seen: a copy was put back, or the newest commits were lost with the disk.
//! Who has seen more is told so, and no cursor ever means two events.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{data, gateway, holds, publish, stop};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::told::{Told, all_after};
use crate::support::wait_for;

#[test]
fn a_copy_that_was_put_back_tells_those_who_saw_more() {
    let mut gateway = gateway(&[]);
    let mut seen = Seen::default();
    publish_some(&gateway, "kept", &mut seen);
    stop(&mut gateway);
    let copy = tempfile::tempdir().expect("a temporary directory");
    copy_files(gateway.data_dir(), copy.path());
    gateway.restart();
    publish_some(&gateway, "lost", &mut seen);
    stop(&mut gateway);
    for file in fs::read_dir(gateway.data_dir()).expect("it is there").map_while(Result::ok) {
        fs::remove_file(file.path()).expect("it can be removed");
    }
    copy_files(copy.path(), gateway.data_dir());
    gateway.restart();
    // The copy knows nothing of the run that came after it.
    goes_on_without(&gateway, &mut seen, "unknown");
}

/// What a crash leaves is in the write-ahead log, and its commits end where one of them is damaged.
#[test]
fn so_does_a_write_ahead_log_that_was_damaged() {
    let mut gateway = gateway(&[]);
    let mut seen = Seen::default();
    publish_some(&gateway, "kept", &mut seen);
    publish_some(&gateway, "lost", &mut seen);
    gateway.kill9();
    let file = gateway.data_dir().join("encke.db-wal");
    let mut bytes = fs::read(&file).expect("it was not stopped, so there is one");
    let lost = b"lost 0";
    let at = bytes.windows(lost.len()).position(|window| window == lost).expect("the data is in there");
    bytes[at] ^= 0xff;
    fs::write(&file, bytes).expect("it can be written");
    gateway.restart();
    goes_on_without(&gateway, &mut seen, "ahead");
}

/// Data by cursor, over all that was ever published.
#[derive(Default)]
struct Seen {
    all: HashMap<String, String>,
    newest: String,
}

impl Seen {
    #[track_caller]
    fn note(&mut self, event: &Told) {
        let before = self.all.insert(event.id.clone(), event.data.clone());
        assert!(before.as_ref().is_none_or(|before| *before == event.data), "{event:?} was {before:?} before");
        event.id.clone_into(&mut self.newest);
    }
}

#[track_caller]
fn publish_some(gateway: &Gateway, what: &str, seen: &mut Seen) {
    for number in 0..5 {
        publish(gateway, &format!("{what} {number}")).expect("a receipt");
    }
    let last = format!("{what} 4");
    wait_for("the newest to be read", || data(gateway).last() == Some(&last));
    all_after(gateway.address(), None).iter().for_each(|event| seen.note(event));
}

#[track_caller]
fn goes_on_without(gateway: &Gateway, seen: &mut Seen, reason: &str) {
    let lost = seen.newest.clone();
    let mut expected: Vec<_> = (0..5).map(|number| format!("kept {number}")).collect();
    holds(gateway, &expected);
    assert_eq!(gap_after(gateway, &lost), reason);
    let kept = all_after(gateway.address(), None).pop().expect("there are some").id;
    publish_some(gateway, "new", seen);
    publish_some(gateway, "newer", seen);
    assert_eq!(gap_after(gateway, &lost), reason, "though there are as many events again");
    expected = ["new", "newer"].iter().flat_map(|what| (0..5).map(move |n| format!("{what} {n}"))).collect();
    let after: Vec<_> = all_after(gateway.address(), Some(&kept)).into_iter().map(|event| event.data).collect();
    assert_eq!(after, expected, "whoever had not seen more misses nothing");
}

/// Why something is missing after this cursor.
#[track_caller]
fn gap_after(gateway: &Gateway, cursor: &str) -> String {
    let target = format!("/events?topic=**&transport=long-poll&timeout=0&lastEventId={cursor}");
    let answer: Value = Request::get(&target).ask(gateway.address()).json();
    answer["gap"]["reason"].as_str().unwrap_or_else(|| panic!("no gap in {answer}")).to_owned()
}

fn copy_files(from: &Path, to: &Path) {
    for file in fs::read_dir(from).expect("it is there").map_while(Result::ok) {
        fs::copy(file.path(), to.join(file.file_name())).expect("it can be copied");
    }
}
