//! How a connection lets others have their turn.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

/// Nothing now: wakes this task when all others, and those whose sockets are ready, have had their turn.
///
/// To wake it at once would not do: the runtime looks at its sockets only once in many polls then.
pub(super) fn give_way<T>(cx: &mut Context<'_>) -> Poll<T> {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}
