//! What goes out, what is printed, and what is told when it fails.

use clap::Parser as _;

use super::*;
use crate::cli::test_server::{Captured, Reply, Request, TestServer};

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: PublishArgs,
}

async fn publish_to(server: &TestServer, args: &[&str], stdin: &[u8]) -> (Result<(), CliError>, String) {
    let url = format!("--url={}", server.url());
    let words = ["publish", &url].into_iter().chain(args.iter().copied());
    let args = Command::try_parse_from(words).expect("arguments").args;
    let mut stdout = Vec::new();
    let outcome = publish(args, stdin, &mut stdout, &mut Console::to(std::io::sink())).await;
    (outcome, String::from_utf8(stdout).expect("text"))
}

fn stored(request: &Request) -> Reply {
    assert_eq!(request.method, "POST");
    Reply::json(201, r#"{"id":"abcdefgh-7","durability":"fsync"}"#)
}

#[tokio::test]
async fn the_data_goes_out_verbatim_and_the_id_is_printed() {
    let server = TestServer::start(|_, request| stored(request)).await;
    let flags = ["--publish-key=k3y", "--type=paid", "--key=o-1", "--content-type=text/html", "--topic=b"];
    let (outcome, printed) = publish_to(&server, &[&["a/ü", "<p> x\n"], &flags[..]].concat(), b"unread").await;
    outcome.expect("published");
    assert_eq!(printed, "abcdefgh-7\n");
    let request = &server.requests()[0];
    assert_eq!(request.target, "/events?topic=a%2F%C3%BC&topic=b&type=paid");
    assert_eq!(request.body, b"<p> x\n");
    for (name, value) in [("authorization", "Bearer k3y"), ("idempotency-key", "o-1"), ("content-type", "text/html")] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn standard_input_is_one_event_whatever_its_bytes() {
    let server = TestServer::start(|_, request| stored(request)).await;
    for (args, stdin, media) in [
        (&["a"][..], &b"two\nlines\n"[..], None),
        (&["a", "-"], b"", None),
        (&["a", "-"], b"\xff\0", Some("application/octet-stream")),
    ] {
        publish_to(&server, args, stdin).await.0.expect("published");
        let request = server.requests().pop().expect("a request");
        assert_eq!((request.body.as_slice(), request.header("content-type")), (stdin, media));
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_gateways_words_and_by_the_exit_code() {
    let problem = r#"{"title":"No publish key","detail":"Send one."}"#;
    let server = TestServer::start(move |_, request| match request.target.as_str() {
        "/events?topic=refused" => Reply::json(401, problem),
        _ => Reply::json(503, r#"{"title":"Busy"}"#).with_header("Retry-After", "3"),
    })
    .await;
    let (outcome, printed) = publish_to(&server, &["refused", "x"], b"").await;
    let error = outcome.expect_err("refused");
    assert_eq!(error.to_string(), "No publish key (401): Send one.");
    assert!(matches!(error, CliError::Refused(_)) && printed.is_empty());
    let error = publish_to(&server, &["busy", "x"], b"").await.0.expect_err("refused");
    assert_eq!(error.to_string(), "Busy (503); try again in 3 s");
    assert!(matches!(error, CliError::Failed(_)));
}

#[test]
fn arguments_that_no_event_can_have_are_refused() {
    for args in [&["*"][..], &["a", "x", "--type=open"], &["a", "x", "--key="], &["a", "x", "--content-type=x"]] {
        assert!(Command::try_parse_from(["publish"].iter().chain(args)).is_err(), "{args:?}");
    }
}

async fn import(server: &TestServer, more: &[&str], input: &'static [u8]) -> (Result<(), CliError>, String, String) {
    import_until(server, more, input, std::future::pending()).await
}

async fn import_until(
    server: &TestServer,
    more: &[&str],
    input: &'static [u8],
    signal: impl Future<Output = Signal>,
) -> (Result<(), CliError>, String, String) {
    let url = format!("--url={}", server.url());
    let words = ["publish", &url].into_iter().chain(more.iter().copied());
    let args = Command::try_parse_from(words).expect("arguments").args;
    let (mut stdout, stderr) = (Vec::new(), Captured::default());
    let mut console = Console::to(stderr.clone());
    let pace = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    let outcome = publish_many(args, Input::of(input), pace, &mut stdout, &mut console, signal).await;
    (outcome, String::from_utf8(stdout).expect("text"), stderr.text())
}

fn bodies(server: &TestServer) -> Vec<String> {
    let body = |request: Request| String::from_utf8(request.body).expect("text");
    server.requests().into_iter().map(body).collect()
}

#[tokio::test]
async fn lines_go_out_in_order_and_those_refused_are_named_by_their_place_in_the_input() {
    let sum = r#"{"published":1,"refused":1,"first":"abcdefgh-1","last":"abcdefgh-1","errors":[{"line":2,"title":"no \u001b"}]}"#;
    let server = TestServer::start(move |_, _| Reply::json(200, sum)).await;
    let input = b"{\"data\":1}\n\n  \r\n{\"topic\":\"b\"\n";
    let (outcome, printed, told) = import(&server, &["a", "--ndjson"], input).await;
    assert!(matches!(outcome, Err(CliError::Incomplete { refused: 1, gaps: 0 })));
    assert_eq!((printed.as_str(), told.as_str()), ("abcdefgh-1\n", "encke: line 4: no \\u001b\n"));
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/events"));
    assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(bodies(&server), ["{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"b\"\n"]);
}

#[tokio::test]
async fn every_line_of_an_input_is_an_event_also_an_empty_one_and_the_last_id_is_printed() {
    let sum = r#"{"published":3,"last":"abcdefgh-3","errors":[]}"#;
    let server = TestServer::start(move |_, _| Reply::json(200, sum)).await;
    let (outcome, printed, told) = import(&server, &["a", "--lines", "--key=k"], b"x\r\n\ny").await;
    outcome.expect("published");
    assert_eq!((printed.as_str(), told.as_str()), ("abcdefgh-3\n", ""));
    let line = |number: u64, data: &str| format!("{{\"topics\":[\"a\"],\"key\":\"k-{number}\",\"data\":\"{data}\"}}\n");
    // That the last line is one is known only at the end, which may come after the others have gone out.
    assert_eq!(bodies(&server).concat(), line(1, "x") + &line(2, "") + &line(3, "y"));
}

#[tokio::test]
async fn a_large_input_goes_out_in_requests_of_bounded_size() {
    let input: &'static [u8] = "{\"topic\":\"a\",\"data\":1}\n".repeat(2500).leak().as_bytes();
    let server = TestServer::start(|_, request| {
        let lines = request.body.iter().filter(|byte| **byte == b'\n').count();
        Reply::json(200, &format!(r#"{{"published":{lines},"last":"abcdefgh-{lines}"}}"#))
    })
    .await;
    let (outcome, _, told) = import(&server, &["--ndjson", "--verbose"], input).await;
    outcome.expect("published");
    let lines: Vec<_> = bodies(&server).iter().map(|body| body.lines().count()).collect();
    assert!(lines.iter().sum::<usize>() == 2500 && lines.iter().all(|lines| *lines <= 1000), "{lines:?}");
    assert_eq!(told, "", "no terminal");
}

#[tokio::test]
async fn what_failed_is_sent_again_from_where_the_gateway_stopped() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::json(507, r#"{"title":"Full","published":1,"last":"abcdefgh-1","errors":[],"stopped":2}"#),
        1 => Reply::json(503, "{}"),
        _ => Reply::json(200, r#"{"published":2,"last":"abcdefgh-3","errors":[]}"#),
    })
    .await;
    let (outcome, printed, told) = import(&server, &["a", "--lines"], b"1\n2\n3\n").await;
    outcome.expect("published");
    assert_eq!(printed, "abcdefgh-3\n");
    assert!(told.contains("Full (507); trying for 60 s\n") && told.contains("is back after"), "{told}");
    let lines: Vec<_> = bodies(&server).iter().map(|body| body.lines().count()).collect();
    assert_eq!(lines, [3, 2, 2]);
}

#[tokio::test]
async fn without_an_answer_only_lines_with_keys_are_sent_again() {
    let script = |number, _: &Request| match number {
        0 => Reply::Drop,
        _ => Reply::json(200, r#"{"published":1,"duplicates":1,"last":"abcdefgh-2","errors":[]}"#),
    };
    let server = TestServer::start(script).await;
    let (outcome, printed, _) = import(&server, &["a", "--lines", "--key=k"], b"1\n2\n").await;
    outcome.expect("published");
    assert_eq!(printed, "abcdefgh-2\n");
    assert_eq!(bodies(&server)[0], bodies(&server)[1]);

    let server = TestServer::start(script).await;
    let (outcome, _, told) = import(&server, &["a", "--lines"], b"1\n2\n").await;
    let error = outcome.expect_err("it may be stored").to_string();
    assert!(error.contains("whether lines 1 to 2 are published is not known"), "{error}");
    assert!(told.contains("nothing is published\n"), "{told}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refusal_of_everything_ends_with_the_gateways_words_and_the_place() {
    let problem = r#"{"title":"No publish key","published":1,"stopped":3,"errors":[{"line":2,"title":"bad"}]}"#;
    let server = TestServer::start(move |_, _| Reply::json(401, problem)).await;
    let (outcome, printed, told) = import(&server, &["a", "--lines"], b"1\n2\n3\n").await;
    assert_eq!(outcome.expect_err("refused").to_string(), "No publish key (401)");
    assert_eq!(printed, "");
    assert_eq!(
        told,
        "encke: line 2: bad\nencke: every line before line 3 is done; to go on, leave them out (`tail -n +3`)\n"
    );
}

#[tokio::test]
async fn a_signal_ends_it_after_the_answer_to_what_was_sent() {
    let (answer, signal) = tokio::sync::watch::channel(false);
    let server = TestServer::start(move |_, _| {
        Reply::json(200, r#"{"published":1,"last":"abcdefgh-1"}"#).not_before(signal.clone())
    })
    .await;
    let sent = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        let _ = answer.send(true);
        Signal::Interrupt
    };
    let (outcome, _, told) = import_until(&server, &["a", "--lines"], b"1\n", sent).await;
    // Either the answer or the signal is seen first.
    assert!(matches!(outcome, Err(CliError::Interrupted)), "{outcome:?}");
    assert_eq!(told, "encke: every line before line 2 is done; to go on, leave them out (`tail -n +2`)\n");
}

#[test]
fn many_events_have_arguments_of_their_own() {
    let parse = |more: &[&str]| Command::try_parse_from(["publish"].iter().chain(more)).map(|command| command.args);
    assert_eq!(parse(&["--ndjson"]).expect("from standard input").ndjson.as_deref(), Some("-".as_ref()));
    assert_eq!(parse(&["a", "--lines", "file"]).expect("from a file").lines.as_deref(), Some("file".as_ref()));
    let whole = parse(&["a", "x", "--ttl=1.5", "--conflate=c", "--private"]).expect("an event");
    assert_eq!((whole.ttl, whole.private), (Some(Duration::from_millis(1500)), true));
    for wrong in [
        &[][..],
        &["--lines"],
        &["a", "x", "--lines=f"],
        &["--ndjson=f", "--type=x"],
        &["a", "--lines=f", "--ndjson=g"],
        &["a", "--ttl=0"],
        &["a", "--ttl=soon"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
