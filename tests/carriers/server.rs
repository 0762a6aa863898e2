//! Streams of a log in memory behind a listener, without the gateway's own routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use encke::delivery::{Begin, Delivery, EndReason, Gone, Options as Delivering, Peer, Shards, SocketOptions, Wanted};
use encke::event::{Event, Timestamp, Topic, TopicSelector};
use encke::hub::{Hub, PagesOptions, Selection};
use encke::log::{Log, MemoryLog, Retention};
use encke::metrics::{Form, Labels, Metrics};
use encke::net::{Cores, Counters, Listener, Local, Options, serve_on};
use encke::shutdown::Shutdown;
use encke::transport::by_name;
use tokio::runtime::Handle;

use crate::client::{Client, patiently};

/// What carries the streams of plain connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Ordinary,
    Socket,
}

pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<dyn Log>,
    metrics: Arc<Metrics>,
    counters: Arc<Counters>,
    pub(crate) shutdown: Shutdown,
}

impl Server {
    pub(crate) async fn start(carrier: Carrier) -> Self {
        Self::with(carrier, Options::default(), SocketOptions::default()).await
    }

    pub(crate) async fn with(carrier: Carrier, options: Options, sockets: SocketOptions) -> Self {
        let shutdown = Shutdown::default();
        let clock = Arc::new(|| Timestamp(0));
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Retention::default(), clock.clone()));
        let pages = PagesOptions::default();
        let hub = Hub::start_at(Arc::clone(&log), pages, clock, &shutdown).await.unwrap();
        let ends = EndReason::ALL.map(EndReason::as_str);
        let signs = Gone::ALL.map(Gone::as_str);
        let labels =
            Labels { transports: &["sse"], ends: &ends, signs: &signs, gaps: &[], resumes: &["new"], refusals: &[] };
        let metrics = Arc::new(Metrics::new(labels));
        let delivery = Delivery::start(hub, Arc::clone(&metrics), shutdown.clone(), Delivering::default());
        let service =
            Router::new().route("/stream", get(stream)).route("/echo", post(|content: Bytes| async { content }));
        let runtimes = vec![Handle::current()];
        let shards = match carrier {
            Carrier::Ordinary => None,
            Carrier::Socket => Shards::start(&runtimes, &shutdown, sockets).unwrap().map(Arc::new),
        };
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let Ok(Local::Tcp(address)) = listener.place() else { panic!("an address") };
        let (cores, counters) = (Cores { runtimes, shards }, Arc::<Counters>::default());
        let service = service.with_state(delivery);
        let serving = serve_on(cores, vec![listener], service, options, shutdown.clone(), Arc::clone(&counters));
        shutdown.spawn(serving);
        Self { address, log, metrics, counters, shutdown }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address, None).await
    }

    /// One that has room for some kilobytes only.
    pub(crate) async fn narrow_client(&self) -> Client {
        Client::connect(self.address, Some(4096)).await
    }

    pub(crate) async fn publish(&self, data: &[&str]) {
        let topic = Topic::parse("a").unwrap();
        let events = data.iter().map(|data| Event::new(topic.clone(), (*data).to_owned())).collect();
        self.log.append(events).await.unwrap();
    }

    /// Waits until so many streams have ended for this reason.
    pub(crate) async fn ended(&self, reason: &str, count: u64) {
        let line = format!("reason=\"{reason}\",transport=\"sse\"}} {count}");
        let is_so = || {
            self.metrics
                .scrape(Form::Text, |_| 0)
                .lines()
                .any(|row| row.starts_with("encke_stream_ends") && row.ends_with(&line))
        };
        patiently(&line, is_so).await;
    }

    /// Waits until so many streams have ended with this sign of their sockets.
    pub(crate) async fn left(&self, sign: &str, count: u64) {
        let line = format!("encke_stream_last_signs_total{{sign=\"{sign}\",transport=\"sse\"}} {count}");
        patiently(&line, || self.metrics.scrape(Form::Text, |_| 0).lines().any(|row| row == line)).await;
    }

    /// Waits until no connection and no stream is open.
    pub(crate) async fn closed(&self) {
        patiently("the end of all", || self.counters.open.load(Ordering::Relaxed) == 0 && self.metrics.streams() == 0)
            .await;
    }

    /// Waits until so many connections were accepted.
    pub(crate) async fn accepted(&self, count: u64) {
        patiently("the connections", || self.counters.accepted.load(Ordering::Relaxed) == count).await;
    }

    /// Whether all came to its end by itself.
    pub(crate) async fn finish(&self) -> bool {
        self.shutdown.finish(Duration::from_secs(20)).await
    }
}

/// A stream of everything, which ends after `?limit=` events; `?coded` is what a layer in between would have changed.
async fn stream(State(delivery): State<Delivery>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let selection = Arc::new(Selection::new(vec![TopicSelector::parse("**").unwrap()]));
    let wanted = Wanted {
        limit: query.strip_prefix("limit=").map(|limit| limit.parse().unwrap()),
        peer: Arc::clone(request.extensions().get::<Arc<Peer>>().unwrap()),
        ..Wanted::new(selection, by_name("sse").unwrap(), Begin::Unsaid)
    };
    let opened = delivery.open(wanted).await.unwrap();
    let mut response = Response::new(Body::from_stream(opened.body));
    response.extensions_mut().insert(opened.handoff);
    response.headers_mut().insert("content-type", opened.content_type.parse().unwrap());
    if query == "coded" {
        response.headers_mut().insert("content-encoding", "identity".parse().unwrap());
    }
    response
}
