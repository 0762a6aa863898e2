//! What is for operators alone: open on the gateway's machine, and from elsewhere to who holds an admin key.

use std::process::Command;

use serde_json::Value;

use crate::configuration::reload::{READ_AGAIN, reload};
use crate::support::gateway::{Addresses, Gateway};
use crate::support::hosts::{Hosts, SERVER};
use crate::support::http::{Answer, Request};
use crate::support::process::Process;

const PUBLISH_KEY: &str = "a-publish-key-of-this-test-0123456789";
const ADMIN_KEY: &str = "an-admin-key-of-this-test-0123456789";

/// What is for operators alone.
const ROUTES: [&str; 2] = ["/diagnosis", "/streams"];

/// What a proxy on the gateway's machine adds.
const FORWARDED: (&str, &str) = ("X-Forwarded-For", "203.0.113.7");

fn gateway(env: &[(&str, &str)]) -> Gateway {
    Gateway::start_with(&[], &[&[("ENCKE_PUBLISH_KEY", PUBLISH_KEY)], env].concat())
}

fn admin(gateway: &Gateway) -> &str {
    gateway.admin_url().trim_start_matches("http://")
}

/// A request for `target` as it comes through a proxy on the gateway's machine.
fn forwarded(target: &str) -> Request {
    Request::get(target).field(FORWARDED.0, FORWARDED.1)
}

#[track_caller]
fn assert_refused(what: &str, answer: &Answer, status: u16, words: &str) {
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.status, status, "{what}: {detail}");
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"), "{what}");
    assert!(detail.contains(words), "{what}: {words:?} is not in {detail:?}");
    let asked = answer.field("www-authenticate");
    assert_eq!(asked.as_deref(), (status == 401).then_some("Bearer realm=\"encke\""), "{what}");
}

#[test]
fn from_another_machine_the_admin_key_opens_what_is_for_operators_and_nothing_else_does() {
    let (hosts, data) = (Hosts::new(), tempfile::tempdir().expect("a temporary directory"));
    let mut command = hosts.on_server(env!("CARGO_BIN_EXE_encke"));
    let (public, admin) = (format!("{SERVER}:8080"), format!("{SERVER}:8081"));
    command
        .args(["serve", "--listen", &public, "--admin", &admin, "--data"])
        .arg(data.path())
        .env("ENCKE_PUBLISH_KEY", PUBLISH_KEY)
        .env("ENCKE_ADMIN_KEY", ADMIN_KEY);
    let mut gateway = Process::spawn(command);
    Addresses::told_by(&mut gateway, false).expect("it listens");
    let status = |address: &str, target: &str, fields: &[&str]| {
        let mut curl = hosts.on_client("curl");
        curl.args(["-qs", "-o", "/dev/null", "-w", "%{http_code}", "-m", "60", &format!("http://{address}{target}")]);
        for field in fields {
            curl.args(["-H", field]);
        }
        String::from_utf8(curl.output().expect("curl runs").stdout).expect("text")
    };
    let bearer = |key: &str| format!("Authorization: Bearer {key}");
    for target in ROUTES {
        assert_eq!(status(&admin, target, &[]), "401", "{target}");
        assert_eq!(status(&admin, target, &["Accept: text/html"]), "401", "{target}");
        assert_eq!(status(&admin, target, &["X-Forwarded-For: 127.0.0.1"]), "401", "{target}");
        for wrong in [PUBLISH_KEY, "another-key-0123456789", &ADMIN_KEY[1..], &format!("{ADMIN_KEY}0")] {
            assert_eq!(status(&admin, target, &[&bearer(wrong)]), "403", "{target} {wrong}");
        }
        assert_eq!(status(&admin, target, &[&bearer(ADMIN_KEY)]), "200", "{target}");
    }
    for target in ["/metrics", "/health/live", "/health/ready", "/openapi.json"] {
        assert_eq!(status(&admin, target, &[]), "200", "{target}");
    }
    // Readers' doors know the publish key alone.
    let poll = "/events/a?transport=long-poll&timeout=0";
    assert_eq!(status(&public, poll, &[&bearer(ADMIN_KEY)]), "401");
    assert_eq!(status(&public, poll, &[&bearer(PUBLISH_KEY)]), "200");
}

/// Whatever is added to the admin address later is for operators alone, unless it is named here.
#[test]
fn all_that_is_on_the_admin_address_is_for_operators_but_metrics_health_and_the_description() {
    let gateway = gateway(&[("ENCKE_ADMIN_KEY", ADMIN_KEY)]);
    let described = Request::get("/openapi.json").ask(admin(&gateway)).json();
    let paths = described["paths"].as_object().expect("paths");
    let is_for_admin = |of: &Value| of["servers"][0]["url"] == "http://127.0.0.1:8081";
    let mut closed = Vec::new();
    for (path, _) in paths.iter().filter(|(_, of)| is_for_admin(of)) {
        let answer = forwarded(path).ask(admin(&gateway));
        if answer.status == 200 {
            assert!(["/metrics", "/health/live", "/health/ready", "/openapi.json"].contains(&path.as_str()), "{path}");
        } else {
            assert_refused(path, &answer, 401, "needs the admin key");
            closed.push(path.as_str());
        }
    }
    assert_eq!(closed, ROUTES);
}

