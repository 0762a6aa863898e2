//! The gateway under everything at once, for long: streams of all kinds that come, stop reading, are cut and come back;
//! bursts of publishing; deletions; reloads.
//!
//! Each reader holds what it was given against a ledger of all that was published (`ledger`): after its cursor it gets every
//! event once and in order, or is told of a gap, over all its cuts and on whatever transport it comes back. When all have
//! left, the process must be what it was after the first rounds: its memory but for [`Length::kept`], its descriptors,
//! threads and connections exactly; and every stream has ended, with one reason. That all this can fail is shown in `proof`.
//!
//! A short run takes about half a minute; `tests/run --long` goes on for a quarter of an hour with each store and tells
//! of its progress on standard error. `ENCKE_SOAK_MINUTES` makes that longer or shorter.

#[path = "../support/mod.rs"]
mod support;

mod dice;
mod figures;
mod ledger;
mod operator;
mod parts;
mod proof;
mod publishers;
mod reader;
mod round;
mod wire;

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::gateway::Gateway;
use crate::support::long;
use figures::Figures;
use operator::Operator;
use round::{Round, Tally};

/// The publish key of these gateways.
const KEY: &str = "a-key-for-tests-that-last";

/// How long a run goes on, and what it allows for.
struct Length {
    /// So many rounds at the beginning are compared with as many at the end; there are at least those. The first fills the
    /// log up to its retention.
    compared: usize,
    /// For how long there are more.
    time: Duration,
    /// How much more memory the process may hold at the end, in bytes (`RssAnon`): the least of each of these rounds.
    ///
    /// What a stream, a poll or an event leaves behind for good is in the least, too, and adds up: a round has some 500 streams
    /// and polls, and 10 MiB of events. What varies is not: pages in memory with what is rendered of them, keys of the last
    /// ten minutes, and what mimalloc keeps for threads that come again, which is up to 30 MiB with the durable log.
    kept: u64,
}

/// Four rounds, of which the last two have 1 000 streams: here only what is gross can be seen of memory. All else is exact.
const SHORT: Length = Length { compared: 2, time: Duration::ZERO, kept: 40 << 20 };

/// Some 50 000 streams and two million events read: 350 bytes a stream would be too much.
const LONG: Length = Length { compared: 8, time: Duration::from_secs(15 * 60), kept: 16 << 20 };

impl Length {
    /// As long as this variable says, if there is one.
    fn asked(self) -> Self {
        let minutes = std::env::var_os("ENCKE_SOAK_MINUTES");
        let minutes =
            minutes.map(|minutes| minutes.to_str().and_then(|text| text.parse().ok()).expect("a number of minutes"));
        let time = minutes.map_or(self.time, |minutes: f64| Duration::from_secs_f64(60.0 * minutes));
        Self { time, ..self }
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_kept_with_the_log_in_memory() {
    soak("memory", &["--store", "memory"], 0);
}

#[test]
fn nothing_is_lost_and_nothing_is_kept_with_the_durable_log() {
    // It reads through up to four connections, which are opened when they are first wanted, with two files each.
    soak("sqlite", &[], 6);
}

fn soak(name: &str, store: &[&str], files: usize) {
    let configuration = operator::Configuration::new();
    let limits = ["--retention-events", "1000", "--retention-bytes", "8MiB", "--live-bytes", "2MiB", "--stall", "10"];
    let arguments = [&["--config", configuration.path()], &limits[..], store].concat();
    let mut gateway = Gateway::start_with(&arguments, &[("ENCKE_PUBLISH_KEY", KEY)]);
    let (length, begun) = (if long() { LONG.asked() } else { SHORT }, Instant::now());
    let (mut rounds, mut all) = (Vec::new(), Tally::default());
    while rounds.len() < 2 * length.compared || begun.elapsed() < length.time {
        let number = rounds.len();
        let before = Figures::at_rest(&mut gateway);
        // To be ended, a reader must have taken nothing for ten seconds: not in each round.
        let never_read = if number % 2 == 1 { operator::NEVER_READ } else { &[] };
        let tally = Round::of(number, &gateway).run(&mut Operator::new(&mut gateway, &configuration, never_read));
        let after = Figures::at_rest(&mut gateway);
        after.hold_ends(&before, &tally);
        all += tally;
        if long() {
            tell(&format!("soak, {name}: {:4} s, round {number}: {after}; so far {all}", begun.elapsed().as_secs()));
        }
        rounds.push(after);
    }
    let (first, last) = (&rounds[..length.compared], &rounds[rounds.len() - length.compared..]);
    let [baseline, end] = [first, last].map(Figures::least_of);
    println!("{name}: in the beginning {baseline}; at the end {end}; {all}");
    end.hold(&baseline, length.kept, files);
    all.hold();
}

/// To standard error itself: what tests print is shown only once they have ended.
fn tell(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
