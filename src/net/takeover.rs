//! How a stream leaves hyper for the socket carrier, before its head is written.
//!
//! A response with a stream brings the stream along ([`Handoff`]). On a plain HTTP/1 connection it is taken out here, and
//! hyper is never told of the answer: it has read a request, waits for the service, and is then taken apart. Whatever it
//! had written before is with the socket by then, as a request is given to it only when the last answer has left it
//! (`observe`). So nothing is lost in its buffers, and no two ever write to one socket.
//!
//! Taken over is the answer to a `GET` without content, which says 200 and nothing of how its content is coded or how long
//! it is: a layer that had changed the content would have said so. Any other goes on in hyper, which is always right.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

use super::answer;
use crate::delivery::{Framing, Handoff, Unbegun};

/// The takeover of one HTTP/1 connection.
#[derive(Default)]
pub(super) struct Takeover(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether the connection is a bare socket, and there are shards.
    possible: bool,
    /// The version of the request that is being answered, if its answer may leave.
    version: Option<Version>,
    taken: Option<Taken>,
}

/// An answer that has left.
pub(super) struct Taken {
    pub(super) head: Vec<u8>,
    pub(super) framing: Framing,
    pub(super) stream: Box<Unbegun>,
}

impl Takeover {
    /// Streams of this connection may leave.
    pub(super) fn allow(&self) {
        self.state().possible = true;
    }

    /// Notes a request, before it is answered.
    pub(super) fn consider<B: Body>(&self, request: &Request<B>) {
        let mut state = self.state();
        let leaves = state.possible && request.method() == Method::GET && request.body().is_end_stream();
        state.version = Some(request.version()).filter(|version| leaves && *version <= Version::HTTP_11);
    }

    /// Takes the stream out of an answer, if it may leave. Then nobody else may answer.
    pub(super) fn take_from<B>(&self, answer: &mut Response<B>) -> bool {
        let Some(handoff) = answer.extensions_mut().remove::<Handoff>() else { return false };
        let mut state = self.state();
        let Some(version) = state.version.filter(|_| is_plain(answer)) else { return false };
        let Some(stream) = handoff.take() else { return false };
        let framing = if version == Version::HTTP_11 { Framing::Chunked } else { Framing::UntilClose };
        let head = head(version, answer.headers(), framing, SystemTime::now());
        state.taken = Some(Taken { head, framing, stream });
        true
    }

    /// Whether an answer has left.
    pub(super) fn is_taken(&self) -> bool {
        self.state().taken.is_some()
    }

    /// The answer that has left.
    pub(super) fn taken(&self) -> Option<Taken> {
        self.state().taken.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Takeover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Takeover").field("taken", &self.is_taken()).finish_non_exhaustive()
    }
}

/// Whether the content goes out as it is.
fn is_plain<B>(answer: &Response<B>) -> bool {
    let coded = [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::TRAILER];
    answer.status() == StatusCode::OK && !coded.iter().any(|name| answer.headers().contains_key(name))
}

/// The head of a response that ends with its connection (RFC 9112 § 9.6).
fn head(version: Version, fields: &HeaderMap, framing: Framing, now: SystemTime) -> Vec<u8> {
    let mut head = Vec::with_capacity(768);
    answer::begin(&mut head, version, StatusCode::OK, fields);
    if framing == Framing::Chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    head.extend_from_slice(b"connection: close\r\n");
    answer::end(&mut head, now);
    head
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use http_body_util::{Empty, Full};

    use super::*;

    fn request(method: Method, version: Version) -> Request<Empty<bytes::Bytes>> {
        Request::builder().method(method).version(version).body(Empty::new()).expect("a request")
    }

    #[test]
    fn a_head_has_every_field_and_says_how_its_content_ends() {
        let mut fields = HeaderMap::new();
        fields.insert("content-type", HeaderValue::from_static("text/event-stream"));
        fields.append("vary", HeaderValue::from_static("Accept"));
        fields.append("vary", HeaderValue::from_static("Origin"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let text = |version, framing| String::from_utf8(head(version, &fields, framing, now)).expect("text");
        let rest = "content-type: text/event-stream\r\nvary: Accept\r\nvary: Origin\r\n";
        let end = "connection: close\r\ndate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n";
        assert_eq!(
            text(Version::HTTP_11, Framing::Chunked),
            format!("HTTP/1.1 200 OK\r\n{rest}transfer-encoding: chunked\r\n{end}")
        );
        assert_eq!(text(Version::HTTP_10, Framing::UntilClose), format!("HTTP/1.0 200 OK\r\n{rest}{end}"));
    }

    #[test]
    fn only_a_get_without_content_may_leave() {
        let takeover = Takeover::default();
        let check = |expected: bool| assert_eq!(takeover.state().version.is_some(), expected);
        takeover.consider(&request(Method::GET, Version::HTTP_11));
        check(false); // Nobody has allowed it.
        takeover.allow();
        takeover.consider(&request(Method::GET, Version::HTTP_11));
        check(true);
        takeover.consider(&request(Method::HEAD, Version::HTTP_11));
        check(false);
        takeover.consider(&request(Method::GET, Version::HTTP_10));
        check(true);
        takeover.consider(&Request::new(Full::new(bytes::Bytes::from("x"))));
        check(false);
    }

    #[test]
    fn only_content_that_goes_out_as_it_is_may_leave() {
        assert!(is_plain(&Response::new(())));
        for name in ["content-length", "content-encoding", "transfer-encoding", "trailer"] {
            let mut answer = Response::new(());
            answer.headers_mut().insert(name, HeaderValue::from_static("1"));
            assert!(!is_plain(&answer), "{name}");
        }
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        assert!(!is_plain(&answer));
    }
}
