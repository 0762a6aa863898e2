//! What the readers of one thread got: counts for all of them, and a ledger for each.
//!
//! Memory is bounded by the number of readers; what comes is counted and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::contents::{GAP, Told};
use super::histogram::Histogram;
use super::latch::Latch;
use super::ledger::{Arrival, Ledger, Published};
use super::order::{Order, Step};
use super::stamp::Stamp;
use crate::cli::wire::trouble::Kind;
use crate::event::EventType;

/// What is counted of readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Streams that were opened; of polls, the first answer of each reader, and the first after a failure.
    pub(super) opened: u64,
    /// Of those, the ones after which a reader had been open before.
    pub(super) reopened: u64,
    /// From the beginning of a connection to the first byte of the answer.
    pub(super) first_byte: Histogram,
    /// Attempts that opened nothing.
    pub(super) failed: BTreeMap<Kind, u64>,
    /// Streams that ended, and polls that were cut.
    pub(super) ended: BTreeMap<Kind, u64>,
    pub(super) requests: u64,
    /// All that came, but for what the server says of the stream itself.
    pub(super) events: u64,
    /// Those that the run did not publish, in one that publishes.
    pub(super) foreign: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    /// Left out by a transport that shows the newest only.
    pub(super) skipped: u64,
    /// Numbers that the ids of a stream left out, where they are plain numbers.
    pub(super) left_out: u64,
    /// How often the server said that events are gone, and how many, as far as it knew.
    pub(super) gaps: u64,
    pub(super) gone: u64,
    /// From the moment of sending an event to that of having it, whole.
    pub(super) latency: Histogram,
}

impl Counts {
    /// Counts all that `other` has.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { first_byte, failed, ended, latency, .. } = other;
        self.opened += other.opened;
        self.reopened += other.reopened;
        self.first_byte.add(first_byte);
        failed.iter().for_each(|(kind, count)| *self.failed.entry(*kind).or_default() += count);
        ended.iter().for_each(|(kind, count)| *self.ended.entry(*kind).or_default() += count);
        self.requests += other.requests;
        self.events += other.events;
        self.foreign += other.foreign;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.skipped += other.skipped;
        self.left_out += other.left_out;
        self.gaps += other.gaps;
        self.gone += other.gone;
        self.latency.add(latency);
    }
}

/// How what comes is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    /// The run whose events are looked for, and the moment from which they count their time; `None` where none are published.
    pub(super) run: Option<(u64, Instant)>,
    /// Only the newest event is shown.
    pub(super) is_state: bool,
}

/// The readers of one thread.
pub(super) struct Tally {
    pub(super) counts: Counts,
    judge: Judge,
    readers: Vec<Reader>,
    /// Once nothing more is published: what each is to get, and who waits until each has it.
    last: Option<(Arc<Published>, Arc<Latch>)>,
}

#[derive(Clone, Debug, Default)]
struct Reader {
    ledger: Ledger,
    order: Order,
    is_open: bool,
    was_open: bool,
    /// It has all that it is to get.
    is_done: bool,
}

impl Tally {
    pub(super) fn new(judge: Judge, readers: usize) -> Self {
        Self { counts: Counts::default(), judge, readers: vec![Reader::default(); readers], last: None }
    }

    /// A reader got the first bytes of its answer, so long after it had begun to connect.
    pub(super) fn opened(&mut self, reader: usize, after: Duration) {
        let reader = &mut self.readers[reader];
        self.counts.opened += 1;
        self.counts.reopened += u64::from(reader.was_open);
        self.counts.first_byte.record(after);
        (reader.is_open, reader.was_open) = (true, true);
    }

    /// A reader got no answer, or none that is of use.
    pub(super) fn failed(&mut self, reader: usize, kind: Kind) {
        self.readers[reader].is_open = false;
        *self.counts.failed.entry(kind).or_default() += 1;
    }

    /// A reader's stream ended.
    pub(super) fn ended(&mut self, reader: usize, kind: Kind) {
        self.readers[reader].is_open = false;
        *self.counts.ended.entry(kind).or_default() += 1;
    }

    /// Takes what came to a reader.
    pub(super) fn take(&mut self, reader: usize, told: Told<'_>, now: Instant) {
        if told.kind.starts_with(EventType::RESERVED_PREFIX) {
            return self.notice(told);
        }
        let Self { counts, judge, readers, last } = self;
        let reader = &mut readers[reader];
        let Some((run, began)) = judge.run else {
            counts.events += 1;
            match reader.order.take(told.id) {
                Step::Onward { left_out } => counts.left_out += left_out,
                Step::Again if judge.is_state => counts.events -= 1, // It is shown twice so that browsers paint it.
                Step::Again => counts.doubled += 1,
                Step::Back => counts.reordered += 1,
            }
            return;
        };
        let Some(stamp) = Stamp::read(told.data).filter(|stamp| stamp.run == run) else {
            counts.events += 1;
            counts.foreign += 1;
            return;
        };
        let (arrival, skipped) = if judge.is_state {
            if let Ok(place) = told.id.parse() {
                reader.ledger.reach(place);
            }
            reader.ledger.show(stamp.publisher, stamp.number)
        } else {
            (reader.ledger.arrive(stamp.publisher, stamp.number), 0)
        };
        counts.skipped += skipped;
        match arrival {
            Arrival::Doubled if judge.is_state => return,
            Arrival::Doubled => counts.doubled += 1,
            Arrival::Reordered => counts.reordered += 1,
            Arrival::Next => {}
        }
        counts.events += 1;
        if arrival != Arrival::Doubled {
            let since = u64::try_from(now.saturating_duration_since(began).as_nanos()).unwrap_or(u64::MAX);
            counts.latency.record(Duration::from_nanos(since.saturating_sub(stamp.sent)));
        }
        if let Some((published, latch)) = last
            && !reader.is_done
            && reader.has_all(published, judge.is_state)
        {
            reader.is_done = true;
            latch.count_down();
        }
    }

