//! `GET /events`: replays from the start position, then follows the live edge.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use axum::response::{IntoResponse, Response};

use super::negotiate::{Negotiated, negotiate};
use super::problem::{Problem, refused};
use super::query::{Query, topic_in_path};
use super::want::want;
use super::{App, Crowded, assets, guard};
use crate::delivery::{Answered, Opened, Peer, StreamId, Wanted};
use crate::event::Cursor;
use crate::transport::{Carry, Format, Resume};

pub(super) const ENCKE_STREAM: HeaderName = HeaderName::from_static("encke-stream");
const ENCKE_CURSOR: HeaderName = HeaderName::from_static("encke-cursor");
const ENCKE_RESUME: HeaderName = HeaderName::from_static("encke-resume");

/// What a client that is not a browser can read of an answer from another origin.
pub(crate) const EXPOSED: [HeaderName; 4] = [ENCKE_STREAM, ENCKE_CURSOR, ENCKE_RESUME, header::ETAG];

pub(crate) async fn subscribe(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let query = Query::of(request.uri())?;
    let negotiated = negotiate(query.first(&["transport"]), request.headers(), &app.options)?;
    if request.extensions().get::<Crowded>().is_some() {
        return match negotiated {
            Negotiated::Transport(transport) if transport.format == Format::EventStream => {
                Ok(come_back(&Problem::crowded()))
            }
            _ => Err(Problem::crowded()),
        };
    }
    let transport = match negotiated {
        Negotiated::Transport(transport) => transport,
        Negotiated::Page => return Ok(assets::live_page(request.uri().path())),
    };
    let topic = topic_in_path(request.uri())?;
    let permit = app.access.permit(guard::credential(request.headers()));
    let mut wanted =
        want(transport, topic.as_deref(), &query, request.headers(), permit, app.options.max_topics, (app.clock)())?;
    if !wanted.selection.is_allowed() {
        return Err(refused(wanted.selection.permit().refusal(), "reading"));
    }
    if request.method() == Method::HEAD {
        return Ok(head(&app, &wanted));
    }
    if let Some(peer) = request.extensions().get::<Arc<Peer>>() {
        wanted.peer = Arc::clone(peer);
    }
    wanted.multiplexed = request.version() >= Version::HTTP_2;
    match transport.carry {
        Carry::Stream => stream(&app, wanted).await,
        Carry::Wait => poll(&app, wanted).await,
    }
}

async fn stream(app: &App, wanted: Wanted) -> Result<Response, Problem> {
    let format = wanted.transport.format;
    let Opened { id, cursor, resume, content_type, body } = match app.delivery.open(wanted).await {
        Ok(opened) => opened,
        // Any other status would end an `EventSource` for good, and this may pass.
        Err(error) if format == Format::EventStream => return Ok(come_back(&Problem::from(error))),
        Err(error) => return Err(error.into()),
    };
    let mut response = Body::from_stream(body).into_response();
    described(app, response.headers_mut(), content_type, Some((id, cursor, resume)));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

async fn poll(app: &App, wanted: Wanted) -> Result<Response, Problem> {
    let Answered { id, cursor, resume, content_type, body } = app.delivery.answer(wanted).await?;
    let body = body.map_or_else(
        || Body::from_stream(tokio_stream::once(Err::<bytes::Bytes, _>(std::io::Error::other("cut by request")))),
        Body::from,
    );
    let mut response = body.into_response();
    described(app, response.headers_mut(), content_type, Some((id, cursor, resume)));
    Ok(response)
}

/// What a `GET` would be described as; nothing is opened for it.
fn head(app: &App, wanted: &Wanted) -> Response {
    let rendering = crate::transport::Rendering { format: wanted.transport.format, envelope: wanted.envelope };
    // A stream, as a `GET` would be answered with: one of no bytes would be announced as 0 bytes (RFC 9110 § 8.6).
    let mut response = Body::from_stream(tokio_stream::empty::<std::io::Result<bytes::Bytes>>()).into_response();
    described(app, response.headers_mut(), rendering.content_type(), None);
    response
}

/// An event stream that only says when to come back.
fn come_back(problem: &Problem) -> Response {
    let mut response = format!("retry: 5000\n: {}\n\n", problem.detail()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    response
}

/// The header fields of every answer that holds events.
fn described(
    app: &App,
    headers: &mut HeaderMap,
    content_type: &'static str,
    place: Option<(StreamId, Cursor, Resume)>,
) {
    let fixed = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed(content_type));
    headers.insert(header::CACHE_CONTROL, fixed("no-store, no-transform"));
    headers.insert(header::VARY, fixed("Accept, Origin, Authorization, Cookie"));
    // Published bytes never become script on our origin, whatever they claim to be.
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed("sandbox"));
    let sharing = if app.access.all_public() { "cross-origin" } else { "same-origin" };
    headers.insert("cross-origin-resource-policy", fixed(sharing));
    if let Some((stream, cursor, resume)) = place {
        let text = |text: String| HeaderValue::try_from(text).expect("ids and cursors are visible ASCII");
        headers.insert(ENCKE_STREAM, text(stream.to_string()));
        headers.insert(ENCKE_CURSOR, text(cursor.to_string()));
        headers.insert(ENCKE_RESUME, fixed(resume.as_str()));
    }
}
