//! Rules for topics, as clients meet them.

use super::{Files, KEY, publish, read};
use crate::support::http::Request;

const RULES: &str = "[[topics]]\nmatch = \"news/secret\"\n\
                     [[topics]]\nmatch = \"news/**\"\nread = \"public\"\n\
                     [[topics]]\nmatch = \"box/*\"\npublish = \"public\"\n";

#[test]
fn the_first_rule_that_matches_says_who_may_read_and_publish() {
    let gateway = Files::with(RULES).gateway();
    for topic in ["news/a", "news/secret", "box/a", "other"] {
        assert_eq!(publish(&gateway, topic, "x").status, 201, "{topic}");
    }
    let anonymous = |topic: &str| Request::post(&format!("/events/{topic}"), "y").ask(gateway.address()).status;
    for (topic, reads, publishes) in
        [("news/a", 200, 401), ("news/secret", 401, 401), ("box/a", 401, 201), ("other", 401, 401)]
    {
        assert_eq!((read(&gateway, topic).status, anonymous(topic)), (reads, publishes), "{topic}");
    }
    let wrong = Request::post("/events/box/a", "y").bearer("another-key-than-this-one").ask(gateway.address());
    assert_eq!(wrong.status, 401, "whoever means to come with a key is told that it is wrong");
    let all = read(&gateway, "**").json();
    let topics: Vec<_> = all["events"].as_array().expect("a list").iter().map(|event| event["topic"].clone()).collect();
    assert_eq!(topics, ["news/a"], "a glob gives what may be read of it");
}

#[test]
fn reading_may_be_public_but_for_what_a_rule_keeps() {
    let rules = "read = \"public\"\n[[topics]]\nmatch = \"secret/**\"\nread = \"key\"\n";
    let gateway = Files::with(rules).gateway();
    assert_eq!((read(&gateway, "a").status, read(&gateway, "secret/a").status), (200, 401));
    let with_key = Request::get("/events/secret/a?transport=long-poll&timeout=0").bearer(KEY).ask(gateway.address());
    assert_eq!(with_key.status, 200);
}

#[test]
fn under_dev_everybody_may_whatever_the_rules_say() {
    let files = Files::with("dev = true\n[[topics]]\nmatch = \"**\"\nread = \"key\"\n");
    let mut gateway = crate::support::gateway::Gateway::start(&["--dev", "--config", &files.file()]);
    assert_eq!(Request::post("/events/a", "x").ask(gateway.address()).status, 201);
    assert_eq!(read(&gateway, "a").status, 200);
    let errors = gateway.process().errors();
    assert!(errors.contains("under --dev everybody may read and publish"), "{errors}");
}

#[test]
fn a_rule_s_quota_holds_for_all_its_topics_together_and_another_may_take_its_place() {
    let files = Files::with("[[topics]]\nmatch = \"free\"\n[[topics]]\nmatch = \"**\"\nquota = \"2/m\"\n");
    let mut gateway = files.gateway();
    assert_eq!([publish(&gateway, "a", "x").status, publish(&gateway, "b", "x").status], [201, 201]);
    let refused = publish(&gateway, "c", "x");
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait = refused.field("retry-after").and_then(|wait| wait.parse::<u64>().ok());
    assert!(wait.is_some_and(|wait| (1..=30).contains(&wait)), "{refused:?}");
    assert_eq!(publish(&gateway, "free", "x").status, 201);
    files.write("encke.toml", "[[topics]]\nmatch = \"**\"\nquota = \"1000/s\"\n");
    super::reload::reload(&mut gateway, super::reload::READ_AGAIN);
    assert_eq!(publish(&gateway, "c", "x").status, 201);
}
