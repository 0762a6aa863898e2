//! Clients of all kinds over `https`: each comes back with every event, over the same cuts as without TLS.

use std::process::Command;

use crate::clients::curl::{Curl, HTTP_1_0, HTTP_1_1, HTTP_2_TLS, Transport};
use crate::clients::libraries::{ScriptClient, as_requests_sse_keeps, python_at};
use crate::clients::page_client::{PageClient, Script};
use crate::clients::reading::{as_lines, comes_back_with_every_event};
use crate::support::browser::Kind;
use crate::support::gateway::Gateway;

#[test]
fn curl_over_http_1_0_comes_back_with_every_event() {
    curl_comes_back(HTTP_1_0, Transport::Sse);
}

#[test]
fn curl_over_http_1_1_comes_back_with_every_event() {
    curl_comes_back(HTTP_1_1, Transport::Ndjson);
}

#[test]
fn curl_over_http_2_comes_back_with_every_event() {
    curl_comes_back(HTTP_2_TLS, Transport::Sse);
}

#[test]
fn curl_over_http_2_comes_back_with_every_event_on_long_poll() {
    curl_comes_back(HTTP_2_TLS, Transport::LongPoll);
}

fn curl_comes_back(version: &'static str, transport: Transport) {
    let mut gateway = Gateway::start_tls(&["--dev"]);
    let client = Curl::over_tls(&gateway, "orders", vec![(version, transport)]);
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[test]
fn curl_is_given_the_version_that_it_asks_for() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let check = |args: &[&str], expected: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--output", "/dev/null", "--cacert"]);
        curl.arg(gateway.certificate().authority()).args(["--write-out", "%{http_version} %{http_code}"]);
        let output = curl.args(args).arg(format!("{}/health/live", gateway.own_url())).output().expect("curl runs");
        let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(told, expected, "{args:?}: {errors}");
    };
    check(&[], "2 200");
    check(&["--http1.1"], "1.1 200");
    check(&["--http1.0"], "1 200");
    check(&["--no-alpn"], "1.1 200");
    check(&["--tls-max", "1.2"], "2 200");
    check(&["--tlsv1.3", "--http1.1"], "1.1 200");
}

#[test]
fn event_source_in_chromium_comes_back_with_every_event() {
    page_comes_back(Kind::Chromium);
}

#[test]
fn event_source_in_firefox_comes_back_with_every_event() {
    page_comes_back(Kind::Firefox);
}

fn page_comes_back(kind: Kind) {
    let mut gateway = Gateway::start_tls(&["--dev"]);
    let authority = gateway.certificate().authority();
    let client = PageClient::open_trusting(&authority, kind, Script::EventSource, gateway.own_url(), "orders");
    comes_back_with_every_event(&mut gateway, "orders", client);
}

#[test]
fn pypi_httpx_sse_comes_back_with_every_event() {
    script_comes_back("httpx-sse.py", as_lines);
}

#[test]
fn pypi_requests_sse_comes_back_with_every_event() {
    script_comes_back("requests-sse.py", as_requests_sse_keeps);
}

fn script_comes_back(script: &str, keeps: fn(&str) -> String) {
    let mut gateway = Gateway::start_tls(&["--dev"]);
    let mut command = python_at(script, &format!("{}/events?topic=orders&retry=500", gateway.own_url()));
    command.arg(gateway.certificate().authority());
    comes_back_with_every_event(&mut gateway, "orders", ScriptClient::of(command, keeps));
}
