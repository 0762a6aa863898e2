//! Publishers' keys: how a repeat is recognised.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::event::{Event, Key, Offset, Publisher, Timestamp};

/// The keys of the last ten minutes, at most 100 000, oldest out first; beside them a tenth as many of those of the public,
/// which can so neither take a key that a holder's event has, nor push one out. Of each only a digest is kept: an event that
/// is removed for good must not live on in its key.
///
/// Cost: about 100 bytes a key, and SHA-256 of the key and of the event when it has one.
#[derive(Debug)]
pub struct Keys {
    holders: Share,
    public: Share,
}

/// The keys of one publisher.
#[derive(Debug)]
struct Share {
    /// How many there may be.
    most: usize,
    seen: HashMap<Digested, Seen>,
    order: VecDeque<(Timestamp, Digested, Offset)>,
    /// How many of the oldest belong to events that are gone.
    gone: usize,
}

/// Half a SHA-256.
pub(super) type Digested = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Seen {
    offset: Offset,
    content: Digested,
}

/// A key with what is known of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Whose key it is.
    pub publisher: Publisher,
    /// Where the event is, or was.
    pub offset: Offset,
    /// When it was stored.
    pub time: Timestamp,
    /// A digest of the key.
    pub key: Digested,
    /// A digest of what a repeat must share with the event.
    pub content: Digested,
}

/// What a key says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Not seen before: store it.
    New,
    /// The same event as the one at this offset.
    Same(Offset),
    /// The key was used for another event.
    Other,
}

impl Default for Keys {
    fn default() -> Self {
        Self { holders: Share::of(Self::MAX), public: Share::of(Self::MAX_PUBLIC) }
    }
}

impl Keys {
    /// How long a key is remembered.
    pub const WINDOW: Duration = Duration::from_secs(600);
    /// How many keys are remembered of those who hold a key of the gateway.
    pub const MAX: usize = 100_000;
    /// How many of the public.
    pub const MAX_PUBLIC: usize = Self::MAX / 10;

    /// Looks an event up by its publisher and key.
    #[must_use]
    pub fn check(&self, event: &Event) -> Repeat {
        match event.key.as_ref().and_then(|key| self.of(event.publisher).seen.get(&digest(key))) {
            None => Repeat::New,
            Some(seen) if seen.content == content(event) => Repeat::Same(seen.offset),
            Some(_) => Repeat::Other,
        }
    }

    /// Remembers the key of an event stored at `offset`, if it has one.
    pub fn remember(&mut self, event: &Event, offset: Offset, time: Timestamp) {
        let Some(key) = &event.key else { return };
        self.of_mut(event.publisher).remember(digest(key), Seen { offset, content: content(event) }, time);
    }

    /// Remembers the key of an event that is older than all those remembered. A store calls it when it opens, from the
    /// newest event backwards, until the keys of its publisher are [full](Self::is_full).
    pub fn recall(&mut self, event: &Event, offset: Offset, time: Timestamp) {
        let Some(key) = &event.key else { return };
        let (publisher, key, content) = (event.publisher, digest(key), content(event));
        self.recall_remembered(Remembered { publisher, offset, time, key, content });
    }

    /// The same for a key whose event is gone.
    pub fn recall_remembered(&mut self, Remembered { publisher, offset, time, key, content }: Remembered) {
        self.of_mut(publisher).recall(key, Seen { offset, content }, time);
    }

    /// The keys of this publisher's events at these offsets, in their order. Costs a binary search and what it gives.
    pub fn within(&self, publisher: Publisher, offsets: Range<Offset>) -> impl Iterator<Item = Remembered> {
        let share = self.of(publisher);
        let begin = share.order.partition_point(|&(_, _, offset)| offset < offsets.start);
        let these = share.order.range(begin..).take_while(move |&&(_, _, offset)| offset < offsets.end);
        these.filter_map(move |(time, key, offset)| {
            let seen = share.seen.get(key).filter(|seen| seen.offset == *offset)?;
            Some(Remembered { publisher, offset: *offset, time: *time, key: *key, content: seen.content })
        })
    }

    /// Events before `first` are gone. Costs a look at each key that this says for the first time.
    pub fn trimmed(&mut self, first: Offset) {
        self.holders.trimmed(first);
        self.public.trimmed(first);
    }

    /// About how many bytes a store takes for the keys of events that are gone.
    #[must_use]
    pub fn gone_bytes(&self) -> u64 {
        (self.holders.gone + self.public.gone) as u64 * STORED_BYTES
    }

    /// The offset of the oldest key of this publisher that is remembered.
    #[must_use]
    pub fn oldest(&self, publisher: Publisher) -> Option<Offset> {
        self.of(publisher).order.front().map(|&(_, _, offset)| offset)
    }

