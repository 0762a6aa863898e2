//! `encke doctor URL`: why event streams die or are late on the way from the server to here, and what to change.
//!
//! Each probe measures one thing and leaves it where it can be looked at (`opening`, `together`, `holding`, `delay`,
//! `half_close`, `http2`, `watching`); what the measurements mean is decided elsewhere, without a socket or a clock (`hops`, `lifetimes`,
//! `judging`, `reach`, `remedy`), and told by `report` and `json`. So a run that is ended early tells what it has learnt.
//!
//! Streams are read over HTTP/1.1, by hand (`wire`), as only so it is seen how a connection was cut. One over HTTP/2 stands
//! beside them, where browsers would speak that.

mod asking;
mod delay;
mod finding;
mod half_close;
mod holding;
mod hops;
mod http2;
mod json;
mod judging;
mod lifetimes;
mod opening;
mod path;
mod reach;
mod remedy;
mod report;
mod stream;
#[cfg(test)]
mod tests;
mod together;
mod watching;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time::{Instant, interval};

use self::delay::Delay;
use self::half_close::HalfClose;
use self::holding::Holding;
use self::judging::Facts;
use self::opening::Opening;
use self::path::Path;
use self::reach::Reach;
use self::together::Together;
use self::watching::{Horizon, Watched};
use super::console::Console;
use super::progress::bar;
use super::stop::{self, Signal, Stop};
use super::wire::dial::Dialer;
use super::wire::request::field;
use super::wire::target::Target;
use super::{CliError, Credentials, Secret, time};
use crate::event::Topic;

/// What the help ends with: other than of the other commands.
const EXIT_CODES: &str = "Exit codes: 0 no problem was found, 1 problems were found, 2 it could not be measured, or wrong usage, \
                          130 interrupted with no problem found until then";

/// Who asks: by that a gateway knows that it is examined, and learns nothing of how long these streams last.
const AGENT: &str = concat!("encke-doctor/", env!("CARGO_PKG_VERSION"));

/// How long what should come at once may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Find out why event streams die or are late on the way here, and what to change
///
/// Any server's event stream will do; a gateway, which is recognised, is asked for streams that are silent or busy on purpose.
/// With --topic the URL is a gateway's, and a few events are published there. The report goes to standard output;
/// on a terminal a line shows how it goes. Ctrl-C ends it early, with what was learnt until then.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct DoctorArgs {
    /// The event stream; with --topic the gateway, with its base path if it has one
    #[arg(value_name = "URL")]
    url: Secret,
    /// The topic to read, and to publish twelve events to
    #[arg(long, value_name = "TOPIC", value_parser = Topic::parse)]
    topic: Option<Topic>,
    /// For how long silent streams are watched: seconds, or 90s, 5m; up to 1h. With --quick 3s
    #[arg(long, value_name = "TIME", default_value = "6m", default_value_if("quick", "true", "3s"), value_parser = idle)]
    max_idle: Duration,
    /// For how long busy streams are watched. With --quick 3s
    #[arg(long, value_name = "TIME", default_value = "6m", default_value_if("quick", "true", "3s"), value_parser = time)]
    max_duration: Duration,
    /// Take seconds: look at what shows at once, and not for limits of time
    #[arg(long)]
    quick: bool,
    /// A header field of every request, as 'Name: value' (repeatable)
    #[arg(long, value_name = "FIELD", value_parser = field)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    credentials: Credentials,
}

/// As long as a gateway may be asked to be silent.
fn idle(text: &str) -> Result<Duration, String> {
    time(text).and_then(|time| if time <= Duration::from_secs(3600) { Ok(time) } else { Err("1h is the most".into()) })
}

/// What the probes have found until now.
#[derive(Default)]
struct Found {
    opening: RefCell<Option<Opening>>,
    chosen: RefCell<Option<String>>,
    holding: RefCell<Holding>,
    delay: RefCell<Delay>,
    half_close: RefCell<HalfClose>,
    together: RefCell<Together>,
    http2: http2::Watched,
    watched: Watched,
    /// When streams began to be watched.
    since: Cell<Option<Instant>>,
}

