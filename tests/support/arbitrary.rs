//! Any event that can be published, and any notice, for property tests.

use std::time::Duration;

use encke::event::{Appended, ContentType, Cursor, Epoch, Event, EventType, Key, Timestamp, Topic};
use encke::transport::{Bye, Notice, Resume};
use proptest::prelude::*;
use proptest::sample::select;

/// What a stream is made of.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Appended),
    Notice(Spoken),
    /// The bytes that say nothing.
    Heartbeat,
}

/// A notice that owns its texts.
#[derive(Clone, Debug)]
pub(crate) enum Spoken {
    Hello { id: Option<Cursor>, retry: Duration, stream: String, resume: Resume, heartbeat: Duration },
    Gap { id: Option<Cursor>, first: Cursor, asked: String, lost: Option<u64>, wait: Duration },
    Cursor { id: Cursor },
    Heartbeat,
    Bye { reason: Bye, retry: Duration, id: Option<Cursor> },
}

impl Spoken {
    pub(crate) fn notice(&self) -> Notice<'_> {
        match *self {
            Self::Hello { id, retry, ref stream, resume, heartbeat } => {
                Notice::Hello { id, retry, stream, resume, transport: "sse", heartbeat }
            }
            Self::Gap { id, first, ref asked, lost, wait } => {
                Notice::Gap { id, asked, first, reason: "expired", lost, wait }
            }
            Self::Cursor { id } => Notice::Cursor { id },
            Self::Heartbeat => Notice::Heartbeat,
            Self::Bye { reason, retry, id } => Notice::Bye { reason, retry, id },
        }
    }
}

pub(crate) fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        6 => appended().prop_map(Item::Event),
        2 => spoken().prop_map(Item::Notice),
        1 => Just(()).prop_map(|()| Item::Heartbeat),
    ]
}

pub(crate) fn appended() -> impl Strategy<Value = Appended> {
    // Up to the year 9999.
    (cursor(), 0..253_402_300_800_000_u64, event())
        .prop_map(|(cursor, time, event)| Appended::new(cursor, Timestamp(time), event))
}

fn event() -> impl Strategy<Value = Event> {
    let topics = prop::collection::btree_set(name().prop_filter_map("no topic", |name| Topic::parse(&name).ok()), 1..4);
    let kind = prop::option::of(name()).prop_map(|name| name.and_then(|name| EventType::parse(&name).ok().flatten()));
    let key = prop::option::weighted(0.3, name()).prop_map(|name| name.and_then(|name| Key::parse(&name).ok()));
    (topics, kind, key, content()).prop_map(|(topics, kind, key, (data, content_type))| {
        let content_type = content_type.map(|text| ContentType::parse(text).expect("a media type"));
        Event {
            topics: topics.into_iter().collect(),
            kind,
            content_type,
            key,
            ..Event::new(Topic::parse("t").expect("a topic"), data)
        }
    })
}

/// Data with the content type it claims to have, rightly or not.
fn content() -> impl Strategy<Value = (Vec<u8>, Option<&'static str>)> {
    let texts = [None, Some("text/plain"), Some("text/html; charset=\"utf-8\""), Some("application/json")];
    let others = [Some("image/jpeg"), Some("application/octet-stream"), Some("video/mp4; codecs=\"a, b\"")];
    prop_oneof![
        4 => (text(), select(texts.to_vec())).prop_map(|(text, media)| (text.into_bytes(), media)),
        2 => (json(), select(vec![Some("application/json"), Some("a/b+json"), None]))
            .prop_map(|(text, media)| (text.into_bytes(), media)),
        2 => (prop::collection::vec(any::<u8>(), 0..40), select([&texts[..], &others[..]].concat())),
    ]
}

/// Text full of what could be taken for a line end, a field, or the end of a string.
fn text() -> impl Strategy<Value = String> {
    let dangerous = vec![
        "\r",
        "\n",
        "\r\n",
        "\0",
        "\u{feff}",
        " ",
        ":",
        "data: ",
        "\nid: 1-1\n",
        "\n\n",
        "event: x",
        "\"",
        "\\",
        "\u{2028}",
    ];
    let piece = prop_oneof![
        3 => select(dangerous).prop_map(str::to_owned).boxed(),
        2 => any::<char>().prop_map(String::from).boxed(),
        1 => "[a-z{}\\[\\]0-9 ]{0,8}".boxed(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// JSON of one or many lines, with line ends of every kind.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    });
    (value, select(&["\n", "\r", "\r\n", ""][..]))
        .prop_map(|(value, line_end)| format!("{line_end}{value:#}{line_end}").replace('\n', line_end))
}

/// Anything a name may be, and some that it may not.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/ :\"\\\\]{1,12}", "\\PC{1,8}", Just("message".to_owned()), Just(" data: x".to_owned())]
}

fn spoken() -> impl Strategy<Value = Spoken> {
    let resume = select(&[Resume::New, Resume::Resumed, Resume::Gap][..]);
    let bye = select(&[Bye::Drain, Bye::Recycle, Bye::Expired, Bye::Gap, Bye::Limit][..]);
    let id = || prop::option::of(cursor());
    prop_oneof![
        (id(), duration(), name(), resume, duration())
            .prop_map(|(id, retry, stream, resume, heartbeat)| Spoken::Hello { id, retry, stream, resume, heartbeat }),
        (id(), cursor(), text(), prop::option::of(any::<u64>()), duration())
            .prop_map(|(id, first, asked, lost, wait)| Spoken::Gap { id, first, asked, lost, wait }),
        cursor().prop_map(|id| Spoken::Cursor { id }),
        Just(Spoken::Heartbeat),
        (bye, duration(), id()).prop_map(|(reason, retry, id)| Spoken::Bye { reason, retry, id }),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![(0..10_000_u64).prop_map(Duration::from_millis), any::<Duration>()]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (any::<u64>(), any::<u64>()).prop_map(|(epoch, offset)| Cursor { epoch: Epoch::from_random(epoch), offset })
}
