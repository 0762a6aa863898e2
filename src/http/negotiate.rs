//! Which transport a subscriber gets.

use axum::http::{HeaderMap, StatusCode, header};

use super::Options;
use super::problem::Problem;
use crate::transport::Transport;

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

/// Decides by `?transport=`, then by user agent, then by `Accept`: by q, then in the order written. What is not offered is
/// as if it did not exist.
pub(crate) fn negotiate(asked: Option<&str>, headers: &HeaderMap, options: &Options) -> Result<Negotiated, Problem> {
    let offered = &options.transports;
    if let Some(name) = asked {
        return named(name, offered).ok_or_else(|| {
            let names: Vec<_> = offered.iter().map(|transport| transport.name).collect();
            Problem::bad(format!("there is no such transport here; there are {}", names.join(", ")))
        });
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = text(header::USER_AGENT);
    let known = USER_AGENTS.iter().find(|(prefix, _)| agent.starts_with(prefix));
    let known = known.and_then(|(_, name)| named(name, offered));
    let by_accept = || by_accept(text(header::ACCEPT), options.pages, offered);
    let negotiated = known.or_else(by_accept).or_else(|| offered.first().copied().map(Negotiated::Transport));
    negotiated.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no transport is offered here"))
}

fn by_accept(accept: &str, pages: bool, offered: &[&'static Transport]) -> Option<Negotiated> {
    let mut ranges: Vec<(f32, &str)> = accept.split(',').map(range).filter(|(q, _)| *q > 0.0).collect();
    ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a)); // Stable: equal q keep their order.
    let html = ranges.iter().any(|(_, media)| *media == "text/html");
    let named = |name| named(name, offered);
    let accepted = ranges.iter().find_map(|(_, media)| match *media {
        "text/event-stream" | "*/*" => named("sse"),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => named("ndjson"),
        "application/json" => named("long-poll"),
        "text/html" | "application/xhtml+xml" if pages => Some(Negotiated::Page),
        "multipart/x-mixed-replace" | "multipart/*" => named("multipart-replace"),
        media if media.starts_with("image/") && !html => named("multipart-replace"),
        _ => None,
    });
    accepted.or_else(|| named("sse"))
}

fn named(name: &str, offered: &[&'static Transport]) -> Option<Negotiated> {
    offered.iter().find(|transport| transport.name == name).copied().map(Negotiated::Transport)
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
    use crate::transport::TRANSPORTS;

    /// The name of what a request gets where only these are offered; all that there are, if none is named.
    fn negotiated(
        accept: &str,
        agent: &str,
        asked: Option<&str>,
        offered: &[&str],
        pages: bool,
    ) -> Result<&'static str, u16> {
        let headers = [(header::ACCEPT, accept), (header::USER_AGENT, agent)];
        let headers = headers.into_iter().map(|(name, value)| (name, value.parse().expect("a value"))).collect();
        let is_offered = |transport: &&Transport| offered.is_empty() || offered.contains(&transport.name);
        let transports = TRANSPORTS.iter().filter(is_offered).collect();
        let options = Options { event_bytes: 1, batch_bytes: 1, max_topics: 1, transports, pages, cuttable: false };
        match negotiate(asked, &headers, &options) {
            Ok(Negotiated::Transport(transport)) => Ok(transport.name),
            Ok(Negotiated::Page) => Ok("page"),
            Err(problem) => Err(problem.status().as_u16()),
        }
    }

    fn check(accept: &str, expected: &str) {
        assert_eq!(negotiated(accept, "", None, &[], true), Ok(expected), "{accept}");
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
        assert_eq!(negotiated("text/html,*/*;q=0.8", "", None, &[], false), Ok("sse"));
    }

    #[test]
    fn a_name_decides_before_anything_else_and_must_exist() {
        assert_eq!(negotiated("application/json", "", Some("ndjson"), &[], true), Ok("ndjson"));
        assert_eq!(negotiated("", "", Some("carrier-pigeon"), &[], true), Err(400));
    }

    #[test]
    fn what_is_not_offered_is_as_if_it_did_not_exist() {
        let offered = |accept, agent, asked| negotiated(accept, agent, asked, &["ndjson", "long-poll"], true);
        assert_eq!(offered("", "", Some("sse")), Err(400));
        assert_eq!(offered("text/event-stream, application/json", "", None), Ok("long-poll"));
        assert_eq!(offered("multipart/x-mixed-replace", "", None), Ok("ndjson"));
        assert_eq!(offered("", "Lavf/59", None), Ok("ndjson"));
        assert_eq!(negotiated("", "Lavf/59", None, &[], true), Ok("multipart-replace"));
    }
}
