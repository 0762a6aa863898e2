//! A place in the log, as the log and every client spell it.

use std::fmt;
use std::str::FromStr;

/// A position in the log: strictly rising, never given twice within an epoch. 0 is before the first event.
pub type Offset = u64;

/// One unbroken run of the log: eight characters `[0-9a-z]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch([u8; Self::LEN]);

impl Epoch {
    /// Its length in characters.
    pub const LEN: usize = 8;
    const ALPHABET: &'static [u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    /// The epoch that a random number names; numbers are folded into the 36⁸ epochs there are.
    #[must_use]
    pub fn from_random(mut number: u64) -> Self {
        let mut name = [0; Self::LEN];
        for character in &mut name {
            *character = Self::ALPHABET[(number % 36) as usize];
            number /= 36;
        }
        Self(name)
    }

    /// Reads an epoch's eight characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name: [u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        name.iter().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()).then_some(Self(name))
    }

    /// Its eight characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an epoch is made of ASCII characters only")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place of an event in the log: what a client is given as the event's `id` and sends back as `Last-Event-ID`.
///
/// ```
/// use encke::event::Cursor;
/// let cursor: Cursor = "k3v9x0a1-128".parse()?;
/// assert_eq!(cursor.offset, 128);
/// assert_eq!(cursor.to_string(), "k3v9x0a1-128");
/// # Ok::<(), encke::event::ParseCursorError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The run of the log in which `offset` was given.
    pub epoch: Epoch,
    /// The position; 0 is before the first event.
    pub offset: Offset,
}

impl Cursor {
    /// The longest a cursor can be, in bytes: epoch, hyphen, and 2⁶⁴ − 1 in decimal.
    pub const MAX_LEN: usize = Epoch::LEN + 1 + 20;

    /// Adds it to `text` as it is displayed, at a fifth of what formatting costs: each receipt has one.
    pub(crate) fn write_to(&self, text: &mut String) {
        let mut digits = [0; 20];
        let (mut at, mut rest) = (digits.len(), self.offset);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        text.push_str(self.epoch.as_str());
        text.push('-');
        text.push_str(std::str::from_utf8(&digits[at..]).expect("digits are ASCII"));
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

/// The text is not a cursor of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected eight characters [0-9a-z], a hyphen and a decimal number")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, digits) = text.split_once('-').ok_or(ParseCursorError)?;
        let epoch = Epoch::parse(epoch).ok_or(ParseCursorError)?;
        let canonical = digits == "0" || (!digits.is_empty() && !digits.starts_with('0'));
        if !canonical || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(ParseCursorError); // One spelling for one place: no sign, no leading zeros.
        }
        let offset = digits.parse().map_err(|_| ParseCursorError)?;
        Ok(Self { epoch, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_it_was_written() {
        for offset in [0, 1, 9, 10, u64::MAX] {
            let cursor = Cursor { epoch: Epoch::from_random(offset ^ 77), offset };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            assert!(cursor.to_string().len() <= Cursor::MAX_LEN);
        }
    }

    #[test]
    fn any_other_spelling_is_no_cursor() {
        for text in [
            "",
            "-",
            "abcdefgh",
            "abcdefgh-",
            "abcdefgh-01",
            "abcdefgh-+1",
            "abcdefgh--1",
            "abcdefgh-1 ",
            " abcdefgh-1",
            "abcdefg-1",
            "ABCDEFGH-1",
            "abcdefgh-18446744073709551616",
            "abcdefgh-1-2",
            "äbcdefg-1",
            "abcdefgh-١",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError), "{text:?}");
        }
    }
}
