//! What the head of a publish says: which event, or that the content says it.

use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::super::parameter::{self, known, once};
use super::super::problem::Problem;
use super::super::query::{Query, topic_in_path};
use super::IDEMPOTENCY_KEY;
use super::content::{check_coding, media_type};
use super::lifetime::lifetime;
use crate::event::{ContentType, EventType, Key, Topic, Topics};

/// What a publisher wants to be done with its content.
#[derive(Debug)]
pub(super) enum Target {
    /// It is the data of one event.
    One(Named, Option<ContentType>),
    /// It is a form; the field of this name is the data of one event.
    Form(Named, String),
    /// It is JSON: a list of events, or one.
    Batch,
    /// It is a line of JSON an event. Whether each line gets a receipt as soon as it is stored.
    Lines { each: bool },
}

/// Everything about one event but its data and their type.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) topics: Topics,
    pub(super) kind: Option<EventType>,
    pub(super) key: Option<Key>,
    pub(super) ttl: Option<Duration>,
    pub(super) conflate: Option<Key>,
    pub(super) private: bool,
}

impl Target {
    /// Where a topic is named the content is one event, whatever it is.
    pub(super) fn of(parts: &Parts, max_topics: usize) -> Result<Self, Problem> {
        let topic = topic_in_path(&parts.uri)?;
        let query = Query::of(&parts.uri)?;
        if topic.is_some() || query.first(&["topic"]).is_some() {
            let (named, form) = named(topic.as_deref(), &query, &parts.headers, max_topics)?;
            check_coding(&parts.headers)?;
            let media = media_type(&parts.headers)?;
            return match form {
                Some(field) => Ok(Self::Form(named, field)),
                None => Ok(Self::One(named, media.and_then(plain_is_none))),
            };
        }
        let media =
            parts.headers.get(header::CONTENT_TYPE).and_then(|value| ContentType::parse(value.to_str().ok()?).ok());
        let many = match media.map(|media| media.essence()).as_deref() {
            Some("application/json") => Self::Batch,
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
                Self::Lines { each: parameter::ACK.flag(&query)? }
            }
            _ => return Err(nameless()),
        };
        check_coding(&parts.headers)?;
        media_type(&parts.headers)?;
        let allowed = if matches!(many, Self::Batch) { &[][..] } else { parameter::PUBLISH_LINES };
        if let Some((name, _)) = query.iter().find(|(name, _)| allowed.iter().all(|row| row.name != *name)) {
            let name: String = name.chars().take(64).collect();
            return Err(Problem::bad(format!(
                "without a topic in the path or the query each event names its own members, and `{name}` is none of the request's"
            )));
        }
        if parts.headers.contains_key(IDEMPOTENCY_KEY) {
            return Err(Problem::bad("an Idempotency-Key is for one event; give each event of a batch its `key`"));
        }
        Ok(many)
    }
}

fn nameless() -> Problem {
    Problem::bad(
        "name a topic: POST /events/TOPIC or /events?topic=TOPIC; or send events that name theirs, as application/json or application/x-ndjson",
    )
}

/// Reads the target and the key. A parameter that is not known is an error: a publisher that misspells one must hear of it.
fn named(
    topic_in_path: Option<&str>,
    query: &Query,
    headers: &HeaderMap,
    max_topics: usize,
) -> Result<(Named, Option<String>), Problem> {
    let mut named = Named::default();
    let mut form = None;
    if let Some(name) = topic_in_path {
        add_topic(&mut named.topics, name, max_topics)?;
    }
    known(parameter::PUBLISH, query)?;
    once(parameter::PUBLISH, query)?;
    for (name, value) in query.iter() {
        match name {
            "topic" => add_topic(&mut named.topics, value, max_topics)?,
            "type" => named.kind = EventType::parse(value)?,
            "key" => named.key = Some(Key::parse(value)?),
            "ttl" => named.ttl = Some(lifetime(value)?),
            "conflate" => named.conflate = Some(Key::parse_as("conflation key", value)?),
            "private" => named.private = parameter::PRIVATE.is_set(query)?,
            "form" if value.is_empty() => {
                return Err(Problem::bad("`form` names the field of the form that is the data"));
            }
            "form" => form = Some(value.to_owned()),
            _ => unreachable!("every parameter of the table is read here"),
        }
    }
    for value in headers.get_all(IDEMPOTENCY_KEY) {
        let text = std::str::from_utf8(value.as_bytes());
        let header = Key::parse(text.map_err(|_| Problem::bad("the Idempotency-Key is not UTF-8"))?)?;
        if named.key.as_ref().is_some_and(|key| *key != header) {
            return Err(Problem::bad("the request names two different keys; send one, as `key` or as Idempotency-Key"));
        }
        named.key = Some(header);
    }
    Ok((named, form))
}

