//! What holds for what is published: how much of it there may be, and for how long it is worth delivering.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Topic, TopicSelector};

/// How much may be published to the topics that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which topics.
    pub matches: TopicSelector,
    /// How many events, all these topics together.
    pub quota: Option<Quota>,
    /// For how long an event is worth delivering whose publisher does not say.
    pub ttl: Option<Duration>,
}

/// So many events in so much time; that many also at once, after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many; none is taken for one.
    pub events: u64,
    /// In how much time.
    pub per: Duration,
}

/// Why events may not be published now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverQuota {
    /// In so much time they may.
    Wait(Duration),
    /// All at once they never may: a quota has at most so many.
    TooMany(u64),
}

/// The limits of all topics: for each topic the first that matches. They may be replaced while they are in use.
///
/// Cost of an event: a look at the selectors for each of its topics, under a lock; nothing where there are no limits. One
/// bucket a limit, however many topics it matches.
#[derive(Debug, Default)]
pub struct Limits(Mutex<Vec<Bucket>>);

#[derive(Debug)]
struct Bucket {
    limit: Limit,
    /// When all that was taken is paid for: in the past if something is left over.
    paid: Option<Instant>,
}

impl Limits {
    /// Limits in their order, each with its whole quota.
    #[must_use]
    pub fn new(limits: Vec<Limit>) -> Self {
        Self(Mutex::new(limits.into_iter().map(Bucket::full).collect()))
    }

    /// Others from now on; one that stays as it was keeps its account.
    pub fn replace(&self, limits: Vec<Limit>) {
        let mut buckets = self.buckets();
        let mut before = std::mem::take(&mut *buckets);
        *buckets = limits
            .into_iter()
            .map(|limit| match before.iter().position(|bucket| bucket.limit == limit) {
                Some(at) => before.swap_remove(at),
                None => Bucket::full(limit),
            })
            .collect();
    }

    /// For how long an event on `topic` is worth delivering whose publisher does not say.
    #[must_use]
    pub fn ttl(&self, topic: &Topic) -> Option<Duration> {
        let buckets = self.buckets();
        buckets[Bucket::of(&buckets, topic)?].limit.ttl
    }

    /// Takes as many of these events, each given by its topics, as may be published now: from the first on, up to the
    /// first that may not. An event takes one from each limit that one of its topics has.
    ///
    /// # Errors
    /// Not even the first: in how much time it may.
    pub fn take_some<'a>(&self, events: impl Iterator<Item = &'a [Topic]>, now: Instant) -> Result<usize, Duration> {
        let mut buckets = self.buckets();
        let mut taken = 0;
        for topics in events {
            let needed = if buckets.is_empty() { Vec::new() } else { count(&buckets, [topics].into_iter()) };
            match take(&mut buckets, &needed, now) {
                Err(wait) if taken == 0 => return Err(wait),
                Err(_) => break,
                Ok(()) => taken += 1,
            }
        }
        Ok(taken)
    }

    /// Takes all of these events, or none.
    ///
    /// # Errors
    /// They may be published later, or are more than a quota ever has at once: let through, they would keep all others waiting.
    pub fn take<'a>(&self, events: impl Iterator<Item = &'a [Topic]>, now: Instant) -> Result<(), OverQuota> {
        let mut buckets = self.buckets();
        if buckets.is_empty() {
            return Ok(());
        }
        let needed = count(&buckets, events);
        let most =
            |(bucket, count): (&Bucket, &u64)| bucket.limit.quota.map(|quota| quota.most()).filter(|most| count > most);
        if let Some(most) = buckets.iter().zip(&needed).find_map(most) {
            return Err(OverQuota::TooMany(most));
        }
        take(&mut buckets, &needed, now).map_err(OverQuota::Wait)
    }

    /// Gives back what was taken for these events, as they were not stored.
    pub fn give_back<'a>(&self, events: impl Iterator<Item = &'a [Topic]>) {
        let mut buckets = self.buckets();
        let given = count(&buckets, events);
        buckets.iter_mut().zip(given).for_each(|(bucket, count)| bucket.give_back(count));
    }

    /// Whether there is no limit, so that nothing is ever taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets().is_empty()
    }

    fn buckets(&self) -> MutexGuard<'_, Vec<Bucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many events concern each bucket.
