//! The commands over `https`: whom they trust, and that they come back.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::process::Process;

fn encke(args: &[&str], gateway: &Gateway, ca: Option<&Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(args).env_remove("ENCKE_PUBLISH_KEY").env_remove("ENCKE_PUBLISH_KEY_FILE");
    command.env("ENCKE_URL", gateway.own_url()).env_remove("ENCKE_CA").envs(ca.map(|ca| ("ENCKE_CA", ca)));
    command
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn they_trust_what_they_are_told_to_and_nothing_else() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let other = Gateway::start_tls(&["--dev"]);
    let publish = |ca: Option<&Path>| told(&encke(&["publish", "a", "x"], &gateway, ca).output().expect("encke runs"));
    let refused = |ca: Option<&Path>, words: &str| {
        let (code, errors) = publish(ca);
        assert!(code == Some(1) && errors.contains(words), "{words:?} is not in {errors}");
    };
    let certificate = gateway.certificate();
    assert_eq!(publish(Some(&certificate.authority())), (Some(0), String::new()));
    assert_eq!(publish(Some(&certificate.file())), (Some(0), String::new()), "the gateway's own, pinned");
    refused(None, "--ca");
    refused(Some(&other.certificate().authority()), "invalid peer certificate");
    refused(Some(Path::new("/nowhere/ca.pem")), "/nowhere/ca.pem cannot be read");
    refused(Some(&certificate.key()), "holds no certificate");
}

#[test]
fn a_certificate_of_its_own_making_is_trusted_for_its_names_and_in_its_time() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    // What most people make. It is an authority's and the gateway's at once.
    let made = |name: &str, certificate: &str| {
        let names = format!("subjectAltName={name}");
        let (key, certificate) = (path("key.pem"), path(certificate));
        let args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=x"];
        let files = ["-keyout", &key, "-out", &certificate, "-addext", &names];
        let output = Command::new("openssl").args(args).args(files).output().expect("openssl runs");
        assert!(output.status.success(), "{output:?}");
        certificate
    };
    for (name, trusted) in [("DNS:localhost,IP:127.0.0.1", true), ("DNS:other.example", false)] {
        let certificate = made(name, "cert.pem");
        let gateway = Gateway::start(&["--dev", "--tls-cert", &certificate, "--tls-key", &path("key.pem")]);
        let (code, errors) =
            told(&encke(&["publish", "a", "x", "--ca", &certificate], &gateway, None).output().expect("it runs"));
        assert_eq!(code == Some(0), trusted, "{name}: {errors}");
        assert!(trusted || errors.contains("NotValidForName") || errors.contains("not valid for name"), "{errors}");
        let another = made(name, "another.pem");
        let (code, errors) =
            told(&encke(&["publish", "a", "x", "--ca", &another], &gateway, None).output().expect("it runs"));
        assert_eq!(code, Some(1), "another of the same name: {errors}");
    }
}

#[test]
fn subscribe_comes_back_and_misses_nothing() {
    let mut gateway = Gateway::start_tls(&["--dev"]);
    let authority = gateway.certificate().authority();
    let publish = |gateway: &Gateway, data: &str| {
        assert!(encke(&["publish", "a", data], gateway, Some(&authority)).status().expect("encke runs").success());
    };
    publish(&gateway, "one");
    let mut reader =
        Process::spawn(encke(&["subscribe", "a", "--from", "earliest", "--count", "3"], &gateway, Some(&authority)));
    assert_eq!(reader.line(PATIENCE).as_deref(), Some("one"));
    gateway.restart();
    publish(&gateway, "two");
    assert_eq!(reader.line(PATIENCE).as_deref(), Some("two"));
    publish(&gateway, "three");
    assert_eq!(reader.line(PATIENCE).as_deref(), Some("three"));
    assert_eq!(reader.wait(PATIENCE).code(), Some(0));
}

#[test]
fn tail_publishes_to_a_gateway_that_it_is_told_to_trust() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let authority = gateway.certificate().authority();
    let file = gateway.data_dir().join("lines");
    std::fs::write(&file, "one\ntwo\n").expect("it can be written");
    let file = file.to_string_lossy();
    let args = ["tail", &file, "--topic", "t", "--from-start", "--once"];
    let output = encke(&args, &gateway, Some(&authority)).output().expect("encke runs");
    assert!(output.status.success(), "{output:?}");
    let read = encke(&["subscribe", "t", "--once", "--from", "earliest"], &gateway, Some(&authority)).output();
    assert_eq!(String::from_utf8_lossy(&read.expect("encke runs").stdout), "one\ntwo\n");
}

#[test]
fn bench_loads_what_it_is_told_to_trust_over_both_versions() {
    let gateway = Gateway::start_tls(&["--dev"]);
    let authority = gateway.certificate().authority();
    for version in [None, Some("--http2")] {
        let load = ["--connections", "3", "--duration", "1s", "--publish-rate", "10", "--json"];
        let args: Vec<&str> =
            ["bench", gateway.own_url(), "--topic", "a"].into_iter().chain(load).chain(version).collect();
        let output = encke(&args, &gateway, Some(&authority)).output().expect("encke runs");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let delivered = &report["runs"][0]["delivered"];
        assert!(output.status.success() && delivered["lost"] == 0, "{version:?}: {output:?}");
        assert!(delivered["events"].as_u64().is_some_and(|events| events >= 15), "{version:?}: {report}");
    }
    let (code, errors) = told(
        &encke(&["bench", gateway.own_url(), "--topic", "a", "--duration", "1s"], &gateway, None)
            .output()
            .expect("encke runs"),
    );
    assert!(code == Some(1) && errors.contains("TLS"), "{errors}");
}
