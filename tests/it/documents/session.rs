//! Runs the examples of one document, one after the other, as a reader would: in one directory, against the gateway that
//! the document last told them to start.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::time::Instant;

use super::markdown::{Block, Example, Mark};
use super::shape::Bindings;
use crate::support::PATIENCE;
use crate::support::process::Process;

/// The ports that the documents speak of: the public one and the one for operators.
const PORTS: [&str; 2] = [":8080", ":8081"];

/// A reader who follows a document.
pub(super) struct Session {
    document: &'static str,
    directory: TempDir,
    gateway: Option<Serving>,
    bindings: Bindings,
}

/// A gateway that an example started.
struct Serving {
    process: Process,
    /// `:PORT` of each listener, in the order of [`PORTS`].
    ports: [String; 2],
}

impl Session {
    pub(super) fn new(document: &'static str) -> Self {
        let directory = tempfile::Builder::new().prefix("encke-document-").tempdir().expect("a temporary directory");
        // On a terminal curl shows no progress while it prints; here it would. The time is an upper limit only.
        let inside = |name: &str| directory.path().join(name);
        std::fs::write(inside(".curlrc"), "no-progress-meter\nmax-time = 120\n").expect("it can be written");
        // The log of the machine's package manager: its beginning, as the whole may be long.
        let log = std::fs::read_to_string("/var/log/dpkg.log").expect("a machine with apt has it");
        let beginning: String = log.lines().take(100).map(|line| format!("{line}\n")).collect();
        std::fs::create_dir_all(inside("var/log")).expect("a directory can be made");
        std::fs::write(inside("var/log/dpkg.log"), beginning).expect("it can be written");
        Self { document, directory, gateway: None, bindings: Bindings::default() }
    }

    /// Runs one example and compares what it prints.
    #[track_caller]
    pub(super) fn run(&mut self, example: &Example) {
        if example.mark == Mark::NoRun {
            return;
        }
        let script = self.as_run_here(&example.script);
        if script.contains("encke serve")
            && example.output.as_ref().is_none_or(|output| output.text.contains("listening on"))
        {
            return self.serve(&script, example);
        }
        if self.gateway.is_none() {
            self.gateway = Some(self.start("encke serve --dev", |_, ports| ports[0].len() > 1));
        }
        let gateway = self.gateway.as_ref().expect("the lines above started one");
        let group = gateway.process.id();
        let applied = with_ports(&self.bindings.applied(&script), &gateway.ports);
        let mut process = Process::spawn(shell(self.directory.path(), &applied, Some(&gateway.ports)));
        let endless = never_ends(&script);
        let deadline = Instant::now() + PATIENCE;
        let mut printed = Vec::new();
        while let Some(line) = process.line(deadline.saturating_duration_since(Instant::now())) {
            printed.push(line);
            if example.mark == Mark::Drain && printed.len() == 1 {
                terminate(group);
            } else if endless && example.mark == Mark::Run && self.is_documented(example, &printed, false) {
                return;
            }
        }
        let whole = Instant::now() < deadline && (!endless || example.mark == Mark::Drain);
        if whole && self.is_documented(example, &printed, true) {
            let status = process.wait(PATIENCE);
            assert!(status.success(), "{}: it ended with {status}", self.place(example));
            if example.mark == Mark::Drain {
                self.gateway.take().expect("it was told to stop").process.wait(PATIENCE);
            }
            return;
        }
        self.fail(example, &printed);
    }

    /// The script with the program just built, and inside the document's directory.
    fn as_run_here(&self, script: &str) -> String {
        let var = self.directory.path().join("var");
        let built = script.replace("cargo run --release --", "encke").replace("target/release/encke", "encke");
        // Nothing of a test listens beyond this machine.
        built.replace(" /var/", &format!(" {}/", var.display())).replace("--listen 0.0.0.0", "--listen 127.0.0.1")
    }

    /// Starts the gateway of the examples that follow.
    #[track_caller]
    fn serve(&mut self, script: &str, example: &Example) {
        if let Some(mut former) = self.gateway.take() {
            terminate(former.process.id());
            former.process.wait(PATIENCE); // The data directory is its own until then.
        }
        let mut seen = Vec::new();
        let serving = self.start(script, |printed, ports| {
            printed.clone_into(&mut seen);
            let bindings = &mut Bindings::default();
            match &example.output {
                None => ports[0].len() > 1,
                Some(output) => bindings.matches(&with_ports(&output.text, ports), printed, false),
            }
        });
        if serving.ports[0].is_empty() {
            self.fail(example, &seen);
        }
        self.gateway = Some(serving);
    }

