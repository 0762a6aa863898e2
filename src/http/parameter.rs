//! What a query may say, each parameter once. Requests are read by this table and the description of the interface
//! (`openapi`) is made of it, so the two cannot part.

use super::problem::Problem;
use super::query::Query;
use crate::event::{EventType, Key, Topic};

/// A parameter of a query.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    /// Whether it may be given more than once, and each counts.
    pub(crate) many: bool,
    /// What it means.
    pub(crate) means: &'static str,
    pub(crate) example: &'static str,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// A whole number from the one to the other.
    Number(u64, u64),
    /// Any number; it is brought between these.
    Clamped(u32, u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Given or not; or one of the words that say so ([`YES`], [`NO`]).
    Flag,
    /// Text of so many bytes, without control characters.
    Text(usize, usize),
    /// Text that a regular expression describes.
    Form(&'static str),
}

impl Parameter {
    /// The number that a query gives; what is none, or out of range, is refused.
    pub(crate) fn number(&self, query: &Query) -> Result<Option<u64>, Problem> {
        let Some(text) = query.first(&[self.name]) else { return Ok(None) };
        let Takes::Number(least, most) = self.takes else { unreachable!("`{}` is a number", self.name) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number
            .map(Some)
            .ok_or_else(|| Problem::bad(format!("`{}` is a whole number from {least} to {most}", self.name)))
    }

    /// The number that a query gives, brought into range: for those that clients draw from elsewhere, where a 400 would end
    /// an `EventSource` for good.
    pub(crate) fn clamped(&self, query: &Query) -> Result<Option<f64>, Problem> {
        let Some(text) = query.first(&[self.name]) else { return Ok(None) };
        let Takes::Clamped(least, most) = self.takes else { unreachable!("`{}` is brought into range", self.name) };
        // The numbers of Rust are also `inf` and `nan`.
        let number = text.parse::<f64>().ok().filter(|_| text.contains(|c: char| c.is_ascii_digit()));
        let number = number.map(|number| number.clamp(least.into(), most.into()));
        number.map(Some).ok_or_else(|| Problem::bad(format!("`{}` is a number of milliseconds", self.name)))
    }

    /// The word that a query gives, which must be one of the table's.
    pub(crate) fn word(&self, query: &Query) -> Result<Option<&'static str>, Problem> {
        let Some(given) = query.first(&[self.name]) else { return Ok(None) };
        let Takes::Word(words) = self.takes else { unreachable!("`{}` is a word", self.name) };
        let wrong = || Problem::bad(format!("`{}` can only be {}", self.name, listed(words, "or")));
        words.iter().find(|word| **word == given).map(|word| Some(*word)).ok_or_else(wrong)
    }

    /// Whether a flag is set.
    pub(crate) fn is_set(&self, query: &Query) -> Result<bool, Problem> {
        let name = self.name;
        match query.first(&[name]) {
            None => Ok(false),
            Some(word) if YES.contains(&word) => Ok(true),
            Some(word) if NO.contains(&word) => Ok(false),
            Some(_) => Err(Problem::bad(format!("`{name}` is a flag: {name}, {name}=1 or {name}=0"))),
        }
    }

    /// Whether a query gives the one word that there is.
    pub(crate) fn flag(&self, query: &Query) -> Result<bool, Problem> {
        Ok(self.word(query)?.is_some())
    }
}

/// What sets a flag, and what does not.
pub(crate) const YES: [&str; 3] = ["", "1", "true"];
pub(crate) const NO: [&str; 2] = ["0", "false"];

/// Refuses what is in none of the rows of `table`: a publisher that misspells a parameter must hear of it.
pub(crate) fn known(table: &[&Parameter], query: &Query) -> Result<(), Problem> {
    let unknown = query.iter().find(|(name, _)| table.iter().all(|row| row.name != *name));
    let Some((name, _)) = unknown else { return Ok(()) };
    let name: String = name.chars().take(64).collect();
    let names: Vec<_> = table.iter().map(|row| row.name).collect();
    let names = listed(&names, "and").replace('`', "");
    Err(Problem::bad(format!("there is no parameter `{name}`; there are {names}")))
}

/// Refuses what is given twice and can be given but once.
pub(crate) fn once(table: &[&Parameter], query: &Query) -> Result<(), Problem> {
    let twice = table.iter().find(|row| !row.many && query.all(row.name).nth(1).is_some());
    let refused =
        |row: &&Parameter| Problem::bad(format!("`{}` is given more than once, and can be but once", row.name));
    twice.map_or(Ok(()), |row| Err(refused(row)))
}

/// `` `a`, `b` or `c` ``
fn listed(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [front @ .., end] => {
            let front: Vec<_> = front.iter().map(|word| format!("`{word}`")).collect();
            format!("{} {last} `{end}`", front.join(", "))
        }
    }
}

