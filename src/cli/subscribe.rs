//! `encke subscribe TOPIC…`: events on standard output, one after the other, for ever.
//!
//! It reads the event stream with `envelope=json`, by which it knows each event's content type. Text is printed as it
//! is, with a line end; other bytes as they are, so that a pipe gets an image whole.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::backoff::Backoff;
use super::client::Gateway;
use super::console::{Console, shown, shown_lines};
use super::event_stream::Message;
use super::resuming::{Change, Resuming};
use super::{CliError, Connect, EXIT_CODES};
use crate::event::{ContentType, Cursor, EventType, ParseCursorError, TopicSelector};

/// Print the events of topics as they come; resume by itself whenever the stream is cut
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct SubscribeArgs {
    /// A topic, or a glob: `*` is one segment between slashes, a last `**` one or more
    #[arg(value_name = "TOPIC", required = true, value_parser = TopicSelector::parse)]
    topics: Vec<TopicSelector>,
    /// Begin after this id, or with the `earliest` event there is; `latest` is the default
    #[arg(long, value_name = "ID", conflicts_with = "last")]
    from: Option<From>,
    /// Begin with the newest N events that match
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// End after N events
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Print each event as one line of JSON: id, topic, type, time, key, data
    #[arg(long)]
    json: bool,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    connect: Connect,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Earliest,
    Latest,
    After(Cursor),
}

impl FromStr for From {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => text.parse().map(Self::After),
        }
    }
}

/// Prints events until `--count` is reached, standard output is closed or the gateway refuses.
///
/// # Errors
/// See [`CliError`].
pub async fn run(args: SubscribeArgs) -> Result<(), CliError> {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut stdout = io::stdout();
    let form = Form { json: args.json, terminal: stdout.is_terminal() };
    let mut console = Console::stderr(false);
    subscribe(&args, backoff, form, &mut stdout, &mut console).await
}

/// How an event is printed.
#[derive(Clone, Copy)]
struct Form {
    json: bool,
    terminal: bool,
}

async fn subscribe(
    args: &SubscribeArgs,
    backoff: Backoff,
    form: Form,
    stdout: &mut impl Write,
    console: &mut Console,
) -> Result<(), CliError> {
    let mut stream = open(args, backoff)?;
    let mut left = args.count.map_or(u64::MAX, NonZeroU64::get);
    loop {
        let mut printed = Vec::new();
        while left > 0
            && let Some(message) = stream.ready()
        {
            if message.kind.starts_with(EventType::RESERVED_PREFIX) {
                notice(&message, console);
            } else {
                form.print(&message, &mut printed);
                left -= 1;
            }
        }
        // One write for all that came together; nothing is held back while waiting.
        match stdout.write_all(&printed).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()), // `… | head`
            Err(error) => return Err(CliError::Failed(format!("cannot write: {error}"))),
            Ok(()) if left == 0 => return Ok(()),
            Ok(()) => {}
        }
        match stream.wait().await? {
            Change::Fed | Change::Open(None) => {}
            Change::Open(Some(outage)) => console.tell(&format!("connected again after {:.1} s", outage.as_secs_f64())),
            Change::Away(why, wait) => console.tell(&format!("{why}; again in {:.1} s", wait.as_secs_f64())),
            Change::End => return Ok(()),
        }
    }
}

fn open(args: &SubscribeArgs, backoff: Backoff) -> Result<Resuming, CliError> {
    let gateway = Gateway::new(&args.connect)?;
    let start = match (args.from, args.last) {
        (Some(From::Earliest), _) => Some(("lastEventId", "earliest".to_owned())),
        (Some(From::Latest), _) => Some(("lastEventId", "latest".to_owned())),
        (Some(From::After(cursor)), _) => Some(("lastEventId", cursor.to_string())),
        (None, Some(newest)) => Some(("last", newest.to_string())),
        (None, None) => None,
    };
    let start: Vec<_> = start.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let topics: Vec<String> = args.topics.iter().map(ToString::to_string).collect();
    // The start stays in the URL; as soon as an id is known, it goes before it (`Last-Event-ID` wins).
    let source = gateway.subscription(topics.iter().map(String::as_str), &start);
    Ok(Resuming::new(source, "", Some(Resuming::GATEWAY_SILENCE), backoff))
}

/// Says what the gateway says of the stream itself, if a reader has to know it.
pub(crate) fn notice(message: &Message, console: &mut Console) {
    #[derive(Deserialize)]
    struct Notice {
        reason: Option<String>,
        lost: Option<u64>,
    }
    let Ok(Notice { reason, lost }) = serde_json::from_str(&message.data) else { return };
    let reason = reason.unwrap_or_default();
    match message.kind.as_str() {
        "encke.gap" => {
            let lost = lost.map_or("some events are".to_owned(), |lost| format!("{lost} events are"));
            console.tell(&format!("gap ({reason}): {lost} missing here"));
        }
        "encke.bye" => console.note(&format!("the gateway ends the stream ({reason})")),
        _ => {}
    }
}

/// An event as `envelope=json` tells it, as far as it is needed here.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    encoding: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// An event's data as it was published.
enum Data {
    Text(String),
    Bytes(Vec<u8>),
}

