//! The pages that are ours, from the binary.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::problem::Problem;
use super::{App, base};

/// Published data is only ever put on these pages as text; and were it not, no script of another origin or inside the
/// page would run.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const LIVE_PAGE: &str = include_str!("../../static/index.html");

macro_rules! files {
    ($($name:literal: $media:literal),* $(,)?) => {
        &[$(($name, $media, include_bytes!(concat!("../../static/", $name)))),*]
    };
}

const FILES: &[(&str, &str, &[u8])] = files! {
    "column.js": "text/javascript; charset=utf-8",
    "commands.js": "text/javascript; charset=utf-8",
    "event-stream.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
    "gateway.js": "text/javascript; charset=utf-8",
    "goodbye.js": "text/javascript; charset=utf-8",
    "json-lines.js": "text/javascript; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "long-poll.js": "text/javascript; charset=utf-8",
    "part.js": "text/javascript; charset=utf-8",
    "returning.js": "text/javascript; charset=utf-8",
    "sequence.js": "text/javascript; charset=utf-8",
};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(|| async { live_page("/") }))
        .route("/static/{name}", get(file))
        .route("/favicon.ico", get(|| async { (StatusCode::NO_CONTENT, ()) }))
}

/// The page that shows a topic live over each transport, for a request of this path. What it loads it names relative to
/// that, as a proxy may have put all of it under another.
pub(super) fn live_page(path: &str) -> Response {
    let fields = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept, Origin, Authorization, Cookie"),
    ];
    (fields, LIVE_PAGE.replace("\"./", &format!("\"{}", base::up(path)))).into_response()
}

async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let file = name.ok().and_then(|Path(name)| FILES.iter().find(|(known, ..)| *known == name));
    let (_, media, bytes) = file.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such file"))?;
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((fields, *bytes).into_response())
}
