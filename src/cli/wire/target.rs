//! What is asked: a URL, and what goes with every request to it.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use reqwest::Url;

use crate::cli::client::{address, bearer, with_query};
use crate::cli::problem::place;
use crate::cli::{CliError, Credentials};
use crate::event::Topic;

/// A server, and where on it events are read and published.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Target {
    url: Url,
    topic: Option<Topic>,
    /// Go with every request: what the user gave, and the key where the URL is a gateway's.
    fields: HeaderMap,
}

impl Target {
    /// `agent`: who asks, unless a header field says otherwise.
    ///
    /// # Errors
    /// Says what is wrong with the URL, a header field or the key.
    pub(in crate::cli) fn new(
        agent: &'static str,
        url: &str,
        topic: Option<Topic>,
        credentials: &Credentials,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, CliError> {
        let (mut url, user) = address(url)?;
        let mut fields = HeaderMap::new();
        fields.insert(USER_AGENT, HeaderValue::from_static(agent));
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

    pub(in crate::cli) fn url(&self) -> &Url {
        &self.url
    }

    pub(in crate::cli) fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// Whether every request says who asks.
    pub(in crate::cli) fn has_credentials(&self) -> bool {
        self.fields.contains_key(AUTHORIZATION)
    }

    /// The address without what may be secret in it.
    pub(in crate::cli) fn place(&self) -> String {
        place(&self.url)
    }

    /// Where an answer says that it is instead, without what may be secret in it.
    pub(in crate::cli) fn elsewhere(&self, location: &str) -> String {
        let there = self.url.join(location).map(|mut url| {
            // Best effort: a URL that has no host has no user information either.
            let _ = url.set_password(None).and_then(|()| url.set_username(""));
            place(&url)
        });
        there.unwrap_or_else(|_| "another address".into())
    }

    /// Publishes an event.
    pub(in crate::cli) fn publish(&self, data: Vec<u8>) -> Request<Bytes> {
        let topics = self.topic.iter().map(|topic| ("topic", topic.as_str()));
        let length = HeaderValue::from(data.len());
        let mut request = self.request(Method::POST, &with_query(&self.url, topics), data.into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        request.headers_mut().insert(CONTENT_LENGTH, length);
        request
    }

    /// A request that says who asks.
    pub(in crate::cli) fn request(&self, method: Method, url: &Url, content: Bytes) -> Request<Bytes> {
        let mut request = Request::new(content);
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().expect("what a URL parser gives is a URI");
        *request.headers_mut() = self.fields.clone();
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::wire::request::field;

    fn target(url: &str, topic: Option<&str>, key: Option<&str>, headers: &[&str]) -> Result<Target, CliError> {
        let headers: Vec<_> = headers.iter().map(|text| field(text).expect("a field")).collect();
        let topic = topic.map(|topic| Topic::parse(topic).expect("a topic"));
        Target::new("test", url, topic, &Credentials::of(key), &headers)
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
        let target = target("http://u:s3cret@h/", Some("a"), Some("s3cret"), &["Cookie: s3cret"]).expect("a target");
        assert!(!format!("{target:?}").contains("s3cret") && !target.place().contains("s3cret"), "{target:?}");
        assert_eq!(target.elsewhere("//u:s3cret@other/x?s3cret"), "http://other/x");
    }
}
