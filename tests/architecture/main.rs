//! Holds the shape of the tree: who may import whom, who may name which library, and what stands in no file.
//!
//! An exception is discussed by editing this test.

mod scan;
mod tree;

use scan::{code_only, crate_modules, env_reads, names, roots};
use tree::SourceFile;

/// Who may import whom, in the order in which an event travels. The leaves may be imported by all but `event`.
///
/// ```text
/// main → gateway → {net, http, source, cli} → delivery → {hub → log, transport} → event
/// ```
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["gateway", "cli"]),
    ("gateway", &["net", "http", "source", "cli", "delivery", "hub", "log", "transport", "event"]),
    ("net", &["delivery"]),
    ("http", &["delivery", "hub", "log", "transport", "event"]),
    ("source", &["log", "event"]),
    ("cli", &["event"]),
    ("delivery", &["hub", "log", "transport", "event"]),
    ("hub", &["log", "event"]),
    ("log", &["event"]),
    ("transport", &["event"]),
    ("event", &[]),
];

/// Plain data in and out. A leaf imports `event` and `metrics`, and nothing else of ours.
const LEAVES: &[&str] =
    &["access", "config", "cores", "diagnosis", "logging", "metrics", "service", "session", "shutdown", "sys"];
const LEAVES_IMPORT: &[&str] = &["event", "metrics"];

/// The order of `lib.rs`: rows from left to right along the arrows, then the leaves.
const ROWS: &[&[&str]] =
    &[&["gateway"], &["cli", "http", "net", "source"], &["delivery"], &["hub", "log", "transport"], &["event"], LEAVES];

/// Longer files hold more than one idea.
const MAX_LINES: usize = 600;

