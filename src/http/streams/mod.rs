//! `GET /streams`: single streams, those that are open and the last that ended, as a page for people and as JSON for programs.
//!
//! *Deliberately absent*: topics, addresses, sessions, and whole ids: whoever knows the id of a stream can speak for it.

mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::{Value, json};

use super::insight::{self, seconds};
use super::problem::Problem;
use super::query::Query;
use super::{App, parameter};
use crate::delivery::{Asked, Delivery, Live, Open, Sort, StreamId, Survey};
use crate::diagnosis::{Back, Called, ShortName, Story, TcpInfo, Told};
use crate::event::Timestamp;
use crate::transport::rfc3339;

/// It asks all that carry streams, and waits for them for some seconds at most.
pub(super) async fn streams(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, Problem> {
    let asked = asked(&Query::of(request.uri())?, &app.delivery)?;
    let survey = app.delivery.survey(app.shards.as_deref(), asked).await;
    let diagnosis = app.delivery.diagnosis();
    let (paths, told) = (diagnosis.paths(), diagnosis.stories(asked.limit, asked.of));
    let shown = Shown { asked, survey, paths, told, now: (app.clock)() };
    Ok(insight::answer(request.headers(), || page::page(&shown), || shown.value()))
}

fn asked(query: &Query, delivery: &Delivery) -> Result<Asked, Problem> {
    parameter::known(parameter::STREAMS, query)?;
    parameter::once(parameter::STREAMS, query)?;
    let sort = match parameter::SORT.word(query)? {
        Some("lag") => Sort::Lag,
        Some("quiet") => Sort::Quiet,
        _ => Sort::Age,
    };
    let limit = parameter::STREAMS_LIMIT.number(query)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(100);
    let of = query.first(&[parameter::STREAM.name]).map(|text| called(text, delivery)).transpose()?;
    Ok(Asked { sort, limit, of })
}

/// A stream by its id, or by the beginning of that, which is shown.
fn called(text: &str, delivery: &Delivery) -> Result<Called, Problem> {
    let wrong = || Problem::bad("`stream` is the id of a stream, of 32 of the characters 0-9 and a-f, or its first 8");
    if let Some(id) = StreamId::parse(text) {
        return Ok(delivery.called(id));
    }
    let canonical = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let name = canonical.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    name.map(|name| Called { name: ShortName(name), stream: None }).ok_or_else(wrong)
}

/// All that is shown.
struct Shown {
    asked: Asked,
    survey: Survey,
    /// The names of paths, by their numbers.
    paths: Vec<String>,
    told: Told,
    /// The time of day at `told.now`.
    now: Timestamp,
}

impl Shown {
    fn value(&self) -> Value {
        json!({
            "open": self.open(),
            "counts": self.survey.open.iter().map(|open| self.count_value(open)).collect::<Vec<_>>(),
            "incomplete": self.incomplete(),
            "streams": self.survey.streams.iter().map(|live| self.live_value(live)).collect::<Vec<_>>(),
            "undecided": self.told.waiting,
            "ended": self.told.stories.iter().map(|story| self.story_value(story)).collect::<Vec<_>>(),
        })
    }

    /// How many streams are open.
    fn open(&self) -> u64 {
        self.survey.open.iter().map(|open| open.streams).sum()
    }

    /// What is missing, in words.
    fn incomplete(&self) -> Option<String> {
        let (asked, silent) = self.survey.carriers;
        (silent > 0).then(|| format!("{silent} of {asked} carriers did not answer in time; their streams are missing"))
    }

    fn path_of(&self, live: &Live) -> &str {
        self.paths.get(live.path.index()).map_or("other", String::as_str)
    }

    fn count_value(&self, open: &Open) -> Value {
        let path = self.paths.get(open.path.index()).map_or("other", String::as_str);
        json!({ "path": path, "transport": open.transport, "streams": open.streams })
    }

    fn live_value(&self, live: &Live) -> Value {
        json!({
            "stream": live.name.to_string(),
            "path": self.path_of(live),
            "transport": live.transport,
            "age_s": seconds(live.age),
            "quiet_s": seconds(live.quiet),
            "heartbeat_s": seconds(live.heartbeat),
            "lag": live.lag,
            "not_taken_bytes": live.not_taken,
            "blocked_s": live.blocked.map(seconds),
        })
    }

    fn story_value(&self, story: &Story) -> Value {
        let end = &story.end;
        json!({
            "stream": end.name.to_string(),
            "path": story.label(),
            "transport": end.transport,
            "opened": rfc3339(self.time(story.began())),
            "ended": rfc3339(self.time(story.ended)),
            "age_s": seconds(end.age),
            "quiet_s": seconds(end.idle),
            "quiet_before_s": seconds(end.quiet_before),
            "outlived_s": seconds(end.outlived),
            "last_sign": end.gone.as_str(),
            "blocked_s": end.blocked.map(seconds),
            "tcp": end.tcp.as_ref().map(tcp_value),
            "reason": story.reason.as_str(),
            "limit_s": story.limit.map(seconds),
            "waited": story.waited,
            "returned": story.back.as_ref().map(back_value),
            "told": story.told(|at| self.clock(at)),
        })
    }

    /// The time of day at a moment of a story.
    fn time(&self, at: Duration) -> Timestamp {
        let ago = u64::try_from(self.told.now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.now.0.saturating_sub(ago))
    }

    /// The same as people tell it, with its day if that is not today.
    fn clock(&self, at: Duration) -> String {
        let (then, now) = (rfc3339(self.time(at)), rfc3339(self.now));
        let (day, time) = (&then[..10], &then[11..19]);
        if now.starts_with(day) { format!("{time} UTC") } else { format!("{day} {time} UTC") }
    }
}

fn tcp_value(tcp: &TcpInfo) -> Value {
    json!({
        "unacknowledged": tcp.unacknowledged,
        "retransmitted": tcp.retransmitted,
        "since_acknowledged_s": seconds(tcp.since_acknowledged),
        "not_sent_bytes": tcp.not_sent,
        "round_trip_ms": (tcp.round_trip.as_secs_f64() * 1_000_000.0).round() / 1000.0,
    })
}

fn back_value(back: &Back) -> Value {
    let known = if back.is_strong { "strong" } else { "weak" };
    json!({ "after_s": seconds(back.after), "known": known, "missed": back.missed })
}

#[cfg(test)]
mod tests;
