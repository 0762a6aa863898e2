//! How a stream begins: where, with what first bytes, and as whose.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream as Frames;
use tokio::time::Instant;

use super::body::body;
use super::stream::{Heartbeat, Terms};
use super::{Delivery, Ending, FeedKey, Handoff, Peer, Stream, StreamId, TURN, Unbegun, wait_after_gap};
use crate::diagnosis::{Arrival, Relief, Signature, Ticket, Visitor};
use crate::event::{Cursor, Offset};
use crate::hub::{Reader, Selection, Snapshot, Step as Read};
use crate::log::{GapReason, Missing, Position, ReadError, Start};
use crate::transport::{Carry, Format, Keeps, Notice, Rendering, Resume, Transport};

/// What a subscriber wants, parsed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which events.
    pub selection: Arc<Selection>,
    /// How they are brought.
    pub transport: &'static Transport,
    /// SSE data is the event's JSON.
    pub envelope: bool,
    /// From where on.
    pub begin: Begin,
    /// First the newest event of each topic or conflation key.
    pub snapshot: bool,
    /// Of events that conflate only the newest of what comes together.
    pub conflate: bool,
    /// What is to be done when something is gone.
    pub on_gap: OnGap,
    /// The interval of heartbeats, if the subscriber named one.
    pub heartbeat: Option<Duration>,
    /// Heartbeats are events that scripts can see.
    pub beat_as_event: bool,
    /// The reconnection time, if the subscriber named one.
    pub retry: Option<Duration>,
    /// Bytes of padding before the first event, for intermediaries that hold small beginnings.
    pub padding: usize,
    /// How long a poll waits.
    pub timeout: Duration,
    /// How many events a stream gives, or an answer holds, at most.
    pub limit: Option<u64>,
    /// Who comes back, as it calls itself. Nothing is done with it but to tell it from others.
    pub session: Option<String>,
    /// What its client, and proxies before us, say of it, as a keyed hash. Nothing is done with it but to tell it from others.
    pub described: u64,
    /// Its client says by `POST /beacon` what it got.
    pub says_receipts: bool,
    /// How its request came.
    pub signature: Signature,
    /// The address of its client, as far as it is known from those who may be believed.
    pub client: Option<IpAddr>,
    /// The other end.
    pub peer: Arc<Peer>,
    /// The connection carries other requests too (HTTP/2).
    pub multiplexed: bool,
}

impl Wanted {
    /// This, and nothing special about it.
    #[must_use]
    pub fn new(selection: Arc<Selection>, transport: &'static Transport, begin: Begin) -> Self {
        Self {
            selection,
            transport,
            envelope: false,
            begin,
            snapshot: false,
            conflate: false,
            on_gap: OnGap::GoOn,
            heartbeat: None,
            beat_as_event: false,
            retry: None,
            padding: 0,
            timeout: Duration::from_secs(25),
            limit: None,
            session: None,
            described: 0,
            says_receipts: false,
            signature: Signature::of_head(b""),
            client: None,
            peer: Arc::new(Peer::new(None)),
            multiplexed: false,
        }
    }

    /// What equal subscribers have in common.
    pub(super) fn key(&self) -> FeedKey {
        let rendering = Rendering { format: self.transport.format, envelope: self.envelope };
        let (selection, keeps) = (Arc::clone(&self.selection), self.transport.keeps);
        FeedKey { selection, rendering, keeps, conflates: self.conflate }
    }

    fn shows_state(&self) -> bool {
        self.transport.keeps == Keeps::State
    }
}

/// What is to be done when something is gone that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// Go on with what exists; from a place that is not known, at the live edge.
    GoOn,
    /// Go on at the live edge.
    Latest,
    /// Go on with the oldest that exists, also from a place that is not known.
    Earliest,
    /// End.
    Close,
}

/// From where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The subscriber did not say: the live edge, or for state transports the newest state.
    Unsaid,
    /// Here. A cursor is kept as it was asked for, to be named in a gap.
    At(Start, String),
    /// With the newest so many that match.
    Last(usize),
}

