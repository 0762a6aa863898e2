//! Where the parts are built and joined, and taken down again.

pub mod backup;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

use crate::access::{Access, Limit, Limits, Open, Operators, Policy, Quota, Rule, Rules, Secret};
use crate::config::{self, Address, Carrier, Durable, Passed, PassedSocket, ServeArgs, TopicRule, Who};
use crate::cores::Cores;
use crate::delivery::{self, Delivery, EndReason, Gone, Shards, SocketOptions};
use crate::http::{self, App, Guards, REFUSALS, Site};
use crate::hub::{Hub, PagesOptions};
use crate::log::sqlite::{OpenError, SqliteLog, SqliteOptions};
use crate::log::{Durability, GapReason, Keep, Log, MemoryLog, ReadError, Retention, TopicRetention, system_clock};
use crate::metrics::{Labels, Metrics, Sampled};
use crate::net::{self, Listener};
use crate::shutdown::Shutdown;
use crate::source::demo;
use crate::transport::{Offered, Resume, TRANSPORTS};

pub use crate::net::Local;

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub addresses: Vec<Local>,
    /// Where metrics and health are, if that is elsewhere.
    pub admin: Vec<Local>,
    /// What the page must be opened with, if not everybody may.
    pub token: Option<String>,
    log: Arc<dyn Log>,
    routes: Routes,
    tls: Option<net::Tls>,
    shutdown: Shutdown,
    /// The end of the admin listener, after that of everything else: whoever watches sees the drain.
    admin_shutdown: Shutdown,
    /// In seconds.
    drain: AtomicU64,
    _cores: Cores,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// Sockets were to be passed, and are not.
    #[error("cannot listen on {0}: systemd has passed no such socket (LISTEN_FDS, LISTEN_FDNAMES)")]
    NotPassed(Address),
    /// There are too many threads or open files.
    #[error("cannot start a thread for each core")]
    Cores(#[source] std::io::Error),
    /// Sockets were passed that nobody would serve: who connects there would wait for ever.
    #[error(
        "systemd has passed the socket {0:?}, and nothing listens on it: take it with --listen systemd:NAME or \
         --admin systemd:NAME (under --dev there is only --listen)"
    )]
    Unserved(String),
}

impl Gateway {
    /// Opens the log, binds the addresses, takes the sockets that were passed, and serves. The arguments must be complete.
    ///
    /// # Errors
    /// The log or an address is not to be had.
    pub async fn start(args: ServeArgs, passed: Vec<Passed>) -> Result<Self, StartError> {
        // The addresses first: a log must not be opened (a new epoch) for a gateway that cannot serve.
        let admin_options = net::Options { connections: ADMIN_CONNECTIONS, ..net_options(&args) };
        let tls = args.identity.as_ref().map(|identity| net::Tls::new(identity.certified()));
        let connections_at_once = net::connections(args.max_connections);
        let net_options = net::Options { connections: connections_at_once, tls: tls.clone(), ..admin_options.clone() };
        let mut passed = passed;
        let listeners = listen(&args.listen, false, &mut passed, &net_options)?;
        let admin_listeners = listen(&args.admin, true, &mut passed, &admin_options)?;
        if let Some(left) = passed.pop() {
            return Err(StartError::Unserved(left.name));
        }

        let shutdown = Shutdown::default();
        let cores = Cores::start(Cores::available()).map_err(StartError::Cores)?;
        let stall = Duration::from_secs(args.stall);
        let sockets = SocketOptions { stall, linger: net_options.linger };
        let shards = match args.carrier {
            Carrier::Socket => Shards::start(cores.handles(), &shutdown, sockets).map_err(StartError::Cores)?,
            Carrier::Ordinary => None,
        };
        let carriers = net::Cores { runtimes: cores.handles().to_vec(), shards: shards.map(Arc::new) };
        let log = open_log(&args).await?;
        let hub = Hub::start(Arc::clone(&log), pages(&args), &shutdown).await?;
        let metrics = Arc::new(Metrics::new(labels()));
        let delivery =
            Delivery::start(Arc::clone(&hub), Arc::clone(&metrics), shutdown.clone(), delivery_options(&args));
        let counters = Arc::new(net::Counters::default());
        let mut addresses = places(&listeners, &args.listen)?;
        if tls.is_some() {
            addresses = addresses.into_iter().map(Local::over_tls).collect();
        }
        let token =
            (args.dev && !addresses.iter().all(Local::is_local)).then(|| crate::delivery::StreamId::new().to_string());
        if token.is_some() && args.any_origin() {
            tracing::warn!(
                "--cors-origin * means nothing here: reading needs the token; list the origins of your pages"
            );
        }

        let app = App {
            log: Arc::clone(&log),
            hub,
            delivery,
            shards: carriers.shards.clone(),
            access: Arc::new(Access::new(policy(&args))),
            operators: operators(&args),
            limits: Arc::new(Limits::new(topic_limits(&args))),
            metrics,
            connections: connections(Arc::clone(&counters), carriers.shards.clone()),
            shutdown: shutdown.clone(),
            clock: system_clock(),
            options: http_options(&args),
        };
        if args.dev {
            shutdown.spawn(demo::run(Arc::clone(&log), shutdown.clone()));
        }
        let admin = places(&admin_listeners, &args.admin)?;
        let routes = Routes::new(app, token.clone(), &args);
        serve(listeners, routes.public.subscribe(), net_options, carriers, &shutdown, &counters);
        let admin_shutdown = Shutdown::default();
        if !admin_listeners.is_empty() {
            let here = net::Cores::default();
            serve(admin_listeners, routes.admin.subscribe(), admin_options, here, &admin_shutdown, &counters);
        }
        let drain = AtomicU64::new(args.drain);
        Ok(Self { addresses, admin, token, log, routes, tls, shutdown, admin_shutdown, drain, _cores: cores })
    }

