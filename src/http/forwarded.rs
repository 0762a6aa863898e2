//! Whose address a request comes from, as far as those say who may be believed.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The address of the client, if it is known and not one's own.
///
/// A peer on this machine or in a private network is a proxy of one's own: who it speaks for is what it has added to
/// `X-Forwarded-For` last, and what stands before that anybody may have written. Of a peer from elsewhere nothing is
/// believed.
pub(super) fn client(peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer?.ip();
    if !is_own(peer) {
        return Some(peer);
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let entry = last.rsplit(',').next()?.trim();
    let address = entry.parse::<IpAddr>().or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    (!is_own(address)).then_some(address)
}

/// Whether an address is of this machine or of a private network (RFC 1918, 4193, 6598, link-local).
fn is_own(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&'static str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", axum::http::HeaderValue::from_static(value));
        }
        let client = client(Some(peer.parse().expect("an address")), &headers);
        assert_eq!(client, expected.map(|address| address.parse().expect("an address")), "{peer} {forwarded:?}");
    }

    #[test]
    fn only_a_proxy_of_ones_own_is_believed_and_only_what_it_added() {
        check("203.0.113.7:80", &[], Some("203.0.113.7"));
        check("203.0.113.7:80", &["198.51.100.1"], Some("203.0.113.7"));
        check("127.0.0.1:80", &["198.51.100.1"], Some("198.51.100.1"));
        check("[::ffff:10.0.0.1]:80", &["192.0.2.9, 198.51.100.1"], Some("198.51.100.1"));
        check("10.0.0.1:80", &["192.0.2.9", "198.51.100.1:4711"], Some("198.51.100.1"));
        check("127.0.0.1:80", &["2001:db8::1"], Some("2001:db8::1"));
    }

    #[test]
    fn who_is_ones_own_or_not_named_is_nobody_in_particular() {
        check("127.0.0.1:80", &[], None);
        check("127.0.0.1:80", &["192.168.0.4"], None);
        check("[fd00::1]:80", &["unknown"], None);
        check("100.64.0.1:80", &[""], None);
        assert_eq!(client(None, &HeaderMap::new()), None, "a Unix socket");
    }
}
