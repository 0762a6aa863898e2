//! Real clients, cut off and back again. Whatever they are and whichever transport they speak, each must end with every
//! event once and in order: across a stream that is cut, a gateway that is killed, and one that drains.

mod across_origins;
mod browsers;
mod conformance;
pub(crate) mod curl;
mod hidden_tab;
pub(crate) mod libraries;
#[path = "../support/multipart.rs"]
mod multipart;
pub(crate) mod page_client;
mod publish_lines;
pub(crate) mod publisher;
pub(crate) mod reading;
pub(crate) mod same_origin;
mod state;
