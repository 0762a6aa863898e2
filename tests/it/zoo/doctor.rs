//! What the gateway finds of an intermediary, `encke doctor` finds from where its clients are, and names the same setting where
//! it can see who that is.

use std::process::Command;

use serde_json::Value;

use super::sheets::{Late, Species, Timer};
use super::{Publisher, gateway};
use crate::support::process::Process;
use crate::support::proxy::Proxy;

const TOPIC: &str = "zoo/doctor";

/// How often it is measured: a timer is never early, and on a busy machine it is late.
const MOST: usize = 4;

#[track_caller]
pub(super) fn the_doctor_finds_the_same_from_the_other_side(species: &Species) {
    let gateway = gateway();
    let mut proxy = Proxy::start(species.sheet, gateway.address(), species.short);
    // Some cut at a write only; of another type, which its silent streams do not ask for.
    let lively = (species.timer == Timer::Duration).then(|| Publisher::start(gateway.address(), TOPIC));
    let told = (0..MOST).map(|_| examined(&proxy, species)).find(|told| is_right(told, species));
    let told = told.unwrap_or_else(|| panic!("{MOST} times it was another limit: {:#}", examined(&proxy, species)));
    drop(lively);
    let names_it = |name: &str, setting: &str| {
        let found = finding(&told, name).unwrap_or_else(|| panic!("no {name} in {told:#}"));
        let quoted = setting.split('`').nth(1).expect("a setting stands in backticks");
        let words = quoted.split([' ', '.', ';', ':', '=']).filter(|word| word.contains(['_', '-']) || word.len() > 6);
        let word = words.max_by_key(|word| word.len()).or(Some(quoted));
        let remedies = found["remedy"].as_array().expect("a list of remedies").iter().filter_map(Value::as_str);
        let all: Vec<&str> = remedies.collect();
        // Who leaves no mark in an answer is not seen from there; then those are named whose timers are so long.
        let is_seen = told["hops"].as_array().is_some_and(|hops| !hops.is_empty());
        assert!(!all.is_empty(), "{found:#}");
        assert!(!is_seen || word.is_some_and(|word| all.iter().any(|one| one.contains(word))), "{setting}: {told:#}");
    };
    match species.holds {
        // Nothing comes that could be watched.
        Some(setting) => names_it("held", setting),
        None => names_it(species.finding_of_the_doctor(), species.setting),
    }

    proxy.restart(species.mended);
    let told = examined(&proxy, species);
    let healed = [species.finding_of_the_doctor(), "held"].iter().all(|name| finding(&told, name).is_none());
    assert!(healed && told["verdict"]["is"] != "incomplete", "with the advice followed there is nothing: {told:#}");
}

/// Watches for half as long again as the timer lets streams be.
fn examined(proxy: &Proxy, species: &Species) -> Value {
    let watched = species.late.seconds() * 3 / 2;
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(["doctor", &format!("http://{}", proxy.address()), &format!("--topic={TOPIC}"), "--json"]);
    command.args([format!("--max-idle={watched}"), format!("--max-duration={watched}")]);
    let (_, printed, errors) = Process::spawn(command).ended();
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed:?}, {errors}"))
}

/// Within 3 % of what is set, and where whole seconds are counted, as late as that makes it.
fn is_right(told: &Value, species: &Species) -> bool {
    if species.holds.is_some() {
        return finding(told, "held").is_some();
    }
    let of = if species.timer == Timer::Idle { "/idle/limit" } else { "/duration/limit" };
    let (found, set) =
        (told.pointer(of).and_then(Value::as_f64).unwrap_or_default() / 1e3, f64::from(species.late.seconds()));
    let late = match species.late {
        // Envoy closes the connection a second after it has ended the answer (`delayed_close_timeout`).
        Late::No if species.product == "envoy" => 1.0,
        Late::No => 0.0,
        Late::BySeconds { .. } => 2.0,
    };
    let is_right = found >= 0.97 * set && found <= 1.03 * set + late;
    if !is_right {
        eprintln!("{}: found {found} s of {set} s: {told}", species.product);
    }
    is_right
}

fn finding(told: &Value, name: &str) -> Option<Value> {
    told["findings"].as_array().into_iter().flatten().find(|finding| finding["name"] == name).cloned()
}

impl Species {
    fn finding_of_the_doctor(&self) -> &'static str {
        match self.timer {
            Timer::Idle => "idle-limit",
            Timer::Duration => "duration-limit",
        }
    }
}