/// One more topic of an event; one that is there already is no second one.
pub(super) fn add_topic(topics: &mut Topics, name: &str, most: usize) -> Result<(), Problem> {
    let topic = Topic::parse(name)?;
    if !topics.contains(&topic) {
        topics.push(topic);
    }
    if topics.len() > most {
        return Err(Problem::bad(format!("one event has at most {most} topics")));
    }
    Ok(())
}

/// None for plain text, and for the urlencoded type, which `curl -d` sends with anything.
fn plain_is_none(media: ContentType) -> Option<ContentType> {
    let plain = matches!(media.essence().as_str(), "text/plain" | "application/x-www-form-urlencoded");
    (!plain).then_some(media)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn target(uri: &str, content_type: &str, key: Option<&str>) -> Result<Target, String> {
        let mut request = Request::post(uri).header(header::CONTENT_TYPE, content_type);
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        Target::of(&parts, 128).map_err(|problem| problem.detail().to_owned())
    }

    fn one(query: &str) -> Named {
        match target(&format!("/events/t?{query}"), "text/plain", None) {
            Ok(Target::One(named, None)) => named,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn what_a_publish_is_goes_by_its_topic_and_then_by_its_content_type() {
        let check = |uri: &str, content_type: &str, expected: &str| {
            let told = match target(uri, content_type, None) {
                Ok(Target::One(..)) => "one",
                Ok(Target::Form(..)) => "form",
                Ok(Target::Batch) => "batch",
                Ok(Target::Lines { each: true }) => "each",
                Ok(Target::Lines { each: false }) => "lines",
                Err(_) => "refused",
            };
            assert_eq!(told, expected, "{uri} {content_type}");
        };
        for json in ["application/json", "Application/JSON; charset=utf-8"] {
            check("/events/t", json, "one");
            check("/events?topic=t", json, "one");
            check("/events", json, "batch");
            check("/events?ack=each", json, "refused");
        }
        for lines in ["application/x-ndjson", "application/ndjson", "application/jsonl"] {
            check("/events/t", lines, "one");
            check("/events", lines, "lines");
            check("/events?ack=each", lines, "each");
            check("/events?ack=all", lines, "refused");
            check("/events?ack=each&type=x", lines, "refused");
        }
        for other in ["text/plain", "application/x-www-form-urlencoded", "text/json", "nonsense"] {
            check("/events", other, "refused");
        }
        check("/events/t?form=data", "application/x-www-form-urlencoded", "form");
        check("/events/t?form=", "application/x-www-form-urlencoded", "refused");
        check("/events?form=data", "application/x-www-form-urlencoded", "refused");
        check("/events", "application/json; charset=utf-16", "refused");
    }

    #[test]
    fn parameters_are_read_once_and_none_is_passed_over() {
        let named = one("topic=u&type=paid&key=k&ttl=5m&conflate=c&private");
        assert_eq!(named.topics.iter().map(Topic::as_str).collect::<Vec<_>>(), ["t", "u"]);
        assert_eq!(named.kind.expect("a type").as_str(), "paid");
        assert_eq!(named.key.expect("a key").as_str(), "k");
        assert_eq!(named.ttl, Some(Duration::from_secs(300)));
        assert_eq!(named.conflate.expect("a key").as_str(), "c");
        for (query, private) in [
            ("", false),
            ("private", true),
            ("private=1", true),
            ("private=true", true),
            ("private=0", false),
            ("private=false", false),
        ] {
            assert_eq!(one(query).private, private, "{query}");
        }
        for (query, words) in [
            ("typ=x", "there is no parameter `typ`; there are topic, type, key, ttl, conflate, private and form"),
            ("ack=each", "there is no parameter `ack`"),
            ("ttl=1s&ttl=1s", "`ttl` is given more than once"),
            ("private&private=0", "`private` is given more than once"),
            ("private=yes", "`private` is a flag"),
            ("ttl=0", "more than 0"),
            ("conflate=", "a conflation key needs at least one character"),
            ("conflate=%0A", "a conflation key holds no control characters"),
        ] {
            let refused = target(&format!("/events/t?{query}"), "text/plain", None).expect_err(query);
            assert!(refused.contains(words), "{query}: {refused}");
        }
    }

    #[test]
    fn a_key_in_the_head_is_for_one_event() {
        let key = |uri: &str, media: &str| target(uri, media, Some("k"));
        assert!(matches!(key("/events/t", "text/plain"), Ok(Target::One(Named { key: Some(_), .. }, _))));
        assert!(key("/events/t?key=other", "text/plain").expect_err("two").contains("two different keys"));
        assert!(key("/events", "application/x-ndjson").expect_err("many").contains("each event of a batch its `key`"));
    }

    #[test]
    fn every_parameter_of_the_table_is_read_and_its_example_is_good() {
        for row in parameter::PUBLISH {
            let query = format!("{}={}", row.name, row.example);
            let media = if row.name == "form" { "application/x-www-form-urlencoded" } else { "text/plain" };
            target(&format!("/events/t?{query}"), media, None).expect(&query);
        }
    }
}
