//! `encke bench URL`: loads an event stream, and says what came of it.
//!
//! Many readers connect (`worker`, `reader`, `line`), a few publishers send stamped events (`publisher`, `stamp`), and of
//! each reader a ledger is kept (`tally`, `ledger`), so that what was lost, doubled or reordered is known exactly. `course` is
//! one run from the first connection to the last event; `report` and `json` tell what came of it.
//!
//! HTTP/1.1 is spoken by hand (`wire`): thousands of streams cost a socket and a few hundred bytes each.
//! Deliberately absent: proxies, cookies, redirects. A load that goes somewhere else than was said is worth nothing.

mod carriage;
mod contents;
mod course;
mod cpu;
mod descriptors;
mod histogram;
mod json;
mod latch;
mod ledger;
mod line;
mod order;
mod publisher;
mod reader;
mod report;
mod stamp;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod worker;

use std::cell::Cell;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use self::carriage::{Carriage, Transport};
use self::course::{Plan, Publishing, Run};
use self::stamp::Stamp;
use super::console::Console;
use super::stop::{self, Signal, Stop};
use super::{AGENT, CliError, Credentials, EXIT_CODES, Secret, time};
use crate::cli::wire::request::field;
use crate::cli::wire::target::Target;
use crate::event::Topic;

/// Load an event stream with many connections; report rate, loss and latency
///
/// Any server's event stream will do. With --topic the URL is a gateway's, and any of its transports can be read; with
/// --publish-rate events are published there, and what was lost, doubled or reordered is known exactly. The report goes to
/// standard output; on a terminal a line shows how it goes. Ctrl-C ends it early, with the report.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct BenchArgs {
    /// The event stream; with --topic the gateway, with its base path if it has one
    #[arg(value_name = "URL")]
    url: Secret,
    /// The topic to read, and to publish to
    #[arg(long, value_name = "TOPIC", value_parser = Topic::parse)]
    topic: Option<Topic>,
    /// How many streams are read at once; each is a connection
    #[arg(long, value_name = "N", default_value = "10")]
    connections: NonZeroUsize,
    /// How many connections are opened a second
    #[arg(long, value_name = "RATE", default_value = "1000", value_parser = per_second)]
    connect_rate: f64,
    /// For how long it is measured, once all have connected: seconds, or 90s, 5m, 2h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// How long events may take that are still missing then; a reader that was cut comes back after some seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    wait: Duration,
    /// By which transport: sse, ndjson, long-poll, poll, multipart-replace, multipart-mixed; poll:5s says how often. Several,
    /// separated by commas, are measured one after the other and told in a table
    #[arg(long, value_name = "NAME", default_value = "sse", value_delimiter = ',')]
    transport: Vec<Carriage>,
    /// How often each reader polls, where --transport does not say
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    interval: Duration,
    /// How many events are published a second, evenly; also less than one (0.2)
    #[arg(long, value_name = "RATE", value_parser = per_second, requires = "topic")]
    publish_rate: Option<f64>,
    /// How many share in that, each with one event at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    publishers: u32,
    /// How large the data of each event is
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = payload)]
    payload_bytes: usize,
    /// A header field of every request, as 'Name: value' (repeatable)
    #[arg(long, value_name = "FIELD", value_parser = field)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Speak HTTP/2: by prior knowledge where the URL is http://
    #[arg(long)]
    http2: bool,
    /// How many streams share a connection of HTTP/2
    #[arg(long, value_name = "N", default_value = "100", requires = "http2")]
    streams: NonZeroUsize,
    /// How many threads read
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// The server's process, if it is on this machine: what it uses of the processor is told, too
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    credentials: Credentials,
}

/// A rate, also below one.
fn per_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "use a number a second, from 0.001 to 1000000".into())
}

fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (Stamp::MAX_LEN..=1 << 20).contains(bytes));
    bytes.ok_or_else(|| format!("use {} to {} bytes: the beginning says which event it is", Stamp::MAX_LEN, 1 << 20))
}

/// Runs once over each transport, or until SIGINT or SIGTERM comes, and prints what came of it.
///
/// # Errors
/// See [`CliError`]; also that events were lost, doubled or reordered.
pub async fn run(args: BenchArgs) -> Result<(), CliError> {
    let signal = stop::signal().map_err(|error| CliError::Failed(format!("cannot wait for signals: {error}")))?;
    let mut console = Console::stderr(false);
    let plan = args.plan()?;
    descriptors::allow(plan.connections.div_ceil(plan.streams.unwrap_or(1)))?;
    let came = Cell::new(None);
    let wish = pin!(async { came.set(Some(signal.await)) });
    let mut stop = Stop::new(wish);
    let mut runs: Vec<Run> = Vec::new();
    for carriage in &args.transport {
        if stop.has_come().await {
            break;
        }
        let run = match course::run(&plan, *carriage, &mut console, &mut stop).await {
            Err(CliError::Interrupted) => break,
            run => run?,
        };
        run.warnings(&plan).iter().for_each(|warning| console.tell(warning));
        if args.transport.len() > 1 && !args.json {
            console.note(&format!("{}: done", run.carriage));
        }
        runs.push(run);
    }
    drop(console); // Its line goes before the report comes.
    if !runs.is_empty() {
        print(&args.report(&plan, &runs))?;
    }
    let sum = |count: fn(&Run) -> u64| runs.iter().map(count).sum::<u64>();
    let (lost, doubled) = (sum(Run::missing), sum(|run| run.counts.doubled));
    let reordered = sum(|run| run.counts.reordered);
    match came.get() {
        _ if lost + doubled + reordered > 0 => Err(CliError::Wrong { lost, doubled, reordered }),
        Some(Signal::Interrupt) => Err(CliError::Interrupted),
        Some(Signal::Terminate) | None => Ok(()),
    }
}

/// Prints the report. Whoever closed the other end has read enough.
fn print(report: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

impl BenchArgs {
    fn plan(&self) -> Result<Plan, CliError> {
        let other = self.transport.iter().find(|carriage| carriage.transport != Transport::Sse);
        if let (Some(other), None) = (other, &self.topic) {
            let name = other.transport.name();
            let words = format!("{name} is a gateway's: name the gateway by its URL, and what to read with --topic");
            return Err(CliError::Usage(words));
        }
        let publishing =
            self.publish_rate.map(|rate| Publishing { rate, publishers: self.publishers, bytes: self.payload_bytes });
        Ok(Plan {
            target: Target::new(AGENT, &self.url.0, self.topic.clone(), &self.credentials, &self.header)?,
            ca: self.credentials.ca.clone(),
            connections: self.connections.get(),
            connect_rate: self.connect_rate,
            duration: self.duration,
            wait: self.wait,
            interval: self.interval,
            publishing,
            streams: self.http2.then_some(self.streams.get()),
            threads: self.threads.get(),
            pid: self.pid,
        })
    }

    fn report(&self, plan: &Plan, runs: &[Run]) -> String {
        match runs {
            _ if self.json => json::report(plan, runs),
            [run] if self.transport.len() == 1 => run.text(plan),
            runs => report::table(runs),
        }
    }
}
