//! What clients said of their leaving before their streams ended.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

/// The newest goodbyes. Bounded: one that is forgotten leaves a client that has left.
#[derive(Debug, Default)]
pub(super) struct Goodbyes {
    said: HashMap<NonZeroU64, Duration>,
    order: VecDeque<(Duration, NonZeroU64)>,
}

impl Goodbyes {
    /// How long before or after an end a goodbye is meant for it.
    pub(super) const AROUND: Duration = Duration::from_secs(5);

    /// How many are kept.
    const KEPT: usize = 16 * 1024;

    /// A stream's client says that it leaves.
    pub(super) fn note(&mut self, stream: NonZeroU64, now: Duration) {
        while self.order.len() >= Self::KEPT || self.order.front().is_some_and(|(at, _)| *at + Self::AROUND < now) {
            let Some((at, oldest)) = self.order.pop_front() else { break };
            if self.said.get(&oldest) == Some(&at) {
                self.said.remove(&oldest);
            }
        }
        self.said.insert(stream, now);
        self.order.push_back((now, stream));
    }

    /// Whether a stream that ends now has said goodbye; that is forgotten.
    pub(super) fn take(&mut self, stream: NonZeroU64, now: Duration) -> bool {
        self.said.remove(&stream).is_some_and(|at| now <= at + Self::AROUND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_is_for_an_end_soon_after_it_and_for_one() {
        let (stream, mut goodbyes) = (NonZeroU64::MIN, Goodbyes::default());
        let at = Duration::from_secs;
        goodbyes.note(stream, at(100));
        assert!(goodbyes.take(stream, at(105)) && !goodbyes.take(stream, at(105)));
        goodbyes.note(stream, at(200));
        assert!(!goodbyes.take(stream, at(206)));
    }

    #[test]
    fn they_are_bounded() {
        let mut goodbyes = Goodbyes::default();
        for stream in 1..=2 * Goodbyes::KEPT as u64 {
            goodbyes.note(NonZeroU64::new(stream).expect("not 0"), Duration::ZERO);
        }
        assert_eq!((goodbyes.said.len(), goodbyes.order.len()), (Goodbyes::KEPT, Goodbyes::KEPT));
        goodbyes.note(NonZeroU64::MIN, Duration::from_secs(100));
        assert_eq!(goodbyes.said.len(), 1);
    }
}
