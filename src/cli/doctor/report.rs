//! What came of it, for a person.

use std::fmt::Write as _;
use std::time::Duration;

use super::delay::Verdict;
use super::finding::Finding;
use super::half_close::HalfClose;
use super::http2::Http2;
use super::judging::{Facts, Judgement};
use super::lifetimes::Limit;
use super::reach::Reach;
use crate::cli::console::shown;
use crate::cli::progress::took;

/// The report.
pub(super) fn text(place: &str, facts: &Facts, judgement: &Judgement, reach: &Reach) -> String {
    let mut text = String::new();
    let mut line = |name: &str, words: String| {
        writeln!(text, "{name:<12} {}", shown(&words)).expect("a string takes every write");
    };
    line("stream", place.to_owned());
    line("path", path(facts, judgement));
    line("beginning", beginning(facts));
    let Reach { idle, duration, silence, .. } = reach;
    line("silence", limit(judgement.limits.idle.as_ref(), *silence, idle.horizon, "silent"));
    line("age", limit(judgement.limits.duration.as_ref(), duration.watched, duration.horizon, "open"));
    line("delay", delay(facts));
    if let Some(stream) = &facts.http2 {
        line("http/2", http2(stream, facts.opening.patience));
    }
    line("at once", at_once(facts));
    line("half-close", half_close(facts.half_close).to_owned());
    if reach.is_early {
        line("ended early", "what follows is what was learnt until then".into());
    }
    for finding in &judgement.findings {
        text += &told(finding);
    }
    let verdict = reach.verdict(judgement);
    writeln!(text, "\n{}: {}", verdict.name, verdict.says).expect("a string takes every write");
    text
}

fn told(finding: &Finding) -> String {
    let mut text = format!("\n{:<12} {}\n", finding.level.name(), shown(&finding.says));
    let mut line = |name: &str, words: &str| {
        writeln!(text, "  {name:<10} {}", shown(words)).expect("a string takes every write");
    };
    if !finding.evidence.is_empty() {
        line("measured", &finding.evidence);
    }
    for (number, remedy) in finding.remedy.iter().enumerate() {
        line(if number == 0 { "to mend" } else { "" }, remedy);
    }
    text
}

fn path(facts: &Facts, judgement: &Judgement) -> String {
    let version = match &facts.opening.answer {
        None => "no head of a stream comes",
        Some(answer) if answer.is_1_1 => "HTTP/1.1",
        Some(_) => "HTTP/1.0",
    };
    let tls = match (&facts.chosen, facts.is_https) {
        (Some(chosen), _) => format!(" over TLS (browsers get {chosen})"),
        (None, true) => " over TLS".into(),
        (None, false) => String::new(),
    };
    let server = if facts.opening.is_encke { "Encke" } else { "a server" };
    let hops = judgement.marks.iter().map(|mark| format!("{} ({})", mark.hop.name(), mark.by));
    let unknown = judgement.unknown.iter().cloned();
    let hops: Vec<_> = hops.chain(unknown).collect();
    let hops = if hops.is_empty() { "no hop names itself".to_owned() } else { format!("through {}", hops.join("; ")) };
    format!("{version}{tls}, {server}, {hops}")
}

fn beginning(facts: &Facts) -> String {
    let opening = &facts.opening;
    let Some(head) = opening.head else { return format!("nothing in {}", took(opening.patience)) };
    let since = |time: Option<Duration>| time.map_or_else(|| format!("not in {}", took(opening.patience)), took);
    format!(
        "head after {}, first byte {}, first event {}",
        took(head),
        since(opening.first_byte),
        since(opening.first_event)
    )
}

fn limit(limit: Option<&Limit>, outlived: Duration, horizon: Duration, what: &str) -> String {
    match limit {
        Some(Limit { at, end, .. }) => format!("{what} for {}, then {end}", took(*at)),
        None => format!("{what} for {} of {} without a cut", took(outlived), took(horizon)),
    }
}

fn http2(stream: &Http2, patience: Duration) -> String {
    let first = match (&stream.head, stream.first_event) {
        (Some(head), _) if head.status != 200 => format!("an answer with the status {}", head.status),
        (_, Some(first)) => format!("first event after {}", took(first)),
        (_, None) if stream.is_overdue => format!("no event in {}", took(patience)),
        (_, None) => "no event".into(),
    };
    let age = took(stream.age);
    match &stream.end {
        Some(end) => format!("{first}; {end} after {age}"),
        None if stream.head.is_none() => first,
        None => format!("{first}, open for {age} without a cut"),
    }
}

fn delay(facts: &Facts) -> String {
    let of = format!("{} events", facts.delay.late.len());
    match facts.delay.verdict() {
        None if facts.opening.first_event.is_none() => "not measured, as nothing comes".into(),
        None => match &facts.delay.trouble {
            Some(words) => format!("not measured: publishing failed: {words}"),
            None => "not measured: that takes --topic".into(),
        },
        Some(Verdict::Missing(missing)) => format!("{missing} of {} events did not come", facts.delay.published),
        Some(Verdict::Prompt(late) | Verdict::Coalesced(late) | Verdict::Late(late)) => {
            let longest = facts.delay.late.iter().max().copied().unwrap_or_default();
            format!("{of}, {} after their receipts (median), at most {}", took(late), took(longest))
        }
    }
}

fn at_once(facts: &Facts) -> String {
    match facts.together.tried {
        0 => "not measured".into(),
        tried => format!("{} of {tried} streams", facts.together.open),
    }
}

fn half_close(found: HalfClose) -> &'static str {
    match found {
        HalfClose::Unknown => "not measured",
        HalfClose::Cut => "cut",
        HalfClose::Kept => "kept",
    }
}
