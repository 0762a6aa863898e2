//! `encke tail FILE|URL|-`: each line, or each event of another stream, becomes an event; in order, and once.
//!
//! A piece is sent until the gateway has acknowledged it, and the next one waits for that: so order holds over every
//! failure. All attempts carry the same key, so an acknowledgement that was lost on its way costs nothing but time, for
//! as long as the gateway remembers the key. That is why a stop waits for the answer to what was sent.
//!
//! Deliberately absent: batches. One request at a time over a connection that is kept keeps the rule above plain.

mod follow;
#[cfg(feature = "fuzzing")]
pub(in crate::cli) mod fuzzing;
mod input;
mod rotated;
mod state;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use self::follow::{Follow, Start};
use self::input::{Input, Piece, ReaderInput, Ready, StreamInput, is_url};
use self::state::{Keys, State, StateFile, identity};
use super::backoff::Backoff;
use super::client::{Gateway, Receipt, Source};
use super::console::Console;
use super::problem::Failure;
use super::publish::of_bytes;
use super::resuming::Resuming;
use super::stop::{self, Signal, Stop};
use super::{CliError, Connect, EXIT_CODES, Kind, Secret};
use crate::event::{ContentType, Event, Publisher, Topic, Topics};

/// The least time between two writes of the state while lines come without a pause.
const STATE_INTERVAL: Duration = Duration::from_millis(200);
/// The longest wait that a busy gateway may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The least time between two looks at how fast it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Publish each line of a growing file, of standard input, or each event of another event stream
///
/// Lines are published in order and once each: an attempt that failed is repeated under the same key until the gateway
/// has acknowledged it. A file is followed like `tail -F` does: from its end, over truncation and rotation. Lines that
/// are not UTF-8 are published as application/octet-stream, empty lines as empty events. SIGTERM and SIGINT let the
/// line in flight be acknowledged, for five seconds at most.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct TailArgs {
    /// A file, the http(s) URL of an event stream, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    input: Secret,
    /// The topic to publish to (repeatable: all are topics of each event; the first one is canonical)
    #[arg(long = "topic", value_name = "TOPIC", required = true, value_parser = Topic::parse)]
    topics: Vec<Topic>,
    /// The events' type; events of a stream that have one keep their own
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// The media type of the lines; UTF-8 text if none is given
    #[arg(long, value_name = "TYPE/SUBTYPE", value_parser = ContentType::parse)]
    content_type: Option<ContentType>,
    /// Begin with the first line of the file (default: with the next one that is written)
    #[arg(long)]
    from_start: bool,
    /// Stop at the end of the file or stream instead of waiting for more
    #[arg(long)]
    once: bool,
    /// A file that remembers how far this tail got, so that it goes on there when it is started again (and looks for
    /// the file that it was reading beside its path, should it have been rotated meanwhile)
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Cut longer lines after so many bytes, and say so
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = line_limit)]
    max_line: usize,
    /// Tell what happens to the file, and at the end how much was published
    #[arg(long, short)]
    verbose: bool,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    connect: Connect,
}

fn line_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 16..=0x400_0000) => Ok(bytes),
        _ => Err("between 16 bytes and 64 MiB".into()),
    }
}

/// Publishes until the input ends (a file: only with `--once`), SIGINT or SIGTERM comes, or the gateway refuses for a
/// reason that would meet every line.
///
/// # Errors
/// See [`CliError`].
pub async fn run(args: TailArgs) -> Result<(), CliError> {
    let console = Console::stderr(args.verbose);
    let stop = stop::signal().map_err(|error| CliError::Failed(format!("cannot wait for signals: {error}")))?;
    let pace = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let (mut tail, mut input) = Tail::new(args, pace, console)?;
    let interrupted = Cell::new(false);
    tail.run(&mut input, async { interrupted.set(stop.await == Signal::Interrupt) }).await?;
    if interrupted.get() { Err(CliError::Interrupted) } else { Ok(()) }
}

struct Tail {
    gateway: Gateway,
    template: Event,
    keys: Keys,
    pace: Backoff,
    state: Option<StateFile>,
    state_due: Instant,
    acknowledged: Option<State>,
    console: Console,
    progress: Progress,
}

