//! What every request passes on its way to its handler, and every answer on its way back: whatever is reached by whichever
//! route, it is reached through here.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tokio_util::either::Either;
use tracing::Span;

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
    /// In one function and not in one for each guard, and with all that can be decided at once decided before there is a
    /// future: a future is copied into each that it is wrapped in, with every request that it holds.
    pub(super) fn pass<F: Future<Output = Response> + Send>(
        &self,
        request: Request<Body>,
        serve: impl FnOnce(Request<Body>) -> F,
    ) -> impl Future<Output = Response> + Send {
        let trace = Trace::begin(&request);
        let sharing = self.cors.of(&request);
        let (version, crowded) = (request.version(), request.extensions().get::<Crowded>().is_some());
        let serving = match self.entry(&request, crowded) {
            Entry::Preflight => return Either::Left(ready(trace.end(marked(self.cors.preflight(&sharing))))),
            Entry::Free => match unharmed(serve, request, trace.span()) {
                Some(serving) => Either::Left(serving),
                None => Either::Right(Either::Left(ready(panicked()))),
            },
            Entry::Answered(response) => Either::Right(Either::Left(ready(response))),
            Entry::Refused(problem) => Either::Right(Either::Right(Box::pin(async move {
                take_rest(version, request.into_body()).await;
                problem.into_response()
            }))),
        };
        Either::Right(async move {
            let mut response = serving.await;
            if crowded && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(Refusal(kind)) = response.extensions().get() {
                self.metrics.refuse(kind);
            }
            self.cors.share(&mut response, &sharing);
            trace.end(marked(response))
        })
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

pin_project! {
    /// What a handler answers in the span of its request, or, if it panics, that it did.
    ///
    /// One future and not one for each of the two: a handler's is large, and is copied into each that it is wrapped in.
    struct Unharmed<F> {
        #[pin]
        serving: F,
        span: Span,
    }
}

/// A handler may do much before it has a future; none if it panicked there.
fn unharmed<F>(serve: impl FnOnce(Request<Body>) -> F, request: Request<Body>, span: Span) -> Option<Unharmed<F>> {
    let entered = span.enter();
    let serving = catch_unwind(AssertUnwindSafe(|| serve(request))).ok()?;
    drop(entered);
    Some(Unharmed { serving, span })
}

impl<F: Future<Output = Response>> Future for Unharmed<F> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let this = self.project();
        let _entered = this.span.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| this.serving.poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(panicked()))
    }
}

#[cold]
fn panicked() -> Response {
    tracing::error!("a handler panicked; the other connections go on");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway made a mistake; its log says more").into_response()
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, poll_fn};

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_for() {
        let at_once = |_| -> Ready<Response> { panic!("before there is a future") };
        assert!(unharmed(at_once, Request::new(Body::empty()), Span::none()).is_none());
        let later = |_| poll_fn(|_| -> Poll<Response> { panic!("in its future") });
        let serving = unharmed(later, Request::new(Body::empty()), Span::none()).expect("a future");
        assert_eq!(serving.await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let well = |_| ready(StatusCode::CREATED.into_response());
        let serving = unharmed(well, Request::new(Body::empty()), Span::none()).expect("a future");
        assert_eq!(serving.await.status(), StatusCode::CREATED);
    }
}
