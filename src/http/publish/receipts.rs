//! What publishers are told of what they sent: a receipt, a list of them, the sum of a stream.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::problem::Problem;
use crate::event::Cursor;
use crate::log::{Durability, Receipt};

/// The receipt of one event. Cursor and durability are of characters that need no escaping in JSON.
pub(super) fn receipt(Receipt { cursor, duplicate }: Receipt, durability: Durability) -> String {
    /// As many bytes as the longest has, with the line feed of an answer.
    const MOST: usize = Cursor::MAX_LEN + 64;
    let mut json = String::with_capacity(MOST);
    json.push_str("{\"id\":\"");
    cursor.write_to(&mut json);
    json.push_str("\",\"durability\":\"");
    json.push_str(durability.as_str());
    json.push_str(if duplicate { "\",\"duplicate\":true}" } else { "\"}" });
    json
}

/// What was stored is 201; if all of it was there already, 200.
pub(super) fn status(receipts: &[Receipt]) -> StatusCode {
    if receipts.iter().all(|receipt| receipt.duplicate) { StatusCode::OK } else { StatusCode::CREATED }
}

/// An answer of JSON.
pub(crate) fn answer(status: StatusCode, mut json: String) -> Response {
    json.push('\n');
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored(Receipt),
    /// It was no event, or not one that may be published; why.
    Refused(String),
    /// A gateway's own words.
    Ignored,
}

/// The sum of a stream of events.
#[derive(Debug)]
pub(super) struct Sum {
    durability: Durability,
    published: u64,
    duplicates: u64,
    refused: u64,
    ignored: u64,
    first: Option<Cursor>,
    last: Option<Cursor>,
    /// The first lines that were refused, and why.
    errors: Vec<(u64, String)>,
}

impl Sum {
    /// How many refused lines are named; all are counted.
    pub(super) const NAMED: usize = 1000;

    pub(super) fn new(durability: Durability) -> Self {
        let (published, duplicates, refused, ignored) = (0, 0, 0, 0);
        Self { durability, published, duplicates, refused, ignored, first: None, last: None, errors: Vec::new() }
    }

    pub(super) fn add(&mut self, line: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Stored(Receipt { duplicate: true, .. }) => self.duplicates += 1,
            Outcome::Stored(Receipt { cursor, .. }) => {
                self.published += 1;
                self.first.get_or_insert(*cursor);
                self.last = Some(*cursor);
            }
            Outcome::Refused(why) => {
                self.refused += 1;
                if self.errors.len() < Self::NAMED {
                    self.errors.push((line, why.clone()));
                }
            }
            Outcome::Ignored => self.ignored += 1,
        }
    }

    /// It as an object; with `errors` only where the lines were not told one by one.
    pub(super) fn told(&self, errors: bool) -> String {
        let members: Vec<String> =
            self.members(errors).into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    /// The problem that ended the stream before line `stopped`, with what was stored before.
    pub(super) fn stopped(&self, problem: Problem, stopped: u64, errors: bool) -> Problem {
        let members = self.members(errors).into_iter();
        members.fold(problem.with("stopped", stopped), |problem, (name, value)| problem.with(name, value))
    }

    fn members(&self, errors: bool) -> Vec<(&'static str, Value)> {
        let cursor = |cursor: Option<Cursor>| Value::from(cursor.map(|cursor| cursor.to_string()));
        let mut members = vec![
            ("published", self.published.into()),
            ("duplicates", self.duplicates.into()),
            ("refused", self.refused.into()),
            ("ignored", self.ignored.into()),
            ("first", cursor(self.first)),
            ("last", cursor(self.last)),
            ("durability", self.durability.as_str().into()),
        ];
        if errors {
            let named = self.errors.iter().map(|(line, title)| json!({ "line": line, "title": title }));
            members.push(("errors", named.collect()));
        }
        members
    }
}
