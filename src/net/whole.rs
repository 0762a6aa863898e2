//! Requests that are here as a whole, read without hyper.
//!
//! Only the plainest publishes are: a `POST` or `PUT` of HTTP/1.1 whose content has its length said once and has come along
//! with its head. Whatever differs from that in any way is hyper's, and whether it is a request at all. So what is read here
//! is read by hyper's own parser and to the same result.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use httparse::Status;

use super::content::Content;
use super::head::{RawHead, plain_length};

/// More fields than this are hyper's.
const FIELDS: usize = 32;

/// Whether a connection that begins so may bring such requests.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.starts_with(b"POST ") || bytes.starts_with(b"PUT ")
}

/// The request that these bytes begin with, and how many of them it is. All of it is in one piece of memory.
pub(super) fn request(bytes: &[u8]) -> Option<(Request<Content>, usize)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(Status::Complete(head)) = parsed.parse_with_uninit_headers(bytes, &mut fields) else { return None };
    let method = match parsed.method? {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        _ => return None,
    };
    if parsed.version? != 1 || head > RawHead::KEPT {
        return None;
    }
    let content = plain_length(&bytes[..head]).filter(|_| goes_on(parsed.headers))?;
    let length = head.checked_add(usize::try_from(content).ok()?)?;
    let whole = Bytes::copy_from_slice(bytes.get(..length)?);
    let piece = |of: &[u8]| {
        let from = of.as_ptr().addr() - bytes.as_ptr().addr();
        whole.slice(from..from + of.len())
    };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(piece(field.value)).ok()?);
    }
    let mut request = Request::new(Content::Whole(whole.slice(head..)));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_maybe_shared(piece(parsed.path?.as_bytes())).ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(RawHead::new(whole.slice(..head)));
    Some((request, length))
}

/// Whether a connection goes on behind a request with these fields as HTTP/1.1 has it anyway.
fn goes_on(fields: &[httparse::Header<'_>]) -> bool {
    let mut said = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(header::CONNECTION.as_str()));
    said.all(|field| field.value.eq_ignore_ascii_case(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn a_plain_publish_is_read_whole_and_what_follows_is_left() {
        let first =
            "POST /events/a?type=x HTTP/1.1\r\nHost: h\r\nX-Own: 1\r\nx-own: 2\r\nContent-Length: 5\r\n\r\nhello";
        let (request, length) = request(format!("{first}POST ").as_bytes()).expect("a request");
        assert_eq!(length, first.len());
        assert_eq!((request.method(), request.version()), (&Method::POST, Version::HTTP_11));
        assert_eq!((request.uri().path(), request.uri().query()), ("/events/a", Some("type=x")));
        let own: Vec<_> = request.headers().get_all("x-own").iter().collect();
        assert_eq!(own, ["1", "2"]);
        let head = request.extensions().get::<RawHead>().expect("the raw head");
        assert_eq!(head.as_bytes(), &first.as_bytes()[..first.len() - 5]);
        let content = futures_executor(request.into_body().collect()).expect("content").to_bytes();
        assert_eq!(content, "hello");
    }

    fn futures_executor<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn whatever_differs_is_left_to_hyper() {
        let check = |text: &str, taken: bool| assert_eq!(request(text.as_bytes()).is_some(), taken, "{text:?}");
        let with = |line: &str, fields: &str| format!("{line}\r\nHost: h\r\n{fields}\r\nab");
        check(&with("POST /a HTTP/1.1", "Content-Length: 2\r\n"), true);
        check(&with("PUT /a HTTP/1.1", "content-length:2\r\nConnection: Keep-Alive\r\n"), true);
        check(&with("POST /a HTTP/1.1", "Content-Length: 0\r\n"), true);
        for fields in [
            "",
            "Content-Length: 3\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "Content-Length: 2\r\nUpgrade: websocket\r\n",
            "Content-Length: 2\r\nConnection: close\r\n",
            "Content-Length: 2\r\nConnection: keep-alive, x\r\n",
            "Content-Length : 2\r\n",
            "Content-Length: 2\r\n folded\r\n",
            "Content-Length: 2\r\nX: \u{1}\r\n",
        ] {
            check(&with("POST /a HTTP/1.1", fields), false);
        }
        let long = format!("Content-Length: 2\r\nX: {}\r\n", "x".repeat(RawHead::KEPT));
        check(&with("POST /a HTTP/1.1", &long), false);
        check(&with("POST /a HTTP/1.1", &format!("Content-Length: 2\r\n{}", "X: y\r\n".repeat(FIELDS))), false);
        for line in ["GET /a HTTP/1.1", "POST /a HTTP/1.0", "POST  HTTP/1.1", "post /a HTTP/1.1", "POST /a b HTTP/1.1"]
        {
            check(&with(line, "Content-Length: 2\r\n"), false);
        }
    }
}