impl Envelope<'_> {
    fn data(&self) -> Option<Data> {
        let media = self.content_type.as_deref().and_then(|text| ContentType::parse(text).ok());
        let string = || serde_json::from_str::<String>(self.data.get()).ok();
        match self.encoding.as_deref() {
            Some("base64") => BASE64_STANDARD.decode(string()?).ok().map(Data::Bytes),
            _ if media.is_some_and(|media| media.is_json()) => Some(Data::Text(self.data.get().to_owned())),
            _ => string().map(Data::Text),
        }
    }
}

impl Form {
    fn print(self, message: &Message, into: &mut Vec<u8>) {
        let known = serde_json::from_str::<Envelope<'_>>(&message.data).ok();
        match known.map(|envelope| envelope.data()) {
            Some(_) if self.json => self.print_line(&message.data, into),
            Some(Some(Data::Text(text))) => self.print_text(&text, into),
            Some(Some(Data::Bytes(bytes))) if self.terminal => {
                self.print_text(&format!("[{} bytes]", bytes.len()), into);
            }
            Some(Some(Data::Bytes(bytes))) => into.extend_from_slice(&bytes),
            // Not told as we asked: whatever stands between us and the gateway, its words are better than none.
            _ if self.json => {
                let Message { kind, data, id, .. } = message;
                self.print_line(&serde_json::json!({"id": id, "type": kind, "data": data}).to_string(), into);
            }
            _ => self.print_text(&message.data, into),
        }
    }

    fn print_text(self, text: &str, into: &mut Vec<u8>) {
        let text = if self.terminal { shown_lines(text) } else { text.into() };
        into.extend_from_slice(text.as_bytes());
        into.push(b'\n');
    }

    /// JSON on one line: a line end can only stand between its tokens, where a blank does as well.
    fn print_line(self, json: &str, into: &mut Vec<u8>) {
        let json = json.replace(['\r', '\n'], " ");
        into.extend_from_slice(if self.terminal { shown(&json) } else { json.into() }.as_bytes());
        into.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::test_server::{Reply, TestServer};

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: SubscribeArgs,
    }

    const PIPE: Form = Form { json: false, terminal: false };

    fn args(url: &str, more: &[&str]) -> SubscribeArgs {
        let url = format!("--url={url}");
        Command::try_parse_from(["subscribe", &url].into_iter().chain(more.iter().copied())).expect("arguments").args
    }

    async fn read(server: &TestServer, more: &[&str], form: Form) -> (Result<(), CliError>, String, String) {
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
        let (mut stdout, stderr) = (Vec::new(), crate::cli::test_server::Captured::default());
        let mut console = Console::to(stderr.clone());
        let outcome = subscribe(&args(&server.url(), more), backoff, form, &mut stdout, &mut console).await;
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
        outcome.expect("read to the count");
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

    #[tokio::test]
    async fn a_closed_standard_output_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let server = TestServer::start(|_, _| Reply::stream(&event(1, "\"x\"")).held_open()).await;
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let args = args(&server.url(), &["a"]);
        subscribe(&args, backoff, PIPE, &mut Closed, &mut Console::to(io::sink())).await.expect("quiet");
    }

    #[test]
    fn data_is_printed_as_it_was_published_and_cannot_steer_a_terminal() {
        let check = |envelope: &str, json: bool, terminal: bool, expected: &[u8]| {
            let message = Message { kind: "message".into(), data: envelope.into(), id: "1".into(), names_id: true };
            let mut printed = Vec::new();
            Form { json, terminal }.print(&message, &mut printed);
            assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(expected), "{envelope}");
            assert_eq!(printed, expected);
        };
        check(r#"{"data":"a\nb\u001b[2J"}"#, false, false, b"a\nb\x1b[2J\n");
        check(r#"{"data":"a\nb\u001b[2J"}"#, false, true, b"a\nb\\u001b[2J\n");
        check(r#"{"contentType":"application/json","data":{"x": [1]}}"#, false, false, b"{\"x\": [1]}\n");
        check(r#"{"contentType":"application/json","data":"text"}"#, false, false, b"\"text\"\n");
        check(r#"{"contentType":"image/x","encoding":"base64","data":"/wA="}"#, false, false, b"\xff\0");
        check(r#"{"contentType":"image/x","encoding":"base64","data":"/wA="}"#, false, true, b"[2 bytes]\n");
        check("{\"data\":{\n\"a\":1}}", true, false, b"{\"data\":{ \"a\":1}}\n");
        check("{\"data\":\"\u{9b}1m\"}", true, true, b"{\"data\":\"\\u009b1m\"}\n");
        check("plain", false, false, b"plain\n");
        check("plain", true, false, b"{\"data\":\"plain\",\"id\":\"1\",\"type\":\"message\"}\n");
    }

    #[test]
    fn start_positions_are_read_or_refused() {
        let parse = |more: &[&str]| Command::try_parse_from(["subscribe", "a"].iter().chain(more)).map(|c| c.args.from);
        assert_eq!(parse(&["--from=latest"]).expect("a start"), Some(From::Latest));
        assert!(matches!(parse(&["--from=abcdefgh-3"]), Ok(Some(From::After(_)))));
        for wrong in [&["--from=x"][..], &["--from=latest", "--last=3"], &["--count=0"], &["**a"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
