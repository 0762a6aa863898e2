//! Streams of events from real clients: Python's `http.client`, which reads nothing before it has written all, Node's
//! `fetch`, and curl in both versions of HTTP.

use std::process::Command;

use serde_json::{Value, json};

use super::{JSON, KEY, NDJSON, data, gateway, metric};
use crate::support::gateway::Gateway;
use crate::support::long;

/// What a client printed, which ended well.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn http_client(gateway: &Gateway, target: &str, lines: u32) -> Value {
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/http-client.py"));
    let told = printed(python.arg(gateway.address()).args([target, KEY, &lines.to_string()]));
    serde_json::from_str(&told).expect("what was told")
}

#[test]
fn python_writes_a_million_lines_before_it_reads() {
    let lines = if long() { 1_000_000 } else { 100_000 };
    for target in ["/events", "/events?ack=each"] {
        let mut gateway = gateway(&["--retention-events", "2000000"]);
        let told = http_client(&gateway, target, lines);
        assert_eq!((&told["status"], &told["last"]["published"]), (&json!(200), &json!(lines)), "{told}");
        assert_eq!(told["lines"], if target == "/events" { 1 } else { lines + 1 }, "{told}");
        assert_eq!(metric(&gateway, "encke_published_total"), f64::from(lines));
        let memory = peak(&gateway.process().id().to_string());
        assert!(memory < 300 << 20, "what is held of a stream is bounded: {memory} bytes");
    }
}

/// The most memory that a process ever had.
fn peak(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn node_publishes_an_array_and_lines() {
    let gateway = gateway(&[]);
    let script = format!(
        "const post = async (target, type, body) => {{
           const headers = {{ 'content-type': type, authorization: 'Bearer {KEY}' }};
           const answer = await fetch('{}' + target, {{ method: 'POST', headers, body, duplex: 'half' }});
           console.log(answer.status, (await answer.text()).trim().split('\\n').length);
         }};
         const lines = async function* () {{
           for (let n = 0; n < 3; n++) yield new TextEncoder().encode(JSON.stringify({{ topic: 't', data: n }}) + '\\n');
         }};
         await post('/events', '{JSON}', JSON.stringify([{{ topic: 't', data: 'a' }}, {{ topic: 't', data: 'b' }}]));
         await post('/events', '{NDJSON}', ReadableStream.from(lines()));
         await post('/events?ack=each', '{NDJSON}', ReadableStream.from(lines()));",
        gateway.url(),
    );
    let told = printed(Command::new("node").args(["--input-type=module", "--eval", &script]));
    assert_eq!(told, "201 1\n200 1\n200 4\n");
    assert_eq!(data(&gateway), ["a", "b", "0", "1", "2", "0", "1", "2"]);
}

#[test]
fn curl_streams_lines_in_every_version_of_http_and_waits_to_be_told_to_go_on() {
    let gateway = gateway(&[]);
    let lines: String = (0..2000).map(|number| format!("{{\"topic\":\"t\",\"data\":{number}}}\n")).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &lines).expect("it can be written");
    let path = file.path().display().to_string();
    for options in [
        &["--http1.1"][..],
        &["--http1.0"],
        &["--http2-prior-knowledge"],
        &["--http1.1", "--header", "Expect: 100-continue"],
        &["--http1.1", "--header", "Transfer-Encoding: chunked"],
    ] {
        for (target, told) in [("/events", 1), ("/events?ack=each", 2001)] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--fail", "--max-time", "60"]).args(options);
            curl.args([
                "--header",
                &format!("Content-Type: {NDJSON}"),
                "--header",
                &format!("Authorization: Bearer {KEY}"),
            ]);
            curl.args(["--data-binary", &format!("@{path}"), &format!("{}{target}", gateway.url())]);
            let answer = printed(&mut curl);
            assert_eq!(answer.lines().count(), told, "{options:?} {target}");
            assert!(answer.contains("\"published\":2000,\"duplicates\":0,\"refused\":0"), "{options:?} {target}");
        }
    }
    assert_eq!(metric(&gateway, "encke_published_total"), 20_000.0);
}
