//! `GET /diagnosis`: why streams die here, as a page for people and as JSON for programs.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::problem::{Problem, refused};
use super::{App, guard};
use crate::delivery::Peer;
use crate::diagnosis::{EndReason, Finding, Grade, PathReport, Report, Seconds};

/// Nothing but its own style, and no script: what stands there came by the network once.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Beyond this machine only for who holds a key: it tells how the network is made. What stands there is no secret of readers.
pub(super) async fn diagnosis(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, Problem> {
    let headers = request.headers();
    let permit = app.access.permit(guard::credential(headers));
    if !is_here(request.extensions().get::<Arc<Peer>>()) && !permit.removes() {
        return Err(refused(permit.refusal(), "reading of /diagnosis from another machine"));
    }
    let report = app.delivery.diagnosis().report();
    let fields = [(header::CACHE_CONTROL, "no-store"), (header::VARY, "Accept")];
    if accepts_html(headers) {
        let own = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
        return Ok((fields, own, page(&report)).into_response());
    }
    let own = [(header::CONTENT_TYPE, "application/json")];
    Ok((fields, own, format!("{:#}\n", value(&report))).into_response())
}

/// Whether a request comes from this machine: by the loopback, or by a Unix socket, which has no address.
fn is_here(peer: Option<&Arc<Peer>>) -> bool {
    peer.and_then(|peer| peer.address()).is_none_or(|address| address.ip().to_canonical().is_loopback())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")))
}

fn value(report: &Report) -> Value {
    json!({
        "ends": by_reason(&report.ends),
        "undecided": report.waiting,
        "paths": report.paths.iter().map(path_value).collect::<Vec<_>>(),
    })
}

fn path_value(path: &PathReport) -> Value {
    let limit = path.idle_limit.or(path.duration_limit);
    let confidence = limit.map(|limit| match limit.grade {
        Grade::Certain => "certain",
        Grade::Mixed => "mixed",
    });
    let finding =
        |Finding { kind, text, advice }: &Finding| json!({ "kind": kind.as_str(), "text": text, "advice": advice });
    json!({
        "path": path.path,
        "product": path.product.as_str(),
        "hops": path.hops,
        "streams": path.streams,
        "opened": path.opened,
        "idle_limit_s": path.idle_limit.map(|limit| seconds(limit.at)),
        "duration_limit_s": path.duration_limit.map(|limit| seconds(limit.at)),
        "idle_at_least_s": path.idle_at_least.map(seconds),
        "buffering": path.buffering.as_str(),
        "confidence": confidence,
        "heartbeat_s": seconds(path.heartbeat),
        "returns": path.returns.0,
        "outage_s": seconds(path.returns.1),
        "ends": by_reason(&path.ends),
        "findings": path.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn by_reason(ends: &[(EndReason, u64)]) -> Value {
    let named = ends.iter().map(|(reason, count)| (reason.as_str().to_owned(), (*count).into()));
    Value::Object(named.collect())
}

/// To the millisecond: what is measured is no better.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn page(report: &Report) -> String {
    let mut page = String::from(HEAD);
    let findings: Vec<_> =
        report.paths.iter().flat_map(|path| path.findings.iter().map(move |finding| (path, finding))).collect();
    if findings.is_empty() {
        page.push_str("<p class=\"well\">No path is known to cut streams or to hold events back.</p>");
    }
    for (path, finding) in &findings {
        let (text, advice, name) = (Text(&finding.text), Text(&finding.advice), Text(&path.path));
        let kind = finding.kind.as_str();
        let _ = write!(
            page,
            "<section class=\"finding\"><h2>{text}</h2><p><b>To do:</b> {advice}.</p><p class=\"quiet\">path <code>{name}</code>, \
             finding <code>{kind}</code></p></section>"
        );
    }
    page.push_str(
        "<h2>Paths</h2><table><thead><tr><th>path<th>open<th>opened<th>idle limit<th>duration limit<th>events held\
         <th>heartbeat<th>came back<th>after</tr></thead><tbody>",
    );
    for path in &report.paths {
        let limit = |known: Option<Duration>, least: Option<Duration>| match (known, least) {
            (Some(limit), _) => Seconds(limit).to_string(),
            (None, Some(least)) => format!("&gt; {}", Seconds(least)),
            (None, None) => "–".to_owned(),
        };
        let idle = limit(path.idle_limit.map(|limit| limit.at), path.idle_at_least);
        let duration = limit(path.duration_limit.map(|limit| limit.at), None);
        let outage = if path.returns.0 == 0 { "–".to_owned() } else { Seconds(path.returns.1).to_string() };
        let _ = write!(
            page,
            "<tr><td><code>{}</code><td>{}<td>{}<td>{idle}<td>{duration}<td>{}<td>{}<td>{}<td>{outage}</tr>",
            Text(&path.path),
            path.streams,
            path.opened,
            path.buffering.as_str(),
            Seconds(path.heartbeat),
            path.returns.0,
        );
    }
    page.push_str("</tbody></table><h2>Ends</h2><table><thead><tr><th>reason<th>all");
    for path in &report.paths {
        let _ = write!(page, "<th><code>{}</code>", Text(&path.path));
    }
    page.push_str("</tr></thead><tbody>");
    for (reason, count) in report.ends.iter().filter(|(_, count)| *count > 0) {
        let _ = write!(page, "<tr><td><code>{}</code><td>{count}", reason.as_str());
        for path in &report.paths {
            let of = path.ends.iter().find(|(of, _)| of == reason).map_or(0, |(_, count)| *count);
            let _ = write!(page, "<td>{of}");
        }
        page.push_str("</tr>");
    }
    let _ = write!(
        page,
        "</tbody></table><p class=\"quiet\">Ends that wait for their client to come back, or for the time that it has for \
         that: {}. Programs are given this as JSON (<code>Accept: application/json</code>).</p></main>",
        report.waiting
    );
    page
}

/// Text as it stands in HTML.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut code = false;
        for piece in self.0.chars() {
            match piece {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '`' => {
                    f.write_str(if code { "</code>" } else { "<code>" })?;
                    code = !code;
                }
                other => f.write_char(other)?,
            }
        }
        if code { f.write_str("</code>") } else { Ok(()) }
    }
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Why streams die – Encke</title>\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" content=\"10\"><style>\
:root{color-scheme:light dark;--line:#8884;--quiet:#777;--warn:#c60}\
body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:72rem;margin:0 auto;padding:1.5rem}\
h1{font-size:1.5rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:1.5rem 0 .5rem}\
.finding{border-left:.3rem solid var(--warn);padding:.1rem 1rem;margin:1rem 0;background:#c601}\
.finding h2{margin:.5rem 0}.finding p{margin:.4rem 0}.well{border-left:.3rem solid #295;padding:.6rem 1rem}\
.quiet{color:var(--quiet);font-size:.9rem}code{font:.9em ui-monospace,monospace}\
table{border-collapse:collapse;display:block;overflow-x:auto}th,td{text-align:right;padding:.3rem .8rem;\
border-bottom:1px solid var(--line);white-space:nowrap;font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}\
</style></head><body><main><h1>Why streams die</h1>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Buffering, FindingKind, Product};

    #[test]
    fn what_came_by_the_network_is_text_and_what_is_quoted_is_code() {
        assert_eq!(
            Text("<b>&\"' set `a < b` and `c").to_string(),
            "&lt;b&gt;&amp;&quot;&#39; set <code>a &lt; b</code> and <code>c</code>"
        );
    }

    #[test]
    fn only_this_machine_is_here() {
        let at = |address: &str| is_here(Some(&Arc::new(Peer::new(Some(address.parse().expect("an address"))))));
        assert!(
            at("127.0.0.1:1")
                && at("[::1]:1")
                && at("[::ffff:127.0.0.1]:1")
                && is_here(Some(&Arc::new(Peer::new(None))))
        );
        assert!(!at("192.168.0.1:1") && !at("[fe80::1]:1") && !at("10.0.0.1:1"));
    }

    #[test]
    fn the_page_and_the_json_tell_the_same() {
        let finding =
            Finding { kind: FindingKind::Restarts, text: "It <was> restarted".into(), advice: "set `x`".into() };
        let path = PathReport {
            path: "nginx/h1.0/1".into(),
            product: Product::Nginx,
            hops: 1,
            streams: 3,
            opened: 5,
            idle_limit: None,
            duration_limit: None,
            idle_at_least: Some(Duration::from_secs(70)),
            buffering: Buffering::None,
            heartbeat: Duration::from_secs(15),
            ends: vec![(EndReason::ProxyRestart, 2)],
            returns: (2, Duration::from_millis(2500)),
            findings: vec![finding],
        };
        let report =
            Report { ends: vec![(EndReason::ProxyRestart, 2), (EndReason::Unknown, 0)], waiting: 1, paths: vec![path] };
        let page = page(&report);
        for part in
            ["It &lt;was&gt; restarted", "set <code>x</code>", "nginx/h1.0/1", "&gt; 70 s", "2.5 s", "has for that: 1."]
        {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
        let value = value(&report);
        assert_eq!(value["ends"], json!({"proxy_restart": 2, "unknown": 0}));
        assert_eq!(value["paths"][0]["findings"][0]["kind"], "restarts");
        assert_eq!((&value["paths"][0]["outage_s"], &value["paths"][0]["idle_limit_s"]), (&json!(2.5), &Value::Null));
    }
}
