//! A certificate that is renewed while the gateway runs.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;

use super::KEY;
use crate::configuration::reload::{READ_AGAIN, reload};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};

/// The certificate that the next client is shown.
fn shown(gateway: &Gateway) -> CertificateDer<'static> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let connector = gateway.certificate().connector();
        let socket = TcpStream::connect(gateway.own_url().trim_start_matches("https://")).await.expect("it listens");
        let name = "localhost".try_into().expect("a name");
        let stream = connector.connect(name, socket).await.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("the gateway's");
        chain[0].clone().into_owned()
    })
}

fn in_file(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

#[test]
fn a_new_certificate_holds_from_the_signal_on_and_open_streams_go_on() {
    let mut gateway = Gateway::start_tls(&["--dev"]);
    let first = in_file(&gateway.certificate().file());
    assert_eq!(shown(&gateway), first);
    let mut stream = Connection::open(gateway.address());
    stream.send(Request::get("/events/a").bytes());
    assert_eq!(stream.head().status, 200);
    stream.chunks_until("encke.hello");

    assert!(reload(&mut gateway, READ_AGAIN).contains("changed=[]"), "nothing is new");
    gateway.certificate().renew();
    assert_eq!(shown(&gateway), first, "until the signal");
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[\"certificate\"]"), "{told}");
    let second = in_file(&gateway.certificate().file());
    assert_eq!(shown(&gateway), second);
    assert_ne!(first, second);
    assert_eq!(Request::post("/events/a", "still here").ask(gateway.address()).status, 201);
    stream.chunks_until("still here");
}

#[test]
fn a_wrong_pair_changes_nothing() {
    let mut gateway = Gateway::start_tls(&["--dev"]);
    let first = in_file(&gateway.certificate().file());
    let key = std::fs::read(gateway.certificate().key()).expect("it is there");
    gateway.certificate().renew();
    // As a tool that writes one after the other leaves them for a moment.
    std::fs::write(gateway.certificate().key(), &key).expect("it can be written");
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("does not fit the first certificate"), "{told}");
    assert_eq!(shown(&gateway), first);
    std::fs::remove_file(gateway.certificate().key()).expect("it is there");
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("the private key in") && told.contains("cannot be read"), "{told}");
    assert_eq!(shown(&gateway), first);
    gateway.certificate().renew();
    reload(&mut gateway, READ_AGAIN);
    assert_ne!(shown(&gateway), first);
}

#[test]
fn whether_tls_is_spoken_at_all_waits_for_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("encke.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("it can be written");
    let certificate = crate::support::tls::Certificate::new();
    let pair = || {
        let (certificate, key) = (certificate.file(), certificate.key());
        format!("tls-cert = \"{}\"\ntls-key = \"{}\"\n", certificate.display(), key.display())
    };
    write("");
    let path = file.to_string_lossy().into_owned();
    let mut plain = Gateway::start_with(&["--config", &path, "--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    write(&pair());
    for _ in 0..2 {
        let told = reload(&mut plain, "wait for a restart");
        assert!(told.contains("options=[\"tls-cert\", \"tls-key\"]") && told.contains("changed=[]"), "{told}");
    }
    let poll = Request::get("/events/a?transport=long-poll&timeout=0");
    assert_eq!(poll.ask(plain.address()).status, 200);
    plain.terminate();
    plain.wait();
}
