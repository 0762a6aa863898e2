//! What a subscriber does over cuts, gaps, refusals and runs.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};

use clap::Parser as _;

use super::*;
use crate::cli::test_server::{Captured, Reply, TestServer};

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: SubscribeArgs,
}

const PIPE: Form = Form { json: false, terminal: false, heads: false, colour: false };
const JSON: Form = Form { json: true, ..PIPE };

fn args(url: &str, more: &[&str]) -> SubscribeArgs {
    let url = format!("--url={url}");
    Command::try_parse_from(["subscribe", &url].into_iter().chain(more.iter().copied())).expect("arguments").args
}

async fn read(server: &TestServer, more: &[&str], form: Form) -> (Result<(), CliError>, String, String) {
    read_until(server, more, form, pending()).await
}

async fn read_until(
    server: &TestServer,
    more: &[&str],
    form: Form,
    signal: impl Future<Output = Signal>,
) -> (Result<(), CliError>, String, String) {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    let (mut stdout, stderr) = (Vec::new(), Captured::default());
    let mut console = Console::to(stderr.clone());
    let wish = async { Why::Signal(signal.await) };
    let outcome = subscribe(&args(&server.url(), more), backoff, form, &mut stdout, &mut console, wish).await;
    (outcome, String::from_utf8(stdout).expect("text"), stderr.text())
}

fn event(offset: u64, data: &str) -> String {
    format!("id: abcdefgh-{offset}\ndata: {{\"id\":\"abcdefgh-{offset}\",\"topic\":\"a\",\"data\":{data}}}\n\n")
}

#[tokio::test]
async fn every_event_is_printed_once_over_cuts_and_gaps_are_told() {
    let hello = "retry: 1\nid: abcdefgh-0\nevent: encke.hello\ndata: {\"heartbeat\":15}\n\n";
    let gap = "event: encke.gap\ndata: {\"reason\":\"expired\",\"lost\":3}\nid: abcdefgh-5\n\n";
    let server = TestServer::start(move |number, _| match number {
        0 => Reply::json(503, "{}"),
        1 => Reply::stream(&format!(
            "{hello}:\n\n{}{}id: abcdefgh-3\ndata: {{",
            event(1, "\"one\""),
            event(2, "\"two\"")
        )),
        2 => Reply::Drop,
        _ => Reply::stream(&format!("{hello}{gap}{}{}", event(6, "\"six\""), event(7, "\"no\""))).held_open(),
    })
    .await;
    let (outcome, printed, told) = read(&server, &["a/**", "b c", "--from=earliest", "--count=3"], PIPE).await;
    let error = outcome.expect_err("read to the count, but not everything");
    assert!(matches!(error, CliError::Incomplete { refused: 0, gaps: 1 }), "{error}");
    assert_eq!(printed, "one\ntwo\nsix\n");
    assert!(told.contains("encke: gap (expired): 3 events are missing here\n"), "{told}");
    assert!(told.contains("connected again after"), "{told}");
    let requests = server.requests();
    let target = "/events?topic=a%2F%2A%2A&topic=b%20c&transport=sse&envelope=json&lastEventId=earliest";
    assert!(requests.iter().all(|request| request.target == target), "{requests:?}");
    let ids: Vec<_> = requests.iter().map(|request| request.header("last-event-id")).collect();
    assert_eq!(ids, [None, None, Some("abcdefgh-2"), Some("abcdefgh-2")]);
}

#[tokio::test]
async fn a_refusal_ends_with_the_gateways_words_and_no_more_ends_quietly() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::json(403, r#"{"title":"Not for you","detail":"Ask."}"#),
        _ => Reply::json(204, ""),
    })
    .await;
    let (outcome, printed, _) = read(&server, &["a"], PIPE).await;
    assert_eq!(outcome.expect_err("refused").to_string(), "Not for you (403): Ask.");
    assert_eq!(printed, "");
    read(&server, &["a"], PIPE).await.0.expect("nothing to come is no failure");
}

struct Closed;

impl AsyncWrite for Closed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_closed_standard_output_ends_quietly_and_what_it_did_not_take_comes_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    std::fs::write(&state, "abcdefgh-4\n").expect("written");
    let server = TestServer::start(|_, _| Reply::stream(&event(5, "\"x\"")).held_open()).await;
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
    let args = args(&server.url(), &["a", &format!("--state={}", state.display())]);
    let console = &mut Console::to(io::sink());
    subscribe(&args, backoff, PIPE, &mut Closed, console, pending()).await.expect("quiet");
    assert_eq!(std::fs::read_to_string(&state).expect("it is there"), "abcdefgh-4\n");
}

#[tokio::test]
async fn a_run_goes_on_where_the_one_before_it_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = format!("--state={}", directory.path().join("state").display());
    let hello = "id: abcdefgh-0\nevent: encke.hello\ndata: {\"heartbeat\":15}\n\n";
    let server = TestServer::start(move |_, request| match request.header("last-event-id") {
        None => Reply::stream(&format!("{hello}{}{}", event(1, "\"a\""), event(2, "\"b\""))).held_open(),
        Some("abcdefgh-1") => Reply::stream(&event(2, "\"b\"")).held_open(),
        other => panic!("{other:?} was never printed"),
    })
    .await;
    for expected in ["a\n", "b\n"] {
        let (outcome, printed, _) = read(&server, &["a", "--from=earliest", "--count=1", &state], PIPE).await;
        outcome.expect("read to the count");
        assert_eq!(printed, expected);
    }
}

