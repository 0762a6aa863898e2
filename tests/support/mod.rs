//! What tests use to run real things: the gateway as a process, browsers, and pages that report back.
//!
//! All of it ends with the value that holds it, also when a test fails in between.
#![allow(dead_code, reason = "each test program uses its part of this")]

pub(crate) mod browser;
pub(crate) mod confusion;
pub(crate) mod gateway;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod http1;
mod long;
pub(crate) mod nginx;
pub(crate) mod page_server;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod readers;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod told;
pub(crate) mod varnish;
pub(crate) mod whatwg;

pub(crate) use long::long;

use std::time::Duration;

use tokio::time::Instant;

/// How long a test waits for what should happen soon. Generous: machines that run tests are small and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, for what gives no signal of its own; panics with `what` after [`PATIENCE`].
///
/// Where there is something to wait on (a line of output, the end of a process, a report of a page), wait on that.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
