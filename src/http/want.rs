//! From a request to what a subscriber wants.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::problem::Problem;
use super::query::Query;
use crate::access::Permit;
use crate::delivery::{Begin, Peer, Wanted};
use crate::event::{Cursor, Timestamp, TopicSelector};
use crate::hub::Selection;
use crate::log::Start;
use crate::transport::Transport;

/// The header field in which a client says how far it got (WHATWG HTML § 9.2.4).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The same in a query, for clients that cannot set a header field, as they spell it.
pub(super) const LAST_EVENT_ID_QUERY: &[&str] = &["lastEventId", "last_event_id", "lastEventID", "Last-Event-ID"];

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
    let seconds = |name, least, most| number(query, name, least, most).map(|n| n.map(Duration::from_secs));
    Ok(Wanted {
        selection: Arc::new(selection(topic_in_path, query, max_topics)?.for_reader(permit)),
        transport,
        envelope: flag(query, "envelope", "json")?,
        begin: begin(query, headers, now)?,
        heartbeat: seconds("heartbeat", 5, 3600)?,
        beat_as_event: flag(query, "beat", "event")?,
        retry: retry(query)?,
        padding: usize::try_from(number(query, "padding", 0, 65_536)?.unwrap_or(0)).unwrap_or(0),
        timeout: seconds("timeout", 0, 120)?.unwrap_or(Duration::from_secs(25)),
        limit: usize::try_from(number(query, "limit", 1, 1000)?.unwrap_or(1000)).unwrap_or(1000),
        peer: Arc::new(Peer::new(None)),
        multiplexed: false,
    })
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
fn begin(query: &Query, headers: &HeaderMap, now: Timestamp) -> Result<Begin, Problem> {
    let header = headers.get(LAST_EVENT_ID).map(|value| utf8_or_latin1(value.as_bytes()));
    let asked = header.filter(|id| !id.is_empty());
    let asked = asked.or_else(|| query.first(LAST_EVENT_ID_QUERY).filter(|id| !id.is_empty()).map(str::to_owned));
    if let Some(asked) = asked {
        return Ok(Begin::At(start(&asked), shortened(asked)));
    }
    if let Some(since) = query.first(&["since"]) {
        return Ok(Begin::At(Start::Since(instant(since, now)?), since.to_owned()));
    }
    Ok(number(query, "last", 1, 1_000_000)?
        .map_or(Begin::Unsaid, |count| Begin::Last(usize::try_from(count).unwrap_or(usize::MAX))))
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
    let age = || {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(seconds)?.checked_mul(1000)
    };
    if let Some(age) = age() {
        return Ok(Timestamp(now.0.saturating_sub(age)));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    Ok(Timestamp(u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)))
}

/// Any number is brought into range: clients draw this one from elsewhere, and a 400 would end an `EventSource` for good.
fn retry(query: &Query) -> Result<Option<Duration>, Problem> {
    let Some(text) = query.first(&["retry"]) else { return Ok(None) };
    // The numbers of Rust are also `inf` and `nan`.
    let number = text.parse::<f64>().ok().filter(|_| text.contains(|c: char| c.is_ascii_digit()));
    let number = number.ok_or_else(|| Problem::bad("`retry` is a number of milliseconds"))?;
    Ok(Some(Duration::from_secs_f64(number.clamp(500.0, 3_600_000.0) / 1000.0)))
}

fn number(query: &Query, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
    let Some(text) = query.first(&[name]) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.map(Some).ok_or_else(|| Problem::bad(format!("`{name}` is a whole number from {least} to {most}")))
}

/// A parameter that has one value besides being absent.
fn flag(query: &Query, name: &'static str, value: &'static str) -> Result<bool, Problem> {
    match query.first(&[name]) {
        None => Ok(false),
        Some(given) if given == value => Ok(true),
        Some(_) => Err(Problem::bad(format!("`{name}` can only be `{value}`"))),
    }
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
    fn numbers_out_of_range_say_so() {
        for query in
            ["heartbeat=4", "heartbeat=x", "limit=0", "limit=1001", "padding=65537", "last=0", "since=soon", "beat=x"]
        {
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
}
