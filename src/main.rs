//! The `encke` command.

use std::convert::Infallible;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use encke::cli::{self, BenchArgs, CliError, DoctorArgs, PublishArgs, SubscribeArgs, TailArgs};
use encke::config::{self, Changes, Configuration, LogFormat, ServeArgs, Source, Systemd};
use encke::gateway::backup::{self, BackupArgs};
use encke::gateway::{self, Gateway, Local};
use encke::logging::{self, Lines, Style};
use encke::service::Manager;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// A gateway for live events on the web: publish over HTTP; subscribe with `EventSource`, `curl -N`, long polling or
/// multipart; come back with the last event's id and miss nothing.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Subcommand)]
enum Action {
    /// Run the gateway.
    Serve(Box<ServeArgs>),
    /// Check a configuration without starting, and print what would be used.
    Check {
        /// The file; if it is not given, that of `ENCKE_CONFIG`, or the environment alone.
        file: Option<PathBuf>,
    },
    /// Publish an event.
    Publish(PublishArgs),
    /// Print the events of topics as they come, resuming by itself.
    Subscribe(SubscribeArgs),
    /// Publish each line of a growing file, of standard input, or each event of another event stream.
    Tail(TailArgs),
    /// Load an event stream with many connections; report rate, loss and latency.
    Bench(Box<BenchArgs>),
    /// Find out why event streams die or are late on the way here, and what to change.
    Doctor(Box<DoctorArgs>),
    /// Copy the log to a file, also while the gateway runs.
    Backup(BackupArgs),
    /// Print docs/configuration.md.
    #[command(hide = true)]
    Configuration,
}

