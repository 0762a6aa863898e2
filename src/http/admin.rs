//! What operators and their tools read: metrics and health.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::parameter;
use super::problem::Problem;
use super::query::Query;
use crate::metrics::{Form, Sampled};

/// `GET /metrics`: Prometheus' text format, or `OpenMetrics` for who would rather have that.
pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).collect();
    let form = Form::preferred(&accept.join(","));
    let bounds = app.log.bounds();
    let stats = app.log.stats();
    let (pinned, cached) = app.hub.pages().bytes();
    let text = app.metrics.scrape(form, |sampled| match sampled {
        Sampled::LogEvents => bounds.events(),
        Sampled::LogBytes => stats.bytes,
        Sampled::LogWalBytes => stats.wal_bytes,
        Sampled::LogFirstOffset => bounds.first,
        Sampled::LogLastOffset => bounds.last,
        Sampled::LogWritable => u64::from(stats.writable),
        Sampled::LogCommits => stats.commits,
        Sampled::LogTrimmed => stats.trimmed,
        Sampled::LogExpired => stats.expired,
        Sampled::LogDeleted => stats.deleted,
        Sampled::LogGone => stats.gone,
        Sampled::LogCompacted => stats.compacted,
        Sampled::LogMarks => stats.marks,
        Sampled::LogIndexBytes => stats.index_bytes,
        Sampled::LogRefused => stats.refused,
        Sampled::PagesPinnedBytes => pinned,
        Sampled::PagesCachedBytes => cached,
        Sampled::PageLoads => app.hub.loads(),
        Sampled::ReplaysWaiting => app.hub.waiting(),
        Sampled::PageLoadWaits => app.hub.waits(),
        Sampled::Feeds => app.delivery.feeds(),
        Sampled::Draining => u64::from(app.shutdown.is_draining()),
        Sampled::ConnectionsActive
        | Sampled::Connections
        | Sampled::ConnectionsRefused
        | Sampled::AcceptErrors
        | Sampled::HeadTimeouts
        | Sampled::HeadsTooLarge
        | Sampled::BadHeads
        | Sampled::TlsHandshakeFailures
        | Sampled::Stalled => (app.connections)(sampled),
    });
    ([(header::CONTENT_TYPE, form.media_type()), (header::VARY, "Accept")], text).into_response()
}

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> Response {
    health(true, "live")
}

/// `GET /health/ready`: readers may be sent here; with `?for=publish`, publishers too.
///
/// A log that cannot be written leaves readers where they are: a proxy's 503 would end their streams for good.
pub(crate) async fn ready(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri)?;
    let for_publish = parameter::FOR.flag(&query)?;
    if app.shutdown.is_draining() {
        return Ok(health(false, "draining"));
    }
    if for_publish && !app.log.stats().writable {
        return Ok(health(false, "the log cannot be written"));
    }
    Ok(health(true, "ready"))
}

fn health(well: bool, state: &str) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = format!("{}\n", json!({ "status": state }));
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, fields, body).into_response()
}
