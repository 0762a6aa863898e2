//! Intermediaries as their makers set them up: one runs in front of an origin, in a directory of its own, as a user who may
//! do nothing else.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::http1::Connection;
use super::process::Process;
use super::server::started;
use super::wait_for;

/// All that it takes to run one. In its texts these words stand for what is known only then: `{listen_port}`,
/// `{origin_port}`, `{dir}` its directory, and `{settings}` the lines that a test wants. Both addresses are 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sheet {
    /// The program, and how it stays in the foreground.
    pub(crate) command: &'static [&'static str],
    /// Its files: names and texts.
    pub(crate) files: &'static [(&'static str, &'static str)],
}

/// A running intermediary. Dropping it ends it.
pub(crate) struct Proxy {
    sheet: Sheet,
    process: Process,
    port: u16,
    origin: String,
    directory: TempDir,
}

/// Where those programs are that do not come from Debian.
pub(crate) const BIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.deps/proxies/bin");

/// `nobody`, who runs them where the tests are run by root.
const NOBODY: u32 = 65_534;

impl Proxy {
    /// Starts it in front of the gateway at `origin` (`127.0.0.1:PORT`), and waits until requests get through.
    #[track_caller]
    pub(crate) fn start(sheet: Sheet, origin: &str, settings: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("encke-proxy-").tempdir().expect("a temporary directory");
        let (process, port) = started(
            |port| command(&sheet, directory.path(), port, origin, settings),
            |_, port| gets_through(&format!("127.0.0.1:{port}")),
        );
        Self { sheet, process, port, origin: origin.to_owned(), directory }
    }

    /// Ends it and starts it again where it was, with other settings.
    #[track_caller]
    pub(crate) fn restart(&mut self, settings: &str) {
        let port = self.port;
        loop {
            self.end();
            // The port may serve as the local end of somebody's connection for a moment.
            wait_for("the port to be free", || TcpListener::bind(("127.0.0.1", port)).is_ok());
            self.process = Process::spawn(command(&self.sheet, self.directory.path(), port, &self.origin, settings));
            let mut has_ended = false;
            wait_for("requests to get through again", || {
                has_ended = self.process.has_ended();
                has_ended || gets_through(&self.address())
            });
            if !has_ended {
                return;
            }
            let said = self.process.errors();
            assert!(super::server::is_taken(&said), "it did not start again:\n{said}");
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Asks it to end and waits for a while: Squid leaves files in `/dev/shm` when it is killed. Then it is.
    fn end(&mut self) {
        self.process.terminate();
        for _ in 0..500 {
            if self.process.has_ended() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.process.kill9();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes its files, and says how to run it.
fn command(sheet: &Sheet, directory: &Path, port: u16, origin: &str, settings: &str) -> Command {
    let origin_port = origin.rsplit_once(':').expect("an authority has a port").1;
    let filled = |text: &str| {
        // The settings first: there are places in them, too.
        let text = text.replace("{settings}", settings).replace("{listen_port}", &port.to_string());
        text.replace("{origin_port}", origin_port).replace("{dir}", &directory.display().to_string())
    };
    for (name, text) in sheet.files {
        fs::write(directory.join(name), filled(text)).expect("the directory can be written");
    }
    let mut words = sheet.command.iter().map(|word| filled(&word.replace("{bin}", BIN)));
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).current_dir(directory);
    // Nothing of this machine's settings: Caddy, for one, writes where these say.
    for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "TMPDIR"] {
        command.env(name, directory);
    }
    if fs::metadata("/proc/self").expect("there is /proc").uid() == 0 {
        let own = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
        own(directory);
        sheet.files.iter().for_each(|(name, _)| own(&directory.join(name)));
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Whether the gateway answers through it. That it takes connections is not enough: Traefik does before it knows the way.
fn gets_through(address: &str) -> bool {
    let ask = || -> std::io::Result<u16> {
        TcpStream::connect(address)?;
        Ok(Connection::open(address)?.exchange("GET /health/ready", &[("Connection", "close")], b"")?.status)
    };
    matches!(ask(), Ok(200 | 204))
}
