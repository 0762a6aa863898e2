//! From a request to what a subscriber wants.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, header};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::parameter;
use super::problem::Problem;
use super::query::Query;
use crate::access::Permit;
use crate::delivery::{Begin, OnGap, Wanted};
use crate::event::{self, Cursor, EventType, Timestamp, TopicSelector};
use crate::hub::Selection;
use crate::log::Start;
use crate::transport::{Carry, Transport};

/// The header field in which a client says how far it got (WHATWG HTML § 9.2.4).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The same in a query, for clients that cannot set a header field, as they spell it.
pub(super) const LAST_EVENT_ID_QUERY: &[&str] = &["lastEventId", "last_event_id", "lastEventID", "Last-Event-ID"];

/// How many types one request may name.
const MAX_TYPES: usize = 128;

/// Reads everything but the transport.
pub(crate) fn want(
    transport: &'static Transport,
    topic_in_path: Option<&str>,
    query: &Query,
    headers: &HeaderMap,
    permit: Permit,
    max_topics: usize,
    now: Timestamp,
) -> Result<Wanted, Problem> {
    let seconds = |row: &parameter::Parameter| row.number(query).map(|number| number.map(Duration::from_secs));
    let selection = selection(topic_in_path, query, max_topics)?.of_types(types(query)?).for_reader(permit);
    let begin = begin(transport, query, headers, now)?;
    let limit = if transport.carry == Carry::Stream { &parameter::LIMIT } else { &parameter::POLL_LIMIT };
    let on_gap = on_gap(query)?;
    Ok(Wanted {
        described: described(headers),
        says_receipts: parameter::BEACON.is_set(query)?,
        envelope: parameter::ENVELOPE.flag(query)?,
        snapshot: parameter::SNAPSHOT.flag(query)?,
        conflate: parameter::CONFLATE.flag(query)?,
        on_gap,
        heartbeat: seconds(&parameter::HEARTBEAT)?,
        beat_as_event: parameter::BEAT.flag(query)?,
        retry: parameter::RETRY.clamped(query)?.map(|milliseconds| Duration::from_secs_f64(milliseconds / 1000.0)),
        padding: usize::try_from(parameter::PADDING.number(query)?.unwrap_or(0)).unwrap_or(0),
        timeout: seconds(&parameter::TIMEOUT)?.unwrap_or(Duration::from_secs(25)),
        limit: limit.number(query)?,
        session: session(query)?,
        ..Wanted::new(Arc::new(selection), transport, begin)
    })
}

/// The types that are wanted; `message` is to have none.
fn types(query: &Query) -> Result<Vec<Option<EventType>>, Problem> {
    let types: Vec<_> = query.all("type").map(EventType::parse).collect::<Result<_, _>>()?;
    let fits = types.len() <= MAX_TYPES;
    fits.then_some(types).ok_or_else(|| Problem::bad(format!("one request names at most {MAX_TYPES} types")))
}

fn on_gap(query: &Query) -> Result<OnGap, Problem> {
    Ok(match parameter::ONGAP.word(query)? {
        None => OnGap::GoOn,
        Some("latest") => OnGap::Latest,
        Some("earliest") => OnGap::Earliest,
        Some(_) => OnGap::Close,
    })
}

/// What tells clients apart that come from one address (RFC 7239, and what came before it), as a keyed hash.
fn described(headers: &HeaderMap) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEYS.build_hasher();
    for name in ["forwarded", "x-forwarded-for", "user-agent"] {
        headers.get_all(name).iter().for_each(|value| value.as_bytes().hash(&mut hasher));
        name.hash(&mut hasher);
    }
    hasher.finish()
}

/// What a client calls itself, over all that it opens.
fn session(query: &Query) -> Result<Option<String>, Problem> {
    let Some(text) = query.first(&["session"]) else { return Ok(None) };
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    let wrong = || Problem::bad("`session` is 1 to 64 letters, digits and `-._~`");
    fits.then(|| Some(text.to_owned())).ok_or_else(wrong)
}

fn selection(topic_in_path: Option<&str>, query: &Query, max_topics: usize) -> Result<Selection, Problem> {
    let names: Vec<&str> = topic_in_path.into_iter().chain(query.all("topic")).collect();
    match names.len() {
        0 => Err(Problem::bad("name a topic: /events/TOPIC or /events?topic=TOPIC; `**` is every topic")),
        count if count <= max_topics => {
            let selectors: Result<_, _> = names.into_iter().map(TopicSelector::parse).collect();
            Ok(Selection::new(selectors?))
        }
        _ => Err(Problem::bad(format!("one request names at most {max_topics} topics"))),
    }
}

