//! The `encke` command.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use encke::cli::{self, CliError, PublishArgs, SubscribeArgs, TailArgs};
use encke::config::{self, LogFormat, ServeArgs};
use encke::gateway::Gateway;
use encke::gateway::backup::{self, BackupArgs};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A gateway for live events on the web: publish over HTTP; subscribe with `EventSource`, `curl -N`, long polling or
/// multipart; come back with the last event's id and miss nothing.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run the gateway.
    Serve(Box<ServeArgs>),
    /// Publish an event.
    Publish(PublishArgs),
    /// Print the events of topics as they come, resuming by itself.
    Subscribe(SubscribeArgs),
    /// Publish each line of a growing file, of standard input, or each event of another event stream.
    Tail(TailArgs),
    /// Copy the log to a file, also while the gateway runs.
    Backup(BackupArgs),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.context("cannot start the runtime").and_then(|runtime| {
        let outcome = runtime.block_on(run(command.action));
        // Else a read of a terminal, or a write to a pipe that nobody reads, would keep the process for ever.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("encke: {}", words(&error));
        ExitCode::FAILURE
    })
}

/// What went wrong and its causes, each once: some errors say their cause themselves, or name only its number anew
/// (`Error code 14: unable to open database file`).
fn words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !cause.rsplit(": ").next().is_some_and(|core| words.contains(core)) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

async fn run(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Serve(args) => serve(*args).await,
        Action::Publish(args) => Ok(ended(cli::publish::run(args).await)),
        Action::Subscribe(args) => Ok(ended(cli::subscribe::run(args).await)),
        Action::Tail(args) => Ok(ended(cli::tail::run(args).await)),
        Action::Backup(args) => {
            let copied = backup::run(args).await?;
            Ok(if copied { ExitCode::SUCCESS } else { CliError::Interrupted.exit_code() })
        }
    }
}

/// How a client command ended, as its exit code; its words go to standard error.
fn ended(outcome: Result<(), CliError>) -> ExitCode {
    outcome.map_or_else(
        |error| {
            if !matches!(error, CliError::Interrupted) {
                eprintln!("encke: {error}");
            }
            error.exit_code()
        },
        |()| ExitCode::SUCCESS,
    )
}

async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let args = args.complete()?;
    start_logging(&args)?;
    let unknown = config::unknown_variables();
    if !unknown.is_empty() {
        tracing::warn!(?unknown, "variables of the environment begin with ENCKE_ and mean nothing here");
    }
    // Before anything listens, so that no signal finds us without an answer.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let _too_large = signal(SignalKind::from_raw(SIGXFSZ)).context("cannot take SIGXFSZ")?;
    let dev = args.dev;
    let gateway = Gateway::start(args).await?;
    announce(&gateway, dev);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining: streams are told goodbye");
    let in_time = gateway.stop(again(&mut terminate, &mut interrupt)).await;
    tracing::info!(in_time, "stopped");
    Ok(ExitCode::SUCCESS)
}

/// The file is larger than `ulimit -f` allows. By default it ends the process; where it is caught, the write alone fails.
const SIGXFSZ: i32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 31 } else { 25 };

/// A second signal ends the patience.
async fn again(terminate: &mut tokio::signal::unix::Signal, interrupt: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn start_logging(args: &ServeArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_level).context("--log-level")?;
    let colours = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match args.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Says where to go. Programs read the `listening on` and `admin on` lines, people the rest.
fn announce(gateway: &Gateway, dev: bool) {
    let url = format!("http://{}", gateway.address);
    println!("listening on {url}");
    if let Some(admin) = gateway.admin {
        println!("admin on http://{admin}");
    }
    if !dev {
        return;
    }
    // A browser trades the token in its address for a cookie; curl keeps none, so it sends the token itself.
    let token = gateway.token.as_ref();
    let query = token.map(|token| format!("?token={token}")).unwrap_or_default();
    let field = token.map(|token| format!("-H 'Authorization: Bearer {token}' ")).unwrap_or_default();
    println!();
    println!("  live page   {url}/{query}");
    println!("  subscribe   curl -N {field}{url}/events/demo/clock");
    println!("  publish     curl {field}-d 'hello' {url}/events/demo/chat");
    println!("  metrics     {url}/metrics{query}");
    if gateway.address.ip().is_unspecified() {
        println!("  from another machine, put this one's name or address in place of {}", gateway.address.ip());
    }
}
