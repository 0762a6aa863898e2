//! The servers: how they are started, stopped and spoken to.
//!
//! Each runs on one processor, with one worker or thread where it lets one say so, with files in a directory of its own,
//! on ports that the kernel gave. The load has the other processor.

mod bayeux;
mod door;
mod nginx;
mod node;
mod own;
mod pushpin;
mod running;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

pub use door::{Door, name};
pub use own::KEY;
pub use running::{Running, launch, pin};

/// The processor of the servers.
pub const SERVER_CORE: usize = 0;
/// The processor of the load.
pub const LOAD_CORE: usize = 1;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// `encke serve --store memory`.
    Encke,
    /// `encke serve` with its default store, which is durable.
    EnckeDurable,
    /// `encke serve --store memory`, its readers behind nginx, which speaks HTTP/1.0 to it.
    EnckeBehindNginx,
    /// `encke serve --store memory` with a certificate.
    EnckeOverTls,
    /// The bare loop, one write for each event and subscriber.
    Bare,
    /// The bare loop that merges what waits for a subscriber.
    BareMerging,
    /// nginx with Nchan.
    Nchan,
    /// axum and a broadcast channel.
    Naive,
    /// The faye package on Node.
    Faye,
    /// The better-sse package on Node.
    BetterSse,
    /// Pushpin.
    Pushpin,
}

impl Peer {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::Bare,
        Self::BareMerging,
        Self::Encke,
        Self::EnckeDurable,
        Self::EnckeBehindNginx,
        Self::EnckeOverTls,
        Self::Nchan,
        Self::Naive,
        Self::Faye,
        Self::BetterSse,
        Self::Pushpin,
    ];

    /// The name by which it is chosen and noted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encke => "encke",
            Self::EnckeDurable => "encke-durable",
            Self::EnckeBehindNginx => "encke-behind-nginx",
            Self::EnckeOverTls => "encke-over-tls",
            Self::Bare => "bare",
            Self::BareMerging => "bare-merging",
            Self::Nchan => "nchan",
            Self::Naive => "naive",
            Self::Faye => "faye",
            Self::BetterSse => "better-sse",
            Self::Pushpin => "pushpin",
        }
    }

    /// The name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Encke => "**Encke**",
            Self::EnckeDurable => "**Encke**, durable",
            Self::EnckeBehindNginx => "**Encke** behind nginx (HTTP/1.0)",
            Self::EnckeOverTls => "**Encke** over TLS",
            Self::Bare => "bare loop",
            Self::BareMerging => "bare loop, merging",
            Self::Nchan => "nginx + Nchan",
            Self::Naive => "axum + broadcast",
            Self::Faye => "faye",
            Self::BetterSse => "better-sse",
            Self::Pushpin => "Pushpin",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.name() == name)
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This program.
    pub own: PathBuf,
    /// The gateway.
    pub encke: PathBuf,
    /// A directory with the scripts for Node and their `node_modules`.
    pub node: PathBuf,
}

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// How often streams are to be given a heartbeat; else as the server likes.
    pub heartbeat: Option<Duration>,
    /// Runs under callgrind.
    pub counting_instructions: bool,
}

impl Peer {
    /// Starts it; it takes connections when this returns.
    pub fn start(self, programs: &Programs, setting: &Setting) -> Result<Running> {
        match self {
            Self::Encke => own::encke(programs, setting, own::Store::Memory),
            Self::EnckeDurable => own::encke(programs, setting, own::Store::Durable),
            Self::EnckeBehindNginx => nginx::before_encke(programs, setting),
            Self::EnckeOverTls => own::encke_over_tls(programs, setting),
            Self::Bare => own::bare(programs, setting, false),
            Self::BareMerging => own::bare(programs, setting, true),
            Self::Nchan => nginx::nchan(programs, setting),
            Self::Naive => own::naive(programs, setting),
            Self::Faye => node::faye(programs, setting),
            Self::BetterSse => node::better_sse(programs, setting),
            Self::Pushpin => pushpin::start(programs, setting),
        }
    }

    /// Its version, as it says itself.
    pub fn version(self, programs: &Programs) -> String {
        match self {
            Self::Encke | Self::EnckeDurable | Self::EnckeBehindNginx | Self::EnckeOverTls => {
                running::first_line(&programs.encke, &["--version"])
            }
            Self::Nchan => nginx::version(),
            Self::Faye => node::version(programs, "faye"),
            Self::BetterSse => node::version(programs, "better-sse"),
            Self::Pushpin => running::first_line("pushpin".as_ref(), &["--version"]),
            Self::Bare | Self::BareMerging | Self::Naive => "of this repository".to_owned(),
        }
    }
}
