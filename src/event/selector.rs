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

    /// Whether every topic that `other` asks for is asked for by this one, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), _) => self == other,
            (Self::Glob(glob), Self::Exact(topic)) => glob.matches(topic.as_str()),
            (Self::Glob(glob), Self::Glob(other)) => glob.covers(other),
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

impl Glob {
    fn covers(&self, other: &Self) -> bool {
        let long_enough = match (self.open_end, other.open_end) {
            (true, true) => other.segments.len() >= self.segments.len(),
            (true, false) => other.segments.len() > self.segments.len(),
            (false, open_end) => !open_end && other.segments.len() == self.segments.len(),
        };
        long_enough && self.segments.iter().zip(&other.segments).all(|(one, other)| one.covers(other))
    }
}

impl Segment {
    fn covers(&self, other: &Self) -> bool {
        *self == Self::Any || self == other
    }

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
    fn one_selector_covers_another_if_it_matches_all_that_that_one_does() {
        let selectors = [
            "a", "b", "a/b", "a/b/c", "*", "*/*", "a/*", "*/b", "a/*/c", "**", "*/**", "a/**", "a/b/**", "*/b/**",
            "a/*/**",
        ];
        let segments = ["a", "b", "c"];
        let two = segments.iter().flat_map(|one| segments.map(|other| format!("{one}/{other}")));
        let three = two.clone().flat_map(|two| segments.map(|third| format!("{two}/{third}")));
        let four = three.clone().flat_map(|three| segments.map(|fourth| format!("{three}/{fourth}")));
        let topics: Vec<String> =
            segments.iter().map(|one| (*one).to_owned()).chain(two).chain(three).chain(four).collect();
        for one in selectors {
            for other in selectors {
                let parse = |text| TopicSelector::parse(text).expect("a selector");
                let all = topics.iter().all(|topic| !matches(other, topic) || matches(one, topic));
                assert_eq!(parse(one).covers(&parse(other)), all, "{one} over {other}");
            }
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
