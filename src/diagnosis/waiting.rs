//! Ends whose reason is not final yet, and who comes back from one.
//!
//! An end waits for the grace window: whether the same client came back is the strongest clue there is. Pairing by session
//! is strong; by address, user agent and selection it is weak, and only such clients are paired so that say up to where they
//! were. Bounded: when too many wait, the oldest is decided early.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use super::story::{Back, StoryNumber};
use super::{Departure, PathNumber, Relief, Visitor};

/// An end that waits for its verdict, or only for its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// When it ended.
    pub(super) at: Duration,
    /// Whose path it was.
    pub(super) path: PathNumber,
    pub(super) visitor: Visitor,
    pub(super) end: Departure,
    /// Others of its HTTP/2 connection ended with it.
    pub(super) with_its_connection: bool,
    /// The heartbeat that it tried, if it was to learn how quiet a stream may be.
    pub(super) canary: Option<Duration>,
    /// What was done for it as its path holds events back.
    pub(super) relief: Relief,
    /// It is as old as streams of its path may become, as far as was known when it ended.
    pub(super) at_duration_limit: bool,
    /// The same of its quiet.
    pub(super) at_idle_limit: bool,
    /// Its client said goodbye.
    pub(super) goodbye: bool,
    /// Its client, which came back.
    pub(super) back: Option<Back>,
    /// Somebody who looks like it came, and had nothing.
    pub(super) nothing: Option<Back>,
    /// Its reason is final, and was counted; this tells of it.
    pub(super) story: Option<StoryNumber>,
}

/// A client that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// How long it was away, as we saw it.
    pub outage: Duration,
    /// Up to where its last stream had been given everything.
    pub given: u64,
    /// It is known by its session.
    pub is_strong: bool,
    /// A keyed hash of what that stream was called.
    pub stream: NonZeroU64,
    /// All that had been written to it had reached the next hop, as far as is known.
    pub is_acknowledged: bool,
    /// What was done for it as its path holds events back.
    pub relief: Relief,
}

/// Ends by the order in which they came, and by who may come back from them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// None: taken out.
    ends: VecDeque<Option<Pending>>,
    /// The number of the first of them.
    first: u64,
    by_who: HashMap<NonZeroU64, Vec<u64>>,
    by_stream: HashMap<NonZeroU64, u64>,
    /// Those whose client came back, in that order.
    back: VecDeque<u64>,
}

impl Waiting {
    /// How many may wait.
    pub(super) const MOST: usize = 32 * 1024;

    /// How many ends one client may have that wait; more are one client in a loop, or many that cannot be told apart.
    const EACH: usize = 64;

    /// How long an end waits though its client is back: what else ended with it is known by then.
    const SETTLING: Duration = Duration::from_secs(2);

    /// Has an end wait. Answers the one that must be decided now, if there are too many.
    pub(super) fn add(&mut self, pending: Pending) -> Option<Pending> {
        let number = self.first + self.ends.len() as u64;
        for key in keys(&pending.visitor) {
            let of_one = self.by_who.entry(key).or_default();
            if of_one.len() < Self::EACH {
                of_one.push(number);
            }
        }
        self.by_stream.insert(pending.visitor.stream, number);
        self.ends.push_back(Some(pending));
        if self.ends.len() > Self::MOST { self.take(self.first) } else { None }
    }

    /// How many wait for their verdict. Cost: a look at each that waits.
    pub(super) fn undecided(&self) -> usize {
        self.ends.iter().flatten().filter(|pending| pending.story.is_none()).count()
    }

    /// Somebody opens a stream: whether it is back from an end.
    pub(super) fn arrive(&mut self, visitor: &Visitor, now: Duration) -> Option<Return> {
        let has = visitor.has?; // Who says nothing of where it was begins anew: a page that was loaded again.
        // The client may have had no more than it says.
        let fits = |pending: &Pending| has <= pending.end.given;
        let found = visitor.session.and_then(|key| self.find(key, fits)).map(|number| (number, true));
        // Two that call themselves differently are not the same, however alike they look.
        let may_be =
            |pending: &Pending| fits(pending) && (visitor.session.is_none() || pending.visitor.session.is_none());
        let (number, is_strong) = found.or_else(|| self.find(visitor.who, may_be).map(|number| (number, false)))?;
        let back = self.comes_back(number, is_strong, now)?;
        if back.given <= has
            && let Some(told) = self.get(number).and_then(|pending| pending.back.as_mut())
        {
            told.missed = Some(0);
        }
        Some(back)
    }

