//! An event's data, as the formats made of text carry it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::event::Event;

/// The data as text, where its content type says text and the bytes really are UTF-8; otherwise they are told as base64.
pub(super) fn text(event: &Event) -> Option<&str> {
    if event.is_text() { std::str::from_utf8(&event.data).ok() } else { None }
}

/// How many characters base64 makes of `len` bytes.
pub(super) const fn base64_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

/// Appends `data` as base64 with padding (RFC 4648 § 4).
pub(super) fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + base64_len(data.len()), 0);
    STANDARD.encode_slice(data, &mut out[start..]).expect("the line above made room for it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sample::event;

    #[test]
    fn text_is_what_says_so_and_is_so() {
        for (data, content_type, expected) in [
            (&b"a"[..], None, Some("a")),
            (b"", None, Some("")),
            (b"\xff", None, None),
            (b"\xff", Some("text/html"), None),
            (b"a", Some("text/html"), Some("a")),
            (b"a", Some("image/png"), None),
        ] {
            assert_eq!(text(&event(data, content_type)), expected, "{data:?} as {content_type:?}");
        }
    }

    #[test]
    fn base64_is_padded_and_as_long_as_announced() {
        for (data, expected) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe", "//4=")]
        {
            let mut out = Vec::new();
            push_base64(&mut out, data);
            assert_eq!(out, expected.as_bytes());
            assert_eq!(out.len(), base64_len(data.len()));
        }
    }
}