    /// Takes over what can change while it runs. The arguments must be complete.
    pub fn reload(&self, args: &ServeArgs) {
        self.routes.replace(args);
        if let (Some(tls), Some(identity)) = (&self.tls, &args.identity) {
            tls.replace(identity.certified());
        }
        self.drain.store(args.drain, Relaxed);
    }

    /// Whether the gateway can still do its work. If not, only a new start helps.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.log.is_alive()
    }

    /// Ends every stream with a word, finishes what was accepted, and closes the log. What is left when `hurry` resolves is
    /// cut at once. Answers whether nothing had to be cut.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> bool {
        let in_time = tokio::select! {
            in_time = self.shutdown.finish(Duration::from_secs(self.drain.load(Relaxed))) => in_time,
            () = hurry => self.shutdown.finish(Duration::ZERO).await,
        };
        self.admin_shutdown.finish(ADMIN_DRAIN).await;
        self.log.close().await;
        in_time
    }
}

/// The names of the transports and stores that there are.
#[must_use]
pub fn names() -> config::Names {
    let transports = TRANSPORTS.iter().map(|transport| (transport.name, "")).collect();
    let stores = STORES.iter().map(|store| (store.name, store.what)).collect();
    config::Names { transports, stores }
}

/// Where events can be kept.
struct Store {
    /// Its name, as `--store` spells it.
    name: &'static str,
    what: &'static str,
    open: fn(&ServeArgs) -> Result<Arc<dyn Log>, OpenError>,
}

/// The stores that there are.
const STORES: &[Store] = &[
    Store { name: "sqlite", what: "In a file of the data directory", open: open_sqlite },
    Store { name: "memory", what: "In memory: gone with the process", open: open_memory },
];

/// Connections of the admin listener at once: there are descriptors for them beside those of clients.
const ADMIN_CONNECTIONS: usize = 32;

/// How long an answer of the admin listener may take at the very end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// The transports that are offered where nobody chose: those that put no script on a page and hold up no browser.
const TRANSPORTS_BY_DEFAULT: &[&str] = &["sse", "ndjson", "long-poll", "poll", "multipart-replace", "multipart-mixed"];

fn net_options(args: &ServeArgs) -> net::Options {
    net::Options {
        head_timeout: Duration::from_secs(args.head_timeout),
        head_bytes: args.head_bytes,
        keep_alive: Duration::from_secs(args.keep_alive),
        stall: Duration::from_secs(args.stall),
        ..net::Options::default()
    }
}

fn pages(args: &ServeArgs) -> PagesOptions {
    let bytes = args.live_bytes as u64;
    PagesOptions { pinned_events: args.live_events, pinned_bytes: bytes, cached_bytes: bytes, replays: args.replays }
}

fn http_options(args: &ServeArgs) -> http::Options {
    let names: Vec<&str> = match args.transports.as_slice() {
        [] if args.dev => TRANSPORTS.iter().map(|transport| transport.name).collect(),
        [] => TRANSPORTS_BY_DEFAULT.to_vec(),
        chosen => chosen.iter().map(String::as_str).collect(),
    };
    let transports = Offered::only(names).expect("names of transports are checked where they are read");
    http::Options {
        event_bytes: args.event_bytes,
        batch_bytes: args.batch_bytes,
        max_topics: args.max_topics,
        transports,
        pages: args.dev || args.pages,
        cuttable: args.dev,
        trusted_proxies: args.trusted_proxy.clone(),
    }
}

