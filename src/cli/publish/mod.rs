//! `encke publish TOPIC [DATA|-]`: one event, and its cursor on standard output. With `--lines` or `--ndjson` as many as
//! there are lines, and the cursor of the last one (see `many`).

mod batch;
mod many;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use self::batch::Lines;
use self::many::Input;
use super::backoff::Backoff;
use super::client::Gateway;
use super::console::{Console, shown};
use super::problem::Failure;
use super::stop::{self, Signal};
use super::{CliError, Connect, EXIT_CODES, Kind, lifetime};
use crate::event::{ContentType, Event, Key, Topic};

/// The most that is read from standard input, in bytes. The gateway's own limit is lower and told by itself.
const MAX_DATA: u64 = 64 << 20;

/// Publish an event, or one for each line of a file, and print its id
///
/// Many events go out in order, some hundreds at a time; the id of the last one is printed. What fails is sent again for a
/// minute where nothing can be stored twice by that: lines with keys can be sent again safely, also by you.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct PublishArgs {
    /// The topic; with --ndjson, that of events which name none
    #[arg(value_name = "TOPIC", value_parser = Topic::parse, required_unless_present = "ndjson")]
    topic: Option<Topic>,
    /// The event's data; without it, or with `-`, standard input is read to its end, byte for byte
    #[arg(value_name = "DATA", conflicts_with_all = ["lines", "ndjson"])]
    data: Option<String>,
    /// Publish each line of a file, or of standard input, as an event
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "ndjson")]
    lines: Option<PathBuf>,
    /// Publish each line of a file, or of standard input, which is an event as an object of JSON: topic or topics, data,
    /// and if you like type, contentType, encoding, key, ttl, private, conflate
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-",
        conflicts_with_all = ["topics", "kind", "key", "content_type", "ttl", "conflate", "private"])]
    ndjson: Option<PathBuf>,
    /// A further topic of the same event (repeatable); the first one is canonical
    #[arg(long = "topic", value_name = "TOPIC", value_parser = Topic::parse)]
    topics: Vec<Topic>,
    /// The event's type; `message` if none is given
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Your own identity for this event: published again with the same key, it is recognised and not stored twice. With
    /// --lines, line N has the key KEY-N
    #[arg(long, value_name = "KEY", value_parser = Key::parse)]
    key: Option<Key>,
    /// The media type of the data; UTF-8 text if none is given
    #[arg(long, value_name = "TYPE/SUBTYPE", value_parser = ContentType::parse)]
    content_type: Option<ContentType>,
    /// How long the event is worth delivering: seconds, or 90s, 5m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    ttl: Option<Duration>,
    /// Of events with the same key here only the newest counts, to readers who ask for that
    #[arg(long, value_name = "KEY", value_parser = Key::parse)]
    conflate: Option<Key>,
    /// Only for readers who hold a key
    #[arg(long)]
    private: bool,
    /// Tell at the end how much was published
    #[arg(long, short)]
    verbose: bool,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    connect: Connect,
}

/// Publishes one event, once: whoever wants to try again gives it a key, so that it cannot be stored twice. Or one for each
/// line, until the end of the input or SIGINT or SIGTERM.
///
/// # Errors
/// See [`CliError`].
pub async fn run(args: PublishArgs) -> Result<(), CliError> {
    let mut console = Console::stderr(args.verbose);
    let path = args.lines.as_ref().or(args.ndjson.as_ref());
    let reads_stdin =
        path.map_or_else(|| args.data.as_deref().is_none_or(|data| data == "-"), |path| path.as_os_str() == "-");
    if reads_stdin && std::io::stdin().is_terminal() {
        console.note("reading from the terminal; end with Ctrl-D");
    }
    let Some(path) = path.cloned() else {
        return publish(args, tokio::io::stdin(), &mut std::io::stdout(), &mut console).await;
    };
    let signal = stop::signal().map_err(|error| CliError::Failed(format!("cannot wait for signals: {error}")))?;
    let input = Input::open(&path)?;
    let pace = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    publish_many(args, input, pace, &mut std::io::stdout(), &mut console, signal).await
}

async fn publish_many(
    args: PublishArgs,
    input: Input,
    pace: Backoff,
    stdout: &mut impl Write,
    console: &mut Console,
    signal: impl Future<Output = Signal>,
) -> Result<(), CliError> {
    let gateway = Gateway::new(&args.connect)?;
    let lines = match args.lines {
        None => Lines::Objects(args.topic),
        Some(_) => Lines::Data(Box::new(event(args, Bytes::new())?)),
    };
    let sum = many::publish(&gateway, lines, input, pace, console, signal).await?;
    sum.last.map_or(Ok(()), |last| print_id(&last, stdout))?;
    if sum.refused > 0 { Err(CliError::Incomplete { refused: sum.refused, gaps: 0 }) } else { Ok(()) }
}

async fn publish(
    args: PublishArgs,
    stdin: impl AsyncRead + Unpin,
    stdout: &mut impl Write,
    console: &mut Console,
) -> Result<(), CliError> {
    let gateway = Gateway::new(&args.connect)?;
    let data = match &args.data {
        Some(data) if data != "-" => Bytes::copy_from_slice(data.as_bytes()),
        _ => standard_input(stdin).await?,
    };
    let mut event = event(args, data)?;
    event.content_type = event.content_type.or_else(|| of_bytes(&event.data));
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
    print_id(&receipt.id, stdout)
}

fn print_id(id: &str, stdout: &mut impl Write) -> Result<(), CliError> {
    match writeln!(stdout, "{}", shown(id)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write the id: {error}")))
        }
        _ => Ok(()),
    }
}

/// An event with this data, as the arguments say.
fn event(args: PublishArgs, data: Bytes) -> Result<Event, CliError> {
    let topic = args.topic.ok_or_else(|| CliError::Usage("name a topic".into()))?;
    let mut event = Event::new(topic, data);
    for topic in args.topics {
        if !event.topics.contains(&topic) {
            event.topics.push(topic);
        }
    }
    event.kind = args.kind.unwrap_or_default().0;
    event.key = args.key;
    event.content_type = args.content_type;
    event.ttl = args.ttl;
    event.conflate = args.conflate;
    event.private = args.private;
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
