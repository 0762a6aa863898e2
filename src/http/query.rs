//! What a request says in its target: decoded once, strictly.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// The pairs of a query, in order.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `application/x-www-form-urlencoded` (WHATWG URL § 5.1), but refuses what is not UTF-8 instead of
    /// replacing it: a topic must not turn into another one.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
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

fn decode(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(String::from).map_err(|_| Problem::bad("the query is not UTF-8 once percent-decoded"))
}

/// The topic in `/events/{topic}`, decoded once.
///
/// Empty, `.` and `..` segments are refused: clients and proxies resolve them in different ways, so a topic that has them
/// (an IRI, say) goes in the query.
pub(crate) fn topic_in_path(uri: &Uri) -> Result<Option<String>, Problem> {
    let Some(encoded) = uri.path().strip_prefix("/events/") else { return Ok(None) };
    let topic = percent_decode_str(encoded).decode_utf8();
    let topic = topic.map_err(|_| Problem::bad("the topic in the path is not UTF-8 once percent-decoded"))?;
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
        assert_eq!(query("t=%FF"), Err(400));
    }

    #[test]
    fn a_path_names_a_topic_only_if_all_clients_read_it_alike() {
        let topic = |path: &str| topic_in_path(&path.parse().expect("a URI")).map_err(|p| p.status().as_u16());
        assert_eq!(topic("/events"), Ok(None));
        assert_eq!(topic("/events/a/b"), Ok(Some("a/b".into())));
        assert_eq!(topic("/events/a%2Fb%2520"), Ok(Some("a/b%20".into())));
        for path in ["/events/", "/events//a", "/events/a/", "/events/%2E%2E/a", "/events/a/%2e", "/events/%ff"] {
            assert_eq!(topic(path), Err(400), "{path}");
        }
    }
}
