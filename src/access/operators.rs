//! Who is an operator: whoever holds an admin key. Its keys are not those of publishers.

use super::{Secret, Secrets};

/// Who may see what is for operators, of those who do not come from this machine.
#[derive(Clone, Debug, Default)]
pub struct Operators {
    /// Whoever has one of these may. Without any, nobody may.
    pub keys: Secrets,
    /// Everybody may: the rule of `--dev`.
    pub open: bool,
}

/// Why somebody is not taken for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOperator {
    /// There is no admin key: nobody can have it.
    NoKeys,
    /// No credential was sent.
    NeedsKey,
    /// It is no admin key.
    WrongKey,
}

impl Operators {
    /// Lets in whoever has sent this credential.
    ///
    /// # Errors
    /// It is not that of an operator.
    pub fn admit(&self, credential: Option<&str>) -> Result<(), NoOperator> {
        match credential {
            _ if self.open => Ok(()),
            _ if self.keys.is_empty() => Err(NoOperator::NoKeys),
            None => Err(NoOperator::NeedsKey),
            Some(offered) if self.keys.have(&Secret::new(offered)) => Ok(()),
            Some(_) => Err(NoOperator::WrongKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keys: &[&str], open: bool, credential: Option<&str>, expected: Result<(), NoOperator>) {
        let operators = Operators { keys: keys.iter().map(|key| Secret::new(key)).collect(), open };
        assert_eq!(operators.admit(credential), expected, "{keys:?} {credential:?}");
    }

    #[test]
    fn each_admin_key_lets_in_and_nothing_else_does() {
        for key in ["a1", "a2"] {
            check(&["a1", "a2"], false, Some(key), Ok(()));
        }
        for wrong in ["", "a", "a11", "A1", " a1", "a1 a2"] {
            check(&["a1", "a2"], false, Some(wrong), Err(NoOperator::WrongKey));
        }
        check(&["a1"], false, None, Err(NoOperator::NeedsKey));
    }

    #[test]
    fn where_there_is_no_key_nobody_is_let_in_but_under_dev() {
        for credential in [None, Some(""), Some("a1")] {
            check(&[], false, credential, Err(NoOperator::NoKeys));
            check(&[], true, credential, Ok(()));
            check(&["a2"], true, credential, Ok(()));
        }
    }
}
