//! Times that pass, as people write them: `90s`, `5m`, `12h`, `7d`.

use std::time::Duration;

/// Units, and how many seconds each has.
const UNITS: [(char, u32); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];

/// A hundred years of seconds; a lifetime that is longer is a mistake.
const LONGEST: f64 = 36_525.0 * 86_400.0;

/// A whole number with its unit: `90s`, `5m`, `12h`, `7d`; `0s` too.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(encke::event::age("5m"), Some(Duration::from_secs(300)));
/// assert_eq!(encke::event::age("5"), None);
/// ```
#[must_use]
pub fn age(text: &str) -> Option<Duration> {
    let (digits, seconds) = split(text)?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()); // Rust would take a sign too.
    let number = digits.parse::<u64>().ok().filter(|_| is_plain)?;
    number.checked_mul(seconds.into()).map(Duration::from_secs)
}

/// For how long an event is worth delivering: seconds, or a number with its unit, both with decimals if need be: `90`, `1.5`,
/// `90s`, `5m`. In whole milliseconds, one at least, a hundred years at most.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(encke::event::lifetime("1.5"), Some(Duration::from_millis(1500)));
/// assert_eq!(encke::event::lifetime("0"), None);
/// ```
#[must_use]
pub fn lifetime(text: &str) -> Option<Duration> {
    let (number, factor) = split(text).unwrap_or((text, 1));
    // The numbers of Rust have signs, exponents, `inf` and `nan` besides.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = number.parse::<f64>().ok().filter(|_| is_plain)? * f64::from(factor);
    let milliseconds = (seconds * 1000.0).round();
    let time = (milliseconds >= 1.0 && seconds <= LONGEST).then(|| Duration::from_secs_f64(milliseconds / 1000.0))?;
    u64::try_from(time.as_micros().div_ceil(1000)).ok().map(Duration::from_millis)
}

/// The number, and how many seconds its unit has.
fn split(text: &str) -> Option<(&str, u32)> {
    UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_whole_and_has_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(age(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "7", "d", "-1s", "+1s", "1.5h", "7w", "1 h", "５m", "99999999999999999999s", "999999999999999999d"]
        {
            assert_eq!(age(text), None, "{text}");
        }
    }

    #[test]
    fn a_lifetime_is_seconds_or_has_a_unit() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("1.5", 1500),
            ("0.001", 1),
            (".5", 500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("0.1s", 100),
            ("36525d", 3_155_760_000_000),
        ] {
            assert_eq!(lifetime(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        let endless = "9".repeat(400);
        for text in [
            "", "0", "0s", "0.0001", "-1", "+1", "1e3", "inf", "nan", "s", "1w", "1 h", "36526d", "1.2.3", ".", "５",
            &endless,
        ] {
            assert_eq!(lifetime(text), None, "{text}");
        }
    }
}
