//! The keys of publishers and of operators: from a file of their own or from a variable, never from a flag or the file with
//! the options.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::ConfigError;
use super::source::variable;

/// Whose keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Of who publishes.
    Publish,
    /// Of who operates the gateway.
    Admin,
}

impl KeyKind {
    /// The variable with the key itself.
    pub(super) const fn variable(self) -> &'static str {
        match self {
            Self::Publish => "ENCKE_PUBLISH_KEY",
            Self::Admin => "ENCKE_ADMIN_KEY",
        }
    }

    /// The option that names its file.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Publish => "publish-key-file",
            Self::Admin => "admin-key-file",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish key",
            Self::Admin => "admin key",
        })
    }
}

/// The keys of a kind, none if nobody gives one. The file wins over the variable, but not where only the file with the options
/// names it (`file_wins`).
pub(super) fn read(
    kind: KeyKind,
    file: Option<&Path>,
    file_wins: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, ConfigError> {
    let given = variable(kind.variable());
    let text = match file {
        Some(path) if file_wins || given.is_none() => {
            warn_of_readers(&kind.to_string(), path, warnings);
            let unreadable = |source| ConfigError::KeyFile { kind, path: path.to_owned(), source };
            std::fs::read_to_string(path).map_err(unreadable)?
        }
        _ => match given {
            Some(text) => text,
            None => return Ok(Vec::new()),
        },
    };
    keys(&text).map_err(|characters| ConfigError::WeakKey { kind, characters })
}

/// Whether a key is among both: then one who may do the one thing may do the other, too.
pub(super) fn overlap(some: &[String], others: &[String]) -> bool {
    let others = digests(others);
    digests(some).iter().any(|key| others.contains(key))
}

/// Secrets are compared by their digests, so that the time says nothing of them.
pub(super) fn digests(keys: &[String]) -> Vec<[u8; 32]> {
    keys.iter().map(|key| Sha256::digest(key.as_bytes()).into()).collect()
}

/// A key a line; an empty text is a key that is too short. Of one that is none its length is told.
fn keys(text: &str) -> Result<Vec<String>, usize> {
    let lines = text.trim().split('\n').map(str::trim);
    let keys: Vec<String> =
        lines.enumerate().filter(|(at, key)| *at == 0 || !key.is_empty()).map(|(_, k)| k.into()).collect();
    match keys.iter().find(|key| key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(weak) => Err(weak.chars().count()),
        None => Ok(keys),
    }
}

/// Others who can read a key can do what it is for.
pub(super) fn warn_of_readers(what: &str, path: &Path, warnings: &mut Vec<String>) {
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    if let Ok(mode) = mode
        && mode & 0o007 != 0
    {
        let path = path.display();
        warnings.push(format!(
            "the {what} in {path} is open to every user of this machine (mode {mode:03o}): chmod o= {path}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_line() {
        let one = "sixteen-letters!";
        assert_eq!(keys(one).ok(), Some(vec![one.to_owned()]));
        assert_eq!(keys(&format!("\n {one} \r\n\n another-{one}\n")).map(|keys| keys.len()).ok(), Some(2));
        for text in ["", "\n", "short", "sixteen-letters!\nshort", "sixteen-letters-ü", "with a blank in the middle"] {
            assert!(keys(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_is_among_both_is_seen() {
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        assert!(overlap(&keys(&["one", "two"]), &keys(&["three", "two"])));
        assert!(!overlap(&keys(&["one", "two"]), &keys(&["three"])) && !overlap(&keys(&["one"]), &[]));
    }
}
