//! A real Varnish in front of a gateway, as a plain process on a port and in a directory of its own.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::PATIENCE;
use super::process::Process;

/// A running Varnish. Dropping it kills it and its child.
pub(crate) struct Varnish {
    _process: Process,
    port: u16,
    _directory: TempDir,
}

impl Varnish {
    /// Starts it in front of `127.0.0.1:PORT` with these subroutines, and waits until it takes connections.
    #[track_caller]
    pub(crate) fn start(authority: &str, subroutines: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("encke-varnish-").tempdir().expect("a temporary directory");
        let port = authority.rsplit_once(':').expect("an authority has a port").1;
        let backend = format!("backend default {{ .host = \"127.0.0.1\"; .port = \"{port}\"; }}");
        let configuration = directory.path().join("test.vcl");
        fs::write(&configuration, format!("vcl 4.1;\n{backend}\n{subroutines}")).expect("the directory can be written");
        // A port that is free now may be somebody's a moment later: then another.
        for _ in 0..5 {
            let port = free_port();
            let mut command = Command::new("varnishd");
            command.arg("-F").arg("-n").arg(directory.path().join("work")).arg("-f").arg(&configuration);
            command.args([
                "-j",
                "none",
                "-a",
                &format!("127.0.0.1:{port}"),
                "-s",
                "malloc,32m",
                "-p",
                "thread_pool_min=10",
            ]);
            let mut process = Process::spawn(command);
            match is_up(&mut process) {
                Ok(()) => return Self { _process: process, port, _directory: directory },
                Err(words) if words.contains("Address already in use") => {}
                Err(words) => panic!("Varnish did not start:\n{words}"),
            }
        }
        panic!("five ports that were free were not so for Varnish");
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Waits until it says that its child runs; else what it said.
fn is_up(process: &mut Process) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = process.errors();
        if said.contains("Child starts") {
            return Ok(());
        }
        let ended = said.contains("Error:") || said.contains("Could not");
        if ended || Instant::now() >= deadline {
            process.kill9();
            return Err(process.errors());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
