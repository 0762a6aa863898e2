//! `encke subscribe TOPIC…`: events on standard output, one after the other, for ever; or what there is now, with `--once`.
//!
//! It reads the event stream with `envelope=json`, by which it knows each event's content type; `once` reads page by page.
//! How an event looks is decided in `form`, and `place` remembers how far a run came.
//!
//! Invariant: the place that is remembered is never ahead of what was written and flushed. So a run that is killed
//! anywhere loses nothing, and at worst prints again what it had printed last.

mod form;
mod once;
mod place;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use anstream::AutoStream;
use clap::ColorChoice;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use self::form::Form;
use self::place::Place;
use super::backoff::Backoff;
use super::client::Gateway;
use super::console::Console;
use super::event_stream::Message;
use super::resuming::{Change, Resuming};
use super::stop::{self, Signal, Stop};
use super::{CliError, Connect, EXIT_CODES, Kind, age};
use crate::event::{Cursor, EventType, ParseCursorError, TopicSelector};

/// Print the events of topics as they come; resume by itself whenever the stream is cut
///
/// Text is printed as it is, with a line end; other bytes as they are. On a terminal control and bidi characters are
/// escaped, bytes counted, and each event's time, id, topic and type shown where several topics are read.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct SubscribeArgs {
    /// A topic, or a glob: `*` is one segment between slashes, a last `**` one or more
    #[arg(value_name = "TOPIC", required = true, value_parser = TopicSelector::parse)]
    topics: Vec<TopicSelector>,
    /// Begin after this id, or with the `earliest` event there is; `latest` is the default
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "last"])]
    from: Option<From>,
    /// Begin with the first event since then: a time ago (90s, 5m, 2h, 1d), or as RFC 3339 (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "last")]
    since: Option<String>,
    /// Begin with the newest N events that match
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    last: Option<u64>,
    /// First the newest event of each topic or conflation key, then what comes
    #[arg(long)]
    snapshot: bool,
    /// Only the newest event of each topic or conflation key, where several wait
    #[arg(long)]
    conflate: bool,
    /// Only events of this type (repeatable); `message` is those without one
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<Kind>,
    /// End after N events
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Print what is there and end, instead of waiting for more
    #[arg(long)]
    once: bool,
    /// End after this time (10s, 5m, 2h); if --count was not reached by then, with exit code 124
    #[arg(long, value_name = "TIME", value_parser = age)]
    timeout: Option<Duration>,
    /// A file that remembers how far this command got, so that it goes on there when it is started again; it wins over
    /// --from, --since and --last. What was printed just before a crash may be printed again, nothing is left out
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Print each event as one line of JSON: id, topic, type, time, key, data; gaps too
    #[arg(long)]
    json: bool,
    /// Show time, id, topic and type before the data; without it only on a terminal, and where several topics are read
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
    /// Whether those are coloured
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
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

/// A start in time, in the words of the gateway.
fn since(text: &str) -> Result<String, String> {
    let known = age(text).is_ok() || OffsetDateTime::parse(text, &Rfc3339).is_ok();
    known.then(|| text.to_owned()).ok_or_else(|| "use a form like 5m, 2h, 1d or 2026-01-31T12:00:00Z".into())
}

/// Prints events until `--count` or `--timeout` is reached, standard output is closed, SIGINT or SIGTERM comes, or the gateway
/// refuses.
///
/// # Errors
/// See [`CliError`].
pub async fn run(args: SubscribeArgs) -> Result<(), CliError> {
    let signal = stop::signal().map_err(|error| CliError::Failed(format!("cannot wait for signals: {error}")))?;
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let form = args.form(&io::stdout());
    let mut console = Console::stderr(false);
    // Not the blocking one: a reader that does not read must not keep us from hearing the signals.
    let wish = async {
        tokio::select! {
            signal = signal => Why::Signal(signal),
            () = stop::unread() => Why::Unread,
        }
    };
    subscribe(&args, backoff, form, &mut tokio::io::stdout(), &mut console, wish).await
}