    /// Whether another key of this publisher would push its oldest out.
    #[must_use]
    pub fn is_full(&self, publisher: Publisher) -> bool {
        self.of(publisher).is_full()
    }

    /// Drops a key again whose event was not stored after all. Newest first, this costs nothing.
    pub fn forget(&mut self, event: &Event, offset: Offset) {
        let Some(key) = event.key.as_ref().map(digest) else { return };
        self.of_mut(event.publisher).forget(key, offset);
    }

    /// Drops what is older than the window.
    pub fn expire(&mut self, now: Timestamp) {
        self.holders.expire(now);
        self.public.expire(now);
    }

    fn of(&self, publisher: Publisher) -> &Share {
        match publisher {
            Publisher::Key => &self.holders,
            Publisher::Public => &self.public,
        }
    }

    fn of_mut(&mut self, publisher: Publisher) -> &mut Share {
        match publisher {
            Publisher::Key => &mut self.holders,
            Publisher::Public => &mut self.public,
        }
    }
}

impl Share {
    fn of(most: usize) -> Self {
        Self { most, seen: HashMap::new(), order: VecDeque::new(), gone: 0 }
    }

    fn is_full(&self) -> bool {
        self.order.len() >= self.most
    }

    fn remember(&mut self, key: Digested, seen: Seen, time: Timestamp) {
        if self.is_full() {
            self.forget_oldest();
        }
        self.seen.insert(key, seen);
        self.order.push_back((time, key, seen.offset));
    }

    fn recall(&mut self, key: Digested, seen: Seen, time: Timestamp) {
        if !self.is_full() && !self.seen.contains_key(&key) {
            self.seen.insert(key, seen);
            self.order.push_front((time, key, seen.offset));
        }
    }

    fn trimmed(&mut self, first: Offset) {
        while self.order.get(self.gone).is_some_and(|&(_, _, at)| at < first) {
            self.gone += 1;
        }
    }

    fn forget(&mut self, key: Digested, offset: Offset) {
        if self.seen.get(&key).is_some_and(|seen| seen.offset == offset) {
            self.seen.remove(&key);
            if let Some(at) = self.order.iter().rposition(|&(_, _, known)| known == offset) {
                self.order.remove(at);
            }
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let window = u64::try_from(Keys::WINDOW.as_millis()).unwrap_or(u64::MAX);
        while self.order.front().is_some_and(|(time, ..)| time.0.saturating_add(window) < now.0) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key, offset)) = self.order.pop_front() else { return };
        self.gone = self.gone.saturating_sub(1);
        if self.seen.get(&key).is_some_and(|seen| seen.offset == offset) {
            self.seen.remove(&key);
        }
    }
}

/// About what one key takes in a store: offset, time, two digests, and what the table adds.
const STORED_BYTES: u64 = 56;

/// What a key is remembered by.
pub(super) fn digest(key: &Key) -> Digested {
    half(Sha256::digest(key.as_str()).into())
}

fn half(digest: [u8; 32]) -> Digested {
    std::array::from_fn(|i| digest[i])
}

