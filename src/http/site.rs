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
use super::{App, base, publish};

/// The routes of a listener.
///
/// A publish that is routed by axum costs more than one that is handled, so its handler is called without the router,
/// behind the same [`Passage`]. The router has it among its routes all the same, for who asks what there is.
pub struct Site {
    app: Arc<App>,
    /// Empty if there is none.
    base: String,
    /// Whether events are published here.
    publishes: bool,
    passage: Arc<Passage>,
    inside: Router,
    /// What is not below the base path.
    outside: Router,
}

impl Site {
    /// These routes, and those for publishing if there are any of events.
    pub(super) fn new(app: App, guards: Guards, routes: Router<Arc<App>>, publishes: bool) -> Self {
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
        Self { app, base, publishes, passage, inside, outside }
    }

    /// Answers a request.
    pub async fn answer(self: Arc<Self>, mut request: Request<Body>) -> Response {
        if !self.base.is_empty() {
            match base::stripped(&self.base, request.uri()) {
                Some(uri) => *request.uri_mut() = uri,
                None => return routed(&self.outside, request).await,
            }
        }
        if self.publishes && is_publish(&request) {
            // Boxed, as a connection has room for its largest answer as long as it lasts.
            let publish = |request| async {
                let published = publish::publish(State(Arc::clone(&self.app)), request).await;
                published.unwrap_or_else(IntoResponse::into_response)
            };
            return Box::pin(self.passage.pass(request, publish)).await;
        }
        routed(&self.inside, request).await
    }
}

async fn routed(routes: &Router, request: Request<Body>) -> Response {
    let Ok(response) = routes.clone().oneshot(request).await;
    response
}

/// Whether the router would give it to [`publish::publish`].
fn is_publish(request: &Request<Body>) -> bool {
    let rest = request.uri().path().strip_prefix("/events");
    matches!(*request.method(), Method::POST | Method::PUT)
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
