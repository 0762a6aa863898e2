//! What every probe needs: where, how to connect, and what is known of the other end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::timeout;

use super::stream::Stream;
use crate::cli::wire::dial::{Dialer, Traffic};
use crate::cli::wire::target::Target;
use crate::cli::wire::trouble::Trouble;

/// The way to the server.
pub(super) struct Path {
    pub(super) target: Target,
    pub(super) dialer: Dialer,
    /// How long what should come at once may take.
    pub(super) patience: Duration,
}

impl Path {
    /// Asks, and gives the answer once its head is there.
    pub(super) async fn open(&self, request: &Request<Bytes>) -> Result<Stream, Trouble> {
        // That nobody is there must not look like an answer that is held back.
        let io = self.dialer.dial(&Arc::new(Traffic::default())).await?;
        timeout(self.patience, Stream::ask(io, request)).await.unwrap_or_else(|_| Err(Trouble::late()))
    }
}
