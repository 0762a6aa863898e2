//! Where, with what and how something was measured.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::rounds::Plan;
use crate::scenario::Scale;

/// The machine and the programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Processors: how many, and which.
    pub processors: String,
    /// Bytes of memory.
    pub memory_gib: f64,
    /// The kernel.
    pub kernel: String,
    /// Descriptors that a process may hold.
    pub descriptors: String,
    /// The day.
    pub date: String,
    /// The state of this repository.
    pub commit: String,
    /// The compiler.
    pub compiler: String,
    /// The command.
    pub command: String,
    /// How often each server was asked.
    pub rounds: usize,
    /// Whether everything was a tenth as large.
    pub quick: bool,
    /// Versions of the servers, by their titles.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one, for what is planned.
    pub fn of(plan: &Plan) -> Self {
        let mut versions = BTreeMap::new();
        for peer in plan.scenarios.iter().flat_map(|scenario| plan.peers_of(scenario)) {
            versions.entry(peer.title().to_owned()).or_insert_with(|| peer.version(&plan.programs));
        }
        Self {
            processors: processors(),
            memory_gib: field("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)).unwrap_or(0.0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            descriptors: output("sh", &["-c", "ulimit -n"]),
            date: output("date", &["-u", "+%Y-%m-%d"]),
            commit: output("git", &["describe", "--always", "--dirty"]),
            compiler: output("rustc", &["--version"]),
            command: plan.command.clone(),
            rounds: plan.rounds,
            quick: plan.scale == Scale::Quick,
            versions,
        }
    }

    /// As the head of a report.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Measured on {} by `{}`: {} rounds{}. {}, {:.0} GiB of memory, Linux {}, at most {} descriptors a process, {}, \
             commit {}.\n\n| server | version |\n|---|---|\n",
            self.date,
            self.command,
            self.rounds,
            if self.quick { ", **everything a tenth as large: a first look, no result**" } else { "" },
            self.processors,
            self.memory_gib,
            self.kernel,
            self.descriptors,
            self.compiler,
            self.commit,
        );
        for (title, version) in &self.versions {
            let _ = writeln!(text, "| {title} | {version} |");
        }
        text
    }
}

fn processors() -> String {
    // Not those that this process may use: it keeps to one.
    let cores = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = cores.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} processors ({})", field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()))
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<f64> {
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? / f64::from(1 << 20))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
