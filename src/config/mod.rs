//! What the operator says: flags and environment. Plain data out; nobody else reads the environment.

mod address;
mod base_path;
mod systemd;

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use address::Address;
pub use base_path::BasePath;
pub use systemd::{Passed, PassedSocket, Systemd, SystemdError};

/// `encke serve`: runs the gateway.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Try it out: no authentication, demo topics that tick, the live page, and the admin routes on the same port.
    #[arg(long, env = "ENCKE_DEV")]
    pub dev: bool,
    /// Where clients connect: an IP address and a port (0 takes a free one), `unix:PATH`, or `systemd` for the sockets that
    /// it passes. May be repeated; in the variable, separated by commas. If it is not given, sockets that systemd passes
    /// are taken; if there are none, the variable PORT may change the port [default: 127.0.0.1:8080].
    #[arg(long, env = "ENCKE_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    pub listen: Vec<Address>,
    /// Where metrics and health are, in the same forms; `systemd` is what it passes under the name `admin`. Not used under
    /// --dev [default: 127.0.0.1:8081].
    #[arg(long, env = "ENCKE_ADMIN", value_name = "ADDRESS", value_delimiter = ',')]
    pub admin: Vec<Address>,
    /// The path under which clients find the gateway, such as `/live`, where a proxy passes paths on as they are.
    #[arg(long, env = "ENCKE_BASE_PATH", value_name = "PATH")]
    pub base_path: Option<BasePath>,
    /// The directory of the durable log; one process at a time.
    #[arg(long, env = "ENCKE_DATA", default_value = "./encke-data", value_name = "DIRECTORY")]
    pub data: PathBuf,
    /// Where events are kept.
    #[arg(long, env = "ENCKE_STORE", default_value = "sqlite")]
    pub store: Store,
    /// What a publish waits for: `fsync` survives a power cut, `os` a crash of the process.
    #[arg(long, env = "ENCKE_DURABILITY", default_value = "fsync")]
    pub durability: Durable,
    /// The file with the key for publishing (and for reading, where that is not public).
    #[arg(long, env = "ENCKE_PUBLISH_KEY_FILE", value_name = "FILE")]
    pub publish_key_file: Option<PathBuf>,
    /// The key itself; only as a variable, as command lines can be read by other users.
    #[arg(skip)]
    pub publish_key: Option<String>,
    /// Who may read topics: `key` holders, or everybody (`public`).
    #[arg(long, env = "ENCKE_READ", default_value = "key")]
    pub read: ReadRule,
    /// An origin whose pages may read and publish, such as `https://www.example.com`; `*` for reading without
    /// credentials, where everybody may read. May be repeated; in the variable, separated by commas.
    #[arg(long, env = "ENCKE_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// A host name under which the gateway may be called where host names are checked (under --dev, and on the admin
    /// address). May be repeated.
    #[arg(long, env = "ENCKE_HOST", value_name = "NAME", value_delimiter = ',')]
    pub host: Vec<String>,
    /// How many connections clients may have at once; those beyond are told to come back (503). If not given, as many as
    /// the limit of open files allows.
    #[arg(long, env = "ENCKE_MAX_CONNECTIONS", value_name = "COUNT", value_parser = count)]
    pub max_connections: Option<usize>,
    /// Serve the live page also without --dev.
    #[arg(long, env = "ENCKE_PAGES")]
    pub pages: bool,
    /// How many events are kept at most.
    #[arg(long, env = "ENCKE_RETENTION_EVENTS", default_value_t = 1_000_000, value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub retention_events: u64,
    /// How long events are kept at most, such as `90s`, `12h`, `7d`.
    #[arg(long, env = "ENCKE_RETENTION_AGE", default_value = "7d", value_name = "AGE", value_parser = age)]
    pub retention_age: Duration,
    /// How many bytes the log takes at most, such as `64MiB`, `1GiB`.
    #[arg(long, env = "ENCKE_RETENTION_BYTES", default_value = "1GiB", value_name = "SIZE", value_parser = size)]
    pub retention_bytes: u64,
    /// Seconds between heartbeats where the subscriber does not say.
    #[arg(long, env = "ENCKE_HEARTBEAT", default_value_t = 15, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub heartbeat: u64,
    /// Seconds that streams and publishes have to end in when the gateway is told to stop.
    #[arg(long, env = "ENCKE_DRAIN", default_value_t = 25, value_name = "SECONDS")]
    pub drain: u64,
    /// Which messages are logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,encke::net=debug`.
    #[arg(long, env = "ENCKE_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
    /// How messages are written to standard error.
    #[arg(long, env = "ENCKE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Where events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// In a file of the data directory.
    Sqlite,
    /// In memory: gone with the process.
    Memory,
}

/// What a publish waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durable {
    /// The disk.
    Fsync,
    /// The operating system.
    Os,
}

