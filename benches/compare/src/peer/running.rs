//! Processes of a server that runs, and how they end.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};
use tempfile::TempDir;

use super::{Door, Programs, SERVER_CORE, Setting};
use crate::process::{Memory, Tree};

/// A server that runs. It ends when this is dropped, or when this program dies.
pub struct Running {
    /// How it is spoken to.
    pub door: Door,
    /// In the order in which they are stopped.
    processes: Vec<Counted>,
    directory: TempDir,
}

struct Counted {
    child: Child,
    counts: bool,
}

/// A server that is being started.
pub(super) struct Starting {
    processes: Vec<Counted>,
    directory: TempDir,
    own: PathBuf,
    counting_instructions: bool,
}

/// What a program is run as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The server that is measured.
    Server,
    /// Something that it needs, which does not count.
    Beside,
}

impl Starting {
    pub(super) fn new(programs: &Programs, setting: &Setting) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("encke-compare-").tempdir()?;
        let counting_instructions = setting.counting_instructions;
        Ok(Self { processes: Vec::new(), directory, own: programs.own.clone(), counting_instructions })
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a program on the processor of the servers.
    pub(super) fn run(
        &mut self,
        part: Part,
        program: impl AsRef<OsStr>,
        configure: impl FnOnce(&mut Command),
    ) -> Result<&mut Child> {
        let program = program.as_ref();
        let mut command = Command::new(&self.own);
        command.arg("launch");
        if self.counting_instructions && part == Part::Server {
            command.args(["valgrind", "--tool=callgrind", "--trace-children=yes", "-q"]);
            command.arg(format!("--callgrind-out-file={}/callgrind.%p", self.directory.path().display()));
        }
        command.arg(program);
        configure(&mut command);
        command.stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("{} could not be started", program.display()))?;
        self.processes.insert(0, Counted { child, counts: part == Part::Server });
        Ok(&mut self.processes[0].child)
    }

    pub(super) fn done(self, door: Door) -> Running {
        Running { door, processes: self.processes, directory: self.directory }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// The name of a server's certificate in its directory.
pub(super) const CERTIFICATE: &str = "certificate.pem";

impl Running {
    /// The certificate that the server shows; there is no such file if it speaks no TLS.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join(CERTIFICATE)
    }

    /// Nanoseconds that the server has run.
    pub fn cpu_nanos(&self) -> Result<u64> {
        self.trees().map(|tree| tree.cpu_nanos()).sum()
    }

    /// Nanoseconds that the program has run which was started first: of several the one behind the others.
    pub fn first_cpu_nanos(&self) -> Result<u64> {
        self.trees().last().map_or(Ok(0), |tree| tree.cpu_nanos())
    }

    /// Memory of the server.
    pub fn memory(&self) -> Memory {
        self.trees().map(|tree| tree.memory()).fold(Memory::default(), |sum, memory| Memory {
            anonymous: sum.anonymous + memory.anonymous,
            proportional: sum.proportional + memory.proportional,
        })
    }

    /// Waits until the server has done what it was asked.
    pub fn wait_until_calm(&self) -> Result<()> {
        self.trees().try_for_each(|tree| tree.wait_until_calm())
    }

    /// All processes of the server.
    pub fn processes(&self) -> Vec<u32> {
        self.trees().flat_map(|tree| tree.processes()).collect()
    }

    /// Ends the server, and gives the directory in which it left its files.
    pub fn stop(mut self) -> TempDir {
        self.processes.clear();
        self.directory
    }

    fn trees(&self) -> impl Iterator<Item = Tree> {
        self.processes.iter().filter(|process| process.counts).map(|process| Tree::new(process.child.id()))
    }
}

/// Asks a process to end, and after ten seconds no longer asks.
fn stop(child: &mut Child) {
    let Some(id) = Pid::from_raw(child.id() as i32) else { return };
    let _ = kill_process(id, Signal::TERM);
    for _ in 0..1000 {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Becomes `command`, on the processor of the servers; it will be asked to end when its parent dies.
pub fn launch(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    pin(SERVER_CORE)?;
    set_parent_process_death_signal(Some(Signal::TERM)).context("prctl")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("{program} could not be started"))
}

/// Keeps this thread on one processor.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| {
        format!(
            "this process may not use processor {core}; the comparison needs two: one for servers, one for the load"
        )
    })
}

/// Reads what a process prints until it says `listening on …`, and where.
pub(super) fn listening(child: &mut Child) -> Result<SocketAddr> {
    let output = child.stdout.take().context("its output is not piped")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next().transpose()? {
        if let Some(address) = line.strip_prefix("listening on ") {
            let address =
                address.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/').parse();
            // Whoever prints more must not find the pipe closed.
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return address.with_context(|| format!("it listens on no address: {line}"));
        }
    }
    bail!("the server ended without listening")
}

/// A port of the loopback that was free a moment ago.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until the server answers a request, whatever it answers, for half a minute at most.
pub(super) fn wait_for_answer(door: &Door) -> Result<()> {
    let mut request = Vec::new();
    door.publish(999_999, b"are you there?", &mut request);
    let mut why = None;
    for _ in 0..600 {
        match ask(door.publishing, &request) {
            Ok(()) => return Ok(()),
            Err(error) => why = Some(error),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(why.context("it was never asked")?).context("the server did not answer within half a minute")
}

fn ask(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(request)?;
    let mut answer = [0; 9];
    socket.read_exact(&mut answer)?;
    Ok(())
}

/// The first line that a program prints, on whichever of its outputs.
pub(super) fn first_line(program: &Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "unknown".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}