#[test]
fn on_the_gateway_s_machine_nothing_is_needed_unless_a_proxy_says_that_it_passed_it_on() {
    let gateway = gateway(&[("ENCKE_ADMIN_KEY", ADMIN_KEY)]);
    for target in ROUTES {
        for request in [Request::get(target), Request::get(target).bearer(PUBLISH_KEY)] {
            assert_eq!(request.ask(admin(&gateway)).status, 200, "{target}");
        }
        for (name, value) in [
            FORWARDED,
            ("x-forwarded-for", "127.0.0.1"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=127.0.0.1"),
            ("Via", "1.1 proxy"),
            ("X-Real-IP", "127.0.0.1"),
        ] {
            let request = Request::get(target).field(name, value);
            let with = |request: Request| request.ask(admin(&gateway));
            assert_refused(name, &with(request.clone()), 401, "send it as `Authorization: Bearer KEY`");
            let basic = request.clone().field("Authorization", format!("Basic {ADMIN_KEY}"));
            assert_refused(name, &with(basic), 401, "needs the admin key");
            for wrong in [PUBLISH_KEY, "", &ADMIN_KEY.to_uppercase()] {
                let answer = with(request.clone().bearer(wrong));
                assert_refused(name, &answer, 403, "a publish key does not open it");
            }
            assert_eq!(with(request.bearer(ADMIN_KEY)).status, 200, "{name}");
        }
        let head = Request::new("HEAD", target).field(FORWARDED.0, FORWARDED.1);
        assert_eq!(head.ask(admin(&gateway)).status, 401);
        let in_query = forwarded(&format!("{target}?token={ADMIN_KEY}"));
        assert_refused("the query", &in_query.ask(admin(&gateway)), 401, "needs the admin key");
    }
    assert_eq!(gateway.metric("encke_refused_total", &["reason=\"forbidden\""]), 36.0);
}

#[test]
fn a_unix_socket_and_http_2_are_this_machine_as_well() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("admin.sock");
    let path = socket.to_str().expect("a path of UTF-8");
    let gateway = Gateway::start_with(&["--admin", &format!("unix:{path}")], &[("ENCKE_PUBLISH_KEY", PUBLISH_KEY)]);
    let (by_socket, by_http_2) = (["--unix-socket", path], ["--http2-prior-knowledge", "--http2-prior-knowledge"]);
    for (way, url) in [(by_socket, "http://localhost"), (by_http_2, gateway.admin_url())] {
        for (field, status) in [("Accept: application/json", "200"), ("Via: 2 proxy", "401")] {
            let mut curl = Command::new("curl");
            curl.args(["-qs", "-o", "/dev/null", "-w", "%{http_code}", "-m", "60", "-H", field]).args(way);
            let told = curl.arg(format!("{url}/streams")).output().expect("curl runs").stdout;
            assert_eq!(String::from_utf8_lossy(&told), status, "{url} {field}");
        }
    }
}

#[test]
fn the_admin_key_does_not_publish_read_or_remove() {
    let gateway = gateway(&[("ENCKE_ADMIN_KEY", ADMIN_KEY)]);
    for request in [
        Request::post("/events/a", "x"),
        Request::get("/events/a?transport=long-poll&timeout=0"),
        Request::new("DELETE", "/events/a"),
    ] {
        assert_refused("an admin key", &request.clone().bearer(ADMIN_KEY).ask(gateway.address()), 401, "another key");
        assert!(request.bearer(PUBLISH_KEY).ask(gateway.address()).status < 300);
    }
}

#[test]
fn without_an_admin_key_nobody_sees_them_from_elsewhere_and_is_told_what_to_do() {
    let gateway = gateway(&[]);
    for target in ROUTES {
        for request in [forwarded(target), forwarded(target).bearer(PUBLISH_KEY), forwarded(target).bearer("")] {
            let answer = request.ask(admin(&gateway));
            assert_refused(target, &answer, 401, "none is configured: put a random text into a file and name it with");
        }
        assert_eq!(Request::get(target).ask(admin(&gateway)).status, 200);
    }
}

#[test]
fn under_dev_they_are_open_to_all_who_are_served() {
    let gateway = Gateway::start_with(&["--dev"], &[("ENCKE_ADMIN_KEY", ADMIN_KEY)]);
    for target in ROUTES {
        assert_eq!(forwarded(target).ask(gateway.address()).status, 200, "{target}");
    }
}

#[test]
fn an_admin_key_is_changed_by_the_signal_without_a_moment_in_which_neither_is_good() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("admin-key");
    let write = |text: &str| std::fs::write(&file, text).expect("it can be written");
    let new = "another-admin-key-of-this-test-0123456789";
    write(ADMIN_KEY);
    let mut gateway = gateway(&[("ENCKE_ADMIN_KEY_FILE", file.to_str().expect("a path of UTF-8"))]);
    let with = |gateway: &Gateway, key: &str| forwarded("/streams").bearer(key).ask(admin(gateway)).status;
    assert_eq!((with(&gateway, ADMIN_KEY), with(&gateway, new)), (200, 403));
    write(&format!("{new}\n{ADMIN_KEY}\n"));
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[\"admin key\"]") && !told.contains(new) && !told.contains(ADMIN_KEY), "{told}");
    assert_eq!((with(&gateway, ADMIN_KEY), with(&gateway, new)), (200, 200));
    write(&format!("{new}\n{PUBLISH_KEY}\n"));
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("an admin key is a publish key, too") && !told.contains(PUBLISH_KEY), "{told}");
    assert_eq!((with(&gateway, ADMIN_KEY), with(&gateway, PUBLISH_KEY)), (200, 403));
    write(new);
    reload(&mut gateway, READ_AGAIN);
    assert_eq!((with(&gateway, ADMIN_KEY), with(&gateway, new)), (403, 200));
}