    /// The same of somebody who does not say where it was, though it had been given an id.
    ///
    /// Only from an end that a timer of its path explains: at another it is likelier that a page was loaded again.
    /// Who says where it was comes before it: many look like one, and a page that is loaded must not take the end of a stream
    /// from which somebody is about to come back. So it only counts once the end has waited for that.
    pub(super) fn arrive_with_nothing(&mut self, visitor: &Visitor, now: Duration) {
        if visitor.has.is_some() {
            return;
        }
        let known = visitor.session.unwrap_or(visitor.who);
        let is_cut = |pending: &Pending| {
            let at_limit = pending.at_idle_limit || pending.at_duration_limit;
            at_limit && !pending.goodbye && pending.nothing.is_none()
        };
        if let Some(pending) = self.find(known, is_cut).and_then(|number| self.get(number)) {
            let after = now.saturating_sub(pending.at);
            pending.nothing = Some(Back { after, is_strong: visitor.session.is_some(), missed: None });
        }
    }

    /// An end of this client that fits and that nobody has come back from: of those that were given least, the oldest.
    ///
    /// Several clients may look like one. Were one that has little paired with an end that was given much, none would be left
    /// for the one that has much.
    fn find(&self, key: NonZeroU64, fits: impl Fn(&Pending) -> bool) -> Option<u64> {
        let of_one = self.by_who.get(&key)?.iter().copied();
        let pending = of_one.filter_map(|number| Some((number, self.ends.get(self.place(number)?)?.as_ref()?)));
        let fitting = pending.filter(|(_, pending)| pending.back.is_none() && fits(pending));
        fitting.min_by_key(|(_, pending)| pending.end.given).map(|(number, _)| number)
    }

    /// The client of an end is back.
    fn comes_back(&mut self, number: u64, is_strong: bool, now: Duration) -> Option<Return> {
        let pending = self.get(number)?;
        let (end, outage) = (&pending.end, now.saturating_sub(pending.at));
        let is_acknowledged = end.tcp.is_none_or(|tcp| tcp.unacknowledged == 0 && tcp.not_sent == 0);
        let (given, stream, relief) = (end.given, pending.visitor.stream, pending.relief);
        pending.back = Some(Back { after: outage, is_strong, missed: None });
        self.back.push_back(number);
        Some(Return { outage, given, is_strong, stream, is_acknowledged, relief })
    }

    /// The end of this stream, if it waits.
    pub(super) fn of(&mut self, stream: NonZeroU64) -> Option<&mut Pending> {
        let number = *self.by_stream.get(&stream)?;
        self.get(number)
    }

    /// The next end whose time is over: the grace window, or a moment after its client came back, unless it may yet be
    /// explained by what others teach meanwhile.
    pub(super) fn next_due(
        &mut self,
        now: Duration,
        grace: Duration,
        may_yet_be_explained: impl Fn(&Pending) -> bool,
    ) -> Option<Pending> {
        while let Some(&number) = self.back.front() {
            match self.get(number).filter(|pending| pending.back.is_some()) {
                Some(pending) if now < pending.at + Self::SETTLING => break,
                Some(pending) if may_yet_be_explained(pending) => drop(self.back.pop_front()),
                Some(_) => {
                    self.back.pop_front();
                    return self.take(number);
                }
                None => drop(self.back.pop_front()),
            }
        }
        while let Some(oldest) = self.ends.front() {
            match oldest {
                Some(pending) if now < pending.at + grace => return None,
                Some(_) => return self.take(self.first),
                None => self.trim(),
            }
        }
        None
    }

