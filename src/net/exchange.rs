//! What the socket's side and the service's side of one HTTP/1 connection tell each other around hyper.

use tokio::time::Instant;

use super::inbound::Inbound;
use super::outbound::Outbound;
use super::takeover::Takeover;

/// Shared by the socket, the head's clock, the service and its bodies; all run in the connection's task.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) takeover: Takeover,
}

impl Exchange {
    /// `begun`: when the first byte came, if it is one of a head.
    pub(super) fn new(head_bytes: usize, begun: Option<Instant>) -> Self {
        Self { inbound: Inbound::new(head_bytes, begun), outbound: Outbound::default(), takeover: Takeover::default() }
    }
}
