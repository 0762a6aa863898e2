//! What was said in confidence stays so: not in the log at its loudest, not in metrics, not in a refusal.

use std::process::Command;
use std::time::Duration;

use super::KEY;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Connection, Request};

/// The key of operators.
const ADMIN_KEY: &str = "an-admin-key-d0e1f2a3b4c5";

/// What a client sends that nobody else may learn, each in a place of its own.
const SECRETS: [&str; 10] = [
    KEY,
    "wrong-key-b2c3d4e5f6a7",
    "basic-c3d4e5f6a7b8",
    "cookie-d4e5f6a7b8c9",
    "query-e5f6a7b8c9d0",
    "data-f6a7b8c9d0e1",
    "idempotency-a7b8c9d0e1f2",
    "broken-b8c9d0e1f2a3",
    "other-field-c9d0e1f2a3b4",
    ADMIN_KEY,
];

#[test]
fn secrets_are_in_no_log_no_metric_and_no_refusal() {
    for format in ["text", "json"] {
        let args = ["--read", "public", "--log-level", "trace", "--log-format", format];
        let mut gateway = Gateway::start_with(&args, &[("ENCKE_PUBLISH_KEY", KEY), ("ENCKE_ADMIN_KEY", ADMIN_KEY)]);
        let answers = drive(gateway.address());
        assert!(answers.len() > 20 && answers.iter().any(|answer| answer.status == 201), "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status >= 400) {
            assert_silent("a refusal", &format!("{answer:?} {}", answer.text()));
        }
        drive_http_2(gateway.address());
        let admin = gateway.admin_url().trim_start_matches("http://").to_owned();
        let metrics = Request::get(&format!("/metrics?token={}", SECRETS[4])).ask(&admin);
        assert!(
            metrics.text().contains("encke_published_total 1\n"),
            "one for HTTP/1 and a repeat: {}",
            metrics.text()
        );
        assert_silent("metrics", &format!("{metrics:?} {}", metrics.text()));
        ask_as_operator(&admin);

        gateway.terminate();
        assert!(gateway.wait().success());
        let log = gateway.process().errors();
        for word in ["TRACE", "DEBUG", "/events/t", "POST", "h2::"] {
            assert!(log.contains(word), "a log in which {word} is missing proves nothing: {log}");
        }
        assert_silent("the log", &log);
        while let Some(line) = gateway.process().line(Duration::ZERO) {
            assert_silent("standard output", &line);
        }
    }
}

#[track_caller]
fn assert_silent(place: &str, text: &str) {
    for secret in SECRETS {
        if let Some(at) = text.find(secret) {
            let begin = text[..at].rfind('\n').map_or(0, |line| line + 1);
            panic!("{place} tells {secret}: {}", text[begin..].lines().next().unwrap_or_default());
        }
    }
}