/// A row; those that may be given more than once say so.
const fn row(name: &'static str, takes: Takes, example: &'static str, means: &'static str) -> Parameter {
    Parameter { name, takes, many: false, means, example }
}

const SELECTOR_NAME: Takes = Takes::Text(1, Topic::MAX_LEN);
/// Of at most `Topic::MAX_LEN` bytes.
pub(crate) const TOPIC_FORM: &str = r"^[^*\u0000-\u001F\u007F-\u009F\u2028\u2029]{1,1024}$";
const TOPIC_NAME: Takes = Takes::Form(TOPIC_FORM);
const KEY_TEXT: Takes = Takes::Text(1, Key::MAX_LEN);
const CURSOR: Takes = Takes::Form("^[0-9a-z]{8}-[1-9][0-9]{0,19}$");

/// Of `GET /events`. Others are ignored there.
pub(crate) static SUBSCRIBE: &[&Parameter] = &[
    &SELECTOR,
    &TYPES,
    &TRANSPORT,
    &LAST_EVENT_ID,
    &SINCE,
    &LAST,
    &SNAPSHOT,
    &CONFLATE,
    &ONGAP,
    &LIMIT,
    &TIMEOUT,
    &HEARTBEAT,
    &BEAT,
    &ENVELOPE,
    &RETRY,
    &PADDING,
    &SESSION,
    &BEACON,
];
pub(crate) static SELECTOR: Parameter = Parameter {
    many: true,
    ..row(
        "topic",
        SELECTOR_NAME,
        "orders/*",
        "a topic, or a glob: `*` is one segment, a last `**` one or more, `**` alone is everything; at most 128",
    )
};
pub(crate) static TYPES: Parameter = Parameter {
    many: true,
    ..row("type", Takes::Text(0, EventType::MAX_LEN), "paid", "only events of these types; `message` is to have none")
};
pub(crate) static TRANSPORT: Parameter =
    row("transport", Takes::Text(1, 32), "poll", "the transport by its name, whatever `Accept` says");
pub(crate) static LAST_EVENT_ID: Parameter = row(
    "lastEventId",
    Takes::Text(0, 1024),
    "earliest",
    "where to begin: after this cursor, with the `earliest` event, or the `latest`. What cannot be read is a gap",
);
pub(crate) static SINCE: Parameter = row(
    "since",
    Takes::Form("^([0-9]{1,9}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}T.+)$"),
    "5m",
    "where to begin: with what was stored since then, as RFC 3339 or as an age",
);
pub(crate) static LAST: Parameter =
    row("last", Takes::Number(1, 1_000_000), "10", "where to begin: with the newest of those that match, so many");
pub(crate) static SNAPSHOT: Parameter =
    row("snapshot", Takes::Word(&["1"]), "1", "first the newest event of each topic, or of each conflation key");
pub(crate) static CONFLATE: Parameter =
    row("conflate", Takes::Word(&["1"]), "1", "of what waits, only the newest event of each conflation key or topic");
pub(crate) static ONGAP: Parameter = row(
    "ongap",
    Takes::Word(&["latest", "earliest", "close"]),
    "close",
    "where to go on if events asked for are gone, or to end there",
);
/// Of a stream; a poll holds [`POLL_LIMIT`] at most.
pub(crate) static LIMIT: Parameter =
    row("limit", Takes::Number(1, 1_000_000), "100", "how many events: a stream ends then; a poll gives 1000 at most");
pub(crate) static POLL_LIMIT: Parameter = row("limit", Takes::Number(1, 1000), "100", LIMIT.means);
pub(crate) static TIMEOUT: Parameter =
    row("timeout", Takes::Number(0, 120), "0", "long poll: seconds to wait for news; 25 if not said");
pub(crate) static HEARTBEAT: Parameter =
    row("heartbeat", Takes::Number(5, 3600), "30", "after so many seconds without a byte, one that says nothing");
pub(crate) static BEAT: Parameter =
    row("beat", Takes::Word(&["event"]), "event", "heartbeats are `encke.heartbeat` events, which scripts can see");
pub(crate) static ENVELOPE: Parameter =
    row("envelope", Takes::Word(&["json"]), "json", "SSE: `data` is the event's JSON, with topic, time and key");
