//! Which requests are served: those that come by a name of ours, from a page of ours or no page, and with the token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::base;
use super::problem::Problem;
use super::query::Query;
use crate::access::Secret;
use crate::delivery::Peer;

/// Which origins and hosts are ours.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// Origins whose pages may read and publish.
    pub origins: Vec<String>,
    /// Pages of any origin may read what is public, without credentials.
    pub any_origin: bool,
    /// Pages of every loopback origin may read and publish (`--dev`).
    pub loopback_origins: bool,
    /// `Host` must be one that no foreign name can point at us: an IP literal, localhost, or one of `hosts`.
    pub check_host: bool,
    /// Host names that are ours.
    pub hosts: Vec<String>,
    /// The path under which everything is, such as `/live`; empty if there is none.
    pub base: String,
    /// Whoever does not come with this is not served (`--dev` beyond loopback).
    pub token: Option<Secret>,
}

/// Fetch Metadata § 2.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The credential of a request: `Authorization: Bearer …` (RFC 6750 § 2.1). One that is empty, as from a variable that is not
/// set, is one too. Other schemes belong to proxies.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let value = value.to_str().ok()?;
        let (scheme, credential) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
    })
}

/// Lets the content of a refused HTTP/2 request arrive, within bounds, and forgets it. What is not read is reset after the
/// answer (RFC 9113 § 8.1), and then curl (7.88) may tell of a broken stream instead of what was wrong. HTTP/1 lingers by
/// itself.
pub(crate) async fn take_rest(version: Version, mut body: Body) {
    /// Twice the largest event.
    const MOST: usize = 2 << 20;
    if version != Version::HTTP_2 {
        return;
    }
    let rest = async {
        let mut taken = 0;
        while taken < MOST
            && let Some(Ok(frame)) = body.frame().await
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = Box::pin(timeout(Duration::from_secs(1), rest)).await; // Boxed: every handler has room for this.
}

impl Guards {
    /// What may pass gives nothing; a browser that brings the token in its URL is given a cookie and sent on.
    pub(super) fn check(&self, request: &Request<Body>) -> Result<Option<Response>, Problem> {
        let headers = request.headers();
        let authority = authority(request)?;
        if self.check_host && !authority.as_ref().is_none_or(|authority| self.is_our_host(authority.host())) {
            let status = StatusCode::MISDIRECTED_REQUEST;
            return Err(Problem::new(status, "this host name is not one of ours; add it with --host"));
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if changes && !self.is_of_our_page(headers, authority.as_ref(), is_over_tls(request.extensions())) {
            let detail = "pages of this origin may not publish here; list it with --cors-origin";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        self.check_token(request)
    }

    /// Whether no page, or one that may, sent the request. Browsers say so in `Origin`, also for forms; those that do not
    /// (Firefox before 70, and where a policy strips it) leave `Sec-Fetch-Site` or `Referer`. What is no browser sends none of them.
    fn is_of_our_page(&self, headers: &HeaderMap, authority: Option<&Authority>, tls: bool) -> bool {
        let ours =
            |origin: &str| self.is_listed(origin) || authority.is_some_and(|authority| is_same(origin, authority, tls));
        if let Some(origin) = headers.get(header::ORIGIN) {
            return origin.to_str().is_ok_and(ours);
        }
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if matches!(site, Some(site) if !matches!(site, b"same-origin" | b"none")) {
            return false;
        }
        headers
            .get(header::REFERER)
            .is_none_or(|referer| referer.to_str().ok().and_then(origin_of).is_some_and(|origin| ours(&origin)))
    }

    fn check_token(&self, request: &Request<Body>) -> Result<Option<Response>, Problem> {
        let Some(token) = &self.token else { return Ok(None) };
        let headers = request.headers();
        // A preflight carries no credential (Fetch § 4.8); what it asks for is checked when it comes.
        let brought = credential(headers).or_else(|| cookie(headers));
        if request.method() == Method::OPTIONS || brought.is_some_and(|brought| token.is(brought)) {
            return Ok(None);
        }
        let query = Query::of(request.uri())?;
        match query.first(&["token"]) {
            Some(offered) if token.is(offered) => Ok(Some(self.with_cookie(request, offered))),
            _ => {
                let detail = "open the address that the gateway printed at its start: it holds the token of this run";
                Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
        }
    }

    /// Keeps the token out of the history, the address bar and `Referer`.
    fn with_cookie(&self, request: &Request<Body>, token: &str) -> Response {
        let uri = request.uri();
        let mut response = (StatusCode::SEE_OTHER, ()).into_response();
        let headers = response.headers_mut();
        let path = if self.base.is_empty() { "/" } else { &self.base };
        let secure = if is_over_tls(request.extensions()) { "; Secure" } else { "" };
        let cookie = HeaderValue::try_from(format!("{COOKIE}={token}; Path={path}; HttpOnly; SameSite=Strict{secure}"));
        headers.insert(header::SET_COOKIE, cookie.expect("the token is one that we made, the path of visible ASCII"));
        let rest = uri.query().unwrap_or_default().split('&').filter(|pair| !is_token(pair));
        let location = base::here(uri, &rest.collect::<Vec<_>>().join("&"));
        let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("./"));
        headers.insert(header::LOCATION, location);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn is_our_host(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        host.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
    }

    pub(super) fn lists(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.is_listed(origin))
    }

    fn is_listed(&self, origin: &str) -> bool {
        self.origins.iter().any(|listed| listed == origin) || (self.loopback_origins && is_loopback(origin))
    }
}

pub(super) fn is_for_events(request: &Request<Body>) -> bool {
    request.uri().path().starts_with("/events")
}

/// Where the request was sent: `:authority` on HTTP/2, `Host` before that (RFC 9110 § 7.2).
///
/// What cannot be read is refused (RFC 9112 § 3.2) and never taken for no name at all: browsers allow characters in host
/// names that `Authority` does not, and a foreign name made of them must not pass for ours. Only HTTP/1.0 has no `Host`.
fn authority(request: &Request<Body>) -> Result<Option<Authority>, Problem> {
    let wrong = || Problem::bad("send one Host field: a host name or an IP address, and the port");
    let mut fields = request.headers().get_all(header::HOST).iter();
    let (host, further) = (fields.next(), fields.next());
    if further.is_some() {
        return Err(wrong());
    }
    match (request.uri().authority(), host) {
        (Some(authority), _) => Ok(Some(authority.clone())),
        (None, None) if request.version() <= Version::HTTP_10 => Ok(None),
        (None, None) => Err(wrong()),
        (None, Some(host)) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) if !authority.as_str().contains('@') => Ok(Some(authority)),
            _ => Err(wrong()),
        },
    }
}

/// Whether the request came over TLS, so that its page did. Where it did not, there may be a proxy to which it did.
pub(crate) fn is_over_tls(extensions: &Extensions) -> bool {
    extensions.get::<Arc<Peer>>().is_some_and(|peer| peer.is_over_tls())
}

/// Whether an origin is where the request was sent. Without TLS by host and port alone: which of `http` and `https` a proxy
/// does not tell.
pub(crate) fn is_same(origin: &str, authority: &Authority, tls: bool) -> bool {
    let ours = |scheme: &str| scheme == "https" || (scheme == "http" && !tls);
    let host = origin.split_once("://").filter(|(scheme, _)| ours(scheme));
    host.is_some_and(|(_, host)| host.eq_ignore_ascii_case(authority.as_str()))
}

/// The origin of a page, as `Origin` would spell it.
pub(crate) fn origin_of(page: &str) -> Option<String> {
    let uri: Uri = page.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

fn is_loopback(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    matches!(uri.scheme_str(), Some("http" | "https"))
        && (host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

const COOKIE: &str = "encke_dev";

/// The token that a browser brings along as a cookie.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Whether a pair of a query is the token, however its name is spelt: it must not stay in the address.
fn is_token(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    percent_decode_str(name).eq(b"token".iter().copied())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;
    use tokio_stream::StreamExt;

    use super::*;

    /// How many of these pieces of 16 KiB are taken.
    async fn taken(version: Version, pieces: usize) -> usize {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let content = tokio_stream::iter(0..pieces).map(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from_static(&[b'a'; 16 * 1024]))
        });
        take_rest(version, Body::from_stream(content)).await;
        taken.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn the_content_of_a_refused_http2_request_is_taken_within_bounds() {
        assert_eq!(taken(Version::HTTP_2, 3).await, 3);
        assert_eq!(taken(Version::HTTP_2, 64).await, 64, "that of the largest event");
        assert_eq!(taken(Version::HTTP_2, 1000).await, 128);
        assert_eq!(taken(Version::HTTP_11, 3).await, 0);
        let begun = Instant::now();
        take_rest(Version::HTTP_2, Body::from_stream(tokio_stream::pending::<Result<Bytes, Infallible>>())).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
