//! Where a listener listens: an address of the network, a socket in the file system, or one that systemd passed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A value of `--listen` and `--admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/encke/encke.sock`, `unix:/run/encke/encke.sock?mode=666`.
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// Who may connect: whoever may write to the file.
        mode: u32,
    },
    /// `systemd`, `systemd:NAME`: sockets that are open already when we start.
    Systemd {
        /// Those of this name (`FileDescriptorName=`). None: all that nobody else takes.
        name: Option<String>,
    },
}

/// The owner and the group may connect.
const SOCKET_MODE: u32 = 0o660;

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        match text.strip_prefix("systemd") {
            Some("") => return Ok(Self::Systemd { name: None }),
            Some(name) if name.starts_with(':') && name.len() > 1 => {
                return Ok(Self::Systemd { name: Some(name[1..].to_owned()) });
            }
            _ => {}
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "an address is an IP address and a port (127.0.0.1:8080, [::1]:8080), unix:PATH or systemd[:NAME]".into()
        })
    }
}

fn unix(text: &str) -> Result<Address, String> {
    let (path, mode) = match text.rsplit_once("?mode=") {
        Some((path, mode)) => {
            let octal = mode.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
            let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| octal && *mode <= 0o777);
            (path, mode.ok_or("the mode of a socket is octal digits, as in unix:PATH?mode=666")?)
        }
        None => (text, SOCKET_MODE),
    };
    if path.is_empty() || path.contains('\0') {
        return Err("name the socket's file, as in unix:/run/encke/encke.sock".into());
    }
    Ok(Address::Unix { path: path.into(), mode })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, mode: SOCKET_MODE } => write!(f, "unix:{}", path.display()),
            Self::Unix { path, mode } => write!(f, "unix:{}?mode={mode:o}", path.display()),
            Self::Systemd { name: None } => f.write_str("systemd"),
            Self::Systemd { name: Some(name) } => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_network_a_file_or_systemds() {
        let check = |text: &str, address: Address| {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        };
        check("127.0.0.1:8080", Address::Tcp("127.0.0.1:8080".parse().unwrap()));
        check("[::]:0", Address::Tcp("[::]:0".parse().unwrap()));
        check("localhost:8080", Address::Tcp("127.0.0.1:8080".parse().unwrap()));
        let unix = |path: &str, mode| Address::Unix { path: path.into(), mode };
        check("unix:/run/encke.sock", unix("/run/encke.sock", 0o660));
        check("unix:encke.sock?mode=0600", unix("encke.sock", 0o600));
        check("unix:/a?b?mode=777", unix("/a?b", 0o777));
        check("systemd", Address::Systemd { name: None });
        check("systemd:admin", Address::Systemd { name: Some("admin".into()) });
    }

    #[test]
    fn anything_else_is_refused_with_words() {
        for text in ["", "8080", "example.com:80", "localhost", "systemd:", "systemdx", "http://127.0.0.1:80", ":80"] {
            assert!(text.parse::<Address>().unwrap_err().contains("unix:PATH"), "{text}");
        }
        for text in ["unix:", "unix:?mode=600", "unix:a\0b"] {
            assert!(text.parse::<Address>().unwrap_err().contains("file"), "{text}");
        }
        for text in ["unix:/a?mode=", "unix:/a?mode=8", "unix:/a?mode=1777", "unix:/a?mode=+60"] {
            assert!(text.parse::<Address>().unwrap_err().contains("octal"), "{text}");
        }
    }
}
