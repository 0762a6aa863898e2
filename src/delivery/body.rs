//! The ordinary carrier: a stream as the body of a response, for every version of HTTP.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use async_stream::stream;
use bytes::Bytes;
use futures_core::Stream as Frames;
use tokio::time::{Instant, sleep_until};

use super::ending::EndReason;
use super::fetch::Fetch;
use super::stream::Step;
use super::{Handoff, Memo, Unbegun};
use crate::transport::Bye;

/// Carries a stream, unless somebody else has taken it, until it ends, the gateway drains, or the peer is gone (then the body is dropped, and with it the
/// stream, whose ending counts that).
///
/// A stream is asked for more only when the connection has room, so one that does not read holds what it was last given
/// (at most [`super::feed::TURN`]) and its cursor, and at most the one page it waited for when it last wrote a heartbeat.
pub(super) fn body(handoff: Handoff) -> impl Frames<Item = Result<Bytes, io::Error>> + Send + 'static {
    stream! {
        let Some(unbegun) = handoff.take() else { return };
        let Unbegun { mut stream, delivery, cut, mut leave, permit: _ } = *unbegun;
        let mut fetch = Fetch::new(stream.hub(), &delivery.shutdown);
        loop {
            let feed = Arc::clone(stream.feed());
            let mut woken = pin!(feed.woken());
            woken.as_mut().enable(); // Before looking: what is published from here on wakes us.
            let topics = feed.key().selection.topics();
            if leave.is_withdrawn(topics) {
                stream.farewell(Bye::Expired, delivery.retry_after_drain(), EndReason::AuthExpired);
            }
            if delivery.shutdown.is_draining() {
                stream.farewell(Bye::Drain, delivery.retry_after_drain(), EndReason::ServerShutdown);
            }
            let (at, until) = match stream.step(Instant::now(), &mut Memo::default()) {
                Step::Write(bytes) => {
                    yield Ok(bytes);
                    continue;
                }
                Step::Yield => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Step::End => return,
                Step::Load { at, until } => (Some(at), until),
                Step::Wait(until) => (None, until),
            };
            fetch.want(at);
            tokio::select! {
                page = fetch.page() => match page {
                    Ok(page) => stream.give(page),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a stream ends early");
                        stream.because(EndReason::SourceError);
                        return;
                    }
                },
                () = woken, if at.is_none() => {}
                () = sleep_until(until) => {}
                () = delivery.shutdown.draining() => {}
                () = leave.withdrawn(topics) => {}
                () = cut.asked() => {
                    stream.because(EndReason::ServerRecycle);
                    // An error, so that the peer sees a broken transfer, as when a proxy cuts.
                    yield Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by request"));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
