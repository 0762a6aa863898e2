//! What every request passes on its way to its handler, and every answer on its way back: whatever is reached by whichever
//! route, it is reached through here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::cors::Cors;
use super::guard::{Guards, is_for_events, take_rest};
use super::problem::{Problem, Refusal};
use super::trace::Trace;
use super::{App, Crowded};
use crate::metrics::Metrics;

/// The guards and rules of one listener.
pub(super) struct Passage {
    guards: Arc<Guards>,
    cors: Cors,
    metrics: Arc<Metrics>,
}

impl Passage {
    pub(super) fn new(app: &App, guards: Arc<Guards>) -> Self {
        Self { cors: Cors::new(&guards, app.access.any_public()), guards, metrics: Arc::clone(&app.metrics) }
    }

    /// Serves a request by `serve`, unless it may not pass.
    ///
    /// In one function and not in one for each guard, as a future holds each request that it hands on twice.
    pub(super) async fn pass<F: Future<Output = Response>>(
        &self,
        request: Request<Body>,
        serve: impl FnOnce(Request<Body>) -> F,
    ) -> Response {
        let trace = Trace::begin(&request);
        let sharing = self.cors.of(&request);
        let (version, crowded) = (request.version(), request.extensions().get::<Crowded>().is_some());
        let mut response = match self.entry(&request, crowded) {
            Entry::Preflight => return trace.end(marked(self.cors.preflight(&sharing))),
            Entry::Free => unharmed(serve(request)).instrument(trace.span()).await,
            Entry::Answered(response) => response,
            Entry::Refused(problem) => {
                take_rest(version, request.into_body()).await;
                problem.into_response()
            }
        };
        if crowded && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(Refusal(kind)) = response.extensions().get() {
            self.metrics.refuse(kind);
        }
        self.cors.share(&mut response, &sharing);
        trace.end(marked(response))
    }

    /// Whether a request may go to its handler. What comes by a foreign name, from a foreign page, or without the token may
    /// not.
    fn entry(&self, request: &Request<Body>, crowded: bool) -> Entry {
        let is_to = |methods: &[Method]| methods.contains(request.method());
        if is_to(&[Method::OPTIONS]) {
            return Entry::Preflight;
        }
        match self.guards.check(request) {
            // Only there a subscriber can be told to come back in a way that it understands.
            Ok(None) if crowded && !(is_to(&[Method::GET, Method::HEAD]) && is_for_events(request)) => {
                Entry::Refused(Problem::crowded())
            }
            Ok(None) => Entry::Free,
            Ok(Some(redirect)) => Entry::Answered(redirect),
            Err(problem) => Entry::Refused(problem),
        }
    }
}

/// What becomes of a request.
enum Entry {
    /// It goes to its handler.
    Free,
    /// A page's browser asks whether a request of it might pass.
    Preflight,
    Answered(Response),
    Refused(Problem),
}

/// The passage as a layer of axum's.
pub(super) async fn through(State(passage): State<Arc<Passage>>, request: Request<Body>, next: Next) -> Response {
    passage.pass(request, |request| next.run(request)).await
}

/// Marks every answer, also to a preflight, as what it says it is and nothing else.
fn marked(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CROSS_ORIGIN_RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    response
}

/// Fetch § 3.7.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What a handler answers, or, if it panics, that it did.
async fn unharmed(serving: impl Future<Output = Response>) -> Response {
    let mut serving = pin!(serving);
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(panicked()))
    })
    .await
}

#[cold]
fn panicked() -> Response {
    tracing::error!("a handler panicked; the other connections go on");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway made a mistake; its log says more").into_response()
}
