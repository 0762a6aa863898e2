//! Whether what is written arrives, of streams whose clients say so (`beacon=1`, `POST /beacon`).
//!
//! Acknowledgements of the network come from the next hop; only the client knows what came through. A client that is silent
//! though it was going to answer the beginning is sent padding, more and more: what holds events until it has enough lets go
//! of them then. If nothing helps, or events stay behind later, the stream is ended, as that is let through by everything: a
//! client that speaks then shows that the path held it all, and one that does not that it never speaks, which is remembered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::StreamId;
use crate::diagnosis::{Receipt, Ticket};
use crate::event::Offset;

/// Every stream whose client is going to say what it got.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    expected: Mutex<Expected>,
}

#[derive(Debug, Default)]
struct Expected {
    awaited: HashMap<StreamId, Arc<Record>>,
    /// Of these, those that were ended as nothing was said: when.
    ended: VecDeque<(Instant, StreamId)>,
    /// Clients that never speak.
    mute: HashSet<NonZeroU64>,
}

/// What a client's word tells.
#[derive(Debug)]
pub(super) enum Told {
    /// It has its stream.
    Receipt(Ticket, Receipt),
    /// It has it only now that it has ended.
    Held(Ticket),
}

/// What a client has said, and of what.
#[derive(Debug)]
struct Record {
    ticket: Ticket,
    opened: Instant,
    /// It has said something.
    answered: AtomicBool,
    /// Up to which offset it has everything, and when it said so, in milliseconds from `opened`.
    offset: AtomicU64,
    at: AtomicU64,
    /// Bytes of padding that were sent while nothing was said.
    padded: AtomicU32,
    /// It was ended as nothing was said.
    in_vain: AtomicBool,
}

impl Receipts {
    /// For how long after its end a stream may still be heard of.
    const AFTERWARDS: Duration = Duration::from_secs(10);

    /// How many clients are remembered that never speak; beyond that they are tried anew.
    const MUTE: usize = 4096;

    /// Waits for what the client of a stream says, unless it is one that never does.
    pub(super) fn wait_for(self: &Arc<Self>, id: StreamId, ticket: Ticket, now: Instant) -> Option<Proof> {
        let mut expected = self.expected();
        expected.give_up(now);
        if expected.mute.contains(&ticket.client()) {
            return None;
        }
        let record = Arc::new(Record {
            ticket,
            opened: now,
            answered: AtomicBool::new(false),
            offset: AtomicU64::new(0),
            at: AtomicU64::new(0),
            padded: AtomicU32::new(0),
            in_vain: AtomicBool::new(false),
        });
        expected.awaited.insert(id, Arc::clone(&record));
        let next = Some(now + Proof::PATIENCE);
        Some(Proof { id, record, receipts: Arc::clone(self), pads: 0, unconfirmed: None, newest: None, next })
    }

    /// The client of a stream says up to where it got, and for how long it has had the stream. Answers what that tells, if it
    /// is the first word.
    pub(super) fn said(&self, id: StreamId, upto: Option<Offset>, age: Option<Duration>, now: Instant) -> Option<Told> {
        let mut expected = self.expected();
        expected.give_up(now);
        let record = Arc::clone(expected.awaited.get(&id)?);
        if record.in_vain.load(Ordering::Acquire) {
            expected.awaited.remove(&id);
            return Some(Told::Held(record.ticket));
        }
        drop(expected);
        let since = now.saturating_duration_since(record.opened);
        if let Some(upto) = upto {
            record.offset.fetch_max(upto, Ordering::Relaxed);
            record.at.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        }
        let is_first = !record.answered.swap(true, Ordering::AcqRel);
        let padded = record.padded.load(Ordering::Relaxed);
        let late = age.map(|age| since.saturating_sub(age));
        is_first.then_some(Told::Receipt(record.ticket, Receipt { late, padded }))
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// Waits no longer for those that ended long ago: their clients do not speak.
    fn give_up(&mut self, now: Instant) {
        while let Some((_, id)) = self.ended.pop_front_if(|(at, _)| *at + Receipts::AFTERWARDS <= now) {
            let Some(record) = self.awaited.remove(&id) else { continue };
            if self.mute.len() == Receipts::MUTE {
                self.mute.clear();
            }
            self.mute.insert(record.ticket.client());
        }
    }
}

/// What is known of whether one stream arrives.
#[derive(Debug)]
pub(super) struct Proof {
    id: StreamId,
    record: Arc<Record>,
    receipts: Arc<Receipts>,
    /// How often padding was sent.
    pads: u32,
    /// The first events of which the client has said nothing yet: up to where, and when they were written.
    unconfirmed: Option<(Offset, Instant)>,
    /// The same of the last events.
    newest: Option<(Offset, Instant)>,
    /// When it is to be looked at next.
    next: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proved {
    /// Nothing.
    Nothing,
    /// So many bytes of padding are to be sent.
    Pad(usize),
    /// It is to be ended: the client says nothing, and may have nothing.
    Silent,
    /// The path holds what is written.
    Held,
}

impl Proof {
    /// For how long a client may be silent.
    const PATIENCE: Duration = Duration::from_secs(3);

