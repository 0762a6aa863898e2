//! The ordinary carrier: a stream as the body of a response, for every version of HTTP.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream as Frames;
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until};

use super::carried::Entry;
use super::fetch::Fetch;
use super::stream::Step;
use super::{Delivery, Handoff, Memo, Stream, Unbegun};
use crate::access::Leave;
use crate::diagnosis::EndReason;
use crate::transport::Bye;

/// Carries a stream, unless somebody else has taken it, until it ends, the gateway drains, or the peer is gone (then the
/// body is dropped, and with it the stream, whose ending counts that).
///
/// A stream is asked for more only when the connection has room, so one that does not read holds what it was last given
/// (at most [`super::feed::TURN`]) and its cursor, and at most the one page it waited for when it last wrote a heartbeat.
pub(super) enum Body {
    /// It was not asked for anything yet.
    Unbegun(Handoff),
    Carrying(Pin<Box<Carrying>>),
    Over,
}

pub(super) fn body(handoff: Handoff) -> Body {
    Body::Unbegun(handoff)
}

impl Frames for Body {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Self::Unbegun(handoff) = this {
            *this = handoff.take().map_or(Self::Over, |unbegun| Self::Carrying(Box::pin(Carrying::new(*unbegun))));
        }
        let Self::Carrying(carrying) = this else { return Poll::Ready(None) };
        let next = ready!(carrying.as_mut().poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            *this = Self::Over;
        }
        Poll::Ready(next)
    }
}

pin_project! {
    /// A stream that is carried.
    ///
    /// Cost: while it waits, some 400 bytes, of which the stream is the half. No future of its own stands for the drain, nor
    /// for a change of rules: then its feed wakes it.
    pub(super) struct Carrying {
        stream: Stream,
        // How it stands, for whoever wants to see it.
        entry: Entry,
        delivery: Delivery,
        leave: Leave,
        // Resolves when it is to be cut, if it may be.
        cut: Option<Pin<Box<dyn Future<Output = EndReason> + Send>>>,
        // The page that it waits for. Boxed, as only who is behind has one.
        fetch: Option<Box<Fetch>>,
        // Its place among those that its feed wakes.
        #[pin]
        news: Option<OwnedNotified>,
        // Not moved when something is written: it goes off when it would have been time, and is set anew then.
        #[pin]
        timer: Sleep,
        // There is nothing to do before something happens.
        waits: bool,
    }
}

/// What a stream has waited for.
enum Due {
    /// It is to be stepped.
    Step,
    /// It ends, with this if anything.
    End(Option<io::Error>),
}

impl Carrying {
    fn new(Unbegun { stream, delivery, cut, leave, permit }: Unbegun) -> Self {
        delivery.heed_rules(&permit);
        let cut = cut.cuttable().map(|cut| Box::pin(async move { cut.asked().await }) as Pin<Box<_>>);
        let timer = sleep_until(stream.due());
        let first = stream.live(delivery.hub.pages().edge(), Instant::now());
        let entry = delivery.carried.enter(&first, stream.feed(), stream.cursor());
        Self { stream, entry, delivery, leave, cut, fetch: None, news: None, timer, waits: false }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        self.entry.gave(0); // It asks for more, so it has room.
        loop {
            if self.waits
                && let Due::End(error) = ready!(self.as_mut().poll_due(cx))
            {
                return Poll::Ready(error.map(Err));
            }
            match self.as_mut().step() {
                Step::Write(bytes) => {
                    self.entry.gave(bytes.len());
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Step::Yield => {
                    cx.waker().wake_by_ref(); // To the end of the queue.
                    return Poll::Pending;
                }
                Step::End => return Poll::Ready(None),
                Step::Load { at, until } => self.as_mut().wait(Some(at), until),
                Step::Wait(until) => self.as_mut().wait(None, until),
            }
        }
    }

    /// Has the stream say what is to be done. What is published from here on wakes it, and so do the drain and new rules.
    fn step(mut self: Pin<&mut Self>) -> Step {
        let mut this = self.as_mut().project();
        let feed = Arc::clone(this.stream.feed());
        // Before looking. The place that it has still is as good as a new one.
        if this.news.as_mut().as_pin_mut().is_none_or(|news| news.enable()) {
            this.news.set(Some(feed.woken_owned()));
            let _ = this.news.as_mut().as_pin_mut().map(|news| news.enable());
        }
        if this.leave.is_withdrawn(feed.key().selection.topics()) {
            this.stream.farewell(Bye::Expired, this.delivery.retry_after_drain(), EndReason::AuthExpired);
        }
        if this.delivery.shutdown.is_draining() {
            this.stream.farewell(Bye::Drain, this.delivery.retry_after_drain(), EndReason::ServerShutdown);
        }
        let mut memo = Memo::default();
        let step = this.stream.step(Instant::now(), &mut memo);
        this.entry.is_at(this.stream.cursor(), this.stream.written());
        if matches!(step, Step::Write(_)) && this.stream.rests(&memo) {
            let until = this.stream.due();
            self.wait(None, until); // Spares a step.
        }
        step
    }

    /// Has it wait until then, until there is news, or for the page that holds an offset.
    fn wait(self: Pin<&mut Self>, at: Option<u64>, until: Instant) {
        let mut this = self.project();
        *this.waits = true;
        if until < this.timer.deadline() || this.timer.is_elapsed() {
            this.timer.as_mut().reset(until);
        }
        match at {
            None => *this.fetch = None,
            Some(at) => {
                let new = || Box::new(Fetch::new(this.stream.hub(), &this.delivery.shutdown));
                this.fetch.get_or_insert_with(new).want(at);
            }
        }
    }

    /// Ready when anything happens that it waits for.
    fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Due> {
        let mut this = self.project();
        let is_woken = this.news.as_mut().as_pin_mut().is_none_or(|news| news.poll(cx).is_ready());
        if is_woken {
            this.news.set(None);
        }
        let is_time = this.timer.as_mut().poll(cx).is_ready();
        let due = if let Some(Poll::Ready(reason)) = this.cut.as_mut().map(|cut| cut.as_mut().poll(cx)) {
            this.stream.because(reason);
            if reason == EndReason::Superseded {
                this.stream.farewell(Bye::Superseded, this.delivery.retry_after_drain(), reason);
                *this.cut = None;
                Due::Step
            } else {
                // An error, so that the peer sees a broken transfer, as when a proxy cuts.
                Due::End(Some(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by request")))
            }
        } else if let Some(Poll::Ready(page)) = this.fetch.as_mut().map(|fetch| fetch.poll_page(cx)) {
            match page {
                Ok(page) => this.stream.give(page),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a stream ends early");
                    this.stream.because(EndReason::SourceError);
                    return Poll::Ready(Due::End(None));
                }
            }
            Due::Step
        } else if is_woken || is_time {
            Due::Step
        } else {
            return Poll::Pending;
        };
        *this.waits = false;
        Poll::Ready(due)
    }
}

#[cfg(test)]
mod tests;
