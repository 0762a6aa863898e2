//! What a client is told when its request cannot be served: a problem document (RFC 9457) that says what to mend.
//!
//! This file alone turns errors into statuses. Clients see the kind; the operator's log sees the chain, once, here.

use std::error::Error;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::access::{Decision, OverQuota};
use crate::event::{FieldError, SelectorError, TopicError};
use crate::log::{AppendError, ReadError};

/// A refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after: Option<Duration>,
    /// Members beside those that every problem has (RFC 9457 § 3.2).
    extension: Map<String, Value>,
}

/// Marks a response as a refusal, for the count by kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal(pub(crate) &'static str);

/// Every kind of refusal, for series that exist from the start.
pub const REFUSALS: &[&str] = &[
    "bad_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "timeout",
    "gone",
    "too_large",
    "unsupported_media_type",
    "misdirected",
    "key_reused",
    "quota",
    "not_implemented",
    "busy",
    "disk_full",
    "internal",
];

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None, extension: Map::new() }
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There are as many connections as there may be.
    pub(crate) fn crowded() -> Self {
        Self::too_many("there are too many connections just now; come back later")
    }

    /// There is no room for more of this kind just now.
    pub(crate) fn too_many(detail: &'static str) -> Self {
        Self { retry_after: Some(Duration::from_secs(5)), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// More is published to these topics than there may be.
    pub(crate) fn over_quota(wait: Duration) -> Self {
        let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let detail = format!("the quota of these topics is used up; try again in {} s", wait.as_secs());
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// The gateway is about to end.
    pub(crate) fn shutting_down() -> Self {
        let problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway is shutting down; go on elsewhere or later");
        Self { retry_after: Some(Duration::from_secs(5)), ..problem }
    }

    /// The same with one more member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extension.insert(name.to_owned(), value.into());
        self
    }

    /// The problem document.
    pub(crate) fn document(&self) -> Value {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut document =
            json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        let members = document.as_object_mut().expect("it was made as an object");
        members.extend(self.extension.clone());
        document
    }

    /// The status it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What to mend.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            400 => "bad_request",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not_found",
            405 => "method_not_allowed",
            408 => "timeout",
            410 => "gone",
            413 => "too_large",
            415 => "unsupported_media_type",
            421 => "misdirected",
            422 => "key_reused",
            429 => "quota",
            501 => "not_implemented",
            503 => "busy",
            507 => "disk_full",
            _ => "internal",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.document();
        let kind = self.kind();
        let mut response = (self.status, format!("{body}\n")).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"encke\""));
        }
        response.extensions_mut().insert(Refusal(kind));
        response
    }
}

impl From<OverQuota> for Problem {
    fn from(error: OverQuota) -> Self {
        match error {
            OverQuota::Wait(wait) => Self::over_quota(wait),
            OverQuota::TooMany(most) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the quota of these topics has {most} events at once; send fewer together, or send them as NDJSON"
                ),
            ),
        }
    }
}

impl From<TopicError> for Problem {
    fn from(error: TopicError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<SelectorError> for Problem {
    fn from(error: SelectorError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let detail = error.to_string();
        match error {
            AppendError::Busy { retry_after } => {
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
                Self { retry_after: Some(retry_after), ..problem }
            }
            AppendError::KeyReused { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            AppendError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, detail),
            AppendError::ReadOnly(cause) => {
                tracing::error!(cause = cause.as_deref().map(|cause| cause as &dyn Error), "a publish was refused");
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
                Self { retry_after: Some(Duration::from_secs(10)), ..problem }
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!(error = &error as &dyn Error, "a subscriber was refused");
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        Self { retry_after: Some(Duration::from_secs(5)), ..problem }
    }
}

/// Says what a request lacks that may not do what it asked for. Whether the topic exists is not told.
pub(crate) fn refused(decision: Decision, what: &str) -> Problem {
    let detail = match decision {
        Decision::NeedsKey => format!("{what} needs a key: send it as `Authorization: Bearer KEY`"),
        Decision::WrongKey => {
            format!("{what} needs another key than the one that was sent, or none where it is public")
        }
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}