    /// Any end that waits: there is no more time.
    pub(super) fn any(&mut self) -> Option<Pending> {
        self.trim();
        self.take(self.first)
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn get(&mut self, number: u64) -> Option<&mut Pending> {
        let at = self.place(number)?;
        self.ends.get_mut(at)?.as_mut()
    }

    fn take(&mut self, number: u64) -> Option<Pending> {
        let at = self.place(number)?;
        let pending = self.ends.get_mut(at)?.take()?;
        self.by_stream.remove(&pending.visitor.stream);
        for key in keys(&pending.visitor) {
            if let Some(of_one) = self.by_who.get_mut(&key) {
                of_one.retain(|other| *other != number);
                if of_one.is_empty() {
                    self.by_who.remove(&key);
                }
            }
        }
        self.trim();
        Some(pending)
    }

    fn trim(&mut self) {
        while self.ends.front().is_some_and(Option::is_none) {
            self.ends.pop_front();
            self.first += 1;
        }
    }
}

/// By what a client that comes back is recognised. Both are keyed hashes of different things, so they do not meet.
fn keys(visitor: &Visitor) -> impl Iterator<Item = NonZeroU64> + use<> {
    visitor.session.into_iter().chain(std::iter::once(visitor.who))
}

#[cfg(test)]
mod tests {
    use super::super::{Gone, PathNumber, ShortName};
    use super::*;

    /// Each stream has a name of its own.
    static STREAM: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn visitor(session: Option<u64>, who: u64, has: Option<u64>) -> Visitor {
        let number = |number: u64| NonZeroU64::new(number).expect("not 0");
        let stream = STREAM.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Visitor {
            session: session.map(number),
            who: number(who),
            prefix: None,
            browser: None,
            has,
            stream: number(stream),
        }
    }

    fn end(visitor: Visitor, at: u64, given: u64) -> Pending {
        Pending {
            at: seconds(at),
            path: PathNumber::OTHER,
            visitor,
            end: Departure {
                name: ShortName(0),
                transport: "sse",
                reason: None,
                gone: Gone::Closed,
                draining: false,
                age: seconds(1),
                idle: seconds(1),
                quiet_before: Duration::ZERO,
                outlived: Duration::ZERO,
                blocked: None,
                tcp: None,
                given,
                time_limit: None,
            },
            with_its_connection: false,
            canary: None,
            relief: Relief::None,
            at_duration_limit: false,
            at_idle_limit: false,
            goodbye: false,
            back: None,
            nothing: None,
            story: None,
        }
    }

