//! What came of it, for programs: one JSON object. Times are milliseconds.

use std::time::Duration;

use serde_json::{Value, json};

use super::finding::Finding;
use super::half_close::HalfClose;
use super::http2::{End, Http2};
use super::judging::{Facts, Judgement};
use super::lifetimes::Limit;
use super::reach::{Reach, Reached};

/// The report.
pub(super) fn report(place: &str, facts: &Facts, judgement: &Judgement, reach: &Reach) -> String {
    let (opening, limits) = (&facts.opening, &judgement.limits);
    let version = opening.answer.as_ref().map(|answer| if answer.is_1_1 { "1.1" } else { "1.0" });
    let verdict = reach.verdict(judgement);
    let hops = judgement.marks.iter().map(|mark| json!({ "name": mark.hop.name(), "by": mark.by }));
    let report = json!({
        "url": place,
        "isEncke": opening.is_encke,
        "http": version,
        "alpn": facts.chosen,
        "hops": hops.collect::<Vec<_>>(),
        "unknownMarks": judgement.unknown,
        "beginning": {
            "head": opening.head.map(milliseconds),
            "firstByte": opening.first_byte.map(milliseconds),
            "firstEvent": opening.first_event.map(milliseconds),
            "wholeAnswer": opening.at_once.map(milliseconds),
            "heartbeat": opening.heartbeat.map(milliseconds),
            "releasedBy": facts.holding.released_by,
            "compressed": opening.compressed.as_ref().map(|compressed| &compressed.coding),
        },
        "idle": limit(limits.idle.as_ref(), limits.silence, reach.idle),
        "duration": limit(limits.duration.as_ref(), limits.age, reach.duration),
        "isUnsure": limits.is_unsure,
        "isMixed": limits.is_mixed,
        "watched": { "streams": facts.watched.0, "failed": facts.watched.1 },
        "delay": {
            "published": facts.delay.published,
            "late": facts.delay.late.iter().copied().map(milliseconds).collect::<Vec<_>>(),
            "each": judgement.late.map(milliseconds),
        },
        "http2": facts.http2.as_ref().map(http2),
        "atOnce": { "tried": facts.together.tried, "open": facts.together.open },
        "halfClose": match facts.half_close {
            HalfClose::Unknown => Value::Null,
            HalfClose::Cut => "cut".into(),
            HalfClose::Kept => "kept".into(),
        },
        "endedEarly": reach.is_early,
        "verdict": { "is": verdict.name, "says": verdict.says },
        "findings": judgement.findings.iter().map(finding).collect::<Vec<_>>(),
    });
    format!("{report}\n")
}

fn limit(limit: Option<&Limit>, outlived: Duration, reached: Reached) -> Value {
    json!({
        "limit": limit.map(|limit| milliseconds(limit.at)),
        "end": limit.map(|limit| limit.end.name()),
        "streams": limit.map(|limit| limit.streams),
        "outlived": milliseconds(outlived),
        "horizon": milliseconds(reached.horizon),
        "watched": milliseconds(reached.watched),
        "isLookedFor": reached.is_looked_for,
    })
}

fn http2(stream: &Http2) -> Value {
    let end = stream.end.as_ref();
    json!({
        "status": stream.head.as_ref().map(|head| head.status),
        "head": stream.head.as_ref().map(|head| milliseconds(head.after)),
        "firstEvent": stream.first_event.map(milliseconds),
        "age": milliseconds(stream.age),
        "end": end.map(End::name),
        "code": end.and_then(End::code),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "name": finding.name,
        "level": finding.level.name(),
        "says": finding.says,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
