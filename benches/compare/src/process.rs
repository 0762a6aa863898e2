//! What a process tree takes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process and all that descend from it.
#[derive(Clone, Debug)]
pub struct Tree {
    root: u32,
}

/// Memory of a process tree, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Anonymous memory: heaps and stacks.
    pub anonymous: u64,
    /// The same and shared memory, what is shared divided among those who share it. Files, which the kernel can read again,
    /// are not in it.
    pub proportional: u64,
}

impl Memory {
    /// So much less; nothing is less than nothing.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            anonymous: self.anonymous.saturating_sub(other.anonymous),
            proportional: self.proportional.saturating_sub(other.proportional),
        }
    }
}

impl Tree {
    /// The tree below, and with, `root`.
    pub fn new(root: u32) -> Self {
        Self { root }
    }

    /// The processes that live now.
    pub fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.root];
        let mut at = 0;
        while at < found.len() {
            for thread in threads(found[at]) {
                let children = fs::read_to_string(format!("/proc/{}/task/{thread}/children", found[at]));
                found.extend(children.unwrap_or_default().split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
            at += 1;
        }
        found
    }

    /// Nanoseconds that all threads alive have run.
    pub fn cpu_nanos(&self) -> Result<u64> {
        let mut sum = 0;
        for process in self.processes() {
            for thread in threads(process) {
                // A thread may end meanwhile; the servers here keep theirs.
                let Ok(text) = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")) else { continue };
                let ran = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
                sum += ran.context("schedstat has no number: is CONFIG_SCHED_INFO off?")?;
            }
        }
        Ok(sum)
    }

    /// Memory now.
    pub fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for process in self.processes() {
            sum.anonymous += kilobytes(&format!("/proc/{process}/status"), "RssAnon:");
            let rollup = format!("/proc/{process}/smaps_rollup");
            sum.proportional += kilobytes(&rollup, "Pss_Anon:") + kilobytes(&rollup, "Pss_Shmem:");
        }
        sum
    }

    /// Waits until the tree has run less than a hundredth of the last 100 ms: it has done what it was asked. Half a
    /// minute at most, as some have timers that never rest.
    pub fn wait_until_calm(&self) -> Result<()> {
        let mut before = self.cpu_nanos()?;
        for _ in 0..300 {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.cpu_nanos()?;
            if now - before < 1_000_000 {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

fn threads(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn kilobytes(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse::<u64>().ok());
    value.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_run_and_holds_memory() {
        let tree = Tree::new(std::process::id());
        assert!(tree.cpu_nanos().unwrap() > 0);
        let memory = tree.memory();
        assert!(memory.anonymous > 0 && memory.proportional > 0, "{memory:?}");
    }
}
