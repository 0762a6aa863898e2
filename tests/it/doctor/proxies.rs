//! Behind a real nginx and a real `HAProxy`, whose timers are short here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{gateway, problems, remedy, report, report_of_a_limit};
use crate::support::gateway::Gateway;
use crate::support::nginx::{Configuration, Nginx};
use crate::support::process::Process;
use crate::support::server::started;
use crate::support::tls::Certificate;

/// `HAProxy` with its defaults, but for the timers, and further lines in `defaults`.
fn haproxy(gateway: &Gateway, directory: &Path, more: &str) -> (Process, String) {
    // Not by connecting alone: whoever else has that port would take the connection.
    let passes = |port| {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
        connection.write_all(b"GET /events/t?transport=long-poll&timeout=0 HTTP/1.0\r\nHost: h\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        answer.contains("\"cursor\":").then_some(())
    };
    let (process, port) = haproxy_with(gateway, directory, [more, "", ""], |port| passes(port).is_some());
    (process, format!("http://127.0.0.1:{port}"))
}

/// The same over TLS, where it speaks HTTP/2, too, with further lines in `defaults` and in its backend.
fn haproxy_over_tls(
    gateway: &Gateway,
    directory: &Path,
    certificate: &Certificate,
    [defaults, rules]: [&str; 2],
) -> (Process, String) {
    let both = directory.join("both.pem");
    let parts = [certificate.file(), certificate.key()].map(|part| std::fs::read(part).expect("it was written"));
    std::fs::write(&both, parts.concat()).expect("it can be written");
    let passes = |port| {
        let mut command = Command::new("curl");
        let url = format!("https://127.0.0.1:{port}/events/t?transport=long-poll&timeout=0");
        let answer = command.args(["-s", "--http1.1", "--cacert"]).arg(certificate.authority()).arg(url).output();
        String::from_utf8_lossy(&answer.expect("there is curl").stdout).contains("\"cursor\":")
    };
    let tls = format!("ssl crt {} alpn h2,http/1.1", both.display());
    let (process, port) =
        haproxy_with(gateway, directory, [&format!("option http-no-delay\n    {defaults}"), &tls, rules], passes);
    (process, format!("https://127.0.0.1:{port}"))
}

/// The same with lines in `defaults`, what `bind` says, and lines in the backend, once `is_up`.
fn haproxy_with(
    gateway: &Gateway,
    directory: &Path,
    [defaults, bind, rules]: [&str; 3],
    is_up: impl Fn(u16) -> bool,
) -> (Process, u16) {
    let file = directory.join("haproxy.cfg");
    let command = |port| {
        let text = format!(
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 4s\n    {defaults}\n\
             frontend web\n    bind 127.0.0.1:{port} {bind}\n    default_backend encke\n\
             backend encke\n    server encke {}\n    {rules}\n",
            gateway.address()
        );
        std::fs::write(&file, text).expect("it can be written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        command
    };
    started(command, |_, port| is_up(port))
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("encke-haproxy-").tempdir().expect("a temporary directory")
}

#[test]
fn nginx_as_it_is_shipped_is_healthy() {
    let gateway = gateway();
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let (code, told) = report(&[&nginx.url(), "--topic=t", "--quick"]);
    assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
    assert_eq!(told["hops"][0]["name"], "nginx", "{told}");
}

#[test]
fn an_nginx_that_compresses_event_streams_is_found_and_does_no_harm() {
    let gateway = gateway();
    let nginx = Nginx::start(
        &Configuration::shipped(gateway.address()).in_http("gzip_types text/event-stream; gzip_min_length 0;"),
    );
    let (code, told) = report(&[&nginx.url(), "--topic=t", "--quick"]);
    assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
    assert_eq!(told["beginning"]["compressed"], "gzip", "{told}");
    assert!(remedy(&told, "compressed").contains("gzip_types"), "{told}");
}

#[test]
fn the_silence_that_nginx_allows_is_found_with_its_setting() {
    let gateway = gateway();
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).read_timeout("4s"));
    let arguments = [&*nginx.url(), "--topic=t", "--max-idle=7", "--max-duration=7"];
    let told = report_of_a_limit(&arguments, &["idle-limit"], "/idle/limit", 4.0);
    assert!(remedy(&told, "idle-limit").contains("proxy_read_timeout"), "{told}");
    assert_eq!((&told["idle"]["end"], &told["duration"]["limit"]), (&"cut".into(), &Value::Null), "{told}");
}

