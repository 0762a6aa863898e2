//! `tail` against a gateway that fails in every way it can: order, and each line once.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use tokio::sync::watch;

use super::*;
use crate::cli::test_server::{Captured, Reply, Request, TestServer};

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: TailArgs,
}

/// What a gateway keeps over its restarts: events in order, and their keys.
#[derive(Clone)]
struct Store {
    events: Arc<Mutex<Vec<Request>>>,
    keys: Arc<Mutex<HashMap<String, usize>>>,
    changed: watch::Sender<usize>,
}

impl Store {
    fn new() -> Self {
        Self { events: Arc::default(), keys: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// Stores an event as a gateway does, once for each key.
    fn append(&self, request: &Request) -> Reply {
        let key = request.header("idempotency-key").expect("every line has a key").to_owned();
        let mut events = self.events.lock().expect("no test panicked");
        let mut keys = self.keys.lock().expect("no test panicked");
        if let Some(&place) = keys.get(&key) {
            assert_eq!(events[place - 1].body, request.body, "one key, one content");
            return Reply::json(200, &format!(r#"{{"id":"abcdefgh-{place}","duplicate":true}}"#));
        }
        events.push(request.clone());
        let place = events.len();
        keys.insert(key, place);
        self.changed.send_replace(place);
        Reply::json(201, &format!(r#"{{"id":"abcdefgh-{place}","durability":"memory"}}"#))
    }

    fn bodies(&self) -> Vec<String> {
        let events = self.events.lock().expect("no test panicked");
        events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
    }

    fn event(&self, number: usize) -> Request {
        self.events.lock().expect("no test panicked")[number].clone()
    }

    async fn wait_for(&self, count: usize) {
        self.changed.subscribe().wait_for(|&stored| stored >= count).await.expect("the store is there");
    }
}

fn args(url: &str, more: &[&str]) -> TailArgs {
    let url = format!("--url={url}");
    let words = ["tail", &url, "--topic=logs/a"].into_iter().chain(more.iter().copied());
    Command::try_parse_from(words).expect("arguments").args
}

fn tail(args: TailArgs) -> (Tail, Input, Captured) {
    let pace = Backoff::new(Duration::from_millis(2), Duration::from_millis(20));
    let told = Captured::default();
    let (tail, input) = Tail::new(args, pace, Console::to(told.clone())).expect("arguments that fit");
    (tail, input, told)
}

/// Tails until the input ends; gives the outcome and what was told.
async fn run_to_end(args: TailArgs) -> (Result<(), CliError>, String) {
    let (mut tail, mut input, told) = tail(args);
    let outcome = tail.run(&mut input, std::future::pending()).await;
    drop(tail);
    (outcome, told.text())
}

/// Tails until the store holds `count` events.
async fn run_until(args: TailArgs, store: &Store, count: usize) {
    let (mut tail, mut input, _) = tail(args);
    tail.run(&mut input, store.wait_for(count)).await.expect("stopped");
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn append(path: &Path, lines: &[String]) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).expect("opened");
    file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()).expect("written");
}

#[tokio::test]
async fn every_line_arrives_once_and_in_order_whatever_fails_on_the_way() {
    let store = Store::new();
    let kept = store.clone();
    let server = TestServer::start(move |number, request| match number % 10 {
        1 => Reply::Drop,
        3 => {
            kept.append(request);
            Reply::Drop // Stored, but the acknowledgement is lost.
        }
        5 => Reply::json(503, "{}").with_header("Retry-After", "0"),
        7 => {
            kept.append(request);
            Reply::json(502, "<html>")
        }
        8 => Reply::json(200, "no receipt"),
        9 => Reply::json(429, "{}"),
        _ => kept.append(request),
    })
    .await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    append(file.path(), &numbered(0..300));
    let path = file.path().to_str().expect("text");
    let (outcome, told) = run_to_end(args(&server.url(), &[path, "--from-start", "--once"])).await;
    outcome.expect("published");
    assert_eq!(store.bodies(), numbered(0..300));
    assert!(server.requests().len() > 500, "the script was followed");
    assert!(told.contains("trying until it answers") && told.contains("is back after"), "{told}");
    assert_eq!(server.requests()[0].target, "/events?topic=logs%2Fa");
}

#[tokio::test]
async fn a_gateway_that_is_killed_and_restarted_gets_every_line_of_a_growing_file_once() {
    let store = Store::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("text").to_owned();
    append(file.path(), &numbered(0..100));
    let kept = store.clone();
    let first = TestServer::start(move |_, request| kept.append(request)).await;
    let (mut tail, mut input, told) = tail(args(&first.url(), &[&path, "--from-start"]));
    let gateway = async {
        store.wait_for(50).await;
        let address = first.kill().await; // Its connections are cut, and new ones are refused.
        told.wait_for("trying until it answers").await;
        append(file.path(), &numbered(100..200));
        let kept = store.clone();
        let second = TestServer::start_at(address, move |_, request| kept.append(request)).await;
        store.wait_for(200).await;
        second.kill().await;
    };
    tail.run(&mut input, gateway).await.expect("stopped");
    assert_eq!(store.bodies(), numbered(0..200));
}

#[tokio::test]
async fn a_restarted_tail_goes_on_where_its_state_says_and_repeats_nothing() {
    let (store, kept) = (Store::new(), Store::new());
    let seen = store.clone();
    let server = TestServer::start(move |_, request| {
        kept.append(request);
        seen.append(request)
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let (log, state) = (directory.path().join("log"), directory.path().join("state"));
    let state = format!("--state={}", state.display());
    let arguments = || args(&server.url(), &[log.to_str().expect("text"), "--from-start", &state]);
    append(&log, &numbered(0..20));
    run_until(arguments(), &store, 10).await;
    append(&log, &numbered(20..30));
    std::fs::rename(&log, directory.path().join("log.1")).expect("renamed");
    append(&log, &numbered(30..40));
    run_until(arguments(), &store, 40).await;
    assert_eq!(store.bodies(), numbered(0..40));
    let requests = server.requests().len();
    assert_eq!(requests, 40, "no line was sent again: each stop waited for the last answer");
    let (outcome, _) = run_to_end(args(&server.url(), &[log.to_str().expect("text"), &state, "--once"])).await;
    outcome.expect("nothing to do");
    assert_eq!(server.requests().len(), requests);
    assert_eq!(store.bodies().len(), 40);
}

#[tokio::test]
async fn a_stop_lets_the_line_in_flight_be_acknowledged() {
    let store = Store::new();
    let kept = store.clone();
    let answer = watch::Sender::new(false);
    let released = answer.subscribe();
    // Each line is stored, but the answer comes only after the stop.
    let server = TestServer::start(move |_, request| kept.append(request).not_before(released.clone())).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (log, state) = (directory.path().join("log"), directory.path().join("state"));
    append(&log, &numbered(0..3));
    let state = format!("--state={}", state.display());
    let arguments = || args(&server.url(), &[log.to_str().expect("text"), "--from-start", "--once", &state]);
    let (mut tail, mut input, _) = tail(arguments());
    let stop = async {
        store.wait_for(1).await;
        answer.send_replace(true);
    };
    tail.run(&mut input, stop).await.expect("stopped");
    drop((tail, input));
    assert_eq!(store.bodies(), numbered(0..1), "nothing was sent after the stop");
    run_to_end(arguments()).await.0.expect("published");
    assert_eq!((store.bodies(), server.requests().len()), (numbered(0..3), 3), "nothing was sent again");
}

#[tokio::test]
async fn lines_that_may_be_missing_are_told_at_once_and_at_the_end() {
    let store = Store::new();
    let kept = store.clone();
    let server = TestServer::start(move |_, request| kept.append(request)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (log, state) = (directory.path().join("log"), directory.path().join("state"));
    let state = format!("--state={}", state.display());
    let arguments = || args(&server.url(), &[log.to_str().expect("text"), "--from-start", "--once", &state]);
    append(&log, &numbered(0..2));
    run_to_end(arguments()).await.0.expect("published");
    std::fs::remove_file(&log).expect("removed");
    append(&log, &numbered(2..4));
    let (outcome, told) = run_to_end(arguments()).await;
    let error = outcome.expect_err("incomplete");
    assert!(matches!(error, CliError::Incomplete { refused: 0, gaps: 1 }), "{error}");
    assert_eq!(error.to_string(), "events may be missing (told 1×)");
    assert!(told.contains("is gone or was emptied: lines after that place may be missing"), "{told}");
    assert_eq!(store.bodies(), numbered(0..4));
}

#[tokio::test]
async fn lines_of_any_kind_become_events() {
    let store = Store::new();
    let kept = store.clone();
    let server = TestServer::start(move |_, request| kept.append(request)).await;
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let long = "ü".repeat(20);
    file.write_all(b"text\r\n\n\xff\xfe\n").and_then(|()| writeln!(file, "{long}\nsame\nsame")).expect("written");
    let path = file.path().to_str().expect("text");
    let more = [path, "--from-start", "--once", "--max-line=17", "--type=log", "--content-type=text/x-log"];
    let (outcome, told) = run_to_end(args(&server.url(), &more)).await;
    outcome.expect("published");
    assert_eq!(store.bodies(), ["text", "", "\u{fffd}\u{fffd}", "üüüüüüüü", "same", "same"]);
    assert_eq!(store.event(0).header("content-type"), Some("text/x-log"));
    assert_eq!(store.event(2).header("content-type"), Some("application/octet-stream"));
    assert_eq!(store.event(0).target, "/events?topic=logs%2Fa&type=log");
    assert_eq!(told, "encke: a line is 24 bytes too long: they are cut off\n");
}

#[tokio::test]
async fn a_pipe_is_read_to_its_end() {
    let store = Store::new();
    let kept = store.clone();
    let server = TestServer::start(move |number, request| match number {
        1 => Reply::Drop,
        _ => kept.append(request),
    })
    .await;
    let (mut tail, _, _) = tail(args(&server.url(), &["-"]));
    let mut input = Input::Reader(ReaderInput::new(|| Ok(&b"one\none\nlast"[..]), 100));
    tail.run(&mut input, std::future::pending()).await.expect("published");
    assert_eq!(store.bodies(), ["one", "one", "last"]);
}

#[tokio::test]
async fn the_events_of_another_stream_keep_type_data_and_order_over_its_cuts() {
    let store = Store::new();
    let kept = store.clone();
    let gateway = TestServer::start(move |number, request| match number {
        2 => {
            kept.append(request);
            Reply::Drop
        }
        _ => kept.append(request),
    })
    .await;
    let source = TestServer::start(|_, request| match request.header("last-event-id") {
        None => Reply::stream("retry: 1\nid: 1\nevent: a\ndata: x\n\ndata: y\n\ndata: y\n\nid: 2\nda"),
        // What came after id 1 comes again, and then more.
        Some("1") => {
            Reply::stream("data: y\n\ndata: y\n\nevent: encke.cursor\nid: 5\ndata: {}\n\nevent: error\ndata: z\n\n")
        }
        Some("5") => Reply::stream("event: error\ndata: z\n\nid: 6\ndata: two\ndata: lines\n\n"),
        _ => Reply::json(204, ""),
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let state = format!("--state={}", directory.path().join("state").display());
    let url = format!("{}?token=s3cret", source.url());
    let (outcome, told) = run_to_end(args(&gateway.url(), &[&url, &state, "--type=other"])).await;
    outcome.expect("the source says that it is over");
    assert_eq!(store.bodies(), ["x", "y", "y", "z", "two\nlines"]);
    let types: Vec<_> = (0..5).map(|n| store.event(n).target.rsplit_once('=').expect("a type").1.to_owned()).collect();
    assert_eq!(types, ["a", "other", "other", "other", "other"]);
    assert!(told.contains("without its type `error`"), "{told}");
    assert!(!told.contains("s3cret") && !std::fs::read_to_string(&state[8..]).expect("written").contains("s3cret"));
    let before = source.requests().len();
    let (outcome, _) = run_to_end(args(&gateway.url(), &[&url, &state])).await;
    outcome.expect("the source says that it is over");
    assert_eq!(source.requests()[before].header("last-event-id"), Some("6"));
}

#[tokio::test]
async fn a_line_that_is_refused_is_left_out_and_a_tail_that_is_refused_ends() {
    let store = Store::new();
    let kept = store.clone();
    let server = TestServer::start(move |_, request| match request.body.as_slice() {
        b"bad" => Reply::json(422, r#"{"title":"No such thing"}"#),
        b"stop" => Reply::json(401, r#"{"title":"No key","detail":"Send one."}"#),
        _ => kept.append(request),
    })
    .await;
    for (content, published, told, message) in [
        ("one\nbad\ntwo\n", 2, "left out: No such thing (422)", "1 of the events were refused and are not published"),
        ("three\nstop\nfour\n", 3, "", "No key (401): Send one."),
    ] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content.as_bytes()).expect("written");
        let path = file.path().to_str().expect("text");
        let (outcome, words) = run_to_end(args(&server.url(), &[path, "--from-start", "--once"])).await;
        assert_eq!(outcome.expect_err("refused").to_string(), message);
        assert!(words.contains(told), "{words}");
        assert_eq!(store.bodies().len(), published);
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_together_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let with_state = format!("--state={}", state.display());
    let mut file = StateFile::open(state).expect("none yet");
    file.save(State::Stream { url: identity("http://other/"), last_event_id: "1".into() }).expect("saved");
    for more in [
        &["-", &with_state][..],
        &["http://127.0.0.1:9/", "--from-start"],
        &["http://127.0.0.1:9/", &with_state],
        &["log", &with_state],
    ] {
        let pace = Backoff::new(Duration::ZERO, Duration::ZERO);
        let refused = Tail::new(args("http://127.0.0.1:9", more), pace, Console::to(io::sink()));
        assert!(matches!(refused.err(), Some(CliError::Usage(_))), "{more:?}");
    }
}
