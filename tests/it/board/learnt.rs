//! A gateway that has learnt all that can be learnt of paths, by intermediaries that are real: those series are there only then.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::client::{Connection, get, post};
use super::endings::admin;
use super::scraped::Scraped;
use crate::support::gateway::Gateway;
use crate::support::http::{self, Request};
use crate::support::nginx::{Configuration, Nginx};

/// From one stream to the next: streams that end within a second of one another count as one event of the world.
const APART: Duration = Duration::from_millis(1200);

/// Ten or so make a limit; where the machine is busy, their times differ, and it takes more.
const MOST: usize = 60;

/// An nginx with a patience of two seconds, of which the path is known by how it asks.
pub(super) const NGINX: &str = "nginx/h1.0/1";

/// Asks for few heartbeats: once the limit is known, streams that do not say beat below it, and are not cut.
const QUIET: &str = "/events/quiet?heartbeat=600";

/// How old streams become that are cut by their age.
const AGE: Duration = Duration::from_millis(2600);

/// What is scraped of a gateway that has learnt both kinds of limit. One is asked for all tests.
pub(super) fn scraped() -> &'static Scraped {
    static SCRAPED: OnceLock<Scraped> = OnceLock::new();
    SCRAPED.get_or_init(|| {
        let gateway = Gateway::start(&["--dev", "--grace", "1"]);
        learn(&gateway);
        Scraped::from(admin(&gateway))
    })
}

/// Has quiet streams cut by nginx, and streams that are not quiet by something that closes them at one age, until both limits
/// are known.
#[track_caller]
pub(super) fn learn(gateway: &Gateway) {
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).read_timeout("2s"));
    let is_known = || {
        let scraped = Scraped::from(admin(gateway));
        scraped.has("encke_path_idle_limit_seconds") && scraped.has("encke_path_duration_limit_seconds")
    };
    let (address, proxied, over) = (gateway.address(), nginx.authority(), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                post(address, "/events/lively", &[], "news");
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        for number in 0..MOST {
            threads.spawn(|| Connection::subscribe(&proxied, QUIET, "encke.hello").read_to_end());
            threads.spawn(move || is_cut_and_comes_back(address, number));
            std::thread::sleep(APART);
            if is_known() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(is_known(), "{}", get(admin(gateway), "/diagnosis").body);
    let limit = Scraped::from(admin(gateway)).sum("encke_path_idle_limit_seconds", &[("path", NGINX)]);
    assert!((1.9..2.5).contains(&limit), "nginx waits for two seconds, not for {limit}");
}

/// A stream that something closes at one age, which nobody can see, and whose client comes back: who does not might have left.
fn is_cut_and_comes_back(address: &str, number: usize) {
    let mut request = Request::get(&format!("/events/lively?session={number}"));
    for _ in 0..2 {
        let mut stream = http::Connection::open(address);
        stream.send(request.bytes());
        let cursor = stream.head().field("encke-cursor").expect("a stream tells where it begins");
        stream.chunks_until("encke.hello");
        std::thread::sleep(AGE);
        request = request.field("Last-Event-ID", cursor);
    }
}
