//! Connections that do not come as far as a request, and what TLS changes of those that do.

use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::SockRef;

use super::{KEY, failures};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::{PATIENCE, wait_for};

#[test]
fn plain_http_is_told_so_and_counted() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let own = gateway.own_url().trim_start_matches("https://");
    let answer = Request::get("/events/t").ask(own);
    assert_eq!(answer.status, 400);
    assert!(answer.json()["detail"].as_str().is_some_and(|words| words.contains("https://")), "{answer:?}");
    assert_eq!(failures(&gateway), 1);
}

#[test]
fn garbage_and_slow_handshakes_hold_nobody_up() {
    let gateway = Gateway::start_tls(&["--dev", "--head-timeout", "1"]);
    let own = gateway.own_url().trim_start_matches("https://");
    // A ClientHello that begins and does not end; one that says nothing; and no TLS at all.
    let slow = |begun: &[u8]| {
        let mut connection = Connection::open(own);
        connection.send(begun);
        connection
    };
    let mut held: Vec<Connection> =
        (0..50).map(|_| slow(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")).chain([slow(b"")]).collect();
    assert_eq!(slow(b"\0\x01\x02garbage").rest(), b"");
    let mut alert = slow(b"\x16\x03\x01\x00\x05garbage in a record").rest();
    alert.truncate(3);
    assert!(alert.is_empty() || alert == b"\x15\x03\x03", "an alert or nothing: {alert:?}");
    assert_eq!(Request::post("/events/t", "x").ask(gateway.address()).status, 201, "others are served meanwhile");
    assert!(held.iter_mut().all(|connection| connection.rest().is_empty()), "they end without words");
    wait_for("all of them to be counted", || failures(&gateway) == 52);
}

#[test]
fn old_versions_and_other_protocols_are_refused() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let handshake = |args: &[&str]| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", gateway.own_url().trim_start_matches("https://"), "-CAfile"]);
        let output = client.arg(gateway.certificate().authority()).args(args).stdin(Stdio::null()).output();
        let output = output.expect("openssl runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let good = handshake(&["-alpn", "h2"]);
    assert!(good.contains("Verify return code: 0 (ok)") && good.contains("ALPN protocol: h2"), "{good}");
    assert!(!good.contains("Max Early Data: ") || good.contains("Max Early Data: 0"), "{good}");
    let other = handshake(&["-alpn", "smtp"]);
    assert!(other.contains("alert no application protocol"), "{other}");
    let old = handshake(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(old.contains("alert handshake failure") || old.contains("alert protocol version"), "{old}");
}

#[test]
fn unix_sockets_beside_it_are_plain() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("s");
    let gateway = Gateway::start_tls(&["--dev", "--listen", &format!("unix:{}", socket.display())]);
    let output = Command::new("curl")
        .args(["--silent", "--unix-socket"])
        .arg(&socket)
        .arg("http://localhost/health/live")
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"status\":\"live\"}\n");
    assert!(gateway.own_url().starts_with("https://"));
}

#[test]
fn pages_are_of_our_origin_by_https_alone() {
    let gateway = Gateway::start_tls_with(&["--store", "memory"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let from = |field: &str, page: &str| {
        let request = Request::post("/events/a?form=data", "data=x").host("gateway.example").bearer(KEY);
        let request = request.field("Content-Type", "application/x-www-form-urlencoded").field(field, page);
        request.ask(gateway.address()).status
    };
    assert_eq!((from("Origin", "https://gateway.example"), from("Origin", "http://gateway.example")), (204, 403));
    assert_eq!((from("Referer", "https://gateway.example/p"), from("Referer", "http://gateway.example/p")), (303, 403));
}

#[test]
fn the_cookie_of_a_run_beyond_loopback_is_for_https_alone() {
    let mut gateway = Gateway::start_tls(&["--dev", "--listen", "0.0.0.0:0"]);
    let live = loop {
        let line = gateway.process().line(PATIENCE).expect("it says where to go");
        if line.contains("live page") {
            break line;
        }
    };
    let (place, token) = live.split_once("?token=").expect("the token of this run");
    assert!(place.contains("https://"), "{live}");
    let answer = Request::get(&format!("/?token={token}")).ask(gateway.address());
    let cookie = answer.field("set-cookie").expect("a cookie in its place");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
}

#[test]
fn whoever_vanishes_is_seen_to_go_as_without_tls() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let ended = |sign: &str| {
        let text = Request::get("/metrics").ask(gateway.address()).text();
        let series = format!("encke_stream_last_signs_total{{sign=\"{sign}\",transport=\"sse\"}} ");
        text.lines().any(|line| line.strip_prefix(&series) == Some("1"))
    };
    let open = || {
        let mut stream = Connection::open(gateway.address());
        stream.send(Request::get("/events/quiet").bytes());
        assert_eq!(stream.head().status, 200);
        stream.chunks_until("encke.hello");
        stream
    };
    drop(open());
    wait_for("a close to be seen as one", || ended("closed"));
    let mut stream = open();
    SockRef::from(&*stream.socket())
        .set_linger(Some(Duration::ZERO))
        .expect("a socket that is reset when it is dropped");
    drop(stream);
    wait_for("a reset to be seen as one", || ended("reset"));
}