/// What two events with one key must share to be the same event.
fn content(event: &Event) -> Digested {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update(bytes.len().to_le_bytes());
        digest.update(bytes);
    };
    part(event.kind.as_ref().map_or("", |kind| kind.as_str()).as_bytes());
    part(event.content_type.as_ref().map_or("", |media| media.as_str()).as_bytes());
    part(&event.data);
    for topic in &event.topics {
        part(topic.as_str().as_bytes());
    }
    // Only where they are set, and as no topic is spelt, so that the digests of other events stay what they were. For how
    // long an event is worth delivering is no part of it: a rule may say so, and rules change between a publish and its repeat.
    if event.private {
        part(b"\0private");
    }
    if let Some(key) = &event.conflate {
        part(b"\0conflate");
        part(key.as_str().as_bytes());
    }
    half(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;

    fn event(key: &str, data: &'static str) -> Event {
        let mut event = Event::new(Topic::parse("t").expect("a topic"), data);
        event.key = Some(Key::parse(key).expect("a key"));
        event
    }

    #[test]
    fn a_key_names_one_event_for_ten_minutes() {
        let mut keys = Keys::default();
        assert_eq!(keys.check(&event("k", "a")), Repeat::New);
        keys.remember(&event("k", "a"), 7, Timestamp(1_000));
        assert_eq!(keys.check(&event("k", "a")), Repeat::Same(7));
        assert_eq!(keys.check(&event("k", "b")), Repeat::Other);
        keys.expire(Timestamp(601_000));
        assert_eq!(keys.check(&event("k", "a")), Repeat::Same(7));
        keys.expire(Timestamp(601_001));
        assert_eq!(keys.check(&event("k", "a")), Repeat::New);
    }

    #[test]
    fn who_may_read_it_and_what_it_replaces_is_part_of_an_event_and_how_long_it_is_worth_is_not() {
        let mut keys = Keys::default();
        let plain = event("k", "a");
        keys.remember(&plain, 7, Timestamp(1));
        assert_eq!(keys.check(&Event { ttl: Some(Duration::from_secs(9)), ..plain.clone() }), Repeat::Same(7));
        assert_eq!(keys.check(&Event { private: true, ..plain.clone() }), Repeat::Other);
        let conflate = Some(Key::parse("c").expect("a key"));
        assert_eq!(keys.check(&Event { conflate, ..plain }), Repeat::Other);
    }

    #[test]
    fn a_key_whose_event_was_not_stored_is_free_again() {
        let mut keys = Keys::default();
        keys.remember(&event("k", "a"), 7, Timestamp(1));
        keys.forget(&event("k", "a"), 7);
        assert_eq!(keys.check(&event("k", "b")), Repeat::New);
    }

    #[test]
    fn keys_are_recalled_backwards() {
        let mut keys = Keys::default();
        keys.recall(&event("k", "new"), 9, Timestamp(700_000));
        keys.recall(&event("other", "x"), 8, Timestamp(100_000));
        keys.recall(&event("k", "old"), 7, Timestamp(50_000)); // Used again since, when it had expired.
        assert_eq!(keys.check(&event("k", "new")), Repeat::Same(9));
        keys.expire(Timestamp(700_001));
        assert_eq!(keys.check(&event("other", "x")), Repeat::New);
        assert_eq!(keys.check(&event("k", "new")), Repeat::Same(9));
    }

    #[test]
    fn keys_are_found_by_the_offsets_of_their_events() {
        let mut keys = Keys::default();
        for offset in 1..=5 {
            keys.remember(&event(&offset.to_string(), ""), offset, Timestamp(offset));
        }
        keys.forget(&event("5", ""), 5);
        let offsets = |range| keys.within(Publisher::Key, range).map(|key| key.offset).collect::<Vec<_>>();
        assert_eq!(offsets(2..4), [2, 3]);
        assert_eq!(offsets(0..9), [1, 2, 3, 4]);
        assert_eq!(offsets(7..9), [0; 0]);
        assert_eq!(keys.oldest(Publisher::Key), Some(1));
    }

    #[test]
    fn the_bytes_of_keys_whose_events_are_gone_are_counted_until_the_keys_go() {
        let mut keys = Keys::default();
        (1..=4).for_each(|offset| keys.remember(&event(&offset.to_string(), ""), offset, Timestamp(offset)));
        let counted = |keys: &mut Keys, first| {
            keys.trimmed(first);
            keys.gone_bytes() / STORED_BYTES
        };
        assert_eq!([1, 3, 3, 2].map(|first| counted(&mut keys, first)), [0, 2, 2, 2]);
        keys.expire(Timestamp(600_002)); // The first.
        assert_eq!(counted(&mut keys, 3), 1);
        keys.expire(Timestamp(600_004)); // All that were gone, and the third.
        assert_eq!([3, 5].map(|first| counted(&mut keys, first)), [0, 1]);
    }

    #[test]
    fn the_oldest_key_goes_when_there_are_too_many() {
        let mut keys = Keys::default();
        for n in 0..=Keys::MAX {
            keys.remember(&event(&n.to_string(), ""), n as u64 + 1, Timestamp(1));
        }
        assert_eq!(keys.check(&event("0", "")), Repeat::New);
        assert_eq!(keys.check(&event("1", "")), Repeat::Same(2));
    }

    #[test]
    fn the_public_shares_no_key_with_those_who_hold_one_and_pushes_none_of_theirs_out() {
        let public = |key: &str, data| Event { publisher: Publisher::Public, ..event(key, data) };
        let mut keys = Keys::default();
        keys.remember(&public("k", "a"), 1, Timestamp(1));
        assert_eq!(keys.check(&event("k", "b")), Repeat::New);
        keys.remember(&event("k", "b"), 2, Timestamp(1));
        assert_eq!([keys.check(&public("k", "a")), keys.check(&public("k", "b"))], [Repeat::Same(1), Repeat::Other]);
        for n in 0..Keys::MAX_PUBLIC {
            keys.remember(&public(&n.to_string(), ""), n as u64 + 3, Timestamp(1));
        }
        assert_eq!([keys.is_full(Publisher::Public), keys.is_full(Publisher::Key)], [true, false]);
        assert_eq!([keys.check(&public("k", "b")), keys.check(&event("k", "b"))], [Repeat::New, Repeat::Same(2)]);
    }
}
