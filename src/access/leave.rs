//! How long one who was let in may stay.

use tokio::sync::watch;

use super::{Permit, Policy};
use crate::event::TopicSelector;

/// Leave to stay, a reader's or a publisher's: it is withdrawn when the rules or keys change so that it could not come in
/// again as it did.
///
/// Costs nothing while nothing changes. A change that concerns other topics ends nobody; of a reader of globs it cannot be
/// told what it would get no more, so any change of who may read what ends its stream. It comes back at once, and gets what
/// it may. The same goes for a publisher without a key, who may name any topic.
#[derive(Debug)]
pub struct Leave {
    /// What was granted. Of what it was granted by, the newest is seen that was looked at.
    permit: Permit,
    withdrawn: bool,
}

impl Leave {
    pub(super) fn new(permit: Permit) -> Self {
        Self { permit, withdrawn: false }
    }

    /// Whether a reader of `topics` must leave.
    pub fn is_withdrawn(&mut self, topics: &[TopicSelector]) -> bool {
        self.is_withdrawn_from(Doing::Reading(topics))
    }

    /// Resolves when a reader of `topics` must leave. Dropping the future loses nothing.
    pub async fn withdrawn(&mut self, topics: &[TopicSelector]) {
        self.withdrawn_from(Doing::Reading(topics)).await;
    }

    /// Whether nothing more may be published by it.
    pub fn is_withdrawn_to_publish(&mut self) -> bool {
        self.is_withdrawn_from(Doing::Publishing)
    }

    /// Resolves when nothing more may be published by it. Dropping the future loses nothing.
    pub async fn withdrawn_to_publish(&mut self) {
        self.withdrawn_from(Doing::Publishing).await;
    }

    fn is_withdrawn_from(&mut self, doing: Doing<'_>) -> bool {
        if self.permit.policy().is_some_and(|policy| policy.has_changed().unwrap_or(false)) {
            self.look(doing);
        }
        self.withdrawn
    }

    async fn withdrawn_from(&mut self, doing: Doing<'_>) {
        while !self.withdrawn {
            let Some(policy) = self.permit.policy() else { return std::future::pending().await };
            if policy.changed().await.is_err() {
                return std::future::pending().await; // Nothing will change any more.
            }
            self.look(doing);
        }
    }

    #[cold]
    fn look(&mut self, doing: Doing<'_>) {
        let Some(policy) = self.permit.policy().map(|policy| policy.borrow_and_update().clone()) else { return };
        let now = policy.permit_again(&self.permit);
        self.withdrawn |= match doing {
            Doing::Reading(topics) => self.permit.is_narrowed_by(&now, topics),
            Doing::Publishing => self.permit.is_narrowed_to_publish_by(&now),
        };
    }
}

/// Tells when rules or keys change.
#[derive(Debug)]
pub struct Changes(watch::Receiver<Policy>);

impl Changes {
    pub(super) fn new(mut policy: watch::Receiver<Policy>) -> Self {
        policy.mark_changed(); // Since whoever asks was let in, they may have changed.
        Self(policy)
    }

    /// Resolves when they have changed since the last call; the first one resolves at once. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // Nothing will change any more.
        }
    }
}

