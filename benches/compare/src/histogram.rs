//! Times, counted in buckets that are at most 1/128 of their value wide.

/// A logarithmic histogram of nanoseconds: each power of two is divided into 128 equal buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

const BITS: u32 = 7;
const PART: u64 = 1 << BITS;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; ((64 - BITS as usize) + 1) << BITS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a time.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The longest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The time that `share` of all do not exceed: the upper end of its bucket.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index).min(self.max);
            }
        }
        self.max
    }

    /// The same in milliseconds.
    pub fn millis(&self, share: f64) -> f64 {
        self.quantile(share) as f64 / 1e6
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < PART {
        return nanos as usize;
    }
    let shift = 63 - nanos.leading_zeros() - BITS;
    (((shift as u64 + 1) << BITS) + (nanos >> shift) - PART) as usize
}

fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < PART {
        return index;
    }
    let shift = (index >> BITS) - 1;
    (((index & (PART - 1)) + PART + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_hundredth() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000u64 {
            histogram.record(value * 1000);
        }
        for (share, exact) in [(0.5, 50_000_000.0), (0.99, 99_000_000.0), (0.999, 99_900_000.0), (1.0, 100_000_000.0)] {
            let told = histogram.quantile(share) as f64;
            assert!((told / exact - 1.0).abs() < 0.01, "{share}: {told}");
        }
        assert_eq!(histogram.count(), 100_000);
    }

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in [0, 1, 127, 128, 129, 255, 256, 257, 1 << 20, (1 << 40) + 12345, u64::MAX / 2] {
            let index = bucket(value);
            assert!(value <= upper(index), "{value}");
            assert!(index == 0 || value > upper(index - 1), "{value}");
        }
    }
}
