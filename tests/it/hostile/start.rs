//! Starts that cannot be: each says what to mend, and leaves others alone.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use tempfile::TempDir;

use super::KEY;
use super::publish::assert_stored;
use crate::support::PATIENCE;
use crate::support::gateway::{Addresses, Gateway};
use crate::support::http::Request;
use crate::support::process::Process;

/// `encke serve` without the port, admin address and data that `Gateway` would give it.
pub(crate) fn serve(args: &[&str], env: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENCKE_") || name == "PORT" {
            command.env_remove(name);
        }
    }
    command.arg("serve").args(args).envs(env.iter().copied());
    Process::spawn(command)
}

pub(super) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("encke-test-").tempdir().expect("a temporary directory")
}

#[test]
fn a_start_that_cannot_be_says_what_to_mend() {
    let data = directory();
    let data = data.path().to_str().expect("a path of UTF-8");
    let place = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data];
    let refuse = |args: &[&str], env: &[(&str, &str)], words: &[&str]| {
        let mut process = serve(&[&place[..], args].concat(), env);
        let status = process.wait(PATIENCE);
        let errors = process.errors();
        assert!(status.code().is_some_and(|code| code != 0), "{args:?}: {status} {errors}");
        for word in words {
            assert!(errors.contains(word), "{args:?}: {word:?} is not in {errors}");
        }
        assert!(!errors.contains("panicked"), "{errors}");
    };
    refuse(&[], &[], &["needs a key", "--publish-key-file", "ENCKE_PUBLISH_KEY", "openssl rand", "--dev"]);
    refuse(&[], &[("ENCKE_PUBLISH_KEY", "hunter2")], &["7 characters", "at least 16"]);
    refuse(&[], &[("ENCKE_PUBLISH_KEY", "")], &["0 characters"]);
    refuse(&[], &[("ENCKE_PUBLISH_KEY", "with a blank in the middle")], &["none of them blank"]);
    refuse(&[], &[("ENCKE_PUBLISH_KEY", "sixteen-letters-ü")], &["outside ASCII"]);
    refuse(&["--dev"], &[("ENCKE_PUBLISH_KEY", "hunter2")], &["at least 16"]);
    refuse(&["--publish-key-file", "/nowhere/key"], &[], &["/nowhere/key", "cannot be read"]);
    refuse(&["--dev", "--cors-origin", "app.example"], &[], &["app.example", "https://www.example.com"]);
    for origins in ["*", "https://app.example,*"] {
        let words = ["--cors-origin *", "--read public", "list the origins"];
        refuse(&["--cors-origin", origins], &[("ENCKE_PUBLISH_KEY", KEY)], &words);
    }
    let words = ["--trusted-proxy none", "leave out the one or the others"];
    refuse(&["--dev", "--trusted-proxy", "none,private"], &[], &words);
    refuse(&["--dev", "--heartbeat", "4"], &[], &["--heartbeat", "5..=3600"]);
    refuse(&["--dev", "--log-level", "encke=loud"], &[], &["--log-level"]);
    refuse(&["--dev", "--publish-key", KEY], &[], &["--publish-key"]);

    let mut process = serve(&["--dev", "--data", data], &[("PORT", "http")]);
    assert!(!process.wait(PATIENCE).success());
    assert!(process.errors().contains("PORT: \"http\" is not a port"), "{}", process.errors());

    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let taken = taken.local_addr().expect("an address").to_string();
    let key = [("ENCKE_PUBLISH_KEY", KEY)];
    for (listen, admin) in [(taken.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", taken.as_str())] {
        let mut process = serve(&["--listen", listen, "--admin", admin, "--data", data], &key);
        assert!(!process.wait(PATIENCE).success());
        let errors = process.errors();
        assert!(errors.contains(&format!("cannot listen on {taken}")), "{errors}");
        assert_eq!(errors.matches("in use").count(), 1, "the cause once: {errors}");
    }
}

#[test]
fn a_start_that_cannot_be_says_its_cause_once() {
    let (data, key) = (directory(), [("ENCKE_PUBLISH_KEY", KEY)]);
    let file = data.path().join("encke.db");
    let start = |args: &[&str], cause: &str| {
        let data = data.path().to_str().expect("a path of UTF-8");
        let mut process =
            serve(&[&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data], args].concat(), &key);
        assert!(!process.wait(PATIENCE).success());
        let errors = process.errors();
        assert_eq!(errors.matches(cause).count(), 1, "{cause}: {errors}");
    };
    start(&["--publish-key-file", "/nowhere/key"], "No such file or directory");
    start(&["--log-level", "encke=loud"], "expected one of");
    std::fs::create_dir(&file).expect("a directory in the place of the file");
    start(&[], "unable to open database file");
    std::fs::remove_dir(&file).expect("an empty directory");
    std::fs::write(&file, "this is not what SQLite writes".repeat(10)).expect("a file");
    start(&[], "file is not a database");
}

#[test]
fn a_second_process_on_the_same_data_is_refused_and_the_first_goes_on() {
    let gateway = Gateway::start(&["--dev"]);
    let data = gateway.data_dir().to_str().expect("a path of UTF-8");
    let mut second = serve(&["--dev", "--listen", "127.0.0.1:0", "--data", data], &[]);
    assert!(!second.wait(PATIENCE).success());
    let errors = second.errors();
    for words in [data, "used by another process", "stop that one first"] {
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
    assert_stored("the first", &Request::post("/events/t", "x").ask(gateway.address()));
}

#[test]
fn the_variable_port_is_the_port_unless_an_address_is_given() {
    let data = directory();
    let data = data.path().to_str().expect("a path of UTF-8");
    let public = |args: &[&str], env: &[(&str, &str)]| {
        let mut process = serve(&[&["--dev", "--data", data], args].concat(), env);
        let addresses = Addresses::told_by(&mut process, true).expect("it listens");
        addresses.public.expect("an address").trim_start_matches("http://").parse::<SocketAddr>().expect("an address")
    };
    let free = public(&[], &[("PORT", "0")]);
    assert!(free.ip() == Ipv4Addr::LOCALHOST && free.port() != 8080, "{free}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let taken = taken.local_addr().expect("an address").port().to_string();
    public(&["--listen", "127.0.0.1:0"], &[("PORT", &taken)]);
    public(&[], &[("ENCKE_LISTEN", "127.0.0.1:0"), ("PORT", &taken)]);
    public(&["--listen", "127.0.0.1:0"], &[("PORT", "http")]);
}

#[test]
fn variables_that_look_like_ours_and_are_not_are_named_in_one_warning_without_their_values() {
    let secret = "a-secret-meant-for-another-name";
    let unknown = [("ENCKE_PUBLISHKEY", secret), ("ENCKE_PORT_8080_TCP", secret)];
    let known = [("ENCKE_PUBLISH_KEY", KEY), ("ENCKE_URL", "http://h"), ("ENCKE_HEARTBEAT", "20"), ("ENCKEX", "x")];
    let mut gateway = Gateway::start_with(&["--dev"], &[&unknown[..], &known].concat());
    let errors = gateway.process().errors();
    let warnings: Vec<_> = errors.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings[..] else { panic!("one warning: {errors}") };
    assert!(unknown.iter().all(|(name, _)| warning.contains(&format!("\"{name}\""))), "{warning}");
    assert!(known.iter().all(|(name, _)| !warning.contains(&format!("\"{name}\""))), "{warning}");
    assert!(!errors.contains(secret), "{errors}");
    let mut quiet = Gateway::start_with(&["--dev"], &known);
    assert!(!quiet.process().errors().contains("WARN"), "{}", quiet.process().errors());
}
