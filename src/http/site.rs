//! What a listener serves: its routes, below its base path, behind its guards.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use super::guard::Guards;
use super::passage::{Passage, through};
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
                let publish = |request| async {
                    let published = publish::publish(State(Arc::clone(&self.app)), request).await;
                    published.unwrap_or_else(IntoResponse::into_response)
                };
                Box::pin(self.passage.pass(request, publish)).await
            }
            Method::GET if self.has_events && is_of_events(&request) => {
                let subscribe = |request| async {
                    let subscribed = subscribe::subscribe(State(Arc::clone(&self.app)), request).await;
                    subscribed.unwrap_or_else(IntoResponse::into_response)
                };
                Box::pin(self.passage.pass(request, subscribe)).await
            }
            _ => routed(&self.inside, request).await,
        }
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
