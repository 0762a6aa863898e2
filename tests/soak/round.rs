//! One round: all begin, all end, and the gateway is at rest before and after.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::AtomicU64;
use std::thread;

use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::operator::{Operator, edge};
use crate::publishers::{KINDS, Publisher};
use crate::reader::{Reader, SELECTIONS};
use crate::support::gateway::Gateway;
use crate::wire::Doors;

/// Readers of each selection.
const READERS: usize = 4;

/// A round to be run.
pub(super) struct Round {
    number: usize,
    address: String,
    admin: String,
    before: String,
}

/// What came of it, as clients know.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Streams and polls, by transport.
    pub(super) opened: BTreeMap<&'static str, u64>,
    /// Requests of which nobody knows whether a stream was opened.
    pub(super) unsure: u64,
    /// Streams that nobody read.
    pub(super) never_read: u64,
    pub(super) events: u64,
    /// How often readers came back with a cursor.
    pub(super) resumed: u64,
    pub(super) gaps: BTreeMap<String, u64>,
    /// Streams that the gateway broke off.
    pub(super) cut: u64,
    /// Readers sent away, or not let in, as the rules had changed.
    pub(super) sent_away: u64,
}

impl Round {
    pub(super) fn of(number: usize, gateway: &Gateway) -> Self {
        let admin = gateway.admin_url().trim_start_matches("http://").to_owned();
        Self { number, address: gateway.address().to_owned(), admin, before: edge(gateway) }
    }

    pub(super) fn run(&self, operator: &mut Operator<'_>) -> Tally {
        let (ledger, doors) = (Ledger::after(&self.before, KINDS.len()), Doors::of(&self.address, &self.admin));
        let numbers = AtomicU64::new(0);
        let publisher = |who: usize| Publisher {
            address: &self.address,
            ledger: &ledger,
            numbers: &numbers,
            dice: Dice::of(self.number, who),
            connection: None,
        };
        let mut tally = thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS * SELECTIONS.len())
                .map(|number| {
                    let dice = Dice::of(self.number, 1000 + number);
                    let reader = Reader::new(&SELECTIONS[number % SELECTIONS.len()], &doors, &ledger, dice);
                    scope.spawn(move || reader.run())
                })
                .collect();
            let walker = Reader::new(&SELECTIONS[0], &doors, &ledger, Dice::of(self.number, 999));
            let walker = scope.spawn(move || walker.walk());
            for (who, (kind, times)) in KINDS.into_iter().enumerate() {
                let publisher = publisher(who);
                scope.spawn(move || publisher.run(kind, times));
            }
            let never_read = operator.work(&ledger, &doors, &mut publisher(KINDS.len()));
            let mut tally = Tally { never_read, ..Tally::default() };
            readers.into_iter().chain([walker]).for_each(|reader| tally += reader.join().expect("it does not fail"));
            tally
        });
        *tally.opened.entry("ndjson").or_default() += tally.never_read;
        *tally.opened.entry("long-poll").or_default() += 1; // It told where the log ended.
        tally
    }
}

impl Tally {
    /// What the soak is for has happened at all.
    #[track_caller]
    pub(super) fn hold(&self) {
        let Self { opened, resumed, gaps, sent_away, never_read, .. } = self;
        assert!(*resumed > 100 && opened.len() == 5 && *sent_away > 0 && *never_read > 0, "{self:?}");
        assert!(gaps.keys().all(|reason| ["expired", "deleted"].contains(&reason.as_str())), "{gaps:?}");
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        other.opened.into_iter().for_each(|(transport, count)| *self.opened.entry(transport).or_default() += count);
        other.gaps.into_iter().for_each(|(reason, count)| *self.gaps.entry(reason).or_default() += count);
        self.unsure += other.unsure;
        self.never_read += other.never_read;
        self.events += other.events;
        self.resumed += other.resumed;
        self.cut += other.cut;
        self.sent_away += other.sent_away;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opened, events, resumed, gaps, cut, sent_away, .. } = self;
        let opened: u64 = opened.values().sum();
        write!(
            f,
            "{opened} streams and polls, {events} events read, {resumed} resumed, {cut} cut, {sent_away} sent away, gaps {gaps:?}"
        )
    }
}