pub(crate) static RETRY: Parameter = row(
    "retry",
    Takes::Clamped(500, 3_600_000),
    "3000",
    "milliseconds after which an `EventSource` comes back; brought into range",
);
pub(crate) static PADDING: Parameter =
    row("padding", Takes::Number(0, 65_536), "2048", "SSE: a comment of so many bytes first");
pub(crate) static SESSION: Parameter = row(
    "session",
    Takes::Form("^[0-9A-Za-z._~-]{1,64}$"),
    "tab-7",
    "what a client calls itself, over all that it opens",
);

pub(crate) static BEACON: Parameter = row(
    "beacon",
    Takes::Flag,
    "1",
    "SSE: the client says by `POST /beacon` what it got; if it does not, it is seen to that it gets something",
);

/// Of `POST /events` with a topic. Others are refused.
pub(crate) static PUBLISH: &[&Parameter] = &[&TOPICS, &TYPE, &KEY, &TTL, &CONFLATION_KEY, &PRIVATE, &FORM];
pub(crate) static TOPICS: Parameter =
    Parameter { many: true, ..row("topic", TOPIC_NAME, "orders/42", "a topic; the first is the canonical one") };
pub(crate) static TYPE: Parameter = row(
    "type",
    Takes::Text(0, EventType::MAX_LEN),
    "paid",
    "the event's type; not `open`, `error` or `encke.…`, which clients and the gateway use",
);
pub(crate) static KEY: Parameter =
    row("key", KEY_TEXT, "payment-981", "the publisher's own identity for the event: a repeat is recognised by it");
pub(crate) static TTL: Parameter = row(
    "ttl",
    Takes::Form("^[0-9]{1,6}(\\.[0-9]{1,3})?[smh]?$"),
    "5m",
    "for how long the event is worth delivering: seconds, or with a unit `s`, `m`, `h` or `d`",
);
pub(crate) static CONFLATION_KEY: Parameter =
    row("conflate", KEY_TEXT, "EUR/USD", "of events with the same one only the newest counts, to readers who ask so");
pub(crate) static PRIVATE: Parameter = row("private", Takes::Flag, "1", "only for readers who hold a key");
pub(crate) static FORM: Parameter =
    row("form", Takes::Text(1, 1024), "data", "the content is a form, and its field of this name is the data");

/// Of `POST /events` without a topic, with lines of JSON.
pub(crate) static PUBLISH_LINES: &[&Parameter] = &[&ACK];
pub(crate) static ACK: Parameter =
    row("ack", Takes::Word(&["each"]), "each", "each line gets its receipt as soon as it is stored");

/// Of `DELETE /events`.
pub(crate) static DELETE: &[&Parameter] = &[&DELETED_TOPIC, &DELETED_ID];
pub(crate) static DELETED_TOPIC: Parameter = row("topic", TOPIC_NAME, "orders/42", "every event on this topic");
pub(crate) static DELETED_ID: Parameter = row("id", CURSOR, "k3v9x0a1-7", "the event with this cursor");

/// Of `GET /streams`. Others are refused.
pub(crate) static STREAMS: &[&Parameter] = &[&STREAM, &STREAMS_LIMIT, &SORT];
pub(crate) static STREAM: Parameter = row(
    "stream",
    Takes::Form("^[0-9a-f]{8}([0-9a-f]{24})?$"),
    "0a1b2c3d",
    "one stream alone: its `Encke-Stream`, or the first eight digits of that, which are shown",
);
pub(crate) static STREAMS_LIMIT: Parameter =
    row("limit", Takes::Number(1, 1000), "20", "how many streams are shown at most; 100 if not said. All are counted");
pub(crate) static SORT: Parameter = row(
    "sort",
    Takes::Word(&["age", "lag", "quiet"]),
    "lag",
    "which streams are shown first: the oldest (if not said), those furthest behind, those that are quiet for longest",
);

/// Of `DELETE /diagnosis`. Others are refused.
pub(crate) static DIAGNOSIS: &[&Parameter] = &[&OF_PATH];
pub(crate) static OF_PATH: Parameter =
    row("path", Takes::Text(1, 64), "nginx/h1.0/1", "a path, as `GET /diagnosis` names it; all of them if not said");

/// Of `GET /health/ready`.
pub(crate) static READY: &[&Parameter] = &[&FOR];
pub(crate) static FOR: Parameter =
    row("for", Takes::Word(&["publish"]), "publish", "whether events can be stored, too");
