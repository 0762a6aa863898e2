//! Behind a real Varnish that looks everything up, whatever credentials and cookies it comes with: nobody sees what is not
//! his, and nobody misses an event or is given one twice.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};
use crate::support::varnish::Varnish;

const KEY: &str = "correct-horse-battery-staple";

/// As bold as a cache can be that heeds what answers say of themselves: it passes nothing by, keeps what may be kept for as
/// long as it can, and gives what is stale while it asks anew.
const BOLD: &str = "
    sub vcl_recv {
        if (req.method == \"GET\" || req.method == \"HEAD\") { return (hash); }
    }
    sub vcl_backend_response { set beresp.grace = 1h; }
    sub vcl_deliver { set resp.http.X-Hits = obj.hits; }
";

/// How a reader asks.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Its cursor in the target.
    InTarget,
    /// Always the same target, its cursor in `Last-Event-ID`.
    InField,
    /// As `InTarget`, with a cookie of its own.
    WithCookie,
    /// As `InTarget`, with the key.
    WithKey,
}

struct Reader {
    way: Way,
    cursor: String,
    seen: Vec<u64>,
}

impl Reader {
    fn new(way: Way, cursor: &str) -> Self {
        Self { way, cursor: cursor.to_owned(), seen: Vec::new() }
    }

    /// Asks once, and goes on from where the answer says.
    fn poll(&mut self, authority: &str) -> Answer {
        let target = |cursor: &str| format!("/events/news?transport=poll&lastEventId={cursor}");
        let request = match self.way {
            Way::InTarget => Request::get(&target(&self.cursor)),
            Way::InField => Request::get(&target("earliest")).field("Last-Event-ID", &self.cursor),
            Way::WithCookie => Request::get(&target(&self.cursor)).field("Cookie", "visitor=7"),
            Way::WithKey => Request::get(&target(&self.cursor)).bearer(KEY),
        };
        let answer = request.ask(authority);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(body.get("gap"), None, "{body}");
        let number =
            |event: &Value| event["data"].as_str().and_then(|data| data.parse::<u64>().ok()).expect("a number");
        self.seen.extend(body["events"].as_array().expect("a list").iter().map(number));
        self.cursor = body["cursor"].as_str().expect("a cursor").to_owned();
        answer
    }
}

fn publish(gateway: &Gateway, number: u64) {
    let private = if number.is_multiple_of(3) { "?private=1" } else { "" };
    let answer =
        Request::post(&format!("/events/news{private}"), number.to_string()).bearer(KEY).ask(gateway.address());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// So many readers ask so many times, while events are published between their polls, every third of them private.
#[test]
fn nobody_behind_a_shared_cache_sees_what_is_not_his_or_misses_what_is() {
    const EVENTS: u64 = 60;
    let gateway = Gateway::start_with(&["--store", "memory", "--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let varnish = Varnish::start(gateway.address(), BOLD);
    let authority = varnish.authority();
    publish(&gateway, 1);
    let ways = [Way::InTarget, Way::InTarget, Way::InField, Way::WithCookie, Way::WithKey, Way::InTarget];
    let mut readers: Vec<_> = ways.map(|way| Reader::new(way, "earliest")).into();
    let mut hits = 0;
    for number in 2..=EVENTS {
        for reader in &mut readers {
            let answer = reader.poll(&authority);
            let shared = answer.field("cache-control").as_deref() == Some("public, max-age=1");
            assert_eq!(shared, matches!(reader.way, Way::InTarget), "{:?}: {answer:?}", reader.way);
            let hit = answer.field("x-hits").is_some_and(|hits| hits != "0");
            assert!(!hit || shared, "{:?} was given what is not shared: {answer:?}", reader.way);
            hits += usize::from(hit);
        }
        publish(&gateway, number);
    }
    // Asked of the gateway itself, so that no answer of a second ago comes between.
    readers.iter_mut().for_each(|reader| drop(reader.poll(gateway.address())));
    assert!(hits > 0, "the cache is there to answer for the gateway");
    for reader in readers {
        let expected: Vec<u64> =
            (1..=EVENTS).filter(|number| matches!(reader.way, Way::WithKey) || !number.is_multiple_of(3)).collect();
        assert_eq!(reader.seen, expected, "{:?}", reader.way);
    }
}

/// What a stale answer is asked for anew with, `If-None-Match`, is not where the target begins: the answer is whole.
#[test]
fn an_answer_that_a_cache_revalidates_is_whole() {
    let gateway = Gateway::start_with(&["--store", "memory", "--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let varnish = Varnish::start(
        gateway.address(),
        "sub vcl_recv { return (hash); }
         sub vcl_backend_response { set beresp.ttl = 0s; set beresp.grace = 0s; set beresp.keep = 1h; return (deliver); }",
    );
    let authority = varnish.authority();
    let mut all = BTreeSet::new();
    for number in [1, 2, 4, 5, 7, 8] {
        publish(&gateway, number);
        all.insert(number);
        for _ in 0..3 {
            let mut reader = Reader::new(Way::InTarget, "earliest");
            reader.poll(&authority);
            assert_eq!(reader.seen, all.iter().copied().collect::<Vec<_>>());
        }
    }
}
