//! How many events of a row carry a key, by publisher: so that opening the log reads only the rows it needs.

use super::super::Keys;
use crate::event::{Event, Publisher};

/// What the column `keys` says of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keyed {
    holders: u32,
    public: u32,
}

impl Keyed {
    /// Counts what carries a key.
    pub(super) fn of<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        events.filter(|event| event.key.is_some()).fold(Self::default(), |count, event| match event.publisher {
            Publisher::Key => Self { holders: count.holders + 1, ..count },
            Publisher::Public => Self { public: count.public + 1, ..count },
        })
    }

    /// As it is written: the public's in the upper bits, which most rows do not need.
    pub(super) fn number(self) -> u64 {
        u64::from(self.public) << BITS | u64::from(self.holders)
    }

    /// As it was written.
    pub(super) fn from_number(number: u64) -> Self {
        let holders = u32::try_from(number & ((1 << BITS) - 1)).unwrap_or(u32::MAX);
        Self { holders, public: u32::try_from(number >> BITS).unwrap_or(u32::MAX) }
    }

    /// Whether there is room in `keys` for one of these.
    pub(super) fn has_any_for(self, keys: &Keys) -> bool {
        (self.holders > 0 && !keys.is_full(Publisher::Key)) || (self.public > 0 && !keys.is_full(Publisher::Public))
    }
}

/// More than enough for a row, which has at most `PAGE` events.
const BITS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Key, Topic};

    #[test]
    fn a_row_says_whose_keys_are_in_it() {
        let plain = Event::new(Topic::parse("t").expect("a topic"), "x");
        let holder = Event { key: Some(Key::parse("k").expect("a key")), ..plain.clone() };
        let public = Event { publisher: Publisher::Public, ..holder.clone() };
        let keyed = |events: &[&Event]| Keyed::of(events.iter().copied());
        assert_eq!(keyed(&[&plain, &holder, &holder]).number(), 2, "as it was before the public was told apart");
        let both = keyed(&[&public, &plain, &holder, &public]);
        assert_eq!(both, Keyed { holders: 1, public: 2 });
        assert_eq!(Keyed::from_number(both.number()), both);
        let keys = Keys::default();
        assert!(both.has_any_for(&keys) && !keyed(&[&plain]).has_any_for(&keys));
    }
}
