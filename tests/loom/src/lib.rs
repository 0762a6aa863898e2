//! Publishers, and a shard that falls asleep, in every order that the memory of a machine allows.
//!
//! `bell.rs` is the gateway's own file; only its locks and atomics are others, by which loom tries all their interleavings.
//! What stands around it here is in short what `Feeds::tell`, `Shard::run` and `Pump` do, in the same order. That a model can
//! fail is shown too: the same with two steps the other way round must come to a standstill.
#![cfg(test)]

#[path = "../../../src/delivery/shard/bell.rs"]
mod bell;
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(super) use loom::sync::{Arc, Mutex, MutexGuard};
}

use std::future::poll_fn;
use std::task::Poll;

use bell::{Bell, Cord, Cords, News};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Every order in which no thread is interrupted more than twice: what goes wrong at all does so with one or two.
fn every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// What a shard is told.
enum Call {
    News(News),
    Arrival,
}

impl From<News> for Call {
    fn from(news: News) -> Self {
        Self::News(news)
    }
}

/// Events by their number, and the shards that are told of them.
struct Feed {
    looked: AtomicUsize,
    cords: Cords<Call>,
}

impl Feed {
    fn new() -> Arc<Self> {
        Arc::new(Self { looked: AtomicUsize::new(0), cords: Cords::default() })
    }

    /// For one caller, who says what is new and then wakes.
    fn publish(&self, upto: usize) {
        self.looked.store(upto, Ordering::Release);
        self.cords.pull();
    }

    /// For several.
    fn publish_one_more(&self) {
        self.looked.fetch_add(1, Ordering::Release);
        self.cords.pull();
    }

    fn look(&self) -> usize {
        self.looked.load(Ordering::Acquire)
    }
}

/// The streams of one feed.
struct Group {
    feed: Arc<Feed>,
    cord: Arc<Cord<Call>>,
    seen: usize,
}

struct Shard {
    bell: Arc<Bell<Call>>,
    groups: Vec<Option<Group>>,
    arrivals: usize,
}

impl Shard {
    fn new() -> Self {
        Self { bell: Arc::new(Bell::default()), groups: Vec::new(), arrivals: 0 }
    }

    /// A stream comes, the first of its feed here.
    fn join(&mut self, feed: &Arc<Feed>) -> usize {
        let number = self.groups.len();
        let cord = Arc::new(Cord::new(Arc::clone(&self.bell), News(u32::try_from(number).expect("few groups"))));
        feed.cords.tie(Arc::clone(&cord));
        self.groups.push(Some(Group { feed: Arc::clone(feed), cord, seen: feed.look() }));
        number
    }

    /// The last stream of a feed goes.
    fn leave(&mut self, number: usize) {
        if let Some(Group { feed, cord, .. }) = self.groups[number].take() {
            feed.cords.untie(&cord);
        }
    }

    fn seen(&self, number: usize) -> usize {
        self.groups[number].as_ref().map_or(0, |group| group.seen)
    }

    fn calls(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        self.bell.take(&mut calls);
        calls
    }

    /// Hears what it is told, then looks.
    fn turn(&mut self) {
        let mut trains = Vec::new();
        for call in self.calls() {
            match call {
                Call::Arrival => self.arrivals += 1,
                Call::News(News(number)) => {
                    if let Some(group) = &self.groups[number as usize] {
                        group.cord.heard();
                        trains.push(number as usize);
                    }
                }
            }
        }
        for number in trains {
            if let Some(group) = &mut self.groups[number] {
                group.seen = group.feed.look();
            }
        }
    }

    fn sleep(&self) {
        block_on(poll_fn(|context| self.bell.poll(context)));
    }

    fn work_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.sleep();
            self.turn();
        }
    }
}

#[test]
fn news_reaches_a_shard_that_falls_asleep() {
    every_order(|| {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        shard.join(&feed);
        let publisher = thread::spawn(move || (1..=2).for_each(|upto| feed.publish(upto)));
        shard.work_until(|shard| shard.seen(0) == 2);
        publisher.join().expect("a publisher");
    });
}

#[test]
fn news_reaches_a_shard_that_is_at_work() {
    every_order(|| {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        shard.join(&feed);
        let publisher = thread::spawn(move || (1..=2).for_each(|upto| feed.publish(upto)));
        shard.turn(); // Without having slept, as between two slices.
        shard.work_until(|shard| shard.seen(0) == 2);
        publisher.join().expect("a publisher");
    });
}

