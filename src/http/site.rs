//! What a listener serves: its routes, below its base path, behind its guards.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tower::ServiceExt;

use super::guard::Guards;
use super::passage::{Passage, through};
use super::problem::Problem;
use super::{App, base, publish, subscribe};

/// The routes of a listener.
///
/// A publish that is routed by axum costs more than one that is handled, and a subscribe half as much again, so their
/// handlers are called without the router, behind the same `Passage`. The router has them among its routes all the same,
/// for who asks what there is.
pub struct Site {
    app: Arc<App>,
    /// Empty if there is none.
    base: String,
    /// Whether there are events here.
    has_events: bool,
    passage: Arc<Passage>,
    inside: Router,
    /// What is not below the base path.
    outside: Router,
}

impl Site {
    /// These routes, and with them those of events if there are any.
    pub(super) fn new(app: App, guards: Guards, routes: Router<Arc<App>>, has_events: bool) -> Self {
        let (app, base) = (Arc::new(app), guards.base.clone());
        let passage = Arc::new(Passage::new(&app, Arc::new(guards)));
        let behind = |routes: Router<Arc<App>>| {
            let layer = axum::middleware::from_fn_with_state(Arc::clone(&passage), through);
            routes
                .fallback(super::not_found)
                .method_not_allowed_fallback(super::not_allowed)
                .layer(layer)
                .with_state(Arc::clone(&app))
        };
        let inside = behind(routes);
        let outside = if base.is_empty() { Router::new() } else { behind(base::elsewhere(&base)) };
        Self { app, base, has_events, passage, inside, outside }
    }

    /// Answers a request.
    pub async fn answer(self: Arc<Self>, mut request: Request<Body>) -> Response {
        if !self.base.is_empty() {
            match base::stripped(&self.base, request.uri()) {
                Some(uri) => *request.uri_mut() = uri,
                None => return routed(&self.outside, request).await,
            }
        }
        // Boxed, as a connection has room for its largest answer as long as it lasts.
        match *request.method() {
            Method::POST | Method::PUT if self.has_events && is_of_events(&request) => {
                let publish = |request| Answered { handler: publish::publish(State(Arc::clone(&self.app)), request) };
                Box::pin(self.passage.pass(request, publish)).await
            }
            Method::GET if self.has_events && is_of_events(&request) => {
                let subscribe =
                    |request| Answered { handler: subscribe::subscribe(State(Arc::clone(&self.app)), request) };
                Box::pin(self.passage.pass(request, subscribe)).await
            }
            _ => routed(&self.inside, request).await,
        }
    }
}

pin_project! {
    /// What a handler answers, be it a problem.
    struct Answered<F> {
        #[pin]
        handler: F,
    }
}

impl<F: Future<Output = Result<Response, Problem>>> Future for Answered<F> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        self.project().handler.poll(context).map(|answer| answer.unwrap_or_else(IntoResponse::into_response))
    }
}

async fn routed(routes: &Router, request: Request<Body>) -> Response {
    let Ok(response) = routes.clone().oneshot(request).await;
    response
}

/// Whether the router would give it to the routes of events.
fn is_of_events(request: &Request<Body>) -> bool {
    let rest = request.uri().path().strip_prefix("/events");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
