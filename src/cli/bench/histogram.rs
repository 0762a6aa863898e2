//! How long things took: counts in buckets whose width grows with the value, so that memory is bounded whatever happens.
//!
//! A bucket is at most a 64th as wide as the values in it: a quantile is told too high by 1.6 % at most. The least and the
//! largest value are exact.

use std::time::Duration;

/// Buckets for each power of two, as a power of two.
const PRECISION: u32 = 6;
const STEPS: usize = 1 << PRECISION;
const BUCKETS: usize = (64 - PRECISION as usize + 1) * STEPS;

/// Counted durations, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    /// Empty as long as nothing was counted: many are never used.
    buckets: Vec<u64>,
    count: u64,
    least: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Vec::new(), count: 0, least: u64::MAX, most: 0 }
    }
}

impl Histogram {
    /// Counts one value. What does not fit (585 years) is counted as the largest.
    pub(super) fn record(&mut self, value: Duration) {
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKETS];
        }
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.least = self.least.min(nanoseconds);
        self.most = self.most.max(nanoseconds);
    }

    /// Counts all that `other` has.
    pub(super) fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.clone_from(other);
            return;
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, more)| *mine += more);
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// How many values were counted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The largest value.
    pub(super) fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.most))
    }

    /// The smallest value that is not below the share `quantile` of all (nearest rank), by its bucket's upper end.
    pub(super) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = rank(quantile, self.count)?;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos(upper(found).min(self.most).max(self.least)))
    }

    /// How many values lie in each of at most `rows` ranges that together hold all, in order: where each ends, and its
    /// count. Ends are powers of two, or as many powers of two apart as it takes.
    pub(super) fn rows(&self, rows: u32) -> Vec<(Duration, u64)> {
        if self.count == 0 {
            return Vec::new();
        }
        // The power of two above each value: 0 has none.
        let power = |value: u64| u64::BITS - value.leading_zeros();
        let (first, last) = (power(self.least), power(self.most));
        let step = (last - first + 1).div_ceil(rows.max(1));
        let mut counts = vec![0; usize::try_from((last - first) / step + 1).unwrap_or(1)];
        for (at, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let row = (power(lower(at).max(self.least)) - first) / step;
            counts[usize::try_from(row).unwrap_or(0)] += count;
        }
        let end = |row: u32| 1_u64.checked_shl(first + (row + 1) * step - 1).unwrap_or(u64::MAX);
        (0..).zip(counts).map(|(row, count)| (Duration::from_nanos(end(row)), count)).collect()
    }
}

/// Which of `count` values in order is the quantile, from 1; `None` of none.
fn rank(quantile: f64, count: u64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a share of a count is one"
    )]
    let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64;
    (count > 0).then(|| rank.clamp(1, count))
}

/// Where a value is counted.
fn bucket(value: u64) -> usize {
    let shift = u64::BITS.saturating_sub(value.leading_zeros() + PRECISION + 1);
    // The upper bits of the value, of which the highest is always set once the shift begins.
    let within = usize::try_from(value >> shift).expect("a value of PRECISION + 1 bits");
    within + shift as usize * STEPS
}

/// The least value of a bucket.
fn lower(bucket: usize) -> u64 {
    let (shift, within) = parts(bucket);
    within << shift
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let (shift, _) = parts(bucket);
    lower(bucket) + ((1_u64 << shift) - 1)
}

fn parts(bucket: usize) -> (u32, u64) {
    let shift = (bucket / STEPS).saturating_sub(1);
    let within = bucket - shift * STEPS;
    (u32::try_from(shift).expect("at most 58"), within as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.record(Duration::from_nanos(value)));
        histogram
    }

    #[test]
    fn every_value_has_one_bucket_near_it() {
        let around = |power: u32| {
            let two = 1_u64 << power;
            [two - 1, two, two + 1, two + two / 3, two + (two - 1)]
        };
        for value in (0..64).flat_map(around).chain([0, 2 * STEPS as u64, u64::MAX]) {
            let at = bucket(value);
            assert!(at < BUCKETS, "{value}");
            assert!(lower(at) <= value && value <= upper(at), "{value} in {}..={}", lower(at), upper(at));
            assert!(upper(at) - lower(at) <= value / STEPS as u64, "{value} in {}..={}", lower(at), upper(at));
        }
        for at in 1..BUCKETS {
            assert_eq!(lower(at), upper(at - 1) + 1, "bucket {at}");
        }
        assert_eq!(upper(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list_within_the_width_of_a_bucket() {
        let values: Vec<u64> = (1..=10_000).map(|n: u64| n * n).collect();
        let histogram = of(values.iter().rev().copied());
        for (quantile, index) in [(0.0, 0), (0.5, 4999), (0.9, 8999), (0.99, 9899), (0.999, 9989), (1.0, 9999)] {
            let (exact, told) = (values[index], histogram.quantile(quantile).expect("there are values"));
            let told = u64::try_from(told.as_nanos()).expect("a small value");
            assert!(told >= exact && told - exact <= exact / 64, "{quantile}: {told} for {exact}");
        }
        assert_eq!(histogram.max(), Some(Duration::from_nanos(100_000_000)));
        assert_eq!(of([7]).quantile(0.999), Some(Duration::from_nanos(7)));
        assert_eq!((of([]).quantile(0.5), of([]).max()), (None, None));
    }

    #[test]
    fn two_added_are_as_one() {
        let (left, right) = (of([1, 5, 900]), of([0, 1 << 40]));
        for (mut sum, more) in [(left.clone(), &right), (right.clone(), &left), (of([]), &of([1, 5, 900, 0, 1 << 40]))]
        {
            sum.add(more);
            sum.add(&of([]));
            assert_eq!((sum.count(), sum.quantile(0.5)), (5, Some(Duration::from_nanos(5))));
            assert_eq!((sum.quantile(0.0), sum.max()), (Some(Duration::ZERO), Some(Duration::from_nanos(1 << 40))));
        }
    }

    #[test]
    fn rows_hold_every_value_once() {
        let rows = of([0, 1, 2, 3, 4, 1000, 1023, 1024]).rows(20);
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 8);
        let ends: Vec<_> = rows.iter().map(|(end, count)| (end.as_nanos(), *count)).filter(|(_, n)| *n > 0).collect();
        assert_eq!(ends, [(1, 1), (2, 1), (4, 2), (8, 1), (1024, 2), (2048, 1)]);
        let rows = of([0, u64::MAX]).rows(8);
        assert!(rows.len() <= 8, "{rows:?}");
        assert_eq!((rows[0].1, rows[rows.len() - 1].1), (1, 1));
        assert_eq!(of([5; 3]).rows(8), [(Duration::from_nanos(8), 3)]);
        assert!(of([]).rows(8).is_empty());
    }
}