/// A listener for each address, and for each socket that was passed for it; those are taken out of `passed`.
fn listen(
    addresses: &[Address],
    for_admin: bool,
    passed: &mut Vec<Passed>,
    options: &net::Options,
) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let failed = |source| StartError::Listen { address: address.clone(), source };
        match address {
            Address::Tcp(address) => listeners.push(Listener::tcp(*address, options).map_err(failed)?),
            Address::Unix { path, mode } => listeners.push(Listener::unix(path, *mode, options).map_err(failed)?),
            Address::Systemd { name } => {
                let fits = |passed: &mut Passed| match name {
                    Some(name) => passed.name == *name,
                    None => passed.is_for_admin() == for_admin,
                };
                let before = listeners.len();
                for Passed { socket, .. } in passed.extract_if(.., fits) {
                    let listener = match socket {
                        PassedSocket::Tcp(socket) => Listener::passed_tcp(socket),
                        PassedSocket::Unix(socket) => Listener::passed_unix(socket),
                    };
                    listeners.push(listener.map_err(failed)?);
                }
                if listeners.len() == before {
                    return Err(StartError::NotPassed(address.clone()));
                }
            }
        }
    }
    Ok(listeners)
}

fn places(listeners: &[Listener], addresses: &[Address]) -> Result<Vec<Local>, StartError> {
    let places = listeners.iter().map(Listener::place).collect::<Result<_, _>>();
    places.map_err(|source| StartError::Listen { address: addresses[0].clone(), source })
}

/// What the listeners serve, as it is now: it is built anew from other options, and each request goes to the newest.
struct Routes {
    app: App,
    token: Option<String>,
    public: watch::Sender<Arc<Site>>,
    admin: watch::Sender<Arc<Site>>,
}

impl Routes {
    fn new(app: App, token: Option<String>, args: &ServeArgs) -> Self {
        let public = http::public(app.clone(), public_guards(args, token.as_deref()), args.dev);
        let public = watch::Sender::new(Arc::new(public));
        let admin = watch::Sender::new(Arc::new(http::admin(app.clone(), admin_guards(args))));
        Self { app, token, public, admin }
    }

    fn replace(&self, args: &ServeArgs) {
        self.app.access.replace(policy(args));
        self.app.limits.replace(topic_limits(args));
        let delivery = self.app.delivery.with_options(delivery_options(args));
        let app = App { delivery, operators: operators(args), options: http_options(args), ..self.app.clone() };
        let guards = public_guards(args, self.token.as_deref());
        drop(self.public.send_replace(Arc::new(http::public(app.clone(), guards, args.dev))));
        drop(self.admin.send_replace(Arc::new(http::admin(app, admin_guards(args)))));
    }
}

fn delivery_options(args: &ServeArgs) -> delivery::Options {
    delivery::Options {
        heartbeat: Duration::from_secs(args.heartbeat),
        retry: (args.retry.least, args.retry.most),
        retention_events: args.retention_events,
        cuttable: args.dev,
        grace: Duration::from_secs(args.grace),
    }
}

fn serve(
    listeners: Vec<Listener>,
    site: watch::Receiver<Arc<Site>>,
    options: net::Options,
    cores: net::Cores,
    shutdown: &Shutdown,
    counters: &Arc<net::Counters>,
) {
    let service = tower::service_fn(move |request: axum::http::Request<net::Content>| {
        let mut request = request.map(axum::body::Body::new);
        if request.extensions_mut().remove::<net::Crowded>().is_some() {
            request.extensions_mut().insert(http::Crowded);
        }
        let site = Arc::clone(&site.borrow());
        async move { Ok(site.answer(request).await) }
    });
    shutdown.spawn(net::serve_on(cores, listeners, service, options, shutdown.clone(), Arc::clone(counters)));
}

async fn open_log(args: &ServeArgs) -> Result<Arc<dyn Log>, StartError> {
    let store = STORES.iter().find(|store| store.name == args.store).expect("names are checked where they are read");
    let args = args.clone();
    // Opening waits for another process's lock and reads the disk: not on the executor.
    let opened = tokio::task::spawn_blocking(move || (store.open)(&args)).await;
    Ok(opened.expect("opening the log does not panic")?)
}

fn open_memory(args: &ServeArgs) -> Result<Arc<dyn Log>, OpenError> {
    Ok(Arc::new(MemoryLog::new(retention(args), system_clock())))
}

fn open_sqlite(args: &ServeArgs) -> Result<Arc<dyn Log>, OpenError> {
    let durability = match args.durability {
        Durable::Fsync => Durability::Fsync,
        Durable::Os => Durability::Os,
    };
    let options = SqliteOptions {
        durability,
        retention: retention(args),
        queue_events: args.queue_events,
        queue_bytes: args.queue_bytes,
        ..SqliteOptions::new(args.data.clone())
    };
    Ok(Arc::new(SqliteLog::open(options)?))
}