/// The start position: of all that a request says, one wins.
fn begin(transport: &Transport, query: &Query, headers: &HeaderMap, now: Timestamp) -> Result<Begin, Problem> {
    let header = headers.get(LAST_EVENT_ID).map(|value| utf8_or_latin1(value.as_bytes()));
    let asked = header.filter(|id| !id.is_empty());
    let asked = asked.or_else(|| cursor_in(query).map(str::to_owned));
    if let Some(asked) = asked {
        return Ok(Begin::At(start(&asked), shortened(asked)));
    }
    if let Some(matches) = NoneMatch::of(headers).filter(|_| transport.carry == Carry::AtOnce) {
        return Ok(matches.begin());
    }
    if let Some(since) = query.first(&["since"]) {
        return Ok(Begin::At(Start::Since(instant(since, now)?), since.to_owned()));
    }
    Ok(parameter::LAST
        .number(query)?
        .map_or(Begin::Unsaid, |count| Begin::Last(usize::try_from(count).unwrap_or(usize::MAX))))
}

fn cursor_in(query: &Query) -> Option<&str> {
    query.first(LAST_EVENT_ID_QUERY).filter(|id| !id.is_empty())
}

/// Whether the target itself says where to begin, so that its answer is the same for all that ask so.
pub(crate) fn begins_in_target(query: &Query) -> bool {
    cursor_in(query).is_some() || query.first(&["since", "last"]).is_some()
}

/// What a poll has already, by the entity tags of its answers, which are cursors (RFC 9110 § 13.1.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoneMatch {
    any: bool,
    /// Without quotes, and whether they were weak or not: a list of events is the same or it is not.
    tags: Vec<String>,
}

impl NoneMatch {
    /// How many tags are looked at.
    const MOST: usize = 64;

    /// What a request says, if it says something.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let fields: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().collect();
        let text = fields.iter().map(|field| utf8_or_latin1(field.as_bytes())).collect::<Vec<_>>().join(",");
        let any = text.trim() == "*";
        let tags = if any { Vec::new() } else { tags(&text) };
        (!text.trim().is_empty()).then_some(Self { any, tags })
    }

    /// Whether it is `*`: whatever there is.
    pub(crate) fn is_any(&self) -> bool {
        self.any
    }

    /// Whether it names this cursor.
    pub(crate) fn names(&self, cursor: &str) -> bool {
        self.tags.iter().any(|tag| tag == cursor)
    }

    /// Where its client has come to: to the newest cursor that it names, as it has read up to each of them.
    fn begin(&self) -> Begin {
        if self.any {
            return Begin::At(Start::Latest, "latest".into());
        }
        let cursors = self.tags.iter().filter_map(|tag| Cursor::from_str(tag).ok());
        match cursors.max_by_key(|cursor| cursor.offset) {
            Some(cursor) => Begin::At(Start::Cursor(cursor), cursor.to_string()),
            None => Begin::At(Start::Unreadable, shortened(self.tags.first().cloned().unwrap_or_default())),
        }
    }
}

/// The opaque parts of a list of entity tags (RFC 9110 § 8.8.3), as far as they can be read.
fn tags(text: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = text;
    while tags.len() < NoneMatch::MOST
        && let Some((_, after)) = rest.split_once('"')
        && let Some((tag, after)) = after.split_once('"')
    {
        tags.push(tag.to_owned());
        rest = after;
    }
    tags
}

/// An unreadable cursor is a gap, never a 4xx: an `EventSource` would give up for good.
fn start(asked: &str) -> Start {
    match asked {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        _ => Cursor::from_str(asked).map_or(Start::Unreadable, Start::Cursor),
    }
}

/// As much of what was asked as is told back in a gap.
fn shortened(mut asked: String) -> String {
    asked.truncate((0..=64).rev().find(|at| asked.is_char_boundary(*at)).unwrap_or(0));
    asked
}

/// Browsers send the id as raw UTF-8 (seen in Chromium 156 and Firefox 153); other clients send Latin-1.
fn utf8_or_latin1(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect())
}

