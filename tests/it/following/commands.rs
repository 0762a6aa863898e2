//! `encke publish` and `encke subscribe`, end to end: what they print, and how they end.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::{KEY, command, encke, gateway, stored};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http1::Connection;

fn publish(gateway: &Gateway, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = command(gateway, [&["publish"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("encke runs");
    // It may have been given its data already, and be gone.
    let _ = child.stdin.take().expect("standard input is piped").write_all(stdin);
    child.wait_with_output().expect("it ends")
}

fn words(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn publish_prints_the_id_and_its_exit_code_says_how_it_went() {
    let mut gateway = gateway(&[]);
    let (code, id, errors) = words(&publish(&gateway, &["a", "hello"], b""));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (code, second, _) = words(&publish(&gateway, &["a", "-", "--key", "k"], b"two\nlines\n"));
    assert_eq!(code, Some(0));
    let (code, again, errors) = words(&publish(&gateway, &["a", "--key", "k"], b"two\nlines\n"));
    assert_eq!((code, &again), (Some(0), &second));
    assert!(errors.contains("this key was published before"), "{errors}");
    let (code, id_of_other, errors) = words(&publish(&gateway, &["a", "other", "--key", "k"], b""));
    assert_eq!((code, id_of_other.as_str()), (Some(3), ""));
    assert!(errors.contains("(422)"), "{errors}");
    assert_eq!(stored(&gateway), ["hello", "two\nlines\n"]);
    assert!(id.trim_end().ends_with("-1") && second.trim_end().ends_with("-2"), "{id}{second}");

    let (code, _, errors) = words(&publish(&gateway, &["a/*", "x"], b""));
    assert_eq!(code, Some(2), "{errors}");
    let refused = command(&gateway, ["publish", "a", "x"]).env("ENCKE_PUBLISH_KEY", "wrong").output();
    let (code, _, errors) = words(&refused.expect("encke runs"));
    assert_eq!(code, Some(3));
    assert!(errors.contains("(401)"), "{errors}");
    gateway.kill9();
    let (code, printed, errors) = words(&publish(&gateway, &["a", "x"], b""));
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(errors.contains("no connection"), "{errors}");
}

#[test]
fn subscribe_prints_every_event_once_over_a_kill_and_ends_at_its_count() {
    let mut gateway = gateway(&[]);
    let say = |gateway: &Gateway, numbers: std::ops::Range<usize>| {
        let mut connection = Connection::open(gateway.address()).expect("the gateway listens");
        for number in numbers {
            let topic = ["a", "a/b"][number % 2];
            connection.publish(KEY, topic, None, format!("event {number}").as_bytes()).expect("a receipt");
        }
    };
    say(&gateway, 0..10);
    let mut reader = encke(&gateway, ["subscribe", "a", "a/*", "--from", "earliest", "--count", "30"]);
    let mut json = encke(&gateway, ["subscribe", "**", "--last", "5", "--count", "25", "--json"]);
    let mut lines: Vec<_> = (0..10).map(|_| reader.line(PATIENCE).expect("an event")).collect();
    let mut objects: Vec<_> = (0..5).map(|_| json.line(PATIENCE).expect("an event")).collect();
    gateway.kill9();
    gateway.restart();
    say(&gateway, 10..31);
    lines.extend(std::iter::from_fn(|| reader.line(PATIENCE)));
    objects.extend(std::iter::from_fn(|| json.line(PATIENCE)));
    assert_eq!(reader.wait(PATIENCE).code(), Some(0));
    assert_eq!(json.wait(PATIENCE).code(), Some(0));
    let expected: Vec<_> = (0..30).map(|number| format!("event {number}")).collect();
    assert_eq!(lines, expected);
    assert!(reader.errors().contains("connected again after"), "{}", reader.errors());
    let objects: Vec<Value> = objects.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let data: Vec<_> = objects.iter().map(|object| object["data"].as_str().expect("text")).collect();
    assert_eq!(data, expected[5..]);
    let members = ["id", "topic", "type", "time"];
    assert!(objects.iter().all(|object| members.iter().all(|name| object[name].is_string())), "{}", objects[0]);
}

#[test]
fn subscribe_is_refused_with_words_where_reading_needs_a_key() {
    let private = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let mut anonymous = command(&private, ["subscribe", "a"]);
    anonymous.env_remove("ENCKE_PUBLISH_KEY");
    let (code, printed, errors) = words(&anonymous.output().expect("encke runs"));
    assert_eq!((code, printed.as_str()), (Some(3), ""));
    assert!(errors.contains("(401)"), "{errors}");
    publish(&private, &["a", "for holders"], b"");
    let known = command(&private, ["subscribe", "a", "--from", "earliest", "--count", "1"]).output();
    assert_eq!(words(&known.expect("encke runs")), (Some(0), "for holders\n".to_owned(), String::new()));
}
