//! A server that others wrote, on a port that was free.

use std::net::TcpListener;
use std::process::Command;

use super::process::Process;
use super::wait_for;

/// How servers say that somebody else has their port.
const TAKEN: [&str; 2] = ["ddress already in use", "cannot bind"];

/// Starts what `command` makes for a port, and waits until `is_up`. Panics, with its errors, if it ends before.
///
/// These servers cannot be given port 0, so a port that is free now may be somebody's a moment later: then another.
#[track_caller]
pub(crate) fn started(
    mut command: impl FnMut(u16) -> Command,
    mut is_up: impl FnMut(&Process, u16) -> bool,
) -> (Process, u16) {
    for _ in 0..5 {
        let port = free_port();
        let mut process = Process::spawn(command(port));
        let mut taken = false;
        wait_for("a server to be up", || {
            let has_ended = process.has_ended();
            let said = process.errors();
            taken = is_taken(&said);
            assert!(taken || !has_ended, "a server did not start:\n{said}");
            taken || is_up(&process, port)
        });
        if !taken {
            return (process, port);
        }
    }
    panic!("five ports that were free were not so for a server");
}

/// Whether a server says that somebody else has its port.
pub(crate) fn is_taken(said: &str) -> bool {
    TAKEN.iter().any(|words| said.contains(words))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
