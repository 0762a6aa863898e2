//! How each transport is asked for.

use bytes::Bytes;
use http::header::{ACCEPT, IF_NONE_MATCH};
use http::{HeaderValue, Method, Request};

use super::carriage::Transport;
use crate::cli::client::{LAST_EVENT_ID, with_query};
use crate::cli::wire::target::Target;

impl Target {
    /// Asks for the events by a transport, after an event if one is named. A poll goes on from its entity tag instead.
    pub(super) fn subscribe(&self, transport: Transport, last_event_id: &str) -> Request<Bytes> {
        self.ask(transport, last_event_id, None)
    }

    /// The same for the first time: a long poll does not wait for news then, so that it is known to be answered.
    pub(super) fn open(&self, transport: Transport, last_event_id: &str) -> Request<Bytes> {
        self.ask(transport, last_event_id, (transport == Transport::LongPoll).then_some(("timeout", "0")))
    }

    fn ask(&self, transport: Transport, last_event_id: &str, more: Option<(&str, &str)>) -> Request<Bytes> {
        let url = match self.topic() {
            None => self.url().clone(),
            Some(topic) => {
                let parameters = [("topic", topic.as_str()), ("transport", transport.name())];
                with_query(self.url(), parameters.into_iter().chain(more))
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::wire::request::{field, written};
    use crate::cli::{CliError, Credentials};
    use crate::event::Topic;

    fn target(url: &str, topic: Option<&str>, key: Option<&str>, headers: &[&str]) -> Result<Target, CliError> {
        let headers: Vec<_> = headers.iter().map(|text| field(text).expect("a field")).collect();
        let topic = topic.map(|topic| Topic::parse(topic).expect("a topic"));
        Target::new("test", url, topic, &Credentials::of(key), &headers)
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
        assert_eq!(target.place(), "http://h:81/a");
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
        assert!(!sent(&target.subscribe(Transport::Sse, "")).contains("last-event-id"));
        assert_eq!(
            target.open(Transport::LongPoll, "x").uri().query(),
            Some("topic=a%20b&transport=long-poll&timeout=0")
        );
    }
}
