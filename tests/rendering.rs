//! What is rendered is read back as what was published: by an independent parser of each format, and by clients' own.

#[path = "support/arbitrary.rs"]
mod arbitrary;
#[path = "support/multipart.rs"]
mod multipart;
#[path = "support/whatwg.rs"]
mod whatwg;

use std::path::Path;
use std::process::Command;

use arbitrary::{Item, appended, item};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use encke::event::{Appended, ContentType, Cursor, Epoch, Event, Timestamp, Topic};
use encke::transport::{Format, Notice, Rendering, answer};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use whatwg::{Dispatched, Parser};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_stream_is_read_back_however_the_bytes_are_cut(
        items in prop::collection::vec(item(), 1..10),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
        envelope: bool,
    ) {
        let rendering = Rendering { format: Format::EventStream, envelope };
        let bytes = rendered(rendering, &items);
        let (mut whole, mut pieces, mut single) = (Parser::new(), Parser::new(), Parser::new());
        let read = whole.feed(&bytes);
        prop_assert_eq!(&cut(&bytes, &cuts).flat_map(|piece| pieces.feed(piece)).collect::<Vec<_>>(), &read);
        prop_assert_eq!(&bytes.chunks(1).flat_map(|byte| single.feed(byte)).collect::<Vec<_>>(), &read);

        let expected = expected_stream(&items, envelope);
        prop_assert_eq!(read.len(), expected.len());
        let mut last_event_id = String::new();
        for (read, expected) in read.iter().zip(&expected) {
            last_event_id = expected.id.clone().unwrap_or(last_event_id);
            let data = expected.data.clone();
            let expected = Dispatched { kind: expected.kind.clone(), data, last_event_id: last_event_id.clone() };
            prop_assert_eq!(read, &expected);
        }
        prop_assert_eq!(pieces.last_event_id(), last_event_id);
        prop_assert_eq!(pieces.retry(), expected.iter().filter_map(|expected| expected.retry).next_back());
    }

    #[test]
    fn an_envelope_holds_the_json_of_the_event(event in appended()) {
        let json = Rendering { format: Format::Answer, envelope: false }.event(&event);
        let bytes = Rendering { format: Format::EventStream, envelope: true }.event(&event);
        let read = Parser::new().feed(&bytes);
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(read[0].data.as_bytes(), &json[..]);
        told_as_published(&event, &read[0].data)?;
    }

    #[test]
    fn json_lines_are_read_back(items in prop::collection::vec(item(), 1..10)) {
        let rendering = Rendering { format: Format::JsonLines, envelope: false };
        let bytes = rendered(rendering, &items);
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        prop_assert!(text.ends_with('\n') && !text.contains('\r'));
        let lines: Vec<&str> = text[..text.len() - 1].split('\n').collect();
        prop_assert_eq!(lines.len(), items.len());
        for (line, item) in lines.iter().zip(&items) {
            match item {
                Item::Event(event) => told_as_published(event, line)?,
                Item::Notice(spoken) => {
                    let expected = expected_notice(&spoken.notice());
                    let mut told = json!({"type": expected.kind, "data": parsed(&expected.data)});
                    for (name, value) in [("id", expected.id.map(Value::from)), ("retry", expected.retry.map(Value::from))] {
                        if let Some(value) = value {
                            told[name] = value;
                        }
                    }
                    prop_assert_eq!(parsed(line), told);
                }
                Item::Heartbeat => prop_assert_eq!(*line, ""),
            }
        }
    }

    #[test]
    fn an_answer_holds_the_json_of_each_event(events in prop::collection::vec(appended(), 0..5), more: bool) {
        #[derive(Deserialize)]
        struct Answer {
            cursor: String,
            events: Vec<Box<RawValue>>,
            more: Option<bool>,
        }
        let cursor = cursor(3);
        let rendering = Rendering { format: Format::Answer, envelope: false };
        let parts: Vec<Bytes> = events.iter().map(|event| rendering.event(event)).collect();
        let read: Answer = serde_json::from_slice(&answer(cursor, &parts, None, more)).expect("JSON");
        prop_assert_eq!(read.cursor, cursor.to_string());
        prop_assert_eq!(read.more.unwrap_or(false), more);
        prop_assert_eq!(read.events.len(), events.len());
        for (event, told) in events.iter().zip(&read.events) {
            told_as_published(event, told.get())?;
        }
    }

    #[test]
    fn parts_are_read_back(items in prop::collection::vec(item(), 1..10)) {
        let rendering = Rendering { format: Format::Part, envelope: false };
        let bytes = [rendering.preamble(), rendered(rendering, &items)].concat();
        let (parts, _open) = multipart::read(boundary(), &bytes).map_err(TestCaseError::fail)?;
        let events = items.iter().filter_map(|item| if let Item::Event(event) = item { Some(event) } else { None });
        let events: Vec<&Appended> = events.collect();
        prop_assert_eq!(parts.len(), events.len());
        for (part, event) in parts.iter().zip(events) {
            let content_type = event.event.content_type.as_ref().map_or("text/plain; charset=utf-8", ContentType::as_str);
            prop_assert_eq!(part.field("content-type"), Some(content_type));
            let cursor = event.cursor.to_string();
            prop_assert_eq!(part.field("encke-id"), Some(cursor.as_str()));
            prop_assert_eq!(&part.content[..], &event.event.data[..]);
        }
    }
}

