//! A real Varnish in front of a gateway, as a plain process on a port and in a directory of its own.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::server::started;

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
        let command = |port| {
            let mut command = Command::new("varnishd");
            command.arg("-F").arg("-n").arg(directory.path().join("work")).arg("-f").arg(&configuration);
            command.args(["-j", "none", "-s", "malloc,32m", "-p", "thread_pool_min=10"]);
            command.arg("-a").arg(format!("127.0.0.1:{port}"));
            command
        };
        let (process, port) = started(command, |process, _| process.errors().contains("Child starts"));
        Self { _process: process, port, _directory: directory }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
