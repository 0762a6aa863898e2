//! The live page at `/`, used as a visitor uses it, in both browsers; and its pictures.

use std::fs;
use std::path::PathBuf;

use crate::clients::same_origin::Debugged;
use crate::support::PATIENCE;
use crate::support::browser::Kind;
use crate::support::gateway::Gateway;

#[test]
fn the_live_page_works_in_chromium() {
    works(Kind::Chromium, "chromium", "");
}

#[test]
fn the_live_page_works_below_a_path() {
    works(Kind::Chromium, "chromium", "/tools/live");
}

#[test]
fn the_live_page_works_in_firefox() {
    works(Kind::Firefox, "firefox", "");
}

/// Every column shows events, comes back after a cut and after a crash, and nothing is missed, doubled, or complained of.
fn works(kind: Kind, name: &str, base: &str) {
    let pictures = pictures(base);
    let taken: Vec<PathBuf> = [1280, 360].map(|width| pictures.join(format!("live-{width}-{name}.png"))).into();
    for old in &taken {
        let _ = fs::remove_file(old);
    }
    let mut gateway = Gateway::start(&["--dev", "--base-path", base]);
    let args = [format!("{}/", gateway.url()), pictures.display().to_string()];
    let mut visit = Debugged::start(kind, "live-page.mjs", &args);
    let script = visit.script();
    assert_eq!(script.line(6 * PATIENCE).as_deref(), Some("kill the gateway"));
    gateway.restart();
    assert_eq!(script.line(4 * PATIENCE).as_deref(), Some("done"));
    assert!(script.wait(PATIENCE).success());
    for picture in taken {
        let file = fs::read(&picture).unwrap_or_default();
        assert!(file.starts_with(b"\x89PNG\r\n\x1a\n"), "{} is no picture", picture.display());
    }
}

/// Where pictures of the page go: `ENCKE_SCREENSHOTS`, or a directory beside what is built.
fn pictures(base: &str) -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots"));
    let directory = std::env::var_os("ENCKE_SCREENSHOTS").map_or_else(default, PathBuf::from);
    let directory = directory.join(base.trim_start_matches('/'));
    fs::create_dir_all(&directory).expect("a directory for the pictures");
    directory
}