fn count<'a>(buckets: &[Bucket], events: impl Iterator<Item = &'a [Topic]>) -> Vec<u64> {
    let mut needed = vec![0; buckets.len()];
    for topics in events {
        let concerned = |topic| Bucket::of(buckets, topic);
        for (index, topic) in topics.iter().enumerate() {
            let Some(bucket) = concerned(topic) else { continue };
            // Once an event, however many of its topics have the same limit.
            needed[bucket] += u64::from(!topics[..index].iter().any(|before| concerned(before) == Some(bucket)));
        }
    }
    needed
}

/// Takes `needed[i]` from bucket i of all, or nothing.
fn take(buckets: &mut [Bucket], needed: &[u64], now: Instant) -> Result<(), Duration> {
    let concerned = || needed.iter().enumerate().filter(|(_, count)| **count > 0);
    let wait = concerned().map(|(at, count)| buckets[at].wait(*count, now)).max().unwrap_or_default();
    if !wait.is_zero() {
        return Err(wait);
    }
    for (at, count) in concerned() {
        buckets[at].pay(*count, now);
    }
    Ok(())
}

impl Bucket {
    fn full(limit: Limit) -> Self {
        Self { limit, paid: None }
    }

    /// The first whose selector matches.
    fn of(buckets: &[Self], topic: &Topic) -> Option<usize> {
        buckets.iter().position(|bucket| bucket.limit.matches.matches(topic))
    }

    /// How long `count` events must wait, which are no more than a quota has at once.
    fn wait(&self, count: u64, now: Instant) -> Duration {
        let (Some(quota), Some(paid)) = (self.limit.quota, self.paid) else { return Duration::ZERO };
        let room = quota.per.saturating_sub(quota.cost(count.min(quota.events)));
        paid.saturating_duration_since(now).saturating_sub(room)
    }

    fn pay(&mut self, count: u64, now: Instant) {
        if let Some(quota) = self.limit.quota {
            let from = self.paid.map_or(now, |paid| paid.max(now));
            // An account that is overdrawn for longer than there is time stays as it is.
            self.paid = Some(from.checked_add(quota.cost(count)).unwrap_or(from));
        }
    }

    /// What was paid for `count` events is paid no more. A rest that is longer than a whole quota is worth no more than that.
    fn give_back(&mut self, count: u64) {
        if let (Some(quota), Some(paid)) = (self.limit.quota, self.paid) {
            self.paid = paid.checked_sub(quota.cost(count));
        }
    }
}

impl Quota {
    /// How many there may be at once.
    fn most(self) -> u64 {
        self.events.max(1)
    }

