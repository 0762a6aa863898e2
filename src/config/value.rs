//! How values are written: ages, sizes, counts, ranges, rates, origins. The same in flags, variables and the file.

use std::str::FromStr;
use std::time::Duration;

use crate::event;

/// A whole number of things, one at least.
pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "use a whole number from 1".into())
}

/// A whole number with a unit: `90s`, `5m`, `12h`, `7d`.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let age = event::age(text).filter(|age| !age.is_zero());
    age.ok_or_else(|| "use a form like 90s, 12h or 7d".into())
}

/// A whole number of bytes, or with a unit: `64MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("", 1)];
    with_unit(text, &units).filter(|bytes| *bytes > 0).ok_or_else(|| "use a form like 64MiB or 1GiB".into())
}

/// A size within bounds.
pub(super) fn size_within<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    let size = size(text)?;
    let within = usize::try_from(size).ok().filter(|size| (LEAST..=MOST).contains(size));
    within.ok_or_else(|| format!("use a size from {} to {}", told(LEAST as u64), told(MOST as u64)))
}

/// A size with the largest unit in which it is whole.
fn told(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// A range of times from which one is drawn: `2s-5s`, `500ms-2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The shortest.
    pub least: Duration,
    /// The longest.
    pub most: Duration,
}

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text: &str| {
            let milliseconds = with_unit(text, &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)])?;
            (500..=3_600_000).contains(&milliseconds).then(|| Duration::from_millis(milliseconds))
        };
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (time(least.trim()), time(most.trim())) {
            (Some(least), Some(most)) if least <= most => Ok(Self { least, most }),
            _ => Err("use a range like 2s-5s, of times from 500ms to 1h, the shorter one first".into()),
        }
    }
}

/// So many events in so much time: `100/s`, `6000/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub events: u64,
    /// In how much time.
    pub per: Duration,
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "use a number of events a second or a minute, like 100/s or 6000/m".to_owned();
        let (events, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            _ => return Err(wrong()),
        };
        let events = digits(events).filter(|events| *events > 0).ok_or_else(wrong)?;
        Ok(Self { events, per: Duration::from_secs(seconds) })
    }
}

/// `*`, or scheme, host and port with nothing behind them, as browsers send it.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']));
    if text == "*" || is_origin {
        return Ok(text.to_owned());
    }
    Err("an origin is a scheme, a host and maybe a port, as in https://www.example.com".into())
}

/// A filter of messages, as `tracing` writes it.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let filter = tracing_subscriber::EnvFilter::try_new(text);
    filter.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    digits(number)?.checked_mul(*factor)
}

/// Digits alone: Rust would also take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_have_units() {
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for text in ["", "7", "d", "-1s", "+1s", "0s", "1.5h", "7w"] {
            assert!(age(text).is_err(), "{text}");
        }
        for text in ["", "GiB", "0", "+1", "1GB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_out_of_bounds_is_told_the_bounds() {
        let within = size_within::<4096, 1_048_576>;
        assert_eq!(within("4KiB"), Ok(4096));
        assert_eq!(within("1MiB"), Ok(1 << 20));
        for text in ["4095", "1048577", "16EiB", "17179869184GiB"] {
            assert!(within(text).is_err(), "{text}");
        }
        assert_eq!(within("4095"), Err("use a size from 4KiB to 1MiB".into()));
        assert_eq!(told(1000), "1000");
    }

    #[test]
    fn a_range_of_times_rises() {
        let range =
            |text: &str| text.parse::<Times>().map(|Times { least, most }| (least.as_millis(), most.as_millis()));
        assert_eq!(range("2s-5s"), Ok((2000, 5000)));
        assert_eq!(range("500ms - 1m"), Ok((500, 60_000)));
        assert_eq!(range("3s"), Ok((3000, 3000)));
        for text in ["", "5s-2s", "2-5", "499ms-1s", "1s-61m", "1s-", "-1s", "1s-2s-3s"] {
            assert!(range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quota_is_a_second_s_or_a_minute_s() {
        let quota = |text: &str| text.parse::<Quota>().map(|Quota { events, per }| (events, per.as_secs()));
        assert_eq!(quota("100/s"), Ok((100, 1)));
        assert_eq!(quota("6000/m"), Ok((6000, 60)));
        for text in ["", "100", "/s", "0/s", "-1/s", "+1/s", "1/h", "1/s/s", "1.5/s"] {
            assert!(quota(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_what_browsers_send() {
        for text in ["*", "https://www.example.com", "http://localhost:3000", "http://[::1]:3000"] {
            assert!(origin(text).is_ok(), "{text}");
        }
        for text in ["", "www.example.com", "https://", "https://a/", "https://a/b", "ftp://a", "https://u@a"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
