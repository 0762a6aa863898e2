//! What is asked for: the event stream as its clients ask for it, or, of a gateway, one that is silent or busy on purpose.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Method, Request};
use reqwest::Url;

use crate::cli::wire::target::Target;

/// A parameter of the query, and its value.
pub(super) type Parameter<'a> = (&'a str, String);

impl Target {
    /// The event stream, with these parameters in place of those of the same names.
    pub(super) fn stream(&self, parameters: &[Parameter<'_>]) -> Request<Bytes> {
        self.get(parameters, "text/event-stream")
    }

    /// What there is just now, which a gateway answers at once.
    pub(super) fn at_once(&self) -> Request<Bytes> {
        self.get(&[("transport", "long-poll".into()), ("timeout", "0".into())], "*/*")
    }

    fn get(&self, parameters: &[Parameter<'_>], media_type: &'static str) -> Request<Bytes> {
        let topic = self.topic().map(|topic| ("topic", topic.as_str().to_owned()));
        let all: Vec<_> = topic.into_iter().chain(parameters.iter().cloned()).collect();
        let mut request = self.request(Method::GET, &with(self.url(), &all), Bytes::new());
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static(media_type));
        request
    }
}

/// The URL with these parameters in place of those of the same names. What else its query holds stays as it is spelled.
fn with(url: &Url, parameters: &[Parameter<'_>]) -> Url {
    let mut url = url.clone();
    if parameters.is_empty() {
        return url;
    }
    let is_replaced = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        parameters.iter().any(|(replaced, _)| *replaced == name)
    };
    let kept: Vec<_> = url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()).collect();
    let kept = kept.into_iter().filter(|part| !is_replaced(part)).map(str::to_owned).collect::<Vec<_>>();
    url.set_query(None);
    url.query_pairs_mut().extend_pairs(parameters);
    let added = url.query().unwrap_or_default().replace('+', "%20");
    url.set_query(Some(&kept.into_iter().chain([added]).collect::<Vec<_>>().join("&")));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_take_the_place_of_those_of_their_names_alone() {
        let check = |url: &str, parameters: &[Parameter<'_>], expected: &str| {
            assert_eq!(with(&Url::parse(url).expect("a URL"), parameters).as_str(), expected);
        };
        check("http://h/a?x=%20y+z", &[], "http://h/a?x=%20y+z");
        check("http://h/a", &[("heartbeat", "5".into())], "http://h/a?heartbeat=5");
        check(
            "http://h/a?token=a%2Bb&type=x&type=y&typed=1",
            &[("type", "a b".into())],
            "http://h/a?token=a%2Bb&typed=1&type=a%20b",
        );
    }
}
