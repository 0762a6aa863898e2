//! When slots are to be looked at without news: heartbeats, stalls, last words.
//!
//! Deadlines are kept on a grid, so that one wake-up serves many. A slot's deadline moves on with every write and is
//! looked at only when its entry comes up, so a write costs nothing here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// The deadlines of one shard.
#[derive(Debug)]
pub(super) struct Dues {
    begin: Instant,
    /// When, on the grid, and of which slot.
    heap: BinaryHeap<Reverse<(Tick, u32)>>,
}

/// A moment on the grid, since the shard began. It wraps after nearly seven years.
pub(super) type Tick = u32;

impl Dues {
    /// The grid: nothing is looked at before its time, nor later than this after it.
    pub(super) const GRID: Duration = Duration::from_millis(50);

    pub(super) fn new(begin: Instant) -> Self {
        Self { begin, heap: BinaryHeap::new() }
    }

    /// The first moment on the grid that is not before `due`.
    pub(super) fn tick(&self, due: Instant) -> Tick {
        let ticks = due.saturating_duration_since(self.begin).as_nanos().div_ceil(Self::GRID.as_nanos());
        Tick::try_from(ticks).unwrap_or(Tick::MAX)
    }

    /// Has a slot come up then.
    pub(super) fn push(&mut self, tick: Tick, slot: u32) {
        self.heap.push(Reverse((tick, slot)));
    }

    /// When the next one comes up.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((tick, _))| self.begin + Self::GRID * *tick)
    }

    /// One that has come up by now, and when it was to.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Tick, u32)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_up_before_its_time_nor_much_after_it() {
        let begin = Instant::now();
        let mut dues = Dues::new(begin);
        for (millis, slot) in [(0, 0), (1, 1), (50, 2), (51, 3), (1000, 4)] {
            let due = begin + Duration::from_millis(millis);
            let tick = dues.tick(due);
            dues.push(tick, slot);
            let comes = begin + Dues::GRID * tick;
            assert!(due <= comes && comes < due + Dues::GRID, "{millis} ms comes up after {:?}", comes - begin);
        }
        assert_eq!(dues.pop(begin), Some((0, 0)));
        assert_eq!(dues.pop(begin), None);
        let later = begin + Duration::from_millis(100);
        assert_eq!([dues.pop(later), dues.pop(later), dues.pop(later)], [Some((1, 1)), Some((1, 2)), Some((2, 3))]);
        assert_eq!((dues.pop(later), dues.next()), (None, Some(begin + Duration::from_secs(1))));
    }
}