#[test]
fn two_who_publish_on_one_feed_are_both_heard() {
    every_order(|| {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        shard.join(&feed);
        let publishers = [(); 2].map(|()| {
            let feed = Arc::clone(&feed);
            thread::spawn(move || feed.publish_one_more())
        });
        shard.work_until(|shard| shard.seen(0) == 2);
        publishers.into_iter().for_each(|publisher| publisher.join().expect("a publisher"));
    });
}

#[test]
fn two_feeds_and_an_arrival_do_not_drown_one_another() {
    every_order(|| {
        let (feeds, mut shard) = ([Feed::new(), Feed::new()], Shard::new());
        for feed in &feeds {
            shard.join(feed);
        }
        let [one, other] = feeds;
        let bell = Arc::clone(&shard.bell);
        let first = thread::spawn(move || one.publish(1));
        let second = thread::spawn(move || {
            bell.ring(Call::Arrival);
            other.publish(1);
        });
        shard.work_until(|shard| (shard.seen(0), shard.seen(1), shard.arrivals) == (1, 1, 1));
        [first, second].into_iter().for_each(|thread| thread.join().expect("a thread"));
    });
}

#[test]
fn who_joins_a_feed_misses_nothing() {
    every_order(|| {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        let publisher = thread::spawn({
            let feed = Arc::clone(&feed);
            move || feed.publish(1)
        });
        shard.join(&feed);
        shard.work_until(|shard| shard.seen(0) == 1);
        publisher.join().expect("a publisher");
    });
}

#[test]
fn who_joins_a_feed_that_another_has_just_left_misses_nothing() {
    every_order(|| {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        let publisher = thread::spawn({
            let feed = Arc::clone(&feed);
            move || (1..=2).for_each(|upto| feed.publish(upto))
        });
        let first = shard.join(&feed);
        shard.leave(first);
        let second = shard.join(&feed);
        shard.work_until(|shard| shard.seen(second) == 2);
        publisher.join().expect("a publisher");
    });
}

/// As a wrong shard would do it: `turn` once beside the publisher, then as long as it is called. A shard that sleeps would
/// not wake again then.
fn news_is_seen_by(turn: fn(&mut Shard)) {
    every_order(move || {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        shard.join(&feed);
        let publisher = thread::spawn(move || (1..=2).for_each(|upto| feed.publish(upto)));
        turn(&mut shard);
        publisher.join().expect("a publisher");
        while !block_on(poll_fn(|context| Poll::Ready(shard.bell.poll(context)))).is_pending() {
            turn(&mut shard);
        }
        assert_eq!(shard.seen(0), 2, "news was lost");
    });
}

#[test]
fn to_hear_and_then_to_look_loses_nothing() {
    news_is_seen_by(Shard::turn);
}

/// Hearing clears the cord: whoever pulls it between looking and hearing is not heard, and was not seen.
#[test]
#[should_panic(expected = "news was lost")]
fn to_hear_after_having_looked_loses_news() {
    news_is_seen_by(|shard| {
        let calls = shard.calls();
        let group = shard.groups[0].as_mut().expect("a group");
        group.seen = group.feed.look();
        calls.iter().for_each(|_| group.cord.heard());
    });
}

/// The same by a detour: what a visit before hearing has found is remembered for those that are visited after it.
#[test]
#[should_panic(expected = "news was lost")]
fn to_go_by_what_was_found_before_hearing_loses_news() {
    news_is_seen_by(|shard| {
        let calls = shard.calls();
        let group = shard.groups[0].as_mut().expect("a group");
        let memo = group.feed.look();
        calls.iter().for_each(|_| group.cord.heard());
        group.seen = memo;
    });
}

#[test]
#[should_panic(expected = "news was lost")]
fn to_tie_a_feed_after_having_looked_loses_news() {
    every_order(|| {
        let (feed, mut shard) = (Feed::new(), Shard::new());
        let publisher = thread::spawn({
            let feed = Arc::clone(&feed);
            move || feed.publish(1)
        });
        let seen = feed.look();
        let joined = shard.join(&feed);
        shard.groups[joined].as_mut().expect("a group").seen = seen;
        publisher.join().expect("a publisher");
        shard.turn();
        assert_eq!(shard.seen(joined), 1, "news was lost");
    });
}
