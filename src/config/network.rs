//! Whom a gateway believes when they say for whom they speak: networks, as an operator names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Where proxies are that say the truth about their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// This machine and private networks.
    Private,
    /// Nowhere.
    None,
    /// These addresses.
    Of(IpNet),
}

impl Network {
    /// Whether an address is one of these.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Private => is_private(address),
            Self::None => false,
            Self::Of(net) => net.contains(&address),
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "private" => Ok(Self::Private),
            "none" => Ok(Self::None),
            _ => {
                let net =
                    text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical())));
                let wrong = "use an address or a network like 203.0.113.0/24 or 2001:db8::/32, `private` or `none`";
                net.map(Self::Of).map_err(|_| wrong.into())
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::None => f.write_str("none"),
            Self::Of(net) => write!(f, "{net}"),
        }
    }
}

/// Whether an address is of this machine or of a private network (RFC 1918, 4193, 6598, link-local).
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
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
    fn check(network: &str, has: &[&str], lacks: &[&str]) {
        let network: Network = network.parse().expect("a network");
        for address in has {
            assert!(network.has(address.parse().expect("an address")), "{network} has {address}");
        }
        for address in lacks {
            assert!(!network.has(address.parse().expect("an address")), "{network} lacks {address}");
        }
    }

    #[test]
    fn a_network_is_addresses_or_a_word() {
        check(
            "private",
            &["127.0.0.1", "10.1.2.3", "::ffff:192.168.0.1", "100.64.0.1", "fd00::1", "::1"],
            &["203.0.113.7"],
        );
        check("none", &[], &["127.0.0.1", "203.0.113.7"]);
        check("203.0.113.0/24", &["203.0.113.7", "::ffff:203.0.113.7"], &["203.0.114.7", "127.0.0.1"]);
        check("203.0.113.7", &["203.0.113.7"], &["203.0.113.8"]);
        check("2001:db8::/32", &["2001:db8::1"], &["2001:db9::1"]);
        for wrong in ["", "private networks", "203.0.113.0/33", "proxy.example", "203.0.113.7:80"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
