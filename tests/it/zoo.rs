//! Ten intermediaries as their makers set them up: the gateway is told of none of them, and has to say who is there, what it
//! does to streams and which setting to change; when that is done, it has to notice.
//!
//! Timers are 6 s, or 20 s and 30 s where one is not exact, so a test takes a minute or two, and nearly all of it is waiting
//! for them. What was found stands in `docs/zoo.md`.

mod doctor;
mod leaving;
mod restarts;
mod sheets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use self::sheets::{Late, Species, Timer};
use crate::support::confusion::{self, Limit};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::http1::Connection;
use crate::support::proxy::Proxy;
use crate::support::readers::{Patient, Readers};
use crate::support::{PATIENCE, wait_for};

/// Cuts at least a second apart are cuts of different moments.
const APART: Duration = Duration::from_millis(1100);

/// Of what ends within a second four count.
const TOGETHER: Duration = Duration::from_millis(270);

/// Streams are silent for an hour: nothing hides a timer. Their clients have as long to come back as by default.
fn gateway() -> Gateway {
    Gateway::start_with(&["--dev", "--heartbeat", "3600"], &[("ENCKE_GRACE", "35")])
}

macro_rules! zoo {
    ($($name:ident $species:ident,)*) => {
        $(mod $name {
            #[test]
            fn its_timer_is_found_named_and_seen_to_be_mended() {
                crate::zoo::its_timer_is_found_named_and_seen_to_be_mended(&crate::zoo::sheets::$species);
            }

            #[test]
            fn with_the_advice_followed_there_is_nothing_to_find() {
                crate::zoo::with_the_advice_followed_there_is_nothing_to_find(&crate::zoo::sheets::$species);
            }

            #[test]
            fn a_restart_is_not_taken_for_a_timer() {
                crate::zoo::restarts::a_restart_is_not_taken_for_a_timer(&crate::zoo::sheets::$species);
            }

            #[test]
            fn the_doctor_finds_the_same_from_the_other_side() {
                crate::zoo::doctor::the_doctor_finds_the_same_from_the_other_side(&crate::zoo::sheets::$species);
            }
        })*
    };
}

zoo! {
    nginx NGINX,
    nginx_that_holds NGINX_THAT_HOLDS,
    haproxy HAPROXY,
    apache APACHE,
    varnish VARNISH,
    caddy_2_6 CADDY_2_6,
    caddy CADDY,
    envoy ENVOY,
    envoy_idle ENVOY_IDLE,
    traefik TRAEFIK,
    // Their timers go by whole seconds, so it takes more cuts to find them.
    squid SQUID,
    lighttpd LIGHTTPD,
}

macro_rules! leaving {
    ($($name:ident $species:ident,)*) => {
        $(#[test]
        fn $name() {
            leaving::who_leaves_before_its_timer_has_left(&sheets::$species);
        })*
    };
}

// Those that tell the gateway at once when a client leaves. HAProxy and Apache do so with the next write.
leaving! {
    who_leaves_nginx_before_its_timer_has_left NGINX,
    who_leaves_caddy_before_its_timer_has_left CADDY,
    who_leaves_envoy_before_its_timer_has_left ENVOY_IDLE,
    who_leaves_traefik_before_its_timer_has_left TRAEFIK,
}

