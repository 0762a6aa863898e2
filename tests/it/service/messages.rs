//! What is written to standard error, byte by byte: a line stays a line whatever a client sends, and can be found by the
//! trace of whoever called.

use std::process::Command;

use serde_json::Value;

use super::{KEY, clean};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request, encoded};
use crate::support::wait_for;

/// What forges a line, steers a terminal, or changes how its neighbours read.
const EVIL: &str = "x\r\n2026-01-31T00:00:00Z ERROR forged\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{0}\u{7f}\u{85}\u{202e}\u{2066}\
                    \u{2028}\u{2029}\u{feff}\u{e0041}\"}{\\";

/// The same without what no header field can hold (RFC 9110 § 5.5).
fn in_a_field() -> String {
    EVIL.chars().filter(|c| !c.is_ascii_control()).chain(['\t']).collect()
}

/// Sends it in every place.
fn attack(gateway: &Gateway) {
    let (address, path, field) = (gateway.address(), encoded(EVIL), in_a_field());
    let post = |target: &str| Request::post(target, "x").bearer(KEY);
    let mut requests = vec![
        Request::get(&format!("/{path}")),
        Request::get(&format!("/events/{path}")),
        Request::get(&format!("/events/t/{field}").replace(['\t', ' '], "")),
        Request::get(&format!("/events?topic={path}&since={path}")),
        Request::get(&format!("/events/t?transport={path}")),
        Request::get(&format!("/events/t?{path}={path}&transport=long-poll&timeout=0")),
        Request::get("/events/t?transport=long-poll&timeout=0").field("Last-Event-ID", &field),
        Request::get("/events/t?timeout=0").field("Accept", &field),
        post(&format!("/events/{path}")),
        post(&format!("/events?topic={path}")),
        post(&format!("/events/t?type={path}")),
        post(&format!("/events/t?key={path}")),
        post(&format!("/events/t?{path}=1")),
        post("/events/t").content(EVIL),
        post("/events/t").content(EVIL).field("Content-Type", "application/json"),
        Request::new(&"M".repeat(300), "/events/t"),
        Request::of_line(format!("GET /{EVIL} HTTP/1.1")),
        Request::of_line(EVIL),
    ];
    for name in [
        "Authorization",
        "Content-Type",
        "Content-Encoding",
        "Idempotency-Key",
        "Origin",
        "Cookie",
        "User-Agent",
        "Referer",
        "X-Forwarded-For",
        "Forwarded",
        "Traceparent",
        "Tracestate",
        "X-Request-Id",
        "Via",
    ] {
        requests.push(post("/events/t").field(name, &field));
    }
    requests.push(post("/events/t").host(&field));
    for request in &requests {
        let mut connection = Connection::open(address);
        connection.offer(request.bytes());
        connection.finish();
        let _ = connection.rest();
    }
    for target in [format!("/{path}"), format!("/events/t?type={path}")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--http2-prior-knowledge", "--max-time", "60", "-d", "x", "-o", "/dev/null"]);
        for name in ["Authorization", "Traceparent", "X-Other"] {
            curl.args(["-H", &format!("{name}: {field}")]);
        }
        assert!(curl.arg(format!("{}{target}", gateway.url())).status().is_ok());
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

#[test]
fn nobody_forges_a_line_or_steers_a_terminal() {
    for format in ["text", "json"] {
        let args = ["--read", "public", "--log-level", "trace", "--log-format", format];
        let mut gateway = Gateway::start_with(&args, &[("ENCKE_PUBLISH_KEY", KEY)]);
        attack(&gateway);
        gateway.terminate();
        assert!(gateway.wait().success());
        let log = gateway.process().errors();
        assert!(log.contains("answered") && log.contains("status") && log.contains("forged"), "it saw them: {log}");
        for line in log.strip_suffix('\n').expect("the last line ends").split('\n') {
            assert!(!line.contains(is_hidden), "{}", line.escape_debug());
            if format == "json" {
                let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(value["timestamp"].is_string() && value["level"].is_string(), "{line}");
            } else {
                let (time, rest) = line.split_once(' ').expect("a time and a level");
                assert!(time.ends_with('Z') && time.len() == 27, "a line begins with its time: {line}");
                let level = rest.trim_start().split(' ').next().unwrap_or_default();
                assert!(matches!(level, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE"), "{line}");
                assert!(!line.starts_with("2026-01-31T00:00:00Z"), "{line}");
            }
        }
    }
}

#[test]
fn each_request_is_told_once_and_without_its_query() {
    let mut gateway = Gateway::start_with(
        &["--read", "public", "--log-level", "encke::http=debug", "--log-format", "json"],
        &[("ENCKE_PUBLISH_KEY", KEY)],
    );
    assert_eq!(Request::post("/events/orders/1?type=paid", "x").bearer(KEY).ask(gateway.address()).status, 201);
    assert_eq!(Request::get("/nothing?here=1").ask(gateway.address()).status, 404);
    gateway.terminate();
    assert!(gateway.wait().success());
    let log = gateway.process().errors();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<(&Value, &Value, &Value)> = lines
        .iter()
        .filter(|line| line["fields"]["message"] == "answered")
        .map(|line| (&line["span"]["method"], &line["span"]["path"], &line["fields"]["status"]))
        .collect();
    let expected = [("POST", "/events/orders/1", 201), ("GET", "/nothing", 404)];
    assert_eq!(told.len(), 2, "{log}");
    for ((method, path, status), expected) in told.into_iter().zip(expected) {
        assert_eq!((method.as_str(), path.as_str()), (Some(expected.0), Some(expected.1)));
        assert_eq!(status.as_u64(), Some(expected.2));
    }
    assert!(!log.contains("here=1") && !log.contains("type=paid"), "{log}");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

#[test]
fn what_is_said_of_a_publish_names_the_trace_of_its_publisher() {
    let mut gateway = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", KEY)]);
    std::fs::remove_dir_all(gateway.data_dir()).expect("the data directory is removed");
    let admin = gateway.admin_url().trim_start_matches("http://").to_owned();
    wait_for("the log to be read only", || Request::get("/health/ready?for=publish").ask(&admin).status == 503);
    let publish = |traceparent: &str| {
        let request = Request::post("/events/t", "x").bearer(KEY).field("Traceparent", traceparent);
        request.ask(gateway.address()).status
    };
    assert_eq!(publish(&traceparent(TRACE)), 503);
    assert_eq!(publish(&traceparent(&"0".repeat(32))), 503);
    assert_eq!(publish(&traceparent("not-a-trace")), 503);
    gateway.terminate();
    gateway.wait();
    let log = gateway.process().errors();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("a publish was refused")).collect();
    assert_eq!(refused.len(), 3, "{log}");
    assert!(refused[0].contains(&format!("trace_id=\"{TRACE}\"")), "{}", refused[0]);
    assert!(!log.contains("not-a-trace") && !log.contains(&"0".repeat(32)), "{log}");
}

#[test]
fn the_commands_pass_on_the_trace_of_their_environment() {
    let mut gateway = Gateway::start_with(
        &["--read", "public", "--log-level", "info,encke::http=debug"],
        &[("ENCKE_PUBLISH_KEY", KEY)],
    );
    let trace = |digit: &str| digit.repeat(32);
    let run = |digit: &str, args: &[&str]| {
        let mut command = clean(Command::new(env!("CARGO_BIN_EXE_encke")), args);
        command.args(["--url", gateway.url()]).env("TRACEPARENT", traceparent(&trace(digit)));
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("a", &["publish", "t", "one"]);
    run("b", &["subscribe", "t", "--from", "earliest", "--count", "1"]);
    let file = gateway.data_dir().join("lines");
    std::fs::write(&file, "two\n").expect("a file");
    run("c", &["tail", file.to_str().expect("a path of UTF-8"), "--topic", "t", "--from-start", "--once"]);
    let told = |gateway: &mut Gateway, digit: &str| {
        let trace = format!("trace_id=\"{}\"", trace(digit));
        wait_for("the request to be told", || {
            gateway.process().errors().lines().any(|line| line.contains("answered") && line.contains(&trace))
        });
    };
    for digit in ["a", "b", "c"] {
        told(&mut gateway, digit);
    }
    // One that means nothing stops nothing.
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_encke")), &["publish", "t", "three"]);
    command.args(["--url", gateway.url()]).env("TRACEPARENT", "a\nb");
    assert!(command.output().expect("it runs").status.success());
}
