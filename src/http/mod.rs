//! Every route on one screen; requests in, wanted streams and events out.
//!
//! Only this module and the gateway know axum. Handlers parse, ask the log or the delivery, and describe the answer; what
//! happens to a stream after its head is the business of `delivery`.

mod admin;
mod assets;
mod base;
mod beacon;
mod cors;
mod delete;
mod diagnosis;
mod forwarded;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod insight;
mod negotiate;
mod openapi;
mod operator;
mod parameter;
mod passage;
mod problem;
mod publish;
mod query;
mod site;
mod streams;
mod subscribe;
mod trace;
mod trace_context;
mod want;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use tower_http::compression::CompressionLayer;

use crate::access::{Access, Limits, Operators};
use crate::config::Network;
use crate::delivery::{Delivery, Shards, StreamId};
use crate::hub::Hub;
use crate::log::{Clock, Log};
use crate::metrics::{Metrics, Sampled};
use crate::shutdown::Shutdown;
use crate::transport::Offered;

pub use guard::Guards;
use problem::Problem;
/// The kinds of refusals that are counted.
pub use problem::REFUSALS;
pub use site::Site;

/// How requests are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest event, in bytes of data. A line of NDJSON may have twice as many, as base64 and escapes take room.
    pub event_bytes: usize,
    /// The largest JSON array of events, in bytes.
    pub batch_bytes: usize,
    /// How many topics or selectors one request may name.
    pub max_topics: usize,
    /// Which transports subscribers may have.
    pub transports: Offered,
    /// Whether browsers are given pages.
    pub pages: bool,
    /// Whether streams may be cut from the page.
    pub cuttable: bool,
    /// Who is believed about the addresses of clients.
    pub trusted_proxies: Vec<Network>,
}

/// What the handlers need.
#[derive(Clone)]
pub struct App {
    /// Where events are stored.
    pub log: Arc<dyn Log>,
    /// The pages of the log.
    pub hub: Arc<Hub>,
    /// Opens streams and answers polls.
    pub delivery: Delivery,
    /// Who carries streams beside the HTTP library.
    pub shards: Option<Arc<Shards>>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Who may see what is for operators.
    pub operators: Operators,
    /// How much may be published.
    pub limits: Arc<Limits>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the listeners count, read at each scrape.
    pub connections: Arc<dyn Fn(Sampled) -> u64 + Send + Sync>,
    /// The end of the gateway.
    pub shutdown: Shutdown,
    /// The time.
    pub clock: Clock,
    /// How requests are read.
    pub options: Options,
}

/// Marks a request of a connection for which there is no room: it is told to come back, and its connection ends.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// What the public listener serves, all of it below [`Guards::base`].
pub fn public(app: App, guards: Guards, with_admin: bool) -> Site {
    let mut routes = Router::new()
        .route("/events", events())
        .route("/events/", events())
        .route("/events/{*topic}", events())
        .route("/beacon", post(beacon::beacon));
    if app.options.pages {
        routes = routes.merge(assets::routes());
    }
    if app.options.cuttable {
        routes = routes.route("/streams/{id}/cut", post(cut));
    }
    if with_admin {
        routes = routes.merge(admin_routes(&app.operators));
    }
    Site::new(app, guards, routes, true)
}

fn events() -> MethodRouter<Arc<App>> {
    get(subscribe::subscribe).post(publish::publish).put(publish::publish).delete(delete::delete)
}

/// What the admin listener serves.
pub fn admin(app: App, guards: Guards) -> Site {
    let routes = admin_routes(&app.operators);
    Site::new(app, guards, routes, false)
}

/// Compressed for who asks, as Prometheus does: what is scraped is mostly names, again and again.
fn admin_routes(operators: &Operators) -> Router<Arc<App>> {
    let only = middleware::from_fn_with_state(Arc::new(operators.clone()), operator::only);
    let for_operators = Router::new()
        .route("/diagnosis", get(diagnosis::diagnosis).delete(diagnosis::forget))
        .route("/streams", get(streams::streams))
        .route_layer(only);
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/health/live", get(admin::live))
        .route("/health/ready", get(admin::ready))
        .route("/openapi.json", get(openapi::openapi))
        .merge(for_operators)
        .layer(CompressionLayer::new())
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; events are at /events")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method does nothing here; see the Allow field")
}

/// `POST /streams/{id}/cut`: breaks a stream, so that one can see it come back. Whoever knows its id may.
async fn cut(State(app): State<Arc<App>>, id: Result<Path<String>, PathRejection>) -> Result<StatusCode, Problem> {
    let cut = id.is_ok_and(|Path(id)| StreamId::parse(&id).is_some_and(|id| app.delivery.cut(id)));
    let gone = || Problem::new(StatusCode::NOT_FOUND, "there is no such stream; it may have ended");
    cut.then_some(StatusCode::NO_CONTENT).ok_or_else(gone)
}
