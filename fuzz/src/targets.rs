//! What is fed, and what must hold besides that nothing panics.

use encke::event::{ContentType, Cursor, EventType, Key, Topic, TopicSelector};

use crate::whatwg;

/// By the name of its directory in `corpus/`.
pub(crate) const TARGETS: [(&str, fn(&[u8])); 16] = [
    ("config", encke::config::fuzzing::file),
    ("connection", encke::net::fuzzing::connection),
    ("cursor", cursor),
    ("event_stream", event_stream),
    ("fields", fields),
    ("framing", encke::net::fuzzing::framing),
    ("guard", encke::http::fuzzing::guard),
    ("publish", encke::http::fuzzing::publish),
    ("publish_events", encke::http::fuzzing::events),
    ("publish_form", encke::http::fuzzing::fields),
    ("publish_lines", encke::http::fuzzing::lines),
    ("publish_object", encke::http::fuzzing::object),
    ("row", encke::log::sqlite::fuzzing::row),
    ("subscribe", encke::http::fuzzing::subscribe),
    ("tail", encke::cli::fuzzing::tail),
    ("topic", topic),
];

/// There is one spelling for one place.
fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
}

/// What may stand in a field of an event stream, or of HTTP, holds nothing that would end it.
fn fields(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Some(kind)) = EventType::parse(text) {
        assert!(kind.as_str() == text && !text.contains(['\r', '\n', '\0']));
    }
    if let Ok(key) = Key::parse(text) {
        assert!(key.as_str() == text && !text.contains(['\r', '\n', '\0']));
    }
    if let Ok(media) = ContentType::parse(text) {
        assert!(media.as_str().bytes().all(|byte| matches!(byte, b' '..=b'~')));
        assert_eq!(ContentType::parse(media.as_str()), Ok(media.clone()));
        let _ = (media.is_text(), media.is_json(), media.charset(), media.essence());
    }
}

/// Two lines, a selector and a topic: it matches where a reader of the rules would say so.
fn topic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, other) = text.split_once('\n').unwrap_or((text, text));
    let Ok(selector) = TopicSelector::parse(one) else { return };
    assert_eq!(selector.to_string(), one);
    let Ok(topic) = Topic::parse(other) else { return };
    assert_eq!(topic.as_str(), other);
    let (wanted, segments): (Vec<&str>, Vec<&str>) = (one.split('/').collect(), other.split('/').collect());
    assert_eq!(selector.matches(&topic), matches(&wanted, &segments), "{one:?} on {other:?}");
}

fn matches(selector: &[&str], topic: &[&str]) -> bool {
    match (selector, topic) {
        (["**"], rest) => !rest.is_empty(),
        ([], []) => true,
        ([one, wanted @ ..], [segment, rest @ ..]) => (one == segment || *one == "*") && matches(wanted, rest),
        _ => false,
    }
}

/// The clients' parser agrees with one that was written from the standard alone, however the stream is cut.
fn event_stream(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let mut standard = whatwg::Parser::new();
    let dispatched = standard.feed(stream).into_iter();
    let expected: Vec<_> = dispatched.map(|event| (event.kind, event.data, event.last_event_id)).collect();
    for step in [stream.len().max(1), usize::from(step) + 1, 1] {
        let read = encke::cli::fuzzing::event_stream(stream.chunks(step));
        assert_eq!(read.messages, expected, "in pieces of {step}");
        assert_eq!(read.last_event_id, standard.last_event_id());
        // A number beyond all bounds is none for the one and the longest for the other.
        if let Some(retry) = standard.retry().filter(|_| read.retry != Some(u128::from(u64::MAX))) {
            assert_eq!(read.retry, Some(u128::from(retry)));
        }
    }
}
