//! More connections than the limit of open files allows: those beyond are told to come back, and the rest goes on.

use std::process::Command;

use super::publish::assert_stored;
use super::start::directory;
use super::{KEY, assert_refused};
use crate::support::gateway::Addresses;
use crate::support::http::{Connection, Request};
use crate::support::process::Process;
use crate::support::wait_for;

/// The third part of 64 descriptors.
const ROOM: usize = 21;

fn metric(admin: &str, name: &str) -> f64 {
    let text = Request::get("/metrics").ask(admin).text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is no {name}")).parse().expect("a number")
}

#[test]
fn a_gateway_near_its_limit_of_files_refuses_clients_and_answers_its_operator() {
    let data = directory();
    let mut command = Command::new("sh");
    // The soft limit is raised to the hard one.
    command.args(["-c", "ulimit -Sn 40; ulimit -Hn 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_encke"), "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--read", "public", "--data"]).arg(data.path());
    command.args(["--cors-origin", "https://app.example"]).env("ENCKE_PUBLISH_KEY", KEY);
    let mut process = Process::spawn(command);
    let Addresses { public, admin } = Addresses::told_by(&mut process, false).expect("it listens");
    let [address, admin] = [public, admin].map(|url| url.expect("an address").trim_start_matches("http://").to_owned());

    let mut publisher = Connection::open(&address);
    let publish = Request::post("/events/t", "x").bearer(KEY);
    publisher.send(publish.bytes());
    assert_stored("the first", &publisher.answer());
    let subscribe =
        Request::get("/events/t").field("Accept", "text/event-stream").field("Origin", "https://app.example");
    let mut streams = Vec::new();
    for _ in 1..ROOM {
        let mut stream = Connection::open(&address);
        stream.send(subscribe.bytes());
        assert!(stream.head().field("encke-stream").is_some());
        streams.push(stream);
    }
    for _ in 0..40 {
        let mut refused = Connection::open(&address);
        refused.send(subscribe.bytes());
        let answer = refused.answer();
        assert_eq!(answer.status, 200, "anything else would end an EventSource for good: {answer:?}");
        assert_eq!(answer.field("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(answer.field("access-control-allow-origin").as_deref(), Some("https://app.example"));
        assert!(answer.text().starts_with("retry: 5000\n: ") && answer.text().contains("too many connections"));
        assert_eq!(refused.rest(), b"", "it is closed");
    }
    let large = Request::post("/events/t", "x".repeat(500_000)).bearer(KEY);
    for request in [Request::get("/events/t?transport=ndjson"), publish.clone(), large, Request::get("/elsewhere")] {
        let mut refused = Connection::open(&address);
        refused.offer(request.bytes());
        let answer = refused.answer();
        assert_refused("no room", &answer, 503, "too many connections");
        assert_eq!(answer.field("retry-after").as_deref(), Some("5"));
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
    }
    // Those that are silent take no descriptor of anybody's but their own few.
    let silent: Vec<_> = (0..40).map(|_| Connection::open(&address)).collect();
    assert_eq!(Request::get("/health/live").ask(&admin).status, 200);
    assert!(metric(&admin, "encke_connections_refused_total") >= 44.0);
    assert_eq!(metric(&admin, "encke_accept_errors_total"), 0.0);
    publisher.send(publish.bytes());
    assert_stored("on an open connection", &publisher.answer());
    for stream in &mut streams {
        stream.chunks_until("data: x");
    }

    drop(silent);
    streams.pop();
    wait_for("a place to be free", || {
        let mut stream = Connection::open(&address);
        stream.send(subscribe.bytes());
        let came = stream.head().field("encke-stream").is_some();
        streams.push(stream);
        came
    });
    let errors = process.errors();
    assert_eq!(errors.matches("WARN").count(), 1, "one warning a minute: {errors}");
    assert!(errors.contains("more connections than allowed"), "{errors}");
}
