//! The options of `encke serve`: the one definition of each. Its flag, its variable, its key in the file (the flag's name),
//! its default, its help and its row in `docs/configuration.md` all come from here.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum, value_parser};

use super::topics::TopicRule;
use super::value::{self, Times};
use super::{Address, BasePath, Identity, Network};

/// `encke serve`: runs the gateway.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The file with options and rules for topics (docs/configuration.md). Flags and variables win over it.
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Try it out: no authentication, demo topics that tick, the live page, and the admin routes on the same port.
    #[arg(long, env = "ENCKE_DEV", value_parser = BoolishValueParser::new())]
    pub dev: bool,

    /// Where clients connect: an IP address and a port (0 takes a free one), `unix:PATH`, or `systemd` for the sockets that
    /// it passes. May be repeated; in the variable, separated by commas. If it is not given, sockets that systemd passes
    /// are taken; if there are none, the variable PORT may change the port [default: 127.0.0.1:8080].
    #[arg(long, env = "ENCKE_LISTEN", value_name = "ADDRESS", value_delimiter = ',', help_heading = LISTENING)]
    pub listen: Vec<Address>,
    /// Where metrics and health are, in the same forms; `systemd` is what it passes under the name `admin`. Not used under
    /// --dev [default: 127.0.0.1:8081].
    #[arg(long, env = "ENCKE_ADMIN", value_name = "ADDRESS", value_delimiter = ',', help_heading = LISTENING)]
    pub admin: Vec<Address>,
    /// The path under which clients find the gateway, such as `/live`, where a proxy passes paths on as they are.
    #[arg(long, env = "ENCKE_BASE_PATH", value_name = "PATH", help_heading = LISTENING)]
    pub base_path: Option<BasePath>,
    /// A host name under which the gateway may be called where host names are checked (under --dev, and on the admin
    /// address). May be repeated; in the variable, separated by commas.
    #[arg(long, env = "ENCKE_HOST", value_name = "NAME", value_delimiter = ',', help_heading = LISTENING)]
    pub host: Vec<String>,
    /// Where proxies are that are believed about the addresses of their clients (`X-Forwarded-For`): an address or a network
    /// such as `203.0.113.0/24`; `private` for this machine and private networks; `none`. Only statistics go by it. May be
    /// repeated; in the variable, separated by commas.
    #[arg(long, env = "ENCKE_TRUSTED_PROXY", value_name = "NETWORK", value_delimiter = ',', default_value = "private",
        help_heading = LISTENING)]
    pub trusted_proxy: Vec<Network>,
    /// The certificate of the gateway, and those that lead to its authority, in PEM: clients speak TLS then, HTTP/2 or
    /// HTTP/1.1, on every address but Unix sockets. Not the admin address.
    #[arg(long, env = "ENCKE_TLS_CERT", value_name = "FILE", help_heading = LISTENING)]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM (PKCS #8, PKCS #1 or SEC 1).
    #[arg(long, env = "ENCKE_TLS_KEY", value_name = "FILE", help_heading = LISTENING)]
    pub tls_key: Option<PathBuf>,
    /// Both, once they are read.
    #[arg(skip)]
    pub identity: Option<Identity>,
    /// How many connections clients may have at once; those beyond are told to come back (503), and publishers among
    /// them: connections that they keep keep their places. If not given, as many as the limit of open files allows.
    #[arg(long, env = "ENCKE_MAX_CONNECTIONS", value_name = "COUNT", value_parser = value::count, help_heading = LISTENING)]
    pub max_connections: Option<usize>,

    /// The file with the key for publishing (and for reading, where that is not public). A key a line; any of them is good.
    #[arg(long, env = "ENCKE_PUBLISH_KEY_FILE", value_name = "FILE", help_heading = ACCESS)]
    pub publish_key_file: Option<PathBuf>,
    /// The keys themselves, once they are known: a key is never a flag, as command lines can be read by other users.
    #[arg(skip)]
    pub publish_keys: Vec<String>,
    /// The file with the key for operators who ask from another machine, or through a proxy, for more than metrics and
    /// health. A key a line; any of them is good.
    #[arg(long, env = "ENCKE_ADMIN_KEY_FILE", value_name = "FILE", help_heading = ACCESS)]
    pub admin_key_file: Option<PathBuf>,
    /// The keys themselves, once they are known.
    #[arg(skip)]
    pub admin_keys: Vec<String>,
    /// Who may read topics for which no rule says it: `key` holders, or everybody (`public`).
    #[arg(long, env = "ENCKE_READ", default_value = "key", help_heading = ACCESS)]
    pub read: Who,
    /// An origin whose pages may read and publish, such as `https://www.example.com`; `*` for reading without
    /// credentials, where everybody may read. May be repeated; in the variable, separated by commas.
    #[arg(long, env = "ENCKE_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = value::origin,
        help_heading = ACCESS)]
    pub cors_origin: Vec<String>,
    /// Serve the live page also without --dev.
    #[arg(long, env = "ENCKE_PAGES", value_parser = BoolishValueParser::new(), help_heading = ACCESS)]
    pub pages: bool,

    /// The directory of the durable log; one process at a time.
    #[arg(long, env = "ENCKE_DATA", default_value = "./encke-data", value_name = "DIRECTORY", help_heading = LOG)]
    pub data: PathBuf,
    /// Where events are kept.
    #[arg(long, env = "ENCKE_STORE", default_value = "sqlite", value_name = "STORE", help_heading = LOG)]
    pub store: String,
    /// What a publish waits for: `fsync` survives a power cut, `os` a crash of the process.
    #[arg(long, env = "ENCKE_DURABILITY", default_value = "fsync", help_heading = LOG)]
    pub durability: Durable,
    /// How many events are kept at most.
    #[arg(long, env = "ENCKE_RETENTION_EVENTS", default_value_t = 1_000_000, value_name = "COUNT",
        value_parser = value_parser!(u64).range(1..), help_heading = LOG)]
    pub retention_events: u64,
    /// How long events are kept at most, such as `90s`, `12h`, `7d`.
    #[arg(long, env = "ENCKE_RETENTION_AGE", default_value = "7d", value_name = "AGE", value_parser = value::age,
        help_heading = LOG)]
    pub retention_age: Duration,
    /// How many bytes the log takes at most, such as `64MiB`, `1GiB`.
    #[arg(long, env = "ENCKE_RETENTION_BYTES", default_value = "1GiB", value_name = "SIZE", value_parser = value::size,
        help_heading = LOG)]
    pub retention_bytes: u64,

    /// The transports that are offered; of the others nothing is said. May be repeated or separated by commas. If not
    /// given, all that there are under --dev, else those that need no special care.
    #[arg(long, env = "ENCKE_TRANSPORTS", value_name = "NAME", value_delimiter = ',', help_heading = STREAMS)]
    pub transports: Vec<String>,
    /// Seconds between heartbeats where the subscriber does not say, 5 to 3600.
    #[arg(long, env = "ENCKE_HEARTBEAT", default_value_t = 15, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(5..=3600), help_heading = STREAMS)]
    pub heartbeat: u64,
    /// The range from which the reconnection time of a stream is drawn where the subscriber does not say.
    #[arg(long, env = "ENCKE_RETRY", default_value = "2s-5s", value_name = "RANGE", help_heading = STREAMS)]
    pub retry: Times,
    /// Seconds for which a peer may take no byte though some are offered, before its stream ends (`slow_reader`), 10 to 3600.
    #[arg(long, env = "ENCKE_STALL", default_value_t = 120, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(10..=3600), help_heading = STREAMS)]
    pub stall: u64,
    /// Seconds for which it is waited whether the client of a stream that was cut comes back, before it is decided why it was.
    #[arg(long, env = "ENCKE_GRACE", default_value_t = 35, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=3600), help_heading = STREAMS)]
    pub grace: u64,
    /// What writes streams of plain HTTP/1 connections: `socket`, the shards of the cores, straight to their sockets, or
    /// `ordinary`, the HTTP library, as on all other connections. It costs more, and tells whose fault something is.
    #[arg(long, env = "ENCKE_CARRIER", default_value = "socket", help_heading = STREAMS)]
    pub carrier: Carrier,
    /// Seconds that streams and publishes have to end in when the gateway is told to stop.
    #[arg(long, env = "ENCKE_DRAIN", default_value_t = 25, value_name = "SECONDS", help_heading = STREAMS)]
    pub drain: u64,

    /// The largest event, in bytes of data (413). A line of NDJSON may be twice as long.
    #[arg(long, env = "ENCKE_EVENT_BYTES", default_value = "1MiB", value_name = "SIZE",
        value_parser = value::size_within::<KIB, { 64 * MIB }>, help_heading = LIMITS)]
    pub event_bytes: usize,
    /// The largest content of a publish of many events as a JSON array (413).
    #[arg(long, env = "ENCKE_BATCH_BYTES", default_value = "16MiB", value_name = "SIZE",
        value_parser = value::size_within::<KIB, { 256 * MIB }>, help_heading = LIMITS)]
    pub batch_bytes: usize,
    /// The largest head of a request (431).
    #[arg(long, env = "ENCKE_HEAD_BYTES", default_value = "64KiB", value_name = "SIZE",
        value_parser = value::size_within::<{ 8 * KIB }, MIB>, help_heading = LIMITS)]
    pub head_bytes: usize,
    /// Seconds that the head of a request may take to arrive (408), 1 to 300.
    #[arg(long, env = "ENCKE_HEAD_TIMEOUT", default_value_t = 10, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=300), help_heading = LIMITS)]
    pub head_timeout: u64,
    /// Seconds for which a connection may be idle between two requests. Behind a proxy that keeps connections to the
    /// gateway open, longer than it does. 1 to 86400.
    #[arg(long, env = "ENCKE_KEEP_ALIVE", default_value_t = 75, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=86400), help_heading = LIMITS)]
    pub keep_alive: u64,
    /// How many topics or selectors one request may name (400).
    #[arg(long, env = "ENCKE_MAX_TOPICS", default_value = "128", value_name = "COUNT", value_parser = value::count,
        help_heading = LIMITS)]
    pub max_topics: usize,
    /// How many events are kept in memory at the live edge; readers behind them read the log. At least 1024.
    #[arg(long, env = "ENCKE_LIVE_EVENTS", default_value_t = 65_536, value_name = "COUNT",
        value_parser = value_parser!(u64).range(1024..), help_heading = LIMITS)]
    pub live_events: u64,
    /// How many bytes of events are kept in memory at the live edge, and as many again for readers behind it.
    #[arg(long, env = "ENCKE_LIVE_BYTES", default_value = "64MiB", value_name = "SIZE",
        value_parser = value::size_within::<MIB, { 64 * 1024 * MIB }>, help_heading = LIMITS)]
    pub live_bytes: usize,
    /// How many events may wait to be stored; more are told to come back (503).
    #[arg(long, env = "ENCKE_QUEUE_EVENTS", default_value = "8192", value_name = "COUNT", value_parser = value::count,
        help_heading = LIMITS)]
    pub queue_events: usize,
    /// How many bytes of events may wait to be stored; more are told to come back (503).
    #[arg(long, env = "ENCKE_QUEUE_BYTES", default_value = "16MiB", value_name = "SIZE",
        value_parser = value::size_within::<{ 64 * KIB }, { 4 * 1024 * MIB }>, help_heading = LIMITS)]
    pub queue_bytes: usize,
    /// How many reads of the log for readers behind the live edge may go on at once; others wait their turn.
    #[arg(long, env = "ENCKE_REPLAYS", default_value = "64", value_name = "COUNT", value_parser = value::count,
        help_heading = LIMITS)]
    pub replays: usize,

    /// Which messages are logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,encke::net=debug`.
    #[arg(long, env = "ENCKE_LOG_LEVEL", default_value = "info", value_name = "FILTER",
        value_parser = value::filter, help_heading = MESSAGES)]
    pub log_level: String,
    /// How messages are written to standard error.
    #[arg(long, env = "ENCKE_LOG_FORMAT", default_value = "text", help_heading = MESSAGES)]
    pub log_format: LogFormat,

    /// The rules for topics, first match first; only in the file.
    #[arg(skip)]
    pub topics: Vec<TopicRule>,
}

const LISTENING: &str = "Listening";
const ACCESS: &str = "Access";
const LOG: &str = "The log";
const STREAMS: &str = "Streams";
const LIMITS: &str = "Limits";
const MESSAGES: &str = "Messages";

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What a publish waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durable {
    /// The disk.
    Fsync,
    /// The operating system.
    Os,
}

/// What writes the streams of plain connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Carrier {
    /// The shards of the cores.
    Socket,
    /// The HTTP library.
    Ordinary,
}

/// Who may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Who {
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

impl ServeArgs {
    /// Whether pages of any origin may read what is public.
    #[must_use]
    pub fn any_origin(&self) -> bool {
        self.cors_origin.iter().any(|origin| origin == "*")
    }

    /// Whether everybody may read some topic.
    #[must_use]
    pub fn anything_public(&self) -> bool {
        let public = |rule: &TopicRule| rule.read == Some(Who::Public);
        self.dev || self.read == Who::Public || self.topics.iter().any(public)
    }
}
