//! Whose address a request comes from, as far as those say who may be believed.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::{Network, is_private};

/// How many of those that are named in a request are looked at.
const MOST: usize = 32;

/// The address of the client, if it is known and not one's own.
///
/// A peer that is trusted is a proxy: who it speaks for is what it has added to `X-Forwarded-For` last. If that is a proxy of
/// a network that is trusted by its addresses, it is what stands before that, and so on; what stands before the first that is
/// not trusted anybody may have written. `private` is believed of the peer alone: a client may well be in a private network.
pub(super) fn client(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let peer = peer.map(|peer| peer.ip());
    let is_proxy = match peer {
        Some(peer) => trusted.iter().any(|network| network.has(peer)),
        None => trusted.contains(&Network::Private), // A Unix socket.
    };
    let client = if is_proxy { named(headers, trusted)? } else { peer? };
    (!is_private(client)).then_some(client)
}

/// The last that is named and is no proxy.
fn named(headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let is_proxy = |address| trusted.iter().any(|network| matches!(network, Network::Of(_)) && network.has(address));
    let fields = headers.get_all("x-forwarded-for").iter().rev();
    let entries = fields.flat_map(|field| field.to_str().unwrap_or_default().rsplit(','));
    let mut addresses = entries.take(MOST).map(|entry| address(entry.trim()));
    addresses.find(|address| !address.is_some_and(is_proxy)).flatten()
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(trusted: &str, peer: &str, forwarded: &[&'static str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", axum::http::HeaderValue::from_static(value));
        }
        let trusted: Vec<Network> = trusted.split(',').map(|network| network.parse().expect("a network")).collect();
        let peer = (peer != "unix").then(|| peer.parse().expect("an address"));
        let client = client(peer, &headers, &trusted);
        assert_eq!(client, expected.map(|address| address.parse().expect("an address")), "{peer:?} {forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_added() {
        let check = |peer, forwarded, expected| check("private", peer, forwarded, expected);
        check("203.0.113.7:80", &[], Some("203.0.113.7"));
        check("203.0.113.7:80", &["198.51.100.1"], Some("203.0.113.7"));
        check("127.0.0.1:80", &["198.51.100.1"], Some("198.51.100.1"));
        check("[::ffff:10.0.0.1]:80", &["192.0.2.9, 198.51.100.1"], Some("198.51.100.1"));
        check("10.0.0.1:80", &["192.0.2.9", "198.51.100.1:4711"], Some("198.51.100.1"));
        check("127.0.0.1:80", &["2001:db8::1"], Some("2001:db8::1"));
        check("unix", &["198.51.100.1"], Some("198.51.100.1"));
    }

    #[test]
    fn who_is_ones_own_or_not_named_is_nobody_in_particular() {
        let check = |peer, forwarded, expected| check("private", peer, forwarded, expected);
        check("127.0.0.1:80", &[], None);
        check("127.0.0.1:80", &["192.168.0.4"], None);
        check("127.0.0.1:80", &["198.51.100.1, 192.168.0.4"], None);
        check("[fd00::1]:80", &["unknown"], None);
        check("127.0.0.1:80", &["198.51.100.1, unknown"], None);
        check("100.64.0.1:80", &[""], None);
        check("unix", &[], None);
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_followed_as_far_as_it_goes() {
        let check =
            |forwarded, expected| check("private,203.0.113.0/24,10.0.0.0/8", "203.0.113.7:80", forwarded, expected);
        check(&["198.51.100.1"], Some("198.51.100.1"));
        check(&["192.0.2.9, 198.51.100.1, 10.0.0.3", "203.0.113.8"], Some("198.51.100.1"));
        check(&["203.0.113.8"], None);
        check(&["198.51.100.1, 192.168.0.1"], None);
    }

    #[test]
    fn nobody_is_believed_where_nobody_is_trusted() {
        check("none", "127.0.0.1:80", &["198.51.100.1"], None);
        check("203.0.113.0/24", "10.0.0.1:80", &["198.51.100.1"], None);
        check("none", "unix", &["198.51.100.1"], None);
        check("none", "192.0.2.1:80", &["198.51.100.1"], Some("192.0.2.1"));
    }

    #[test]
    fn no_more_are_looked_at_than_a_chain_may_have() {
        let long: &'static str = Box::leak(format!("198.51.100.1{}", ", 203.0.113.8".repeat(MOST)).into_boxed_str());
        check("203.0.113.0/24", "203.0.113.7:80", &[long], None);
    }
}
