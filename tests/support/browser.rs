//! Headless browsers as plain processes: no driver, so what they do is what a reader's browser does.
//!
//! A browser is started on an address of a page that reports what it saw (see `page_server`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use tempfile::TempDir;

use super::process::Process;

/// A browser that may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chromium,
    Firefox,
}

/// A running browser with a fresh profile. Dropping it ends all its processes and removes the profile.
pub(crate) struct Browser {
    // Dropped in this order: first the processes, then what they wrote, then the turn of the next browser.
    process: Process,
    _profile: TempDir,
    _turn: Turn,
}

impl Browser {
    /// Opens `url` in headless Chromium.
    pub(crate) fn chromium(url: &str) -> Self {
        Self::open(Kind::Chromium, url, &[])
    }

    /// Opens `url` in headless Firefox.
    pub(crate) fn firefox(url: &str) -> Self {
        Self::open(Kind::Firefox, url, &[])
    }

    /// Opens `url` with further options of the browser's own, such as `--window-size=390,844` (Chromium).
    ///
    /// Waits for a turn first: a machine with two cores is slower, not faster, with more than two browsers.
    pub(crate) fn open(kind: Kind, url: &str, options: &[&str]) -> Self {
        Self::opened(None, kind, url, options)
    }

    /// The same in a browser that trusts this authority of certificates besides those that it knows.
    pub(crate) fn open_trusting(authority: &Path, kind: Kind, url: &str, options: &[&str]) -> Self {
        Self::opened(Some(authority), kind, url, options)
    }

    fn opened(authority: Option<&Path>, kind: Kind, url: &str, options: &[&str]) -> Self {
        let turn = Turn::wait();
        let profile = tempfile::Builder::new().prefix("encke-browser-").tempdir().expect("a temporary directory");
        if let Some(authority) = authority {
            trust(authority, kind, profile.path());
        }
        let mut command = match kind {
            Kind::Chromium => chromium(profile.path()),
            Kind::Firefox => firefox(profile.path()),
        };
        // What a browser leaves outside its profile, it leaves in its home.
        command
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path());
        command.args(options).arg(url);
        Self { process: Process::spawn(command), _profile: profile, _turn: turn }
    }

    /// The first process, for its signals: `kill9` is a crash, `STOP` and `CONT` to all are a device that sleeps.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Both keep what they trust as NSS does: Firefox in its profile, Chromium in the home.
fn trust(authority: &Path, kind: Kind, profile: &Path) {
    let directory = match kind {
        Kind::Chromium => profile.join(".pki/nssdb"),
        Kind::Firefox => profile.to_owned(),
    };
    fs::create_dir_all(&directory).expect("the profile can be written");
    let database = format!("sql:{}", directory.display());
    for args in [&["-N", "--empty-password"][..], &["-A", "-n", "test", "-t", "C,,", "-i"]] {
        let mut certutil = Command::new("certutil");
        certutil.args(["-d", &database]).args(args);
        if args[0] == "-A" {
            certutil.arg(authority);
        }
        let status = certutil.status().expect("certutil runs (package libnss3-tools)");
        assert!(status.success(), "certutil {args:?}: {status}");
    }
}

fn chromium(profile: &Path) -> Command {
    let mut command = Command::new("chromium");
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.args([
        "--headless=new",
        // Root has no sandbox, and the pages are our own.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-default-browser-check",
        // Nothing but the page may use the network.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-domain-reliability",
        "--disable-extensions",
        "--disable-sync",
        "--disable-breakpad",
        "--metrics-recording-only",
        "--no-proxy-server",
        "--password-store=basic",
        // A page that nobody sees is slowed down otherwise.
        "--disable-background-timer-throttling",
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
        "--autoplay-policy=no-user-gesture-required",
        // Pages open tabs though nobody clicks.
        "--disable-popup-blocking",
    ]);
    command
}

fn firefox(profile: &Path) -> Command {
    fs::write(profile.join("user.js"), FIREFOX_PREFERENCES).expect("the profile can be written");
    let mut command = Command::new("firefox-esr");
    command.args(["--headless", "--no-remote", "--profile"]).arg(profile);
    command.env("MOZ_CRASHREPORTER_DISABLE", "1").env("MOZ_HEADLESS", "1");
    command
}

/// No first-run pages, no network but the page's.
const FIREFOX_PREFERENCES: &str = r#"
user_pref("app.normandy.enabled", false);
user_pref("app.shield.optoutstudies.enabled", false);
user_pref("app.update.auto", false);
user_pref("app.update.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.newtabpage.activity-stream.feeds.system.topstories", false);
user_pref("browser.ping-centre.telemetry", false);
user_pref("browser.region.update.enabled", false);
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.search.update", false);
user_pref("browser.sessionstore.resume_from_crash", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.startup.page", 0);
user_pref("browser.tabs.warnOnClose", false);
user_pref("browser.topsites.contile.enabled", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("dom.disable_open_during_load", false);
user_pref("dom.push.connection.enabled", false);
user_pref("extensions.blocklist.enabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("geo.enabled", false);
user_pref("media.gmp-manager.url", "");
user_pref("messaging-system.rsexperimentloader.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.dns.disablePrefetch", true);
user_pref("network.http.speculative-parallel-limit", 0);
user_pref("network.prefetch-next", false);
user_pref("network.proxy.type", 0);
user_pref("network.trr.mode", 5);
user_pref("security.certerrors.mitm.priming.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("signon.autofillForms", false);
user_pref("toolkit.startup.max_resumed_crashes", -1);
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.server", "");
user_pref("toolkit.telemetry.unified", false);
user_pref("trailhead.firstrun.didSeeAboutWelcome", true);
"#;

/// How many browsers one test program runs at once. A test that needs two at a time holds both turns.
const BROWSERS_AT_ONCE: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

struct Turn;

impl Turn {
    fn wait() -> Self {
        let running = RUNNING.lock().expect("nothing panics while it counts");
        let mut running =
            ENDED.wait_while(running, |running| *running >= BROWSERS_AT_ONCE).expect("nothing panics while it counts");
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().expect("nothing panics while it counts") -= 1;
        ENDED.notify_one();
    }
}
