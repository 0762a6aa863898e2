//! How `tail` publishes each line once: keys that stay the same however often a line is sent, and a file that
//! remembers how far it got.
//!
//! The two work together. The state may lag behind what the gateway has acknowledged; what is sent again for that
//! reason has the same keys, and the gateway knows them.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::follow::Place;
use crate::cli::CliError;
use crate::cli::replace::replace;
use crate::event::{EventType, Key, Topic};

/// Makes keys for events that go to the same topics.
pub(crate) struct Keys {
    scope: Sha256,
}

impl Keys {
    /// Keys that differ from those of another tail of the same lines into other topics or under another type: for one
    /// publisher the gateway tells events apart by their keys alone.
    pub(crate) fn new(topics: &[Topic], kind: Option<&EventType>) -> Self {
        let mut scope = Sha256::new();
        for text in topics.iter().map(Topic::as_str).chain(kind.map(EventType::as_str)) {
            field(&mut scope, text.as_bytes());
        }
        Self { scope }
    }

    /// The key of `data` at `position` in `source`. The data is part of it, so that a source which uses a position
    /// again for something else loses nothing.
    pub(crate) fn key(&self, source: &str, position: &str, data: &[u8]) -> Key {
        let mut hash = self.scope.clone();
        for part in [source.as_bytes(), position.as_bytes(), data] {
            field(&mut hash, part);
        }
        Key::parse(&format!("tail-{}", hex(&hash.finalize()[..16]))).expect("ASCII of a fixed length is a key")
    }
}

/// Hashes a part with its length before it, so that no two lists of parts look alike.
fn field(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

/// The bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash by which a URL is known without being shown: it may hold secrets.
pub(crate) fn identity(url: &str) -> String {
    hex(&Sha256::digest(url.as_bytes())[..16])
}

/// How far a tail got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "lowercase")]
pub(crate) enum State {
    /// In a file.
    File(Place),
    /// In another event stream.
    Stream {
        /// The [`identity`] of its URL.
        url: String,
        /// The last event ID.
        last_event_id: String,
    },
}

/// Where the state is kept.
pub(crate) struct StateFile {
    path: PathBuf,
    written: Option<State>,
}

impl StateFile {
    /// Reads what an earlier run left, if there is anything.
    ///
    /// # Errors
    /// The file is there but is no state: it is then left as it is.
    pub(crate) fn open(path: PathBuf) -> Result<Self, CliError> {
        let failed = |why: String| CliError::Failed(format!("cannot read the state in {}: {why}", path.display()));
        let written = match fs::read(&path) {
            Ok(content) => Some(serde_json::from_slice(&content).map_err(|error| failed(error.to_string()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Self { path, written })
    }

    /// What the file holds.
    pub(crate) fn state(&self) -> Option<&State> {
        self.written.as_ref()
    }

    /// Puts `state` in place of what the file holds: all of it or, after a crash, nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&mut self, state: State) -> Result<(), CliError> {
        if self.written.as_ref() == Some(&state) {
            return Ok(());
        }
        let content = serde_json::to_vec(&state).expect("numbers and strings are JSON");
        replace(&self.path, &content)?;
        self.written = Some(state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same_and_differs_for_anything_else() {
        let topic = |name| Topic::parse(name).expect("a topic");
        let kind = EventType::parse("b").expect("a type");
        let keys = Keys::new(&[topic("a")], None);
        let key = keys.key("file", "0", b"line");
        assert_eq!(key, Keys::new(&[topic("a")], None).key("file", "0", b"line"));
        for other in [
            keys.key("file2", "0", b"line"),
            keys.key("file", "1", b"line"),
            keys.key("file", "0", b"line2"),
            keys.key("file", "0l", b"ine"),
            Keys::new(&[topic("b")], None).key("file", "0", b"line"),
            Keys::new(&[topic("a"), topic("b")], None).key("file", "0", b"line"),
            Keys::new(&[topic("a")], kind.as_ref()).key("file", "0", b"line"),
        ] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn a_state_is_read_back_and_rubbish_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        let mut file = StateFile::open(path.clone()).expect("none yet");
        assert_eq!(file.state(), None);
        let place = Place { device: 1, inode: u64::MAX, head: Some("ab".into()), truncations: 2, offset: 3 };
        for state in [
            State::File(place.clone()),
            State::Stream { url: identity("u"), last_event_id: "ü".into() },
            State::File(Place { head: None, ..place }),
        ] {
            file.save(state.clone()).expect("saved");
            assert_eq!(StateFile::open(path.clone()).expect("readable").state(), Some(&state));
        }
        fs::write(&path, "{}").expect("written");
        assert!(StateFile::open(path).is_err());
    }
}
