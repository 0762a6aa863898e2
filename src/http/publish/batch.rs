//! A list of events as JSON: all of them are stored, or none.

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::problem::Problem;
use super::super::{App, Options};
use super::content::{Content, Most};
use super::object::{self, Said};
use super::share::Share;
use super::{receipts, store};
use crate::access::Permit;
use crate::event::Event;
use crate::log::AppendError;

/// The most events in one: what the log lets wait.
const EVENTS: usize = 8192;
/// How long its content may take to arrive.
const TIME: Duration = Duration::from_secs(120);
/// How many events that cannot be published are named.
const NAMED: usize = 1000;

pub(super) async fn publish(app: &App, permit: &Permit, content: Content) -> Result<Response, Problem> {
    let most = Most { bytes: app.options.batch_bytes, time: TIME, of: "a batch" };
    let content = content.whole(most, Share::new(app, permit.publisher())).await?;
    let text = std::str::from_utf8(&content)
        .map_err(|error| Problem::bad(format!("the batch is not UTF-8 (from byte {})", error.valid_up_to())))?;
    let alone = text.trim_start().starts_with('{');
    let mut events = if alone { vec![single(&app.options, permit, text)?] } else { list(&app.options, permit, text)? };
    if events.is_empty() {
        return Ok(receipts::answer(StatusCode::OK, "[]".into()));
    }
    events.iter_mut().for_each(|event| store::by_rule(app, event));
    app.limits.take(store::topics(&events), Instant::now())?;
    let stored = store::append(app, events).await.map_err(|error| refused(error, alone))?;
    let durability = app.log.durability();
    let told: Vec<String> = stored.iter().map(|stored| receipts::receipt(*stored, durability)).collect();
    let told = if alone { told.concat() } else { format!("[{}]", told.join(",")) };
    Ok(receipts::answer(receipts::status(&stored), told))
}

fn single(options: &Options, permit: &Permit, text: &str) -> Result<Event, Problem> {
    match object::parse(text.as_bytes(), permit, options)? {
        Said::Event(event) => Ok(event),
        Said::Notice => Err(notice()),
    }
}

fn notice() -> Problem {
    Problem::bad("this is what a gateway says of itself, and no event")
}

pub(super) fn list(options: &Options, permit: &Permit, text: &str) -> Result<Vec<Event>, Problem> {
    let Elements(elements) = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    let mut events = Vec::with_capacity(elements.len());
    let (mut wrong, mut named) = (0, Vec::new());
    let mut first = None;
    for (index, element) in elements.iter().enumerate() {
        match single(options, permit, element.get()) {
            Ok(event) => events.push(event),
            Err(problem) => {
                wrong += 1;
                if named.len() < NAMED {
                    named.push(json!({ "index": index, "title": problem.detail() }));
                }
                first.get_or_insert(problem.status());
            }
        }
    }
    match first {
        None => Ok(events),
        // Its own status where only a key is missing or only size is too much; 400 says enough for any mixture.
        Some(status) => {
            let status = if wrong == 1 { status } else { StatusCode::BAD_REQUEST };
            let detail = format!("{wrong} of {} events cannot be published, see `errors`; none was", elements.len());
            Err(Problem::new(status, detail).with("errors", Value::Array(named)))
        }
    }
}

/// Why a batch that was read was not stored.
fn refused(error: AppendError, alone: bool) -> Problem {
    let AppendError::KeyReused { index } = error else { return error.into() };
    let why = error.to_string();
    let problem = Problem::from(error);
    if alone { problem } else { problem.with("errors", json!([{ "index": index, "title": why }])) }
}

fn unreadable(error: &serde_json::Error) -> Problem {
    if error.is_data() && error.to_string().starts_with(TOO_MANY) {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, TOO_MANY);
    }
    let (line, column) = (error.line(), error.column());
    Problem::bad(format!(
        "this is not a JSON array of events (line {line}, column {column}); lines of JSON are application/x-ndjson"
    ))
}

const TOO_MANY: &str = "a batch has at most 8192 events; send several, or stream them as application/x-ndjson";

/// The elements of an array as they stand. Reading ends at one too many, before they take more memory than the content.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            if elements.len() == EVENTS {
                return Err(Error::custom(TOO_MANY));
            }
            elements.push(element);
        }
        Ok(Elements(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Result<usize, u16> {
        let elements: Result<Elements<'_>, _> = serde_json::from_str(text);
        elements.map(|elements| elements.0.len()).map_err(|error| unreadable(&error).status().as_u16())
    }

    #[test]
    fn a_batch_is_an_array_of_as_many_as_may_wait() {
        assert_eq!(elements("[]"), Ok(0));
        assert_eq!(elements(" [1, {}] "), Ok(2));
        assert_eq!(elements(&format!("[{}1]", "1,".repeat(EVENTS - 1))), Ok(EVENTS));
        assert_eq!(elements(&format!("[{}1]", "1,".repeat(EVENTS))), Err(413));
        for text in ["", "1", "[1", "[1]]", "[1]\n[2]", "\"[]\"", "[,]"] {
            assert_eq!(elements(text), Err(400), "{text}");
        }
        assert!(TOO_MANY.contains(&EVENTS.to_string()));
    }
}
