//! What cannot be measured is said in words, with a code of its own.

use std::process::Command;

use super::{bench, gateway};
use crate::support::gateway::Gateway;
use crate::support::process::Process;

#[track_caller]
fn check(arguments: &[&str], code: i32, words: &[&str]) {
    let (ended, printed, errors) = bench(arguments).ended();
    assert_eq!((ended, printed.as_str()), (Some(code), ""), "{arguments:?}: {errors}");
    for words in words {
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}

#[test]
fn what_is_no_event_stream_is_told_as_what_it_is() {
    let mut gateway = gateway(&[]);
    let url = gateway.url().to_owned();
    let poll = format!("{url}/events/a?transport=poll");
    check(&[&poll], 3, &["not an event stream (200): application/json from", "/events/a\n"]);
    check(&[&format!("{url}/nowhere")], 3, &["Not Found (404)"]);
    check(&[&url, "--topic=a", "--transport=sse", "--header=Authorization: Bearer x"], 3, &["(401)"]);
    gateway.kill9();
    check(&[&url], 1, &["no connection", &url]);
    check(&[&url.replace("http", "https"), "--topic=a"], 1, &["no connection"]);
}

#[test]
fn a_server_without_tls_is_told_as_one() {
    let gateway = gateway(&[]);
    check(&[&gateway.url().replace("http", "https"), "--topic=a"], 1, &["no TLS"]);
}

#[test]
fn who_may_not_publish_is_told_the_words_of_the_gateway() {
    let other = Gateway::start_with(&["--read", "public"], &[("ENCKE_PUBLISH_KEY", "another-key-than-the-tests-have")]);
    let arguments = [other.url(), "--topic=a", "--publish-rate=10", "--duration=1"];
    check(&arguments, 3, &["(401)"]);
    let mut keyless = Command::new(env!("CARGO_BIN_EXE_encke"));
    keyless.arg("bench").args(arguments).env_remove("ENCKE_PUBLISH_KEY");
    let (code, _, errors) = Process::spawn(keyless).ended();
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("ENCKE_PUBLISH_KEY"), "{errors}");
}

#[test]
fn arguments_that_mean_nothing_are_wrong_usage() {
    let url = "http://127.0.0.1:9/";
    check(&["ftp://u:s3cret@h/"], 2, &["http://HOST"]);
    check(&[url, "--publish-rate=1"], 2, &["--topic"]);
    check(&[url, "--transport=poll:1s"], 2, &["--topic"]);
    check(&[url, "--topic=a/*"], 2, &["--topic"]);
    check(&["http://127.0.0.1:9/events/a", "--topic=a"], 2, &["without /events"]);
    for option in
        ["--connections=0", "--duration=0", "--payload-bytes=10", "--transport=x", "--header=x", "--streams=9"]
    {
        let (code, _, errors) = bench([url, option]).ended();
        assert_eq!(code, Some(2), "{option}: {errors}");
    }
}
