//! Probe: what becomes of a stream whose client says that it will ask nothing more (`shutdown(SHUT_WR)`).
//!
//! Both are in order. A hop that keeps it does not take this for leaving, and some of those do not hear of a client that has
//! left either, before they have something to write.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use super::path::Path;

/// How long a cut may take.
const WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum HalfClose {
    #[default]
    Unknown,
    Cut,
    Kept,
}

/// Opens a stream, says it, and waits. Not over TLS, where it is a word of TLS that not everybody hears.
pub(super) async fn probe(path: &Path, found: &RefCell<HalfClose>) {
    if path.target.url().scheme() == "https" {
        return;
    }
    let Ok(mut stream) = path.open(&path.target.stream(&[])).await else { return };
    if stream.half_close().await.is_err() {
        return;
    }
    let mut messages = VecDeque::new();
    let ended = timeout(WAIT, async {
        while stream.next(&mut messages).await.is_none() {
            messages.clear();
        }
    });
    *found.borrow_mut() = if ended.await.is_ok() { HalfClose::Cut } else { HalfClose::Kept };
}
