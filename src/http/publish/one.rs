//! The content, verbatim, as one event.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use tokio::time::Instant;

use super::super::App;
use super::super::problem::Problem;
use super::content::{Content, Most, check_data};
use super::share::Share;
use super::target::Named;
use super::{receipts, store};
use crate::event::{ContentType, Event, Publisher};
use crate::log::Receipt;

/// How long the content of one event may take to arrive.
pub(super) const TIME: Duration = Duration::from_secs(30);

#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
pub(super) fn publish(
    app: Arc<App>,
    publisher: Publisher,
    named: Named,
    content_type: Option<ContentType>,
    content: Content,
) -> impl Future<Output = Result<Response, Problem>> + Send {
    async move {
        let data = content.whole(most(&app), Share::new(&app, publisher)).await?;
        let receipt = append(&app, publisher, named, data, content_type)?.await?;
        Ok(receipts::answer(receipts::status(&[receipt]), receipts::receipt(receipt, app.log.durability())))
    }
}

/// How large an event may be, and how long its content may take.
pub(super) fn most(app: &App) -> Most {
    Most { bytes: app.options.event_bytes, time: TIME, of: "an event" }
}

/// Stores one event. What can be refused at once is.
pub(super) fn append(
    app: &App,
    publisher: Publisher,
    named: Named,
    data: Bytes,
    content_type: Option<ContentType>,
) -> Result<impl Future<Output = Result<Receipt, Problem>> + Send, Problem> {
    check_data(&data, content_type.as_ref())?;
    let Named { topics, kind, key, ttl, conflate, private } = named;
    let mut event = Event { topics, kind, data, content_type, key, ttl, conflate, private, publisher };
    store::by_rule(app, &mut event);
    let events = vec![event];
    if !app.limits.is_empty() {
        app.limits.take(store::topics(&events), Instant::now())?;
    }
    Ok(async move {
        let receipts = store::append(app, events).await?;
        Ok(*receipts.first().expect("a receipt for each event"))
    })
}
