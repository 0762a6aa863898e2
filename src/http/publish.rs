//! `POST /events`: stores the body, verbatim, as one event.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::problem::{Problem, refused};
use super::query::{Query, topic_in_path};
use super::{App, guard};
use crate::event::{ContentType, Event, EventType, Key, Topic, Topics};

/// The publisher's own identity for an event (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long the content of one publish may take to arrive.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn publish(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (parts, mut body) = request.into_parts();
    let (named, content_type) = match head(&app, &parts) {
        Ok(head) => head,
        Err(problem) => {
            guard::take_rest(parts.version, body).await;
            return Err(problem);
        }
    };
    let data = match content(&parts, &mut body, app.options.event_bytes).await {
        Ok(data) => data,
        Err(problem) => {
            guard::take_rest(parts.version, body).await;
            return Err(problem);
        }
    };
    check_data(&data, content_type.as_ref())?;

    let received = Instant::now();
    let event = Event {
        topics: named.topics,
        kind: named.kind,
        data,
        content_type,
        key: named.key,
        ttl: None,
        conflate: None,
        private: false,
    };
    let receipts = app.log.append(vec![event]).await?;
    let receipt = receipts.first().expect("a receipt for each event");
    app.metrics.publish_seconds.observe(received.elapsed().as_secs_f64());

    let id = receipt.cursor; // Like the durability, of characters that need no escaping in JSON.
    let durability = app.log.durability().as_str();
    let (status, body) = if receipt.duplicate {
        app.metrics.duplicates.inc();
        (StatusCode::OK, format!("{{\"id\":\"{id}\",\"durability\":\"{durability}\",\"duplicate\":true}}\n"))
    } else {
        app.metrics.published.inc();
        (StatusCode::CREATED, format!("{{\"id\":\"{id}\",\"durability\":\"{durability}\"}}\n"))
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Everything that can be refused before the content is read.
fn head(app: &App, parts: &Parts) -> Result<(Named, Option<ContentType>), Problem> {
    let permit = app.access.permit(guard::credential(&parts.headers));
    let topic = topic_in_path(&parts.uri)?;
    let named = named(topic.as_deref(), &Query::of(&parts.uri)?, &parts.headers, app.options.max_topics)?;
    if !named.topics.iter().all(|topic| permit.publishes(topic)) {
        return Err(refused(permit.refusal(), "publishing"));
    }
    Ok((named, content_type(&parts.headers)?))
}

pub(super) struct Named {
    topics: Topics,
    kind: Option<EventType>,
    key: Option<Key>,
}

/// Reads the target and the key. A parameter that is not known is an error: a publisher that misspells one must hear of it.
pub(super) fn named(
    topic_in_path: Option<&str>,
    query: &Query,
    headers: &HeaderMap,
    max_topics: usize,
) -> Result<Named, Problem> {
    let mut topics = Topics::new();
    let mut add = |name: &str| {
        let topic = Topic::parse(name)?;
        if !topics.contains(&topic) {
            topics.push(topic);
        }
        if topics.len() > max_topics {
            return Err(Problem::bad(format!("one event has at most {max_topics} topics")));
        }
        Ok(())
    };
    if let Some(name) = topic_in_path {
        add(name)?;
    }
    let (mut kind, mut key) = (None, None);
    for (name, value) in query.iter() {
        match name {
            "topic" => add(value)?,
            "type" | "key" if query.all(name).nth(1).is_some() => {
                return Err(Problem::bad(format!("`{name}` is given more than once; an event has one")));
            }
            "type" => kind = EventType::parse(value)?,
            "key" => key = Some(Key::parse(value)?),
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(Problem::bad(format!("there is no parameter `{name}`; there are topic, type and key")));
            }
        }
    }
    for value in headers.get_all(IDEMPOTENCY_KEY) {
        let text = std::str::from_utf8(value.as_bytes());
        let header = Key::parse(text.map_err(|_| Problem::bad("the Idempotency-Key is not UTF-8"))?)?;
        if key.as_ref().is_some_and(|key| *key != header) {
            return Err(Problem::bad("the request names two different keys; send one, as `key` or as Idempotency-Key"));
        }
        key = Some(header);
    }
    if topics.is_empty() {
        return Err(Problem::bad("name a topic: POST /events/TOPIC or /events?topic=TOPIC"));
    }
    Ok(Named { topics, kind, key })
}

/// The media type; none for plain text, and for the urlencoded type, which `curl -d` sends with anything.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<ContentType>, Problem> {
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the content without a Content-Encoding"));
    }
    // hyper undoes `chunked` alone, and takes it for enough if that comes last (RFC 9112 § 6.1).
    if headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "send the content without another transfer coding than chunked",
        ));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::bad("the Content-Type is not ASCII"))?;
    let media = ContentType::parse(text)?;
    let charset = media.charset();
    if media.is_text() && charset.as_deref().is_some_and(|name| !matches!(name, "utf-8" | "utf8" | "us-ascii")) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text is published as UTF-8; re-encode it"));
    }
    let plain = matches!(media.essence().as_str(), "text/plain" | "application/x-www-form-urlencoded");
    Ok((!plain).then_some(media))
}

async fn content(parts: &Parts, body: &mut Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("an event has at most {limit} bytes of data"));
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large()); // Before the client is told to go on (RFC 9110 § 10.1.1).
    }
    let collected = timeout(CONTENT_TIMEOUT, Limited::new(&mut *body, limit).collect()).await;
    let collected = collected
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the content took too long to arrive; send it again"))?;
    let data = collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| if error.downcast_ref::<LengthLimitError>().is_some() { too_large() } else { cut_short() })?;
    // hyper (1.12) ends the content of an HTTP/2 request that was reset with NO_ERROR as if it were complete. Only
    // END_STREAM says that it is; h2 has then held it against its Content-Length.
    if parts.version == Version::HTTP_2 && !body.is_end_stream() {
        return Err(cut_short());
    }
    // A copy, as what arrived in one piece is a slice of the connection's read buffer, which must not live with the event.
    Ok(Bytes::copy_from_slice(&data))
}

fn cut_short() -> Problem {
    Problem::bad("the content ended before it was complete")
}

/// Text must be UTF-8 and JSON must be JSON: readers are given them as such.
fn check_data(data: &Bytes, content_type: Option<&ContentType>) -> Result<(), Problem> {
    if !content_type.is_none_or(ContentType::is_text) {
        return Ok(());
    }
    let text = std::str::from_utf8(data).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad(format!(
            "the data is not UTF-8 (from byte {at}); send other bytes with their Content-Type, such as image/png or application/octet-stream"
        ))
    })?;
    if content_type.is_some_and(ContentType::is_json) {
        serde_json::from_str::<&RawValue>(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::bad(format!(
                "the data is not JSON, though its Content-Type says so (line {line}, column {column})"
            ))
        })?;
    }
    Ok(())
}
