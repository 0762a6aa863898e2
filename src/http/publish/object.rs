//! An event as JSON: an element of a batch, a line of NDJSON. What a subscriber is told of an event can be published as it
//! stands; its `id` and `time` are then those of its new place.

use std::fmt;

use axum::body::Bytes;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::Options;
use super::super::problem::{Problem, refused};
use super::content::{check_charset, check_data};
use super::lifetime::lifetime;
use super::target::{Named, add_topic};
use crate::access::Permit;
use crate::event::{ContentType, Event, EventType, Key, Publisher, Topics};

/// What a line or an element says.
#[derive(Debug)]
pub(super) enum Said {
    /// An event.
    Event(Event),
    /// What a gateway says of itself among the events that it gives (`encke.hello`), which is nothing to publish.
    Notice,
}

/// Reads one object.
pub(super) fn parse(text: &[u8], permit: &Permit, options: &Options) -> Result<Said, Problem> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad(format!(
            "this is not UTF-8 (from byte {at}); send bytes that are no text as base64, with \"encoding\":\"base64\""
        ))
    })?;
    if !text.trim_start().starts_with('{') {
        return Err(Problem::bad("an event is a JSON object with `topic` and `data`"));
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| Problem::bad(without_line(&error)))?;
    if members.is_notice() {
        return Ok(Said::Notice);
    }
    let event = members.event(options.max_topics, permit.publisher())?;
    let event_bytes = options.event_bytes;
    if event.data.len() > event_bytes {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("an event has at most {event_bytes} bytes of data"),
        ));
    }
    check_data(&event.data, event.content_type.as_ref())?;
    if !event.topics.iter().all(|topic| permit.publishes(topic)) {
        return Err(refused(permit.refusal(), "publishing to this topic"));
    }
    Ok(Said::Event(event))
}

/// The object's members as they stand.
#[derive(Default)]
struct Members<'a>([Option<&'a RawValue>; NAMES.len()]);

/// Every member, in the order in which errors name them. What is behind [`OWN`] is told to subscribers, and means nothing
/// here.
const NAMES: [&str; 13] = [
    "topic",
    "topics",
    "type",
    "data",
    "contentType",
    "encoding",
    "key",
    "ttl",
    "private",
    "conflate",
    "id",
    "time",
    "retry",
];

/// How many of them a publisher gives.
const OWN: usize = 10;

impl<'a> Members<'a> {
    /// The value of a member; `null` is as good as none, which is how many languages write it.
    fn get(&self, name: &'static str) -> Option<&'a str> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.0[at].map(RawValue::get).filter(|value| *value != "null")
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, Problem> {
        let wrong = || Problem::bad(format!("`{name}` is a string"));
        self.get(name).map(|value| string(value).ok_or_else(wrong)).transpose()
    }

    /// A gateway's own words name no topic, and have a type that no event may have.
    fn is_notice(&self) -> bool {
        let own = |kind: &str| kind.starts_with(EventType::RESERVED_PREFIX);
        self.get("topic").is_none()
            && self.get("topics").is_none()
            && self.get("type").and_then(string).is_some_and(|kind| own(&kind))
    }

    fn event(&self, max_topics: usize, publisher: Publisher) -> Result<Event, Problem> {
        if self.get("retry").is_some() {
            return Err(Problem::bad("an event has no `retry`; that is the subscriber's"));
        }
        let Named { topics, kind, key, ttl, conflate, private } = self.named(max_topics)?;
        let (data, content_type) = self.content()?;
        Ok(Event { topics, kind, data, content_type, key, ttl, conflate, private, publisher })
    }

    fn named(&self, max_topics: usize) -> Result<Named, Problem> {
        let kind = self.text("type")?.map(|kind| EventType::parse(&kind)).transpose()?.flatten();
        let key = self.text("key")?.map(|key| Key::parse(&key)).transpose()?;
        let conflate = self.text("conflate")?.map(|key| Key::parse_as("conflation key", &key)).transpose()?;
        let private = match self.get("private") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Problem::bad("`private` is true or false")),
        };
        // A number as it stands, or the text of a string.
        let ttl = self.get("ttl").map(|ttl| lifetime(&string(ttl).unwrap_or_else(|| ttl.to_owned()))).transpose()?;
        Ok(Named { topics: self.topics(max_topics)?, kind, key, ttl, conflate, private })
    }

    /// Those of `topics`, if they are there; `topic` alone is one of them, and not their first for every reader.
    fn topics(&self, most: usize) -> Result<Topics, Problem> {
        let mut topics = Topics::new();
        let one = self.text("topic")?;
        if let Some(list) = self.get("topics") {
            let names: Result<Vec<String>, _> = serde_json::from_str(list);
            for name in names.map_err(|_| Problem::bad("`topics` is a list of strings"))? {
                add_topic(&mut topics, &name, most)?;
            }
            if one.as_deref().is_some_and(|one| topics.iter().all(|topic| topic.as_str() != one)) {
                return Err(Problem::bad("`topic` is none of `topics`; leave one of them out"));
            }
        } else if let Some(one) = one {
            add_topic(&mut topics, &one, most)?;
        }
        if topics.is_empty() { Err(Problem::bad("an event names its `topic`, or its `topics`")) } else { Ok(topics) }
    }

    fn content(&self) -> Result<(Bytes, Option<ContentType>), Problem> {
        let media = self.text("contentType")?.map(|media| ContentType::parse(&media)).transpose()?;
        media.as_ref().map(check_charset).transpose()?;
        let media = media.filter(|media| media.essence() != "text/plain");
        let index = NAMES.iter().position(|name| *name == "data").expect("it is one of them");
        let Some(raw) = self.0[index].map(RawValue::get) else {
            return Err(Problem::bad("an event has `data`, be they empty: \"data\":\"\""));
        };
        match self.text("encoding")?.as_deref() {
            None => {}
            Some("base64") => return Ok((base64(raw)?, media)),
            Some(_) => return Err(Problem::bad("`encoding` can only be `base64`")),
        }
        let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        match (media, raw.starts_with('"')) {
            (Some(media), _) if media.is_json() => Ok((own(raw), Some(media))),
            (Some(media), _) if !media.is_text() => Err(Problem::bad(format!(
                "data of type {} are bytes: send them as base64, with \"encoding\":\"base64\"",
                media.essence()
            ))),
            (Some(_), false) => Err(Problem::bad("`data` of a text type is a string; JSON has a JSON type, or none")),
            (media, true) => Ok((Bytes::from(string(raw).ok_or_else(broken_string)?), media)),
            (None, false) => Ok((own(raw), Some(ContentType::parse("application/json")?))),
        }
    }
}

