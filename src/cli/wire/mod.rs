//! HTTP/1.1 spoken by hand, on connections of our own: for who has to know what went over the wire, and when.
//!
//! Deliberately absent: proxies, cookies, redirects.

pub(super) mod dial;
pub(super) mod framing;
pub(super) mod head;
pub(super) mod request;
pub(super) mod target;
pub(super) mod trouble;
