//! Probe: what becomes of a stream whose client says that it will ask nothing more (`shutdown(SHUT_WR)`).
//!
//! Both are in order. A hop that keeps it does not take this for leaving, and some of those do not hear of a client that has
//! left either, before they have something to write.
//!
//! Over TLS it is said twice, as by a client that leaves: `close_notify`, which closes one direction only (RFC 8446 § 6.1), and
//! then the FIN. Before TLS 1.3 whoever reads the first had to close (RFC 5246 § 7.2.1), so a hop that keeps such a stream takes
//! no notice of either.

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

/// Opens a stream, says it, and waits.
pub(super) async fn probe(path: &Path, found: &RefCell<HalfClose>) {
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
