//! The client commands against a real gateway that dies under them: what goes in by `tail` and `publish` comes out once,
//! in order.

mod commands;
mod imports;
mod inputs;
mod package_log;
mod packages;
mod places;

use std::ffi::OsStr;
use std::process::Command;

use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::told::all_after;
use crate::support::wait_for;

/// The publish key of these gateways.
const KEY: &str = "a-key-for-tests-of-following";

/// A gateway that everybody may read, with further options.
#[track_caller]
fn gateway(options: &[&str]) -> Gateway {
    Gateway::start_with(&[&["--read", "public"], options].concat(), &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// The command `encke` with `arguments`, for this gateway and with its key.
fn command<A: AsRef<OsStr>>(gateway: &Gateway, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(arguments).env("ENCKE_URL", gateway.url()).env("ENCKE_PUBLISH_KEY", KEY);
    command
}

/// Starts it.
fn encke<A: AsRef<OsStr>>(gateway: &Gateway, arguments: impl IntoIterator<Item = A>) -> Process {
    Process::spawn(command(gateway, arguments))
}

/// The data of every event that is stored.
fn stored(gateway: &Gateway) -> Vec<String> {
    all_after(gateway.address(), None).into_iter().map(|event| event.data).collect()
}

/// Waits until so many events are stored.
#[track_caller]
fn wait_for_stored(gateway: &Gateway, count: usize) {
    wait_for("events to be stored", || stored(gateway).len() >= count);
}
