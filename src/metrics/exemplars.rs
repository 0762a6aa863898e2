//! Exemplars: for a series, one stream that was counted in it, by which one gets from a graph to that stream's story.
//!
//! *Deliberately absent*: anything on the way of a delivery. They are recorded when an end is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::proto::LabelPair;

/// A family whose series carry exemplars, as it was declared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier {
    /// Its name; a counter's with `_total`.
    pub(super) family: &'static str,
    /// The names of its labels, in the order in which their values are recorded.
    pub(super) labels: &'static [&'static str],
    /// The upper edges of a histogram's buckets; none of a counter.
    pub(super) edges: &'static [f64],
}

/// The newest exemplar of each series, and of each bucket where it has buckets.
///
/// Bounded: beyond the bound, what was recorded longest ago goes. One of a series that is not gathered is not shown.
#[derive(Debug)]
pub(super) struct Exemplars {
    carriers: &'static [Carrier],
    bound: usize,
    kept: Mutex<Kept>,
    /// The second that runs, and how many streams it has given so far: the upper and the lower half.
    running: AtomicU64,
}

/// One stream, with what was counted of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    pub(super) value: f64,
    pub(super) stream: u32,
    /// When it was recorded, since 1970.
    pub(super) at: Duration,
    bucket: usize,
    /// Rises with each that is recorded.
    turn: u64,
}

impl Exemplar {
    /// The newest of those whose value is wanted.
    pub(super) fn newest(exemplars: &[Self], wanted: impl Fn(f64) -> bool) -> Option<&Self> {
        exemplars.iter().filter(|exemplar| wanted(exemplar.value)).max_by_key(|exemplar| exemplar.turn)
    }
}

impl Exemplars {
    /// How many streams become exemplars in a second.
    const A_SECOND: u64 = 32;

    /// None yet, and at most `bound` in all.
    pub(super) fn new(carriers: &'static [Carrier], bound: usize) -> Self {
        Self { carriers, bound, kept: Mutex::default(), running: AtomicU64::new(0) }
    }

    /// Whether one more stream may become an exemplar now: of thousands that end in a second nobody looks at each, and keeping
    /// them costs more than counting them.
    pub(super) fn has_room(&self, at: SystemTime) -> bool {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() << 32;
        let running = self.running.load(Ordering::Relaxed);
        if running & !u64::from(u32::MAX) != second {
            self.running.store(second + 1, Ordering::Relaxed); // Another may do so too: then there is one more.
            return true;
        }
        let has_room = running - second < Self::A_SECOND;
        if has_room {
            self.running.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// A stream was counted in a series with this value: it takes the place of the one before it in the same bucket.
    ///
    /// `labels` are values in the order in which the family was declared, as for `with_label_values`. Nothing is kept of a
    /// family that is no carrier, nor of a value that is not finite.
    ///
    /// Cost: a lock and a look-up, about a third of a microsecond; several beyond the bound. It is meant for the end of a stream.
    pub(super) fn record(&self, family: &str, labels: &[&str], value: f64, stream: u32, at: SystemTime) {
        let Some((number, carrier)) = self.carrier(family).filter(|_| value.is_finite()) else { return };
        debug_assert_eq!(labels.len(), carrier.labels.len(), "{family} has a value for each label");
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default(); // A clock before 1970 was never set.
        let bucket = carrier.edges.partition_point(|edge| *edge < value);
        let key = key(number, labels.iter().copied());
        let mut kept = self.kept();
        kept.record(&key, labels, (number, self.bound), |turn| Exemplar { value, stream, at, bucket, turn });
    }

    /// Series are no more: those of each carrier with a label of this name and this value.
    pub(super) fn forget(&self, label: &str, value: &str) {
        let place = |carrier: &Carrier| carrier.labels.iter().position(|name| *name == label);
        let places: Vec<_> = self.carriers.iter().map(place).collect();
        let gone = |series: &Series| {
            let label = places[series.carrier].and_then(|place| series.labels.get(place));
            label.is_some_and(|label| **label == *value)
        };
        let Kept { series, count, .. } = &mut *self.kept();
        series.retain(|_, series| {
            let gone = gone(series);
            *count -= if gone { series.exemplars.len() } else { 0 };
            !gone
        });
    }

    /// The exemplars of a series that was gathered, whose labels may stand in another order than they were declared in.
    pub(super) fn of(&self, family: &str, labels: &[LabelPair]) -> Vec<Exemplar> {
        let Some((number, carrier)) = self.carrier(family) else { return Vec::new() };
        let value = |name: &str| labels.iter().find(|label| label.name() == name).map_or("", LabelPair::value);
        let key = key(number, carrier.labels.iter().map(|name| value(name)));
        self.kept().series.get(key.as_slice()).map_or_else(Vec::new, |series| series.exemplars.clone())
    }

    fn carrier(&self, family: &str) -> Option<(usize, &Carrier)> {
        self.carriers.iter().enumerate().find(|(_, carrier)| carrier.family == family)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Kept {
    series: HashMap<Box<[u8]>, Series>,
    /// How many exemplars there are.
    count: usize,
    turn: u64,
}

#[derive(Debug)]
struct Series {
    carrier: usize,
    labels: Box<[Box<str>]>,
    /// At most one a bucket.
    exemplars: Vec<Exemplar>,
}

impl Series {
    fn new(carrier: usize, labels: &[&str]) -> Self {
        Self { carrier, labels: labels.iter().map(|label| Box::from(*label)).collect(), exemplars: Vec::new() }
    }
}

impl Kept {
    fn record(
        &mut self,
        key: &[u8],
        labels: &[&str],
        (carrier, bound): (usize, usize),
        exemplar: impl FnOnce(u64) -> Exemplar,
    ) {
        self.turn += 1;
        let exemplar = exemplar(self.turn);
        let series = match self.series.get_mut(key) {
            Some(series) => series,
            None => self.series.entry(key.into()).or_insert_with(|| Series::new(carrier, labels)),
        };
        if let Some(before) = series.exemplars.iter_mut().find(|before| before.bucket == exemplar.bucket) {
            *before = exemplar;
            return;
        }
        series.exemplars.push(exemplar);
        self.count += 1;
        if self.count > bound {
            self.forget_oldest();
        }
    }

    /// Cost: a look at all that are kept, as an order of them would cost more where there are few paths, which are most places.
    #[cold]
    fn forget_oldest(&mut self) {
        let turns = self.series.values().flat_map(|series| &series.exemplars).map(|exemplar| exemplar.turn);
        let Some(oldest) = turns.min() else { return };
        self.count -= 1;
        self.series.retain(|_, series| {
            series.exemplars.retain(|exemplar| exemplar.turn != oldest);
            !series.exemplars.is_empty()
        });
    }
}

/// What a series is found by. The lengths keep apart what values of any characters would run together.
fn key<'a>(carrier: usize, labels: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut key = Vec::with_capacity(128);
    key.extend(carrier.to_ne_bytes());
    for label in labels {
        key.extend(label.len().to_ne_bytes());
        key.extend(label.as_bytes());
    }
    key
}

/// The label of every exemplar: the number of a stream, as eight digits.
pub(super) const LABEL: &str = "stream";

const _: () = assert!(LABEL.len() + 8 <= 128, "the format allows no more in the labels of an exemplar");
