//! What `/diagnosis` says of an nginx that cuts quiet streams, and `/streams` of such a stream: to programs, to people, and as
//! pictures for the documents.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::client::send;
use super::learnt::{self, NGINX};
use super::scraped::Scraped;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::nginx::{Configuration, Nginx};
use crate::support::wait_for;

/// How often it is tried to have a stream cut and back in time.
const MOST: usize = 10;

#[test]
fn the_diagnosis_names_the_setting_of_nginx_that_cuts_quiet_streams() {
    let gateway = Gateway::start(&["--dev", "--grace", "1"]);
    learnt::learn(&gateway);
    for (reason, path) in [("proxy_idle_timeout", NGINX), ("proxy_max_duration", "direct/h1.1/0")] {
        wait_for("the last cuts to be put down to the limit that they taught", || {
            let labels = [("reason", reason), ("path", path), ("transport", "sse")];
            Scraped::from(gateway.address()).sum("encke_stream_ends_total", &labels) > 0.0
        });
    }
    let told = send(gateway.address(), "GET", "/diagnosis", &[], "").body;
    let told: Value = serde_json::from_str(&told).expect("programs are given JSON");
    let paths = told["paths"].as_array().expect("a list");
    let path = paths.iter().find(|path| path["path"] == NGINX).expect("nginx is told by how it asks");
    let limit = path["idle_limit_s"].as_f64().expect("its patience is known");
    assert!((1.9..2.5).contains(&limit), "{limit}");
    let findings = path["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["kind"] == "idle_limit").expect("it is a finding");
    assert!(finding["advice"].as_str().is_some_and(|advice| advice.contains("proxy_read_timeout")), "{finding}");

    let shown = send(gateway.address(), "GET", "/diagnosis", &[("Accept", "text/html")], "").body;
    assert!(shown.contains(NGINX) && shown.contains("<code>proxy_read_timeout</code>"), "{shown}");
    picture(&gateway, "diagnosis", "1200,770");
    a_stream_that_it_cuts_is_told_of(&gateway);
}

/// One that nginx cuts is back at once, and beats below that patience from then on. Others are read, not read, or left.
#[track_caller]
fn a_stream_that_it_cuts_is_told_of(gateway: &Gateway) {
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).read_timeout("2s"));
    let (address, proxied) = (gateway.address(), nginx.authority());
    let (_plain, ..) = follow(address, &Request::get("/events/orders"));
    let (_lines, ..) = follow(address, &Request::get("/events/orders?transport=ndjson&heartbeat=60"));
    let (_slow, ..) = follow(address, &Request::get("/events/reports"));
    for _ in 0..30 {
        let answer = Request::post("/events/reports", "x".repeat(1 << 20)).ask(address);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let (leaves, id, _) = follow(address, &Request::get("/events/orders"));
    let goodbye = Request::post("/beacon", format!("{{\"stream\":\"{id}\",\"reason\":\"goodbye\"}}"));
    assert_eq!(goodbye.field("Content-Type", "text/plain").ask(address).status, 204);
    drop(leaves);

    let is_told = |words: &str| {
        let parts = ["by nginx over HTTP/1.0", "That is where this path cuts quiet streams (", "`proxy_idle_timeout`"];
        let returned = ["known by its session, was back", "missed nothing"];
        parts.iter().chain(&returned).all(|part| words.contains(part))
    };
    // Where the machine is busy, one is cut a little late, or is back when nobody waits for it any more.
    let mut told = Vec::new();
    let _back = (0..MOST).find_map(|_| {
        let (mut quiet, cut, cursor) = follow(&proxied, &Request::get("/events/orders?session=tab-7&heartbeat=600"));
        quiet.rest();
        let back = follow(&proxied, &Request::get("/events/orders?session=tab-7").field("Last-Event-ID", &cursor));
        told.push(story(address, &cut));
        told.last().is_some_and(|words| is_told(words)).then_some(back)
    });
    assert!(told.last().is_some_and(|words| is_told(words)), "{told:#?}");
    story(address, &id);
    picture(gateway, "streams", "1200,1010");
}

/// A stream that has said hello, its id, and where it began.
#[track_caller]
fn follow(address: &str, request: &Request) -> (Connection, String, String) {
    let mut stream = Connection::open(address);
    stream.send(request.clone().field("User-Agent", "curl/8.0").bytes());
    let head = stream.head();
    let named = |name| head.field(name).unwrap_or_else(|| panic!("no {name} in {head:?}"));
    stream.chunks_until("encke.hello");
    (stream, named("encke-stream"), named("encke-cursor"))
}

/// What became of a stream, in sentences, once that is known.
#[track_caller]
fn story(address: &str, id: &str) -> String {
    let mut told = Value::Null;
    wait_for("the story of one that ended", || {
        let shown = Request::get(&format!("/streams?stream={id}")).ask(address).json();
        told = shown.pointer("/ended/0/told").cloned().unwrap_or_default();
        told.is_string()
    });
    told.as_str().expect("the line above saw it").to_owned()
}

/// Has a page pictured, in so large a window.
#[track_caller]
fn picture(gateway: &Gateway, page: &str, size: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&directory).expect("a directory for the picture");
    let picture = directory.join(format!("{page}.png"));
    let _ = fs::remove_file(&picture);
    let (file, window) = (format!("--screenshot={}", picture.display()), format!("--window-size={size}"));
    let options = [&file[..], &window, "--hide-scrollbars"];
    let _browser = Browser::open(Kind::Chromium, &format!("{}/{page}", gateway.url()), &options);
    let is_whole =
        || fs::read(&picture).is_ok_and(|file| file.starts_with(b"\x89PNG") && file.ends_with(b"IEND\xaeB`\x82"));
    wait_for("the picture to be taken", is_whole);
}