#[test]
fn an_nginx_that_does_not_hear_that_it_must_not_buffer_is_found() {
    let gateway = gateway();
    let deaf = Configuration::shipped(gateway.address()).in_http("proxy_ignore_headers X-Accel-Buffering;");
    let nginx = Nginx::start(&deaf);
    let (code, told) = report(&[&nginx.url(), "--topic=t", "--quick"]);
    assert_eq!((code, problems(&told)), (Some(1), vec!["held"]), "{told}");
    assert_eq!((&told["isEncke"], &told["beginning"]["releasedBy"]), (&true.into(), &Value::Null), "{told}");
    assert!(remedy(&told, "held").contains("proxy_ignore_headers"), "{told}");
}

#[test]
fn what_haproxy_does_by_default_is_found_with_its_settings() {
    let (gateway, directory) = (gateway(), directory());
    let (_haproxy, url) = haproxy(&gateway, directory.path(), "");
    let arguments = [&*url, "--topic=t", "--max-idle=7", "--max-duration=7"];
    let told = report_of_a_limit(&arguments, &["delayed", "idle-limit"], "/idle/limit", 4.0);
    assert!(remedy(&told, "idle-limit").contains("timeout server"), "{told}");
    assert!(remedy(&told, "delayed").contains("option http-no-delay"), "{told}");
    assert_eq!((&told["hops"][0]["name"], &told["halfClose"]), (&"HAProxy".into(), &"kept".into()), "{told}");

    // Without a key the beginning of a stream tells it.
    let (code, told) = report(&[&format!("{url}/events/t"), "--quick"]);
    assert_eq!((code, problems(&told)), (Some(1), vec!["delayed"]), "{told}");
}

#[test]
fn haproxy_that_is_told_not_to_wait_is_healthy() {
    let (gateway, directory) = (gateway(), directory());
    let (_haproxy, url) = haproxy(&gateway, directory.path(), "option http-no-delay");
    let (code, told) = report(&[&url, "--topic=t", "--quick"]);
    assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
}

#[test]
fn over_tls_haproxy_is_healthy_and_keeps_half_closed_streams_unless_it_is_told_not_to() {
    let (gateway, directory, certificate) = (gateway(), directory(), Certificate::new());
    for (defaults, expected) in [("", "kept"), ("option abortonclose", "cut")] {
        let (_haproxy, url) = haproxy_over_tls(&gateway, directory.path(), &certificate, [defaults, ""]);
        let (code, told) = report_over_tls(&certificate, &[&url, "--topic=t", "--quick"]);
        assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
        assert_eq!((&told["halfClose"], &told["alpn"]), (&expected.into(), &"h2".into()), "{told}");
        assert_eq!((&told["http2"]["status"], &told["http2"]["end"]), (&200.into(), &Value::Null), "{told}");
        assert!(told["http2"]["firstEvent"].is_number(), "{told}");
    }
}

#[test]
fn what_haproxy_does_to_http2_alone_is_found() {
    let (gateway, directory, certificate) = (gateway(), directory(), Certificate::new());
    let refuses = "http-request deny if { fc_http_major 2 }";
    let (_haproxy, url) = haproxy_over_tls(&gateway, directory.path(), &certificate, ["", refuses]);
    let (code, told) = report_over_tls(&certificate, &[&url, "--topic=t", "--quick"]);
    assert_eq!((code, problems(&told)), (Some(1), vec!["http2-refused"]), "{told}");
    assert_eq!(told["http2"]["status"], 403, "{told}");

    // Something comes every 5 s, as nothing is published.
    let cuts = "timeout server 60s\n    http-request set-timeout server 2s if { fc_http_major 2 }";
    let (_haproxy, url) = haproxy_over_tls(&gateway, directory.path(), &certificate, ["", cuts]);
    let (code, told) = report_over_tls(&certificate, &[&format!("{url}/events/t"), "--max-idle=5", "--max-duration=5"]);
    assert_eq!((code, problems(&told)), (Some(1), vec!["http2-cut"]), "{told}");
    let age = told["http2"]["age"].as_f64().expect("it is known");
    assert!((2_000.0..4_000.0).contains(&age), "{told}");
    // HAProxy 2.6 cuts it by saying that it is at its end.
    assert_eq!((&told["http2"]["end"], &told["idle"]["limit"]), (&"ended".into(), &Value::Null), "{told}");
}

/// The report of a proxy over TLS, whose certificate is trusted.
#[track_caller]
fn report_over_tls(certificate: &Certificate, arguments: &[&str]) -> (Option<i32>, Value) {
    let authority = certificate.authority();
    let authority = authority.to_str().expect("a path in UTF-8");
    report(&[arguments, &["--ca", authority]].concat())
}
