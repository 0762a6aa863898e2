//! Which pages of other origins may read an answer (Fetch § 3.2).

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use axum::response::Response;

use super::guard::{Guards, is_for_events};
use super::publish::IDEMPOTENCY_KEY;
use super::subscribe::EXPOSED;
use super::trace_context::TRACEPARENT;
use super::want::LAST_EVENT_ID;

/// The rules for pages of other origins. Answers that differ by origin say so themselves (`Vary`).
pub(super) struct Cors {
    guards: Arc<Guards>,
    /// Whether `*` means anything here.
    open: bool,
    exposed: HeaderValue,
}

/// What a request's page may do.
pub(super) enum Sharing {
    /// It is of this origin, which is listed: everything, with the browser's credentials too.
    Listed(HeaderValue),
    /// It may read what everybody may, without credentials.
    Any,
    /// It may read nothing, or there is no page.
    None,
}

impl Cors {
    /// `public` is whether everybody may read.
    pub(super) fn new(guards: &Arc<Guards>, public: bool) -> Self {
        let open = public && guards.any_origin && guards.token.is_none();
        Self { guards: Arc::clone(guards), open, exposed: listed(&EXPOSED) }
    }

    /// Who is not listed may at most read what everybody may, and never with a credential.
    pub(super) fn of(&self, request: &Request<Body>) -> Sharing {
        if let Some(origin) = request.headers().get(header::ORIGIN).filter(|origin| self.guards.lists(origin)) {
            return Sharing::Listed(origin.clone());
        }
        // Metrics and the like are for operators, also where they share the address (`--dev`).
        if self.open && reads(request) && is_for_events(request) { Sharing::Any } else { Sharing::None }
    }

    /// The answer to a preflight.
    pub(super) fn preflight(&self, sharing: &Sharing) -> Response {
        let (methods, fields) = match sharing {
            Sharing::Any => ("GET", listed(&[LAST_EVENT_ID, header::IF_NONE_MATCH, header::CACHE_CONTROL])),
            Sharing::Listed(_) | Sharing::None => ("GET,POST,PUT,DELETE", listed(&ALLOWED)),
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
        allow(headers, sharing);
        response
    }

    /// Says in an answer which pages may read it.
    pub(super) fn share(&self, response: &mut Response, sharing: &Sharing) {
        let for_all = response.extensions().get::<NotForAll>().is_none();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if for_all || !matches!(sharing, Sharing::Any) {
            allow(headers, sharing);
        }
    }
}

/// What a page may send along.
const ALLOWED: [HeaderName; 7] = [
    LAST_EVENT_ID,
    header::IF_NONE_MATCH,
    header::AUTHORIZATION,
    IDEMPOTENCY_KEY,
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    TRACEPARENT,
];

/// Whether a request reads, or asks whether it might.
fn reads(request: &Request<Body>) -> bool {
    match *request.method() {
        Method::GET | Method::HEAD => true,
        Method::OPTIONS => {
            let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).map(HeaderValue::as_bytes);
            matches!(asked, None | Some(b"GET" | b"HEAD"))
        }
        _ => false,
    }
}

fn allow(headers: &mut HeaderMap, sharing: &Sharing) {
    match sharing {
        Sharing::Listed(origin) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        Sharing::Any => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Sharing::None => {}
    }
}

/// The names of header fields as a list in one.
fn listed(names: &[HeaderName]) -> HeaderValue {
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    HeaderValue::try_from(names.join(",")).expect("names are of visible ASCII")
}

/// Marks an answer that not everybody may read, so not pages of any origin either.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotForAll;
