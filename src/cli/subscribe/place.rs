//! How far a subscriber came, kept in a file over its runs: the id alone, on a line, so that a person can read and write it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::super::CliError;
use super::super::replace::replace;

/// The longest time between an event that is written and its place in the file: what a killed run may print again.
const SAVE_AFTER: Duration = Duration::from_millis(200);
/// A line that is longer is no id of an event.
const MAX_LEN: usize = 4096;

/// A place, and its file if it has one.
pub(super) struct Place {
    path: Option<PathBuf>,
    reached: String,
    saved: String,
    due: Option<Instant>,
}

impl Place {
    /// A place that no run will ask for again.
    pub(super) fn forgotten() -> Self {
        Self { path: None, reached: String::new(), saved: String::new(), due: None }
    }

    /// The place that an earlier run left in the file, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or holds something else: it is then left as it is.
    pub(super) fn open(path: PathBuf) -> Result<Self, CliError> {
        let failed = |why: &str| CliError::Failed(format!("cannot read the state in {}: {why}", path.display()));
        let saved = match fs::read_to_string(&path) {
            Ok(content) => {
                let id = content.strip_suffix('\n').unwrap_or(&content);
                if id.is_empty() || id.len() > MAX_LEN || id.contains(char::is_control) {
                    return Err(failed("it holds no id; remove it to begin anew"));
                }
                id.to_owned()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(&error.to_string())),
        };
        Ok(Self { path: Some(path), reached: saved.clone(), saved, due: None })
    }

    /// The place; empty if there is none yet.
    pub(super) fn reached(&self) -> &str {
        &self.reached
    }

    /// All up to `id` is written.
    pub(super) fn reach(&mut self, id: &str) {
        if id.is_empty() || id == self.reached {
            return;
        }
        id.clone_into(&mut self.reached);
        if self.path.is_some() {
            self.due.get_or_insert_with(|| Instant::now() + SAVE_AFTER);
        }
    }

    /// When it should be saved, if it is not.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Puts the place into its file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&mut self) -> Result<(), CliError> {
        self.due = None;
        let Some(path) = &self.path else { return Ok(()) };
        if self.saved != self.reached {
            replace(path, format!("{}\n", self.reached).as_bytes())?;
            self.saved.clone_from(&self.reached);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_found_again_and_rubbish_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("place");
        let mut place = Place::open(path.clone()).expect("none yet");
        place.save().expect("nothing to save");
        assert!(place.reached().is_empty() && !path.exists());
        place.reach("abcdefgh-7");
        assert!(place.due().is_some());
        place.save().expect("saved");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "abcdefgh-7\n");
        assert_eq!(Place::open(path.clone()).expect("it can be read").reached(), "abcdefgh-7");
        for rubbish in ["", "\n", "a\nb\n", "\u{1}"] {
            fs::write(&path, rubbish).expect("written");
            assert!(Place::open(path.clone()).is_err(), "{rubbish:?}");
        }
    }
}
