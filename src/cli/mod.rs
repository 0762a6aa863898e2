//! The commands that speak to a gateway over HTTP: `publish`, `subscribe`, `tail`, `bench`, `doctor`.
//!
//! They know a gateway only from outside, by its HTTP interface, so they work with any that speaks it. Each command is
//! an `Args` structure for clap and an `async fn run`. Its output goes to standard output, everything else to standard
//! error.
//!
//! Exit codes, the same for each but `doctor`, which has its own: 0 done (also when standard output was closed, or SIGTERM came) · 1 the network, a file
//! or a terminal failed · 2 wrong usage · 3 the gateway refused, in the words of its problem document · 4 it came to its
//! end, but some events are not published (the gateway had refused them, or they could not be read any more), were
//! not read (a gap was told), or were lost, doubled or reordered (`bench`) · 124 the time was up before the events that were asked for came · 130 a person interrupted
//! it (SIGINT).

mod backoff;
pub mod bench;
mod chunks;
mod client;
pub(crate) mod console;
pub mod doctor;
mod event_stream;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod lines;
mod problem;
pub(crate) mod progress;
pub mod publish;
mod replace;
mod resuming;
pub(crate) mod stop;
pub mod subscribe;
pub mod tail;
#[cfg(test)]
mod test_server;
mod trust;
mod wire;

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

pub use bench::BenchArgs;
pub use doctor::DoctorArgs;
pub use problem::Problem;
pub use publish::PublishArgs;
pub use subscribe::SubscribeArgs;
pub use tail::TailArgs;

use crate::event::{self, EventType, FieldError};

/// Who asks, as servers are told it (`User-Agent`).
const AGENT: &str = concat!("encke/", env!("CARGO_PKG_VERSION"));

/// What the help of each command ends with.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 the network or a file failed, 2 wrong usage, 3 the gateway refused, \
                          4 some events were refused or missed, 124 the time was up, 130 interrupted";

/// Which gateway, and who asks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub struct Connect {
    /// The gateway's URL, with its base path if it has one
    #[arg(
        long,
        env = "ENCKE_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        hide_env_values = true
    )]
    url: Secret,
    #[command(flatten)]
    credentials: Credentials,
    /// The trace that this is part of (W3C Trace Context); the gateway tells it in its messages
    #[arg(long, env = "TRACEPARENT", hide_env_values = true, value_name = "TRACEPARENT")]
    traceparent: Option<String>,
}

/// Who asks, and whom it trusts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub struct Credentials {
    /// A file of certificates (PEM) to trust in place of the system's: of the gateway itself, or of its authority
    #[arg(long, env = "ENCKE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The publish key (the environment hides it better from other users than the command line)
    #[arg(long, env = "ENCKE_PUBLISH_KEY", hide_env_values = true, value_name = "KEY")]
    publish_key: Option<Secret>,
    /// A file that holds the publish key; wins over the key itself
    #[arg(long, env = "ENCKE_PUBLISH_KEY_FILE", value_name = "FILE")]
    publish_key_file: Option<PathBuf>,
}

/// A text that is, or may hold, a secret: it is never shown.
#[derive(Clone)]
pub struct Secret(String);