#[tokio::test]
async fn a_signal_ends_it_in_order_with_all_that_came() {
    for (signal, as_expected) in [(Signal::Terminate, true), (Signal::Interrupt, false)] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        let state = format!("--state={}", path.display());
        let server = TestServer::start(|_, _| Reply::stream(&event(1, "\"a\"")).held_open()).await;
        // Sent once the place is on the disk: a stream that waits does not keep it in memory alone.
        let saved = async {
            while !path.exists() {
                tokio::task::yield_now().await;
            }
            signal
        };
        let (outcome, printed, _) = read_until(&server, &["a", &state], PIPE, saved).await;
        assert_eq!(printed, "a\n");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "abcdefgh-1\n");
        match outcome {
            Ok(()) => assert!(as_expected, "{signal:?}"),
            Err(error) => assert!(!as_expected && matches!(error, CliError::Interrupted), "{error}"),
        }
    }
}

#[tokio::test]
async fn the_time_may_be_up_before_the_count() {
    let server = TestServer::start(|_, _| Reply::stream(&event(1, "\"a\"")).held_open()).await;
    let (outcome, printed, _) = read(&server, &["a", "--timeout=1s", "--count=2"], PIPE).await;
    let error = outcome.expect_err("one of two");
    assert_eq!(error.to_string(), "the time was up with 1 of 2 events still to come");
    assert_eq!(printed, "a\n");
    read(&server, &["a", "--timeout=1s"], PIPE).await.0.expect("as long as was asked for");
}

#[tokio::test]
async fn a_gap_is_a_line_of_json_too() {
    let gap = "event: encke.gap\ndata: {\"reason\":\"ahead\",\"lost\":null}\nid: abcdefgh-5\n\n";
    let server = TestServer::start(move |_, _| Reply::stream(&format!("{gap}{}", event(6, "1")))).await;
    let (outcome, printed, told) = read(&server, &["a", "--json", "--count=1"], JSON).await;
    assert!(matches!(outcome, Err(CliError::Incomplete { refused: 0, gaps: 1 })));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], r#"{"id":"abcdefgh-5","type":"encke.gap","data":{"reason":"ahead","lost":null}}"#);
    assert_eq!(lines[1], r#"{"id":"abcdefgh-6","topic":"a","data":1}"#);
    assert_eq!(told, "encke: gap (ahead): events may be missing here\n");
}

#[tokio::test]
async fn once_reads_page_by_page_what_is_there() {
    let page = |numbers: std::ops::Range<u64>, more: bool| {
        let end = numbers.end;
        let events: Vec<_> = numbers.map(|n| format!(r#"{{"id":"abcdefgh-{n}","topic":"a","data":"{n}"}}"#)).collect();
        Reply::json(200, &format!(r#"{{"cursor":"abcdefgh-{end}","events":[{}],"more":{more}}}"#, events.join(",")))
    };
    let server = TestServer::start(move |_, request| match request.header("last-event-id") {
        None => page(1..3, true),
        Some("abcdefgh-3") => page(4..6, false),
        Some("abcdefgh-6") => {
            Reply::json(200, r#"{"cursor":"abcdefgh-9","events":[],"gap":{"reason":"expired","lost":3}}"#)
        }
        Some("abcdefgh-9") => page(10..13, true),
        Some("abcdefgh-11") => Reply::json(503, r#"{"title":"Busy"}"#),
        other => panic!("{other:?} is no place that was told"),
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let state = format!("--state={}", directory.path().join("state").display());
    let once = ["a", "--once", "--from=earliest", "--type=paid", "--type=message", &state];
    let (outcome, printed, _) = read(&server, &once, PIPE).await;
    outcome.expect("all there is");
    assert_eq!(printed, "1\n2\n4\n5\n");
    let target = "/events?topic=a&transport=long-poll&timeout=0&lastEventId=earliest&type=paid&type=message";
    assert_eq!(server.requests()[0].target, target);
    let (outcome, printed, told) = read(&server, &once, PIPE).await;
    assert!(matches!(outcome, Err(CliError::Incomplete { refused: 0, gaps: 1 })));
    assert_eq!((printed.as_str(), told.as_str()), ("", "encke: gap (expired): 3 events are missing here\n"));
    // The rest of a page that the count cuts is for the next run.
    let (outcome, printed, _) = read(&server, &[&once[..], &["--count=2"]].concat(), PIPE).await;
    outcome.expect("read to the count");
    assert_eq!(printed, "10\n11\n");
    let error = read(&server, &once, PIPE).await.0.expect_err("it does not try again");
    assert_eq!(error.to_string(), "Busy (503)");
}

#[test]
fn start_positions_are_read_or_refused() {
    let parse = |more: &[&str]| Command::try_parse_from(["subscribe", "a"].iter().chain(more)).map(|c| c.args);
    let told = |more: &[&str]| parse(more).expect("a start").parameters();
    assert_eq!(told(&["--from=latest"]), [("lastEventId", "latest".to_owned())]);
    assert_eq!(told(&["--from=abcdefgh-3"]), [("lastEventId", "abcdefgh-3".to_owned())]);
    assert_eq!(told(&["--since=5m"]), [("since", "5m".to_owned())]);
    let both = ["--since=2026-01-31T12:00:00Z", "--snapshot", "--conflate"].map(str::to_owned);
    let both = parse(&both.each_ref().map(String::as_str)).expect("a start").parameters();
    assert_eq!(both.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["since", "snapshot", "conflate"]);
    for wrong in [
        &["--from=x"][..],
        &["--from=latest", "--last=3"],
        &["--since=5m", "--last=3"],
        &["--since=5m", "--from=latest"],
        &["--since=soon"],
        &["--last=0"],
        &["--count=0"],
        &["--timeout=0s"],
        &["--type=open"],
        &["--json", "--verbose"],
        &["**a"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
