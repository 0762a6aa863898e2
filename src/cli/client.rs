//! The HTTP client under the commands: one gateway to publish to, one event stream to read.
//!
//! TLS trusts what the system trusts (`rustls-platform-verifier`) or, of a gateway, what `--ca` names (`trust`), by rustls'
//! ring provider. Secrets go into header
//! fields only; no message holds them, nor the user information or the query of a URL.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use serde::Deserialize;

use super::problem::{Failure, MAX_ANSWER, Problem, away, cause, content, failure, failure_with_content, place};
use super::{CliError, Connect, trust};
use crate::event::{Event, EventType, Key};

/// The publisher's key of an event (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Where a stream resumes (WHATWG HTML § 9.2.4).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The trace that a request is part of (W3C Trace Context § 3.2).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const EVENT_STREAM: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first byte sent to the last one received, for one event.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for many events, which a quota may hold up.
const LINES_TIMEOUT: Duration = Duration::from_secs(600);
/// The same for a page of events, for which the gateway may look through its log.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// The most that is read of a page, or of a sum with its errors: well above the one MiB of events that a page holds,
/// whatever is escaped in it.
const MAX_PAGE: usize = 16 << 20;

/// Everything but the unreserved characters of RFC 3986 § 2.3, which mean the same to every reader of a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where events are published.
pub(crate) struct Gateway {
    http: Client,
    events: Url,
    authorization: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

/// What a publisher gets back.
#[derive(Debug, Deserialize)]
pub(crate) struct Receipt {
    /// The event's cursor.
    pub(crate) id: String,
    /// Whether it had been published before, under the same key.
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// What became of many events that were sent together.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sum {
    pub(crate) published: u64,
    /// Those that had been published before, under the same keys.
    pub(crate) duplicates: u64,
    pub(crate) refused: u64,
    /// The cursor of the newest one that was stored.
    pub(crate) last: Option<String>,
    pub(crate) errors: Vec<BadLine>,
    /// The first line of which nothing became, if that is not the end.
    pub(crate) stopped: Option<usize>,
}

/// A line that was refused.
#[derive(Debug, Deserialize)]
pub(crate) struct BadLine {
    /// Its number in the request, from 1.
    pub(crate) line: usize,
    /// Why.
    pub(crate) title: String,
}

/// Not every line was looked at.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) failure: Failure,
    /// What became of the lines before, if the gateway said so.
    pub(crate) sum: Option<Sum>,
    /// The gateway may have stored some of them without saying so.
    pub(crate) begun: bool,
}

impl Sum {
    /// Counts what came of further lines.
    pub(crate) fn add(&mut self, more: Self) {
        self.published += more.published;
        self.duplicates += more.duplicates;
        self.refused += more.refused.max(more.errors.len() as u64);
        self.last = more.last.or(self.last.take());
    }
}

