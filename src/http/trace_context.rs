//! The caller's trace (W3C Trace Context § 3.2), so that our messages can be found among those of whoever called.

use axum::http::{HeaderMap, HeaderName};

/// Where it is told.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace that a request is part of: 32 hexadecimal digits. A value that cannot be read is as good as none, and so are
/// two of them.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (known, further) = value.split_at_checked(55)?;
    let mut parts = known.split('-');
    let mut hex = |length: usize| {
        let part = parts.next()?;
        let digits = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits && part.len() == length).then_some(part)
    };
    let (version, trace, parent, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    // Later versions may add parts, and ff is none.
    let ends = further.is_empty() || (version != "00" && further.starts_with('-'));
    (ends && version != "ff" && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        trace_id(&headers).map(str::to_owned)
    }

    #[test]
    fn a_valid_traceparent_names_its_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for value in [
            format!("00-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-ff"),
            format!("cc-{id}-00f067aa0ba902b7-01"),
            format!("cc-{id}-00f067aa0ba902b7-01-what-comes"),
        ] {
            assert_eq!(read(&[&value]).as_deref(), Some(id), "{value}");
        }
    }

    #[test]
    fn any_other_is_as_good_as_none() {
        let (id, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = format!("00-{id}-{parent}-01");
        for value in [
            String::new(),
            id.to_owned(),
            format!("ff-{id}-{parent}-01"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{id}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", id.to_uppercase()),
            format!("00-{id}-{parent}-1"),
            format!("00-{id}-{parent}-01-x"),
            format!("cc-{id}-{parent}-01x"),
            format!("00_{id}_{parent}_01"),
            format!("00-{id}é{}", &good[37..]),
            format!(" {good}").replace("4bf", "4b\u{202e}"),
        ] {
            assert_eq!(read(&[&value]), None, "{value}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[&good, &good]), None);
    }
}
