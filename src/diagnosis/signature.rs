//! What a request's head tells of the way it came: the intermediary nearest to us, how many there are, the protocol.
//!
//! In: the first bytes of a raw HTTP/1 head, or the fields of an HTTP/2 request. Out: a `Signature`, plain data from
//! closed sets. A raw head is wanted because parsers forget what tells most: the case and the order of names.
//!
//! **All of it can be forged.** A signature is a fingerprint for statistics and advice; nothing is allowed by it.
//!
//! How products are told, and which of several, is in `reading`.
//!
//! Deliberately absent: addresses, cookies, and every name or value that is not in `products`.

use std::fmt;
use std::num::NonZeroU32;

use super::agent::Agent;
use super::products::Product;
use super::reading::Reading;

/// What a request's head tells of the way it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The intermediary nearest to us that can be told; `Direct` if there is no sign of one.
    pub product: Product,
    /// Intermediaries that left a sign: 0 (only with `Direct`) to 3, which is three or more. The largest of the
    /// entries in `X-Forwarded-For`, those in `Via`, those in `Forwarded`, and the number of different products
    /// (for nginx that sets no fields, one more than is listed).
    pub hops: u8,
    /// What the nearest hop, or the client, speaks with us.
    pub protocol: Protocol,
    /// The client's family.
    pub agent: Agent,
    /// When Envoy will end the response, in milliseconds from its start: `x-envoy-expected-rq-timeout-ms`.
    pub envoy_timeout_ms: Option<u32>,
    /// HTTP/1.x only: no field name has a capital letter.
    pub lower_case_names: bool,
}

/// How the request came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and a first line that cannot be read.
    Http11,
    /// HTTP/2.
    Http2,
}

/// What statistics of ways are kept by. `Display` gives its label: `nginx/h1.0/1`.
///
/// There are at most 300: 25 products × 3 protocols × 4 counts of hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathKey {
    product: Product,
    protocol: Protocol,
    hops: u8,
}

impl Signature {
    /// When Envoy will end the response, in milliseconds, if Envoy is nearest: others hand on what a client has made up. Not
    /// what is too short to be meant for a stream.
    #[must_use]
    pub fn envoy_limit_ms(&self) -> Option<NonZeroU32> {
        let limit = self.envoy_timeout_ms.filter(|limit| self.product == Product::Envoy && *limit >= 2_000)?;
        NonZeroU32::new(limit)
    }

    /// The signature of a raw HTTP/1 head, of which the first 4 KiB are looked at. It may be cut anywhere: a line
    /// without its end is left out. Any bytes are taken.
    ///
    /// Cost: one pass without allocation. About 1 600 instructions for curl's request, 7 000 for a browser's (1.5 µs),
    /// 13 000 for one that Go wrote; at most about 50 µs for 4 KiB made to be slow.
    #[must_use]
    pub fn of_head(raw: &[u8]) -> Self {
        let mut lines = Lines(&raw[..raw.len().min(LONGEST_HEAD)]).skip_while(|line| line.is_empty());
        let protocol = protocol_of(lines.next().unwrap_or_default());
        let fields = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
            let (name, value) = line.split_at(memchr::memchr(b':', line)?);
            // Folded lines (RFC 9112 § 5.2) begin with a blank, so they have no name.
            name.first().is_some_and(u8::is_ascii_graphic).then_some((name, value[1..].trim_ascii()))
        });
        Self::of_fields(protocol, fields)
    }

    /// The signature of a request whose fields are parsed, such as one of HTTP/2, which writes all names small.
    ///
    /// The fields are wanted as they came: without pseudo-fields, and without a `Host` that a library made of
    /// `:authority`.
    #[must_use]
    pub fn of_fields<'a>(protocol: Protocol, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut reading = Reading::new(protocol);
        for (name, value) in fields {
            reading.field(name, value);
        }
        reading.signature()
    }

    /// Whether a browser seems to have sent it itself, over HTTP/1.
    #[must_use]
    pub fn is_direct_browser(&self) -> bool {
        self.hops == 0 && self.protocol != Protocol::Http2 && self.agent.is_browser()
    }

    /// What statistics of this way are kept by.
    #[must_use]
    pub fn path(&self) -> PathKey {
        PathKey { product: self.product, protocol: self.protocol, hops: self.hops.min(MANY) }
    }
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Http10, Self::Http11, Self::Http2];

    /// The word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "h1.0",
            Self::Http11 => "h1.1",
            Self::Http2 => "h2",
        }
    }
}

impl PathKey {
    /// How many keys can be.
    pub const COUNT: usize = Product::ALL.len() * Protocol::ALL.len() * (MANY as usize + 1);

    /// A number of its own below `COUNT`, for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.product as usize * Protocol::ALL.len() + self.protocol as usize) * (MANY as usize + 1)
            + self.hops as usize
    }

    /// The intermediary nearest to us.
    #[must_use]
    pub const fn product(self) -> Product {
        self.product
    }

    /// What it speaks with us.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        self.protocol
    }

    /// Intermediaries that left a sign, 3 is three or more.
    #[must_use]
    pub const fn hops(self) -> u8 {
        self.hops
    }
}

impl fmt::Display for PathKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.product.as_str(), self.protocol.as_str(), self.hops)
    }
}

fn protocol_of(request_line: &[u8]) -> Protocol {
    match () {
        () if request_line.ends_with(b" HTTP/1.0") => Protocol::Http10,
        () if request_line == b"PRI * HTTP/2.0" => Protocol::Http2,
        () => Protocol::Http11,
    }
}

/// The lines that are whole, without their ends. A lone LF ends a line too (RFC 9112 § 2.2).
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// How much of a head is looked at, in bytes.
const LONGEST_HEAD: usize = 4096;
/// Three hops or more.
pub(crate) const MANY: u8 = 3;

#[cfg(test)]
mod tests;
