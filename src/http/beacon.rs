//! `POST /beacon`: a client's word on its own stream. It changes nothing of what is delivered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use serde::Deserialize;

use super::App;
use super::problem::Problem;
use crate::delivery::StreamId;
use crate::event::Cursor;

/// The longest word, in bytes.
const LONGEST: usize = 2048;

/// How long it may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client says. What else stands there (`n`, `bytes`, `stalls`, `visible`) is for gateways that know more.
#[derive(Deserialize)]
struct Beacon {
    /// Its `Encke-Stream`, which nobody else knows.
    stream: String,
    /// The id of the last event that it has.
    cursor: Option<String>,
    /// That is the last id of anything that came: it hears events of every type.
    #[serde(default)]
    all: bool,
    /// For how long it has had the stream, in milliseconds.
    age_ms: Option<f64>,
    /// Why it says so.
    reason: Option<Reason>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reason {
    /// It leaves: the page goes, or closes the stream.
    Goodbye,
    #[serde(other)]
    Other,
}

/// A page sends it by `sendBeacon` while it goes, as `text/plain` so that no preflight is needed. Of a stream that there is
/// not, nothing is said.
pub(super) async fn beacon(State(app): State<Arc<App>>, request: Request<Body>) -> Result<StatusCode, Problem> {
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "the content came too slowly");
    let read = tokio::time::timeout(PATIENCE, to_bytes(request.into_body(), LONGEST)).await.map_err(|_| late())?;
    let large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a beacon has at most {LONGEST} bytes"));
    let content = read.map_err(|_| large())?;
    let wrong =
        |detail: &str| Problem::bad(format!("a beacon is JSON with the `Encke-Stream` of its stream: {detail}"));
    let Beacon { stream, cursor, all, age_ms, reason } =
        serde_json::from_slice(&content).map_err(|_| wrong("{\"stream\":\"…\",\"reason\":\"goodbye\"}"))?;
    let id = StreamId::parse(&stream).ok_or_else(|| wrong("`stream` is 32 of the characters 0-9 and a-f"))?;
    // An id of another gateway, or of before the store was restored, says nothing here; it is no mistake of the client.
    // An `EventSource` whose page does not listen to a type has the id of such an event, and does not know it.
    let upto = cursor.filter(|_| all).and_then(|cursor| cursor.parse::<Cursor>().ok()).map(|cursor| cursor.offset);
    let age = age_ms.and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1000.0).ok());
    app.delivery.receipt(id, upto, age);
    if matches!(reason, Some(Reason::Goodbye)) {
        app.delivery.goodbye(id);
    }
    Ok(StatusCode::NO_CONTENT)
}
