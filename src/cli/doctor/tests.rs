//! The probes against a server that does what a script says, and what the options mean.

use clap::Parser as _;

use super::finding::Level;
use super::*;
use crate::cli::test_server::{Reply, Request, TestServer};

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: DoctorArgs,
}

fn parse(url: &str, more: &[&str]) -> Result<DoctorArgs, clap::Error> {
    Command::try_parse_from(["doctor", url].iter().chain(more)).map(|command| command.args)
}

async fn examined(server: &TestServer, more: &[&str]) -> (Result<(), CliError>, Found, Target) {
    let args = parse(&server.url(), more).expect("arguments");
    let target = Target::new(AGENT, &args.url.0, None, &args.credentials, &args.header).expect("a target");
    let found = Found::default();
    let outcome = args.examine(target.clone(), &found).await;
    (outcome, found, target)
}

fn reply(fields: &str, body: &str) -> Reply {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{fields}\r\n");
    Reply::Stream(format!("{head}{:x}\r\n{body}\r\n", body.len()).into(), crate::cli::test_server::Held::Open)
}

#[test]
fn times_are_minutes_or_with_quick_seconds() {
    let horizon = |more: &[&str]| {
        let horizon = parse("http://h/", more).expect("arguments").horizon();
        (horizon.idle.as_secs_f64(), horizon.duration.as_secs_f64())
    };
    assert_eq!(horizon(&[]), (360.0, 360.0));
    assert_eq!(horizon(&["--quick"]), (3.0, 3.0));
    assert_eq!(horizon(&["--quick", "--max-idle=90s"]), (90.0, 3.0));
    assert_eq!(horizon(&["--max-duration=0.5"]), (360.0, 0.5));
    for wrong in ["--max-idle=2h", "--max-idle=0", "--max-duration=x", "--topic=a/*", "--header=x"] {
        assert!(parse("http://h/", &[wrong]).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn any_event_stream_is_watched_as_it_is() {
    let server = TestServer::start(|_, _| reply("Server: nginx\r\n", "data: 1\n\n")).await;
    let (outcome, found, target) = examined(&server, &["--max-idle=0.2", "--max-duration=0.2"]).await;
    outcome.expect("it is measured");
    let facts = found.facts(&target).expect("facts");
    assert!(!facts.opening.is_encke && facts.opening.first_event.is_some(), "{facts:?}");
    assert_eq!((facts.together.open, facts.watched), (12, (3, 0)));
    let judgement = facts.judged();
    assert_eq!(judgement.marks[0].hop.name(), "nginx");
    assert!(judgement.findings.iter().all(|finding| finding.level == Level::Advice), "{judgement:?}");
    let asked_otherwise =
        |request: &&Request| !matches!(request.target.as_str(), "/" | "/?transport=long-poll&timeout=0");
    assert_eq!(server.requests().iter().filter(asked_otherwise).count(), 0);
}

#[tokio::test]
async fn a_gateway_is_asked_for_silent_and_for_busy_streams() {
    let hello = "event: encke.hello\ndata: {\"heartbeat\":15}\n\n";
    let server = TestServer::start(move |_, request| match request.target.contains("long-poll") {
        true => Reply::json(200, "{}").with_header("Encke-Cursor", "x"),
        false => reply("Encke-Stream: x\r\nX-Accel-Buffering: no\r\n", hello),
    });
    let server = server.await;
    let (outcome, found, target) = examined(&server, &["--max-idle=0.2", "--max-duration=0.2"]).await;
    outcome.expect("it is measured");
    let facts = found.facts(&target).expect("facts");
    assert!(facts.opening.is_encke && facts.opening.at_once.is_some(), "{facts:?}");
    assert_eq!(facts.opening.heartbeat, Some(Duration::from_secs(15)));
    let count = |part: &str| server.requests().iter().filter(|request| request.target.contains(part)).count();
    assert_eq!((count("heartbeat=3600&type="), count("heartbeat=5"), count("padding")), (3, 3, 0));
}

#[tokio::test]
async fn what_is_no_event_stream_cannot_be_measured() {
    for (answer, words) in [
        (Reply::json(404, "{}"), "status 404"),
        (Reply::json(401, "{}"), "--header"),
        (Reply::json(200, "{}"), "application/json"),
        (Reply::json(307, "{}").with_header("Location", "//u:s3cret@h/x?s3cret"), "it is at http://h/x"),
        (Reply::Drop, "without an answer"),
    ] {
        let mut answer = Some(answer);
        let server = TestServer::start(move |_, _| answer.take().unwrap_or(Reply::Drop)).await;
        let error = examined(&server, &[]).await.0.expect_err("not measured");
        assert!(matches!(&error, CliError::Unmeasured(told) if told.contains(words)), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn the_report_tells_no_credentials() {
    let server = TestServer::start(|_, _| reply("", "data: 1\n\n")).await;
    let url = format!("{}?token=s3cret", server.url().replace("http://", "http://u:s3cret@"));
    let args = parse(&url, &["--header=Cookie: s3cret", "--publish-key=s3cret", "--quick"]).expect("arguments");
    let target = Target::new(AGENT, &args.url.0, None, &args.credentials, &args.header).expect("a target");
    let found = Found::default();
    assert!(found.facts(&target).is_none(), "nothing was measured");
    let facts = Facts::default();
    let judgement = facts.judged();
    let reach = Reach::of(&judgement.limits, args.horizon(), true);
    for told in [report::text, json::report].map(|tell| tell(&target.place(), &facts, &judgement, &reach)) {
        assert!(!told.contains("s3cret") && told.contains("127.0.0.1"), "{told}");
    }
    assert!(!format!("{args:?}").contains("s3cret"));
}
