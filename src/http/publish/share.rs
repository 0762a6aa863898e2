//! What contents take in memory while they arrive, all together: a publisher that stops in the midst of its content must not
//! hold as much of it as there are connections.

use prometheus::IntGauge;

use super::super::App;
use super::super::problem::Problem;
use crate::event::Publisher;

/// What nobody counts of each: so that small events get through, whoever holds up large ones.
pub(super) const FREE: usize = 16 << 10;

/// What all contents may take: of those with a key, and of the public, which must not keep the others out.
const MOST: [usize; 2] = [64 << 20, 16 << 20];

/// What one content takes. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    all: IntGauge,
    most: usize,
    taken: usize,
}

impl Share {
    /// Of a publisher's first byte.
    pub(super) fn new(app: &App, publisher: Publisher) -> Self {
        let (all, most) = match publisher {
            Publisher::Key => (&app.metrics.contents.key, MOST[0]),
            Publisher::Public => (&app.metrics.contents.public, MOST[1]),
        };
        Self::of(all.clone(), most.max(app.options.batch_bytes))
    }

    fn of(all: IntGauge, most: usize) -> Self {
        Self { all, most, taken: 0 }
    }

    /// So many bytes have come of it. An error if there is no room for them.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Problem> {
        let before = self.counted();
        self.taken = self.taken.saturating_add(more);
        let added = self.counted() - before;
        self.all.add(added);
        if added > 0 && usize::try_from(self.all.get()).unwrap_or(0) > self.most {
            let detail = "too much content is on its way just now; send it again later, or less at once";
            return Err(Problem::too_many(detail));
        }
        Ok(())
    }

    /// How many of its bytes count.
    fn counted(&self) -> i64 {
        i64::try_from(self.taken.saturating_sub(FREE)).unwrap_or(i64::MAX)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.sub(self.counted());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_share_their_room_and_give_it_back() {
        let all = IntGauge::new("bytes", "bytes").expect("a gauge");
        let share = || Share::of(all.clone(), 100_000);
        let mut small: Vec<_> = (0..1000).map(|_| share()).collect();
        assert!(small.iter_mut().all(|share| share.grow(FREE).is_ok()), "those that are small have room");
        assert_eq!(all.get(), 0);
        let mut large = share();
        assert!(large.grow(FREE + 60_000).is_ok() && large.grow(40_000).is_ok());
        assert_eq!(all.get(), 100_000);
        assert!(small[0].grow(0).is_ok(), "nothing more has come of it");
        assert!(small[0].grow(1).is_err(), "there is no room for more");
        drop(small);
        assert_eq!(all.get(), 100_000);
        drop(large);
        assert_eq!(all.get(), 0);
        assert!(share().grow(FREE + 100_001).is_err(), "alone it may be no larger than all");
    }
}
