//! A child process in a group of its own, whose output is read while it runs and which never outlives the test.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

/// A running child. Dropping it kills it and all that it started; if the test is failing, its errors are printed.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Receiver<String>,
    errors: Arc<Mutex<String>>,
    error_reader: Option<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with no standard input, as the leader of a process group.
    ///
    /// Panics if it cannot be started: then `tests/run --install-only` has not been run.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// The same with something to read, or a socket to listen on.
    pub(crate) fn spawn_with(mut command: Command, stdin: Stdio) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.process_group(0).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {name}: {error} (`tests/run --install-only` installs what is missing)")
        });
        let stdout = lines(child.stdout.take().expect("standard output is piped"));
        let (errors, error_reader) = collect(child.stderr.take().expect("standard error is piped"));
        Self { name, child, stdout, errors, error_reader: Some(error_reader), ended: None }
    }

    /// The process id, which is also its group's.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output, or `None` if there is none within `patience` or there will be none.
    pub(crate) fn line(&self, patience: Duration) -> Option<String> {
        self.stdout.recv_timeout(patience).ok()
    }

    /// How it ended: its code, its output and its errors.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (Option<i32>, String, String) {
        let lines: Vec<_> = std::iter::from_fn(|| self.line(super::PATIENCE)).collect();
        let code = self.wait(super::PATIENCE).code();
        (code, lines.join("\n"), self.errors())
    }

    /// What it wrote to standard error so far; all of it, once it has been waited for.
    pub(crate) fn errors(&self) -> String {
        self.errors.lock().expect("no reader of errors panics").clone()
    }

    /// Whether it has ended by itself; then all its errors are there.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait().expect("a child can be asked for")
        {
            kill("KILL", &format!("-{}", self.child.id())); // What it left running holds its output open.
            self.reaped(status);
        }
        self.ended.is_some()
    }

    /// Asks it to end (`SIGTERM`).
    pub(crate) fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Sends a signal, by its name, to the process alone.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.ended.is_none() {
            kill(signal, &self.child.id().to_string());
        }
    }

    /// Sends a signal, by its name, to the process and everything in its group.
    pub(crate) fn signal_all(&mut self, signal: &str) {
        if self.ended.is_none() {
            kill(signal, &format!("-{}", self.child.id()));
        }
    }

    /// Kills it, and everything in its group, as a power cut would (`SIGKILL`), and waits until it is gone.
    pub(crate) fn kill9(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        kill("KILL", &format!("-{}", self.child.id()));
        let status = self.child.wait().expect("a child can be waited for");
        self.reaped(status)
    }

    /// Waits for its end, told by the end of its output. Panics, with its errors, when `patience` runs out.
    #[track_caller]
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let deadline = Instant::now() + patience;
        loop {
            match self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{} did not end within {patience:?}", self.name),
            }
        }
        let status = self.child.wait().expect("a child can be waited for");
        // What it left running belongs to the test as well.
        kill("KILL", &format!("-{}", self.child.id()));
        self.reaped(status)
    }

    fn reaped(&mut self, status: ExitStatus) -> ExitStatus {
        if let Some(reader) = self.error_reader.take() {
            reader.join().expect("no reader of errors panics");
        }
        self.ended = Some(status);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let before = self.ended;
        self.kill9();
        if std::thread::panicking() {
            let state = before.map_or("was still running".to_owned(), |status| match status.signal() {
                Some(signal) => format!("had been ended by signal {signal}"),
                None => format!("had ended by itself: {status}"),
            });
            eprintln!("--- {} {state}; its errors:\n{}\n---", self.name, self.errors());
        }
    }
}

/// Sends a signal to a process, or with a leading `-` to a group. That nobody is left to get it is no failure.
///
/// By the command, because the call is `unsafe` without a further library.
fn kill(signal: &str, target: &str) {
    let sent = Command::new("kill").args(["-s", signal, "--", target]).stderr(Stdio::null()).status();
    sent.expect("the command `kill` can be run (package procps)");
}

/// Hands over what a child writes, line by line; the other end is disconnected when the child closes its output.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // A test that no longer listens must not make the child block on a full pipe: read on.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn collect(mut output: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let errors = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&errors);
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            kept.lock().expect("no reader of errors panics").push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    });
    (errors, reader)
}
