//! Every route on one screen; requests in, wanted streams and events out.
//!
//! Only this module and the gateway know axum. Handlers parse, ask the log or the delivery, and describe the answer; what
//! happens to a stream after its head is the business of `delivery`.

mod admin;
mod assets;
mod base;
mod delete;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod negotiate;
mod openapi;
mod parameter;
mod problem;
mod publish;
mod query;
mod subscribe;
mod trace_context;
mod want;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

use crate::access::{Access, Limits};
use crate::delivery::{Delivery, StreamId};
use crate::hub::Hub;
use crate::log::{Clock, Log};
use crate::metrics::{Metrics, Sampled};
use crate::shutdown::Shutdown;
use crate::transport::Offered;

pub use guard::Guards;
use problem::Problem;
/// The kinds of refusals that are counted.
pub use problem::REFUSALS;

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
    /// Who may do what.
    pub access: Arc<Access>,
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
pub fn public(app: App, guards: Guards, with_admin: bool) -> Router {
    let guards = Arc::new(guards);
    let mut routes =
        Router::new().route("/events", events()).route("/events/", events()).route("/events/{*topic}", events());
    if app.options.pages {
        routes = routes.merge(assets::routes());
    }
    if app.options.cuttable {
        routes = routes.route("/streams/{id}/cut", post(cut));
    }
    if with_admin {
        routes = routes.merge(admin_routes());
    }
    if guards.base.is_empty() {
        return layered(routes, app, &guards);
    }
    let elsewhere = layered(base::elsewhere(&guards.base), app.clone(), &guards);
    base::below(&guards.base, layered(routes, app, &guards), elsewhere)
}

fn events() -> MethodRouter<App> {
    get(subscribe::subscribe).post(publish::publish).put(publish::publish).delete(delete::delete)
}

/// What the admin listener serves.
pub fn admin(app: App, guards: Guards) -> Router {
    layered(admin_routes(), app, &Arc::new(guards))
}

fn admin_routes() -> Router<App> {
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/health/live", get(admin::live))
        .route("/health/ready", get(admin::ready))
        .route("/openapi.json", get(openapi::openapi))
}

/// What every request passes, outermost first.
fn layered(routes: Router<App>, app: App, guards: &Arc<Guards>) -> Router {
    let guarded = guard::Guarded { guards: Arc::clone(guards), metrics: Arc::clone(&app.metrics) };
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http().make_span_with(span).on_request(()).on_response(answered).on_failure(()))
        .layer(middleware::map_response(guard::mark))
        .layer(middleware::from_fn_with_state(guard::Cors::new(guards, app.access.any_public()), guard::share))
        .layer(middleware::from_fn_with_state(guarded, guard::guard))
        .layer(CatchPanicLayer::custom(panicked));
    routes.fallback(not_found).method_not_allowed_fallback(not_allowed).layer(layers).with_state(app)
}

/// One span a request. The query stays out of it: it may hold a token. Whoever sent their trace along is to find also what
/// is said at `info`; for all others the span would be made in vain.
fn span(request: &Request<Body>) -> tracing::Span {
    let (method, path, version) = (request.method(), request.uri().path(), request.version());
    match trace_context::trace_id(request.headers()) {
        Some(trace_id) => tracing::info_span!("request", %method, path, ?version, trace_id),
        None => tracing::debug_span!("request", %method, path, ?version),
    }
}

/// One message a request: that of an access log. Of a stream it is the head that was answered, and its end is told later.
fn answered(response: &Response, took: Duration, _: &tracing::Span) {
    tracing::debug!(
        status = response.status().as_u16(),
        ?took,
        stream = response.headers().get(subscribe::ENCKE_STREAM).and_then(|id| id.to_str().ok()),
        "answered"
    );
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; events are at /events")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method does nothing here; see the Allow field")
}

/// `POST /streams/{id}/cut`: breaks a stream, so that one can see it come back. Whoever knows its id may.
async fn cut(State(app): State<App>, id: Result<Path<String>, PathRejection>) -> Result<StatusCode, Problem> {
    let cut = id.is_ok_and(|Path(id)| StreamId::parse(&id).is_some_and(|id| app.delivery.cut(id)));
    let gone = || Problem::new(StatusCode::NOT_FOUND, "there is no such stream; it may have ended");
    cut.then_some(StatusCode::NO_CONTENT).ok_or_else(gone)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked; the other connections go on");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway made a mistake; its log says more").into_response()
}
