//! What is said of each request in the log of the gateway.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tracing::{Level, Span};

use super::subscribe::ENCKE_STREAM;
use super::trace_context;

/// The trace of one request.
pub(super) struct Trace {
    span: Span,
    /// Only where it will be told.
    begun: Option<Instant>,
}

impl Trace {
    pub(super) fn begin(request: &Request<Body>) -> Self {
        Self { span: span(request), begun: tracing::enabled!(Level::DEBUG).then(Instant::now) }
    }

    /// That in which the request is to be served.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Tells of the answer, whose content is still made in the span.
    pub(super) fn end(self, response: Response) -> Response {
        let Self { span, begun } = self;
        if let Some(begun) = begun {
            span.in_scope(|| answered(&response, begun.elapsed()));
        }
        if span.is_disabled() { response } else { response.map(|body| Body::new(InSpan { body, span })) }
    }
}

/// One span a request. The query stays out of it: it may hold a token. Whoever sent their trace along is to find also what
/// is said at `info`; for all others the span would be made in vain.
fn span(request: &Request<Body>) -> Span {
    let (method, path, version) = (request.method(), request.uri().path(), request.version());
    match trace_context::trace_id(request.headers()) {
        Some(trace_id) => tracing::info_span!("request", %method, path, ?version, trace_id),
        None => tracing::debug_span!("request", %method, path, ?version),
    }
}

/// One message a request: that of an access log. Of a stream it is the head that was answered, and its end is told later.
fn answered(response: &Response, took: Duration) {
    tracing::debug!(
        status = response.status().as_u16(),
        ?took,
        stream = response.headers().get(ENCKE_STREAM).and_then(|id| id.to_str().ok()),
        "answered"
    );
}

pin_project! {
    /// The content of an answer, made in the span of its request.
    struct InSpan {
        #[pin]
        body: Body,
        span: Span,
    }
}

impl HttpBody for InSpan {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        let _entered = this.span.enter();
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