#[track_caller]
fn its_timer_is_found_named_and_seen_to_be_mended(species: &Species) {
    let gateway = gateway();
    let mut proxy = Proxy::start(species.sheet, gateway.address(), species.short);
    let lively = (species.timer == Timer::Duration).then(|| Publisher::start(gateway.address(), "zoo"));
    // So many that the time between two cuts of one of them is filled with those of the others.
    let readers = Readers::open(&proxy.address(), "/events/zoo?heartbeat=3600", species.late.seconds(), APART);

    let found = species.wait_for_finding(&gateway);
    let learning = confusion::of_report(&path(&gateway));
    confusion::note_ends(species.reason(), Limit::Unknown, &learning);
    let (cuts, (shortest, longest)) = (readers.cuts(), readers.times());
    // If they come late, now more and now less, as also on a busy machine, it takes more of them.
    let is_calm = longest - shortest < 0.1;
    assert!(cuts <= if is_calm { 10 } else { 40 }, "it was found after {cuts} cuts, of {shortest} to {longest} s");
    assert!(found["advice"].as_str().is_some_and(|advice| advice.contains(species.setting)), "{found}");
    species.is_told_by_metrics(&gateway);

    // From now on cuts are explained when they come; and who lets the gateway choose its heartbeat is cut no more.
    let (healed, since) = (Readers::open(&proxy.address(), "/events/healed", 1, APART), Instant::now());
    let report = explains_cuts(&gateway, species);
    assert_eq!(Ends::of(&report, species).others, 0, "nobody else is blamed: {report:#}");
    assert_eq!(report["product"], species.product, "{report:#}");
    if species.timer == Timer::Idle {
        // It is older than the timer lets anybody be who is silent.
        std::thread::sleep(Duration::from_secs_f64(longest * 1.2).saturating_sub(since.elapsed()));
        assert!(healed.cuts() <= usize::from(!is_calm), "heartbeats are more frequent than the timer: {report:#}");
    }
    let set = f64::from(species.late.seconds());
    let limit = || path(&gateway)[species.limit()].as_f64().unwrap_or_default();
    // Of cuts that are spread over seconds it is any but the last: heartbeats are well below the first even so.
    let expected = || {
        let (first, last) = readers.times();
        if species.late == Late::No { 0.97 * set..=1.03 * set } else { 0.97 * first..=last }
    };
    wait_for("the limit to be right within 3 %", || expected().contains(&limit()));
    println!(
        "{}: set to {set} s, found {} s, after {cuts} cuts of {shortest:.2} to {longest:.2} s",
        species.product,
        limit()
    );
    if let Some(setting) = species.holds {
        let found = wait_for_finding(&gateway, "buffering");
        assert!(found["advice"].as_str().is_some_and(|advice| advice.contains(setting)), "{found}");
    }
    let (_, latest) = readers.times();
    let explained = confusion::since(&learning, &confusion::of_report(&path(&gateway)));
    confusion::note_ends(species.reason(), Limit::Known, &explained);
    drop((readers, healed, lively));

    proxy.restart(species.mended);
    // The gateway wants ten of a limit that cut nearly all, and up to sixty of one whose cuts are so spread that it is not
    // sure of that.
    let count = if species.late == Late::No { 24 } else { 50 };
    outlive(&gateway, &proxy, count, Duration::from_secs_f64(latest * 1.2));
    if species.holds.is_some() {
        come_and_go(&gateway, &proxy, || finding(&path(&gateway), "buffering").is_none());
    }
    let report = path(&gateway);
    assert!(species.finding(&report).is_none() && report[species.limit()].is_null(), "it is gone: {report:#}");
}

/// Waits until of ten cuts in a row nine are explained by the timer. If it takes a second ten, the machine was too busy to
/// cut in time.
#[track_caller]
fn explains_cuts(gateway: &Gateway, species: &Species) -> Value {
    let (deadline, mut before) = (Instant::now() + PATIENCE, Ends::of(&path(gateway), species));
    loop {
        wait_for("ten more cuts to be told why", || Ends::of(&path(gateway), species).all >= before.all + 10);
        let report = path(gateway);
        let now = Ends::of(&report, species);
        if (now.explained - before.explained) * 10 >= (now.all - before.all) * 9 {
            return report;
        }
        assert!(Instant::now() < deadline, "too few are explained: {report:#}");
        before = now;
    }
}

/// So many streams get past the limit that was. They end by what they asked for, not all at once.
fn outlive(gateway: &Gateway, proxy: &Proxy, count: u32, silence: Duration) {
    let streams: Vec<JoinHandle<()>> = (0..count)
        .map(|number| {
            let (proxy, gateway) = (proxy.address(), gateway.address().to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(TOGETHER * number);
                let topic = format!("patient-{number}");
                let mut stream = Patient::open(&proxy, &format!("/events/{topic}?heartbeat=3600&limit=2"));
                stream.hears_nothing_for(silence);
                // The second is what shows that the first got through.
                publish(&gateway, &topic, "one");
                stream.hears("one");
                publish(&gateway, &topic, "two");
                stream.rest();
            })
        })
        .collect();
    for stream in streams {
        stream.join().expect("a stream that outlives what cut it before");
    }
}

#[track_caller]
fn with_the_advice_followed_there_is_nothing_to_find(species: &Species) {
    let gateway = gateway();
    let proxy = Proxy::start(species.sheet, gateway.address(), species.mended);
    come_and_go(&gateway, &proxy, || path(&gateway)["returns"].as_u64() >= Some(20));
    let report = path(&gateway);
    confusion::note_ends("limit", Limit::Known, &confusion::of_report(&report));
    assert_eq!(report["product"], species.product, "{report:#}");
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report:#}");
    assert_ne!(report["buffering"], "held", "{report:#}");
}

