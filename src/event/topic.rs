//! The name under which events are published.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A topic's name: UTF-8 of 1 to 1024 bytes without control, bidi or line-separator characters and without `*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The longest a topic may be, in bytes of UTF-8.
    pub const MAX_LEN: usize = 1024;

    /// Checks a topic's name.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn parse(name: &str) -> Result<Self, TopicError> {
        check_name(name)?;
        if name.contains('*') {
            return Err(TopicError::Star);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map by topic can be asked by name; equal and hashed as the name is.
impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What is wrong with a topic's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No character at all.
    #[error("a topic needs at least one character")]
    Empty,
    /// Longer than [`Topic::MAX_LEN`].
    #[error("a topic has at most {} bytes", Topic::MAX_LEN)]
    TooLong,
    /// A character that would not show, or would change how its neighbours show.
    #[error("a topic holds no control, bidi or line-separator characters (found U+{:04X})", *.0 as u32)]
    Character(char),
    /// `*` belongs to topic selectors.
    #[error("a topic holds no `*`; that is for topic selectors, when subscribing")]
    Star,
}

/// The rules that topics and topic selectors share.
pub(super) fn check_name(name: &str) -> Result<(), TopicError> {
    if name.is_empty() {
        return Err(TopicError::Empty);
    }
    if name.len() > Topic::MAX_LEN {
        return Err(TopicError::TooLong);
    }
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(()); // As nearly all are.
    }
    name.chars().find(|&c| is_hidden(c)).map_or(Ok(()), |c| Err(TopicError::Character(c)))
}

/// Control characters, line separators, and the characters that steer bidirectional text (UAX #9 § 2).
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_use_are_topics() {
        let longest = "a".repeat(Topic::MAX_LEN);
        for name in ["a", "orders/42", "https://example.com/books/1?x=y#z", "Ünïcode/топик/話題", ".", "a b", &longest]
        {
            assert_eq!(Topic::parse(name).map(|topic| topic.as_str().to_owned()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn names_that_could_inject_or_mislead_are_refused() {
        let too_long = "é".repeat(Topic::MAX_LEN / 2 + 1);
        for (name, error) in [
            ("", TopicError::Empty),
            (too_long.as_str(), TopicError::TooLong),
            ("a\nb", TopicError::Character('\n')),
            ("a\0", TopicError::Character('\0')),
            ("a\u{85}", TopicError::Character('\u{85}')),
            ("a\u{2028}b", TopicError::Character('\u{2028}')),
            ("a\u{202e}b", TopicError::Character('\u{202e}')),
            ("orders/*", TopicError::Star),
        ] {
            assert_eq!(Topic::parse(name), Err(error), "{name:?}");
        }
    }
}
