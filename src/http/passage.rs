//! What every request passes on its way to its handler, and every answer on its way back: whatever is reached by whichever
//! route, it is reached through here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::cors::Cors;
use super::guard::{Guards, is_for_events, take_rest};
use super::problem::{Problem, Refusal};
use super::{App, Crowded, trace};
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
    pub(super) async fn pass<F: Future<Output = Response>>(
        &self,
        request: Request<Body>,
        serve: impl FnOnce(Request<Body>) -> F,
    ) -> Response {
        trace::traced(request, |request| async {
            let mut response = self.shared(request, serve).await;
            mark(&mut response);
            response
        })
        .await
    }

    /// Says which pages may read the answer; answers preflights.
    async fn shared<F: Future<Output = Response>>(
        &self,
        request: Request<Body>,
        serve: impl FnOnce(Request<Body>) -> F,
    ) -> Response {
        let sharing = self.cors.of(&request);
        if request.method() == Method::OPTIONS {
            return self.cors.preflight(&sharing);
        }
        let mut response = self.guarded(request, serve).await;
        self.cors.share(&mut response, &sharing);
        response
    }

    /// Refuses what comes by a foreign name, from a foreign page, or without the token; counts refusals.
    async fn guarded<F: Future<Output = Response>>(
        &self,
        request: Request<Body>,
        serve: impl FnOnce(Request<Body>) -> F,
    ) -> Response {
        let (version, crowded) = (request.version(), request.extensions().get::<Crowded>().is_some());
        // Only there a subscriber can be told to come back in a way that it understands.
        let subscribes = matches!(*request.method(), Method::GET | Method::HEAD) && is_for_events(&request);
        let mut response = match self.guards.check(&request) {
            Ok(None) if crowded && !subscribes => {
                take_rest(version, request.into_body()).await;
                Problem::crowded().into_response()
            }
            Ok(None) => unharmed(async { serve(request).await }).await,
            Ok(Some(redirect)) => redirect,
            Err(problem) => {
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
        response
    }
}

/// The passage as a layer of axum's.
pub(super) async fn through(State(passage): State<Arc<Passage>>, request: Request<Body>, next: Next) -> Response {
    passage.pass(request, |request| next.run(request)).await
}

/// Marks every answer, also to a preflight, as what it says it is and nothing else.
fn mark(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry("cross-origin-resource-policy").or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

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