/// Readers that have what they asked for after three events, and come back for more, until that is enough.
fn come_and_go(gateway: &Gateway, proxy: &Proxy, is_enough: impl FnMut() -> bool) {
    let _lively = Publisher::start(gateway.address(), "lively");
    let readers = Readers::open(&proxy.address(), "/events/lively?limit=3", 6, Duration::ZERO);
    wait_for("enough of them to have come back", is_enough);
    assert!(readers.events() >= 20, "all of them were given something");
}

impl Species {
    /// Under which name its limit stands in the report.
    fn limit(&self) -> &'static str {
        match self.timer {
            Timer::Idle => "idle_limit_s",
            Timer::Duration => "duration_limit_s",
        }
    }

    /// Why its cuts are told to end streams.
    fn reason(&self) -> &'static str {
        match self.timer {
            Timer::Idle => "proxy_idle_timeout",
            Timer::Duration => "proxy_max_duration",
        }
    }

    fn kind(&self) -> &'static str {
        match self.timer {
            Timer::Idle => "idle_limit",
            Timer::Duration => "duration_limit",
        }
    }

    /// Whoever sees nothing but metrics knows which product it is, what it does, and by which setting.
    #[track_caller]
    fn is_told_by_metrics(&self, gateway: &Gateway) {
        let told = || gateway.metric("encke_path_finding", &[&format!("kind=\"{}\"", self.kind())]) == 1.0;
        wait_for("the finding to be a metric", told);
        let text = Request::get("/metrics").ask(gateway.address()).text();
        let series = format!("encke_path_setting_info{{kind=\"{}\",path=\"{}/", self.kind(), self.product);
        let (_, rest) = text.split_once(&series).unwrap_or_else(|| panic!("there is no {series}\n{text}"));
        let setting = rest.split_once("setting=\"").and_then(|(_, rest)| rest.split('"').next()).expect("a setting");
        let advised = self.setting.split('`').nth(1).expect("a setting stands in backticks");
        assert!(
            !setting.is_empty() && (advised.contains(setting) || setting.contains(advised)),
            "{setting}, {advised}"
        );
    }

    fn finding(&self, path: &Value) -> Option<Value> {
        finding(path, self.kind())
    }

    #[track_caller]
    fn wait_for_finding(&self, gateway: &Gateway) -> Value {
        wait_for_finding(gateway, self.kind())
    }
}

/// How many ends were decided, and as what.
#[derive(Debug)]
struct Ends {
    all: u64,
    /// By the timer.
    explained: u64,
    /// By neither the timer nor, before it was known, an unknown loss of the connection.
    others: u64,
}

impl Ends {
    fn of(path: &Value, species: &Species) -> Self {
        let count = |reason: &str| path["ends"][reason].as_u64().unwrap_or_default();
        let all = confusion::of_report(path).values().sum();
        let explained = count(species.reason());
        // Where it takes many cuts to find a timer the grace of the first is over by then; and if their clients were not even
        // given the beginning, they come back as if for the first time.
        let looks_left = species.late != Late::No && species.holds.is_some();
        let left = if looks_left { count("client_left") } else { 0 };
        Self { all, explained, others: all - explained - count("dropped_came_back") - left }
    }
}

/// The one path by which anybody has come.
#[track_caller]
fn path(gateway: &Gateway) -> Value {
    let report = confusion::report(gateway);
    let paths = report["paths"].as_array().expect("paths");
    assert!(paths.len() <= 1, "all come by one path: {report:#}");
    paths.first().cloned().unwrap_or_default()
}

fn finding(path: &Value, kind: &str) -> Option<Value> {
    path["findings"].as_array().into_iter().flatten().find(|finding| finding["kind"] == kind).cloned()
}

#[track_caller]
fn wait_for_finding(gateway: &Gateway, kind: &str) -> Value {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let path = path(gateway);
        if let Some(found) = finding(&path, kind) {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for a finding of {kind}: {path:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn publish(address: &str, topic: &str, data: &str) {
    let mut connection = Connection::open(address).expect("the gateway takes connections");
    connection.publish("", topic, None, data.as_bytes()).expect("the gateway takes events");
}

/// Publishes ten events a second until it is dropped: Traefik cuts at the next one.
struct Publisher {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    fn start(address: &str, topic: &'static str) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (address, until) = (address.to_owned(), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                publish(&address, topic, "news");
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        Self { stopped, thread: Some(thread) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("the publisher does not panic");
        }
    }
}
