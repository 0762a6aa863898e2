//! Topics that tick, so that `serve --dev` has something to show before anybody publishes.
//!
//! `demo/clock` once a second, `demo/price` four times a second, `demo/picture` (a small image) once a second. Clock and
//! price carry a number `n` that rises by one with each event and goes on after a restart, for as long as the log still
//! has them: so a reader can tell by itself that it has seen every event once. A number that was not stored is not
//! used up.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::time::MissedTickBehavior;

use super::picture;
use crate::event::{ContentType, Event, Timestamp, Topic};
use crate::log::{AppendError, Log, system_clock};
use crate::shutdown::Shutdown;

const CLOCK: &str = "demo/clock";
const PRICE: &str = "demo/price";
const PICTURE: &str = "demo/picture";

/// The time from one price to the next.
const TICK: Duration = Duration::from_millis(250);

/// One price in so many comes with a clock and a picture, in the same batch.
const PRICES_A_SECOND: u64 = 4;

/// How many pages are searched for the last numbers at the start, from the newest back.
const PAGES_SEARCHED: u64 = 64;

/// Appends to the demo topics until the end begins. An append that fails is tried again with the next tick, and said
/// once.
pub async fn run(log: Arc<dyn Log>, shutdown: Shutdown) {
    let now = system_clock();
    let mut demo = Demo::continuing(&*log).await;
    let mut ticks = tokio::time::interval(TICK);
    // After a pause (a laptop that slept), one tick and no burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.draining() => return,
            _ = ticks.tick() => demo.tick(&*log, now()).await,
        }
    }
}

/// What the next tick needs to know.
struct Demo {
    clocks: u64,
    prices: u64,
    walk: Walk,
    failing: bool,
}

impl Demo {
    /// Goes on where the newest events in `log` left off.
    async fn continuing(log: &dyn Log) -> Self {
        let mut seed = [0; 8];
        // Any seed will do for a demo: without random numbers each start walks the same way.
        let _ = getrandom::fill(&mut seed);
        let (clocks, prices) = last_numbers(log).await;
        Self { clocks, prices, walk: Walk::new(u64::from_le_bytes(seed)), failing: false }
    }

    /// Appends what is due at `now`, in one batch.
    async fn tick(&mut self, log: &dyn Log, now: Timestamp) {
        let second = (self.prices + 1).is_multiple_of(PRICES_A_SECOND);
        let mut walk = self.walk.clone();
        let mut batch = vec![price(self.prices + 1, &mut walk)];
        if second {
            batch.extend([clock(self.clocks + 1, now), clock_picture(now)]);
        }
        let outcome = log.append(batch).await;
        if outcome.is_ok() {
            self.prices += 1;
            self.clocks += u64::from(second);
            self.walk = walk;
        }
        self.say(outcome.err());
    }

    /// Tells the operator when appending begins to fail and when it works again, and not at each tick.
    fn say(&mut self, error: Option<AppendError>) {
        match error {
            Some(error) if !self.failing => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the demo topics stand still");
                self.failing = true;
            }
            None if self.failing => {
                tracing::info!("the demo topics tick again");
                self.failing = false;
            }
            Some(_) | None => {}
        }
    }
}

/// The newest `n` of clock and price; 0 if the log has none, or none near its live edge.
async fn last_numbers(log: &dyn Log) -> (u64, u64) {
    #[derive(Deserialize)]
    struct Numbered {
        n: u64,
    }
    let (mut clocks, mut prices) = (None, None);
    let bounds = log.bounds();
    let mut at = bounds.last;
    for _ in 0..PAGES_SEARCHED {
        let Ok(page) = log.read(at).await else { break };
        for appended in page.events.iter().rev() {
            let last = match appended.event.topic().as_str() {
                CLOCK => &mut clocks,
                PRICE => &mut prices,
                _ => continue,
            };
            if last.is_none() {
                // Anybody may publish to these topics under `--dev`: what has no sensible number does not count.
                let numbered = serde_json::from_slice(&appended.event.data).ok();
                *last = numbered.map(|numbered: Numbered| numbered.n).filter(|n| *n < MAX_SAFE_INTEGER);
            }
        }
        at = match page.first() {
            Some(first) if first > bounds.first && (clocks.is_none() || prices.is_none()) => first - 1,
            _ => break,
        };
    }
    (clocks.unwrap_or(0), prices.unwrap_or(0))
}

/// Above it JSON numbers are no longer exact for everybody (RFC 8259 § 6).
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

