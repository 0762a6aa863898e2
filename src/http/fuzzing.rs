//! What the fuzz targets reach of this module: everything that reads a request before its content.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use super::guard::Guards;
use super::negotiate::negotiate;
use super::query::{Query, topic_in_path};
use super::want::{LAST_EVENT_ID, want};
use crate::access::{Permit, Secret};
use crate::event::Timestamp;
use crate::transport::{Offered, TRANSPORTS};

/// A request from lines: its target, then fields. What hyper would not hand on is not tried.
fn request(data: &[u8]) -> Option<(Uri, HeaderMap)> {
    let mut lines = data.split(|&byte| byte == b'\n');
    let uri = Uri::try_from(lines.next()?).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some((uri, headers))
}

/// What a subscriber asks for: path, query, start position, transport.
pub fn subscribe(data: &[u8]) {
    let Some((uri, headers)) = request(data) else { return };
    let (Ok(query), Ok(topic)) = (Query::of(&uri), topic_in_path(&uri)) else { return };
    let _ = negotiate(query.first(&["transport"]), &headers, Offered::ALL, true);
    let asks = headers.contains_key(LAST_EVENT_ID);
    for now in [0, 1_800_000_000_000, u64::MAX] {
        let wanted =
            want(&TRANSPORTS[0], topic.as_deref(), &query, &headers, Permit::everything(), 128, Timestamp(now));
        // Without another parameter, no start position that a header may hold is refused.
        assert!(wanted.is_ok() || !(asks && uri.path() == "/events/a" && uri.query().is_none()), "{data:?}");
    }
}

/// What a publisher says beside the content: topics, type, keys, media type, what the content is.
pub fn publish(data: &[u8]) {
    let Some((uri, headers)) = request(data) else { return };
    super::publish::fuzzing::target(uri, headers);
}

pub use super::publish::fuzzing::{events, fields, lines, object};

/// What every request passes: its host, origin and token. A name that is none of ours never gets in.
pub fn guard(data: &[u8]) {
    let Some((uri, headers)) = request(data) else { return };
    let guards =
        Guards { check_host: true, loopback_origins: true, token: Some(Secret::new("t0ken")), ..Guards::default() };
    let mut request = Request::new(Body::empty());
    (*request.uri_mut(), *request.headers_mut()) = (uri, headers);
    let passed = guards.check(&request);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let foreign = |host: &HeaderValue| host.as_bytes().windows(9).any(|window| window == b"x.example");
    assert!(passed.is_err() || !hosts.any(foreign), "{data:?}");
    assert!(passed.is_err() || data.windows(5).any(|window| window == b"t0ken"), "let in without the token");
}