impl Tail {
    fn new(args: TailArgs, pace: Backoff, console: Console) -> Result<(Self, Input), CliError> {
        let gateway = Gateway::new(&args.connect)?;
        let state = args.state.clone().map(StateFile::open).transpose()?;
        let input = input(&args, state.as_ref().and_then(StateFile::state))?;
        let mut topics = Topics::new();
        for topic in args.topics {
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        let kind = args.kind.unwrap_or_default().0;
        let keys = Keys::new(&topics, kind.as_ref());
        let template = Event {
            topics,
            kind,
            data: Default::default(),
            content_type: args.content_type,
            key: None,
            ttl: None,
            conflate: None,
            private: false,
            publisher: Publisher::Key,
        };
        let (state_due, acknowledged, progress) = (Instant::now(), None, Progress::new());
        Ok((Self { gateway, template, keys, pace, state, state_due, acknowledged, console, progress }, input))
    }

    async fn run(&mut self, input: &mut Input, stop: impl Future<Output = ()>) -> Result<(), CliError> {
        let outcome = self.publish_all(input, &mut Stop::new(pin!(stop))).await;
        let outcome = outcome.and(self.save());
        self.console.note(&self.progress.summary());
        match (outcome, self.progress.refused, input.gaps()) {
            (Ok(()), 0, 0) => Ok(()),
            (Ok(()), refused, gaps) => Err(CliError::Incomplete { refused, gaps }),
            (outcome, ..) => outcome,
        }
    }

    async fn publish_all(
        &mut self,
        input: &mut Input,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<(), CliError> {
        while !stop.has_come().await {
            match input.ready(&mut self.console)? {
                Ready::Piece(piece) => {
                    let event = self.event(piece);
                    if !self.deliver(&event, stop).await? {
                        return Ok(());
                    }
                    self.note(input)?;
                    if Instant::now() >= self.state_due {
                        self.save()?;
                    }
                }
                Ready::Idle => {
                    self.note(input)?;
                    self.save()?;
                    stop.cuts(input.wait(&mut self.console)).await.transpose()?;
                }
                Ready::End => return self.note(input),
            }
        }
        Ok(())
    }

    fn event(&mut self, piece: Piece) -> Event {
        if piece.cut > 0 {
            self.console.tell(&format!("a line is {} bytes too long: they are cut off", piece.cut));
        }
        let mut event = self.template.clone();
        event.key = Some(self.keys.key(&piece.source, &piece.position, &piece.data));
        event.content_type = of_bytes(&piece.data).or(event.content_type);
        event.kind = piece.kind.or(event.kind);
        event.data = piece.data;
        event
    }

    /// Sends one event until it is acknowledged, or refused for good; or, `false`, until it is to stop.
    async fn deliver(
        &mut self,
        event: &Event,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<bool, CliError> {
        let mut pace = self.pace.clone();
        let mut outage = None;
        loop {
            let Some(answer) = stop.lets_end(self.gateway.publish(event)).await else { return Ok(false) };
            let (why, after) = match answer {
                Ok(receipt) => {
                    if let Some(since) = outage {
                        self.tell_back(since);
                    }
                    self.progress.published(&receipt, &mut self.console);
                    return Ok(true);
                }
                Err(Failure::Refused(problem)) if concerns_one_event(problem.status) => {
                    self.console.tell(&format!("one event is refused and left out: {problem}"));
                    self.progress.refused += 1;
                    return Ok(true);
                }
                Err(Failure::Refused(problem)) => return Err(CliError::Refused(problem)),
                Err(Failure::Later { problem, after }) => (problem.to_string(), after.unwrap_or_default()),
                Err(Failure::Away(why)) => (why, Duration::ZERO),
            };
            if outage.is_none() {
                outage = Some(Instant::now());
                self.console.tell(&format!("{}: {why}; trying until it answers", self.gateway));
                self.save()?; // It may be long, and we may not live to its end.
            }
            let pause = tokio::time::sleep(pace.after_failure().max(after.min(MAX_WAIT)));
            if stop.cuts(pause).await.is_none() {
                return Ok(false);
            }
        }
    }

    fn tell_back(&mut self, since: Instant) {
        self.console.tell(&format!("{} is back after {:.1} s", self.gateway, since.elapsed().as_secs_f64()));
    }

    /// Notes how far the input was read: only to be called when all of that is acknowledged.
    fn note(&mut self, input: &mut Input) -> Result<(), CliError> {
        if self.state.is_some() {
            self.acknowledged = input.state()?.or(self.acknowledged.take());
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), CliError> {
        self.state_due = Instant::now() + STATE_INTERVAL;
        match (&mut self.state, &self.acknowledged) {
            (Some(file), Some(state)) => file.save(state.clone()),
            _ => Ok(()),
        }
    }
}

/// Statuses that speak of the content that was sent: bad request, too large, its media type, unprocessable. Any other
/// refusal (no credential, no such route) would meet every further line as well.
fn concerns_one_event(status: u16) -> bool {
    matches!(status, 400 | 413 | 415 | 422)
}

/// Opens what the arguments name, where the state says.
fn input(args: &TailArgs, state: Option<&State>) -> Result<Input, CliError> {
    let other = || CliError::Usage("the state file belongs to another input".into());
    let name = args.input.0.as_str();
    if name == "-" || is_pipe(name) {
        if args.state.is_some() {
            return Err(CliError::Usage("--state needs an input that can be read again: a file or a URL".into()));
        }
        let path = PathBuf::from(name);
        return Ok(Input::Reader(match name {
            "-" => ReaderInput::new(|| Ok(io::stdin()), args.max_line),
            _ => ReaderInput::new(|| File::open(path), args.max_line),
        }));
    }
    if is_url(name) {
        if args.from_start {
            return Err(CliError::Usage(
                "--from-start is for files; a gateway's stream begins with its first event by ?lastEventId=earliest"
                    .into(),
            ));
        }
        let source = Source::new(name)?;
        let last_event_id = match state {
            None => "",
            Some(State::Stream { url, last_event_id }) if *url == identity(source.identity()) => last_event_id,
            Some(_) => return Err(other()),
        };
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        // No watchdog before a hello names a heartbeat: another server may be silent for as long as it likes.
        let stream = Resuming::new(source, last_event_id, None, backoff);
        return Ok(Input::Stream(Box::new(StreamInput::new(stream, args.once))));
    }
    let start = match state {
        Some(State::File(place)) => Start::At(place.clone()),
        Some(State::Stream { .. }) => return Err(other()),
        None if args.from_start => Start::Beginning,
        None => Start::End,
    };
    let follow = Follow::new(name.into(), start, args.once, args.max_line).leaving_unfinished(args.state.is_some());
    Ok(Input::File { follow, name: name.to_owned() })
}

/// Whether the path names a pipe or a device, which can be read only once and has no end to begin from.
fn is_pipe(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// How much was published, and how fast.
struct Progress {
    began: Instant,
    shown: Instant,
    shown_at: u64,
    published: u64,
    repeated: u64,
    refused: u64,
}

impl Progress {
    fn new() -> Self {
        let began = Instant::now();
        Self { began, shown: began, shown_at: 0, published: 0, repeated: 0, refused: 0 }
    }

    fn published(&mut self, receipt: &Receipt, console: &mut Console) {
        self.published += 1;
        self.repeated += u64::from(receipt.duplicate);
        let elapsed = self.shown.elapsed();
        if elapsed >= PROGRESS_INTERVAL {
            let rate = Duration::from_secs(self.published - self.shown_at).div_duration_f64(elapsed);
            console.progress(&format!("{} events, {rate:.0}/s", self.published));
            (self.shown, self.shown_at) = (Instant::now(), self.published);
        }
    }

    fn summary(&self) -> String {
        let Self { published, repeated, refused, .. } = self;
        let seconds = self.began.elapsed().as_secs_f64();
        format!("{published} events published ({repeated} of them again), {refused} refused, in {seconds:.1} s")
    }
}

#[cfg(test)]
mod tests;
