//! One place that decides for every door: who may publish, who may read, and who is an operator.
//!
//! Plain data in, a decision out. Secrets are held as digests and compared in constant time; none is ever shown.

mod leave;
mod limits;
mod operators;
mod permit;
mod rules;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

pub use leave::{Changes, Leave};
pub use limits::{Limit, Limits, OverQuota, Quota};
pub use operators::{NoOperator, Operators};
use permit::Holds;
pub use permit::Permit;
pub use rules::{Open, Rule, Rules};

/// A secret that was given to the gateway: kept only as its digest.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the digest of a secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether `offered` is the secret. Takes the same time whatever it is.
    #[must_use]
    pub fn is(&self, offered: &str) -> bool {
        self.is_same(&Self::new(offered))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Secrets of which each is as good as the others.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Whether `offered` is one of them. Every one is compared, so that the time tells nothing of which one was near.
    fn have(&self, offered: &Secret) -> bool {
        self.0.iter().fold(false, |fits, key| fits | key.is_same(offered))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Secret> for Secrets {
    fn from_iter<T: IntoIterator<Item = Secret>>(secrets: T) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// Who may do what. The rules and keys may be replaced while it is in use.
#[derive(Debug)]
pub struct Access {
    policy: watch::Sender<Policy>,
}

/// The rules of topics, and the keys that open them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which topics are for whom.
    pub rules: Arc<Rules>,
    /// Whoever has one of these may publish and read everything.
    pub keys: Secrets,
    /// Everybody is taken for one who has a key: the rule of `--dev`.
    pub open: bool,
}

/// Why a request may not do what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It brought no credential, and needs one.
    NeedsKey,
    /// It brought one that opens nothing.
    WrongKey,
}

impl Access {
    /// Decides by `policy`.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy: watch::Sender::new(policy) }
    }

    /// Decides by another policy from now on. Permits that were given before stay as they are, but whoever holds one is told
    /// if it would not get it again ([`Leave`]).
    pub fn replace(&self, policy: Policy) {
        self.policy.send_replace(policy);
    }

    /// What a caller with this credential may do.
    #[must_use]
    pub fn permit(&self, credential: Option<&str>) -> Permit {
        let mut policy = self.policy.subscribe();
        let offered = credential.map(Secret::new);
        // Marked as seen under the same lock, so that no change between the two is missed.
        let (holds, rules) = {
            let now = policy.borrow_and_update();
            (now.holds(offered.as_ref()), Arc::clone(&now.rules))
        };
        Permit::new(holds, rules).given_by(offered, policy)
    }

    /// Whether everybody may read every topic.
    #[must_use]
    pub fn all_public(&self) -> bool {
        let policy = self.policy.borrow();
        policy.open || policy.rules.all_public()
    }

    /// Whether there may be a topic that everybody may read.
    #[must_use]
    pub fn any_public(&self) -> bool {
        let policy = self.policy.borrow();
        policy.open || policy.rules.any_public()
    }
}

impl Policy {
    fn holds(&self, offered: Option<&Secret>) -> Holds {
        match offered {
            _ if self.open => Holds::Key,
            None => Holds::Nothing,
            Some(offered) if self.keys.have(offered) => Holds::Key,
            Some(_) => Holds::Wrong,
        }
    }

    /// What the holder of a permit would get now.
    fn permit_again(&self, permit: &Permit) -> Permit {
        Permit::new(self.holds(permit.credential()), Arc::clone(&self.rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;

    fn access(open: bool, read: Open) -> Access {
        let rules = Arc::new(Rules::all(read, Open::Key));
        Access::new(Policy { rules, keys: ["k1", "k2"].map(Secret::new).into_iter().collect(), open })
    }

    fn topic() -> Topic {
        Topic::parse("t").expect("a topic")
    }

    #[test]
    fn a_key_opens_both_doors_and_nothing_else_does() {
        let access = access(false, Open::Key);
        for (credential, opens, refusal) in [
            (Some("k1"), true, Decision::NeedsKey),
            (Some("k2"), true, Decision::NeedsKey),
            (Some("k"), false, Decision::WrongKey),
            (Some(""), false, Decision::WrongKey),
            (None, false, Decision::NeedsKey),
        ] {
            let permit = access.permit(credential);
            assert_eq!((permit.reads(&topic()), permit.publishes(&topic())), (opens, opens), "{credential:?}");
            assert_eq!(permit.refusal(), refusal, "{credential:?}");
        }
    }

    #[test]
    fn public_reading_opens_neither_publishing_nor_what_is_private() {
        let access = access(false, Open::Public);
        let mut event = crate::event::Event::new(topic(), "x");
        for credential in [None, Some("wrong")] {
            let permit = access.permit(credential);
            assert!(permit.reads(&topic()) && permit.reads_event(&event, &topic()) && !permit.publishes(&topic()));
        }
        event.private = true;
        assert!(!access.permit(None).reads_event(&event, &topic()));
        assert!(access.permit(Some("k1")).reads_event(&event, &topic()));
    }

    #[test]
    fn permits_are_equal_if_they_open_the_same_doors() {
        let (shut, public) = (access(false, Open::Key), access(false, Open::Public));
        assert_eq!(shut.permit(Some("k1")), public.permit(Some("k2")));
        assert_eq!(shut.permit(None), shut.permit(Some("wrong")));
        assert_ne!(shut.permit(None), public.permit(None));
        let before = shut.permit(None);
        shut.replace(Policy {
            rules: Arc::new(Rules::all(Open::Public, Open::Key)),
            keys: Secrets::default(),
            open: false,
        });
        assert_ne!(before, shut.permit(None));
        assert_eq!(shut.permit(None), public.permit(None));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}