/// An event stream's address.
pub(crate) struct Source {
    http: Client,
    url: Url,
    authorization: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl Gateway {
    /// The gateway that the options name.
    ///
    /// # Errors
    /// Says what is wrong with the URL or the key.
    pub(crate) fn new(connect: &Connect) -> Result<Self, CliError> {
        let (mut events, user) = address(&connect.url.0)?;
        if events.path().split('/').any(|segment| segment == "events") {
            let words = "name the gateway without /events and what follows it: a topic is named for itself";
            return Err(CliError::Usage(words.into()));
        }
        let path = format!("{}/events", events.path().trim_end_matches('/'));
        events.set_path(&path);
        // A redirected POST would become a GET (RFC 9110 § 15.4.3): say where the gateway is instead.
        let http = client(&events, redirect::Policy::none(), connect.credentials.ca.as_deref())?;
        let authorization = connect.credentials.key()?.map(|key| bearer(&key)).transpose()?.or(user);
        // What no header can hold is no trace, and a trace is no reason to fail.
        let traceparent = connect.traceparent.as_ref().and_then(|value| HeaderValue::from_str(value).ok());
        Ok(Self { http, events, authorization, traceparent })
    }

    /// Publishes one event and waits until the gateway has stored it.
    pub(crate) async fn publish(&self, event: &Event) -> Result<Receipt, Failure> {
        let mut request = self.http.post(self.publish_url(event)).timeout(PUBLISH_TIMEOUT).body(event.data.clone());
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(value) = &self.traceparent {
            request = request.header(TRACEPARENT, value);
        }
        if let Some(media) = &event.content_type {
            request = request.header(CONTENT_TYPE, media.as_str());
        }
        if let Some(key) = event.key.as_ref().filter(|key| fits_header(key)) {
            request = request.header(IDEMPOTENCY_KEY, key.as_str());
        }
        let mut response = request.send().await.map_err(away)?;
        if !response.status().is_success() {
            return Err(failure(response).await);
        }
        let content = content(&mut response, MAX_ANSWER).await.map_err(away)?;
        serde_json::from_slice(&content).map_err(|_| {
            Failure::Away(format!("{} answered {} without a receipt", place(&self.events), response.status()))
        })
    }

    /// Publishes events, a line of JSON each, and waits until the gateway has stored them.
    pub(crate) async fn publish_lines(&self, lines: Bytes) -> Result<Sum, Unfinished> {
        let mut request = self.http.post(self.events.clone()).timeout(LINES_TIMEOUT).body(lines);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let sent = request.header(CONTENT_TYPE, NDJSON).send().await;
        let unsure = |error| Unfinished { failure: away(error), sum: None, begun: true };
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Err(Unfinished { begun: !error.is_connect(), ..unsure(error) }),
        };
        if response.status().is_success() {
            let content = content(&mut response, MAX_PAGE).await.map_err(unsure)?;
            return serde_json::from_slice(&content).map_err(|_| {
                let why = format!("{} answered {} without a sum", place(&self.events), response.status());
                Unfinished { failure: Failure::Away(why), sum: None, begun: true }
            });
        }
        // These two say that nothing was begun (RFC 6585 § 4, RFC 9110 § 15.6.4), unless the document says more.
        let begun = !matches!(response.status().as_u16(), 429 | 503);
        let (failure, content) = failure_with_content(response, MAX_PAGE).await;
        let sum = serde_json::from_slice(&content).ok().filter(|sum: &Sum| sum.stopped.is_some());
        Err(Unfinished { failure, sum, begun })
    }

    /// The stream of `topics`, told as JSON, with `start` as further parameters.
    pub(crate) fn subscription<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a str>,
        start: &[(&'a str, &'a str)],
    ) -> Source {
        let fixed = [("transport", "sse"), ("envelope", "json")];
        let topics = topics.into_iter().map(|topic| ("topic", topic));
        let url = with_query(&self.events, topics.chain(fixed).chain(start.iter().copied()));
        Source {
            http: self.http.clone(),
            url,
            authorization: self.authorization.clone(),
            traceparent: self.traceparent.clone(),
        }
    }

    /// What there is on `topics` after `last_event_id` (empty: where `start` says), up to a page; as JSON.
    pub(crate) async fn poll<'a>(
        &self,
        topics: impl Iterator<Item = &'a str>,
        start: &[(&'a str, &'a str)],
        last_event_id: &str,
    ) -> Result<Vec<u8>, Failure> {
        let fixed = [("transport", "long-poll"), ("timeout", "0")];
        let topics = topics.map(|topic| ("topic", topic));
        let url = with_query(&self.events, topics.chain(fixed).chain(start.iter().copied()));
        let mut request = self.http.get(url).timeout(POLL_TIMEOUT).header(CACHE_CONTROL, "no-store");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(value) = &self.traceparent {
            request = request.header(TRACEPARENT, value);
        }
        let mut response = resuming(request, last_event_id).send().await.map_err(away)?;
        if !response.status().is_success() {
            return Err(failure(response).await);
        }
        content(&mut response, MAX_PAGE).await.map_err(away)
    }

    fn publish_url(&self, event: &Event) -> Url {
        let topics = event.topics.iter().map(|topic| ("topic", topic.as_str()));
        let kind = event.kind.as_ref().map(|kind| ("type", EventType::as_str(kind)));
        let key = event.key.as_ref().filter(|key| !fits_header(key)).map(|key| ("key", key.as_str()));
        let ttl = event.ttl.map(|ttl| ttl.as_secs_f64().to_string());
        let ttl = ttl.as_deref().map(|ttl| ("ttl", ttl));
        let conflate = event.conflate.as_ref().map(|key| ("conflate", key.as_str()));
        let private = event.private.then_some(("private", "1"));
        with_query(&self.events, topics.chain(kind).chain(key).chain(ttl).chain(conflate).chain(private))
    }
}

