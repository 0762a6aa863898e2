//! Probe: whether what a gateway sends at the beginning is held back, and how much it takes to release it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::opening::Opening;
use super::path::Path;
use super::stream::Stream;

/// The sizes that are tried, in KiB: those of the buffers of proxies.
const SIZES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What was tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    /// The smallest number of bytes that released the first event.
    pub(super) released_by: Option<u32>,
    /// All sizes were tried.
    pub(super) is_tried: bool,
}

/// Opens a stream with each size of padding, all at once. Not asked for where the first event came in time.
pub(super) async fn probe(path: &Arc<Path>, opening: &Opening, found: &RefCell<Holding>) {
    if !opening.is_held() {
        return;
    }
    let mut streams = JoinSet::new();
    for size in SIZES {
        let path = Arc::clone(path);
        streams.spawn(async move { comes_first(&path, size << 10).await.then_some(size << 10) });
    }
    let released_by = streams.join_all().await.into_iter().flatten().min();
    *found.borrow_mut() = Holding { released_by, is_tried: true };
}

/// Whether the first event comes in time behind so many bytes.
async fn comes_first(path: &Path, bytes: u32) -> bool {
    let request = path.target.stream(&[("padding", bytes.to_string())]);
    let comes = timeout(path.patience, async {
        let mut stream = Stream::open(&path.dialer, &request).await.ok()?;
        let mut messages = VecDeque::new();
        while messages.is_empty() {
            if stream.next(&mut messages).await.is_some() {
                return (!messages.is_empty()).then_some(());
            }
        }
        Some(())
    });
    comes.await.is_ok_and(|came| came.is_some())
}