#[test]
fn data_that_would_end_its_part_is_withheld() {
    let rendering = Rendering { format: Format::Part, envelope: false };
    for data in [
        format!("x\r\n--{0}\r\nContent-Type: text/html\r\n\r\n<script>", boundary()),
        format!("\n{}\n", boundary()),
        format!("--{}--", boundary()),
    ] {
        let event = published(data.as_bytes(), Some("text/html"));
        let bytes = [rendering.preamble(), rendering.event(&event)].concat();
        let (parts, open) = multipart::read(boundary(), &bytes).expect("one part");
        assert_eq!((parts.len(), open), (1, &b""[..]));
        assert_eq!(parts[0].field("content-type"), Some("text/plain; charset=utf-8"));
        assert!(parts[0].content.starts_with(b"[withheld"));
        assert_eq!(parts[0].field("encke-id"), Some("k3v9x0a1-7"));
    }
    let nested = published(b"--x\r\nSet-Cookie: a=b\r\n\r\n", Some("Multipart/x-mixed-replace;boundary=x"));
    assert!(!rendering.event(&nested).windows(10).any(|ten| ten == b"Set-Cookie"));
}

#[test]
fn npm_eventsource_parser_reads_the_same() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let package = tests.join(".deps/npm/node_modules/eventsource-parser");
    assert!(package.is_dir(), "{} is missing: tests/run installs it", package.display());

    let mut runner = TestRunner::deterministic();
    let strategy = item();
    let any_item = |_| strategy.new_tree(&mut runner).expect("an item").current();
    let items: Vec<Item> = (0..2_000).map(any_item).collect();
    for envelope in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let (stream, expectation) = (folder.path().join("stream"), folder.path().join("expected.json"));
        let bytes = rendered(Rendering { format: Format::EventStream, envelope }, &items);
        std::fs::write(&stream, &bytes).expect("written");
        let expected = expected_stream(&items, envelope);
        let expected: Vec<Value> = expected.iter().map(|e| json!([e.kind, e.data, e.id, e.retry])).collect();
        std::fs::write(&expectation, Value::from(expected).to_string()).expect("written");
        let output = Command::new("node")
            .arg(tests.join("clients/eventsource-parser.mjs"))
            .args([&package, &stream, &expectation])
            .output()
            .expect("node is installed");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "envelope {envelope}: {}", String::from_utf8_lossy(&said));
    }
}

/// What a reader of an event stream is to see of one item.
struct Expected {
    kind: String,
    data: String,
    id: Option<String>,
    retry: Option<u64>,
}

fn rendered(rendering: Rendering, items: &[Item]) -> Bytes {
    let render = |item: &Item| match item {
        Item::Event(event) => rendering.event(event),
        Item::Notice(spoken) => rendering.notice(&spoken.notice()),
        Item::Heartbeat => rendering.heartbeat(),
    };
    items.iter().map(render).collect::<Vec<_>>().concat().into()
}

fn expected_stream(items: &[Item], envelope: bool) -> Vec<Expected> {
    let expect = |item: &Item| match item {
        Item::Event(event) => Some(Expected {
            kind: event.event.kind.as_ref().map_or("message".into(), ToString::to_string),
            data: if envelope { json_of(event) } else { stream_data(&event.event) },
            id: Some(event.cursor.to_string()),
            retry: None,
        }),
        Item::Notice(spoken) => Some(expected_notice(&spoken.notice())),
        Item::Heartbeat => None,
    };
    items.iter().filter_map(expect).collect()
}

/// The event's JSON, which `told_as_published` holds against the event.
fn json_of(event: &Appended) -> String {
    let json = Rendering { format: Format::Answer, envelope: false }.event(event);
    String::from_utf8(json.to_vec()).expect("UTF-8")
}

/// Text with its line ends as LF; other bytes as a URL.
fn stream_data(event: &Event) -> String {
    match std::str::from_utf8(&event.data) {
        Ok(text) if event.is_text() => text.replace("\r\n", "\n").replace('\r', "\n"),
        _ => {
            let media = event.content_type.as_ref().map_or("application/octet-stream", ContentType::as_str);
            let media = media.split_once(',').map_or(media, |_| media.split(';').next().expect("the essence"));
            format!("data:{media};base64,{}", STANDARD.encode(&event.data))
        }
    }
}