impl Source {
    /// The stream at `url`, which may be any server's.
    ///
    /// # Errors
    /// Says what is wrong with the URL.
    pub(crate) fn new(url: &str) -> Result<Self, CliError> {
        let (url, authorization) = address(url)?;
        Ok(Self { http: client(&url, redirect::Policy::default(), None)?, url, authorization, traceparent: None })
    }

    /// Opens the stream after `last_event_id` (empty: where the server likes to begin). `None`: the server says that
    /// there is nothing to come any more (204).
    pub(crate) async fn open(&self, last_event_id: &str) -> Result<Option<Response>, Failure> {
        let mut request =
            self.http.get(self.url.clone()).header(ACCEPT, EVENT_STREAM).header(CACHE_CONTROL, "no-store");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(value) = &self.traceparent {
            request = request.header(TRACEPARENT, value);
        }
        let response = resuming(request, last_event_id).send().await.map_err(away)?;
        match response.status().as_u16() {
            200 if is_event_stream(&response) => Ok(Some(response)),
            200 => {
                let title = "not an event stream".to_owned();
                Err(Failure::Refused(Problem { status: 200, title, detail: place(&self.url) }))
            }
            204 => Ok(None),
            _ => Err(failure(response).await),
        }
    }

    /// The whole address, to tell this stream from others. It may hold secrets: not for messages.
    pub(crate) fn identity(&self) -> &str {
        self.url.as_str()
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(&self.events))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(&self.url))
    }
}

/// Reads a URL and takes the user information out of it. No message repeats the text: it may hold a password.
pub(crate) fn address(text: &str) -> Result<(Url, Option<HeaderValue>), CliError> {
    let unfit = || CliError::Usage("a URL here is http://HOST[:PORT][/PATH] or https://…".into());
    let mut url = Url::parse(text).map_err(|_| unfit())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unfit());
    }
    let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    url.set_fragment(None);
    url.set_password(None).and_then(|()| url.set_username("")).map_err(|()| unfit())?;
    if user.is_empty() && password.is_empty() {
        return Ok((url, None));
    }
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    Ok((url, Some(secret_value(&format!("Basic {credentials}"))?)))
}

/// The request for what comes after an event.
fn resuming(request: RequestBuilder, last_event_id: &str) -> RequestBuilder {
    // UTF-8 as it stands, like browsers (WHATWG HTML § 9.2.3); what no header can hold is no id to resume by.
    match HeaderValue::from_bytes(last_event_id.as_bytes()) {
        Ok(value) if !last_event_id.is_empty() => request.header(LAST_EVENT_ID, value),
        _ => request,
    }
}

/// What says that whoever asks holds a key.
pub(crate) fn bearer(key: &str) -> Result<HeaderValue, CliError> {
    secret_value(&format!("Bearer {key}"))
}

fn secret_value(text: &str) -> Result<HeaderValue, CliError> {
    let unfit = |_| CliError::Usage("the publish key holds characters that no header field can carry".into());
    let mut value = HeaderValue::from_str(text).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(url: &Url, redirects: redirect::Policy, ca: Option<&Path>) -> Result<Client, CliError> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that this process has one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut builder = Client::builder()
        .user_agent(super::AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_keepalive_interval(Duration::from_secs(10))
        .tcp_keepalive_retries(3)
        .redirect(redirects);
    if is_loopback(url) {
        builder = builder.no_proxy(); // A proxy would look for this host on its own machine.
    }
    if let Some(ca) = ca {
        builder = builder.tls_backend_preconfigured(trust::config(ca)?);
    } else if url.scheme() == "http" && is_loopback(url) {
        builder = builder.tls_certs_only([]); // A machine without root certificates reaches its own gateway, too.
    }
    builder.build().map_err(|error| CliError::Failed(format!("cannot prepare the HTTP client: {}", cause(error))))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

pub(crate) fn with_query<'a>(url: &Url, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Url {
    let pairs = parameters.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)));
    let query = pairs.collect::<Vec<_>>().join("&");
    let mut url = url.clone();
    url.set_query(Some(&query));
    url
}

