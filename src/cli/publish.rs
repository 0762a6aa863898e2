//! `encke publish TOPIC [DATA|-]`: one event, and its cursor on standard output.

use std::io::{IsTerminal, Write};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::client::Gateway;
use super::console::{Console, shown};
use super::problem::Failure;
use super::{CliError, Connect, EXIT_CODES, Kind};
use crate::event::{ContentType, Event, Key, Topic};

/// The most that is read from standard input, in bytes. The gateway's own limit is lower and told by itself.
const MAX_DATA: u64 = 64 << 20;

/// Publish one event and print its id
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct PublishArgs {
    /// The topic; the first one is canonical
    #[arg(value_name = "TOPIC", value_parser = Topic::parse)]
    topic: Topic,
    /// The event's data; without it, or with `-`, standard input is read to its end, byte for byte
    #[arg(value_name = "DATA")]
    data: Option<String>,
    /// A further topic of the same event (repeatable)
    #[arg(long = "topic", value_name = "TOPIC", value_parser = Topic::parse)]
    topics: Vec<Topic>,
    /// The event's type; `message` if none is given
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Your own identity for this event: published again with the same key, it is recognised and not stored twice
    #[arg(long, value_name = "KEY", value_parser = Key::parse)]
    key: Option<Key>,
    /// The media type of the data; UTF-8 text if none is given
    #[arg(long, value_name = "TYPE/SUBTYPE", value_parser = ContentType::parse)]
    content_type: Option<ContentType>,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    connect: Connect,
}

/// Publishes one event, once: whoever wants to try again gives it a key, so that it cannot be stored twice.
///
/// # Errors
/// See [`CliError`].
pub async fn run(args: PublishArgs) -> Result<(), CliError> {
    let mut console = Console::stderr(false);
    if args.data.as_deref().is_none_or(|data| data == "-") && std::io::stdin().is_terminal() {
        console.note("reading the event from the terminal; end it with Ctrl-D");
    }
    publish(args, tokio::io::stdin(), &mut std::io::stdout(), &mut console).await
}

async fn publish(
    args: PublishArgs,
    stdin: impl AsyncRead + Unpin,
    stdout: &mut impl Write,
    console: &mut Console,
) -> Result<(), CliError> {
    let gateway = Gateway::new(&args.connect)?;
    let event = event(args, stdin).await?;
    let receipt = gateway.publish(&event).await.map_err(|failure| match failure {
        Failure::Away(why) => CliError::Failed(format!("{gateway}: {why}")),
        Failure::Later { problem, after: Some(after) } => {
            CliError::Failed(format!("{problem}; try again in {} s", after.as_secs()))
        }
        Failure::Later { problem, after: None } => CliError::Failed(problem.to_string()),
        Failure::Refused(problem) => CliError::Refused(problem),
    })?;
    if receipt.duplicate {
        console.tell("this key was published before; the event is the one from then");
    }
    match writeln!(stdout, "{}", shown(&receipt.id)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write the id: {error}")))
        }
        _ => Ok(()),
    }
}

async fn event(args: PublishArgs, stdin: impl AsyncRead + Unpin) -> Result<Event, CliError> {
    let data = match args.data {
        Some(data) if data != "-" => Bytes::from(data),
        _ => standard_input(stdin).await?,
    };
    let mut event = Event::new(args.topic, data);
    for topic in args.topics {
        if !event.topics.contains(&topic) {
            event.topics.push(topic);
        }
    }
    event.kind = args.kind.unwrap_or_default().0;
    event.key = args.key;
    event.content_type = args.content_type.or_else(|| of_bytes(&event.data));
    Ok(event)
}

async fn standard_input(stdin: impl AsyncRead + Unpin) -> Result<Bytes, CliError> {
    let mut data = Vec::new();
    let read = stdin.take(MAX_DATA + 1).read_to_end(&mut data).await;
    let length = read.map_err(|error| CliError::Failed(format!("cannot read standard input: {error}")))?;
    if length as u64 > MAX_DATA {
        return Err(CliError::Usage(format!("standard input holds more than {} MiB: not one event", MAX_DATA >> 20)));
    }
    Ok(data.into())
}

/// The content type of data of which nothing was said: none for text, `application/octet-stream` for other bytes.
pub(crate) fn of_bytes(data: &[u8]) -> Option<ContentType> {
    std::str::from_utf8(data)
        .is_err()
        .then(|| ContentType::parse("application/octet-stream").expect("this is a media type"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::test_server::{Reply, Request, TestServer};

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
        for (name, value) in
            [("authorization", "Bearer k3y"), ("idempotency-key", "o-1"), ("content-type", "text/html")]
        {
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
}
