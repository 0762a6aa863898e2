//! The open streams by their ids, for whoever may cut one (the live page, under `--dev`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::diagnosis::ShortName;

/// What a stream is called: 128 random bits, which nobody guesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(u128);

impl StreamId {
    /// An id that no other stream has.
    ///
    /// # Panics
    /// If the operating system has no random numbers.
    #[must_use]
    pub fn new() -> Self {
        /// Bytes that are asked for at once, as asking costs more than what is given.
        const AHEAD: usize = 64 * size_of::<u128>();
        thread_local! {
            static RANDOM: RefCell<([u8; AHEAD], usize)> = const { RefCell::new(([0; AHEAD], AHEAD)) };
        }
        RANDOM.with_borrow_mut(|(bytes, used)| {
            if *used == AHEAD {
                getrandom::fill(bytes).expect("the operating system gives random numbers");
                *used = 0;
            }
            let id = bytes[*used..].first_chunk().expect("as many bytes as are asked for are whole ids");
            *used += size_of::<u128>();
            Self(u128::from_le_bytes(*id))
        })
    }

    /// Its first eight digits, which may be shown to others.
    #[must_use]
    pub fn short(self) -> ShortName {
        ShortName(u32::try_from(self.0 >> 96).expect("what is left are 32 bits"))
    }

    /// Reads an id as it is shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl Default for StreamId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Every stream that can be cut by its id.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<HashMap<StreamId, CancellationToken>>,
}

/// One stream's entry, which goes with it.
#[derive(Debug)]
pub struct Cut {
    /// None: nobody may.
    entry: Option<(StreamId, CancellationToken, Arc<Streams>)>,
}

impl Streams {
    /// Enters a stream.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: StreamId) -> Cut {
        let token = CancellationToken::new();
        self.open().insert(id, token.clone());
        Cut { entry: Some((id, token, Arc::clone(self))) }
    }

    /// Cuts a stream. Answers whether there was one.
    #[must_use]
    pub fn cut(&self, id: StreamId) -> bool {
        let token = self.open().get(&id).cloned();
        token.inspect(CancellationToken::cancel).is_some()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<StreamId, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cut {
    /// The entry of a stream that nobody may cut.
    #[must_use]
    pub fn never() -> Self {
        Self { entry: None }
    }

    /// Itself, if somebody may cut the stream.
    #[must_use]
    pub fn cuttable(self) -> Option<Self> {
        self.entry.is_some().then_some(self)
    }

    /// Resolves when the stream is to be cut.
    pub async fn asked(&self) {
        match &self.entry {
            Some((_, token, _)) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some((id, _, streams)) = &self.entry {
            streams.open().remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_not_otherwise() {
        let id = StreamId::new();
        assert_eq!(StreamId::parse(&id.to_string()), Some(id));
        assert_eq!(id.short().to_string(), id.to_string()[..8]);
        for text in [
            "",
            "0",
            &format!("+{:031x}", 1),
            &id.to_string().to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
        ] {
            assert_eq!(StreamId::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_stream_can_be_cut_while_it_is_open() {
        let streams = Arc::new(Streams::default());
        let id = StreamId::new();
        let entry = streams.enter(id);
        assert!(streams.cut(id));
        entry.asked().await;
        drop(entry);
        assert!(!streams.cut(id), "a stream that has ended cannot be cut");
    }
}
