//! What is sent: read within its limits, and held to what it says it is.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::guard;
use super::super::problem::Problem;
use super::share::{FREE, Share};
use crate::event::ContentType;

/// The content of a request.
pub(super) struct Content {
    version: Version,
    announced: Option<u64>,
    body: Body,
}

/// How much of it may come, and in what time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) bytes: usize,
    pub(super) time: Duration,
    /// What a refusal calls it.
    pub(super) of: &'static str,
}

impl Content {
    pub(super) fn new(parts: &Parts, body: Body) -> Self {
        let announced = parts.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
        Self { version: parts.version, announced, body }
    }

    /// All of it.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(super) fn whole(mut self, most: Most, mut share: Share) -> impl Future<Output = Result<Bytes, Problem>> + Send {
        async move {
            match self.collect(most, &mut share).await {
                Ok(content) => Ok(content),
                Err(problem) => Err(Box::pin(self.refuse(problem)).await),
            }
        }
    }

    async fn collect(&mut self, most: Most, share: &mut Share) -> Result<Bytes, Problem> {
        let too_large = || {
            let Most { bytes, of, .. } = most;
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{of} has at most {bytes} bytes; send less at once"))
        };
        if self.announced.is_some_and(|length| length > most.bytes as u64) {
            return Err(too_large()); // Before the client is told to go on (RFC 9110 § 10.1.1).
        }
        let collect = async {
            // A copy: what arrives is a slice of the connection's read buffer, which must not live with an event.
            let announced = self.announced.and_then(|length| length.try_into().ok()).unwrap_or(0);
            let mut content = Vec::with_capacity(FREE.min(announced));
            while let Some(piece) = self.piece().await? {
                if piece.len() > most.bytes - content.len() {
                    return Err(too_large());
                }
                share.grow(piece.len())?;
                content.extend_from_slice(&piece);
            }
            Ok(content.into_boxed_slice().into())
        };
        let mut collect = pin!(collect);
        // Most of them are here with their head, and no clock need be set.
        if let Poll::Ready(collected) = poll_fn(|context| Poll::Ready(collect.as_mut().poll(context))).await {
            return collected;
        }
        let collected = Box::pin(timeout(most.time, collect)).await;
        collected.unwrap_or_else(|_| Err(late("the content took too long to arrive; send it again")))
    }

    /// Its next piece; none at its end. Loses nothing when it is dropped.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            match self.body.frame().await {
                None => return if self.is_complete() { Ok(None) } else { Err(cut_short()) },
                Some(Err(_)) => return Err(cut_short()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    Ok(_) | Err(_) => {} // Trailers, at the most.
                },
            }
        }
    }

    /// hyper (1.12) ends the content of an HTTP/2 request that was reset with `NO_ERROR` as if it were complete. Only
    /// `END_STREAM` says that it is; h2 has then held it against its Content-Length.
    fn is_complete(&self) -> bool {
        self.version != Version::HTTP_2 || self.body.is_end_stream()
    }

    /// Nothing of it is wanted any more, for this reason.
    pub(super) async fn refuse(self, problem: Problem) -> Problem {
        guard::take_rest(self.version, self.body).await;
        problem
    }

    /// Lets the rest of it come, within bounds, and forgets it: so that a client that reads only when it has written all
    /// gets to the answer.
    pub(super) async fn forget(mut self) {
        const MOST: usize = 64 << 20;
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut taken = 0;
        while taken < MOST
            && let Ok(Ok(Some(piece))) = timeout_at(deadline, self.piece()).await
        {
            taken += piece.len();
        }
    }
}

pub(super) fn late(detail: &'static str) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
}

fn cut_short() -> Problem {
    Problem::bad("the content ended before it was complete")
}

/// Refuses content that is coded in a way that nobody undoes.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
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
    Ok(())
}

/// The media type that the head names.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<ContentType>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad("the Content-Type is given more than once"));
    }
    let text = value.to_str().map_err(|_| Problem::bad("the Content-Type is not ASCII"))?;
    let media = ContentType::parse(text)?;
    check_charset(&media)?;
    Ok(Some(media))
}

/// Text is UTF-8 here, whatever it says.
pub(super) fn check_charset(media: &ContentType) -> Result<(), Problem> {
    let charset = media.charset();
    if media.is_text() && charset.as_deref().is_some_and(|name| !matches!(name, "utf-8" | "utf8" | "us-ascii")) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text is published as UTF-8; re-encode it"));
    }
    Ok(())
}

/// How deep arrays and objects may stand within one another: many parsers of readers give up at a few hundred, and one such
/// event would make the whole answer that it is in unreadable for them.
const MAX_DEPTH: usize = 128;

/// Refuses JSON that is nested too deeply.
fn check_depth(json: &str) -> Result<(), Problem> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::bad(format!(
                "the JSON is nested too deeply: at most {MAX_DEPTH} arrays and objects stand within one another"
            )));
        }
    }
    Ok(())
}

/// Text must be UTF-8 and JSON must be JSON: readers are given them as such.
pub(super) fn check_data(data: &[u8], content_type: Option<&ContentType>) -> Result<(), Problem> {
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
        check_depth(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_nested_too_deeply_is_refused() {
        let json = ContentType::parse("application/json").expect("a media type");
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!("[\"{}\\\"{}\"]", "[".repeat(500), "{".repeat(500));
        let siblings = format!("[{}{{}}]", "{\"a\":[]},".repeat(500));
        for (data, fits) in [(nested(128), true), (nested(129), false), (text, true), (siblings, true)] {
            assert_eq!(check_data(data.as_bytes(), Some(&json)).is_ok(), fits, "{data}");
        }
        assert!(check_data(nested(1000).as_bytes(), None).is_ok(), "text is text");
    }

    #[test]
    fn two_content_types_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_TYPE, "text/html".parse().expect("a value"));
        assert!(media_type(&headers).is_ok());
        headers.append(header::CONTENT_TYPE, "text/html".parse().expect("a value"));
        assert!(media_type(&headers).is_err());
    }
}
