//! Mixed body parts are read back as what was published and said: by a strict reader, and by Python's email parser.

#[path = "support/arbitrary.rs"]
mod arbitrary;
#[path = "support/multipart.rs"]
mod multipart;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use arbitrary::{Item, Spoken, item};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use encke::event::{Appended, ContentType};
use encke::transport::{Bye, Format, Rendering};
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const RENDERING: Rendering = Rendering { format: Format::Mixed, envelope: false };

/// A part as it should be read: fields of ours, in their order, decoded, and the content.
type Expected = (Vec<(&'static str, String)>, Vec<u8>);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mixed_parts_are_read_back(items in prop::collection::vec(item(), 1..10)) {
        let items = up_to_the_end(items);
        let (parts, _open) = multipart::read(boundary(), &stream(&items)).map_err(TestCaseError::fail)?;
        let expected: Vec<Expected> = items.iter().filter_map(expected).collect();
        prop_assert_eq!(parts.len(), expected.len());
        for (part, (fields, content)) in parts.iter().zip(expected) {
            let ours = part.fields.iter().filter(|(name, _)| name.starts_with("encke-"));
            let ours = ours.filter(|(name, _)| !matches!(name.as_str(), "encke-heartbeat" | "encke-time"));
            let decoded = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
            let told: Vec<(&str, String)> = ours.map(|(name, value)| (name.as_str(), decoded(value))).collect();
            prop_assert_eq!(told, fields);
            prop_assert_eq!(&part.content, &content);
        }
        for (item, part) in items.iter().filter(|item| !matches!(item, Item::Heartbeat)).zip(&parts) {
            if let Item::Event(Appended { event, .. }) = item {
                let media = event.content_type.as_ref().map_or("text/plain; charset=utf-8", ContentType::as_str);
                prop_assert_eq!(part.field("content-type"), Some(media));
            }
        }
    }
}

#[test]
fn pythons_email_parser_reads_the_same() {
    let mut runner = TestRunner::deterministic();
    let strategy = item();
    let mut items: Vec<Item> = Vec::new();
    while items.len() < 2000 {
        let item = strategy.new_tree(&mut runner).expect("an item").current();
        if !matches!(item, Item::Notice(Spoken::Bye { .. })) {
            items.push(item);
        }
    }
    let nested = |content_type: &str| {
        let mut event =
            encke::event::Event::new(encke::event::Topic::parse("t").expect("a topic"), "--x\r\nA: b\r\n\r\n");
        event.content_type = Some(ContentType::parse(content_type).expect("a media type"));
        let cursor = "k3v9x0a1-7".parse().expect("a cursor");
        Item::Event(Appended::new(cursor, encke::event::Timestamp(0), event))
    };
    items.extend(["multipart/mixed; boundary=x", "message/rfc822"].map(nested));
    items.push(Item::Notice(Spoken::Bye { reason: Bye::Drain, retry: Duration::from_secs(1), id: None }));

    let folder = tempfile::tempdir().expect("a folder");
    let (file, expectation) = (folder.path().join("stream"), folder.path().join("expected.json"));
    std::fs::write(&file, stream(&items)).expect("written");
    let parts = items.iter().filter_map(expected);
    let parts: Vec<Value> = parts.map(|(fields, content)| json!([fields, STANDARD.encode(content)])).collect();
    std::fs::write(&expectation, Value::from(parts).to_string()).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/email-parser.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).arg(RENDERING.content_type()).args([&file, &expectation]).output();
    let output = output.expect("python3 is installed");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// A goodbye ends the response.
fn up_to_the_end(mut items: Vec<Item>) -> Vec<Item> {
    if let Some(end) = items.iter().position(|item| matches!(item, Item::Notice(Spoken::Bye { .. }))) {
        items.truncate(end + 1);
    }
    items
}

fn stream(items: &[Item]) -> Vec<u8> {
    let mut bytes = RENDERING.preamble().to_vec();
    for item in items {
        bytes.extend_from_slice(&match item {
            Item::Event(event) => RENDERING.event(event),
            Item::Notice(spoken) => RENDERING.notice(&spoken.notice()),
            Item::Heartbeat => RENDERING.heartbeat(),
        });
    }
    bytes
}

fn expected(item: &Item) -> Option<Expected> {
    match item {
        Item::Event(Appended { cursor, event, .. }) => {
            let kind = event.kind.as_ref().map_or("message".to_owned(), ToString::to_string);
            let mut fields = vec![("encke-id", cursor.to_string()), ("encke-type", kind)];
            fields.extend(event.topics.iter().map(|topic| ("encke-topic", topic.to_string())));
            fields.extend(event.key.as_ref().map(|key| ("encke-key", key.to_string())));
            let claimed = event.content_type.as_ref().filter(|media| media.essence().starts_with('m'));
            fields.extend(claimed.map(|media| ("encke-content-type", media.to_string())));
            Some((fields, event.data.to_vec()))
        }
        // Its JSON is the line's.
        Item::Notice(spoken) => {
            let lines = Rendering { format: Format::JsonLines, envelope: false };
            let line: Value = serde_json::from_slice(&lines.notice(&spoken.notice())).expect("JSON");
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            let mut fields = Vec::new();
            fields.extend(text("id").map(|id| ("encke-id", id)));
            fields.push(("encke-type", text("type").expect("a type")));
            fields.extend(
                line["data"]["reason"]
                    .as_str()
                    .filter(|_| matches!(spoken, Spoken::Gap { .. }))
                    .map(|reason| ("encke-gap", reason.to_owned())),
            );
            fields.extend(line["retry"].as_u64().map(|retry| ("encke-retry", retry.to_string())));
            let json = RENDERING.notice(&spoken.notice());
            let json = String::from_utf8(json.to_vec()).expect("UTF-8");
            let content = json.split_once("\r\n\r\n").expect("a head").1.split("\r\n--").next().expect("JSON");
            assert_eq!(serde_json::from_str::<Value>(content).expect("JSON"), line["data"]);
            Some((fields, content.as_bytes().to_vec()))
        }
        Item::Heartbeat => None,
    }
}

fn boundary() -> &'static str {
    RENDERING.content_type().strip_prefix("multipart/mixed;boundary=").expect("a boundary")
}
