//! The head of an answer, as it is written without hyper.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, Version};

/// Appends a status line and these fields, without the empty line that ends a head (RFC 9112 § 4 and 5).
pub(super) fn begin(head: &mut Vec<u8>, version: Version, status: StatusCode, fields: &HeaderMap) {
    head.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}

/// Appends the date, and the empty line that ends a head.
pub(super) fn end(head: &mut Vec<u8>, now: SystemTime) {
    thread_local! {
        /// The second whose date was written last, and that date: formatting it costs more than all else of a head.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    LAST.with_borrow_mut(|(last, date)| {
        if *last != second {
            (*last, *date) = (second, httpdate::fmt_http_date(now));
        }
        head.extend_from_slice(b"date: ");
        head.extend_from_slice(date.as_bytes());
    });
    head.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_head_has_every_field_and_the_date_of_its_second() {
        let mut fields = HeaderMap::new();
        fields.insert("content-type", HeaderValue::from_static("text/event-stream"));
        fields.append("vary", HeaderValue::from_static("Accept"));
        fields.append("vary", HeaderValue::from_static("Origin"));
        let text = |version, status, seconds: u64| {
            let mut head = Vec::new();
            begin(&mut head, version, status, &fields);
            end(&mut head, SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 900));
            String::from_utf8(head).expect("text")
        };
        let rest = "content-type: text/event-stream\r\nvary: Accept\r\nvary: Origin\r\ndate: Tue, 14 Nov 2023 22:13:";
        for (second, date) in [(1_700_000_000, "20"), (1_700_000_000, "20"), (1_700_000_001, "21")] {
            assert_eq!(
                text(Version::HTTP_11, StatusCode::CREATED, second),
                format!("HTTP/1.1 201 Created\r\n{rest}{date} GMT\r\n\r\n")
            );
        }
        let unknown = StatusCode::from_u16(299).expect("a status");
        assert_eq!(text(Version::HTTP_10, unknown, 1_700_000_000), format!("HTTP/1.0 299 \r\n{rest}20 GMT\r\n\r\n"));
    }
}
