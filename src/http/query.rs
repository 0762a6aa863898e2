//! What a request says in its target: decoded once, strictly.

use std::borrow::Cow;

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::Problem;
use super::want::LAST_EVENT_ID_QUERY;

/// The pairs of a query, in order.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes the query. What is not UTF-8 is refused instead of replaced: a topic must not turn into another one. How
    /// many pairs there are is bounded by the head.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let decoded = pairs(uri.query().unwrap_or_default(), "the query").map(|pair| {
            let (name, value) = pair?;
            // An unreadable cursor is a gap, and never a 4xx that would stop an `EventSource` for good.
            let is_cursor = LAST_EVENT_ID_QUERY.contains(&&*name);
            let value = if is_cursor { decode_lossily(value) } else { decode(value, "the query")?.into_owned() };
            Ok((name.into_owned(), value))
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The values of one name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter().filter(move |(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The first value of any of these names.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.all(name).next())
    }
}

/// The values of the field `name` of a form, which is written as a query is. The values of other fields are the form's own
/// affair, and not looked at: of 4 MiB of `a&a&…` nothing is kept.
pub(crate) fn form_values<'a>(form: &'a str, name: &str) -> impl Iterator<Item = Result<Cow<'a, str>, Problem>> {
    pairs(form, FORM).zip(1..).filter_map(move |(pair, number)| match pair {
        _ if number > FORM_FIELDS => Some(Err(Problem::bad(format!("a form has at most {FORM_FIELDS} fields")))),
        Ok((field, value)) => (field == name).then(|| decode(value, FORM)),
        Err(problem) => Some(Err(problem)),
    })
}

/// How many fields a form may have.
pub(crate) const FORM_FIELDS: usize = 1000;
const FORM: &str = "the form";

/// The pairs of `application/x-www-form-urlencoded` (WHATWG URL § 5.1), in order: the name decoded, and the value as it is
/// written.
fn pairs<'a>(text: &'a str, what: &'static str) -> impl Iterator<Item = Result<(Cow<'a, str>, &'a str), Problem>> {
    text.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name, what)?, value))
    })
}

fn decode<'a>(text: &'a str, what: &str) -> Result<Cow<'a, str>, Problem> {
    if !text.contains(['+', '%']) {
        return Ok(text.into());
    }
    percent_decoded(&text.replace('+', " "), what).map(|decoded| Cow::Owned(decoded.into_owned()))
}

fn decode_lossily(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Refuses a `%` that begins no octet (RFC 3986 § 2.1): some proxies pass it on, some encode it once more and some refuse
/// it, so it would name different topics by different ways.
fn percent_decoded<'a>(text: &'a str, what: &str) -> Result<Cow<'a, str>, Problem> {
    if !text.contains('%') {
        return Ok(text.into());
    }
    let is_octet = |after: &str| after.get(..2).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !text.split('%').skip(1).all(is_octet) {
        return Err(Problem::bad(format!("{what} has a `%` without two hexadecimal digits; write `%` itself as %25")));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map_err(|_| Problem::bad(format!("{what} is not UTF-8 once percent-decoded")))
}

/// The topic in `/events/{topic}`, decoded once.
///
/// Empty, `.` and `..` segments are refused: clients and proxies resolve them in different ways, so a topic that has them
/// (an IRI, say) goes in the query.
pub(crate) fn topic_in_path(uri: &Uri) -> Result<Option<String>, Problem> {
    let Some(encoded) = uri.path().strip_prefix("/events/") else { return Ok(None) };
    let topic = percent_decoded(encoded, "the topic in the path")?;
    if topic.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Problem::bad(
            "a topic in the path has no empty, `.` or `..` segments; name such a topic in the query: /events?topic=…",
        ));
    }
    Ok(Some(topic.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Vec<(String, String)>, u16> {
        let uri: Uri = format!("/events?{text}").parse().expect("a URI");
        Query::of(&uri).map(|query| query.0).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_query_is_decoded_once_and_strictly() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query("a=1&a=2&b"), Ok(vec![pair("a", "1"), pair("a", "2"), pair("b", "")]));
        assert_eq!(query("t=a%2Fb%252F+c&"), Ok(vec![pair("t", "a/b%2F c")]));
        for text in ["t=%FF", "%FF=t", "t=%C0%AF", "t=%", "t=%4", "t=%4é", "t=%zz", "t=100%&u=v"] {
            assert_eq!(query(text), Err(400), "{text}");
        }
        assert_eq!(query("lastEventId=%FF%zz"), Ok(vec![pair("lastEventId", "\u{fffd}%zz")]));
    }

    #[test]
    fn a_form_is_read_no_further_than_it_may_have_fields() {
        let values =
            |form: &str| form_values(form, "data").collect::<Result<Vec<_>, _>>().map(|values| values.concat());
        let rest = "a&".repeat(FORM_FIELDS - 1);
        assert_eq!(values(&format!("{rest}data=x+y")).expect("as many as there may be"), "x y");
        assert_eq!(values(&format!("{rest}data=x&a")).expect_err("one too many").status().as_u16(), 400);
        assert_eq!(values("a=%zz&data=x").expect("the others are not looked at"), "x");
    }

    #[test]
    fn a_path_names_a_topic_only_if_all_clients_read_it_alike() {
        let topic = |path: &str| topic_in_path(&path.parse().expect("a URI")).map_err(|p| p.status().as_u16());
        assert_eq!(topic("/events"), Ok(None));
        assert_eq!(topic("/events/a/b"), Ok(Some("a/b".into())));
        assert_eq!(topic("/events/a%2Fb%2520"), Ok(Some("a/b%20".into())));
        for path in
            ["/events/", "/events//a", "/events/a/", "/events/%2E%2E/a", "/events/a/%2e", "/events/%ff", "/events/%zz"]
        {
            assert_eq!(topic(path), Err(400), "{path}");
        }
    }
}