/// A time as RFC 3339, or as an age: `90s`, `5m`, `2h`, `1d`.
fn instant(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = || Problem::bad("`since` is a time as RFC 3339 (2026-01-31T12:00:00Z) or an age: 90s, 5m, 2h, 1d");
    if let Some(age) = event::age(text) {
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        return Ok(Timestamp(now.0.saturating_sub(milliseconds)));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    Ok(Timestamp(u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::by_name;

    fn wanted(query: &str, header: Option<&[u8]>) -> Result<Wanted, u16> {
        let uri = format!("/events?{query}").parse().expect("a URI");
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(LAST_EVENT_ID, axum::http::HeaderValue::from_bytes(value).expect("a header value"));
        }
        let query = Query::of(&uri).expect("a query");
        let sse = by_name("sse").expect("a transport");
        want(sse, None, &query, &headers, Permit::everything(), 128, Timestamp(600_000))
            .map_err(|problem| problem.status().as_u16())
    }

    fn begin_of(query: &str, header: Option<&[u8]>) -> Begin {
        wanted(&format!("topic=t&{query}"), header).expect("a wanted stream").begin
    }

    #[test]
    fn of_all_start_positions_one_wins() {
        let cursor = |offset| {
            let text = format!("abcdefgh-{offset}");
            Begin::At(Start::Cursor(text.parse().expect("a cursor")), text)
        };
        let all = "lastEventId=abcdefgh-2&since=5m&last=3";
        assert_eq!(begin_of(all, Some(b"abcdefgh-1")), cursor(1));
        assert_eq!(begin_of(all, None), cursor(2));
        assert_eq!(begin_of(all, Some(b"")), cursor(2), "an empty header says nothing");
        assert_eq!(begin_of("since=5m&last=3", None), Begin::At(Start::Since(Timestamp(300_000)), "5m".into()));
        assert_eq!(begin_of("last=3", None), Begin::Last(3));
        assert_eq!(begin_of("", None), Begin::Unsaid);
        for name in LAST_EVENT_ID_QUERY {
            assert_eq!(begin_of(&format!("{name}=abcdefgh-9"), None), cursor(9));
        }
        assert_eq!(begin_of("lastEventId=earliest", None), Begin::At(Start::Earliest, "earliest".into()));
    }

    #[test]
    fn an_unreadable_cursor_is_a_gap_and_never_an_error() {
        for garbage in [&b"\xff\xfe"[..], "é✓".as_bytes(), b"-1", &[b'x'; 300]] {
            let Begin::At(start, asked) = begin_of("", Some(garbage)) else { panic!("a start position") };
            assert_eq!(start, Start::Unreadable);
            assert!(asked.len() <= 64);
        }
    }

    #[test]
    fn a_poll_begins_behind_the_newest_tag_that_it_names() {
        let begin = |transport: &str, fields: &[&str], query: &str| {
            let uri = format!("/events?topic=t&{query}").parse().expect("a URI");
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_NONE_MATCH, field.parse().expect("a field"));
            }
            let transport = by_name(transport).expect("a transport");
            begin(transport, &Query::of(&uri).expect("a query"), &headers, Timestamp(600_000)).expect("a start")
        };
        let cursor = |text: &str| Begin::At(Start::Cursor(text.parse().expect("a cursor")), text.to_owned());
        for (fields, expected) in [
            (&["\"abcdefgh-7\""][..], cursor("abcdefgh-7")),
            (&["W/\"abcdefgh-7\""], cursor("abcdefgh-7")),
            (&["\"abcdefgh-7\", W/\"abcdefgh-19\" , \"x\""], cursor("abcdefgh-19")),
            (&["\"abcdefgh-7\"", "\"abcdefgh-8\""], cursor("abcdefgh-8")),
            (&["*"], Begin::At(Start::Latest, "latest".into())),
            (&["\"x\""], Begin::At(Start::Unreadable, "x".into())),
            (&["x"], Begin::At(Start::Unreadable, String::new())),
            (&[""], Begin::Last(3)),
        ] {
            assert_eq!(
                begin("poll", fields, "last=3&since=5m").eq(&expected),
                expected != Begin::Last(3),
                "{fields:?}"
            );
            assert_eq!(begin("poll", fields, "last=3"), expected, "{fields:?}");
            assert_eq!(begin("long-poll", fields, "last=3"), Begin::Last(3), "{fields:?}");
        }
        assert_eq!(begin("poll", &["\"abcdefgh-7\""], "lastEventId=abcdefgh-2"), cursor("abcdefgh-2"));
    }

    #[test]
    fn what_is_wanted_beside_topics_is_read() {
        let read =
            wanted("topic=t&type=a&type=message&snapshot=1&conflate=1&ongap=close&limit=1000000&session=tab-1", None);
        let read = read.expect("a wanted stream");
        assert!(read.snapshot && read.conflate);
        assert_eq!((read.on_gap, read.limit, read.session.as_deref()), (OnGap::Close, Some(1_000_000), Some("tab-1")));
        let types = |names: &[&str]| {
            let types = names.iter().map(|name| EventType::parse(name).expect("a type")).collect();
            Selection::new(vec![TopicSelector::parse("t").expect("a selector")]).of_types(types)
        };
        assert_eq!(*read.selection, types(&["message", "a"]));
        for wrong in ["type=encke.x", "type=", "ongap=stay", "snapshot=0", "conflate=", "session=", "session=a%20b"] {
            assert_eq!(wanted(&format!("topic=t&{wrong}"), None).map(|_| ()), Err(400), "{wrong}");
        }
        assert_eq!(wanted(&format!("topic=t&session={}", "x".repeat(65)), None).map(|_| ()), Err(400));
        assert_eq!(wanted(&format!("topic=t{}", "&type=a".repeat(129)), None).map(|_| ()), Err(400));
    }

    #[test]
    fn numbers_out_of_range_say_so() {
        for query in [
            "heartbeat=4",
            "heartbeat=x",
            "limit=0",
            "limit=1000001",
            "padding=65537",
            "last=0",
            "since=soon",
            "beat=x",
        ] {
            assert_eq!(wanted(&format!("topic=t&{query}"), None).map(|_| ()), Err(400), "{query}");
        }
        let wanted = wanted("topic=t&heartbeat=5", None).expect("a wanted stream");
        assert_eq!(wanted.heartbeat, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_retry_of_any_number_is_brought_into_range() {
        let retry = |text: &str| wanted(&format!("topic=t&retry={text}"), None).map(|wanted| wanted.retry);
        let endless = "9".repeat(400);
        let numbers = [
            ("0", 500),
            ("499", 500),
            ("1234", 1234),
            ("2999", 2999),
            ("%2B750", 750),
            ("3600001", 3_600_000),
            ("99999999999999999999", 3_600_000),
            (&endless, 3_600_000),
            ("-1", 500),
            ("-99999999999999999999", 500),
            ("1e9", 3_600_000),
        ];
        for (text, ms) in numbers {
            assert_eq!(retry(text), Ok(Some(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "soon", "5s", "1,5", "inf", "-Infinity", "nan", "0x10", "-"] {
            assert_eq!(retry(text), Err(400), "{text}");
        }
    }

    #[test]
    fn a_request_names_one_to_128_topics() {
        assert_eq!(wanted("", None).map(|_| ()), Err(400));
        assert_eq!(wanted(&"topic=t&".repeat(128), None).map(|_| ()), Ok(()));
        assert_eq!(wanted(&"topic=t&".repeat(129), None).map(|_| ()), Err(400));
        assert_eq!(wanted("topic=a*", None).map(|_| ()), Err(400));
    }

    #[test]
    fn a_time_is_a_moment_or_an_age() {
        let check = |text: &str, ms| assert_eq!(instant(text, Timestamp(10_000_000)).map_err(|_| ()), ms, "{text}");
        check("90s", Ok(Timestamp(9_910_000)));
        check("2h", Ok(Timestamp(2_800_000)));
        check("9d", Ok(Timestamp(0)));
        check("1970-01-01T00:00:01.5Z", Ok(Timestamp(1500)));
        check("1970-01-01T01:00:00+01:00", Ok(Timestamp(0)));
        for text in ["", "5", "m", "5w", "-5m", "yesterday", "99999999999999999999s"] {
            check(text, Err(()));
        }
    }

    #[test]
    fn every_parameter_of_the_table_is_read_and_its_example_is_good() {
        use crate::http::parameter::Takes;
        for row in parameter::SUBSCRIBE.iter().filter(|row| row.name != "transport") {
            let query = format!("topic=t&{}={}", row.name, row.example);
            assert_eq!(wanted(&query, None).map(|_| ()), Ok(()), "{query}");
            let wrong = match row.takes {
                Takes::Number(_, most) => (most + 1).to_string(),
                Takes::Clamped(..) | Takes::Word(_) | Takes::Flag => "x".to_owned(),
                Takes::Form(_) => "%20".to_owned(),
                Takes::Text(..) => continue,
            };
            assert_eq!(wanted(&format!("topic=t&{}={wrong}", row.name), None).map(|_| ()), Err(400), "{}", row.name);
        }
        assert!(by_name(parameter::TRANSPORT.example).is_some());
    }
}
