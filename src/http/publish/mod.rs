//! `POST` and `PUT` to `/events`: one event, a batch of them, or a stream of them into the log.
//!
//! `target` reads the head and says which of these it is; each has a file of its own. An answer says what is stored: never
//! more than that, and of what is refused, why.

mod acks;
mod batch;
mod content;
mod form;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod lifetime;
mod lines;
mod ndjson;
mod object;
mod one;
mod receipts;
mod share;
mod store;
mod target;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, Request};
use axum::response::Response;
use futures_core::future::BoxFuture;
use tokio_util::either::Either;

use super::problem::{Problem, refused};
use super::{App, guard};
use crate::access::Permit;
use content::Content;
pub(crate) use receipts::answer;
use target::Target;

/// The publisher's own identity for an event (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The handler. What the head says is read before there is a future, so that the future of one event, which is all but
/// always this one, does not hold the head too: it is copied into each that it is wrapped in. All others are boxed.
pub(crate) fn publish(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> impl Future<Output = Result<Response, Problem>> + Send {
    let (parts, body) = request.into_parts();
    let content = Content::new(&parts, body);
    let permit = app.access.permit(guard::credential(&parts.headers));
    let publisher = permit.publisher();
    let other: BoxFuture<'static, _> = match target(&parts, &permit, app.options.max_topics) {
        Ok(Target::One(named, content_type)) => {
            return Either::Left(one::publish(app, publisher, named, content_type, content));
        }
        Err(problem) => Box::pin(async move { Err(content.refuse(problem).await) }),
        Ok(Target::Form(named, field)) => {
            Box::pin(async move { form::publish(&app, publisher, named, &field, &parts, content).await })
        }
        Ok(Target::Batch) => Box::pin(async move { batch::publish(&app, &permit, content).await }),
        Ok(Target::Lines { each }) => {
            Box::pin(async move { Ok(ndjson::publish(app, permit, &parts, content, each).await) })
        }
    };
    Either::Right(other)
}

/// Everything that can be refused before the content is read. Who may publish nothing at all is told that and nothing else.
fn target(parts: &Parts, permit: &Permit, max_topics: usize) -> Result<Target, Problem> {
    let refused = || refused(permit.refusal(), "publishing");
    if permit.is_wrong() || !permit.publishes_something() {
        return Err(refused());
    }
    let target = Target::of(parts, max_topics)?;
    let may = match &target {
        Target::One(named, _) | Target::Form(named, _) => named.topics.iter().all(|topic| permit.publishes(topic)),
        Target::Batch | Target::Lines { .. } => true, // Each event is asked for.
    };
    if may { Ok(target) } else { Err(refused()) }
}
