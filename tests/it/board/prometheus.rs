//! A real Prometheus, with the configuration that `grafana/` ships as an example.

use std::process::Command;
use std::time::SystemTime;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use super::client::get;
use crate::support::process::Process;
use crate::support::wait_for;

/// A running Prometheus with a database of its own.
pub(super) struct Prometheus {
    _process: Process,
    address: String,
    started: f64,
    _directory: TempDir,
}

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/prometheus.yml");
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/alerts.yml");

impl Prometheus {
    /// Starts it with the example and its alerts, but on `targets` and four times a second, and waits until it has scraped them all.
    #[track_caller]
    pub(super) fn scraping(targets: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("encke-prometheus-").tempdir().expect("a temporary directory");
        let example = std::fs::read_to_string(EXAMPLE).expect("the example can be read");
        let list = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
        let config = replaced(&example, "scrape_interval: 15s", "scrape_interval: 250ms");
        let config = replaced(&config, "evaluation_interval: 15s", "evaluation_interval: 1s");
        let config = replaced(&config, "\"127.0.0.1:8081\"", &list);
        std::fs::copy(ALERTS, directory.path().join("alerts.yml")).expect("the alerts can be copied");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a file can be written");

        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        command.arg("--enable-feature=exemplar-storage");
        let process = Process::spawn(command);
        let mut address = None;
        wait_for("Prometheus to say where it listens", || {
            let told = process.errors();
            let listening = told.lines().filter(|line| line.contains("msg=\"Listening on\""));
            address = listening.filter_map(|line| line.split_once("address=")).map(|(_, at)| at.to_owned()).next();
            address.is_some()
        });
        let address = address.expect("it was told");
        let prometheus = Self { _process: process, address, started: now(), _directory: directory };
        wait_for("Prometheus to have scraped each gateway", || {
            get(&prometheus.address, "/-/ready").status == 200
                && prometheus.value("count(encke_log_writable)").is_some_and(|count| count == count_of(targets))
        });
        prometheus
    }

    /// The only value that `expression` has now.
    #[track_caller]
    pub(super) fn value(&self, expression: &str) -> Option<f64> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expression)));
        let data = data.unwrap_or_else(|error| panic!("{expression}: {error}"));
        data["result"].get(0)?["value"].get(1)?.as_str()?.parse().ok()
    }

    /// Every value that `expression` had since the start, as a panel asks for them; an error in Prometheus' words.
    pub(super) fn values(&self, expression: &str) -> Result<Vec<f64>, String> {
        // In steps of a second back from now, as the last step is to see the newest samples.
        let (query, to) = (encoded(expression), now());
        let from = to - (to - self.started).ceil();
        let data = self.ask(&format!("/api/v1/query_range?query={query}&start={from}&end={to}&step=1"))?;
        let series = data["result"].as_array().ok_or("no result")?;
        let points = series.iter().filter_map(|series| series["values"].as_array()).flatten();
        Ok(points.filter_map(|point| point.get(1)?.as_str()?.parse().ok()).collect())
    }

    /// What Grafana offers for a template variable `label_values(selector, label)`.
    pub(super) fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>, String> {
        let data = self.ask(&format!("/api/v1/label/{label}/values?match[]={}", encoded(selector)))?;
        let values = data.as_array().ok_or("no list")?;
        Ok(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
    }

    /// The exemplars of the series that an expression names, since the start: those of each series in `exemplars`, and its
    /// labels in `seriesLabels`.
    #[track_caller]
    pub(super) fn exemplars(&self, expression: &str) -> Vec<Value> {
        let (query, from, to) = (encoded(expression), self.started, now() + 1.0);
        let data = self.ask(&format!("/api/v1/query_exemplars?query={query}&start={from}&end={to}"));
        let data = data.unwrap_or_else(|error| panic!("{expression}: {error}"));
        data.as_array().expect("a list of series").clone()
    }

    /// Every alert rule, with its expression (`query`), whether it could be evaluated (`health`), and its `state`.
    pub(super) fn alerts(&self) -> Vec<Value> {
        let data = self.ask("/api/v1/rules?type=alert").unwrap_or_else(|error| panic!("{error}"));
        let groups = data["groups"].as_array().expect("a list of groups");
        groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect()
    }

    fn ask(&self, target: &str) -> Result<Value, String> {
        let answer = get(&self.address, target);
        let mut json: Value =
            serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {}", answer.body))?;
        if json["status"] == "success" { Ok(json["data"].take()) } else { Err(json["error"].to_string()) }
    }
}

/// Fails if the example no longer holds what is to be replaced.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} is in {EXAMPLE} once");
    text.replace(from, to)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970").as_secs_f64()
}

fn count_of(targets: &[&str]) -> f64 {
    f64::from(u32::try_from(targets.len()).expect("a few targets"))
}
