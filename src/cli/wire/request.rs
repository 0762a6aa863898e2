//! Requests of HTTP/1.1.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

/// A request of HTTP/1.1, as it goes over the wire.
pub(in crate::cli) fn written(request: &Request<Bytes>) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let host = request.uri().authority().map_or("", |authority| authority.as_str());
    let mut bytes = format!("{} {target} HTTP/1.1\r\n", request.method()).into_bytes();
    if !request.headers().contains_key(http::header::HOST) {
        bytes.extend_from_slice(format!("Host: {host}\r\n").as_bytes());
    }
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(request.body());
    bytes
}

/// `--header 'Name: value'`. No message repeats it: it may be a secret.
pub(in crate::cli) fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let unfit = || "use 'Name: value'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(unfit)?;
    let name: HeaderName = name.trim().parse().map_err(|_| unfit())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| unfit())?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_field_is_refused_without_repeating_it() {
        for wrong in ["s3cret", "a b: s3cret", "a: s3\u{1}cret", ": s3cret"] {
            let words = field(wrong).expect_err("no field");
            assert!(!words.contains("cret"), "{words}");
        }
    }
}
