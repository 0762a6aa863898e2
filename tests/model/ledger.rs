//! All that was ever published, and what a plain list says of whom it concerns and what is left of it.

use std::collections::HashSet;

use encke::access::{Access, Open, Permit, Policy, Rule, Rules, Secrets};
use encke::event::{Event, EventType, Offset, Topic, TopicSelector};
use encke::hub::Selection;
use encke::log::Bounds;

/// The topic that is for key holders only.
const SHUT: &str = "d";

/// An event as it was published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) event: Event,
    /// When it was stored, in milliseconds.
    pub(crate) time: u64,
    pub(crate) deleted: bool,
}

/// Every event; the one at offset `n` is at `n - 1`.
#[derive(Default)]
pub(crate) struct Ledger(pub(crate) Vec<Published>);

/// What is there, when somebody looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: u64,
    pub(crate) bounds: Bounds,
}

/// What a subscriber asks for and may read, as a test means it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) selectors: Vec<TopicSelector>,
    /// Only events of these types; of all, if there is none.
    pub(crate) types: Vec<Option<EventType>>,
    /// It comes with a key.
    pub(crate) keyed: bool,
    pub(crate) conflate: bool,
}

impl Asked {
    /// The same for the gateway.
    pub(crate) fn selection(&self) -> Selection {
        let shut =
            Rule { matches: TopicSelector::parse(SHUT).expect("a selector"), read: Open::Key, publish: Open::Key };
        let rules = Rules { rules: vec![shut], ..Rules::all(Open::Public, Open::Key) };
        let policy = Policy { rules: rules.into(), keys: Secrets::default(), open: false };
        let permit = if self.keyed { Permit::everything() } else { Access::new(policy).permit(None) };
        Selection::new(self.selectors.clone()).of_types(self.types.clone()).for_reader(permit)
    }

    /// Whether it may read what is on a topic.
    pub(crate) fn reads(&self, topic: &Topic) -> bool {
        self.keyed || topic.as_str() != SHUT
    }

    /// The topics for which it is given an event.
    fn topics<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Topic> {
        let wanted = self.types.is_empty() || self.types.contains(&event.kind);
        let readable = self.keyed || !event.private;
        let asked = |topic: &&Topic| self.selectors.iter().any(|selector| selector.matches(topic));
        event.topics.iter().filter(move |topic| wanted && readable && self.reads(topic)).filter(asked)
    }
}

impl Ledger {
    pub(crate) fn last(&self) -> Offset {
        self.0.len() as Offset
    }

    pub(crate) fn at(&self, offset: Offset) -> &Published {
        &self.0[usize::try_from(offset - 1).expect("an offset")]
    }

    /// Whether an event is for whoever asked so, as long as it is there.
    pub(crate) fn concerns(&self, asked: &Asked, offset: Offset) -> bool {
        asked.topics(&self.at(offset).event).next().is_some()
    }

    /// Whether a removed event may have been for whoever asked so: nobody knows its type any more.
    pub(crate) fn may_have_concerned(&self, asked: &Asked, offset: Offset, now: Now) -> bool {
        let any_type = Asked { types: Vec::new(), ..asked.clone() };
        self.concerns(asked, offset) || (self.is_removed(offset, now) && self.concerns(&any_type, offset))
    }

    /// Whether an event is not to be had any more. One that was trimmed may still be in memory, and be given.
    pub(crate) fn is_gone(&self, offset: Offset, now: Now) -> bool {
        offset < now.bounds.first || self.is_removed(offset, now)
    }

    /// Whether nobody is to be given an event any more, wherever it is held.
    pub(crate) fn is_removed(&self, offset: Offset, now: Now) -> bool {
        let Published { event, time, deleted } = self.at(offset);
        // However short its time, whoever is there when it comes is given it: within a second it is on its way.
        let life = event.ttl.map(|ttl| u64::try_from(ttl.as_millis()).expect("a short time").max(1000));
        *deleted || life.is_some_and(|life| time + life < now.time)
    }

    /// Whether there is a newer event of the same canonical topic and conflation key.
    pub(crate) fn is_replaced(&self, asked: &Asked, offset: Offset) -> bool {
        if !self.concerns(asked, offset) {
            return false; // Of one that is on no topic that it may read, nothing can be said.
        }
        let of = |offset| {
            let event = &self.at(offset).event;
            event.conflate.clone().map(|key| (self.canonical(asked, offset).cloned(), key))
        };
        let subject = of(offset);
        subject.is_some() && (offset + 1..=self.last()).any(|newer| self.concerns(asked, newer) && of(newer) == subject)
    }

    /// The first topic that its reader may read.
    fn canonical(&self, asked: &Asked, offset: Offset) -> Option<&Topic> {
        self.at(offset).event.topics.iter().find(|topic| asked.reads(topic))
    }

    /// The newest event of each topic or conflation key.
    pub(crate) fn snapshot(&self, asked: &Asked, now: Now) -> Vec<Offset> {
        let mut seen = HashSet::new();
        let newest = |offset: &Offset| {
            if !self.concerns(asked, *offset) || self.is_gone(*offset, now) {
                return false;
            }
            let event = &self.at(*offset).event;
            let subjects: Vec<_> = match &event.conflate {
                Some(key) => {
                    self.canonical(asked, *offset).map(|topic| (topic.clone(), Some(key.clone()))).into_iter().collect()
                }
                None => asked.topics(event).map(|topic| (topic.clone(), None)).collect(),
            };
            subjects.into_iter().fold(false, |newest, subject| newest | seen.insert(subject))
        };
        let mut offsets: Vec<Offset> = (1..=self.last()).rev().filter(newest).collect();
        offsets.reverse();
        offsets
    }
}
