//! An intermediary that is started anew takes all its streams along, and nothing else is blamed for that.

use std::time::Duration;

use super::sheets::Species;
use super::{finding, gateway, path};
use crate::support::confusion::{self, Ends, Limit};
use crate::support::proxy::Proxy;
use crate::support::readers::Readers;
use crate::support::wait_for;

/// How many streams it has.
const READERS: u32 = 12;

/// From one to the next: what ends at one age may be a timer's.
const PACE: Duration = Duration::from_millis(400);

/// Younger ones are of clients that try again and again.
const GROWN: Duration = Duration::from_millis(3100);

#[track_caller]
pub(super) fn a_restart_is_not_taken_for_a_timer(species: &Species) {
    let gateway = gateway();
    let mut proxy = Proxy::start(species.sheet, gateway.address(), species.mended);
    let _readers = Readers::open(&proxy.address(), "/events/zoo?heartbeat=3600", READERS, PACE);
    wait_for("all to be there", || path(&gateway)["streams"] == READERS);
    // There is nothing to wait for but their age itself.
    std::thread::sleep(GROWN);
    proxy.restart(species.mended);

    let decided = || confusion::of_report(&path(&gateway));
    wait_for("all to be told why", || decided().values().sum::<u64>() >= READERS.into());
    let (report, ends) = (path(&gateway), decided());
    confusion::note_ends("proxy_restart", Limit::Known, &ends);
    assert_eq!(ends, Ends::from([("proxy_restart".to_owned(), READERS.into())]), "{report:#}");
    assert!(finding(&report, "restarts").is_some(), "{report:#}");
    assert!(species.finding(&report).is_none(), "{report:#}");
}
