//! The keys for publishing: from a file of their own or from a variable, never from a flag or the file with the options.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ConfigError;
use super::source::variable;

/// The variable with the key itself.
const KEY: &str = "ENCKE_PUBLISH_KEY";

/// The keys, none if nobody gives one. The file wins over the variable, but not where only the file with the options
/// names it (`file_wins`).
pub(super) fn read(
    file: Option<&Path>,
    file_wins: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, ConfigError> {
    let given = variable(KEY);
    let text = match file {
        Some(path) if file_wins || given.is_none() => {
            warn_of_readers("publish key", path, warnings);
            let unreadable = |source| ConfigError::KeyFile { path: path.to_owned(), source };
            std::fs::read_to_string(path).map_err(unreadable)?
        }
        _ => match given {
            Some(text) => text,
            None => return Ok(Vec::new()),
        },
    };
    keys(&text)
}

/// A key a line; an empty text is a key that is too short.
fn keys(text: &str) -> Result<Vec<String>, ConfigError> {
    let lines = text.trim().split('\n').map(str::trim);
    let keys: Vec<String> =
        lines.enumerate().filter(|(at, key)| *at == 0 || !key.is_empty()).map(|(_, k)| k.into()).collect();
    match keys.iter().find(|key| key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(weak) => Err(ConfigError::WeakKey(weak.chars().count())),
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
}
