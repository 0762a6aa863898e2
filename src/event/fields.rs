//! The small texts an event carries beside its data.

use std::fmt;
use std::sync::Arc;

/// The SSE event type: 1 to 128 bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Arc<str>);

/// The publisher's own identity for an event: 1 to 256 bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// A media type with its parameters (RFC 9110 § 8.3.1), fit to stand in a header field as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentType(Arc<str>);

impl EventType {
    /// The longest a type may be, in bytes.
    pub const MAX_LEN: usize = 128;
    /// Types that begin so are the gateway's own.
    pub const RESERVED_PREFIX: &'static str = "encke.";

    /// Checks an event type. `message` is what an event without a type has, so it gives `None`.
    ///
    /// # Errors
    /// Refuses `open` and `error`, which every `EventSource` fires by itself, and the gateway's own `encke.…`.
    pub fn parse(text: &str) -> Result<Option<Self>, FieldError> {
        check("type", text, Self::MAX_LEN)?;
        match text {
            "message" => Ok(None),
            "open" | "error" => Err(FieldError::Reserved),
            _ if text.starts_with(Self::RESERVED_PREFIX) => Err(FieldError::Reserved),
            _ => Ok(Some(Self(text.into()))),
        }
    }

    /// The type's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// The longest a key may be, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Checks a key.
    ///
    /// # Errors
    /// Refuses an empty key, one too long, and control characters.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        Self::parse_as("key", text)
    }

    /// Checks a key that errors call `what`.
    ///
    /// # Errors
    /// As [`Key::parse`].
    pub fn parse_as(what: &'static str, text: &str) -> Result<Self, FieldError> {
        check(what, text, Self::MAX_LEN)?;
        Ok(Self(text.into()))
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ContentType {
    /// The longest a media type may be, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks a media type.
    ///
    /// # Errors
    /// Refuses what is not `type/subtype` of token characters, followed by parameters of visible ASCII.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let text = text.trim_matches([' ', '\t']);
        let fits = text.len() <= Self::MAX_LEN && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let (kind, subtype) = essence(text).split_once('/').unwrap_or_default();
        if fits && is_token(kind) && is_token(subtype) { Ok(Self(text.into())) } else { Err(FieldError::MediaType) }
    }

    /// The media type with its parameters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `type/subtype` in lower case, without parameters.
    #[must_use]
    pub fn essence(&self) -> String {
        essence(&self.0).to_ascii_lowercase()
    }

    /// The `charset` parameter in lower case.
    #[must_use]
    pub fn charset(&self) -> Option<String> {
        let parameters = self.0.split(';').skip(1);
        let named = parameters.filter_map(|parameter| parameter.split_once('='));
        named
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())
            .next()
    }

    /// Whether bytes of this type are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let essence = self.essence();
        essence == "application/json" || essence.ends_with("+json")
    }

    /// Whether bytes of this type are text (and so must be UTF-8 here).
    #[must_use]
    pub fn is_text(&self) -> bool {
        let essence = self.essence();
        essence.starts_with("text/")
            || essence.ends_with("+json")
            || essence.ends_with("+xml")
            || essence.ends_with("+yaml")
            || TEXT_TYPES.contains(&essence.as_str())
    }
}

/// Types outside `text/` whose bytes are text all the same.
const TEXT_TYPES: &[&str] = &[
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/jsonl",
    "application/sql",
    "application/toml",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "application/xml",
    "application/yaml",
];

/// What is wrong with a type, a key or a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// No character at all.
    #[error("a {0} needs at least one character")]
    Empty(&'static str),
    /// Longer than allowed.
    #[error("a {0} has at most {1} bytes")]
    TooLong(&'static str, usize),
    /// CR, LF, NUL or another control character.
    #[error("a {0} holds no control characters")]
    Control(&'static str),
    /// A type that clients or the gateway use themselves.
    #[error("the types `open`, `error` and `encke.…` are taken: clients fire the first two, the gateway the others")]
    Reserved,
    /// Not a media type.
    #[error("a content type is `type/subtype`, then `; name=value` parameters, of at most 255 ASCII characters")]
    MediaType,
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), FieldError> {
    if text.is_empty() {
        Err(FieldError::Empty(what))
    } else if text.len() > max {
        Err(FieldError::TooLong(what, max))
    } else if text.chars().any(char::is_control) {
        Err(FieldError::Control(what))
    } else {
        Ok(())
    }
}

fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim_end()
}

/// `token` of RFC 9110 § 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}
shown_as_text!(EventType, Key, ContentType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_clients_fire_themselves_are_refused() {
        assert_eq!(EventType::parse("message"), Ok(None));
        assert_eq!(EventType::parse("paid").map(|kind| kind.expect("a type").to_string()), Ok("paid".into()));
        for text in ["open", "error", "encke.hello", "encke."] {
            assert_eq!(EventType::parse(text), Err(FieldError::Reserved), "{text}");
        }
        for text in ["a\nb", "a\rb", "a\0b"] {
            assert_eq!(EventType::parse(text), Err(FieldError::Control("type")), "{text:?}");
        }
        assert_eq!(EventType::parse(&"x".repeat(129)), Err(FieldError::TooLong("type", 128)));
        assert_eq!(EventType::parse(""), Err(FieldError::Empty("type")));
    }

    #[test]
    fn a_content_type_knows_text_from_bytes() {
        for (text, is_text, is_json) in [
            ("text/plain", true, false),
            ("text/html; charset=utf-8", true, false),
            ("Application/JSON", true, true),
            ("application/problem+json", true, true),
            ("image/svg+xml", true, false),
            ("image/jpeg", false, false),
            ("application/octet-stream", false, false),
        ] {
            let media = ContentType::parse(text).expect("a media type");
            assert_eq!((media.is_text(), media.is_json()), (is_text, is_json), "{text}");
        }
        let media = ContentType::parse("text/plain; CharSet=\"ISO-8859-1\"").expect("a media type");
        assert_eq!(media.charset().as_deref(), Some("iso-8859-1"));
    }

    #[test]
    fn what_could_break_a_header_field_is_no_content_type() {
        for text in ["", "text", "text/", "/plain", "text/pl ain", "text/plain\r\nX: y", "text/plain; a=é", "a/b/c d"]
        {
            assert_eq!(ContentType::parse(text), Err(FieldError::MediaType), "{text:?}");
        }
    }
}
