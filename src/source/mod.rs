//! Where events come from when nobody publishes them over HTTP. A source appends to the log, as a publisher would.

pub mod demo;
mod picture;
