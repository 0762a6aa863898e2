//! Paths that hold what is written: clients that say what they got, what is done for them, and that they get their events.

use std::thread;

use super::{beacon, follow};
use crate::support::browser::{Browser, Kind};
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::nginx::{Configuration, Nginx};
use crate::support::page_server::PageServer;

/// What a path is found to do, by the texts of its findings.
fn findings(gateway: &Gateway) -> String {
    Request::get("/diagnosis").ask(gateway.address()).json()["paths"][0]["findings"].to_string()
}

fn say(gateway: &Gateway, stream: &str, more: &str) {
    assert_eq!(beacon(&format!("{{\"stream\":\"{stream}\"{more}}}")).ask(gateway.address()).status, 204);
}

#[test]
fn a_client_says_when_it_has_its_stream_and_up_to_where() {
    let gateway = Gateway::start(&["--dev"]);
    let (mut stream, id, cursor) = follow(&gateway, &Request::get("/events/said?beacon=1"));
    say(
        &gateway,
        &id,
        &format!(",\"cursor\":\"{cursor}\",\"age_ms\":0,\"n\":0,\"bytes\":99,\"stalls\":[],\"visible\":true"),
    );
    assert_eq!(gateway.metric("encke_receipt_delay_seconds_count", &[]), 1.0);
    assert_eq!(Request::post("/events/said", "one").ask(gateway.address()).status, 201);
    stream.chunks_until("data: one");
    // What it says more is no second receipt, and words that cannot be meant change nothing.
    for more in [",\"cursor\":\"00000000-99999999999999999999\"", ",\"age_ms\":-1", ",\"age_ms\":1e300", ""] {
        say(&gateway, &id, more);
    }
    assert_eq!(gateway.metric("encke_receipt_delay_seconds_count", &[]), 1.0);
    assert_eq!(gateway.metric("encke_receipts_missing_total", &[]), 0.0);

    let wrong = Request::get("/events/said?beacon=yes").ask(gateway.address());
    assert!(wrong.status == 400 && wrong.text().contains("`beacon` is a flag"), "{}", wrong.text());
}

/// A browser's request for a stream, through something that names its client.
fn through(target: &str, client: usize) -> Request {
    let request = Request::get(target).field("Via", "1.1 it").field("X-Forwarded-For", format!("203.0.{client}.1"));
    request.field("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0")
}

/// Clients behind something that holds answers until they end: they say that they have their stream only then.
fn held(gateway: &Gateway, names: [&str; 3]) -> String {
    thread::scope(|scope| {
        let clients = [0, 1, 2].map(|client| {
            let name = names[client];
            let (mut stream, id, _) =
                follow(gateway, &through(&format!("/events/held?beacon=1&session={name}"), client));
            (id, scope.spawn(move || stream.chunks_until("encke.bye")))
        });
        clients.map(|(id, reading)| {
            let read = reading.join().expect("no panic");
            say(gateway, &id, "");
            read
        })
    })
    .join("")
}

/// Waits until so many ends are decided in all, notes those that are new, and holds that they were called `held`.
#[track_caller]
fn told(gateway: &Gateway, before: &Ends, new: u64) {
    let after = confusion::wait_for_ends(gateway, before.values().sum::<u64>() + new);
    let ends = confusion::since(before, &after);
    confusion::note_ends("held", Limit::Known, &ends);
    assert_eq!(ends, Ends::from([("held".to_owned(), new)]));
}

#[test]
fn a_path_that_holds_answers_is_given_padding_and_then_streams_that_end() {
    let gateway = Gateway::start(&["--dev"]);
    let read = held(&gateway, ["a", "b", "c"]);
    assert!(read.contains("\"reason\":\"held\"") && read.len() > 3 * 127 * 1024, "{} bytes", read.len());
    told(&gateway, &Ends::new(), 3);
    assert_eq!(gateway.metric("encke_receipts_missing_total", &[]), 3.0);
    assert!(findings(&gateway).contains("streams begin with padding"), "{}", findings(&gateway));

    // One that says nothing of itself begins with padding, too, if it comes by that path; and if not, not.
    let first = |request: Request| {
        let mut stream = Connection::open(gateway.address());
        stream.send(request.bytes());
        assert_eq!(stream.head().status, 200);
        stream.chunks_until("encke.hello").len()
    };
    assert!(first(through("/events/held", 9)) > 16 * 1024);
    let curl = |target: &str| through(target, 9).without("User-Agent").field("User-Agent", "curl/8");
    assert!(first(curl("/events/held")) < 1024, "it may not come back by itself");
    assert!(first(Request::get("/events/held")) < 1024);

    let before = confusion::wait_for_ends(&gateway, 6);
    held(&gateway, ["a", "b", "c"]);
    told(&gateway, &before, 3);
    assert!(findings(&gateway).contains("streams end after each event"), "{}", findings(&gateway));
    let before = confusion::ends(&gateway);
    let mut stream = Connection::open(gateway.address());
    stream.send(through("/events/held", 9).bytes());
    assert_eq!(stream.head().status, 200);
    stream.chunks_until("encke.hello");
    assert_eq!(Request::post("/events/held", "at last").ask(gateway.address()).status, 201);
    let end = stream.chunks_until("encke.bye");
    assert!(end.contains("data: at last") && end.contains("\"reason\":\"held\""), "{end}");
    assert_eq!(stream.chunk(), None, "it has ended");
    told(&gateway, &before, 1);
    // Others are left as they are: their clients may not come back by themselves.
    let mut lines = Connection::open(gateway.address());
    lines.send(through("/events/held?transport=ndjson", 9).bytes());
    assert_eq!(lines.head().status, 200);
    lines.chunks_until("encke.hello");
    for data in ["one", "two"] {
        assert_eq!(Request::post("/events/held", data).ask(gateway.address()).status, 201);
        lines.chunks_until(data);
    }
}

/// A page as it may be written: it says what it has when its stream begins, and now and then.
const PAGE: &str = r#"
let stream, begun, cursor;
const say = () => stream && navigator.sendBeacon("BASE/beacon",
  JSON.stringify({ stream, cursor, all: true, age_ms: performance.now() - begun }));
const source = new EventSource("BASE/events/held/page?beacon=1&session=page");
source.addEventListener("encke.hello", (event) => {
  [stream, begun, cursor] = [JSON.parse(event.data).stream, performance.now(), event.lastEventId || cursor];
  say();
});
source.onerror = () => { stream = undefined; };
source.onmessage = (event) => {
  cursor = event.lastEventId;
  report(event.data);
};
setInterval(say, 1000);
report("open");
"#;

#[test]
fn a_page_behind_an_nginx_that_buffers_gets_its_events_all_the_same() {
    let gateway = Gateway::start(&["--dev"]);
    let buffering = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; gzip off;";
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).in_server(buffering));
    let server = PageServer::of_script(&PAGE.replace("BASE", &nginx.url()));
    let _browser = Browser::open(Kind::Chromium, &server.url("/"), &[]);
    assert_eq!(server.result(), "open");
    crate::support::wait_for("the stream", || gateway.metric("encke_streams_active", &[]) > 0.0);
    for data in ["one", "two", "three"] {
        assert_eq!(Request::post("/events/held/page", data).ask(gateway.address()).status, 201);
        assert_eq!(server.result(), data);
    }
    assert!(gateway.metric("encke_stream_ends_total", &["reason=\"held\""]) >= 1.0);
}
