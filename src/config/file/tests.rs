//! What a file may say, and what it is told when it says something else.

use std::time::Duration;

use super::super::{Keep, Quota, Who, source};
use super::*;

fn names() -> source::Names {
    source::Names { transports: vec![("sse", ""), ("ndjson", "")], stores: vec![("sqlite", ""), ("memory", "")] }
}

fn read(text: &str) -> Result<File, Vec<String>> {
    let command = source::command(&names()).no_binary_name(true);
    parse(Path::new("f"), text, &command)
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let told = read(text).err().unwrap_or_default();
    assert_eq!(told.len(), expected.len(), "{text:?} told {told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with("f:") && told.contains(expected), "{text:?} told {told:?}, not {expected:?}");
    }
}

#[test]
fn options_are_written_as_texts_numbers_flags_and_lists() {
    let file = read(
        "listen = \"127.0.0.1:0\"\nheartbeat = 20\nretention-events = 1_000\nhead-bytes = 0x4000\npages = true\n\
         host = [\"a\", \"b\"]\ncors-origin = \"https://a.example\"\ntransports = []\nretention-age = '''2d'''\n",
    );
    let file = file.expect("a good file");
    let said: Vec<_> = file.options.iter().map(|entry| format!("{}={}", entry.name, entry.values.join(","))).collect();
    let expected = [
        "listen=127.0.0.1:0",
        "heartbeat=20",
        "retention-events=1000",
        "head-bytes=16384",
        "pages=true",
        "host=a,b",
        "cors-origin=https://a.example",
        "transports=",
        "retention-age=2d",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_wrong_value_is_told_with_its_place_and_what_is_right() {
    check("heartbeat = 4", &["f:1:13: heartbeat: 4 is not in 5..=3600"]);
    check("\n\n  heartbeat = \"x\"\n", &["f:3:15: heartbeat: use a whole number"]);
    check("heartbeat = 20.5", &["f:1:13: heartbeat: this is a number with a fraction; write a text or a whole number"]);
    check("heartbeat = [20]", &["f:1:13: heartbeat: this is a list"]);
    check("store = \"file\"", &["f:1:9: store: use one of sqlite, memory"]);
    check("transports = [\"sse\", \"wap\"]", &["f:1:22: transports: use one of sse, ndjson"]);
    check("retention-age = 7", &["use a form like 90s, 12h or 7d"]);
    check("head-bytes = 9223372036854775808", &["f:1:14: "]);
    check("pages = \"yes\"", &["f:1:9: pages: this is a text; write pages = true, or false"]);
    check("cors-origin = [\"https://a.example\", \"b.example\"]", &["f:1:37: cors-origin: an origin is a scheme"]);
    check("log-level = \"encke=loud\"", &["f:1:13: log-level: "]);
    check("retry = \"5s-2s\"", &["f:1:9: retry: use a range like 2s-5s"]);
    check("# ä\nhost = [\"ä\", 1.5]", &["f:2:14: host: "]);
}

#[test]
fn an_unknown_key_is_told_with_what_may_have_been_meant() {
    check("hartbeat = 20", &["f:1:1: there is no option `hartbeat`; did you mean `heartbeat`?"]);
    check("retention_events = 20", &["did you mean `retention-events`?"]);
    check("Listen = \"127.0.0.1:0\"", &["did you mean `listen`?"]);
    check("[[topic]]\nmatch = \"a\"", &["f:1:3: there is no option `topic`; did you mean `topics`?"]);
    check("[server]\nport = 1", &["there is no table `server`; options stand at the top of the file"]);
    check("colour = \"red\"", &["there is no option `colour`; docs/configuration.md"]);
    check("config = \"other.toml\"", &["there is no option `config`"]);
}

#[test]
fn a_key_does_not_stand_in_the_file_and_is_not_repeated() {
    for (name, file) in [
        ("publish-key", "publish-key-file"),
        ("publish_key", "publish-key-file"),
        ("key", "publish-key-file"),
        ("admin-key", "admin-key-file"),
        ("admin_key", "admin-key-file"),
    ] {
        let told = read(&format!("{name} = \"hunter2-hunter2-hunter2\"")).expect_err("refused").join("\n");
        assert!(told.contains("f:1:1: ") && told.contains(&format!("name that with {file}")), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    check("listen = 127.0.0.1:0", &["f:1:15: this is no TOML: "]);
    check("a", &["f:1:"]);
    // What was understood is looked at too.
    check("heartbeat = 4\nlisten = \"x\nstore = \"file\"\n", &["f:1:13: heartbeat", "f:2:", "f:3:9: store"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_its_order() {
    check(
        "[[topics]]\nmatch = \"a*\"\nread = \"all\"\n",
        &["f:2:9: match: ", "f:3:8: read: use \"key\" (key holders) or \"public\" (everybody)"],
    );
    check("stor = 1\nheartbeat = 1\npages = 1\n", &["f:1:1: ", "f:2:13: ", "f:3:9: "]);
}

#[test]
fn rules_for_topics_are_read_in_their_order() {
    let file = read(
        "[[topics]]\nmatch = \"orders/**\"\nread = \"public\"\npublish = \"key\"\n\
         keep = { events = 10, age = \"1h\", bytes = \"1KiB\" }\nttl = \"30s\"\nquota = \"6000/m\"\n\
         [[topics]]\nmatch = \"a\"\n[topics.keep]\nbytes = 10\n",
    );
    let rules = file.expect("a good file").topics;
    let [orders, a] = &rules[..] else { panic!("two rules: {rules:?}") };
    assert_eq!(orders.written, "orders/**");
    assert_eq!((orders.read, orders.publish), (Some(Who::Public), Some(Who::Key)));
    let keep = Keep { events: Some(10), age: Some(Duration::from_secs(3600)), bytes: Some(1024) };
    assert_eq!(orders.keep, keep);
    assert_eq!(orders.ttl, Some(Duration::from_secs(30)));
    assert_eq!(orders.quota, Some(Quota { events: 6000, per: Duration::from_secs(60) }));
    assert_eq!((a.read, a.publish, a.ttl, a.quota), (None, None, None, None));
    assert_eq!(a.keep, Keep { bytes: Some(10), ..Keep::default() });
}

#[test]
fn a_rule_that_cannot_be_is_told_with_its_place() {
    let rule = |line: &str| format!("[[topics]]\nmatch = \"a\"\n{line}\n");
    check(&rule("read = \"token\""), &["f:3:8: read: `token` is a word of a later release"]);
    check(&rule("publish = \"ask\""), &["f:3:11: publish: `ask` is a word of a later release"]);
    check(&rule("raed = \"key\""), &["f:3:1: a rule has no `raed`; did you mean `read`?"]);
    check(&rule("colour = 1"), &["f:3:1: a rule has no `colour`; there are match, read, publish, keep, ttl, quota"]);
    check(
        &rule("heartbeat = 20"),
        &["f:3:1: `heartbeat` is an option, not a part of a rule: it stands above [[topics]]"],
    );
    check(&rule("keep = \"1h\""), &["f:3:8: keep: this is a text; write keep = {"]);
    check(&rule("keep = { age = 1, size = 2 }"), &["f:3:16: age: ", "f:3:19: keep has no `size`"]);
    check(&rule("quota = \"100/h\""), &["f:3:9: quota: use a number of events a second or a minute"]);
    check(&rule("ttl = 5"), &["f:3:7: ttl: use a form like"]);
    check("[[topics]]\nread = \"key\"", &["f:1:1: a rule needs the topics that it is for"]);
    check("[[topics]]\nmatch = 1.5", &["f:2:9: match: this is a number with a fraction"]);
    check("[[topics]]\nmatch = \"a*\"", &["f:2:9: match: "]);
    check("[topics]\nmatch = \"a\"", &["f:1:"]);
    check("topics = [1]", &["f:1:10: rules for topics are tables of their own"]);
}

#[test]
fn a_rule_that_can_never_match_is_told() {
    check("[[topics]]\nmatch = \"a\"\n[[topics]]\nmatch = \"a\"", &["f:4:9: this rule has no effect: `a` above it"]);
    check("[[topics]]\nmatch = \"**\"\n[[topics]]\nmatch = \"b\"", &["f:4:9: this rule has no effect: `**` above it"]);
    check("[[topics]]\nmatch = \"a\"\n[[topics]]\nmatch = \"**\"", &[]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Lines of what such files are made of, and of anything else.
    #[test]
    fn whatever_a_file_holds_each_fault_has_a_place_in_it(
        lines in proptest::collection::vec(
            proptest::prop_oneof![
                "(host|heartbeat|retry|pages|topics|match|keep|ü) ?= ?(\"[^\"]{0,6}\"|[0-9.]{1,4}|\\[\"a\", 1\\]|\\{ age = 1 \\}|true)?",
                "\\[{1,2}(topics|topics.keep|x)\\]{1,2}",
                "\\PC{0,20}",
            ],
            0..8,
        )
    ) {
        let text = lines.join("\n");
        for told in read(&text).err().unwrap_or_default() {
            let mut place = told.split(':').skip(1).map(|part| part.parse::<usize>().unwrap_or(0));
            let (line, column) = (place.next().unwrap_or(0), place.next().unwrap_or(0));
            let length = text.split('\n').nth(line.saturating_sub(1)).map(|line| line.chars().count());
            proptest::prop_assert!(line > 0 && column > 0 && length.is_some_and(|length| column <= length + 1), "{told}");
        }
    }
}
