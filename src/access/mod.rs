//! One place that decides for every door: who may publish, and who may read.
//!
//! Plain data in, a decision out. Secrets are held as digests and compared in constant time; none is ever shown.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

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
        Self::new(offered).0.ct_eq(&self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Access {
    /// Everybody may publish and read: the rule of `--dev`.
    pub open: bool,
    /// Everybody may read.
    pub read_public: bool,
    /// Whoever has one of these may publish and read.
    pub keys: Vec<Secret>,
}

/// The answer to "may this request do that?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Granted,
    /// It brought no credential, and needs one.
    NeedsKey,
    /// It brought one that opens nothing.
    WrongKey,
}

impl Access {
    /// Whether a publisher with this credential may publish.
    #[must_use]
    pub fn publish(&self, credential: Option<&str>) -> Decision {
        if self.open { Decision::Granted } else { self.key(credential) }
    }

    /// Whether a subscriber with this credential may read.
    #[must_use]
    pub fn read(&self, credential: Option<&str>) -> Decision {
        if self.is_public() { Decision::Granted } else { self.key(credential) }
    }

    /// Whether everybody may read every topic.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.open || self.read_public
    }

    fn key(&self, credential: Option<&str>) -> Decision {
        let Some(offered) = credential else { return Decision::NeedsKey };
        // Every key is compared, so that the time tells nothing of which one was near.
        let fits = self.keys.iter().fold(false, |fits, key| fits | key.is(offered));
        if fits { Decision::Granted } else { Decision::WrongKey }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(open: bool, read_public: bool) -> Access {
        Access { open, read_public, keys: vec![Secret::new("k1"), Secret::new("k2")] }
    }

    #[test]
    fn a_key_opens_both_doors_and_nothing_else_does() {
        let access = access(false, false);
        for decide in [Access::publish, Access::read] {
            assert_eq!(decide(&access, Some("k1")), Decision::Granted);
            assert_eq!(decide(&access, Some("k2")), Decision::Granted);
            assert_eq!(decide(&access, Some("k")), Decision::WrongKey);
            assert_eq!(decide(&access, Some("")), Decision::WrongKey);
            assert_eq!(decide(&access, None), Decision::NeedsKey);
        }
    }

    #[test]
    fn public_reading_does_not_open_publishing() {
        let access = access(false, true);
        assert_eq!(access.read(None), Decision::Granted);
        assert_eq!(access.publish(None), Decision::NeedsKey);
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}