/// Why a command ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not fit together, or a value means nothing.
    #[error("{0}")]
    Usage(String),
    /// The network, a file or a terminal failed.
    #[error("{0}")]
    Failed(String),
    /// The gateway refused.
    #[error("{0}")]
    Refused(Problem),
    /// Not all is published.
    #[error("{}", incomplete(*refused, *gaps))]
    Incomplete {
        /// How many events the gateway refused.
        refused: u64,
        /// How often events may have been missed: lines whose file could not be found or read any more, or what a gateway
        /// said to be gone.
        gaps: u64,
    },
    /// What was published did not come to every reader once and in order.
    #[error("{}", wrong(*lost, *doubled, *reordered))]
    Wrong {
        /// Deliveries that did not come about, or of which the server said that they are gone.
        lost: u64,
        /// Deliveries that came again.
        doubled: u64,
        /// Deliveries that came after later ones.
        reordered: u64,
    },
    /// The time was up before all came that was asked for.
    #[error("the time was up with {missing} of {of} events still to come")]
    TimeUp {
        /// How many did not come.
        missing: u64,
        /// How many were asked for.
        of: u64,
    },
    /// A path has problems (`doctor`).
    #[error("{problems} {} found", if *problems == 1 { "problem was" } else { "problems were" })]
    Unwell {
        /// How many.
        problems: usize,
    },
    /// Nothing could be measured (`doctor`).
    #[error("{0}")]
    Unmeasured(String),
    /// A person ended it (SIGINT), who need not be told so.
    #[error("interrupted")]
    Interrupted,
}

fn incomplete(refused: u64, gaps: u64) -> String {
    let refused = (refused > 0).then(|| format!("{refused} of the events were refused and are not published"));
    let gaps = (gaps > 0).then(|| format!("events may be missing (told {gaps}×)"));
    refused.into_iter().chain(gaps).collect::<Vec<_>>().join("; ")
}

fn wrong(lost: u64, doubled: u64, reordered: u64) -> String {
    let counts = [(lost, "lost"), (doubled, "doubled"), (reordered, "reordered")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    format!("not every event came once and in order: {}", words.join(", "))
}

impl CliError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) | Self::Unwell { .. } => 1,
            Self::Usage(_) | Self::Unmeasured(_) => 2,
            Self::Refused(_) => 3,
            Self::Incomplete { .. } | Self::Wrong { .. } => 4,
            Self::TimeUp { .. } => 124, // As timeout(1) has it.
            Self::Interrupted => 130,   // What shells say of a process that SIGINT ended.
        })
    }
}

impl Connect {
    /// A gateway that asks for no key.
    #[cfg(test)]
    pub(crate) fn to(url: &str) -> Self {
        Self { url: Secret(url.to_owned()), credentials: Credentials::of(None), traceparent: None }
    }
}

impl Credentials {
    /// A key, or none.
    #[cfg(test)]
    pub(crate) fn of(key: Option<&str>) -> Self {
        Self { ca: None, publish_key: key.map(|key| Secret(key.to_owned())), publish_key_file: None }
    }

    /// The publish key, from where it is kept.
    fn key(&self) -> Result<Option<String>, CliError> {
        let key = match &self.publish_key_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| CliError::Failed(format!("cannot read {}: {error}", path.display())))?,
            None => self.publish_key.clone().map_or_else(String::new, |key| key.0),
        };
        // The gateway's file may hold several, a line each.
        let key = key.trim().lines().next().unwrap_or_default().trim();
        Ok((!key.is_empty()).then(|| key.to_owned()))
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// `--type`: `message` is the same as no type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kind(pub(crate) Option<EventType>);

impl FromStr for Kind {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        EventType::parse(text).map(Self)
    }
}

/// A time that passes: `90s`, `5m`, `12h`, `7d`.
fn age(text: &str) -> Result<Duration, String> {
    let age = event::age(text).filter(|age| !age.is_zero());
    age.ok_or_else(|| "use a form like 90s, 5m, 12h or 7d".into())
}

/// How long an event is worth delivering: seconds (`90`, `1.5`), or with a unit as in [`age`].
fn lifetime(text: &str) -> Result<Duration, String> {
    event::lifetime(text)
        .ok_or_else(|| "use seconds, or a form like 90s, 5m, 12h or 7d; more than 0, at most 100 years".into())
}

/// A time in seconds (`0.5`, `30`), or with a unit (`90s`, `5m`).
fn time(text: &str) -> Result<Duration, String> {
    event::lifetime(text).ok_or_else(|| "use seconds, or a form like 90s, 5m, 2h; more than 0".into())
}