    /// How soon after a pad comes the next, twice as large.
    const PACE: Duration = Duration::from_secs(1);

    /// The first and the last of them, in bytes.
    const PADS: (usize, usize) = (1024, 64 * 1024);

    /// For how long it is waited after the last.
    const LAST: Duration = Duration::from_secs(5);

    /// What a client says so much later than an event was written would tell of that event, had it come.
    const BEHIND: Duration = Duration::from_secs(5);

    /// How often it is looked whether it said something.
    const LOOK: Duration = Duration::from_secs(5);

    /// When it is to be looked at next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Events were written, up to this offset.
    pub(super) fn gave(&mut self, upto: Offset, now: Instant) {
        self.newest = Some((upto, now));
        if self.unconfirmed.is_none() {
            self.unconfirmed = self.newest;
            if self.record.answered.load(Ordering::Acquire) {
                self.next = Some(now + Self::BEHIND);
            }
        }
    }

    /// What is to be done now.
    pub(super) fn look(&mut self, now: Instant) -> Proved {
        if self.next.is_none_or(|next| now < next) {
            return Proved::Nothing;
        }
        if self.record.answered.load(Ordering::Acquire) {
            self.look_at_events(now)
        } else {
            self.look_at_beginning(now)
        }
    }

    fn look_at_beginning(&mut self, now: Instant) -> Proved {
        let size = Self::PADS.0 << self.pads;
        if size > Self::PADS.1 {
            self.next = None;
            self.record.in_vain.store(true, Ordering::Release);
            return Proved::Silent;
        }
        self.pads += 1;
        self.record.padded.fetch_add(u32::try_from(size).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.next = Some(now + if size == Self::PADS.1 { Self::LAST } else { Self::PACE });
        Proved::Pad(size)
    }

    fn look_at_events(&mut self, now: Instant) -> Proved {
        let said_at = self.record.opened + Duration::from_millis(self.record.at.load(Ordering::Acquire));
        let has = self.record.offset.load(Ordering::Relaxed);
        if self.unconfirmed.is_some_and(|(upto, _)| upto <= has) {
            self.unconfirmed = self.newest.filter(|(upto, _)| *upto > has);
        }
        self.next = self.unconfirmed.map(|_| now + Self::LOOK);
        match self.unconfirmed {
            Some((_, written)) if said_at >= written + Self::BEHIND => {
                self.next = None;
                Proved::Held
            }
            _ => Proved::Nothing,
        }
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut expected = self.receipts.expected();
        if self.record.in_vain.load(Ordering::Acquire) {
            expected.ended.push_back((Instant::now(), self.id));
        } else {
            expected.awaited.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{BeatBounds, Beats, Diagnosis, Signature, Visitor};
    use crate::metrics::{Labels, Metrics};

    fn ticket() -> Ticket {
        let labels = Labels { transports: &["sse"], ends: &[], signs: &[], gaps: &[], resumes: &[], refusals: &[] };
        let beats = Beats { default: Duration::from_secs(15), bounds: BeatBounds::default() };
        let diagnosis = Diagnosis::new(Arc::new(Metrics::new(labels)), Duration::from_secs(35), beats);
        let (who, stream) = (diagnosis.hash(1), diagnosis.hash(2));
        let visitor = Visitor { session: None, who, prefix: None, browser: None, has: None, stream };
        diagnosis.arrive(&Signature::of_head(b""), &visitor, "sse").0
    }

    struct Place {
        receipts: Arc<Receipts>,
        id: StreamId,
        began: Instant,
        proof: Proof,
    }

    impl Place {
        fn new() -> Self {
            let (receipts, id, began) = (Arc::<Receipts>::default(), StreamId::new(), Instant::now());
            let proof = receipts.wait_for(id, ticket(), began).expect("it may speak");
            Self { receipts, id, began, proof }
        }

        fn at(&self, seconds: f64) -> Instant {
            self.began + Duration::from_secs_f64(seconds)
        }

        fn said(&self, upto: Option<Offset>, age: Option<u64>, at: f64) -> Option<Receipt> {
            let said = self.receipts.said(self.id, upto, age.map(Duration::from_millis), self.at(at));
            said.map(|told| match told {
                Told::Receipt(_, receipt) => receipt,
                Told::Held(_) => panic!("it has not ended"),
            })
        }

        /// All that is to be done until then, and when.
        fn until(&mut self, end: f64) -> Vec<(f64, Proved)> {
            let (mut done, end) = (Vec::new(), self.at(end));
            while let Some(next) = self.proof.due().filter(|next| *next <= end) {
                let proved = self.proof.look(next);
                if proved != Proved::Nothing {
                    done.push(((next - self.began).as_secs_f64(), proved));
                }
            }
            done
        }
    }

    #[test]
    fn a_silent_client_is_sent_more_and_more_padding_until_it_is_given_up() {
        let mut place = Place::new();
        let pads = [1, 2, 4, 8, 16, 32, 64].map(|kib| Proved::Pad(kib * 1024));
        let times = [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 14.0];
        let expected: Vec<_> = times.into_iter().zip(pads.into_iter().chain([Proved::Silent])).collect();
        assert_eq!(place.until(1000.0), expected);
        assert_eq!(place.proof.due(), None);
    }

    #[test]
    fn a_client_that_answers_at_once_is_sent_none() {
        let mut place = Place::new();
        assert_eq!(place.said(None, Some(30), 0.1), Some(Receipt { late: Some(Duration::from_millis(70)), padded: 0 }));
        assert_eq!(place.said(None, Some(5000), 5.0), None, "the first word is the receipt");
        assert_eq!(place.until(1000.0), []);
    }

    #[test]
    fn what_padding_has_released_tells_how_much_is_held() {
        let mut place = Place::new();
        assert_eq!(place.until(5.5).len(), 3);
        let receipt = place.said(None, Some(10), 5.6).expect("the first word");
        assert_eq!(receipt.padded, 7 * 1024);
        assert_eq!(place.until(1000.0), []);
    }

    #[test]
    fn events_that_a_client_does_not_have_though_it_speaks_are_held() {
        let mut place = Place::new();
        place.said(Some(10), Some(1), 0.1);
        place.until(5.0);
        place.proof.gave(11, place.at(20.0));
        place.said(Some(11), None, 20.2);
        assert_eq!(place.until(60.0), [], "it has them");
        place.proof.gave(12, place.at(60.0));
        place.proof.gave(13, place.at(61.0));
        place.said(Some(12), None, 61.5);
        assert_eq!(place.until(95.0), [], "it says nothing of the last");
        place.said(Some(12), None, 100.0);
        let done = place.until(200.0);
        assert!(matches!(done[..], [(at, Proved::Held)] if at < 106.0), "{done:?}");
    }

    #[test]
    fn of_a_stream_that_has_ended_nothing_is_kept() {
        let Place { receipts, id, began, proof } = Place::new();
        drop(proof);
        assert!(receipts.said(id, None, None, began).is_none() && receipts.expected().awaited.is_empty());
    }

    #[test]
    fn who_speaks_only_when_its_stream_has_ended_was_held() {
        let mut place = Place::new();
        place.until(60.0);
        let Place { receipts, id, began, proof } = place;
        drop(proof);
        assert!(matches!(receipts.said(id, None, None, began), Some(Told::Held(_))));
        assert!(receipts.said(id, None, None, began).is_none(), "once");
        assert!(receipts.wait_for(StreamId::new(), ticket(), began + Duration::from_secs(60)).is_some());
    }

    #[test]
    fn who_never_speaks_is_left_alone() {
        let mut place = Place::new();
        place.until(60.0);
        let Place { receipts, id: _, began, proof } = place;
        let whose = proof.record.ticket;
        drop(proof);
        assert!(receipts.wait_for(StreamId::new(), whose, began).is_some(), "it may speak yet");
        let later = Instant::now() + Receipts::AFTERWARDS;
        assert!(receipts.wait_for(StreamId::new(), whose, later).is_none());
        assert!(receipts.wait_for(StreamId::new(), ticket(), later).is_some(), "others may");
    }
}