/// An opened stream.
pub struct Opened {
    /// What it is called.
    pub id: StreamId,
    /// Where it begins.
    pub cursor: Cursor,
    /// Whether it is a new one.
    pub resume: Resume,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body, which carries the stream unless somebody takes it.
    pub body: Pin<Box<dyn Frames<Item = Result<Bytes, io::Error>> + Send>>,
    /// The stream itself, for whoever can carry it better.
    pub handoff: Handoff,
}

/// A start position that has been looked up.
pub(super) struct Beginning {
    /// What follows is behind this.
    pub(super) after: Offset,
    pub(super) resume: Resume,
    pub(super) gap: Option<Gap>,
    /// What comes before anything else; then reading goes on at its edge.
    pub(super) snapshot: Option<Snapshot>,
}

/// A gap that is to be told.
pub(super) struct Gap {
    asked: String,
    missing: Missing,
    wait: Duration,
}

impl Delivery {
    /// Whether this subscriber was closed on a gap before, at the very position that it asks for.
    #[must_use]
    pub fn was_closed(&self, wanted: &Wanted) -> bool {
        let Begin::At(_, asked) = &wanted.begin else { return false };
        wanted.on_gap == OnGap::Close && self.closed.has(self.closed.asker(wanted), asked)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn open(&self, wanted: Wanted) -> Result<Opened, ReadError> {
        let Beginning { after, resume, gap, snapshot } = self.begin(&wanted).await?;
        let id = StreamId::new();
        let (transport, key) = (wanted.transport, wanted.key());
        let rendering = key.rendering;
        let (ticket, arrival) = self.arrive(&wanted, id);
        let has_left = arrival.back.is_some_and(|back| back.is_strong);
        if !has_left
            && resume == Resume::Resumed
            && let Some(session) = ticket.session()
        {
            self.streams.supersede(session, Instant::now());
        }
        let tuned = arrival.heartbeat;
        let interval = wanted.heartbeat.or(tuned).unwrap_or(self.options.heartbeat);
        let retry = self.retry(wanted.retry);
        let cursor = self.hub.log().cursor(after);

        let mut opening = BytesMut::new();
        if transport.format == Format::EventStream {
            pad(&mut opening, wanted.padding.max(arrival.padding));
        }
        opening.extend_from_slice(&rendering.preamble());
        opening.extend_from_slice(&rendering.notice(&Notice::Hello {
            id: gap.is_none().then_some(cursor),
            retry,
            stream: &id.to_string(),
            resume,
            transport: transport.name,
            heartbeat: interval,
        }));
        let closes = wanted.on_gap == OnGap::Close;
        if let Some(gap) = &gap {
            opening.extend_from_slice(&rendering.notice(&self.notice(gap, after, !closes)));
        }

        let feed = self.feeds.join(key, &self.hub);
        let permit = wanted.selection.permit().clone();
        let leave = permit.leave();
        let shutdown = self.shutdown.clone();
        let names = (transport.name, resume.as_str());
        let multiplexed = wanted.multiplexed;
        let closing = closes.then(|| (Arc::clone(&self.closed), self.closed.asker(&wanted)));
        let name = (ticket, id.short());
        let ending = Ending::open(&self.metrics, &self.diagnosis, names, name, wanted.peer, multiplexed, shutdown);
        // Its clients come back by themselves, and what they are given meanwhile arrives whole.
        let comes_back = transport.format == Format::EventStream && transport.keeps == Keeps::Events;
        let finish = (comes_back && arrival.relief == Relief::Finishing).then(|| Instant::now() + FINISHED);
        let says_receipts = comes_back && finish.is_none() && wanted.says_receipts;
        let proof = says_receipts.then(|| self.receipts.wait_for(id, ticket, Instant::now())).flatten();
        let terms = Terms {
            heartbeat: Heartbeat { interval, as_event: wanted.beat_as_event },
            retention: self.options.retention_events,
            retry,
            limit: wanted.limit,
            on_gap: wanted.on_gap,
            closing,
            snapshot,
            begins_anew: resume == Resume::New,
            finish,
            proof,
        };
        let mut stream = Stream::new(Arc::clone(&self.hub), feed, after, opening.freeze(), terms, ending);
        if let Some(gap) = gap.filter(|_| closes) {
            stream.close(&gap.asked);
        }
        let (delivery, cut) = (self.clone(), self.enter(id, ticket.session()));
        let handoff = Handoff::new(Unbegun { stream, delivery, cut, leave, permit });
        let body = Box::pin(body(handoff.clone()));
        Ok(Opened { id, cursor, resume, content_type: rendering.content_type(), body, handoff })
    }

    /// Tells of a stream or poll that begins, and of what its client had not been given when it was here last. Answers what
    /// is known of its path.
    pub(super) fn arrive(&self, wanted: &Wanted, id: StreamId) -> (Ticket, Arrival) {
        let has = match &wanted.begin {
            Begin::At(Start::Cursor(cursor), _) if wanted.transport.carry != Carry::AtOnce => Some(cursor.offset),
            _ => None,
        };
        let address = wanted.peer.address().map(|address| address.ip());
        let visitor = Visitor {
            session: wanted.session.as_ref().map(|session| self.diagnosis.hash((session, &wanted.selection))),
            who: self.diagnosis.hash((address, wanted.described, &wanted.selection)),
            prefix: wanted.client.map(|client| self.diagnosis.short_hash(prefix(client))),
            browser: (wanted.signature.is_direct_browser() && wanted.client.is_none())
                .then(|| self.diagnosis.short_hash((address, wanted.described))),
            has,
            stream: self.diagnosis.hash(id),
        };
        let name = wanted.transport.name;
        let (ticket, arrival) = self.diagnosis.arrive(&wanted.signature, &visitor, name);
        if let Some((has, back)) = has.zip(arrival.back).filter(|(has, back)| *has < back.given) {
            let mut reader = Reader::new(Arc::clone(&wanted.selection), has);
            match reader.step(&self.hub, back.given, TURN) {
                Read::Events(events) => self.diagnosis.missed(&ticket, &back, events.len() as u64),
                Read::LiveEdge => self.diagnosis.missed(&ticket, &back, 0),
                Read::Gap(_) | Read::Behind(_) | Read::Scanned => {}
            }
        }
        (ticket, arrival)
    }

    /// Looks the start position up, and counts the gap if there is one.
    pub(super) async fn begin(&self, wanted: &Wanted) -> Result<Beginning, ReadError> {
        let Wanted { selection, begin, on_gap, .. } = wanted;
        let newest_if_unsaid = wanted.shows_state() || wanted.conflate;
        let looks_at_once = wanted.transport.carry == Carry::AtOnce;
        if looks_at_once || wanted.snapshot || matches!(begin, Begin::Last(_)) {
            // Others are given what comes to memory a moment later. The time is a bound for when nothing comes any more.
            let _ = tokio::time::timeout(CATCH_UP, self.hub.caught_up()).await;
        }
        let (mut position, asked) = match begin {
            // The snapshot alone tells where it begins.
            Begin::Unsaid | Begin::Last(_) if wanted.snapshot => (self.latest(), None),
            Begin::Unsaid if newest_if_unsaid => (self.hub.newest(selection, 1).await?, None),
            Begin::Unsaid => (self.latest(), None),
            Begin::Last(count) => (self.hub.newest(selection, *count).await?, None),
            Begin::At(start, asked) => (self.hub.seek(*start, selection).await?, Some((start, asked))),
        };
        if let Some(missing) = &mut position.missing {
            // Of a selection nobody knows how many of the lost ones it would have matched.
            missing.offsets = missing.offsets.filter(|_| selection.is_everything());
            let unknown = matches!(missing.reason, GapReason::Ahead | GapReason::Unknown);
            match on_gap {
                OnGap::Latest => {
                    missing.offsets = None;
                    position.after = self.hub.pages().edge();
                }
                OnGap::Earliest if unknown => {
                    position.after = self.hub.seek(Start::Earliest, selection).await?.after;
                }
                OnGap::GoOn | OnGap::Earliest | OnGap::Close => {}
            }
            if wanted.shows_state() && *on_gap != OnGap::Close {
                // There is no place for a gap on a state transport; but what it shows must be the state.
                position.after = position.after.min(self.hub.newest(selection, 1).await?.after);
            }
        }
        let resumes = matches!(asked, Some((Start::Cursor(_), _))) && position.missing.is_none();
        // Whoever comes back to where it was has the state of then, and is given all that came since.
        let takes_snapshot = wanted.snapshot && !resumes && (position.missing.is_none() || *on_gap != OnGap::Close);
        let snapshot = if takes_snapshot { Some(self.hub.snapshot(selection).await?) } else { None };
        if let Some(snapshot) = &snapshot {
            position.after = snapshot.begin();
            position.missing = position.missing.or(snapshot.missing());
        }
        let resume = match position.missing {
            Some(_) => Resume::Gap,
            None if resumes => Resume::Resumed,
            None => Resume::New,
        };
        let asked = asked.map(|(_, asked)| asked.clone()).unwrap_or_default();
        let gap = position.missing.map(|missing| self.gap(asked, missing));
        Ok(Beginning { after: position.after, resume, gap, snapshot })
    }

    fn latest(&self) -> Position {
        Position { after: self.hub.pages().edge(), missing: None }
    }

    /// A gap that opened while reading on from `cursor`.
    pub(super) fn missing(&self, cursor: Offset, missing: Missing) -> Gap {
        self.gap(self.hub.log().cursor(cursor).to_string(), missing)
    }

    fn gap(&self, asked: String, missing: Missing) -> Gap {
        self.metrics.gap(missing.reason.as_str());
        Gap { asked, missing, wait: wait_after_gap(&self.metrics) }
    }

    /// The words for a gap behind which reading goes on after `after`, if it does.
    pub(super) fn notice<'a>(&self, gap: &'a Gap, after: Offset, goes_on: bool) -> Notice<'a> {
        let log = self.hub.log();
        Notice::Gap {
            // Without it, whoever is closed there comes back with what it asked for, and can be told that it is over.
            id: goes_on.then(|| log.cursor(after)),
            asked: &gap.asked,
            first: log.cursor(after + 1),
            reason: gap.missing.reason.as_str(),
            lost: gap.missing.offsets,
            wait: gap.wait,
        }
    }

    /// Notes that a poll is answered with a gap, behind which it does not want to go on.
    pub(super) fn close(&self, wanted: &Wanted) {
        if let Begin::At(_, asked) = &wanted.begin {
            self.closed.note(self.closed.asker(wanted), asked);
        }
    }
}

/// The part of an address by which clients are told apart as far as evidence goes: who has one address of it may have many.
fn prefix(address: IpAddr) -> [u8; 6] {
    let mut prefix = [0; 6];
    match address.to_canonical() {
        IpAddr::V4(address) => prefix[..3].copy_from_slice(&address.octets()[..3]),
        IpAddr::V6(address) => prefix.copy_from_slice(&address.octets()[..6]),
    }
    prefix
}

/// How long a subscriber waits for what is stored to come to memory.
const CATCH_UP: Duration = Duration::from_secs(1);

/// After what time a stream ends that ends after its first events, if there are none: as a long poll does.
const FINISHED: Duration = Duration::from_secs(25);

/// A comment of so many bytes; none if that is too few for one.
pub(super) fn pad(opening: &mut BytesMut, padding: usize) {
    if padding >= 3 {
        opening.extend_from_slice(b":");
        opening.resize(padding - 2, b' ');
        opening.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests;
