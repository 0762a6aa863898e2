//! What differs over HTTP/2, which browsers get: only that. What is so over both is told by what was measured over HTTP/1.1.

use super::Facts;
use crate::cli::console::shown;
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::hops::Hop;
use crate::cli::doctor::http2::{End, Http2};
use crate::cli::doctor::lifetimes::{Limits, is_same};
use crate::cli::doctor::remedy;
use crate::cli::progress::took;

const WHOSE: &str = "the hop that speaks TLS: its log, and what it has for HTTP/2 alone (timers, buffers, rules)";

impl Facts {
    pub(super) fn http2(&self, limits: &Limits, hops: &[Hop]) -> Option<Finding> {
        let stream = self.http2.as_ref()?;
        self.opening.answer.as_ref()?; // Nothing comes over HTTP/1.1 either.
        self.refused(stream)
            .or_else(|| self.held_over_http2(stream, hops))
            .or_else(|| self.cut_over_http2(stream, limits))
    }

    /// There is no event stream at all.
    fn refused(&self, stream: &Http2) -> Option<Finding> {
        let evidence = match (&stream.head, &stream.end) {
            (Some(head), _) if head.status != 200 => format!("the answer has the status {}", head.status),
            (Some(head), _)
                if self.opening.answer.as_ref().is_some_and(|known| known.media_type != head.media_type) =>
            {
                format!("Content-Type is {:?}", shown(&head.media_type))
            }
            (None, Some(end)) => format!("in place of an answer the stream was {end}"),
            (Some(_) | None, _) => return None,
        };
        let says = "Over HTTP/2, which browsers get here, there is no event stream, while over HTTP/1.1 there is.";
        Some(Finding::problem("http2-refused", says).by(evidence).mended_by([WHOSE]))
    }

    /// Nothing comes of it in time.
    fn held_over_http2(&self, stream: &Http2, hops: &[Hop]) -> Option<Finding> {
        let over_http_1 = self.opening.first_event.filter(|_| stream.is_overdue && stream.first_event.is_none())?;
        let what =
            if stream.head.is_some() { "the head of the stream came, but no event" } else { "not even the head came" };
        let evidence = format!(
            "in {} {what}; over HTTP/1.1 the first event came after {}",
            took(self.opening.patience),
            took(over_http_1)
        );
        let says = "Over HTTP/2, which browsers get here, the stream is held back, while over HTTP/1.1 it is not.";
        // Whether there was an event to come is known of a gateway only.
        let finding = if self.opening.is_encke {
            Finding::problem("http2-held", says)
        } else {
            Finding::advice("http2-held", says).mended_by(["measure again: there may have been no event just then"])
        };
        Some(finding.by(evidence).mended_by(remedy::holding(hops)))
    }

    /// It ended, and those over HTTP/1.1 became older.
    fn cut_over_http2(&self, stream: &Http2, limits: &Limits) -> Option<Finding> {
        let end = stream.end.as_ref().filter(|end| !stream.is_farewell && !matches!(end, End::Other(_)))?;
        if stream.age >= limits.age || is_same(stream.age, limits.age) || !limits.others.is_empty() {
            return None;
        }
        let evidence = format!(
            "{}, {} after the request; over HTTP/1.1 streams became {} old",
            shown(&end.to_string()),
            took(stream.age),
            took(limits.age)
        );
        let says = "Over HTTP/2, which browsers get here, a stream ended that lives on over HTTP/1.1.";
        let again = "measure again: it was one stream, and its connection may have ended by accident";
        // Of a gateway, which says goodbye, no end is in order: HAProxy 2.6 cuts a stream by END_STREAM.
        let finding = match end {
            End::Ended if !self.opening.is_encke => Finding::advice("http2-cut", says),
            End::Ended | End::Reset(_) | End::GoAway(_) | End::Cut | End::Other(_) => {
                Finding::problem("http2-cut", says)
            }
        };
        Some(finding.by(evidence).mended_by([again, WHOSE]))
    }
}