    /// In how much time `count` events come in at this rate.
    fn cost(self, count: u64) -> Duration {
        let nanoseconds = self.per.as_nanos() * u128::from(count) / u128::from(self.events.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::parse(name).expect("a topic")
    }

    fn limit(matches: &str, quota: Option<u64>, ttl: Option<u64>) -> Limit {
        Limit {
            matches: TopicSelector::parse(matches).expect("a selector"),
            quota: quota.map(|events| Quota { events, per: Duration::from_secs(1) }),
            ttl: ttl.map(Duration::from_secs),
        }
    }

    fn take(limits: &Limits, events: &[&[&str]], now: Instant) -> Result<(), u128> {
        let events: Vec<Vec<Topic>> =
            events.iter().map(|names| names.iter().map(|name| topic(name)).collect()).collect();
        limits.take(events.iter().map(Vec::as_slice), now).map_err(|over| match over {
            OverQuota::Wait(wait) => wait.as_millis(),
            OverQuota::TooMany(most) => panic!("no more than {most} at once"),
        })
    }

    #[test]
    fn a_quota_is_there_at_once_and_comes_back_with_time() {
        let limits = Limits::new(vec![limit("a", Some(10), None)]);
        let begin = Instant::now();
        for _ in 0..10 {
            assert_eq!(take(&limits, &[&["a"]], begin), Ok(()));
        }
        assert_eq!(take(&limits, &[&["a"]], begin), Err(100));
        assert_eq!(take(&limits, &[&["elsewhere"]], begin), Ok(()));
        assert_eq!(take(&limits, &[&["a"]], begin + Duration::from_millis(99)), Err(1));
        assert_eq!(take(&limits, &[&["a"]], begin + Duration::from_millis(100)), Ok(()));
        assert_eq!(take(&limits, &[&["a"]], begin + Duration::from_millis(100)), Err(100));
        let rested = begin + Duration::from_secs(60);
        assert_eq!(take(&limits, &[&["a"] as &[_]; 10], rested), Ok(()), "no more is saved than the quota");
        assert_eq!(take(&limits, &[&["a"]], rested), Err(100));
    }

    #[test]
    fn all_of_a_batch_or_nothing_and_none_beyond_the_quota() {
        let limits = Limits::new(vec![limit("a", Some(10), None), limit("b", Some(2), None)]);
        let begin = Instant::now();
        assert_eq!(take(&limits, &[&["b"], &["b"]], begin), Ok(()));
        assert_eq!(take(&limits, &[&["a"], &["b"]], begin), Err(500));
        let (a, many) = ([topic("a")], 11);
        let all = limits.take(std::iter::repeat_n(&a[..], many), begin);
        assert_eq!(all, Err(OverQuota::TooMany(10)), "it would keep the others waiting");
        assert_eq!(take(&limits, &[&["a"] as &[_]; 10], begin), Ok(()), "nothing was taken by what was refused");
        assert_eq!(take(&limits, &[&["a"] as &[_]; 10], begin + Duration::from_millis(900)), Err(100));
    }

    #[test]
    fn as_many_from_the_first_on_as_may_be() {
        let limits = Limits::new(vec![limit("a", Some(2), None)]);
        let begin = Instant::now();
        let events = ["a", "b", "a", "b", "a", "b"].map(|name| [topic(name)]);
        let some = |now| limits.take_some(events.iter().map(<[_; 1]>::as_slice), now);
        assert_eq!(some(begin), Ok(4));
        assert_eq!(some(begin), Err(Duration::from_millis(500)));
        assert_eq!(Limits::default().take_some(events.iter().map(<[_; 1]>::as_slice), begin), Ok(6));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more_than_that() {
        let limits = Limits::new(vec![limit("a", Some(10), None)]);
        let begin = Instant::now() + Duration::from_secs(60);
        let give_back = |count| limits.give_back(std::iter::repeat_n(&[topic("a")][..], count));
        assert_eq!(take(&limits, &[&["a"] as &[_]; 10], begin), Ok(()));
        give_back(4);
        assert_eq!(take(&limits, &[&["a"] as &[_]; 4], begin), Ok(()));
        assert_eq!(take(&limits, &[&["a"]], begin), Err(100));
        give_back(1000);
        assert_eq!(take(&limits, &[&["a"] as &[_]; 10], begin), Ok(()));
        assert_eq!(take(&limits, &[&["a"]], begin), Err(100), "never more than the quota");
    }

    #[test]
    fn an_event_takes_one_from_each_limit_that_it_meets() {
        let limits = Limits::new(vec![limit("a/*", Some(1), None), limit("b", Some(5), None)]);
        let begin = Instant::now();
        assert_eq!(take(&limits, &[&["a/1", "b", "a/2"]], begin), Ok(()));
        assert_eq!(take(&limits, &[&["a/3"]], begin), Err(1000));
        assert_eq!(take(&limits, &[&["b"] as &[_]; 4], begin), Ok(()));
        assert_eq!(take(&limits, &[&["b"]], begin), Err(200));
    }

    #[test]
    fn the_first_limit_that_matches_holds_and_accounts_outlive_a_replacement() {
        let limits = Limits::new(vec![limit("a/free", None, Some(5)), limit("a/*", Some(1), None)]);
        let begin = Instant::now();
        assert_eq!(take(&limits, &[&["a/free"] as &[_]; 100], begin), Ok(()));
        assert_eq!(limits.ttl(&topic("a/free")), Some(Duration::from_secs(5)));
        assert_eq!(limits.ttl(&topic("a/other")), None);
        assert_eq!(take(&limits, &[&["a/other"]], begin), Ok(()));
        limits.replace(vec![limit("a/*", Some(1), None), limit("c", Some(1), Some(9))]);
        assert_eq!(take(&limits, &[&["a/free"]], begin), Err(1000));
        assert_eq!(take(&limits, &[&["c"]], begin), Ok(()));
        assert_eq!(limits.ttl(&topic("c")), Some(Duration::from_secs(9)));
    }
}
