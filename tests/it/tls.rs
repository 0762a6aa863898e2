//! TLS on the public listener: clients that others wrote, certificates that are wrong or change, and handshakes that come to
//! nothing. All else that goes over the wire is tested over TLS too: `tests/run` has a second round with `TESTS_OVER_TLS`.

mod clients;
mod commands;
mod handshakes;
mod pairs;
mod reload;

use crate::support::gateway::Gateway;
use crate::support::http::Request;

/// The key of the gateways in these tests.
const KEY: &str = "a-key-for-tests-only-0123456789";

/// How many handshakes came to nothing, as the metrics say.
fn failures(gateway: &Gateway) -> u64 {
    let text = Request::get("/metrics").ask(gateway.admin_url().trim_start_matches("http://")).text();
    let value = text.lines().find_map(|line| line.strip_prefix("encke_tls_handshake_failures_total "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("it is not in\n{text}"))
}
