//! Which server is asked what, and when: every server once, then every server again.
//!
//! A machine is not the same from minute to minute. So servers take turns within a question, in another order each round,
//! and what is compared is what was measured next to each other.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ledger::Faults;
use crate::peer::{Peer, Programs};
use crate::report::Machine;
use crate::scenario::{Asked, Outcome, Scale, Scenario};

/// What is to be done.
pub struct Plan {
    /// The questions.
    pub scenarios: Vec<&'static Scenario>,
    /// Who is asked, of those of whom a question is asked; all if there is none.
    pub peers: Vec<Peer>,
    /// How often.
    pub rounds: usize,
    /// How large.
    pub scale: Scale,
    /// Where programs are.
    pub programs: Programs,
    /// The command by which all this can be had again.
    pub command: String,
}

/// A line of the raw results.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one: where and how all that follows was measured.
    Machine(Machine),
    /// A server was asked a question.
    Round(Round),
}

/// What a server was asked once, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// The question.
    pub scenario: String,
    /// The server.
    pub peer: String,
    /// Counts from 1.
    pub round: usize,
    /// What was measured.
    pub outcome: Option<Outcome>,
    /// Why nothing was.
    pub error: Option<String>,
}

impl Plan {
    /// Does it, and appends each result to `results` as soon as it is there.
    pub fn carry_out(&self, results: &Path) -> Result<Vec<Line>> {
        let mut file = File::create(results).with_context(|| format!("{} cannot be written", results.display()))?;
        let mut lines = Vec::new();
        let mut note = |line: Line| -> Result<()> {
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
            lines.push(line);
            Ok(())
        };
        note(Line::Machine(Machine::of(self)))?;
        for round in 1..=self.rounds {
            for scenario in &self.scenarios {
                let mut peers = self.peers_of(scenario);
                let first = round % peers.len().max(1);
                peers.rotate_left(first);
                for peer in peers {
                    note(Line::Round(self.ask(scenario, peer, round)))?;
                }
            }
        }
        Ok(lines)
    }

    /// Who is asked a question.
    pub fn peers_of(&self, scenario: &Scenario) -> Vec<Peer> {
        let wanted = |peer: &&Peer| self.peers.is_empty() || self.peers.contains(peer);
        scenario.peers.iter().filter(wanted).copied().collect()
    }

    fn ask(&self, scenario: &Scenario, peer: Peer, round: usize) -> Round {
        eprint!("round {round}/{} {:<12} {:<20}", self.rounds, scenario.name, peer.name());
        let asked = Asked { peer, programs: &self.programs, scale: self.scale };
        let (outcome, error) = match (scenario.ask)(&asked) {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        match (&outcome, &error) {
            (Some(outcome), _) => tell(scenario, outcome),
            (None, error) => eprintln!(" FAILED: {}", error.as_deref().unwrap_or("unknown")),
        }
        Round { scenario: scenario.name.to_owned(), peer: peer.name().to_owned(), round, outcome, error }
    }
}

fn tell(scenario: &Scenario, outcome: &Outcome) {
    for figure in scenario.figures {
        let Some(value) = outcome.figures.get(figure.key) else { continue };
        eprint!(" {} {value:.*};", figure.title, figure.digits);
    }
    eprintln!(" load busy {:.2}", outcome.figures.get("load_share").unwrap_or(&0.0));
    let Faults { lost, duplicated, reordered, misrouted } = outcome.faults;
    if !outcome.faults.none() {
        eprintln!("    !!! WRONG: {lost} lost, {duplicated} duplicated, {reordered} reordered, {misrouted} misrouted");
    }
    if outcome.closed > 0 {
        eprintln!("    !!! the server ended {} streams", outcome.closed);
    }
    for note in &outcome.notes {
        eprintln!("    ({note})");
    }
}

/// Reads raw results back.
pub fn read(results: &Path) -> Result<Vec<Line>> {
    let file = File::open(results).with_context(|| format!("{} cannot be read", results.display()))?;
    let mut lines = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = serde_json::from_str(&line?);
        lines.push(line.with_context(|| format!("{}:{}: no result", results.display(), number + 1))?);
    }
    Ok(lines)
}
