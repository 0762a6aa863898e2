//! What was acknowledged is there, whatever happens to the gateway; and what happens to it is told to those who read.

mod backup;
mod clock;
mod crash;
mod crash_batches;
mod damage;
mod data_directory;
mod drain;
mod faulty_disk;
mod full_disk;
mod restored;
mod slow_reader;
mod sync;

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::told::all_after;
use crate::support::wait_for;

/// The publish key of these gateways.
const KEY: &str = "a-key-for-tests-of-durability";

/// A gateway that everybody may read, with further options.
#[track_caller]
fn gateway(options: &[&str]) -> Gateway {
    Gateway::start_with(&[&["--read", "public"], options].concat(), &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// The status of a publish: a success, or the refusal.
fn publish(gateway: &Gateway, data: &str) -> Result<u16, u16> {
    let status = Request::post("/events/a", data).bearer(KEY).ask(gateway.address()).status;
    if status == 201 { Ok(status) } else { Err(status) }
}

/// The data of every event that is there. Panics if one is said to be missing.
#[track_caller]
fn data(gateway: &Gateway) -> Vec<String> {
    all_after(gateway.address(), None).into_iter().map(|event| event.data).collect()
}

/// Waits until this, and nothing else, is read: what a publisher has its receipt for is shown a moment later.
#[track_caller]
fn holds(gateway: &Gateway, expected: &[impl AsRef<str>]) {
    wait_for("all that was published to be read", || data(gateway).len() >= expected.len());
    assert!(data(gateway).iter().eq(expected.iter().map(AsRef::as_ref)), "{:?}", data(gateway));
}

/// The status of a route of the admin address.
#[track_caller]
fn status(gateway: &Gateway, target: &str) -> u16 {
    Request::get(target).ask(&gateway.admin_url().replace("http://", "")).status
}

/// The value of a series.
#[track_caller]
fn figure(gateway: &Gateway, series: &str) -> usize {
    let metrics = Request::get("/metrics").ask(&gateway.admin_url().replace("http://", "")).text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in {metrics}"))
}

#[track_caller]
fn stop(gateway: &mut Gateway) {
    gateway.terminate();
    assert!(gateway.wait().success());
}

/// A number below `bound`, drawn by the operating system.
fn draw(bound: u32) -> u32 {
    getrandom::u32().expect("the operating system gives random numbers") % bound
}
