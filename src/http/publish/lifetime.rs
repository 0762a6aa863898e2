//! For how long an event is worth delivering, as publishers write it.

use std::time::Duration;

use super::super::problem::Problem;

/// A hundred years; what is longer is a mistake.
const MOST: f64 = 36_525.0 * 86_400.0;

/// Seconds as a number, or a number with its unit: `90`, `1.5`, `90s`, `5m`, `1h`, `7d`. In whole milliseconds, one at least.
pub(super) fn lifetime(text: &str) -> Result<Duration, Problem> {
    let seconds = |text: &str| {
        let unit = |unit| text.strip_suffix(unit);
        let (number, factor) = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86_400.0)]
            .into_iter()
            .find_map(|(name, factor)| Some((unit(name)?, factor)))
            .unwrap_or((text, 1.0));
        // The numbers of Rust have signs, exponents, `inf` and `nan` besides.
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let seconds = number.parse::<f64>().ok().filter(|_| plain)? * factor;
        let milliseconds = (seconds * 1000.0).round();
        (milliseconds >= 1.0 && seconds <= MOST).then(|| Duration::from_secs_f64(milliseconds / 1000.0))
    };
    let wrong = || {
        Problem::bad(
            "`ttl` is how long the event is worth delivering: seconds, or with a unit 90s, 5m, 1h, 7d; more than 0, at most 100 years",
        )
    };
    let rounded =
        |ttl: Duration| Duration::from_millis(u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
    seconds(text).map(rounded).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(lifetime(text).expect(text), Duration::from_millis(milliseconds), "{text}");
        }
        let endless = "9".repeat(400);
        for text in [
            "", "0", "0s", "0.0001", "-1", "+1", "1e3", "inf", "nan", "s", "1w", "1 h", "36526d", "1.2.3", ".", "５",
            &endless,
        ] {
            let problem = lifetime(text).expect_err(text);
            assert!(problem.detail().contains("more than 0"), "{text}");
        }
    }
}
