//! What an answer says of itself before its content.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};

use super::framing::Framing;
use super::trouble::{Kind, Trouble};

/// The most header fields an answer may have.
const MAX_FIELDS: usize = 128;
/// The longest head that is read.
const MAX_LEN: usize = 64 << 10;

/// As much of a head as a reader needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Head {
    pub(in crate::cli) status: u16,
    /// Without parameters, in lower case.
    pub(in crate::cli) media_type: String,
    pub(in crate::cli) etag: Option<String>,
    /// Where the gateway says that the stream begins, or the next poll.
    pub(in crate::cli) cursor: Option<String>,
    pub(in crate::cli) retry_after: Option<Duration>,
    pub(in crate::cli) location: Option<String>,
}

impl Head {
    /// Takes what is of interest out of the fields.
    pub(in crate::cli) fn new(status: u16, fields: &HeaderMap) -> Self {
        let text = |name: &str| Some(fields.get(name)?.to_str().ok()?.to_owned());
        let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        Self {
            status,
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            etag: text(ETAG.as_str()),
            cursor: text("encke-cursor"),
            retry_after: text(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
            location: text(LOCATION.as_str()),
        }
    }
}

/// A head of HTTP/1.1, with what it says of its connection.
#[derive(Debug)]
pub(in crate::cli) struct Read {
    pub(in crate::cli) head: Head,
    /// All its fields.
    pub(in crate::cli) fields: HeaderMap,
    /// Whether it is of HTTP/1.1, not 1.0.
    pub(in crate::cli) is_1_1: bool,
    pub(in crate::cli) framing: Framing,
    /// Whether the connection serves further requests.
    pub(in crate::cli) is_kept: bool,
    /// How many of the bytes it took.
    pub(in crate::cli) used: usize,
}

/// Reads a head, if it is there whole. Interim answers (RFC 9110 § 15.2) are passed over.
pub(in crate::cli) fn read(bytes: &[u8]) -> Result<Option<Read>, Trouble> {
    let mut from = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&bytes[from..]);
        let parsed = parsed.map_err(|error| Trouble::new(Kind::Malformed, format!("no HTTP/1.1 answer: {error}")))?;
        let httparse::Status::Complete(length) = parsed else {
            let too_long = bytes.len() - from > MAX_LEN;
            let trouble = Trouble::new(Kind::Malformed, "the head of the answer is longer than 64 KiB");
            return if too_long { Err(trouble) } else { Ok(None) };
        };
        from += length;
        let status = response.code.unwrap_or_default();
        if !(100..200).contains(&status) || status == 101 {
            return Ok(Some(understood(status, response.version, response.headers, from)?));
        }
    }
}

fn understood(status: u16, version: Option<u8>, fields: &[httparse::Header<'_>], used: usize) -> Result<Read, Trouble> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        if let (Ok(name), Ok(value)) = (field.name.parse::<http::HeaderName>(), field.value.try_into()) {
            map.append(name, value);
        }
    }
    let says = |name: http::HeaderName, word: &str| {
        let mut values = map.get_all(name).iter().filter_map(|value: &http::HeaderValue| value.to_str().ok());
        values.any(|value| value.split(',').any(|said| said.trim().eq_ignore_ascii_case(word)))
    };
    let length = map.get(CONTENT_LENGTH).map(|value| value.to_str().ok().and_then(|text| text.trim().parse().ok()));
    let framing = if matches!(status, 204 | 304) {
        Framing::Length(0)
    } else if says(TRANSFER_ENCODING, "chunked") {
        Framing::chunked()
    } else {
        match length {
            None => Framing::Close,
            Some(Some(length)) => Framing::Length(length),
            Some(None) => return Err(Trouble::new(Kind::Malformed, "the answer has a Content-Length that is none")),
        }
    };
    let is_kept = if version == Some(1) { !says(CONNECTION, "close") } else { says(CONNECTION, "keep-alive") };
    let is_kept = is_kept && framing != Framing::Close;
    let head = Head::new(status, &map);
    Ok(Read { head, fields: map, is_1_1: version == Some(1), framing, is_kept, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Read {
        read(text.as_bytes()).expect("HTTP").expect("a whole head")
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
                    Transfer-Encoding: chunked\r\nEncke-Cursor: abcdefgh-7\r\nETag: \"x\"\r\n\r\n";
        for cut in 0..text.len() {
            assert!(read(&text.as_bytes()[..cut]).expect("HTTP").is_none(), "cut at {cut}");
        }
        let Read { head, framing, is_kept, used, .. } = whole(&format!("{text}5\r\n"));
        assert_eq!((head.status, head.media_type.as_str()), (200, "text/event-stream"));
        assert_eq!((head.cursor.as_deref(), head.etag.as_deref()), (Some("abcdefgh-7"), Some("\"x\"")));
        assert_eq!((framing, is_kept, used), (Framing::chunked(), true, text.len()));
    }

    #[test]
    fn a_head_says_where_its_content_ends_and_what_becomes_of_the_connection() {
        for (text, framing, kept) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Framing::Length(7), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: Close\r\n\r\n", Framing::Length(7), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", Framing::Length(7), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n", Framing::Length(7), true),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::Close, false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", Framing::Length(0), true),
            ("HTTP/1.1 503 X\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), true),
        ] {
            let read = whole(text);
            assert_eq!((read.framing, read.is_kept), (framing, kept), "{text}");
        }
        let late = whole("HTTP/1.1 503 X\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n").head;
        assert_eq!(late.retry_after, Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for wrong in ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            assert!(read(wrong.as_bytes()).is_err_and(|trouble| trouble.kind == Kind::Malformed), "{wrong}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_LEN));
        assert!(read(endless.as_bytes()).is_err());
    }
}