fn main() -> ExitCode {
    let named = Command::command().mut_subcommand("serve", |serve| config::named(serve, &gateway::names()));
    let command = Command::from_arg_matches(&named.get_matches()).unwrap_or_else(|error| error.exit());
    let systemd = match Systemd::take() {
        Ok(systemd) => systemd,
        Err(error) => {
            eprintln!("encke: {}", words(&error.into()));
            return ExitCode::FAILURE;
        }
    };
    // A gateway has a runtime for each core, of which this is the first.
    let runtime = match command.action {
        Action::Serve(_) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    };
    let outcome = runtime.context("cannot start the runtime").and_then(|runtime| {
        let outcome = runtime.block_on(run(command.action, systemd));
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

async fn run(action: Action, systemd: Systemd) -> anyhow::Result<ExitCode> {
    match action {
        Action::Serve(_) => serve(systemd).await,
        Action::Check { file } => check(file.as_deref()),
        Action::Publish(args) => Ok(ended(cli::publish::run(args).await)),
        Action::Subscribe(args) => Ok(ended(cli::subscribe::run(args).await)),
        Action::Tail(args) => Ok(ended(cli::tail::run(args).await)),
        Action::Bench(args) => Ok(ended(cli::bench::run(*args).await)),
        Action::Doctor(args) => Ok(ended(cli::doctor::run(*args).await)),
        Action::Backup(args) => {
            let copied = backup::run(args).await?;
            Ok(if copied { ExitCode::SUCCESS } else { CliError::Interrupted.exit_code() })
        }
        Action::Configuration => {
            let text = config::reference(&config::command(&gateway::names()));
            print(&text)?;
            Ok(ExitCode::SUCCESS)
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

/// `encke check`: says what is wrong, or what would be used.
fn check(file: Option<&std::path::Path>) -> anyhow::Result<ExitCode> {
    match Source::of_file(config::command(&gateway::names()), file).read() {
        Ok(configuration) => {
            configuration.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            print(&configuration.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            eprintln!("{errors}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Prints. Whoever closed the other end has read enough.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot write to standard output"),
    }
}

async fn serve(systemd: Systemd) -> anyhow::Result<ExitCode> {
    let Systemd { sockets, notify, watchdog } = systemd;
    // What stands behind `encke serve` on the command line; there are no options before it.
    let words = std::env::args_os().skip(2).collect();
    let source = Source::new(config::command(&gateway::names()), words).with_passed(&sockets);
    let mut used = source.read()?;
    let level = start_logging(&used.args)?;
    used.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let manager = Manager::at(notify.as_deref());
    let unknown = config::unknown_variables();
    if !unknown.is_empty() {
        tracing::warn!(?unknown, "variables of the environment begin with ENCKE_ and mean nothing here");
    }
    // Before anything listens, so that no signal finds us without an answer.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let _too_large = signal(SignalKind::from_raw(SIGXFSZ)).context("cannot take SIGXFSZ")?;
    let gateway = Gateway::start(used.args.clone(), sockets).await?;
    announce(&gateway, used.args.dev, used.args.base_path.clone().unwrap_or_default().as_str());
    manager.ready(&serving(&gateway));
    {
        let mut alive = std::pin::pin!(watch(&gateway, &manager, watchdog));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => {
                    manager.reloading();
                    reload(&source, &mut used, &gateway, &level);
                    manager.ready(&serving(&gateway));
                }
                never = &mut alive => match never {},
            }
        }
    }
    manager.stopping("draining");
    tracing::info!("draining: streams are told goodbye");
    let in_time = gateway.stop(again(&mut terminate, &mut interrupt)).await;
    tracing::info!(in_time, "stopped");
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration anew and takes over what a running gateway can. If anything is wrong with it, nothing changes.
fn reload(source: &Source, used: &mut Configuration, gateway: &Gateway, level: &Level) {
    let read = match source.read() {
        Ok(read) => read,
        Err(errors) => {
            tracing::error!("the configuration is wrong, and the running one goes on: {errors}");
            return;
        }
    };
    read.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let Changes { now, at_restart } = used.take(read);
    if let Ok(filter) = EnvFilter::try_new(&used.args.log_level) {
        let _ = level.reload(filter); // It fails only where nothing is logged any more.
    }
    gateway.reload(&used.args);
    tracing::info!(changed = ?now, "the configuration was read again");
    if !at_restart.is_empty() {
        tracing::warn!(options = ?at_restart, "these changed too and wait for a restart");
    }
}

/// Tells the service manager that we are alive, as long as we are, twice as often as it asks.
async fn watch(gateway: &Gateway, manager: &Manager, watchdog: Option<Duration>) -> Infallible {
    let Some(watchdog) = watchdog else { return std::future::pending().await };
    let mut beat = tokio::time::interval((watchdog / 2).max(Duration::from_millis(1)));
    let mut well = true;
    loop {
        beat.tick().await;
        if gateway.is_alive() {
            manager.alive();
        } else if std::mem::take(&mut well) {
            tracing::error!(
                "the log's writer has died; the service manager is told nothing more, so that it restarts us"
            );
        }
    }
}

/// One line for `systemctl status`.
fn serving(gateway: &Gateway) -> String {
    let places: Vec<String> = gateway.addresses.iter().map(ToString::to_string).collect();
    format!("serving on {}", places.join(", "))
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

/// Sets which messages are logged.
type Level = tracing_subscriber::reload::Handle<EnvFilter, Registry>;

fn start_logging(args: &ServeArgs) -> anyhow::Result<Level> {
    let (filter, level) = tracing_subscriber::reload::Layer::new(EnvFilter::try_new(&args.log_level)?);
    let json = args.log_format == LogFormat::Json;
    let style = Style { json, colours: !json && std::io::stderr().is_terminal() };
    let lines = move || Lines::new(style, std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(style.colours);
    let filtered = tracing_subscriber::registry().with(filter);
    match args.log_format {
        LogFormat::Text => filtered.with(lines).init(),
        LogFormat::Json => filtered.with(lines.json()).init(),
    }
    logging::tell_panics();
    Ok(level)
}

/// A URL with the base path; a socket's file has none.
fn with_path(place: &Local, base: &str) -> String {
    match place {
        Local::Tcp(_) | Local::Tls(_) => format!("{place}{base}"),
        Local::Unix(_) => place.to_string(),
    }
}

/// Says where to go. Programs read the `listening on` and `admin on` lines, people the rest.
fn announce(gateway: &Gateway, dev: bool, base: &str) {
    // A gateway whose words nobody can be told works all the same.
    if let Err(error) = print(&announcement(gateway, dev, base)) {
        tracing::warn!("{}", words(&error));
    }
}

fn announcement(gateway: &Gateway, dev: bool, base: &str) -> String {
    let listening = gateway.addresses.iter().map(|place| format!("listening on {}\n", with_path(place, base)));
    let mut text: String = listening.chain(gateway.admin.iter().map(|place| format!("admin on {place}\n"))).collect();
    let tcp = gateway.addresses.iter().find_map(|place| Some((place, place.address()?)));
    let Some((place, address)) = tcp.filter(|_| dev) else { return text };
    let url = with_path(place, base);
    // A browser trades the token in its address for a cookie; curl keeps none, so it sends the token itself.
    let token = gateway.token.as_ref();
    let query = token.map(|token| format!("?token={token}")).unwrap_or_default();
    let field = token.map(|token| format!("-H 'Authorization: Bearer {token}' ")).unwrap_or_default();
    text += &format!(
        "\n  live page   {url}/{query}\n  subscribe   curl -N {field}{url}/events/demo/clock\n  \
         publish     curl {field}-d 'hello' {url}/events/demo/chat\n  metrics     {url}/metrics{query}\n"
    );
    if address.ip().is_unspecified() {
        text += &format!("  from another machine, put this one's name or address in place of {}\n", address.ip());
    }
    text
}
