//! Which topics a subscriber asks for.

use std::fmt;

use super::topic::{Topic, TopicError, check_name};

/// An exact topic, or a glob over `/`-segments: `*` is exactly one segment, a last `**` one or more, `**` alone
/// everything.
///
/// ```
/// use encke::event::{Topic, TopicSelector};
/// let selector = TopicSelector::parse("orders/*/paid")?;
/// assert!(selector.matches(&Topic::parse("orders/42/paid").unwrap()));
/// assert!(!selector.matches(&Topic::parse("orders/paid").unwrap()));
/// # Ok::<(), encke::event::SelectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicSelector {
    /// This topic and no other.
    Exact(Topic),
    /// Every topic of this shape.
    Glob(Glob),
}

/// The segments of a glob.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob {
    segments: Box<[Segment]>,
    open_end: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Segment {
    Literal(Box<str>),
    Any,
}

impl TopicSelector {
    /// Reads a topic or a glob.
    ///
    /// # Errors
    /// Says which rule of topics it breaks, or where a star stands that has no meaning.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        check_name(text)?;
        if !text.contains('*') {
            return Ok(Self::Exact(Topic::parse(text)?));
        }
        let (front, open_end) = match text {
            "**" => return Ok(Self::everything()),
            _ => text.strip_suffix("/**").map_or((text, false), |front| (front, true)),
        };
        let segments = front.split('/').map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self::Glob(Glob { segments, open_end }))
    }

    /// `**`: every topic there is.
    #[must_use]
    pub fn everything() -> Self {
        Self::Glob(Glob { segments: Box::new([]), open_end: true })
    }

    /// Whether this is `**`.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Glob(glob) if glob.segments.is_empty())
    }

    /// Whether events on `topic` are asked for.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::Exact(exact) => exact == topic,
            Self::Glob(glob) => glob.matches(topic.as_str()),
        }
    }
}

impl Glob {
    fn matches(&self, topic: &str) -> bool {
        if self.segments.is_empty() {
            return true;
        }
        let mut rest = topic.split('/');
        self.segments.iter().all(|segment| rest.next().is_some_and(|text| segment.matches(text)))
            && rest.next().is_some() == self.open_end
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, SelectorError> {
        match text {
            "*" => Ok(Self::Any),
            _ if text.contains('*') => Err(SelectorError::Star),
            _ => Ok(Self::Literal(text.into())),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => &**literal == text,
            Self::Any => true,
        }
    }
}

impl fmt::Display for TopicSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let glob = match self {
            Self::Exact(topic) => return topic.fmt(f),
            Self::Glob(glob) => glob,
        };
        let texts = glob.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => text,
            Segment::Any => "*",
        });
        let texts: Vec<&str> = texts.chain(glob.open_end.then_some("**")).collect();
        f.write_str(&texts.join("/"))
    }
}

/// What is wrong with a topic selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It breaks a rule that topics have, too.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A star beside other characters, or `**` before the end.
    #[error("in a topic selector `*` stands for one whole segment between slashes, and `**` only for the last ones")]
    Star,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, topic: &str) -> bool {
        TopicSelector::parse(selector).expect("a selector").matches(&Topic::parse(topic).expect("a topic"))
    }

    #[test]
    fn stars_stand_for_segments() {
        for (selector, topic, expected) in [
            ("a", "a", true),
            ("a", "a/b", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a", false),
            ("a/*", "a/", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a", false),
            ("a/**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("*/b", "a/b", true),
            ("*/b/**", "a/b/c/d", true),
            ("*/b/**", "a/c/d", false),
            ("**", "a", true),
            ("**", "a/b/c", true),
        ] {
            assert_eq!(matches(selector, topic), expected, "{selector} on {topic}");
        }
    }

    #[test]
    fn a_selector_is_written_as_it_was_read() {
        for text in ["a", "a/b", "*", "a/*", "a/**", "*/b/**", "**"] {
            assert_eq!(TopicSelector::parse(text).expect("a selector").to_string(), text);
        }
    }

    #[test]
    fn stars_without_a_meaning_are_refused() {
        for text in ["a*", "*a", "a/**/b", "**/a", "a/b*", "***", "a/***"] {
            assert_eq!(TopicSelector::parse(text), Err(SelectorError::Star), "{text}");
        }
    }
}
