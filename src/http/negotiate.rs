//! Which transport a subscriber gets.

use axum::http::{HeaderMap, header};

use super::problem::Problem;
use crate::transport::{TRANSPORTS, Transport, by_name};

/// What a request for events is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Negotiated {
    /// The events.
    Transport(&'static Transport),
    /// The page that shows them live.
    Page,
}

/// User agents that cannot say what they want, by how their name begins.
///
/// `Lavf`: ffmpeg's demuxers (5.1) send `Accept: */*`; of what we have, they can play body parts.
const USER_AGENTS: &[(&str, &str)] = &[("Lavf/", "multipart-replace")];

/// Decides by `?transport=`, then by user agent, then by `Accept`: by q, then in the order written.
pub(crate) fn negotiate(asked: Option<&str>, headers: &HeaderMap, pages: bool) -> Result<Negotiated, Problem> {
    if let Some(name) = asked {
        return by_name(name).map(Negotiated::Transport).ok_or_else(|| {
            let names: Vec<_> = TRANSPORTS.iter().map(|transport| transport.name).collect();
            Problem::bad(format!("there is no such transport here; there are {}", names.join(", ")))
        });
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = text(header::USER_AGENT);
    if let Some((_, name)) = USER_AGENTS.iter().find(|(prefix, _)| agent.starts_with(prefix)) {
        return Ok(named(name));
    }
    Ok(by_accept(text(header::ACCEPT), pages))
}

fn by_accept(accept: &str, pages: bool) -> Negotiated {
    let mut ranges: Vec<(f32, &str)> = accept.split(',').map(range).filter(|(q, _)| *q > 0.0).collect();
    ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a)); // Stable: equal q keep their order.
    let html = ranges.iter().any(|(_, media)| *media == "text/html");
    let offered = ranges.iter().find_map(|(_, media)| match *media {
        "text/event-stream" | "*/*" => Some(named("sse")),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(named("ndjson")),
        "application/json" => Some(named("long-poll")),
        "text/html" | "application/xhtml+xml" if pages => Some(Negotiated::Page),
        "multipart/x-mixed-replace" | "multipart/*" => Some(named("multipart-replace")),
        media if media.starts_with("image/") && !html => Some(named("multipart-replace")),
        _ => None,
    });
    offered.unwrap_or_else(|| named("sse"))
}

fn named(name: &str) -> Negotiated {
    Negotiated::Transport(by_name(name).expect("the table of transports has the names used here"))
}

/// One media range and its weight (RFC 9110 § 12.4.2); a weight that cannot be read counts as 1.
fn range(text: &str) -> (f32, &str) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (weight.and_then(|q| q.parse().ok()).unwrap_or(1.0), media)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: &str) {
        let name = match by_accept(accept, true) {
            Negotiated::Transport(transport) => transport.name,
            Negotiated::Page => "page",
        };
        assert_eq!(name, expected, "{accept}");
    }

    #[test]
    fn accept_decides_by_weight_and_then_by_order() {
        check("", "sse");
        check("*/*", "sse");
        check("text/event-stream", "sse");
        check("application/x-unheard-of", "sse");
        check("application/json", "long-poll");
        check("application/json, text/event-stream", "long-poll");
        check("application/json;q=0.5, text/event-stream", "sse");
        check("text/event-stream;q=0, application/x-ndjson", "ndjson");
        check("multipart/x-mixed-replace", "multipart-replace");
    }

    #[test]
    fn browsers_get_pages_in_tabs_and_pictures_in_images() {
        check("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "page");
        check("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "multipart-replace");
        assert_eq!(by_accept("text/html,*/*;q=0.8", false), named("sse"));
    }

    #[test]
    fn a_name_decides_before_anything_else_and_must_exist() {
        let headers = HeaderMap::new();
        assert_eq!(negotiate(Some("ndjson"), &headers, true).expect("a transport"), named("ndjson"));
        assert_eq!(negotiate(Some("carrier-pigeon"), &headers, true).expect_err("none").status().as_u16(), 400);
    }
}