#[test]
fn modules_import_only_along_the_arrows() {
    let wrong: Vec<String> = sources().iter().flat_map(|file| wrong_arrows(&file.path, &file.text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn libraries_are_named_only_where_they_belong() {
    let wrong: Vec<String> = sources().iter().flat_map(|file| misplaced_names(&file.path, &file.text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lib_declares_its_modules_in_the_order_of_travel() {
    let lib = sources().into_iter().find(|file| file.path == "src/lib.rs").expect("the crate has a lib.rs");
    assert_eq!(out_of_order(&lib.text), None);
}

#[test]
fn a_file_is_one_idea() {
    let long: Vec<String> = tree::tracked()
        .iter()
        .filter(|file| ["src/", "tests/", "benches/", "static/"].iter().any(|root| file.path.starts_with(root)))
        // Lists that tools have made: locks, boards, hashes.
        .filter(|file| !file.path.ends_with(".json") && !file.path.ends_with(".txt"))
        .filter(|file| file.text.lines().count() > MAX_LINES)
        .map(|file| format!("{} has {} lines; {MAX_LINES} is the most", file.path, file.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_file_holds_what_only_one_machine_has() {
    let wrong: Vec<String> = tree::tracked().iter().flat_map(|file| tree::foreign(&file.path, &file.text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The Rust files of the crate itself.
fn sources() -> Vec<SourceFile> {
    let files: Vec<_> = tree::tracked()
        .into_iter()
        .filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"))
        .collect();
    assert!(files.len() > 5, "the sources are not where they were: {} files", files.len());
    files
}

fn wrong_arrows(path: &str, source: &str) -> Vec<String> {
    let Some(from) = roots(path).first().cloned() else { return Vec::new() };
    let mut wrong = Vec::new();
    for (line, to) in crate_modules(path, &code_only(source)) {
        if to != from && !may_import(&from, &to) {
            wrong.push(format!("{path}:{line}: `{from}` may not import `{to}`"));
        }
    }
    wrong
}

fn may_import(from: &str, to: &str) -> bool {
    if LEAVES.contains(&from) {
        return LEAVES_IMPORT.contains(&to);
    }
    let Some((_, right)) = ARROWS.iter().find(|(module, _)| *module == from) else { return false };
    right.contains(&to) || (from != "event" && LEAVES.contains(&to))
}

fn misplaced_names(path: &str, source: &str) -> Vec<String> {
    let code = code_only(source);
    let within = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let mut wrong = Vec::new();
    let mut hold = |what: &str, lines: Vec<usize>, places: &[&str]| {
        if !within(places) {
            let only = if places.is_empty() { "nobody".to_owned() } else { places.join(" and ") };
            wrong.extend(lines.iter().map(|line| format!("{path}:{line}: {what}, which only {only} may")));
        }
    };
    hold("names axum", names(&code, "axum"), &["src/http", "src/gateway"]);
    hold("names rusqlite", names(&code, "rusqlite"), &["src/log/sqlite"]);
    hold("reads the environment", env_reads(&code), &["src/config"]);
    hold("uses `unsafe`", names(&code, "unsafe"), &["src/sys/tcp_info.rs"]);
    wrong
}

/// The first module of `lib.rs` that stands in the wrong place, in words.
fn out_of_order(lib: &str) -> Option<String> {
    let code = code_only(lib);
    let mut reached = 0;
    let declared = code.lines().filter_map(|line| line.trim().strip_suffix(';')?.split("mod ").nth(1));
    for module in declared {
        let Some(row) = ROWS.iter().position(|row| row.contains(&module)) else {
            return Some(format!("`{module}` has no place in this test's ROWS and ARROWS yet"));
        };
        if row < reached {
            return Some(format!("`{module}` stands after a module that an event meets later; rows go {ROWS:?}"));
        }
        reached = row;
    }
    None
}

#[test]
fn a_wrong_arrow_is_caught() {
    let check = |path: &str, source: &str, expected: &[&str]| {
        let told = wrong_arrows(path, source);
        assert_eq!(told.len(), expected.len(), "{path}: {source:?} told {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{source:?} told {told:?}, not {expected:?}");
        }
    };
    check("src/hub/pages.rs", "use crate::log::Log;\nuse crate::event::Event;", &[]);
    check("src/hub/pages.rs", "use crate::transport::Format;", &["`hub` may not import `transport`"]);
    check("src/hub/mod.rs", "use crate::{event::{Event, Topic}, delivery::Peer};", &["import `delivery`"]);
    check("src/log/mod.rs", "fn f() { crate::hub::open() }", &["src/log/mod.rs:1: `log` may not import `hub`"]);
    check("src/log/sqlite/writer.rs", "use super::super::super::http::App;", &["import `http`"]);
    check("src/log/sqlite/writer.rs", "use super::super::Position;", &[]);
    check("src/log/keys.rs", "mod tests {\n use super::super::Log;\n use super::*; }", &[]);
    check("src/shutdown.rs", "use super::net::Listener;", &["`shutdown` may not import `net`"]);
    check("src/event/mod.rs", "use crate::metrics::Metrics;", &["`event` may not import `metrics`"]);
    check("src/access.rs", "use crate::metrics::Metrics; use crate::config::Config;", &["import `config`"]);
    check("src/transport/json.rs", "// use crate::http::App;\nconst A: &str = \"crate::http::App\";", &[]);
    check("src/http/mod.rs", "use crate::*;", &["import `*`"]);
    check("src/http/mod.rs", "pub(crate) fn f() {}\npub(in crate::http) fn g() {}", &[]);
    check("src/main.rs", "use encke::gateway::Gateway;", &[]);
    check("src/main.rs", "use encke::log::Log;", &["`main` may not import `log`"]);
    check("src/newcomer.rs", "use crate::event::Event;", &["`newcomer` may not import `event`"]);
}

#[test]
fn a_misplaced_name_is_caught() {
    let check = |path: &str, source: &str, expected: usize| {
        assert_eq!(misplaced_names(path, source).len(), expected, "{path}: {source:?}");
    };
    check("src/delivery/body.rs", "use axum::body::Body;", 1);
    check("src/http/mod.rs", "use axum::Router; /* unsafe */", 0);
    check("src/hub/mod.rs", "fn f() { rusqlite::Connection::open(p) }", 1);
    check("src/log/sqlite/mod.rs", "use rusqlite::Connection;", 0);
    check("src/cli/mod.rs", "let a = std::env::var_os(\"A\"); let b = env!(\"B\");", 1);
    check("src/cli/mod.rs", "use std::env::{args, vars};", 1);
    check("src/cli/mod.rs", "use std::env::{args, current_dir};", 0);
    check("src/config.rs", "std::env::var(\"A\")", 0);
    check("src/config.rs", "unsafe { f() }", 1);
}

#[test]
fn a_module_out_of_order_is_caught() {
    let told = |lib: &str| out_of_order(lib).unwrap_or_default();
    assert_eq!(told("pub mod http;\npub mod net;\n\npub mod delivery;\nmod event;\npub(crate) mod metrics;"), "");
    assert!(told("pub mod event;\npub mod log;").contains("`log` stands after"));
    assert!(told("pub mod utils;").contains("`utils` has no place"));
}