/// Measures, until all is known or SIGINT or SIGTERM comes, and prints what it means.
///
/// # Errors
/// See [`CliError`]; also that there are problems.
pub async fn run(args: DoctorArgs) -> Result<(), CliError> {
    let signal = stop::signal().map_err(|error| CliError::Unmeasured(format!("cannot wait for signals: {error}")))?;
    let mut console = Console::stderr(false);
    let came = Cell::new(None);
    let wish = pin!(async { came.set(Some(signal.await)) });
    let mut stop = Stop::new(wish);
    let target =
        Target::new(AGENT, &args.url.0, args.topic.clone(), &args.credentials, &args.header).map_err(unmeasured)?;
    let found = Found::default();
    let outcome = stop.cuts(async {
        tokio::select! {
            outcome = args.examine(target.clone(), &found) => outcome,
            never = args.show(&found, &mut console) => match never {},
        }
    });
    let outcome = outcome.await;
    drop(console); // Its line goes before the report comes.
    let is_early = outcome.is_none();
    outcome.unwrap_or(Ok(()))?;
    let Some(facts) = found.facts(&target) else { return Err(CliError::Interrupted) };
    let judgement = facts.judged();
    let reach = Reach::of(&judgement.limits, args.horizon(), is_early);
    let tell = if args.json { json::report } else { report::text };
    print(&tell(&target.place(), &facts, &judgement, &reach))?;
    let problems = judgement.problems();
    match came.get() {
        _ if problems > 0 => Err(CliError::Unwell { problems }),
        Some(Signal::Interrupt) => Err(CliError::Interrupted),
        Some(Signal::Terminate) | None => Ok(()),
    }
}

impl DoctorArgs {
    fn horizon(&self) -> Horizon {
        Horizon { idle: self.max_idle, duration: self.max_duration }
    }

    /// Runs the probes: first those that the others depend on, then all at once.
    async fn examine(&self, target: Target, found: &Found) -> Result<(), CliError> {
        let ca = self.credentials.ca.as_deref();
        let dialer = Dialer::new(target.url(), &["http/1.1"], ca).await.map_err(unmeasured)?;
        let path = Arc::new(Path { target, dialer, patience: PATIENCE });
        let opening = opening::probe(&path).await.map_err(|trouble| CliError::Unmeasured(trouble.words))?;
        *found.opening.borrow_mut() = Some(opening.clone());
        let browser = http2::browser(&path, ca).await.map_err(unmeasured)?;
        if let Some(browser) = &browser {
            *found.chosen.borrow_mut() = http2::chosen(browser).await;
        }
        if opening.answer.is_some() {
            together::probe(&path, &found.together).await;
        }
        found.since.set(Some(Instant::now()));
        let http2 = async {
            if let Some(browser) = browser.filter(|_| found.chosen.borrow().as_deref() == Some("h2")) {
                // Boxed: HTTP/2 is large.
                Box::pin(http2::probe(&path, &browser, opening.is_encke, self.horizon(), &found.http2)).await;
            }
        };
        tokio::join!(
            holding::probe(&path, &opening, &found.holding),
            delay::probe(&path, &opening, &found.delay),
            half_close::probe(&path, &found.half_close),
            http2,
            watching::probe(&path, opening.is_encke, self.horizon(), &found.watched),
        );
        Ok(())
    }

    /// Shows how far it is.
    async fn show(&self, found: &Found, console: &mut Console) -> Infallible {
        let mut second = interval(Duration::from_secs(1));
        let all = self.max_idle.max(self.max_duration);
        loop {
            second.tick().await;
            let Some(since) = found.since.get() else {
                console.progress("opening streams");
                continue;
            };
            let lives = found.watched.lives();
            let ended = lives.iter().filter(|life| life.end.is_some()).count();
            let silent = lives.iter().map(|life| life.quiet).max().unwrap_or_default();
            let bar = bar(since.elapsed().as_secs(), all.as_secs());
            let open = lives.len() - ended;
            console.progress(&format!(
                "{bar} {open} streams open, one silent for {} s; {ended} ended; at most {} s",
                silent.as_secs(),
                all.as_secs()
            ));
        }
    }
}

impl Found {
    /// All of it; nothing, if not even opening is over.
    fn facts(&self, target: &Target) -> Option<Facts> {
        Some(Facts {
            is_https: target.url().scheme() == "https",
            opening: self.opening.borrow().clone()?,
            chosen: self.chosen.borrow().clone(),
            holding: self.holding.borrow().clone(),
            delay: self.delay.borrow().clone(),
            half_close: *self.half_close.borrow(),
            together: self.together.borrow().clone(),
            http2: self.http2.seen(),
            lives: self.watched.lives(),
            watched: self.watched.failed(),
        })
    }
}

/// Here a failure of the network is not what a failure of the path is.
fn unmeasured(error: CliError) -> CliError {
    match error {
        CliError::Failed(words) => CliError::Unmeasured(words),
        other => other,
    }
}

/// Prints the report. Whoever closed the other end has read enough.
fn print(report: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Unmeasured(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}
