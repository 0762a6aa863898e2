//! What pages of other origins are given: what everybody may read, and nothing that the browser's own credentials or a key
//! would open.

use std::io::Write;

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};

const KEY: &str = "correct-horse-battery-staple";

/// Everybody may read all but `shut/**`.
fn gateway() -> (Gateway, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let rule = "[[topics]]\nmatch = \"shut/**\"\nread = \"key\"\npublish = \"key\"\n";
    file.write_all(rule.as_bytes()).expect("it can be written");
    let config = file.path().to_str().expect("UTF-8").to_owned();
    let args = ["--config", &config, "--store", "memory", "--read", "public", "--cors-origin", "*"];
    let gateway = Gateway::start_with(&args, &[("ENCKE_PUBLISH_KEY", KEY)]);
    for topics in ["open/a", "shut/a", "open/b?topic=shut/b", "shut/c?topic=open/c"] {
        let answer = Request::post(&format!("/events/{topics}"), "x").bearer(KEY).ask(gateway.address());
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    (gateway, file)
}

fn ask(gateway: &Gateway, target: &str, keyed: bool) -> Answer {
    let request = Request::get(&format!("/events{target}&transport=poll&last=9"));
    let request = request.field("Origin", "https://elsewhere.example");
    let request = if keyed { request.bearer(KEY) } else { request };
    request.ask(gateway.address())
}

#[test]
fn any_origin_may_read_what_everybody_may_and_nothing_else() {
    let (gateway, _file) = gateway();
    for (target, keyed, status, shared) in [
        ("/open/a?", false, 200, true),
        ("?topic=**", false, 200, true),
        ("/open/a?", true, 200, true),
        ("/shut/a?", false, 401, false),
        ("/shut/a?", true, 200, false),
        ("?topic=open/a&topic=shut/a", true, 200, false),
        ("?topic=**", true, 200, false),
    ] {
        let answer = ask(&gateway, target, keyed);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        let resources = if shared { "cross-origin" } else { "same-origin" };
        assert_eq!(answer.field("cross-origin-resource-policy").as_deref(), Some(resources), "{target} {keyed}");
        if status == 200 {
            let allowed = answer.field("access-control-allow-origin");
            assert_eq!(allowed.as_deref(), shared.then_some("*"), "{target}, keyed: {keyed}");
        }
    }
}

#[test]
fn who_may_read_only_some_topics_of_an_event_is_shown_those() {
    let (gateway, _file) = gateway();
    for transport in ["poll", "ndjson", "sse&envelope=json", "multipart-mixed"] {
        let target = format!("/events?topic=**&last=9&limit=3&transport={transport}");
        for _ in 0..2 {
            // Whoever may read all comes first, and with it what is rendered for it.
            let all = Request::get(&target.replace("limit=3", "limit=4")).bearer(KEY).ask(gateway.address()).text();
            for topic in ["open/b", "shut/b", "shut/c", "open/c", "shut/a"] {
                assert!(all.contains(topic), "{transport}: {topic} in {all}");
            }
            let shown = Request::get(&target).ask(gateway.address()).text();
            assert!(!shown.contains("shut"), "{transport}: {shown}");
            for topic in ["open/a", "open/b", "open/c"] {
                assert!(shown.contains(topic), "{transport}: {topic} in {shown}");
            }
        }
    }
}

#[test]
fn a_page_of_another_origin_embeds_public_topics_alone() {
    let (gateway, _file) = gateway();
    let status = |topic: &str, transport: &str, fields: &[(&str, &str)]| {
        let request = Request::get(&format!("/events/{topic}?transport={transport}&limit=1")).bearer(KEY);
        let request = fields.iter().fold(request, |request, (name, value)| request.field(name, value));
        request.ask(gateway.address()).status
    };
    let embedded = |site| [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")];
    for (topic, site, expected) in [
        ("open/a", "cross-site", 200),
        ("shut/a", "cross-site", 403),
        ("shut/a", "same-site", 403),
        ("shut/a", "same-origin", 200),
        ("shut/a", "none", 200),
    ] {
        assert_eq!(status(topic, "multipart-replace", &embedded(site)), expected, "{topic} from {site}");
    }
    assert_eq!(status("shut/a", "multipart-replace", &[]), 200, "no browser");
    let by_script = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors")];
    assert_eq!(status("shut/a", "multipart-replace", &by_script), 200, "CORS decides who reads it");
    let opened = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    assert_eq!(status("shut/a", "multipart-replace", &opened), 200, "a link, not a picture");
}
