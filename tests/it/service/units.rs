//! The units for systemd: it can read them, finds nothing to complain of, and holds the service for well locked up.

use std::path::Path;
use std::process::{Command, Output};

use super::directory;

const UNITS: [&str; 2] = ["encke.service", "encke.socket"];

/// `systemd-analyze` on the units as they are, but for the place of the program.
fn analyze(args: &[&str], units: &[&str]) -> Output {
    let directory = directory();
    for unit in UNITS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(unit);
        let text = std::fs::read_to_string(path).expect("a unit");
        let here = text.replace("/usr/bin/encke", env!("CARGO_BIN_EXE_encke"));
        std::fs::write(directory.path().join(unit), here).expect("it can be written");
    }
    let units = units.iter().map(|unit| directory.path().join(unit));
    Command::new("systemd-analyze").args(args).args(units).output().expect("systemd-analyze runs (package systemd)")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let output = analyze(&["verify", "--man=no"], &UNITS);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let complaints: Vec<&str> = words.lines().filter(|line| line.contains("encke")).collect();
    assert!(complaints.is_empty(), "{words}");
}

#[test]
fn systemd_holds_the_service_for_well_locked_up() {
    let output = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &UNITS[..1]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("Overall exposure level"), "exposed beyond 1.5: {words}");
}

#[test]
fn the_service_is_started_with_options_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/encke.service");
    let text = std::fs::read_to_string(path).expect("a unit");
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/encke ")).expect("a command");
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "serve");
    let help = Command::new(env!("CARGO_BIN_EXE_encke")).args(["serve", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for option in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{option} ")), "{option} is not in {help}");
    }
}
