//! Which transport a subscriber gets.

use axum::http::{HeaderMap, header};

use super::problem::Problem;
use crate::transport::{Offered, Transport};

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
pub(crate) fn negotiate(
    asked: Option<&str>,
    headers: &HeaderMap,
    offered: Offered,
    pages: bool,
) -> Result<Negotiated, Problem> {
    let missing = || {
        let names: Vec<_> = offered.iter().map(|transport| transport.name).collect();
        Problem::bad(format!("there is no such transport here; there are {}", names.join(", ")))
    };
    if let Some(name) = asked {
        return offered.by_name(name).map(Negotiated::Transport).ok_or_else(missing);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = text(header::USER_AGENT);
    if let Some((_, name)) = USER_AGENTS.iter().find(|(prefix, _)| agent.starts_with(prefix))
        && let Some(transport) = offered.by_name(name)
    {
        return Ok(Negotiated::Transport(transport));
    }
    by_accept(text(header::ACCEPT), offered, pages).ok_or_else(missing)
}

/// What is accepted first of what is offered; else what is offered first, `sse` if that is among it.
fn by_accept(accept: &str, offered: Offered, pages: bool) -> Option<Negotiated> {
    let mut ranges: Vec<(f32, &str)> = accept.split(',').map(range).filter(|(q, _)| *q > 0.0).collect();
    ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a)); // Stable: equal q keep their order.
    let html = ranges.iter().any(|(_, media)| *media == "text/html");
    let named = |name| offered.by_name(name).map(Negotiated::Transport);
    let accepted = ranges.iter().find_map(|&(_, media)| match media {
        "text/html" | "application/xhtml+xml" if pages => Some(Negotiated::Page),
        media if media.starts_with("image/") && !html => named("multipart-replace"),
        media => offered.iter().find(|transport| transport.accepts.contains(&media)).map(Negotiated::Transport),
    });
    accepted.or_else(|| named("sse")).or_else(|| offered.iter().next().map(Negotiated::Transport))
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
        let name = match by_accept(accept, Offered::ALL, true).expect("something is offered") {
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
        check("multipart/mixed", "multipart-mixed");
        check("multipart/mixed;q=0.9, multipart/*", "multipart-replace");
    }

    #[test]
    fn browsers_get_pages_in_tabs_and_pictures_in_images() {
        check("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "page");
        check("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "multipart-replace");
        assert_eq!(by_accept("text/html,*/*;q=0.8", Offered::ALL, false), named("sse"));
    }

    fn named(name: &str) -> Option<Negotiated> {
        Offered::ALL.by_name(name).map(Negotiated::Transport)
    }

    #[test]
    fn what_is_not_offered_is_passed_over() {
        let offered = Offered::only(["ndjson", "long-poll"]).expect("transports");
        assert_eq!(by_accept("text/event-stream, application/json", offered, false), named("long-poll"));
        assert_eq!(by_accept("*/*", offered, false), named("ndjson"), "the first that is offered");
        assert_eq!(by_accept("image/png", offered, false), named("ndjson"));
        assert_eq!(by_accept("*/*", Offered::only([]).expect("none"), false), None);
        let problem = negotiate(Some("sse"), &HeaderMap::new(), offered, true).expect_err("not offered");
        assert!(problem.detail().ends_with("there are ndjson, long-poll"), "{}", problem.detail());
    }

    #[test]
    fn a_name_decides_before_anything_else_and_must_exist() {
        let headers = HeaderMap::new();
        assert_eq!(negotiate(Some("ndjson"), &headers, Offered::ALL, true).ok(), named("ndjson"));
        assert_eq!(
            negotiate(Some("carrier-pigeon"), &headers, Offered::ALL, true).expect_err("none").status().as_u16(),
            400
        );
    }
}
