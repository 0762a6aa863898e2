//! `benches/compare/run`: measures servers side by side. See the crate for what is where.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use encke_compare::peer::{self, LOAD_CORE, Peer, Programs};
use encke_compare::report;
use encke_compare::rounds::{self, Plan};
use encke_compare::scenario::{self, Scale, Scenario};
use encke_compare::server::{bare, grip, naive};

#[derive(Parser)]
#[command(about = "Measures the fan-out of servers side by side")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Measures.
    Run(Run),
    /// Lists what can be asked, and of whom.
    List,
    /// Makes tables and plots of results that are there.
    Report {
        /// The raw results
        results: PathBuf,
        /// The document into which they are put, between its marks
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// A server of this package, on a free port.
    #[command(hide = true)]
    Serve {
        #[command(subcommand)]
        server: Server,
    },
    /// Becomes another program, on the processor of the servers.
    #[command(hide = true, disable_help_flag = true)]
    Launch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Run {
    /// How often each server is asked each question
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Only these questions
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these servers
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Two rounds of a tenth of the size: a first look, no result and no verdict
    #[arg(long)]
    quick: bool,
    /// Where results are written: results.jsonl, report.md and plots
    #[arg(long, default_value = "target/compare")]
    into: PathBuf,
    /// Puts tables and plots into docs/performance.md and docs/performance/
    #[arg(long)]
    write: bool,
    /// The gateway; else the one beside this program
    #[arg(long)]
    encke: Option<PathBuf>,
    /// The command that is told in the report
    #[arg(long, hide = true, default_value = "benches/compare/run")]
    command: String,
    /// Where the scripts for Node are, with their `node_modules`
    #[arg(long, default_value = "benches/compare/peers")]
    node: PathBuf,
}

#[derive(Subcommand)]
enum Server {
    /// The bare loop.
    Bare {
        /// Merges what waits for a subscriber
        #[arg(long)]
        merging: bool,
        /// Seconds between comments to all
        #[arg(long)]
        heartbeat: Option<u64>,
    },
    /// axum and a broadcast channel.
    Naive,
    /// Pushpin's backend.
    Grip,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Action::Run(run) => measure(&run),
        Action::List => {
            list();
            Ok(())
        }
        Action::Report { results, write } => {
            let lines = rounds::read(&results)?;
            print!("{}", report::markdown(&lines));
            write.map_or(Ok(()), |document| report::write(&document, &lines, &report::plots(&lines)))
        }
        Action::Serve { server } => serve(&server),
        Action::Launch { command } => peer::launch(&command),
    }
}

fn measure(run: &Run) -> Result<()> {
    let plan = plan(run)?;
    peer::pin(LOAD_CORE)?;
    fs::create_dir_all(&run.into).with_context(|| format!("{} cannot be made", run.into.display()))?;
    let results = run.into.join("results.jsonl");
    let lines = plan.carry_out(&results)?;
    let text = report::markdown(&lines);
    fs::write(run.into.join("report.md"), &text)?;
    let plots = report::plots(&lines);
    for plot in &plots {
        fs::write(run.into.join(plot.name), &plot.svg)?;
    }
    if run.write {
        report::write(Path::new("docs/performance.md"), &lines, &plots)?;
    }
    print!("{text}");
    eprintln!("written to {}", run.into.display());
    Ok(())
}

fn plan(run: &Run) -> Result<Plan> {
    let own = std::env::current_exe().context("where this program is")?;
    let encke = run.encke.clone().unwrap_or_else(|| own.with_file_name("encke"));
    if !encke.exists() {
        bail!("there is no {}: build it by `cargo build --release --bin encke`", encke.display());
    }
    let node = run.node.canonicalize().with_context(|| format!("there is no {}", run.node.display()))?;
    let scale = if run.quick { Scale::Quick } else { Scale::Full };
    Ok(Plan {
        scenarios: chosen(&run.only)?,
        peers: run.peers.iter().map(|name| named(name)).collect::<Result<_>>()?,
        rounds: if run.quick { run.rounds.min(2) } else { run.rounds },
        scale,
        programs: Programs { own, encke, node },
        command: run.command.clone(),
    })
}

fn named(name: &str) -> Result<Peer> {
    let known = || Peer::ALL.map(Peer::name).join(", ");
    Peer::named(name).with_context(|| format!("there is no server {name:?}; there are {}", known()))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(scenario::ALL.to_vec());
    }
    let known = || scenario::ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| scenario::ALL.iter().copied().find(|scenario| scenario.name == name);
    names
        .iter()
        .map(|name| find(name).with_context(|| format!("there is no question {name:?}; there are {}", known())))
        .collect()
}

fn list() {
    for scenario in scenario::ALL {
        let peers: Vec<&str> = scenario.peers.iter().map(|peer| peer.name()).collect();
        println!("{:<12} {} ({})", scenario.name, scenario.title, peers.join(", "));
    }
}

fn serve(server: &Server) -> Result<()> {
    let listening = |address| println!("listening on {address}");
    match server {
        Server::Bare { merging, heartbeat } => {
            let heartbeat = heartbeat.map(Duration::from_secs);
            let bare = bare::Bare::bind(bare::Options { merging: *merging, heartbeat })?;
            listening(bare.address()?);
            bare.run()
        }
        Server::Naive => naive::run(listening),
        Server::Grip => grip::run(listening),
    }
}
