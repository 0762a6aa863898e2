//! A small file that is replaced as a whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::CliError;

/// Puts `content` in place of what the file holds: all of it or, after a crash, nothing.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_data()?; // Before the rename: after a power cut the name must not stand for an empty file.
        fs::rename(&beside, path)
    });
    written.map_err(|error| CliError::Failed(format!("cannot write the state to {}: {error}", path.display())))
}
