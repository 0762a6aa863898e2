//! What the operator says: flags, environment and file. Plain data out; nobody else reads the environment.
//!
//! `args` defines each option once; `source` decides which saying of it wins; `file` and `topics` read the file; `listing`
//! and `reference` tell what there is. *Deliberately absent*: what the options do.

mod address;
mod args;
mod base_path;
mod file;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod listing;
mod network;
mod reference;
mod reload;
mod source;
mod systemd;
mod tls;
mod topics;
mod value;

use std::fmt;
use std::path::PathBuf;

pub use address::Address;
pub use args::{Carrier, Durable, LogFormat, ServeArgs, Who};
pub use base_path::BasePath;
pub use key::KeyKind;
pub use network::{Network, is_private};
pub use reference::reference;
pub use reload::Changes;
pub use source::{Configuration, Names, Origin, Setting, Source, command, named, unknown_variables};
pub use systemd::{Passed, PassedSocket, Systemd, SystemdError};
pub use tls::{Identity, TlsError};
pub use topics::{Keep, TopicRule};
pub use value::{Quota, Times};

/// What the operator said cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No key, and no leave to do without.
    #[error(
        "publishing needs a key: put a random text into a file and name it with --publish-key-file, or set \
         ENCKE_PUBLISH_KEY (for example `export ENCKE_PUBLISH_KEY=$(openssl rand -hex 24)`); or try it out with --dev, \
         which asks nobody for a key"
    )]
    NoKey,
    /// The key's file cannot be read.
    #[error("the {kind} in {} cannot be read: {source}", path.display())]
    KeyFile {
        /// Whose key.
        kind: KeyKind,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key is no key.
    #[error("the {kind} has {characters} characters; it needs at least 16, none of them blank or outside ASCII")]
    WeakKey {
        /// Whose key.
        kind: KeyKind,
        /// How long it is.
        characters: usize,
    },
    /// A publisher would be an operator.
    #[error(
        "an admin key is a publish key, too: whoever publishes could see what is for operators, and the other way round; \
         make another one for the admin key"
    )]
    SameKey,
    /// The certificate or its key is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A variable of the environment makes no sense.
    #[error("{name}: {reason}")]
    Variable {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read.
    #[error("the configuration in {} cannot be read: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file is wrong; the words begin with its place.
    #[error("{0}")]
    InFile(String),
    /// A flag or a variable is wrong.
    #[error("{0}")]
    Usage(String),
    /// Every origin may read what is public, and nothing is.
    #[error(
        "--cors-origin * lets pages of any origin read what is public, and here reading needs the key: list the origins \
         of your pages, as in https://www.example.com, or let everybody read with --read public, or some topics with a \
         rule that says read = \"public\""
    )]
    NothingPublic,
    /// No proxy is trusted, and some are.
    #[error("--trusted-proxy none trusts no proxy, and others are named beside it: leave out the one or the others")]
    NoneAndOthers,
}

/// Everything that is wrong, as far as it can be told at once; at least one.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}
