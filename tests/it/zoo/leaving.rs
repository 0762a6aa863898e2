//! Who leaves a path whose timer is known is not taken for one whom the timer cut.

use std::time::Duration;

use super::sheets::{Species, Timer};
use super::{APART, Publisher, TOGETHER};
use crate::support::confusion::{self, Ends, Limit};
use crate::support::gateway::Gateway;
use crate::support::http1::Connection;
use crate::support::proxy::Proxy;
use crate::support::readers::Readers;
use crate::support::wait_for;

/// How many leave.
const LEAVERS: u32 = 24;

/// After how many parts of the timer the last of them does; what is closer to it cannot be told from its cuts.
const LATEST: f64 = 0.9;

/// 1. Readers are cut until the timer is known. 2. While they are cut again and again, others leave for good, each at another
///    age. By their transport it is told which ends were theirs.
#[track_caller]
pub(super) fn who_leaves_before_its_timer_has_left(species: &Species) {
    let gateway = Gateway::start_with(&["--dev", "--heartbeat", "3600"], &[("ENCKE_GRACE", "5")]);
    let proxy = Proxy::start(species.sheet, gateway.address(), species.short);
    let _lively = (species.timer == Timer::Duration).then(|| Publisher::start(gateway.address(), "zoo"));
    let _cut = Readers::open(&proxy.address(), "/events/zoo?heartbeat=3600", species.late.seconds(), APART);
    species.wait_for_finding(&gateway);
    let learning = confusion::of_transport(&gateway, "sse");

    std::thread::scope(|threads| {
        for number in 0..LEAVERS {
            let address = proxy.address();
            threads.spawn(move || {
                std::thread::sleep(TOGETHER * number);
                let connection = Connection::open(&address).expect("the intermediary takes connections");
                let target = "/events/zoo?heartbeat=3600&transport=ndjson";
                let stream = connection.stream(target, &[]).expect("the gateway answers");
                let share = LATEST * f64::from(number + 1) / f64::from(LEAVERS);
                std::thread::sleep(Duration::from_secs(species.late.seconds().into()).mul_f64(share));
                drop(stream);
            });
        }
    });
    let told = || confusion::of_transport(&gateway, "ndjson");
    wait_for("all who left to be decided", || told().values().sum::<u64>() >= LEAVERS.into());
    let (left, cut) = (told(), confusion::since(&learning, &confusion::of_transport(&gateway, "sse")));
    confusion::note_ends("client_left", Limit::Known, &left);
    confusion::note_ends(species.reason(), Limit::Known, &cut);
    assert_eq!(left, Ends::from([("client_left".to_owned(), LEAVERS.into())]));
}