    #[cold]
    fn notice(&mut self, told: Told<'_>) {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Gap {
            lost: Option<u64>,
        }
        if told.kind == GAP {
            self.counts.gaps += 1;
            let Gap { lost } = serde_json::from_slice(told.data).unwrap_or_default();
            self.counts.gone += lost.unwrap_or_default();
        }
    }

    /// Nothing more is published. Each reader that has all of it, now or later, counts the latch down.
    pub(super) fn nothing_more(&mut self, published: &Arc<Published>, latch: &Arc<Latch>) {
        for reader in &mut self.readers {
            reader.is_done = reader.has_all(published, self.judge.is_state);
            if reader.is_done {
                latch.count_down();
            }
        }
        self.last = Some((published.clone(), latch.clone()));
    }

    /// How many readers are connected.
    pub(super) fn open(&self) -> usize {
        self.readers.iter().filter(|reader| reader.is_open).count()
    }

    /// How many deliveries are missing of which later ones came.
    pub(super) fn missing(&self) -> u64 {
        if self.judge.is_state { 0 } else { self.readers.iter().map(|reader| reader.ledger.missing()).sum() }
    }

    /// How many deliveries of what was published did not come about; of readers that are shown the newest event, how many
    /// do not have it.
    pub(super) fn lost(&self, published: &Published) -> u64 {
        let lost = |reader: &Reader| match self.judge.is_state {
            true => u64::from(!reader.has_all(published, true)),
            false => reader.ledger.lost(published),
        };
        self.readers.iter().map(lost).sum()
    }
}

impl Reader {
    fn has_all(&self, published: &Published, is_state: bool) -> bool {
        if is_state { self.ledger.is_current(published) } else { self.ledger.lost(published) == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 7;

    fn tally(run: Option<u64>, is_state: bool, readers: usize) -> Tally {
        Tally::new(Judge { run: run.map(|run| (run, Instant::now())), is_state }, readers)
    }

    fn arrive(tally: &mut Tally, reader: usize, number: u64) {
        let data = Stamp { run: RUN, publisher: 0, number, sent: 0 }.data(0);
        let id = format!("abcdefgh-{}", number + 1);
        tally.take(reader, Told { id: &id, kind: "message", data: &data }, Instant::now());
    }

    fn published(end: u64) -> Arc<Published> {
        let newest = format!("abcdefgh-{end}").parse().ok();
        Arc::new(Published { end: vec![end], unsure: vec![vec![]], newest })
    }

    #[tokio::test]
    async fn readers_are_done_when_each_has_all_whether_before_or_after_the_end() {
        let mut tally = tally(Some(RUN), false, 2);
        (0..3).for_each(|number| arrive(&mut tally, 0, number));
        arrive(&mut tally, 1, 2);
        let (published, latch) = (published(3), Arc::new(Latch::new(2)));
        tally.nothing_more(&published, &latch);
        assert_eq!((tally.lost(&published), tally.missing(), latch.left()), (2, 2, 1));
        arrive(&mut tally, 1, 0);
        assert_eq!(latch.left(), 1);
        arrive(&mut tally, 1, 1);
        arrive(&mut tally, 1, 1);
        latch.wait().await;
        assert_eq!((tally.lost(&published), tally.counts.reordered, tally.counts.doubled), (0, 2, 1));
        assert_eq!((tally.counts.events, tally.counts.latency.count()), (7, 6), "a doubled event has no latency");
    }

    #[test]
    fn a_reader_of_the_newest_is_done_with_it_and_may_be_shown_it_twice() {
        let mut tally = tally(Some(RUN), true, 1);
        [0, 0, 4, 4].into_iter().for_each(|number| arrive(&mut tally, 0, number));
        let (published, latch) = (published(6), Arc::new(Latch::new(1)));
        tally.nothing_more(&published, &latch);
        assert_eq!((tally.lost(&published), tally.counts.skipped, tally.counts.events), (1, 3, 2));
        arrive(&mut tally, 0, 5);
        assert_eq!((tally.lost(&published), latch.left(), tally.counts.doubled), (0, 0, 0));
    }

    #[test]
    fn what_others_publish_is_counted_apart() {
        let mut tally = tally(Some(RUN + 1), false, 1);
        arrive(&mut tally, 0, 0);
        let gap = Told { id: "", kind: GAP, data: br#"{"lost":3}"# };
        let hello = Told { id: "a", kind: "encke.hello", data: b"{}" };
        for told in [gap, hello, Told { data: b"?", ..gap }] {
            tally.take(0, told, Instant::now());
        }
        let counts = &tally.counts;
        assert_eq!((counts.events, counts.foreign, counts.gaps, counts.gone), (1, 1, 2, 3));
    }

    #[test]
    fn without_publishing_the_ids_are_looked_at() {
        let mut tally = tally(None, false, 1);
        for id in ["1", "2", "5", "5", "4"] {
            tally.take(0, Told { id, kind: "message", data: b"" }, Instant::now());
        }
        let counts = &tally.counts;
        assert_eq!((counts.events, counts.left_out, counts.doubled, counts.reordered), (5, 2, 1, 1));
    }
}