/// Who may do what. What a rule leaves open is as without a rule.
fn policy(args: &ServeArgs) -> Policy {
    let read = open(args.read);
    let rule = |rule: &TopicRule| Rule {
        matches: rule.selector.clone(),
        read: rule.read.map_or(read, open),
        publish: rule.publish.map_or(Open::Key, open),
    };
    let rules = args.topics.iter().map(rule).collect();
    Policy {
        rules: Arc::new(Rules { rules, ..Rules::all(read, Open::Key) }),
        keys: args.publish_keys.iter().map(|key| Secret::new(key)).collect(),
        open: args.dev,
    }
}

/// Who may see what is for operators.
fn operators(args: &ServeArgs) -> Operators {
    Operators { keys: args.admin_keys.iter().map(|key| Secret::new(key)).collect(), open: args.dev }
}

/// What holds for what is published. Rules that say nothing of it stand there too, as they hide those below them.
fn topic_limits(args: &ServeArgs) -> Vec<Limit> {
    let limit = |rule: &TopicRule| Limit {
        matches: rule.selector.clone(),
        quota: rule.quota.map(|config::Quota { events, per }| Quota { events, per }),
        ttl: rule.ttl,
    };
    args.topics.iter().map(limit).collect()
}

fn open(who: Who) -> Open {
    match who {
        Who::Public => Open::Public,
        Who::Key => Open::Key,
    }
}

/// How much is kept.
fn retention(args: &ServeArgs) -> Retention {
    let topic = |rule: &TopicRule| {
        let config::Keep { events, age, bytes } = rule.keep;
        TopicRetention { matches: rule.selector.clone(), keep: Keep { events, age, bytes } }
    };
    Retention {
        events: args.retention_events,
        age: args.retention_age,
        bytes: args.retention_bytes,
        topics: args.topics.iter().map(topic).collect(),
    }
}

fn public_guards(args: &ServeArgs, token: Option<&str>) -> Guards {
    Guards {
        origins: args.cors_origin.iter().filter(|origin| *origin != "*").cloned().collect(),
        any_origin: args.any_origin(),
        loopback_origins: args.dev,
        check_host: args.dev,
        hosts: args.host.clone(),
        base: args.base_path.clone().unwrap_or_default().as_str().to_owned(),
        token: token.map(Secret::new),
    }
}

fn admin_guards(args: &ServeArgs) -> Guards {
    Guards { check_host: true, hosts: args.host.clone(), ..Guards::default() }
}

/// The closed sets that metrics are labelled with.
fn labels() -> Labels<'static> {
    use std::sync::LazyLock;
    static TRANSPORT_NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| TRANSPORTS.iter().map(|t| t.name).collect());
    static ENDS: LazyLock<Vec<&str>> = LazyLock::new(|| EndReason::ALL.iter().map(|r| r.as_str()).collect());
    static SIGNS: LazyLock<Vec<&str>> = LazyLock::new(|| Gone::ALL.iter().map(|gone| gone.as_str()).collect());
    static GAPS: LazyLock<Vec<&str>> = LazyLock::new(|| GapReason::ALL.iter().map(|r| r.as_str()).collect());
    static RESUMES: LazyLock<Vec<&str>> =
        LazyLock::new(|| [Resume::New, Resume::Resumed, Resume::Gap].iter().map(|r| r.as_str()).collect());
    Labels {
        transports: &TRANSPORT_NAMES,
        ends: &ENDS,
        signs: &SIGNS,
        gaps: &GAPS,
        resumes: &RESUMES,
        refusals: REFUSALS,
    }
}

/// Reads what the listeners count.
fn connections(counters: Arc<net::Counters>, shards: Option<Arc<Shards>>) -> Arc<dyn Fn(Sampled) -> u64 + Send + Sync> {
    use std::sync::atomic::Ordering::Relaxed;
    Arc::new(move |sampled| match sampled {
        Sampled::ConnectionsActive => counters.open.load(Relaxed),
        Sampled::Connections => counters.accepted.load(Relaxed),
        Sampled::ConnectionsRefused => counters.crowded.load(Relaxed),
        Sampled::AcceptErrors => counters.accept_errors.load(Relaxed),
        Sampled::HeadTimeouts => counters.head_timeouts.load(Relaxed),
        Sampled::HeadsTooLarge => counters.head_too_large.load(Relaxed),
        Sampled::BadHeads => counters.bad_heads.load(Relaxed),
        Sampled::TlsHandshakeFailures => counters.tls_handshake_failures.load(Relaxed),
        Sampled::Stalled => counters.stalled.load(Relaxed) + shards.as_ref().map_or(0, |shards| shards.stalled()),
        _ => 0,
    })
}