/// What the leave is for.
#[derive(Clone, Copy)]
enum Doing<'a> {
    Reading(&'a [TopicSelector]),
    Publishing,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Access, Open, Rule, Rules, Secret};
    use super::*;

    fn policy(public: &[&str], keys: &[&str]) -> Policy {
        let selector = |text: &&str| TopicSelector::parse(text).expect("a selector");
        let rule = |text| Rule { matches: selector(text), read: Open::Public, publish: Open::Key };
        let rules = Rules { rules: public.iter().map(rule).collect(), ..Rules::all(Open::Key, Open::Key) };
        Policy { rules: Arc::new(rules), keys: keys.iter().map(|key| Secret::new(key)).collect(), open: false }
    }

    #[track_caller]
    fn check(topics: &[&str], credential: Option<&str>, before: Policy, after: Policy, withdrawn: bool) {
        let access = Access::new(before);
        let topics: Vec<_> = topics.iter().map(|text| TopicSelector::parse(text).expect("a selector")).collect();
        let mut leave = access.permit(credential).leave();
        assert!(!leave.is_withdrawn(&topics));
        access.replace(after);
        assert_eq!(leave.is_withdrawn(&topics), withdrawn);
        assert_eq!(leave.is_withdrawn(&topics), withdrawn, "asked again");
    }

    #[test]
    fn who_could_not_come_in_again_must_leave_and_others_stay() {
        check(&["a"], None, policy(&["a"], &["k"]), policy(&[], &["k"]), true);
        check(&["a"], None, policy(&["a"], &["k"]), policy(&["a"], &["k2"]), false);
        check(&["a"], None, policy(&["a", "b"], &["k"]), policy(&["a"], &["k"]), false);
        check(&["a", "b"], None, policy(&["a", "b"], &["k"]), policy(&["a"], &["k"]), true);
        check(&["**"], None, policy(&["a", "b"], &["k"]), policy(&["a"], &["k"]), true);
        check(&["**"], None, policy(&["a"], &["k"]), policy(&["a"], &["k", "k2"]), false);
        check(&["a"], Some("k"), policy(&[], &["k"]), policy(&[], &["k2", "k"]), false);
        check(&["a"], Some("k"), policy(&[], &["k"]), policy(&[], &["k2"]), true);
        check(&["**"], Some("k"), policy(&["a"], &["k"]), policy(&[], &["k"]), false);
        check(&["a"], Some("wrong"), policy(&["a"], &["k"]), policy(&[], &["k"]), true);
        check(&["a"], None, policy(&["a"], &[]), Policy { open: true, ..policy(&[], &[]) }, false);
    }

    #[test]
    fn who_could_not_publish_again_must_stop_and_readers_changes_stop_nobody() {
        let open_to = |topics: &[&str], keys: &[&str]| {
            let mut policy = policy(topics, keys);
            let mut rules = (*policy.rules).clone();
            rules.rules.iter_mut().for_each(|rule| rule.publish = Open::Public);
            policy.rules = Arc::new(rules);
            policy
        };
        let check = |credential: Option<&str>, before: Policy, after: Policy, withdrawn: bool| {
            let access = Access::new(before);
            let mut leave = access.permit(credential).leave();
            assert!(!leave.is_withdrawn_to_publish());
            access.replace(after);
            assert_eq!(leave.is_withdrawn_to_publish(), withdrawn, "{credential:?}");
        };
        check(Some("k"), policy(&[], &["k"]), policy(&[], &["k2"]), true);
        check(Some("k"), policy(&[], &["k"]), policy(&["a"], &["k2", "k"]), false);
        check(Some("k"), open_to(&["a"], &["k"]), open_to(&["a"], &["k2"]), true);
        check(None, open_to(&["a"], &["k"]), open_to(&["b"], &["k"]), true);
        check(None, open_to(&["a"], &["k"]), open_to(&["a"], &["k2"]), false);
        check(Some("wrong"), open_to(&["a"], &["k"]), policy(&["a"], &["k"]), true);
        check(None, open_to(&["a"], &["k"]), Policy { open: true, ..policy(&[], &[]) }, false);
    }

    #[tokio::test]
    async fn a_withdrawal_wakes_whoever_waits_and_other_changes_do_not() {
        let access = Arc::new(Access::new(policy(&["a"], &[])));
        let topics = [TopicSelector::parse("a").expect("a selector")];
        let mut leave = access.permit(None).leave();
        let mut waiting = std::pin::pin!(leave.withdrawn(&topics));
        for (policy, ready) in [(policy(&["a", "b"], &[]), false), (policy(&["b"], &[]), true)] {
            access.replace(policy);
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await;
            assert_eq!(polled, ready);
        }
    }

    #[tokio::test]
    async fn a_permit_of_no_access_is_never_withdrawn() {
        let mut leave = Permit::everything().leave();
        assert!(!leave.is_withdrawn(&[]));
        let waiting = std::pin::pin!(leave.withdrawn(&[]));
        let polled = tokio::time::timeout(std::time::Duration::ZERO, waiting).await;
        assert!(polled.is_err());
    }
}
