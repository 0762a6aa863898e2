//! What is loaded: a URL, and the requests that are sent to it.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use reqwest::Url;

use super::carriage::Transport;
use crate::cli::client::{LAST_EVENT_ID, address, bearer, with_query};
use crate::cli::problem::place;
use crate::cli::{CliError, Credentials};
use crate::event::Topic;

/// A server, and where on it events are read and published.
#[derive(Clone, Debug)]
pub(super) struct Target {
    url: Url,
    topic: Option<Topic>,
    /// Go with every request: what the user gave, and the key where the URL is a gateway's.
    fields: HeaderMap,
}

impl Target {
    /// # Errors
    /// Says what is wrong with the URL, a header field or the key.
    pub(super) fn new(
        url: &str,
        topic: Option<Topic>,
        credentials: &Credentials,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, CliError> {
        let (mut url, user) = address(url)?;
        let mut fields = HeaderMap::new();
        fields.insert(USER_AGENT, HeaderValue::from_static(concat!("encke/", env!("CARGO_PKG_VERSION"))));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(user) = user {
            fields.insert(AUTHORIZATION, user);
        }
        if topic.is_some() {
            if url.path().split('/').any(|segment| segment == "events") || url.query().is_some() {
                let words = "with --topic the URL is the gateway's alone, without /events and what follows it";
                return Err(CliError::Usage(words.into()));
            }
            let path = format!("{}/events", url.path().trim_end_matches('/'));
            url.set_path(&path);
            // Only here: the key is the gateway's, and no other server is told it.
            if let Some(key) = credentials.key()? {
                fields.insert(AUTHORIZATION, bearer(&key)?);
            }
        }
        for (name, value) in headers {
            fields.insert(name, value.clone());
        }
        Ok(Self { url, topic, fields })
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The name or address to connect to; an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(80)
    }

    pub(super) fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// Whether every request says who asks.
    pub(super) fn has_credentials(&self) -> bool {
        self.fields.contains_key(AUTHORIZATION)
    }

    /// The address without what may be secret in it.
    pub(super) fn place(&self) -> String {
        place(&self.url)
    }

    /// Where an answer says that it is instead, without what may be secret in it.
    pub(super) fn elsewhere(&self, location: &str) -> String {
        let there = self.url.join(location).map(|mut url| {
            // Best effort: a URL that has no host has no user information either.
            let _ = url.set_password(None).and_then(|()| url.set_username(""));
            place(&url)
        });
        there.unwrap_or_else(|_| "another address".into())
    }

    /// Asks for the events by a transport, after an event if one is named. A poll goes on from its entity tag instead.
    pub(super) fn subscribe(&self, transport: Transport, last_event_id: &str) -> Request<Bytes> {
        self.ask(transport, last_event_id, None)
    }

    /// The same for the first time: a long poll does not wait for news then, so that it is known to be answered.
    pub(super) fn open(&self, transport: Transport, last_event_id: &str) -> Request<Bytes> {
        self.ask(transport, last_event_id, (transport == Transport::LongPoll).then_some(("timeout", "0")))
    }

    fn ask(&self, transport: Transport, last_event_id: &str, more: Option<(&str, &str)>) -> Request<Bytes> {
        let url = match &self.topic {
            None => self.url.clone(),
            Some(topic) => {
                let parameters = [("topic", topic.as_str()), ("transport", transport.name())];
                with_query(&self.url, parameters.into_iter().chain(more))
            }
        };
        let mut request = self.request(Method::GET, &url, Bytes::new());
        let fields = request.headers_mut();
        fields.entry(ACCEPT).or_insert(HeaderValue::from_static(transport.media_type()));
        let (name, text) = match transport {
            Transport::Poll => (IF_NONE_MATCH, format!("\"{last_event_id}\"")),
            _ => (LAST_EVENT_ID, last_event_id.to_owned()),
        };
        // UTF-8 as it stands; what no field can hold is no id to resume by.
        if let (false, Ok(value)) = (last_event_id.is_empty(), HeaderValue::from_bytes(text.as_bytes())) {
            fields.insert(name, value);
        }
        request
    }

    /// Publishes an event.
    pub(super) fn publish(&self, data: Vec<u8>) -> Request<Bytes> {
        let topics = self.topic.iter().map(|topic| ("topic", topic.as_str()));
        let length = HeaderValue::from(data.len());
        let mut request = self.request(Method::POST, &with_query(&self.url, topics), data.into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        request.headers_mut().insert(CONTENT_LENGTH, length);
        request
    }

    fn request(&self, method: Method, url: &Url, content: Bytes) -> Request<Bytes> {
        let mut request = Request::new(content);
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().expect("what a URL parser gives is a URI");
        *request.headers_mut() = self.fields.clone();
        request
    }
}

/// A request of HTTP/1.1, as it goes over the wire.
pub(super) fn written(request: &Request<Bytes>) -> Vec<u8> {
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
pub(super) fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
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

    fn target(url: &str, topic: Option<&str>, key: Option<&str>, headers: &[&str]) -> Result<Target, CliError> {
        let headers: Vec<_> = headers.iter().map(|text| field(text).expect("a field")).collect();
        let topic = topic.map(|topic| Topic::parse(topic).expect("a topic"));
        Target::new(url, topic, &Credentials::of(key), &headers)
    }

    fn sent(request: &Request<Bytes>) -> String {
        String::from_utf8(written(request)).expect("text")
    }

    #[test]
    fn any_url_is_asked_as_it_stands_and_never_told_the_key() {
        let target = target("http://h:81/a?b=c%20d#e", None, Some("s3cret"), &["X-A: 1"]).expect("a target");
        let asked = sent(&target.subscribe(Transport::Sse, "7"));
        assert!(asked.starts_with("GET /a?b=c%20d HTTP/1.1\r\nHost: h:81\r\n"), "{asked}");
        assert!(asked.contains("accept: text/event-stream\r\n") && asked.contains("last-event-id: 7\r\n"), "{asked}");
        assert!(asked.contains("x-a: 1\r\n") && !asked.contains("s3cret"), "{asked}");
        assert_eq!((target.host(), target.port(), target.place().as_str()), ("h", 81, "http://h:81/a"));
    }

    #[test]
    fn a_gateway_is_asked_for_a_topic_by_a_transport() {
        let target = target("https://[::1]/live/", Some("a b"), Some("s3cret"), &[]).expect("a target");
        let asked = sent(&target.subscribe(Transport::Poll, "abcdefgh-7"));
        assert!(
            asked.starts_with("GET /live/events?topic=a%20b&transport=poll HTTP/1.1\r\nHost: [::1]\r\n"),
            "{asked}"
        );
        assert!(asked.contains("if-none-match: \"abcdefgh-7\"\r\n") && !asked.contains("last-event-id"), "{asked}");
        assert!(asked.contains("authorization: Bearer s3cret\r\n"), "{asked}");
        let published = sent(&target.publish(b"hello".to_vec()));
        assert!(published.starts_with("POST /live/events?topic=a%20b HTTP/1.1\r\n"), "{published}");
        assert!(published.contains("content-length: 5\r\n") && published.ends_with("\r\n\r\nhello"), "{published}");
        assert_eq!((target.host(), target.port(), target.is_https()), ("::1", 443, true));
        assert!(!sent(&target.subscribe(Transport::Sse, "")).contains("last-event-id"));
        assert_eq!(
            target.open(Transport::LongPoll, "x").uri().query(),
            Some("topic=a%20b&transport=long-poll&timeout=0")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_repeating_it() {
        for (url, topic) in [
            ("ftp://u:s3cret@h/", None),
            ("s3cret", None),
            ("http://h/events/s3cret", Some("a")),
            ("http://h/?s3cret", Some("a")),
        ] {
            let words = target(url, topic, None, &[]).expect_err("no target").to_string();
            assert!(!words.contains("s3cret"), "{words}");
        }
        for wrong in ["s3cret", "a b: s3cret", "a: s3\u{1}cret", ": s3cret"] {
            let words = field(wrong).expect_err("no field");
            assert!(!words.contains("cret"), "{words}");
        }
        let target = target("http://u:s3cret@h/", Some("a"), Some("s3cret"), &["Cookie: s3cret"]).expect("a target");
        assert!(!format!("{target:?}").contains("s3cret") && !target.place().contains("s3cret"), "{target:?}");
        assert_eq!(target.elsewhere("//u:s3cret@other/x?s3cret"), "http://other/x");
    }
}