fn expected_notice(notice: &Notice<'_>) -> Expected {
    let (kind, id, retry) = match *notice {
        Notice::Hello { id, retry, .. } => ("encke.hello", id, Some(retry)),
        Notice::Gap { id, .. } => ("encke.gap", id, None),
        Notice::Cursor { id } => ("encke.cursor", Some(id), None),
        Notice::Heartbeat => ("encke.heartbeat", None, None),
        Notice::Bye { id, retry, .. } => ("encke.bye", id, Some(retry)),
    };
    let retry = retry.map(|retry| u64::try_from(retry.as_millis().clamp(500, 3_600_000)).expect("an hour at most"));
    let data = match *notice {
        Notice::Hello { stream, resume, transport, heartbeat, .. } => {
            let seconds = heartbeat.as_nanos().div_ceil(1_000_000_000).min(u64::MAX.into());
            format!(
                r#"{{"stream":{},"resume":"{}","transport":"{transport}","heartbeat":{seconds}}}"#,
                json!(stream),
                resume.as_str()
            )
        }
        Notice::Gap { asked, first, reason, lost, wait, .. } => {
            let lost = lost.map_or("null".into(), |lost| lost.to_string());
            let wait = wait.as_millis().min(u64::MAX.into());
            format!(r#"{{"asked":{},"first":"{first}","reason":"{reason}","lost":{lost},"wait":{wait}}}"#, json!(asked))
        }
        Notice::Cursor { id } => format!(r#"{{"cursor":"{id}"}}"#),
        Notice::Heartbeat => "{}".into(),
        Notice::Bye { reason, .. } => {
            format!(r#"{{"reason":"{}","retry":{}}}"#, reason.as_str(), retry.expect("told above"))
        }
    };
    Expected { kind: kind.into(), data, id: id.map(|id| id.to_string()), retry }
}

/// Every field of an event's JSON, and no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Told {
    id: String,
    topic: String,
    topics: Option<Vec<String>>,
    r#type: String,
    content_type: Option<String>,
    encoding: Option<String>,
    time: String,
    key: Option<String>,
    data: Box<RawValue>,
}

fn told_as_published(appended: &Appended, json: &str) -> Result<(), TestCaseError> {
    let told: Told = serde_json::from_str(json).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
    let event = &appended.event;
    let topics: Vec<String> = event.topics.iter().map(ToString::to_string).collect();
    prop_assert_eq!(told.id, appended.cursor.to_string());
    prop_assert_eq!(&told.topic, &topics[0]);
    prop_assert_eq!(told.topics, (topics.len() > 1).then_some(topics));
    prop_assert_eq!(told.r#type, event.kind.as_ref().map_or("message".into(), ToString::to_string));
    prop_assert_eq!(told.content_type, event.content_type.as_ref().map(ToString::to_string));
    prop_assert_eq!(told.key, event.key.as_ref().map(ToString::to_string));
    let time = OffsetDateTime::parse(&told.time, &Rfc3339).expect("RFC 3339");
    prop_assert_eq!(time.unix_timestamp_nanos(), i128::from(appended.time.0) * 1_000_000);
    prop_assert_eq!((told.time.len(), told.time.ends_with('Z')), (24, true));

    let data = parsed(told.data.get());
    match std::str::from_utf8(&event.data) {
        Ok(text) if event.is_text() => {
            prop_assert_eq!(told.encoding, None);
            if event.is_json() && serde_json::from_str::<Value>(text).is_ok() {
                let one_line = text.replace(['\r', '\n'], " ");
                prop_assert_eq!(told.data.get(), one_line.trim_matches([' ', '\t']));
            } else {
                prop_assert_eq!(data.as_str(), Some(text));
            }
        }
        _ => {
            prop_assert_eq!(told.encoding.as_deref(), Some("base64"));
            prop_assert_eq!(STANDARD.decode(data.as_str().expect("a string")).expect("base64"), event.data.to_vec());
        }
    }
    Ok(())
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> impl Iterator<Item = &'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    ends.into_iter().scan(0, |start, end| Some(&bytes[std::mem::replace(start, end)..end]))
}

fn boundary() -> &'static str {
    let media = Rendering { format: Format::Part, envelope: false }.content_type();
    media.strip_prefix("multipart/x-mixed-replace;boundary=").expect("a boundary")
}

fn cursor(offset: u64) -> Cursor {
    Cursor { epoch: Epoch::parse("k3v9x0a1").expect("an epoch"), offset }
}

fn published(data: &[u8], content_type: Option<&str>) -> Appended {
    let mut event = Event::new(Topic::parse("a").expect("a topic"), data.to_vec());
    event.content_type = content_type.map(|text| ContentType::parse(text).expect("a media type"));
    Appended::new(cursor(7), Timestamp(0), event)
}
