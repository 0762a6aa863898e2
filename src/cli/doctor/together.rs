//! Probe: how many streams one client may have open at once, each on a connection of its own.
//!
//! Over HTTP/1.1 a browser has six connections to a host, over all its pages: the seventh stream waits for ever.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::path::Path;
use super::stream::Stream;
use crate::cli::wire::trouble::Trouble;

/// How many are tried: more than the pages of one user need.
const STREAMS: usize = 12;

#[derive(Clone, Debug, Default)]
pub(super) struct Together {
    /// How many were tried, and had an answer, all open at once.
    pub(super) tried: usize,
    pub(super) open: usize,
    /// What became of the others, once each.
    pub(super) troubles: Vec<String>,
}

/// Opens streams, and holds all that were answered until the last was.
pub(super) async fn probe(path: &Arc<Path>, found: &RefCell<Together>) {
    let mut opening = JoinSet::new();
    for _ in 0..STREAMS {
        let path = Arc::clone(path);
        opening.spawn(async move {
            let stream = path.open(&path.target.stream(&[])).await?;
            let status = stream.answer.status;
            if status == 200 { Ok(stream) } else { Err(Trouble::status(status)) }
        });
    }
    let (mut open, mut together): (Vec<Stream>, _) = (Vec::new(), Together { tried: STREAMS, ..Together::default() });
    while let Some(joined) = opening.join_next().await {
        match joined {
            Ok(Ok(stream)) => open.push(stream),
            Ok(Err(trouble)) if !together.troubles.contains(&trouble.words) => together.troubles.push(trouble.words),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    together.open = open.len();
    *found.borrow_mut() = together;
}