/// Sends each secret in its place, with requests that are taken and with all kinds that are not.
fn drive(address: &str) -> Vec<Answer> {
    let [key, wrong, basic, cookie, query, data, idempotency, broken, other, _] = SECRETS;
    let dressed = |request: Request| {
        let request = request.field("Cookie", format!("session={cookie}; encke_dev={cookie}"));
        request.field("Idempotency-Key", idempotency).field("X-Api-Key", other).field("Proxy-Authorization", other)
    };
    let post = |target: &str| dressed(Request::post(target, data));
    let mut requests = vec![
        post("/events/t").bearer(key),
        post("/events/t").bearer(wrong),
        post("/events/t").field("Authorization", format!("Basic {basic}")),
        post("/events/t").field("Authorization", basic),
        post(&format!("/events/t?token={query}")).bearer(key),
        post(&format!("/events/t?type=error&token={query}")).bearer(key),
        post("/events/u").bearer(key),
        post("/events/t").bearer(key).content(format!("{{\"{data}\"")).field("Content-Type", "application/json"),
        post("/events/t").bearer(key).content([data.as_bytes(), b"\xff"].concat()),
        post("/events/t").bearer(key).field("Content-Encoding", other),
        post("/events/t").bearer(key).field("Content-Type", other),
        post("/events/t").bearer(key).field("Content-Type", format!("text/plain; charset={other}")),
        post("/events/t").bearer(key).field("Origin", format!("https://{other}")),
        post("/events/t").bearer(key).host(format!("{{{other}}}")),
        post(&format!("/events/t?key={query}")).bearer(key),
        post("/events/t").bearer(key).content(data.repeat(70_000)),
        post("/nothing").bearer(key),
        dressed(Request::new("DELETE", "/events/elsewhere")).bearer(key),
        dressed(Request::get(&format!("/events/t?transport={query}"))).bearer(key),
        dressed(Request::get(&format!("/events/t?since={query}&token={query}"))).bearer(wrong),
        dressed(Request::get(&format!("/events/t?heartbeat={query}"))).bearer(key),
        dressed(Request::get(&format!("/events/t?transport=long-poll&timeout=0&token={query}"))).bearer(key),
        dressed(Request::get("/")).field("X-Filler", broken.repeat(4000)),
        dressed(Request::get("/")).field("Broken ", broken).bearer(broken),
        dressed(Request::get("/")).field("Nul", format!("{broken}\0")).bearer(broken),
        Request::of_line(format!("GET /{broken} HTTP/7.7")),
        Request::of_line(format!("{broken}\0")),
    ];
    requests.push(post("/events/t").bearer(key).without("Content-Length").field("Content-Length", broken));
    let mut answers: Vec<Answer> = requests.iter().map(|request| request.ask(address)).collect();

    // Content that breaks off, and a stream that is left.
    let mut connection = Connection::open(address);
    connection.send(post("/events/t").bearer(key).bytes()[..].strip_suffix(b"1").expect("all but the last byte"));
    connection.finish();
    answers.push(connection.answer());
    let mut stream = Connection::open(address);
    stream.send(dressed(Request::get(&format!("/events/t?token={query}&lastEventId=earliest"))).bearer(key).bytes());
    answers.push(stream.head());
    stream.chunks_until(data);
    answers
}

/// What is for operators alone, through a proxy, with the key of operators and with others.
#[track_caller]
fn ask_as_operator(address: &str) {
    for (credential, status) in [(ADMIN_KEY, 200), (KEY, 403), (SECRETS[1], 403)] {
        for target in ["/streams", "/diagnosis"] {
            let request = Request::get(target).field("X-Forwarded-For", "203.0.113.7").bearer(credential);
            let answer = request.field("Cookie", format!("session={}", SECRETS[3])).ask(address);
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_silent("what operators are told", &format!("{answer:?} {}", answer.text()));
        }
    }
}

/// The same over HTTP/2, whose library logs frames.
fn drive_http_2(address: &str) {
    let [key, wrong, _, cookie, query, data, idempotency, _, other, _] = SECRETS;
    for (credential, target) in
        [(key, "/events/t".to_owned()), (key, format!("/events/t?token={query}")), (wrong, "/events/t".to_owned())]
    {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "20", "--data-binary", data]);
        for field in [
            format!("Authorization: Bearer {credential}"),
            format!("Cookie: session={cookie}"),
            format!("Idempotency-Key: {idempotency}"),
            format!("X-Api-Key: {other}"),
        ] {
            curl.args(["--header", &field]);
        }
        let output = curl.arg(format!("http://{address}{target}")).output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        // A refusal that did not wait for the content ends with RST_STREAM(NO_ERROR) (RFC 9113 § 8.1), and curl 7.88 at
        // times shows nothing then.
        let is_refused = credential == wrong || target.contains('?');
        assert!(is_refused || text.contains("\"duplicate\":true"), "{text}");
        assert_silent("an answer over HTTP/2", &text);
    }
}
