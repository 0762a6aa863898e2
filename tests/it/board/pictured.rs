//! What `/diagnosis` says of an nginx that cuts quiet streams: to programs, to people, and as a picture for the documents.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::client::send;
use super::learnt::{self, NGINX};
use super::scraped::Scraped;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::wait_for;

#[test]
fn the_diagnosis_names_the_setting_of_nginx_that_cuts_quiet_streams() {
    let gateway = Gateway::start(&["--dev", "--grace", "1"]);
    learnt::learn(&gateway);
    for (reason, path) in [("proxy_idle_timeout", NGINX), ("proxy_max_duration", "direct/h1.1/0")] {
        wait_for("the last cuts to be put down to the limit that they taught", || {
            let labels = [("reason", reason), ("path", path), ("transport", "sse")];
            Scraped::from(gateway.address()).sum("encke_stream_ends_total", &labels) > 0.0
        });
    }
    let told = send(gateway.address(), "GET", "/diagnosis", &[], "").body;
    let told: Value = serde_json::from_str(&told).expect("programs are given JSON");
    let paths = told["paths"].as_array().expect("a list");
    let path = paths.iter().find(|path| path["path"] == NGINX).expect("nginx is told by how it asks");
    let limit = path["idle_limit_s"].as_f64().expect("its patience is known");
    assert!((1.9..2.5).contains(&limit), "{limit}");
    let findings = path["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["kind"] == "idle_limit").expect("it is a finding");
    assert!(finding["advice"].as_str().is_some_and(|advice| advice.contains("proxy_read_timeout")), "{finding}");

    let shown = send(gateway.address(), "GET", "/diagnosis", &[("Accept", "text/html")], "").body;
    assert!(shown.contains(NGINX) && shown.contains("<code>proxy_read_timeout</code>"), "{shown}");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&directory).expect("a directory for the picture");
    let picture = directory.join("diagnosis.png");
    let _ = fs::remove_file(&picture);
    let options = [&format!("--screenshot={}", picture.display()), "--window-size=1200,770", "--hide-scrollbars"];
    let _browser = Browser::open(Kind::Chromium, &format!("{}/diagnosis", gateway.url()), &options);
    let is_whole =
        || fs::read(&picture).is_ok_and(|file| file.starts_with(b"\x89PNG") && file.ends_with(b"IEND\xaeB`\x82"));
    wait_for("the picture to be taken", is_whole);
}
