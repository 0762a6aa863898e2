//! Who may see what is for operators: whoever is on this machine, and beyond it who holds an admin key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::guard;
use super::problem::Problem;
use crate::access::{NoOperator, Operators};
use crate::delivery::Peer;

/// Lets operators through to the routes behind it.
pub(super) async fn only(
    State(operators): State<Arc<Operators>>,
    request: Request<Body>,
    next: Next,
) -> Result<Response, Problem> {
    if !is_here(request.extensions(), request.headers()) {
        let admitted = operators.admit(guard::credential(request.headers()));
        admitted.map_err(|reason| refused(reason, request.uri().path()))?;
    }
    Ok(next.run(request).await)
}

/// Whether a request comes from this machine: by the loopback or by a Unix socket, which has no address. Through a proxy
/// that says so it comes from elsewhere; of one that says nothing it cannot be told.
fn is_here(extensions: &Extensions, headers: &HeaderMap) -> bool {
    let is_near = |peer: &Arc<Peer>| peer.address().is_none_or(|address| address.ip().to_canonical().is_loopback());
    extensions.get().is_some_and(is_near) && !headers.keys().any(|name| is_of_proxies(name.as_str()))
}

/// A field that proxies add to the requests that they pass on.
fn is_of_proxies(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == header::FORWARDED || name == header::VIA || name == "x-real-ip"
}

fn refused(reason: NoOperator, path: &str) -> Problem {
    let (status, detail) = match reason {
        NoOperator::NoKeys => (
            StatusCode::UNAUTHORIZED,
            format!(
                "{path} from another machine or through a proxy needs an admin key, and none is configured: put a random \
                 text into a file and name it with --admin-key-file, or ask on the gateway's machine"
            ),
        ),
        NoOperator::NeedsKey => (
            StatusCode::UNAUTHORIZED,
            format!(
                "{path} from another machine or through a proxy needs the admin key: send it as `Authorization: Bearer KEY`"
            ),
        ),
        NoOperator::WrongKey => (
            StatusCode::FORBIDDEN,
            format!(
                "{path} from another machine or through a proxy needs the admin key, and another one was sent; a publish \
                 key does not open it"
            ),
        ),
    };
    Problem::new(status, detail)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// Whether a request with these fields is here; `-` is a connection that is not known, `unix` one without an address.
    #[track_caller]
    fn check(what: &str, peer: &str, fields: &[(&'static str, &'static str)], expected: bool) {
        let mut extensions = Extensions::new();
        if peer != "-" {
            let address = (peer != "unix").then(|| peer.parse().expect("an address"));
            extensions.insert(Arc::new(Peer::new(address)));
        }
        let fields =
            fields.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(is_here(&extensions, &fields.collect()), expected, "{what}: {peer}");
    }

    #[test]
    fn only_this_machine_is_here() {
        for peer in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix"] {
            check("this machine", peer, &[("authorization", "Basic dTpw"), ("host", "localhost")], true);
        }
        for peer in ["192.168.0.1:1", "[fe80::1]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "203.0.113.7:1", "-"] {
            check("another machine", peer, &[], false);
        }
    }

    #[test]
    fn what_comes_through_a_proxy_is_not_here_whatever_it_names() {
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", ""),
            ("x-forwarded-host", "localhost"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("via", "1.1 cache"),
        ] {
            for peer in ["127.0.0.1:1", "[::1]:1", "unix"] {
                check(name, peer, &[(name, value)], false);
            }
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (reason, status, words) in [
            (
                NoOperator::NoKeys,
                401,
                "none is configured: put a random text into a file and name it with --admin-key-file",
            ),
            (NoOperator::NeedsKey, 401, "needs the admin key: send it as `Authorization: Bearer KEY`"),
            (NoOperator::WrongKey, 403, "a publish key does not open it"),
        ] {
            let problem = refused(reason, "/streams");
            assert_eq!(problem.status().as_u16(), status);
            assert!(
                problem.detail().starts_with("/streams ") && problem.detail().contains(words),
                "{}",
                problem.detail()
            );
        }
    }
}