/// Whether the key arrives in a header field just as it is; any other goes into the query.
fn fits_header(key: &Key) -> bool {
    key.as_str().bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_event_stream(response: &Response) -> bool {
    let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENT_STREAM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContentType, Topic};

    fn gateway(url: &str) -> Gateway {
        Gateway::new(&Connect::to(url)).expect("a URL")
    }

    #[test]
    fn topics_types_and_odd_keys_are_encoded_in_the_query() {
        let mut event = Event::new(Topic::parse("a b/ü&c=d+e").expect("a topic"), "x");
        event.topics.push(Topic::parse("https://example.com/1?q").expect("a topic"));
        event.kind = EventType::parse("paid now").expect("a type");
        event.key = Some(Key::parse("plain-key").expect("a key"));
        event.content_type = ContentType::parse("text/html").ok();
        let gateway = gateway("http://127.0.0.1:9/base/");
        let url = "http://127.0.0.1:9/base/events?topic=a%20b%2F%C3%BC%26c%3Dd%2Be\
                   &topic=https%3A%2F%2Fexample.com%2F1%3Fq&type=paid%20now";
        assert_eq!(gateway.publish_url(&event).as_str(), url);
        event.ttl = Some(Duration::from_millis(1500));
        event.conflate = Some(Key::parse("c d").expect("a key"));
        event.private = true;
        event.key = Some(Key::parse(" ü").expect("a key"));
        assert_eq!(
            gateway.publish_url(&event).as_str(),
            format!("{url}&key=%20%C3%BC&ttl=1.5&conflate=c%20d&private=1")
        );
    }

    #[tokio::test]
    async fn a_client_for_https_is_built_and_fails_with_words_where_no_tls_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let source = Source::new(&format!("https://{}/", listener.local_addr().expect("an address"))).expect("a URL");
        let (opened, accepted) = tokio::join!(source.open(""), async {
            let (socket, _) = listener.accept().await?;
            drop(socket);
            std::io::Result::Ok(())
        });
        accepted.expect("a connection");
        assert!(matches!(opened, Err(Failure::Away(_))), "{opened:?}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_told_as_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let source = Source::new(&format!("https://{}/", listener.local_addr().expect("an address"))).expect("a URL");
        let (opened, answered) = tokio::join!(source.open(""), async {
            let (mut socket, _) = listener.accept().await?;
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await
        });
        answered.expect("a connection");
        assert!(matches!(&opened, Err(Failure::Away(words)) if words.contains("does not speak TLS")), "{opened:?}");
    }

    #[test]
    fn the_place_of_events_is_no_gateway() {
        for url in ["http://h/events", "http://h/events/", "http://h/live/events/orders", "http://h/events?topic=a"] {
            let refused = Gateway::new(&Connect::to(url)).err();
            assert!(matches!(&refused, Some(CliError::Usage(words)) if words.contains("without /events")), "{url}");
        }
        assert_eq!(gateway("http://h/live/").to_string(), "http://h/live/events");
    }

    #[test]
    fn secrets_are_in_no_message() {
        let gateway = gateway("http://user:s3cret@127.0.0.1:9/");
        assert_eq!(gateway.authorization.as_ref().map(HeaderValue::as_bytes), Some(&b"Basic dXNlcjpzM2NyZXQ="[..]));
        assert_eq!(gateway.to_string(), "http://127.0.0.1:9/events");
        let source = Source::new("https://u:s3cret@example.com/x?token=s3cret").expect("a URL");
        assert_eq!(source.to_string(), "https://example.com/x");
        for wrong in ["ftp://u:s3cret@h/", "s3cret", "http://u:s3cret@", "http://u:s3cret@h:99999/"] {
            let message = Source::new(wrong).err().expect("no URL").to_string();
            assert!(!message.contains("s3cret"), "{message}");
        }
        let mut connect = Connect::to("http://127.0.0.1:9");
        connect.credentials.publish_key = "s3\u{1}cret".parse().ok();
        let message = Gateway::new(&connect).err().expect("no key").to_string();
        assert!(!message.contains("cret"), "{message}");
        assert!(!format!("{connect:?}").contains("cret"));
    }
}
