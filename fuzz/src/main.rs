//! One program for all fuzz targets: the variable `FUZZ_TARGET` names the one that libFuzzer is to feed.

#![no_main]

mod targets;
#[path = "../../tests/support/whatwg.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod whatwg;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var_os("FUZZ_TARGET").unwrap_or_default();
    let target = targets::TARGETS.iter().find(|(known, _)| name == *known);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET is none of {:?}", targets::TARGETS.map(|(known, _)| known))).1
}

fuzz_target!(|data: &[u8]| TARGET.get_or_init(chosen)(data));
