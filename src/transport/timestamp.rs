//! A time, as JSON tells it.

use std::io::Write;

use time::OffsetDateTime;

use crate::event::Timestamp;

/// How long it is, in bytes.
pub(super) const LEN: usize = "1970-01-01T00:00:00.000Z".len();

/// The last millisecond that four digits of a year can tell.
const LAST: u64 = 253_402_300_799_999;

/// Appends `time` as RFC 3339 in UTC with exactly three digits of a second. What is after the year 9999 is told as its
/// last millisecond, because RFC 3339 § 1 ends there.
pub(super) fn push(out: &mut Vec<u8>, time: Timestamp) {
    let nanoseconds = i128::from(time.0.min(LAST)) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).expect("the line above keeps within year 9999");
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millisecond) = time.to_hms_milli();
    write!(out, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", u8::from(month))
        .expect("a Vec takes every byte");
}

/// The same as text.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let mut out = Vec::with_capacity(LEN);
    push(&mut out, time);
    String::from_utf8(out).expect("a time is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_of_a_second_and_ends_in_z() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_767_225_599_990, "2025-12-31T23:59:59.990Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
            (LAST + 1, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            push(&mut out, Timestamp(milliseconds));
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
            assert_eq!(expected.len(), LEN);
        }
    }
}
