//! The gateway as a real process: started on ports of its own choice, killed, drained, started again where it was.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitStatus};

use tempfile::TempDir;
use tokio::time::Instant;

use super::http::Request;
use super::process::Process;
use super::tls::{Certificate, Front};
use super::{PATIENCE, wait_for};

/// A running `encke serve` with a data directory of its own.
pub(crate) struct Gateway {
    process: Process,
    addresses: Addresses,
    /// Where it speaks TLS: what clients of bytes are given in its place.
    front: Option<(String, Front)>,
    settings: Settings,
}

/// What stays the same over a restart.
struct Settings {
    args: Vec<String>,
    env: Vec<(String, String)>,
    data: TempDir,
    certificate: Option<Certificate>,
}

/// Where the gateway said that it listens: `http://127.0.0.1:PORT`, without a path; with TLS `https://…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) public: Option<String>,
    /// Its own listener outside `--dev`; under `--dev` the admin routes are on the public one.
    pub(crate) admin: Option<String>,
}

impl Gateway {
    /// The sum of the samples of a metric whose labels contain all of `labels`. Panics if there is none.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let address = self.admin_url().trim_start_matches("http://");
        let text = Request::get("/metrics").ask(address).text();
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        let values: Vec<f64> =
            samples.map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number")).collect();
        assert!(!values.is_empty(), "there is no {name} with {labels:?}");
        values.iter().sum()
    }

    /// Starts `encke serve` with `args` and waits until it listens. Panics with its errors if it does not.
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same with variables of the environment, as for `ENCKE_PUBLISH_KEY`. No other `ENCKE_` variable is passed on.
    #[track_caller]
    ///
    /// Where the variable `TESTS_OVER_TLS` is set, every gateway speaks TLS (`tests/run` sets it for a second round of those
    /// tests that are about what goes over the wire).
    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::launched(args, env, std::env::var_os("TESTS_OVER_TLS").map(|_| Certificate::new()))
    }

    /// The same over TLS. [`Gateway::url`] and [`Gateway::address`] are those of a [`Front`].
    #[track_caller]
    pub(crate) fn start_tls(args: &[&str]) -> Self {
        Self::start_tls_with(args, &[])
    }

    /// The same with variables of the environment.
    #[track_caller]
    pub(crate) fn start_tls_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::launched(args, env, Some(Certificate::new()))
    }

    #[track_caller]
    fn launched(args: &[&str], env: &[(&str, &str)], certificate: Option<Certificate>) -> Self {
        let settings = Settings {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            data: tempfile::Builder::new().prefix("encke-test-").tempdir().expect("a temporary directory"),
            certificate,
        };
        let (process, addresses) = launch(&settings, &Addresses::default()).unwrap_or_else(|words| panic!("{words}"));
        let listens = authority(addresses.public.as_deref().expect("it listens"));
        let front = settings.certificate.as_ref().map(|certificate| Front::of(listens, certificate));
        let front = front.map(|front| (front.url(), front));
        Self { process, addresses, front, settings }
    }

    /// `http://127.0.0.1:PORT` of the public listener.
    pub(crate) fn url(&self) -> &str {
        self.front.as_ref().map_or_else(|| self.own_url(), |(url, _)| url)
    }

    /// The address that it says itself: `https://127.0.0.1:PORT` where it speaks TLS.
    pub(crate) fn own_url(&self) -> &str {
        self.addresses.public.as_deref().expect("a started gateway listens")
    }

    /// What it shows over TLS.
    pub(crate) fn certificate(&self) -> &Certificate {
        self.settings.certificate.as_ref().expect("it was started with TLS")
    }

    /// `http://127.0.0.1:PORT` of the admin routes; under `--dev` the public listener's.
    pub(crate) fn admin_url(&self) -> &str {
        self.addresses.admin.as_deref().unwrap_or_else(|| self.url())
    }

    /// `127.0.0.1:PORT` of the public listener, for clients that speak bytes.
    pub(crate) fn address(&self) -> &str {
        authority(self.url())
    }

    /// Where its log lies.
    pub(crate) fn data_dir(&self) -> &Path {
        self.settings.data.path()
    }

    /// The process, for its id, signals and further lines of output.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it in the middle of whatever it does (`SIGKILL`).
    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to drain (`SIGTERM`); [`Gateway::wait`] waits for the end.
    pub(crate) fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Waits for it to end by itself; panics if it does not.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait(PATIENCE)
    }

    /// Starts it again on the same ports and data, killing it first if it still runs.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.process.kill9();
        let former = self.addresses.clone();
        let (process, addresses) = loop {
            // The port may serve as the local end of somebody's connection for a moment, being one of the passing ones.
            for url in [&former.public, &former.admin].into_iter().flatten() {
                wait_for("the port of the former gateway to be free", || TcpListener::bind(authority(url)).is_ok());
            }
            match launch(&self.settings, &former) {
                Ok(started) => break started,
                Err(words) if words.contains("ddress already in use") => {} // The moment came just then.
                Err(words) => panic!("{words}"),
            }
        };
        assert_eq!(addresses, former, "a restarted gateway listens where it did");
        self.process = process;
    }
}

/// Starts the program and reads its addresses; `former` is where it listened before, if it did.
fn launch(settings: &Settings, former: &Addresses) -> Result<(Process, Addresses), String> {
    let dev = settings.args.iter().any(|arg| arg == "--dev");
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENCKE_") || name == "PORT" {
            command.env_remove(name);
        }
    }
    command.args(["serve", "--listen", former.public.as_deref().map_or("127.0.0.1:0", authority)]);
    if !dev {
        command.args(["--admin", former.admin.as_deref().map_or("127.0.0.1:0", authority)]);
    }
    // It is decided soon why a stream ended; a test that wants more time says so.
    command.env("ENCKE_GRACE", "1");
    command.arg("--data").arg(settings.data.path()).args(&settings.args);
    command.args(settings.certificate.iter().flat_map(Certificate::options));
    if let Some(carrier) = std::env::var_os("ENCKE_TEST_CARRIER") {
        command.arg("--carrier").arg(carrier); // What `tests/run` repeats tests with.
    }
    command.envs(settings.env.iter().map(|(name, value)| (name, value)));
    let mut process = Process::spawn(command);
    let addresses = Addresses::told_by(&mut process, dev)?;
    Ok((process, addresses))
}

impl Addresses {
    /// Reads the lines in which the gateway says where it listens.
    pub(crate) fn told_by(process: &mut Process, dev: bool) -> Result<Self, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut addresses = Self::default();
        while addresses.public.is_none() || (addresses.admin.is_none() && !dev) {
            let Some(line) = process.line(deadline.saturating_duration_since(Instant::now())) else {
                let state = if Instant::now() < deadline { "ended" } else { "said nothing" };
                process.kill9();
                return Err(format!("the gateway {state} before it listened; its errors:\n{}", process.errors()));
            };
            addresses.read(&line);
        }
        Ok(addresses)
    }

    fn read(&mut self, line: &str) {
        let address = |start: &str| {
            let url = line.strip_prefix(start)?.split_whitespace().next()?.trim_end_matches('/');
            ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)).then(|| url.to_owned())
        };
        // The first of several listeners is the one that tests talk to.
        self.public = self.public.take().or_else(|| address("listening on "));
        self.admin = self.admin.take().or_else(|| address("admin on "));
    }
}

/// `127.0.0.1:8080` of `http://127.0.0.1:8080/live`.
fn authority(url: &str) -> &str {
    url.trim_start_matches("http://").trim_start_matches("https://").split('/').next().unwrap_or_default()
}