fn base64(raw: &str) -> Result<Bytes, Problem> {
    let text = string(raw).ok_or_else(|| Problem::bad("`data` with \"encoding\":\"base64\" is a string"))?;
    let decoded =
        STANDARD.decode(text).map_err(|_| Problem::bad("`data` is not base64 (RFC 4648 § 4, with padding)"))?;
    Ok(decoded.into())
}

fn broken_string() -> Problem {
    Problem::bad("`data` has half of a surrogate pair (\\ud800 to \\udfff), which is no character")
}

/// The text of a JSON string.
fn string(raw: &str) -> Option<String> {
    raw.starts_with('"').then(|| serde_json::from_str(raw).ok())?
}

/// What is wrong with the JSON, by column: an event is one line, whatever it was sent in.
fn without_line(error: &serde_json::Error) -> String {
    let told = error.to_string();
    match told.rsplit_once(" at line ") {
        Some((what, _)) if error.is_data() => what.to_owned(),
        Some((what, _)) => format!("this is not JSON: {what} (column {})", error.column()),
        None => told,
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(Name(at)) = map.next_key()? {
            if members.0[at].is_some() {
                return Err(Error::custom(format_args!("`{}` is given more than once", NAMES[at])));
            }
            members.0[at] = Some(map.next_value()?);
        }
        Ok(members)
    }
}

