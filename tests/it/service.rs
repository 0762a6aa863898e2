//! Encke as a service: sockets of the file system and of systemd, a restart that nobody notices, what the service manager
//! is told, and the files that come along.

mod container;
mod messages;
mod notify;
mod proxies;
mod restart;
mod sockets;
mod units;

use std::process::Command;

use tempfile::TempDir;

/// Outside `--dev` there is always a key.
const KEY: &str = "key-0123456789abcdef";

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("encke-service-").tempdir().expect("a temporary directory")
}

/// `encke serve` with nothing of the environment that it would heed.
fn serve() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_encke")), &["serve"])
}

fn clean(mut command: Command, args: &[&str]) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["ENCKE_", "LISTEN_", "WATCHDOG_"].iter().any(|ours| name.starts_with(ours)) || name == "PORT" {
            command.env_remove(name.as_ref());
        }
    }
    command.env_remove("NOTIFY_SOCKET").env("ENCKE_PUBLISH_KEY", KEY).args(args);
    command
}