    #[test]
    fn who_comes_back_is_known_by_its_session_or_else_by_where_it_comes_from() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(end(visitor(Some(1), 10, None), 100, 7)).is_none());
        assert!(waiting.add(end(visitor(None, 10, None), 101, 9)).is_none());
        let mut arrive = |visitor: Visitor, at| {
            let back = waiting.arrive(&visitor, seconds(at))?;
            let missed = waiting.of(back.stream)?.back?.missed;
            Some((back.outage.as_secs(), back.given, back.is_strong, missed))
        };
        assert_eq!(arrive(visitor(Some(1), 11, Some(7)), 103), Some((3, 7, true, Some(0))));
        assert_eq!(
            arrive(visitor(None, 10, Some(5)), 104),
            Some((3, 9, false, None)),
            "what it lacks is yet to be seen"
        );
        assert_eq!(arrive(visitor(None, 10, Some(5)), 104), None, "both are taken");
    }

    #[test]
    fn a_page_that_is_loaded_does_not_take_the_end_from_which_another_is_about_to_come_back() {
        let mut waiting = Waiting::default();
        let stream = visitor(None, 10, None);
        assert!(waiting.add(Pending { at_idle_limit: true, ..end(stream, 100, 7) }).is_none());
        let nothing = |waiting: &mut Waiting| waiting.of(stream.stream).and_then(|pending| pending.nothing);
        waiting.arrive_with_nothing(&visitor(None, 10, None), seconds(101));
        assert!(nothing(&mut waiting).is_some(), "it may have been given nothing");
        assert!(waiting.arrive(&visitor(None, 10, Some(7)), seconds(103)).is_some(), "but this one comes from there");
        assert!(waiting.of(stream.stream).is_some_and(|pending| pending.back.is_some()));
    }

    #[test]
    fn who_was_not_there_does_not_come_back() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(end(visitor(None, 10, None), 100, 7)).is_none());
        assert_eq!(waiting.arrive(&visitor(None, 10, None), seconds(101)), None, "it begins anew");
        assert_eq!(waiting.arrive(&visitor(None, 11, Some(7)), seconds(101)), None, "it is another");
        assert_eq!(waiting.arrive(&visitor(None, 10, Some(8)), seconds(101)), None, "it has more than it was given");
    }

    #[test]
    fn clients_that_look_like_one_are_all_back_in_whatever_order_they_come() {
        // 1. Two behind one address are cut, the one that was given more first. 2. The one that has less is back first.
        let mut waiting = Waiting::default();
        assert!(waiting.add(end(visitor(None, 10, None), 100, 9)).is_none());
        assert!(waiting.add(end(visitor(None, 10, None), 100, 7)).is_none());
        let given = |back: Option<Return>| back.map(|back| back.given);
        assert_eq!(given(waiting.arrive(&visitor(None, 10, Some(7)), seconds(101))), Some(7));
        assert_eq!(given(waiting.arrive(&visitor(None, 10, Some(9)), seconds(101))), Some(9));
    }

    #[test]
    fn ends_are_due_a_moment_after_their_client_is_back_or_when_the_grace_is_over() {
        let mut waiting = Waiting::default();
        for (who, at) in [(1, 100), (2, 100), (3, 101)] {
            assert!(waiting.add(end(visitor(None, who, None), at, 7)).is_none());
        }
        let mut due = |now| waiting_due(&mut waiting, now);
        assert_eq!(due(101), None);
        assert!(waiting.arrive(&visitor(None, 2, Some(7)), seconds(101)).is_some());
        let mut due = |now| waiting_due(&mut waiting, now);
        assert_eq!(due(101), None, "others may have ended with it");
        assert_eq!(due(102), Some(2));
        assert_eq!(due(134), None);
        assert_eq!(due(135), Some(1));
        assert_eq!(due(135), None);
        assert_eq!(waiting.any().map(|pending| pending.visitor.who.get()), Some(3));
        assert!(
            waiting.any().is_none()
                && waiting.undecided() == 0
                && waiting.by_who.is_empty()
                && waiting.by_stream.is_empty()
        );
    }

    fn waiting_due(waiting: &mut Waiting, now: u64) -> Option<u64> {
        waiting.next_due(seconds(now), seconds(35), |_| false).map(|pending| pending.visitor.who.get())
    }

    #[test]
    fn who_is_back_from_what_may_yet_be_explained_waits_for_the_whole_grace() {
        let mut waiting = Waiting::default();
        for who in [1, 2] {
            assert!(waiting.add(end(visitor(None, who, None), 100, 7)).is_none());
            assert!(waiting.arrive(&visitor(None, who, Some(7)), seconds(101)).is_some());
        }
        let mut due = |now| {
            let next = waiting.next_due(seconds(now), seconds(35), |pending| pending.visitor.who.get() == 1);
            next.map(|pending| pending.visitor.who.get())
        };
        assert_eq!([due(102), due(102), due(134), due(135), due(135)], [Some(2), None, None, Some(1), None]);
    }

    #[test]
    fn when_too_many_wait_the_oldest_is_decided() {
        let mut waiting = Waiting::default();
        for who in 1..=Waiting::MOST as u64 {
            assert!(waiting.add(end(visitor(None, who, None), who, 7)).is_none());
        }
        let early = waiting.add(end(visitor(None, 99_999, None), 99_999, 7));
        assert_eq!(early.map(|pending| pending.visitor.who.get()), Some(1));
        assert_eq!(waiting.undecided(), Waiting::MOST);
    }
}
