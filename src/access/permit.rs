//! What one caller may do.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use tokio::sync::watch;

use super::rules::{Open, Rules};
use super::{Changes, Decision, Leave, Policy, Secret};
use crate::event::{Event, Publisher, Topic, TopicSelector};

/// What one caller may do, by the rules as they were when it came. Cheap to clone; equal permits open the same doors.
#[derive(Clone, Debug)]
pub struct Permit {
    holds: Holds,
    rules: Arc<Rules>,
    /// The credential that it was given for, and whose rules may change. None: nothing changes.
    origin: Option<(Option<Arc<Secret>>, watch::Receiver<Policy>)>,
}

/// What a caller brought along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holds {
    Nothing,
    /// A credential that opens nothing.
    Wrong,
    Key,
}

impl Permit {
    pub(super) fn new(holds: Holds, rules: Arc<Rules>) -> Self {
        Self { holds, rules, origin: None }
    }

    pub(super) fn given_by(self, credential: Option<Secret>, policy: watch::Receiver<Policy>) -> Self {
        Self { origin: Some((credential.map(Arc::new), policy)), ..self }
    }

    pub(super) fn credential(&self) -> Option<&Secret> {
        self.origin.as_ref().and_then(|(credential, _)| credential.as_deref())
    }

    /// How long whoever holds it may stay.
    #[must_use]
    pub fn leave(&self) -> Leave {
        Leave::new(self.clone())
    }

    /// Whether rules or keys have changed so that whoever holds it would not be let read `topics` again.
    #[must_use]
    pub fn is_withdrawn_from(&self, topics: &[TopicSelector]) -> bool {
        let Some((_, policy)) = &self.origin else { return false };
        let now = policy.borrow().permit_again(self);
        self.is_narrowed_by(&now, topics)
    }

    /// Whether it was given for the same as `other`: then both are withdrawn together.
    #[must_use]
    pub fn comes_with_the_same(&self, other: &Self) -> bool {
        match (&self.origin, &other.origin) {
            (None, None) => true,
            (Some((one, policy)), Some((another, other))) if policy.same_channel(other) => match (one, another) {
                (None, None) => true,
                (Some(one), Some(another)) => one.is_same(another),
                _ => false,
            },
            _ => false,
        }
    }

    /// Where rules and keys are, as far as they were seen when it was given.
    pub(super) fn policy(&mut self) -> Option<&mut watch::Receiver<Policy>> {
        self.origin.as_mut().map(|(_, policy)| policy)
    }

    /// What tells when rules or keys change, if they can.
    #[must_use]
    pub fn changes(&self) -> Option<Changes> {
        self.origin.as_ref().map(|(_, policy)| Changes::new(policy.clone()))
    }

    /// Whether `other` may not let read all that this one lets read on `topics`.
    pub(super) fn is_narrowed_by(&self, other: &Self, topics: &[TopicSelector]) -> bool {
        if other.reads_everything() || self.reads_everything() {
            return !other.reads_everything();
        }
        topics.iter().any(|selector| match selector {
            TopicSelector::Exact(topic) => self.reads(topic) && !other.reads(topic),
            TopicSelector::Glob(_) => !self.rules.read_alike(&other.rules),
        })
    }

    /// Whether `other` may not let publish all that this one lets publish. Without a key any change of who may publish
    /// what is taken for that, as a stream of events may name any topic.
    pub(super) fn is_narrowed_to_publish_by(&self, other: &Self) -> bool {
        if other.holds == Holds::Key || self.holds == Holds::Key {
            return other.holds != Holds::Key;
        }
        !self.rules.publish_alike(&other.rules)
    }

    /// That of whoever holds a key.
    #[must_use]
    pub fn everything() -> Self {
        static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::all(Open::Key, Open::Key)));
        Self::new(Holds::Key, Arc::clone(&RULES))
    }

    /// Whether the caller brought a credential that opens nothing. To take it for nobody would hide its mistake: it would be
    /// given what is public, and never learn of the rest.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.holds == Holds::Wrong
    }

    /// Whether the caller may read everything there is.
    #[must_use]
    pub fn reads_everything(&self) -> bool {
        self.holds == Holds::Key
    }

    /// Whether the caller may read events on `topic` that are not private.
    #[must_use]
    pub fn reads(&self, topic: &Topic) -> bool {
        self.reads_everything() || self.rules.read(topic) == Open::Public
    }

    /// Whether there may be a topic that the caller may read.
    #[must_use]
    pub fn reads_something(&self) -> bool {
        self.reads_everything() || self.rules.any_public()
    }

    /// Whether the caller may read `event`, on that of its topics.
    #[must_use]
    pub fn reads_event(&self, event: &Event, topic: &Topic) -> bool {
        self.reads_everything() || (!event.private && self.reads(topic))
    }

    /// Whether the caller may publish to `topic`.
    #[must_use]
    pub fn publishes(&self, topic: &Topic) -> bool {
        self.holds == Holds::Key || self.rules.publish(topic) == Open::Public
    }

    /// Whether there may be a topic that the caller may publish to.
    #[must_use]
    pub fn publishes_something(&self) -> bool {
        self.holds == Holds::Key || self.rules.any_open_to_publish()
    }

    /// As whom the caller publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        if self.holds == Holds::Key { Publisher::Key } else { Publisher::Public }
    }

    /// Whether the caller may remove events.
    #[must_use]
    pub fn removes(&self) -> bool {
        self.holds == Holds::Key
    }

    /// Whether everybody may read `topic`, whatever this caller may.
    #[must_use]
    pub fn is_public(&self, topic: &Topic) -> bool {
        self.rules.read(topic) == Open::Public
    }

    /// Whether everybody may read every topic, whatever this caller may.
    #[must_use]
    pub fn all_public(&self) -> bool {
        self.rules.all_public()
    }

    /// What a caller is told who may not: what it would need.
    #[must_use]
    pub fn refusal(&self) -> Decision {
        if self.holds == Holds::Wrong { Decision::WrongKey } else { Decision::NeedsKey }
    }
}

impl PartialEq for Permit {
    fn eq(&self, other: &Self) -> bool {
        match (self.reads_everything(), other.reads_everything()) {
            (true, true) => true,
            (false, false) => Arc::ptr_eq(&self.rules, &other.rules) || self.rules == other.rules,
            _ => false,
        }
    }
}

impl Eq for Permit {}

impl Hash for Permit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reads_everything().hash(state);
    }
}
