//! Which positions were closed on a gap, so that whoever comes back with the same one is told that it is over.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::Wanted;

/// The newest positions at which streams were closed, as `ongap=close` asks for. Bounded: one that is forgotten is told its
/// gap and closed once more.
#[derive(Debug, Default)]
pub(super) struct Closed {
    hasher: RandomState,
    kept: Mutex<(HashSet<u64>, VecDeque<u64>)>,
}

/// Who asks for what, but for the position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker(u64);

impl Closed {
    /// How many are kept.
    const KEPT: usize = 16 * 1024;

    /// Another reader that asks for the same from the same position has not been told yet. Many may come from one address, by
    /// a proxy that says more of them.
    pub(super) fn asker(&self, wanted: &Wanted) -> Asker {
        let address = wanted.peer.address().map(|address| address.ip());
        let who = (&wanted.session, address, wanted.described);
        Asker(self.hasher.hash_one((&wanted.selection, wanted.transport.name, who)))
    }

    /// Notes that a stream was closed that had begun, or come to, this position.
    pub(super) fn note(&self, asker: Asker, asked: &str) {
        let entry = self.hasher.hash_one((asker.0, asked));
        let (set, order) = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if set.insert(entry) {
            order.push_back(entry);
        }
        if order.len() > Self::KEPT
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
    }

    /// Whether it was.
    pub(super) fn has(&self, asker: Asker, asked: &str) -> bool {
        let entry = self.hasher.hash_one((asker.0, asked));
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.contains(&entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let closed = Closed::default();
        for nth in 0..=Closed::KEPT {
            closed.note(Asker(1), &nth.to_string());
            closed.note(Asker(1), &nth.to_string());
        }
        assert!(!closed.has(Asker(1), "0") && closed.has(Asker(1), "1") && !closed.has(Asker(2), "1"));
    }
}
