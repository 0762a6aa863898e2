//! Many events, a line each: sent in requests of some hundreds, one after the other, so that order holds and every answer
//! says what is stored.
//!
//! While one request is on its way the next lines gather, as far as [`Batch`] holds: a slow input goes out line by line,
//! a fast one in large pieces. A request that failed is sent again if no line can be stored twice by that: the gateway
//! said how far it came, or has not begun, or every line has a key. Else it ends, and says where.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;

use super::super::backoff::Backoff;
use super::super::client::{Gateway, Sum, Unfinished};
use super::super::console::Console;
use super::super::lines::Lines as Cutter;
use super::super::problem::Failure;
use super::super::progress::{bar, rate, size};
use super::super::stop::{Signal, Stop};
use super::super::{CliError, chunks};
use super::batch::{Batch, Lines};

/// The longest line: twice the largest event, as base64 and escapes take room.
const MAX_LINE: usize = 2 << 20;
/// How long an outage may take before it ends the command.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait that a busy gateway may ask for.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The least time between two looks at how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Where lines come from.
pub(super) struct Input {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// How long it is, if that is known.
    length: Option<u64>,
}

impl Input {
    /// A file, or standard input.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        if path.as_os_str() == "-" {
            return Ok(Self { chunks: chunks::of(|| Ok(io::stdin())), length: None });
        }
        let failed = |error: io::Error| CliError::Failed(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self { chunks: chunks::of(|| Ok(file)), length: found.is_file().then_some(found.len()) })
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &'static [u8]) -> Self {
        Self { chunks: chunks::of(move || Ok(bytes)), length: Some(bytes.len() as u64) }
    }
}

/// Publishes every line, and answers what became of them.
pub(super) async fn publish(
    gateway: &Gateway,
    lines: Lines,
    input: Input,
    pace: Backoff,
    console: &mut Console,
    signal: impl Future<Output = Signal>,
) -> Result<Sum, CliError> {
    let heard = Cell::new(None);
    let wish = pin!(async { heard.set(Some(signal.await)) });
    let mut stop = Stop::new(wish);
    let Input { chunks, length } = input;
    let mut import = Import {
        gateway,
        lines,
        chunks,
        cutter: Cutter::new(0, MAX_LINE),
        ended: false,
        number: 0,
        pace,
        progress: Progress::new(length),
        console,
        sum: Sum::default(),
    };
    let outcome = import.run(&mut stop).await;
    let Import { sum, progress, console, .. } = import;
    console.note(&progress.summary(&sum));
    match (outcome, heard.get()) {
        (Ok(()), Some(Signal::Interrupt)) => Err(CliError::Interrupted),
        (Ok(()), Some(Signal::Terminate)) => Err(CliError::Failed("told to end before the end of the input".into())),
        (Ok(()), None) => Ok(sum),
        (Err(error), _) => Err(error),
    }
}

struct Import<'a> {
    gateway: &'a Gateway,
    lines: Lines,
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    cutter: Cutter,
    /// Nothing more comes out of `chunks`.
    ended: bool,
    /// How many lines were taken.
    number: u64,
    pace: Backoff,
    progress: Progress,
    console: &'a mut Console,
    sum: Sum,
}