async fn subscribe(
    args: &SubscribeArgs,
    backoff: Backoff,
    form: Form,
    stdout: &mut (impl AsyncWrite + Unpin),
    console: &mut Console,
    wish: impl Future<Output = Why>,
) -> Result<(), CliError> {
    let place = args.state.clone().map_or_else(|| Ok(Place::forgotten()), Place::open)?;
    let left = args.count.map_or(u64::MAX, NonZeroU64::get);
    let mut printer = Printer { form, stdout, console, place, left, gaps: 0 };
    let time_up = async {
        match args.timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let why = Cell::new(None);
    let wish = pin!(async {
        why.set(Some(tokio::select! {
            why = wish => why,
            () = time_up => Why::TimeUp,
        }));
    });
    let ended = read(args, backoff, &mut printer, &mut Stop::new(wish)).await;
    ended.and(printer.place.save())?;
    match (why.get(), args.count) {
        (Some(Why::Signal(Signal::Interrupt)), _) => Err(CliError::Interrupted),
        (Some(Why::Signal(Signal::Terminate)), _) => Ok(()), // It was asked to end, and ended in order.
        (Some(Why::TimeUp), Some(count)) if printer.left > 0 => {
            Err(CliError::TimeUp { missing: printer.left, of: count.get() })
        }
        _ if printer.gaps > 0 => Err(CliError::Incomplete { refused: 0, gaps: printer.gaps }),
        _ => Ok(()),
    }
}

/// Why it ends before there is nothing left to read.
#[derive(Clone, Copy, Debug)]
enum Why {
    Signal(Signal),
    TimeUp,
    /// Nobody reads what it prints.
    Unread,
}

/// How long a write to somebody who does not read may still take then.
const WRITE_GRACE: Duration = Duration::from_secs(1);

async fn read(
    args: &SubscribeArgs,
    backoff: Backoff,
    printer: &mut Printer<'_, impl AsyncWrite + Unpin>,
    stop: &mut Stop<'_, impl Future<Output = ()>>,
) -> Result<(), CliError> {
    let gateway = Gateway::new(&args.connect)?;
    let topics: Vec<String> = args.topics.iter().map(ToString::to_string).collect();
    let topics = topics.iter().map(String::as_str);
    let parameters = args.parameters();
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if args.once {
        return once::read(&gateway, topics, &parameters, printer, stop).await;
    }
    // The start stays in the URL; as soon as an id is known, it goes before it (`Last-Event-ID` wins).
    let source = gateway.subscription(topics, &parameters);
    let stream = Resuming::new(source, printer.place.reached(), Some(Resuming::GATEWAY_SILENCE), backoff);
    follow(stream, printer, stop).await
}

/// Prints what the stream brings, for as long as it goes on.
async fn follow(
    mut stream: Resuming,
    printer: &mut Printer<'_, impl AsyncWrite + Unpin>,
    stop: &mut Stop<'_, impl Future<Output = ()>>,
) -> Result<(), CliError> {
    loop {
        let mut printed = Vec::new();
        while printer.left > 0
            && let Some(message) = stream.ready()
        {
            printer.print(&message, &mut printed);
        }
        if printer.write(&printed, stream.last_event_id(), stop).await?.is_over() {
            return Ok(());
        }
        let due = printer.place.due();
        let waited = stop.cuts(async {
            match due {
                None => Some(stream.wait().await),
                Some(due) => tokio::time::timeout_at(due, stream.wait()).await.ok(),
            }
        });
        let change = match waited.await {
            None => return Ok(()),
            Some(Some(change)) => change?,
            Some(None) => {
                printer.place.save()?;
                continue;
            }
        };
        let console = &mut *printer.console;
        match change {
            Change::Fed | Change::Open(None) => {}
            Change::Open(Some(outage)) => console.tell(&format!("connected again after {:.1} s", outage.as_secs_f64())),
            Change::Away(why, wait) => console.tell(&format!("{why}; again in {:.1} s", wait.as_secs_f64())),
            Change::End => return Ok(()),
        }
    }
}

impl SubscribeArgs {
    /// How events look on this output.
    fn form(&self, stdout: &io::Stdout) -> Form {
        let terminal = stdout.is_terminal();
        let several = self.topics.len() > 1 || self.topics.iter().any(|topic| topic.to_string().contains('*'));
        let colour = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            // It knows NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM.
            ColorChoice::Auto => AutoStream::choice(stdout) != anstream::ColorChoice::Never,
        };
        Form { json: self.json, terminal, heads: self.verbose || (terminal && several), colour }
    }

    /// What the gateway is asked for beside the topics.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let from = self.from.map(|from| match from {
            From::Earliest => "earliest".to_owned(),
            From::Latest => "latest".to_owned(),
            From::After(cursor) => cursor.to_string(),
        });
        let flag = |set: bool| set.then(|| "1".to_owned());
        let one = [
            ("lastEventId", from),
            ("since", self.since.clone()),
            ("last", self.last.map(|newest| newest.to_string())),
            ("snapshot", flag(self.snapshot)),
            ("conflate", flag(self.conflate)),
        ];
        let kinds = self.kinds.iter().map(|Kind(kind)| kind.as_ref().map_or("message", EventType::as_str).to_owned());
        let kinds = kinds.map(|kind| ("type", kind));
        one.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(kinds).collect()
    }
}

/// Where events go.
struct Printer<'a, W> {
    form: Form,
    stdout: &'a mut W,
    console: &'a mut Console,
    place: Place,
    /// How many events are still to be printed.
    left: u64,
    /// How many gaps were told.
    gaps: u64,
}

/// Whether there is a reason to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Over,
}

impl Flow {
    fn is_over(self) -> bool {
        self == Self::Over
    }
}

impl<W: AsyncWrite + Unpin> Printer<'_, W> {
    /// Appends an event to what is to be written, or tells what the gateway says of the stream itself.
    fn print(&mut self, message: &Message, into: &mut Vec<u8>) {
        if !message.kind.starts_with(EventType::RESERVED_PREFIX) {
            self.form.print(message, into);
            self.left -= 1;
            return;
        }
        notice(message, self.console);
        if message.kind == GAP {
            self.gaps += 1;
            self.form.print_gap(message, into);
        }
    }

    /// Writes what came together, at once; `id` is the place behind it. What is not written whole is not counted as printed:
    /// the next run prints it again.
    async fn write(
        &mut self,
        printed: &[u8],
        id: &str,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<Flow, CliError> {
        let written = stop.lets_end_within(WRITE_GRACE, async {
            self.stdout.write_all(printed).await?;
            self.stdout.flush().await
        });
        match written.await {
            None => return Ok(Flow::Over),
            Some(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Flow::Over), // `… | head`
            Some(Err(error)) => return Err(CliError::Failed(format!("cannot write: {error}"))),
            Some(Ok(())) => {}
        }
        self.place.reach(id);
        Ok(if self.left == 0 { Flow::Over } else { Flow::On })
    }
}

/// The type of the message that tells of a gap.
const GAP: &str = "encke.gap";

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
        GAP => {
            let lost = match lost {
                None => "events may be".to_owned(),
                Some(1) => "1 event is".to_owned(),
                Some(lost) => format!("{lost} events are"),
            };
            console.tell(&format!("gap ({reason}): {lost} missing here"));
        }
        "encke.bye" => console.note(&format!("the gateway ends the stream ({reason})")),
        _ => {}
    }
}
