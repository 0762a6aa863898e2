//! `--dev` beyond loopback: whoever comes without the token of this run is not served.

use std::process::Command;

use tempfile::TempDir;

use super::publish::assert_stored;
use super::start::{directory, serve};
use super::{assert_guarded, assert_refused};
use crate::support::PATIENCE;
use crate::support::gateway::Addresses;
use crate::support::http::Request;
use crate::support::process::Process;

/// A gateway on every address of the machine.
struct Exposed {
    process: Process,
    /// Where it is on loopback.
    address: String,
    token: String,
    /// What it says at its start: words that name a line, and what it shows there.
    lines: Vec<(String, String)>,
    _data: TempDir,
}

impl Exposed {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(further: &[&str]) -> Self {
        let data = directory();
        let path = data.path().to_str().expect("a path of UTF-8");
        let args = ["--dev", "--listen", "0.0.0.0:0", "--data", path, "--log-level", "trace"];
        let mut process = serve(&[&args[..], further].concat(), &[]);
        let url = Addresses::told_by(&mut process, true).expect("it listens").public.expect("an address");
        let port = url.rsplit(':').next().expect("a port");
        let mut lines = Vec::new();
        while !lines.iter().any(|(name, _)| name == "metrics") {
            let line = process.line(PATIENCE).expect("it says where to go");
            if let Some((name, shown)) = line.trim().split_once("   ") {
                lines.push((name.trim().to_owned(), shown.trim().to_owned()));
            }
        }
        let (_, token) = lines[0].1.split_once("?token=").expect("the token of this run");
        Self { address: format!("127.0.0.1:{port}"), token: token.to_owned(), process, lines, _data: data }
    }

    fn shown(&self, name: &str) -> &str {
        &self.lines.iter().find(|(given, _)| given == name).unwrap_or_else(|| panic!("no line {name}")).1
    }
}

#[test]
fn dev_beyond_loopback_asks_for_the_token() {
    let gateway = Exposed::start();
    let token = &gateway.token;
    assert!(token.len() >= 32, "{token}");
    for target in ["/", "/events/t?transport=long-poll", "/metrics", "/static/live.js", "/nothing"] {
        let with = |request: Request| request.ask(&gateway.address);
        for request in [
            Request::get(target),
            Request::get(target).bearer("x"),
            Request::get(target).bearer(&token[1..]),
            Request::get(target).field("Cookie", "encke_dev="),
            Request::get(target).field("Cookie", format!("other={token}")),
            Request::get(&format!("{target}{}token=x", if target.contains('?') { '&' } else { '?' })),
        ] {
            let answer = with(request);
            assert_refused(target, &answer, 401, "the gateway printed at its start");
            assert!(answer.field("set-cookie").is_none() && !answer.text().contains(token));
        }
    }
    let post = |target: &str| Request::post(target, "x");
    assert_refused("POST", &post("/events/t").ask(&gateway.address), 401, "token");
    assert_stored("the token", &post("/events/t").bearer(token).ask(&gateway.address));
    let cookie = post("/events/t").field("Cookie", format!("a=b; encke_dev={token}; c=d"));
    assert_stored("the cookie", &cookie.ask(&gateway.address));
    // The cookie goes along with requests that pages of other sites make; the guard for origins still holds.
    let forged =
        post("/events/t").field("Cookie", format!("encke_dev={token}")).field("Origin", "https://evil.example");
    assert_refused("a foreign page", &forged.ask(&gateway.address), 403, "--cors-origin");
    let foreign = Request::get("/").host("evil.example").bearer(token).ask(&gateway.address);
    assert_refused("a foreign name", &foreign, 421, "--host");
}

#[test]
fn what_needs_the_token_is_not_for_pages_of_any_origin() {
    let gateway = Exposed::start_with(&["--cors-origin", "*"]);
    let read = |request: Request| {
        let request = request.field("Origin", "https://evil.example").field("Access-Control-Request-Method", "GET");
        request.bearer(&gateway.token).ask(&gateway.address)
    };
    for answer in
        [read(Request::get("/events/t?transport=long-poll&timeout=0")), read(Request::new("OPTIONS", "/events/t"))]
    {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("access-control-allow-origin"), None, "{answer:?}");
    }
    let errors = gateway.process.errors();
    assert!(errors.contains("--cors-origin * means nothing here"), "{errors}");
}

#[test]
fn a_browser_trades_the_token_for_a_cookie_and_its_address_keeps_none() {
    let gateway = Exposed::start();
    let token = &gateway.token;
    for (target, location) in [
        (format!("/?token={token}"), "./"),
        (format!("/events/demo/clock?token={token}"), "./clock"),
        (format!("/?topic=a%26b&token={token}&last=5"), "./?topic=a%26b&last=5"),
        (format!("/?token={token}&token=again&%74oken={token}"), "./"),
        (format!("//evil.example/?token={token}"), "./"),
        (format!("//evil.example/..?token={token}"), "./.."),
        (format!("/\\evil.example/?token={token}"), "./"),
        (format!("///evil.example?token={token}"), "./evil.example"),
        (format!("/%2F/evil.example?token={token}"), "./evil.example"),
    ] {
        let answer = Request::get(&target).ask(&gateway.address);
        assert_eq!(answer.status, 303, "{target}: {}", answer.text());
        assert_guarded(&target, &answer);
        assert_eq!(answer.field("location").as_deref(), Some(location), "{target}");
        assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"));
        let cookie = answer.field("set-cookie").expect("a cookie");
        assert_eq!(cookie, format!("encke_dev={token}; Path=/; HttpOnly; SameSite=Strict"));
    }
    let page = Request::get("/").field("Cookie", format!("encke_dev={token}")).ask(&gateway.address);
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<title>Encke") && !page.text().contains(token.as_str()));
}

#[test]
fn the_commands_that_are_shown_with_a_token_work_as_they_stand() {
    let gateway = Exposed::start();
    let run = |name: &str, more: &str| {
        let command = format!("{} --silent --show-error --max-time 20 {more}", gateway.shown(name));
        let output = Command::new("sh").args(["-c", &command]).output().expect("sh runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (text, errors) = run("publish", "");
    assert!(text.starts_with("{\"id\":\""), "{text} {errors}");
    let (text, errors) = run("subscribe", "| head -n 3");
    assert!(text.starts_with("event: encke.hello\n") || text.contains("\nevent: encke.hello\n"), "{text} {errors}");
    for name in ["live page", "metrics"] {
        assert!(gateway.shown(name).ends_with(&format!("?token={}", gateway.token)), "{name}");
    }
}

#[test]
fn the_token_is_shown_once_and_never_logged() {
    let mut gateway = Exposed::start();
    let (address, token) = (gateway.address.clone(), gateway.token.clone());
    Request::get(&format!("/?token={token}")).ask(&address);
    Request::get("/").bearer(&token).ask(&address);
    gateway.process.terminate();
    assert!(gateway.process.wait(PATIENCE).success());
    let log = gateway.process.errors();
    assert!(log.contains("DEBUG request{") && !log.contains(&token), "{log}");
}
