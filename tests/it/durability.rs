//! What was acknowledged is there, whatever happens to the gateway; and what happens to it is told to those who read.

mod backup;
mod crash;
mod data_directory;
mod drain;
mod full_disk;
mod slow_reader;
mod sync;

use crate::support::gateway::Gateway;

/// The publish key of these gateways.
const KEY: &str = "a-key-for-tests-of-durability";

/// A gateway that everybody may read, with further options.
#[track_caller]
fn gateway(options: &[&str]) -> Gateway {
    Gateway::start_with(&[&["--read", "public"], options].concat(), &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// A number below `bound`, drawn by the operating system.
fn draw(bound: u32) -> u32 {
    getrandom::u32().expect("the operating system gives random numbers") % bound
}