    /// Starts a gateway on ports of its own choice, and reads what it prints until that is `enough`. One that never
    /// prints enough is given back without ports.
    fn start(&self, script: &str, mut enough: impl FnMut(&[String], &[String; 2]) -> bool) -> Serving {
        let script = with_ports(script, &PORTS.map(|_| ":0".to_owned()));
        let process = Process::spawn(shell(self.directory.path(), &script, None));
        let deadline = Instant::now() + PATIENCE;
        let mut ports = [String::new(), String::new()];
        let mut printed = Vec::new();
        while let Some(line) = process.line(deadline.saturating_duration_since(Instant::now())) {
            for (port, before) in ports.iter_mut().zip(["listening on ", "admin on "]) {
                // A gateway may listen on Unix sockets too, and its URL may have a path.
                let url = line.strip_prefix(before).and_then(|place| place.split_once("://"));
                if let Some((_, found)) = url.and_then(|(_, url)| url.rsplit_once(':')) {
                    let digits = found.trim_end_matches(|c: char| !c.is_ascii_digit());
                    *port = format!(":{}", digits.split('/').next().unwrap_or_default());
                }
            }
            printed.push(line);
            if enough(&printed, &ports) {
                return Serving { process, ports };
            }
        }
        Serving { process, ports: Default::default() }
    }

    #[track_caller]
    fn is_documented(&mut self, example: &Example, printed: &[String], whole: bool) -> bool {
        match (&example.output, &self.gateway) {
            (None, _) => {
                assert!(whole, "{}: it does not end, so the document must say what it prints", self.place(example));
                true
            }
            (Some(Block { info, text, .. }), _) if info == "json" => self.bindings.matches_json(text, printed),
            (Some(Block { text, .. }), Some(gateway)) => {
                self.bindings.matches(&with_ports(text, &gateway.ports), printed, whole)
            }
            (Some(_), None) => false,
        }
    }

    fn place(&self, example: &Example) -> String {
        format!("{}:{}", self.document, example.line)
    }

    #[track_caller]
    fn fail(&self, example: &Example, printed: &[String]) -> ! {
        let documented = example.output.as_ref().map_or("", |output| output.text.as_str());
        panic!(
            "{} does not print what the document says\n{}--- documented\n{documented}--- printed\n{}\n---",
            self.place(example),
            example.script,
            printed.join("\n")
        );
    }
}

/// Whether a script goes on until it is ended from outside.
fn never_ends(script: &str) -> bool {
    script.lines().any(|line| {
        let says = |word: &str| line.split(' ').any(|found| found == word);
        (says("curl") && says("-N") && !says("-m"))
            || (line.contains("encke subscribe") && !says("--count"))
            || (line.contains("encke tail") && !says("--once"))
    })
}

/// `text` with other ports in place of the documents' own. A listener that is not there keeps the document's port.
fn with_ports(text: &str, ports: &[String; 2]) -> String {
    let named = PORTS.iter().zip(ports).filter(|(_, port)| !port.is_empty());
    named.fold(text.to_owned(), |text, (documented, port)| text.replace(documented, port))
}

/// A script as a terminal would run it; what it says on standard error is seen too.
fn shell(directory: &Path, script: &str, ports: Option<&[String; 2]>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec 2>&1\n{script}")]).current_dir(directory);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENCKE_") || name == "PORT" {
            command.env_remove(name);
        }
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_encke")).parent().expect("a program lies in a directory");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [binary.to_path_buf()].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(paths).expect("paths without a colon"));
    command.env("HOME", directory).env("CURL_HOME", directory).env_remove("XDG_CONFIG_HOME");
    command.envs([("ENCKE_LISTEN", "127.0.0.1:0"), ("ENCKE_ADMIN", "127.0.0.1:0")]);
    if let Some([public, _]) = ports {
        command.env("ENCKE_URL", format!("http://127.0.0.1{public}"));
    }
    command
}

/// Tells a process and all that it started to end (`SIGTERM`).
fn terminate(group: u32) {
    let sent = Command::new("kill").args(["-s", "TERM", "--", &format!("-{group}")]).status();
    assert!(sent.expect("the command `kill` can be run (package procps)").success(), "the gateway has ended already");
}
