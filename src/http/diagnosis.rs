//! `GET /diagnosis`: why streams die here, as a page for people and as JSON for programs. `DELETE /diagnosis`: what was learnt of
//! a path that is not what it was.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::insight::{self, Text, seconds};
use super::problem::Problem;
use super::query::Query;
use super::{App, parameter};
use crate::diagnosis::{EndReason, Finding, Grade, PathReport, Report, Seconds};

/// It tells how the network is made.
pub(super) async fn diagnosis(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let report = app.delivery.diagnosis().report();
    insight::answer(request.headers(), || page(&report), || value(&report))
}

/// What was learnt is forgotten; what was counted stays.
pub(super) async fn forget(State(app): State<Arc<App>>, uri: Uri) -> Result<StatusCode, Problem> {
    let query = Query::of(&uri)?;
    parameter::known(parameter::DIAGNOSIS, &query)?;
    parameter::once(parameter::DIAGNOSIS, &query)?;
    let path = query.first(&[parameter::OF_PATH.name]);
    if !app.delivery.diagnosis().unlearn(path) {
        let detail = "`path` is none of the paths by which somebody came; GET /diagnosis lists them";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    tracing::info!(path, "what was learnt of the paths of streams is forgotten, as was asked for");
    Ok(StatusCode::NO_CONTENT)
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
        "not_cut_for_s": path.not_cut_for.map(seconds),
        "relief": path.relief.map(|(relief, _)| relief),
        "relief_left_s": path.relief.map(|(_, left)| seconds(left)),
        "told_apart": path.told_apart,
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

fn page(report: &Report) -> String {
    let mut page = insight::head(TITLE);
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
    page.push_str("</tbody></table>");
    let alike: Vec<_> = report.paths.iter().filter(|path| path.hops > 0 && !path.told_apart).collect();
    if !alike.is_empty() {
        page.push_str("<p class=\"quiet\">Clients cannot be told apart by their addresses on ");
        for (nth, path) in alike.iter().enumerate() {
            let _ = write!(page, "{}<code>{}</code>", if nth == 0 { "" } else { ", " }, Text(&path.path));
        }
        page.push_str(
            ": what is found there may be the doing of one of them. Have the intermediary set <code>X-Forwarded-For</code>, and \
             name it with <code>--trusted-proxy</code>. Clients of private networks are never told apart.</p>",
        );
    }
    page.push_str("<h2>Ends</h2><table><thead><tr><th>reason<th>all");
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
         that: {}. <a href=\"streams\">Single streams</a>, open and ended. Programs are given this as JSON (<code>Accept: application/json</code>).</p></main>",
        report.waiting
    );
    page
}

/// What the page is called.
const TITLE: &str = "Why streams die";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Buffering, FindingKind, Product};

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
            not_cut_for: None,
            buffering: Buffering::None,
            relief: None,
            told_apart: false,
            heartbeat: Duration::from_secs(15),
            ends: vec![(EndReason::ProxyRestart, 2)],
            returns: (2, Duration::from_millis(2500)),
            findings: vec![finding],
        };
        let report =
            Report { ends: vec![(EndReason::ProxyRestart, 2), (EndReason::Unknown, 0)], waiting: 1, paths: vec![path] };
        let page = page(&report);
        for part in [
            "It &lt;was&gt; restarted",
            "apart by their addresses on <code>nginx/h1.0/1</code>",
            "set <code>x</code>",
            "nginx/h1.0/1",
            "&gt; 70 s",
            "2.5 s",
            "has for that: 1.",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
        let value = value(&report);
        assert_eq!(value["ends"], json!({"proxy_restart": 2, "unknown": 0}));
        assert_eq!(value["paths"][0]["findings"][0]["kind"], "restarts");
        assert_eq!((&value["paths"][0]["outage_s"], &value["paths"][0]["idle_limit_s"]), (&json!(2.5), &Value::Null));
    }
}
