//! The base path: all routes below it, for a gateway that shares its host with others behind a proxy that passes paths on
//! as they are.
//!
//! It is taken off before anything else looks at a request. What we say of our own places is relative, and so right under
//! any path, also where a proxy takes it off before we see it; then there is none to be configured.

use std::sync::Arc;

use axum::Router;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};

use super::App;
use super::problem::Problem;

/// What is outside: the way to the page for who left out the slash, and words for everybody else.
pub(super) fn elsewhere(base: &str) -> Router<Arc<App>> {
    let words = format!("everything here is below {base}/; events are at {base}/events");
    let nothing = any(move || async move { Problem::new(StatusCode::NOT_FOUND, words) });
    let name = base.rsplit('/').next().unwrap_or_default();
    let inside = HeaderValue::try_from(format!("./{name}/")).expect("a base path is of visible ASCII");
    let redirect =
        move || async move { (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, inside)]).into_response() };
    Router::new().route(base, get(redirect)).route("/", nothing.clone()).route("/{*path}", nothing)
}

/// The same without the base path; none if it is not below it.
pub(super) fn stripped(base: &str, uri: &Uri) -> Option<Uri> {
    let all = uri.path_and_query()?.as_str();
    let rest = all.strip_prefix(base).filter(|rest| rest.starts_with('/'))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

/// The way from a path up to where the gateway is: `./` or `../` and so on.
pub(super) fn up(path: &str) -> String {
    // A topic has at most 1 024 bytes.
    let depth = path.bytes().filter(|byte| *byte == b'/').count().saturating_sub(1).min(1024);
    if depth == 0 { "./".to_owned() } else { "../".repeat(depth) }
}

/// The same place, said relative to itself: it stays on this host whatever it holds.
pub(super) fn here(uri: &Uri, query: &str) -> String {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    if query.is_empty() { format!("./{name}") } else { format!("./{name}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_path_is_taken_off_once_and_only_as_a_whole() {
        let stripped = |uri: &str| stripped("/live", &uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(stripped("/live/").as_deref(), Some("/"));
        assert_eq!(stripped("/live/events/a?b=/live").as_deref(), Some("/events/a?b=/live"));
        assert_eq!(stripped("/live/live/").as_deref(), Some("/live/"));
        assert_eq!(stripped("/live//x").as_deref(), Some("//x"));
        assert_eq!(stripped("http://host:1/live/events").as_deref(), Some("http://host:1/events"));
        for uri in ["/", "/live", "/live?x", "/lively/", "/events", "/a/live/", "/%6Cive/", "*", "/LIVE/"] {
            assert_eq!(stripped(uri), None, "{uri}");
        }
    }

    #[test]
    fn places_are_relative() {
        for (path, way) in [("/", "./"), ("/events", "./"), ("/events/", "../"), ("/events/a/b", "../../"), ("*", "./")]
        {
            assert_eq!(up(path), way, "{path}");
        }
        let here = |uri: &str, query: &str| here(&uri.parse().unwrap(), query);
        assert_eq!(here("/", ""), "./");
        assert_eq!(here("/events/a:b?token=x", "last=5"), "./a:b?last=5");
        assert_eq!(here("//evil.example", ""), "./evil.example");
    }
}