/// Which of [`NAMES`].
struct Name(usize);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        NAMES.iter().position(|known| *known == name).map(Name).ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            let known = NAMES[..OWN].join(", ");
            E::custom(format_args!("an event has no member `{name}`; there are {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(text: &str) -> Result<Event, String> {
        let offered = crate::transport::Offered::only([]).expect("no name is a wrong one");
        let (event_bytes, batch_bytes, max_topics) = (100, 100, 2);
        let options = Options {
            event_bytes,
            batch_bytes,
            max_topics,
            transports: offered,
            pages: false,
            cuttable: false,
            trusted_proxies: Vec::new(),
        };
        match parse(text.as_bytes(), &Permit::everything(), &options) {
            Ok(Said::Event(event)) => Ok(event),
            Ok(Said::Notice) => Err("a notice".into()),
            Err(problem) => Err(problem.detail().to_owned()),
        }
    }

    /// Data and content type.
    fn content(members: &str) -> Result<(String, Option<String>), String> {
        let event = event(&format!("{{\"topic\":\"t\",{members}}}"))?;
        let data = String::from_utf8_lossy(&event.data).into_owned();
        Ok((data, event.content_type.map(|media| media.as_str().to_owned())))
    }

    #[test]
    fn data_are_text_json_or_bytes() {
        let check = |members: &str, data: &str, media: Option<&str>| {
            assert_eq!(content(members), Ok((data.into(), media.map(str::to_owned))), "{members}");
        };
        let json = Some("application/json");
        check(r#""data":"a\n\u00e9""#, "a\né", None);
        check(r#""data":"""#, "", None);
        check(r#""data":"a","contentType":"text/plain; charset=utf-8""#, "a", None);
        check(r#""data":"<b>","contentType":"text/html""#, "<b>", Some("text/html"));
        check(r#""data": {"a" : 1.50} "#, r#"{"a" : 1.50}"#, json);
        check(r#""data":[1,2]"#, "[1,2]", json);
        check(r#""data":null"#, "null", json);
        check(r#""data":12345678901234567890123"#, "12345678901234567890123", json);
        check(r#""data":"a","contentType":"application/json""#, "\"a\"", json);
        check(r#""data":{},"contentType":"application/geo+json""#, "{}", Some("application/geo+json"));
        check(r#""data":"YQ==","encoding":"base64""#, "a", None);
        check(r#""data":"e30=","encoding":"base64","contentType":"application/json""#, "{}", json);
        check(r#""data":"YQ==","encoding":"base64","contentType":"image/png""#, "a", Some("image/png"));
        check(r#""data":"a","encoding":null,"contentType":null,"key":null,"ttl":null,"private":null"#, "a", None);
    }

    #[test]
    fn data_that_are_not_what_they_say_are_refused() {
        let check = |members: &str, words: &str| {
            let refused = content(members).expect_err(members);
            assert!(refused.contains(words), "{members}: {refused}");
        };
        check(r#""type":"a""#, "an event has `data`");
        check(r#""data":1,"contentType":"text/html""#, "is a string");
        check(r#""data":"a","contentType":"image/png""#, "as base64");
        check(r#""data":"a","contentType":"nonsense""#, "a content type is");
        check(r#""data":"a","contentType":"text/html; charset=latin1""#, "UTF-8");
        check(r#""data":"_w==","encoding":"base64""#, "not base64");
        check(r#""data":"YQ","encoding":"base64""#, "not base64");
        check(r#""data":{},"encoding":"base64""#, "is a string");
        check(r#""data":"/w==","encoding":"base64""#, "not UTF-8");
        check(r#""data":"YQ==","encoding":"base64","contentType":"application/json""#, "not JSON");
        check(r#""data":"a","encoding":"hex""#, "only be `base64`");
        check(r#""data":"\ud800""#, "surrogate");
        check(&format!(r#""data":"{}""#, "a".repeat(101)), "at most 100 bytes");
        assert!(content(&format!(r#""data":"{}""#, "a".repeat(100))).is_ok());
    }

    #[test]
    fn every_member_is_read() {
        let told = event(
            r#"{"topics":["a","b","a"],"type":"paid","key":"k","ttl":"5m","private":true,"conflate":"c","data":""}"#,
        );
        let told = told.expect("an event");
        assert_eq!(told.topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(told.kind.expect("a type").as_str(), "paid");
        assert_eq!(told.key.expect("a key").as_str(), "k");
        assert_eq!(told.ttl, Some(Duration::from_secs(300)));
        assert_eq!(told.conflate.expect("a key").as_str(), "c");
        assert!(told.private);
        let number = event(r#"{"topic":"a","data":"","ttl":1.5}"#).expect("an event");
        assert_eq!(number.ttl, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn what_a_subscriber_was_told_can_be_published() {
        let told = r#"{"id":"k3v9x0a1-7","topic":"b","topics":["a","b"],"type":"message","contentType":"image/png","encoding":"base64","time":"2026-01-31T12:00:00.042Z","key":"k","data":"YQ=="}"#;
        let told = event(told).expect("an event");
        assert_eq!((told.topic().as_str(), told.kind.as_ref()), ("a", None));
        assert_eq!(event(r#"{"id":"k3v9x0a1-6","type":"encke.hello","retry":5,"data":{}}"#), Err("a notice".into()));
        assert!(event(r#"{"topic":"t","type":"encke.hello","data":""}"#).expect_err("taken").contains("are taken"));
    }

    #[test]
    fn what_is_no_event_is_told_what_it_lacks() {
        let check = |text: &str, words: &str| {
            let refused = event(text).expect_err(text);
            assert!(refused.contains(words), "{text}: {refused}");
        };
        check("", "a JSON object");
        check("[]", "a JSON object");
        check("\"secret\"", "a JSON object");
        check("{", "not JSON");
        check(r#"{"topic":"a","data":1]"#, "(column 22)");
        check(r#"{"topic":"a","data":1}}"#, "not JSON");
        check(r#"{"data":1}"#, "names its `topic`");
        check(r#"{"topic":1,"data":1}"#, "`topic` is a string");
        check(r#"{"topic":"a*","data":1}"#, "holds no `*`");
        check(r#"{"topics":"a","data":1}"#, "list of strings");
        check(r#"{"topics":[],"data":1}"#, "names its `topic`");
        check(r#"{"topics":["a","b","c"],"data":1}"#, "at most 2 topics");
        check(r#"{"topic":"c","topics":["a"],"data":1}"#, "none of `topics`");
        check(r#"{"topic":"a","dta":1}"#, "no member `dta`; there are topic, topics, type");
        check(r#"{"topic":"a","data":1,"data":2}"#, "`data` is given more than once");
        check(r#"{"topic":"a","data":null,"data":null}"#, "`data` is given more than once");
        check(r#"{"topic":"a","data":1,"retry":1}"#, "no `retry`");
        check(r#"{"topic":"a","data":1,"private":1}"#, "true or false");
        check(r#"{"topic":"a","data":1,"ttl":0}"#, "more than 0");
        check(r#"{"topic":"a","data":1,"ttl":[]}"#, "more than 0");
        check(r#"{"topic":"a","data":1,"key":""}"#, "a key needs");
        check(r#"{"topic":"a","data":1,"conflate":"\n"}"#, "a conflation key holds");
    }
}