impl Import<'_> {
    async fn run(&mut self, stop: &mut Stop<'_, impl Future<Output = ()>>) -> Result<(), CliError> {
        let mut batch = Batch::default();
        while self.gather(&mut batch, stop).await? {
            self.deliver(&mut batch, stop).await?;
            if stop.has_come().await {
                self.tell_place(batch.number(1).unwrap_or(self.number + 1));
                return Ok(());
            }
        }
        if stop.has_come().await {
            self.tell_place(self.number + 1);
        }
        Ok(())
    }

    /// Fills the batch with what is there, and waits only if that is nothing. `false` at the end, or when it is to stop.
    async fn gather(
        &mut self,
        batch: &mut Batch,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<bool, CliError> {
        while !batch.is_full() {
            let line = self.cutter.pop().or_else(|| if self.ended { self.cutter.finish() } else { None });
            if let Some(line) = line {
                self.take(&line.data, line.cut, batch);
                continue;
            }
            if self.ended {
                break;
            }
            let chunk = match self.chunks.try_recv() {
                Ok(chunk) => Some(chunk),
                Err(TryRecvError::Empty) if !batch.is_empty() => break,
                Err(TryRecvError::Empty) => match stop.cuts(self.chunks.recv()).await {
                    Some(chunk) => chunk,
                    None => return Ok(false),
                },
                Err(TryRecvError::Disconnected) => None,
            };
            match chunk.transpose().map_err(|error| CliError::Failed(format!("cannot read the input: {error}")))? {
                Some(chunk) => self.cutter.push(&chunk),
                None => self.ended = true,
            }
        }
        Ok(!batch.is_empty())
    }

    fn take(&mut self, line: &[u8], cut: u64, batch: &mut Batch) {
        self.number += 1;
        if cut > 0 {
            return self.refuse(self.number, &format!("a line has at most {} MiB", MAX_LINE >> 20));
        }
        if matches!(self.lines, Lines::Objects(_)) && line.trim_ascii().is_empty() {
            return;
        }
        match self.lines.object(self.number, line) {
            Ok(object) => batch.push(self.number, &object),
            Err(why) => self.refuse(self.number, &why),
        }
    }

    fn refuse(&mut self, number: u64, why: &str) {
        self.sum.refused += 1;
        self.console.tell(&format!("line {number}: {why}"));
    }

    /// Sends the batch until all of it has its answer, or it is to stop; what has none is left in it.
    async fn deliver(
        &mut self,
        batch: &mut Batch,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<(), CliError> {
        let mut pace = self.pace.clone();
        let mut outage: Option<Instant> = None;
        while !batch.is_empty() {
            let Some(answer) = stop.lets_end(self.gateway.publish_lines(batch.body())).await else { return Ok(()) };
            let Unfinished { failure, sum, begun } = match answer {
                Ok(sum) => {
                    self.count(sum, batch, batch.len());
                    if let Some(since) = outage {
                        let outage = since.elapsed().as_secs_f64();
                        self.console.tell(&format!("{} is back after {outage:.1} s", self.gateway));
                    }
                    return Ok(());
                }
                Err(unfinished) => unfinished,
            };
            let stopped = sum.as_ref().and_then(|sum| sum.stopped);
            if let (Some(sum), Some(stopped)) = (sum, stopped) {
                self.count(sum, batch, stopped.saturating_sub(1));
            }
            let first = batch.number(1).unwrap_or(self.number + 1);
            let after = match &failure {
                Failure::Refused(problem) => {
                    self.tell_place(first);
                    return Err(CliError::Refused(problem.clone()));
                }
                Failure::Later { after, .. } => after.unwrap_or_default(),
                Failure::Away(_) => Duration::ZERO,
            };
            let last = batch.number(batch.len()).unwrap_or(first);
            let why = format!("{}: {failure}", self.gateway);
            if stopped.is_none() && begun && !batch.is_keyed() {
                self.tell_place(first);
                return Err(CliError::Failed(format!(
                    "{why}; whether lines {first} to {last} are published is not known (with keys they could be sent again)"
                )));
            }
            match outage {
                None => {
                    outage = Some(Instant::now());
                    self.console.tell(&format!("{why}; trying for {} s", PATIENCE.as_secs()));
                }
                Some(since) if since.elapsed() > PATIENCE => {
                    self.tell_place(first);
                    return Err(CliError::Failed(why));
                }
                Some(_) => {}
            }
            let pause = tokio::time::sleep(pace.after_failure().max(after.min(MAX_WAIT)));
            if stop.cuts(pause).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Notes what became of the first `count` lines of the batch, which it then forgets.
    fn count(&mut self, sum: Sum, batch: &mut Batch, count: usize) {
        for error in &sum.errors {
            let number = batch.number(error.line).map_or_else(|| "?".to_owned(), |number| number.to_string());
            self.console.tell(&format!("line {number}: {}", error.title));
        }
        batch.forget(count);
        self.sum.add(sum);
        // What was read and waits was not sent yet, but is little.
        self.progress.show(&self.sum, self.cutter.start(), self.console);
    }

    /// Says from which line on there is something left to do.
    fn tell_place(&mut self, first: u64) {
        self.console.tell(&match first {
            1 => "nothing is published".to_owned(),
            first => format!("every line before line {first} is done; to go on, leave them out (`tail -n +{first}`)"),
        });
    }
}

/// How far it is, and how fast.
struct Progress {
    length: Option<u64>,
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    fn new(length: Option<u64>) -> Self {
        Self { length, began: Instant::now(), shown: None }
    }

    fn show(&mut self, sum: &Sum, bytes: u64, console: &mut Console) {
        if self.shown.is_some_and(|shown| shown.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        self.shown = Some(Instant::now());
        let events = sum.published + sum.duplicates;
        let rate = rate(events, self.began.elapsed());
        console.progress(&match self.length {
            Some(all) => format!("{} {events} events, {} of {}, {rate}", bar(bytes, all), size(bytes), size(all)),
            None => format!("{events} events, {}, {rate}", size(bytes)),
        });
    }

    fn summary(&self, sum: &Sum) -> String {
        let Sum { published, duplicates, refused, .. } = sum;
        let elapsed = self.began.elapsed();
        let (seconds, rate) = (elapsed.as_secs_f64(), rate(published + duplicates, elapsed));
        let before = if *duplicates > 0 { format!(", {duplicates} were already") } else { String::new() };
        format!("{published} events published{before}, {refused} refused, in {seconds:.1} s ({rate})")
    }
}