/// Who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReadRule {
    /// Whoever has the key.
    Key,
    /// Everybody.
    Public,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// What the operator said cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No key, and no leave to do without.
    #[error(
        "publishing needs a key: put a random text into a file and name it with --publish-key-file, or set \
         ENCKE_PUBLISH_KEY (for example `export ENCKE_PUBLISH_KEY=$(openssl rand -hex 24)`); or try it out with --dev, \
         which asks nobody for a key"
    )]
    NoKey,
    /// The key's file cannot be read.
    #[error("the publish key in {} cannot be read", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key is no key.
    #[error("the publish key has {0} characters; it needs at least 16, none of them blank or outside ASCII")]
    WeakKey(usize),
    /// A variable of the environment makes no sense.
    #[error("{name}: {reason}")]
    Variable {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An origin is not one.
    #[error("--cors-origin {0}: an origin is a scheme, a host and maybe a port, as in https://www.example.com")]
    Origin(String),
    /// Every origin may read what is public, and nothing is.
    #[error(
        "--cors-origin * lets pages of any origin read what is public, and here reading needs the key: list the origins \
         of your pages, as in https://www.example.com, or let everybody read with --read public"
    )]
    NothingPublic,
}

impl ServeArgs {
    /// Takes what only the environment says, with the sockets that systemd has passed, and checks what belongs together.
    ///
    /// # Errors
    /// Says what to mend.
    #[allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
    pub fn complete(mut self, passed: &[Passed]) -> Result<Self, ConfigError> {
        self.find_listeners(passed)?;
        let key = match &self.publish_key_file {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                Some(read.map_err(|source| ConfigError::KeyFile { path: path.clone(), source })?)
            }
            None => std::env::var("ENCKE_PUBLISH_KEY").ok(),
        };
        self.publish_key = key.map(|key| key.trim().to_owned());
        match &self.publish_key {
            Some(key) if key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(ConfigError::WeakKey(key.chars().count()));
            }
            None if !self.dev => return Err(ConfigError::NoKey),
            _ => {}
        }
        match self.cors_origin.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err(ConfigError::Origin(origin.clone())),
            None if self.any_origin() && self.read == ReadRule::Key && !self.dev => Err(ConfigError::NothingPublic),
            None => Ok(self),
        }
    }

    /// Whether pages of any origin may read what is public.
    #[must_use]
    pub fn any_origin(&self) -> bool {
        self.cors_origin.iter().any(|origin| origin == "*")
    }

    /// Where to listen if nobody says it: on what systemd has passed, else on loopback.
    #[allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
    fn find_listeners(&mut self, passed: &[Passed]) -> Result<(), ConfigError> {
        let is_passed = |for_admin: bool| passed.iter().any(|passed| passed.is_for_admin() == for_admin);
        if self.listen.is_empty() {
            self.listen.push(match std::env::var("PORT") {
                _ if is_passed(false) => Address::Systemd { name: None },
                Ok(port) => {
                    let wrong = |_| ConfigError::Variable { name: "PORT", reason: format!("{port:?} is not a port") };
                    Address::Tcp(SocketAddr::new(LISTEN.ip(), port.parse().map_err(wrong)?))
                }
                Err(_) => Address::Tcp(LISTEN),
            });
        }
        if self.dev {
            self.admin.clear();
        } else if self.admin.is_empty() {
            self.admin.push(if is_passed(true) { Address::Systemd { name: None } } else { Address::Tcp(ADMIN) });
        }
        Ok(())
    }
}

/// Where the gateway listens if nobody says otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The names of variables that look like ours and are not: misspelt ones, but also those that an orchestrator makes of the
/// name of a service. Their values may be secrets that were meant for us.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    let options: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
    let known = |name: &OsStr| options.contains(&name) || NO_OPTIONS.iter().any(|known| name == *known);
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| !known(name));
    let ours = ours.map(|name| name.to_string_lossy().into_owned());
    let mut unknown: Vec<_> = ours.filter(|name| name.starts_with("ENCKE_")).collect();
    unknown.sort_unstable();
    unknown
}

/// Variables without an option of `encke serve`: the key itself, and what only the client commands read.
const NO_OPTIONS: [&str; 2] = ["ENCKE_PUBLISH_KEY", "ENCKE_URL"];

/// `*`, or scheme, host and port with nothing behind them, as browsers send it.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*" || rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

/// A whole number of things, one at least.
fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "use a whole number from 1".into())
}

/// A whole number with a unit: `90s`, `5m`, `12h`, `7d`.
fn age(text: &str) -> Result<Duration, String> {
    let seconds = with_unit(text, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]);
    seconds
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "use a form like 90s, 12h or 7d".into())
}

/// A whole number of bytes, or with a unit: `64MiB`, `1GiB`.
fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("", 1)];
    with_unit(text, &units).filter(|bytes| *bytes > 0).ok_or_else(|| "use a form like 64MiB or 1GiB".into())
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_have_units() {
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for text in ["", "7", "d", "-1s", "0s", "1.5h", "7w"] {
            assert!(age(text).is_err(), "{text}");
        }
        for text in ["", "GiB", "0", "1GB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_what_browsers_send() {
        for text in ["*", "https://www.example.com", "http://localhost:3000", "http://[::1]:3000"] {
            assert!(is_origin(text), "{text}");
        }
        for text in ["", "www.example.com", "https://", "https://a/", "https://a/b", "ftp://a", "https://u@a"] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
