//! `GET /events`: replays from the start position, then follows the live edge.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

use super::cors::NotForAll;
use super::forwarded::client;
use super::negotiate::{Negotiated, negotiate};
use super::problem::{Problem, refused};
use super::query::{Query, topic_in_path};
use super::want::{LAST_EVENT_ID, NoneMatch, begins_in_target, want};
use super::{App, Crowded, assets, guard};
use crate::delivery::{Answered, Begin, OnGap, Opened, Peer, StreamId, Wanted};
use crate::diagnosis::Signature;
use crate::event::Cursor;
use crate::log::Start;
use crate::transport::{Carry, Format, Resume};

pub(super) const ENCKE_STREAM: HeaderName = HeaderName::from_static("encke-stream");
const ENCKE_CURSOR: HeaderName = HeaderName::from_static("encke-cursor");
const ENCKE_RESUME: HeaderName = HeaderName::from_static("encke-resume");

/// What a client that is not a browser can read of an answer from another origin.
pub(crate) const EXPOSED: [HeaderName; 4] = [ENCKE_STREAM, ENCKE_CURSOR, ENCKE_RESUME, header::ETAG];

pub(crate) async fn subscribe(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, Problem> {
    let query = Query::of(request.uri())?;
    let negotiated =
        negotiate(query.first(&["transport"]), request.headers(), app.options.transports, app.options.pages)?;
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
    if permit.is_wrong() {
        return Err(refused(permit.refusal(), "reading"));
    }
    let mut wanted =
        want(transport, topic.as_deref(), &query, request.headers(), permit, app.options.max_topics, (app.clock)())?;
    if !wanted.selection.is_allowed() {
        return Err(refused(wanted.selection.permit().refusal(), "reading"));
    }
    let public = app.access.all_public() || wanted.selection.is_public();
    if transport.embeddable && is_embedded_elsewhere(request.headers()) {
        // What a browser sends along by itself opens nothing for the page that made it send that.
        let by_cookie = guard::cookie(request.headers()).is_some();
        if by_cookie || !public {
            let detail = "pages of other origins can embed public topics alone";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
    }
    if let Some(peer) = request.extensions().get::<Arc<Peer>>() {
        wanted.peer = Arc::clone(peer);
    }
    if let Some(signature) = request.extensions().get::<Signature>() {
        wanted.signature = *signature;
    }
    wanted.client = client(wanted.peer.address(), request.headers(), &app.options.trusted_proxies);
    wanted.multiplexed = request.version() >= Version::HTTP_2;
    if app.delivery.was_closed(&wanted) {
        return closed(transport.format);
    }
    let is_head = request.method() == Method::HEAD;
    let mut response = match transport.carry {
        Carry::Stream | Carry::Wait if is_head => head(&wanted),
        Carry::Stream => stream(&app, wanted).await?,
        Carry::Wait => poll(&app, wanted).await?,
        Carry::AtOnce => {
            let condition = NoneMatch::of(request.headers());
            let shareable = public && begins_in_target(&query) && is_plain(request.headers());
            poll_at_once(&app, wanted, condition.as_ref(), shareable).await?
        }
    };
    let sharing = if public { "cross-origin" } else { "same-origin" };
    response.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static(sharing));
    if !public {
        response.extensions_mut().insert(NotForAll);
    }
    Ok(response)
}

/// Whether a page of another origin shows the answer, as a picture or a frame (Fetch Metadata § 2). What a script asks for
/// is the business of CORS, and what is opened by itself belongs to no page.
fn is_embedded_elsewhere(headers: &HeaderMap) -> bool {
    let says = |name: &str, values: &[&str]| {
        headers.get(name).is_some_and(|value| values.iter().any(|expected| value == expected))
    };
    says("sec-fetch-site", &["cross-site", "same-site"])
        && !says("sec-fetch-mode", &["cors"])
        && !says("sec-fetch-dest", &["document"])
}

/// Whether a request says nothing by which its answer could be for its client alone.
fn is_plain(headers: &HeaderMap) -> bool {
    let own = [LAST_EVENT_ID, header::IF_NONE_MATCH, header::AUTHORIZATION, header::COOKIE];
    !own.iter().any(|name| headers.contains_key(name))
}

/// The answer to whoever was closed on a gap and asks for the same again. 204 ends an `EventSource` for good, as is meant.
fn closed(format: Format) -> Result<Response, Problem> {
    if format != Format::EventStream {
        let detail = "events behind this position are gone, and the stream was closed for that (`ongap=close`)";
        return Err(Problem::new(StatusCode::GONE, detail));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

async fn stream(app: &App, wanted: Wanted) -> Result<Response, Problem> {
    let format = wanted.transport.format;
    let Opened { id, cursor, resume, content_type, body, handoff } = match app.delivery.open(wanted).await {
        Ok(opened) => opened,
        // Any other status would end an `EventSource` for good, and this may pass.
        Err(error) if format == Format::EventStream => return Ok(come_back(&Problem::from(error))),
        Err(error) => return Err(error.into()),
    };
    let mut response = Body::from_stream(body).into_response();
    described(response.headers_mut(), content_type, Some((id, cursor, resume)));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.extensions_mut().insert(handoff);
    Ok(response)
}

async fn poll(app: &App, wanted: Wanted) -> Result<Response, Problem> {
    Ok(answered(app.delivery.answer(wanted).await?))
}

fn answered(answered: Answered) -> Response {
    let Answered { id, cursor, resume, content_type, body, .. } = answered;
    let body = body.map_or_else(
        || Body::from_stream(tokio_stream::once(Err::<bytes::Bytes, _>(std::io::Error::other("cut by request")))),
        Body::from,
    );
    let mut response = body.into_response();
    described(response.headers_mut(), content_type, Some((id, cursor, resume)));
    response
}

/// A poll that a cache may stand in front of: its entity tag is how far was looked.
///
/// The answer to a target that says where to begin is the same for everybody, so it may be shared for a second.
async fn poll_at_once(
    app: &App,
    wanted: Wanted,
    condition: Option<&NoneMatch>,
    shareable: bool,
) -> Result<Response, Problem> {
    let shareable = shareable && wanted.on_gap != OnGap::Close;
    // Nothing new behind the tag that was sent is as good as the tag itself, unless that is about to be too old.
    let held = match (&wanted.begin, condition) {
        (Begin::At(Start::Cursor(cursor), _), Some(condition)) if condition.names(&cursor.to_string()) => Some(*cursor),
        _ => None,
    };
    let is_any = condition.is_some_and(NoneMatch::is_any);
    let news = app.delivery.answer(wanted).await?;
    let same =
        condition.is_some_and(|condition| condition.names(&news.cursor.to_string())) || (is_any && !news.has_news);
    let held = held.filter(|held| !news.has_news && !app.delivery.is_stale(*held));
    let unchanged = news.resume != Resume::Gap && news.body.is_some() && (same || held.is_some());
    let shareable = shareable && !news.has_private && news.body.is_some();

    let tag = format!("\"{}\"", held.unwrap_or(news.cursor));
    let mut response = answered(news);
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("cursors are visible ASCII"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Origin, Authorization, Cookie, Last-Event-ID"));
    if shareable {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
        // These name one answer, and a cache gives it to many.
        headers.remove(ENCKE_STREAM);
    }
    Ok(response)
}

/// What a `GET` would be described as; nothing is opened for it.
fn head(wanted: &Wanted) -> Response {
    let rendering = crate::transport::Rendering { format: wanted.transport.format, envelope: wanted.envelope };
    // A stream, as a `GET` would be answered with: one of no bytes would be announced as 0 bytes (RFC 9110 § 8.6).
    let mut response = Body::from_stream(tokio_stream::empty::<std::io::Result<bytes::Bytes>>()).into_response();
    described(response.headers_mut(), rendering.content_type(), None);
    response
}

/// An event stream that only says when to come back.
fn come_back(problem: &Problem) -> Response {
    let mut response = format!("retry: 5000\n: {}\n\n", problem.detail()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store, no-transform");

/// The header fields of every answer that holds events.
fn described(headers: &mut HeaderMap, content_type: &'static str, place: Option<(StreamId, Cursor, Resume)>) {
    let fixed = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed(content_type));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::VARY, fixed("Accept, Origin, Authorization, Cookie"));
    // Published bytes never become script on our origin, whatever they claim to be.
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed("sandbox"));
    if let Some((stream, cursor, resume)) = place {
        let text = |text: String| HeaderValue::try_from(text).expect("ids and cursors are visible ASCII");
        headers.insert(ENCKE_STREAM, text(stream.to_string()));
        headers.insert(ENCKE_CURSOR, text(cursor.to_string()));
        headers.insert(ENCKE_RESUME, fixed(resume.as_str()));
    }
}
