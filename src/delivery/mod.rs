//! Where readers, formats and sockets meet.

mod peer;

pub use peer::{Gone, Peer};
