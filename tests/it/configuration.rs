//! What the operator says, in flags, variables and a file, is what the gateway does; what is wrong is told with its place.

mod checked;
mod options;
pub(crate) mod reload;
mod rules;
mod sources;

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};

/// The key of the gateways in these tests.
const KEY: &str = "a-key-for-tests-only-0123456789";

/// A directory with a configuration, which a test may rewrite.
struct Files {
    directory: TempDir,
}

impl Files {
    fn with(text: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("encke-test-").tempdir().expect("a temporary directory");
        let files = Self { directory };
        files.write("encke.toml", text);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path of the configuration, for the command line.
    fn file(&self) -> String {
        self.path("encke.toml").to_str().expect("a path of UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("it can be written");
    }

    /// A gateway with this configuration and the key.
    #[track_caller]
    fn gateway(&self) -> Gateway {
        Gateway::start_with(&["--config", &self.file()], &[("ENCKE_PUBLISH_KEY", KEY)])
    }

    /// What `encke check` says of it: its code, standard output, standard error. Paths are without the directory.
    #[track_caller]
    fn check(&self, env: &[(&str, &str)]) -> (i32, String, String) {
        let file = self.file();
        check(&[file.as_str()], env, &format!("{}/", self.directory.path().display()))
    }
}

#[track_caller]
fn check(args: &[&str], env: &[(&str, &str)], directory: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENCKE_") || name == "PORT" {
            command.env_remove(name);
        }
    }
    let output = command.arg("check").args(args).envs(env.iter().copied()).output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(directory, "");
    (output.status.code().expect("it ends by itself"), text(&output.stdout), text(&output.stderr))
}

/// Publishes with the key.
#[track_caller]
fn publish(gateway: &Gateway, topic: &str, data: &str) -> Answer {
    Request::post(&format!("/events/{topic}"), data).bearer(KEY).ask(gateway.address())
}

/// Reads without a key what there is on a topic.
#[track_caller]
fn read(gateway: &Gateway, topic: &str) -> Answer {
    Request::get(&format!("/events/{topic}?transport=long-poll&timeout=0&last=1000")).ask(gateway.address())
}

/// The sum of the samples of a metric that begin so and contain the label.
#[track_caller]
fn metric(gateway: &Gateway, begin: &str, label: &str) -> f64 {
    let text = Request::get("/metrics").ask(gateway.admin_url().trim_start_matches("http://")).text();
    let samples = text.lines().filter(|line| line.starts_with(begin) && line.contains(label));
    let values: Vec<f64> =
        samples.map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number")).collect();
    assert!(!values.is_empty(), "there is no {begin} with {label}");
    values.iter().sum()
}