fn clock(n: u64, now: Timestamp) -> Event {
    let second = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let time = utc(now).format(second).expect("a date has all that the format asks for");
    event(CLOCK, "application/json", format!(r#"{{"n":{n},"time":"{time}"}}"#))
}

fn price(n: u64, walk: &mut Walk) -> Event {
    let (cents, change) = walk.step();
    let sign = if change < 0 { "-" } else { "" };
    let (price, change) = (Cents(cents), Cents(change.unsigned_abs()));
    event(PRICE, "application/json", format!(r#"{{"n":{n},"price":{price},"change":{sign}{change}}}"#))
}

fn clock_picture(now: Timestamp) -> Event {
    let (hour, minute, second) = utc(now).to_hms();
    event(PICTURE, picture::MEDIA_TYPE, picture::clock(hour, minute, second))
}

fn event(topic: &str, content_type: &str, data: impl Into<Bytes>) -> Event {
    let mut event = Event::new(Topic::parse(topic).expect("the names of the demo topics are topics"), data);
    event.content_type = Some(ContentType::parse(content_type).expect("the demo's content types are media types"));
    event
}

fn utc(at: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// An amount that prints as `12.05`.
struct Cents(u64);

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A price that wanders, and turns back at its limits.
#[derive(Clone, Debug)]
struct Walk {
    cents: u64,
    random: u64,
}

impl Walk {
    /// In cents.
    const LIMITS: RangeInclusive<u64> = 5_000..=15_000;
    const LONGEST_STEP: i64 = 25;

    fn new(seed: u64) -> Self {
        Self { cents: 10_000, random: seed }
    }

    /// The next price and how it differs from the one before, in cents.
    fn step(&mut self) -> (u64, i64) {
        let wanted = self.draw();
        let reached = |change| self.cents.checked_add_signed(change).filter(|cents| Self::LIMITS.contains(cents));
        // A step is shorter than the limits are apart, so one of the two directions is always open.
        let change = if reached(wanted).is_some() { wanted } else { -wanted };
        self.cents = reached(change).unwrap_or(self.cents);
        (self.cents, change)
    }

    /// A step of any length up to the longest, either way (`SplitMix64`: short, and good enough for a demo).
    fn draw(&mut self) -> i64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = i64::from(u32::try_from(mixed >> 33).expect("31 bits fit into 32"));
        bits % (2 * Self::LONGEST_STEP + 1) - Self::LONGEST_STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{MemoryLog, Retention};

    fn log() -> Arc<MemoryLog> {
        Arc::new(MemoryLog::new(Retention::default(), system_clock()))
    }

    /// Runs the demo for `seconds` of the test's clock, which is paused.
    async fn run_for(log: &Arc<MemoryLog>, seconds: u64) {
        let shutdown = Shutdown::default();
        shutdown.spawn(run(Arc::clone(log) as Arc<dyn Log>, shutdown.clone()));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert!(shutdown.finish(Duration::from_secs(1)).await, "the demo ends when it is told to");
    }

    async fn data_of(log: &MemoryLog, topic: &str) -> Vec<serde_json::Value> {
        let page = log.read(1).await.expect("memory can be read");
        let events = page.events.iter().filter(|appended| appended.event.topic().as_str() == topic);
        events.map(|appended| serde_json::from_slice(&appended.event.data).unwrap_or_default()).collect()
    }

    fn numbers(data: &[serde_json::Value]) -> Vec<u64> {
        data.iter().map(|event| event["n"].as_u64().expect("a number")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_goes_on_with_the_next_number() {
        let log = log();
        run_for(&log, 3).await;
        let before = data_of(&log, CLOCK).await.len();
        let stranger = Event::new(Topic::parse(CLOCK).expect("a topic"), r#"{"n":"no number"}"#);
        log.append(vec![stranger]).await.expect("memory takes it");
        run_for(&log, 3).await;

        let mut clocks = data_of(&log, CLOCK).await;
        clocks.retain(|event| event["n"].is_u64());
        assert!(before >= 3 && clocks.len() >= before + 3, "{before}, then {}", clocks.len());
        assert_eq!(numbers(&clocks), (1..=clocks.len() as u64).collect::<Vec<_>>());
        let prices = data_of(&log, PRICE).await;
        assert_eq!(numbers(&prices), (1..=prices.len() as u64).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_are_found_behind_many_other_events() {
        let log = log();
        log.append(vec![clock(41, Timestamp(0)), price(167, &mut Walk::new(1))]).await.expect("memory takes it");
        let other = Event::new(Topic::parse("other").expect("a topic"), "x");
        for _ in 0..3 {
            log.append(vec![other.clone(); 1000]).await.expect("memory takes it");
        }
        assert_eq!(last_numbers(&*log).await, (41, 167));
    }

    #[tokio::test]
    async fn a_number_that_was_not_stored_is_not_used_up() {
        let log = log();
        let mut demo = Demo::continuing(&*log).await;
        demo.tick(&*log, Timestamp(0)).await;
        log.close().await;
        let walk = demo.walk.cents;
        demo.tick(&*log, Timestamp(0)).await;
        assert_eq!((demo.prices, demo.walk.cents, demo.failing), (1, walk, true));
        demo.say(None);
        assert!(!demo.failing);
    }

    #[test]
    fn a_clock_says_its_number_and_the_time_to_the_second() {
        let event = clock(7, Timestamp(1_767_323_045_999));
        assert_eq!(event.data, r#"{"n":7,"time":"2026-01-02T03:04:05Z"}"#);
        assert!(event.is_json());
    }

    #[test]
    fn a_price_is_json_also_when_it_falls() {
        let mut walk = Walk::new(3);
        for n in 1..200 {
            let data: serde_json::Value = serde_json::from_slice(&price(n, &mut walk).data).expect("JSON");
            assert!(data["price"].is_f64() && data["change"].is_f64(), "{data}");
        }
    }

    #[test]
    fn the_walk_moves_both_ways_and_stays_within_its_limits() {
        for seed in 0..8 {
            let mut walk = Walk::new(seed);
            let (mut before, mut rose, mut fell) = (walk.cents, 0, 0);
            for _ in 0..100_000 {
                let (cents, change) = walk.step();
                assert!(Walk::LIMITS.contains(&cents), "{cents}");
                assert_eq!(
                    before.checked_add_signed(change),
                    Some(cents),
                    "the change leads from one price to the next"
                );
                rose += u32::from(change > 0);
                fell += u32::from(change < 0);
                before = cents;
            }
            assert!(rose > 40_000 && fell > 40_000, "rose {rose}, fell {fell}");
        }
    }
}
