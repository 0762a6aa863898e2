//! What operators look at: the metrics, their documentation, and boards of which every panel returns data from a real
//! Prometheus.

mod client;
mod endings;
mod exemplars;
mod learnt;
mod panels;
mod pictured;
mod prometheus;
mod scraped;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

use client::{Connection, get, post, send};
use endings::{AUTHORIZATION, KEY, admin, check_sums};
use panels::{Board, selectors, substituted};
use prometheus::Prometheus;
use scraped::Scraped;

use crate::support::gateway::Gateway;
use crate::support::wait_for;

/// Panels that show nothing but zeros after all that is driven here, and why.
const CALM: &[(&str, &str)] = &[
    ("Ends of unknown cause", "there is none"),
    ("Draining", "a gateway that drains soon ends; `endings` reads it as 1"),
    ("Stalled connections", "a peer must take nothing for two minutes"),
    ("Connections refused", "there is room for all"),
    ("Failed TLS handshakes", "nobody speaks TLS; `tls` reads it"),
    ("Accept errors", "the machine would have to run out of descriptors"),
    ("Streams from publishers", "nobody streams; `publish::stream` reads both"),
    ("Events removed", "nobody removes any"),
    ("Places of events that are gone", "nobody removes any"),
    ("Pages made smaller", "nobody removes any"),
    ("Readers that wait for a page", "there are fewer than may read at once"),
    ("Decided early", "more than 32 768 clients must leave within a second"),
    ("Receipts that did not come", "a client must be silent for a quarter of a minute; `ends::held` reads it"),
    ("Appends refused", "more must wait than one client can send"),
];

/// Panels that show nothing of a gateway that has learnt nothing.
const LEARNT: &[&str] = &["Idle limits and heartbeats", "Duration limits", "What to mend"];

#[test]
fn what_is_scraped_is_compressed_for_who_asks() {
    let gateway = Gateway::start(&["--dev"]);
    let size = |args: &[&str]| -> (String, usize) {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--fail",
            "--max-time",
            "60",
            "--output",
            "-",
            "--write-out",
            "%{stderr}%{size_download}",
        ]);
        let output =
            curl.args(args).arg(format!("{}/metrics", gateway.url())).output().expect("curl runs (package curl)");
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stderr).expect("text").parse().expect("a number");
        (String::from_utf8(output.stdout).expect("text"), told)
    };
    let (plain, length) = size(&[]);
    let (compressed, small) = size(&["--compressed"]);
    assert!(plain.len() == length && compressed.contains("# TYPE encke_streams_active gauge"), "{compressed}");
    assert!(small * 3 < length, "{small} bytes of {length}");
}

#[test]
fn every_panel_returns_data_from_a_real_prometheus() {
    let shown = Gateway::start(&["--dev", "--grace", "1"]);
    let mut stored = Gateway::start_with(&["--retention-events", "4", "--grace", "1"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    assert_eq!(get(stored.address(), "/metrics").status, 404, "outside --dev the public listener tells nothing");
    let oldest = fill(&mut stored);
    let addresses = [shown.address(), admin(&stored)];
    let prometheus = Prometheus::scraping(&addresses);
    drive_log(&stored, &oldest);
    learnt::learn(&shown);
    let open = drive_streams(&shown);
    for address in addresses {
        wait_until_seen(&prometheus, address);
    }

    let escaped = |address: &str| address.replace('.', "\\\\.");
    let mut failures = Vec::new();
    for board in Board::all() {
        for panel in board.panels() {
            for expression in &panel.expressions {
                let mut fail =
                    |words: String| failures.push(format!("{}: {}: {words}: {expression}", board.name, panel.title));
                let values = |job, instance: &str| prometheus.values(&substituted(expression, job, instance));
                match values(".+", ".+") {
                    Err(error) => fail(error),
                    Ok(values) if !values.iter().any(|value| value.is_finite()) => fail("no data".into()),
                    Ok(values) if CALM.iter().any(|(title, _)| *title == panel.title) => {
                        if values.iter().any(|value| *value > 0.0) {
                            fail("more than zero, though it is said to be calm".into());
                        }
                    }
                    Ok(values) if !values.iter().any(|value| *value > 0.0) => fail("nothing but zeros".into()),
                    Ok(_) => {}
                }
                for address in addresses {
                    match values("encke", &escaped(address)) {
                        Ok(values) if !values.is_empty() => {}
                        Ok(_) if address == addresses[1] && LEARNT.contains(&panel.title) => {}
                        outcome => fail(format!("nothing of {address} alone: {outcome:?}")),
                    }
                }
                if values("encke", "elsewhere").is_ok_and(|values| values.iter().any(|value| *value != 0.0)) {
                    fail("data of an instance that is not there".into());
                }
            }
        }
        offers_jobs_and_instances(&board, &prometheus, &addresses);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    evaluates_every_alert(&prometheus);
    open.into_iter().for_each(Connection::close);
    wait_for("every stream to have ended, with a reason", || {
        let scraped = Scraped::from(shown.address());
        scraped.sum("encke_streams_active", &[]) == 0.0 && all_decided(&scraped)
    });
    check_sums(&Scraped::from(shown.address()));
}

/// Each alert is evaluated without an error, and those are there of which the cause was driven.
#[track_caller]
fn evaluates_every_alert(prometheus: &Prometheus) {
    let mut rules = Vec::new();
    wait_for("every alert to be evaluated, and two to be there", || {
        rules = prometheus.alerts();
        let is = |name: &str, state: &str| rules.iter().any(|rule| rule["name"] == name && rule["state"] == state);
        rules.iter().all(|rule| rule["health"] != "unknown")
            && is("EnckeShortDurationLimit", "pending")
            && is("EnckeGaps", "firing")
    });
    assert!(rules.len() > 10, "{rules:?}");
    let metrics = learnt::scraped().metrics();
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let expression = rule["query"].as_str().expect("an alert has an expression");
        let selectors = selectors(expression);
        assert!(!selectors.is_empty() || expression.contains("up{"), "{expression}");
        for (series, _, range) in selectors {
            let metric = learnt::scraped().metric_of(series);
            assert!(metrics.contains_key(metric), "{} uses {metric}, which is not exported", rule["name"]);
            let rises = metric != series || series.ends_with("_total");
            assert_eq!(rises, range.is_some(), "{}: counters, and only they, have a rate: {expression}", rule["name"]);
        }
    }
}

/// Stores large events and restarts, so that all but the newest have to be read back. Gives the cursor of the oldest.
fn fill(gateway: &mut Gateway) -> String {
    let large = "x".repeat(700_000);
    let receipts = [(); 4].map(|()| post(gateway.address(), "/events/large", &[AUTHORIZATION], &large));
    assert_eq!(receipts[3].status, 201, "{}", receipts[3].body);
    gateway.restart();
    let receipt: Value = serde_json::from_str(&receipts[0].body).expect("a receipt");
    receipt["id"].as_str().expect("a receipt has a cursor").to_owned()
}

/// Has the log read back, trimmed, and asked for what is gone.
fn drive_log(gateway: &Gateway, oldest: &str) {
    let address = gateway.address();
    let target = |start: &str| format!("/events/large?lastEventId={start}");
    let mut behind = Connection::open(address);
    behind.send(&format!("GET {} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n\r\n", target("earliest")));
    behind.read_until("xxx");
    behind.reset();
    for _ in 0..8 {
        assert_eq!(post(address, "/events/large", &[AUTHORIZATION], "small").status, 201);
    }
    let gone = send(address, "GET", &(target(oldest) + "&transport=long-poll"), &[AUTHORIZATION], "");
    assert!(gone.body.contains("\"expired\""), "{}", gone.body);
    assert_eq!(get(address, &target("latest")).status, 401);
    assert_eq!(send(admin(gateway), "GET", "/metrics", &[("Host", "elsewhere.example")], "").status, 421);
    let scraped = Scraped::from(admin(gateway));
    assert!(scraped.sum("encke_page_loads_total", &[]) > 0.0);
    assert!(scraped.sum("encke_log_trimmed_events_total", &[]) > 0.0);
}

/// Opens, resumes, cuts and leaves streams, and has all refused that can be. Gives what is still open.
fn drive_streams(gateway: &Gateway) -> Vec<Connection> {
    let address = gateway.address();
    let mut slow = Connection::open(address);
    slow.send("GET /events/never HTTP/1.1\r\n");
    assert_eq!(post(address, "/events/board", &[("Idempotency-Key", "a")], "first").status, 201);
    assert_eq!(post(address, "/events/board", &[("Idempotency-Key", "a")], "first").status, 200);
    assert_eq!(post(address, "/events/board", &[("Idempotency-Key", "a")], "other").status, 422);
    for _ in 0..16 {
        assert_eq!(post(address, "/events/board", &[], "more").status, 201);
    }
    for transport in ["sse", "ndjson", "multipart-replace", "long-poll"] {
        let target = |start: &str| format!("/events/board?transport={transport}&timeout=0{start}");
        let first = Connection::subscribe(address, &target("&lastEventId=earliest"), "more");
        let cursor = { first }.field("encke-cursor");
        // Only who has gone can be seen to come back.
        wait_for("it to have gone", || Scraped::from(address).sum("encke_streams_active", &[]) == 0.0);
        Connection::subscribe(address, &target(&format!("&lastEventId={cursor}")), "\r\n\r\n").close();
        Connection::subscribe(address, &target("&lastEventId=garbage"), "encke-resume: gap").close();
        let epoch = cursor.split('-').next().expect("a cursor has an epoch");
        Connection::subscribe(address, &target(&format!("&lastEventId={epoch}-9999999")), "encke-resume: gap").close();
    }
    let mut told = Connection::subscribe(address, "/events/board?beacon=1", "encke.hello");
    let receipt = format!("{{\"stream\":\"{}\",\"age_ms\":0}}", told.field("encke-stream"));
    assert_eq!(post(address, "/beacon", &[("Content-Type", "text/plain")], &receipt).status, 204);
    let mut open = vec![told];
    for transport in ["sse", "ndjson", "multipart-replace"] {
        open.push(Connection::subscribe(address, &format!("/events/board?transport={transport}"), "\r\n\r\n"));
        let mut cut = Connection::subscribe(address, &format!("/events/board?transport={transport}"), "\r\n\r\n");
        let id = cut.field("encke-stream");
        assert_eq!(post(address, &format!("/streams/{id}/cut"), &[], "").status, 204);
        cut.read_to_end();
    }
    assert_eq!(post(address, "/events/board", &[], "last").status, 201);
    open.iter_mut().for_each(|stream| drop(stream.read_until("last")));

    assert_eq!(get(address, "/nowhere").status, 404);
    assert_eq!(send(address, "DELETE", "/metrics", &[], "").status, 405);
    assert_eq!(get(address, "/events").status, 400);
    assert_eq!(send(address, "GET", "/metrics", &[("Host", "elsewhere.example")], "").status, 421);
    assert_eq!(post(address, "/events/board", &[("Origin", "http://elsewhere.example")], "no").status, 403);
    assert_eq!(send(address, "GET", "/metrics", &[("A", &"a".repeat(70_000))], "").status, 431);
    assert_eq!(send(address, "GET", "/metrics", &[("Not a name", "x")], "").status, 400);
    assert!(slow.read_to_end().starts_with("HTTP/1.1 408 "));
    open
}

/// Whether each stream that is not open has ended for a reason that is known.
fn all_decided(scraped: &Scraped) -> bool {
    let sum = |name| scraped.sum(name, &[]);
    sum("encke_stream_opens_total") - sum("encke_streams_active") == sum("encke_stream_ends_total")
}

/// Waits until Prometheus knows what has been counted by now.
fn wait_until_seen(prometheus: &Prometheus, address: &str) {
    wait_for("every end to have its reason", || all_decided(&Scraped::from(address)));
    let scraped = Scraped::from(address);
    for name in
        ["encke_stream_opens_total", "encke_stream_ends_total", "encke_refused_total", "encke_head_timeouts_total"]
    {
        let expression = format!("sum({name}{{instance=\"{address}\"}})");
        let counted = scraped.sum(name, &[]);
        wait_for("Prometheus to have seen all", || prometheus.value(&expression).is_some_and(|seen| seen >= counted));
    }
}

/// The lists at the top of the board hold the job and every gateway.
#[track_caller]
fn offers_jobs_and_instances(board: &Board, prometheus: &Prometheus, addresses: &[&str]) {
    for (name, expected) in [("job", vec!["encke"]), ("instance", addresses.to_vec())] {
        let variable = board.variables().iter().find(|variable| variable["name"] == name);
        let query = variable.and_then(|variable| variable["query"]["query"].as_str()).expect("a variable has a query");
        let asked = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(")")?.rsplit_once(", "));
        let (selector, label) = asked.unwrap_or_else(|| panic!("{query} asks for the values of a label"));
        let offered = prometheus.label_values(&substituted(selector, ".+", ".+"), label);
        let offered = offered.unwrap_or_else(|error| panic!("{query}: {error}"));
        let expected = expected.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(offered.into_iter().collect::<BTreeSet<_>>(), expected, "{query}");
    }
}

#[test]
fn the_boards_and_the_metrics_have_each_other() {
    let scraped = learnt::scraped();
    let exported: BTreeSet<_> = scraped.metrics().into_keys().collect();
    let boards = Board::all();
    let used: BTreeSet<_> = boards
        .iter()
        .flat_map(Board::panels)
        .flat_map(|panel| panel.expressions)
        .flat_map(selectors)
        .map(|(series, ..)| scraped.metric_of(series).to_owned())
        .collect();
    assert_eq!(used.difference(&exported).collect::<Vec<_>>(), [""; 0], "on a board, but not exported");
    assert_eq!(exported.difference(&used).collect::<Vec<_>>(), [""; 0], "exported, but on no board");
}

#[test]
fn the_documentation_names_each_metric_label_and_value_and_no_other() {
    let scraped = learnt::scraped();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).expect("it is there");
    let rows: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `encke_")?.split('`').next()).collect();
    let documented: BTreeSet<_> = rows.iter().map(|row| format!("encke_{row}")).collect();
    assert_eq!(documented.len(), rows.len(), "each metric stands in one row");
    let exported: BTreeSet<_> = scraped
        .metrics()
        .into_iter()
        .map(|(name, labels)| (name, in_order(labels)))
        .map(|(name, labels)| if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) })
        .collect();
    assert_eq!(documented, exported);
    for (label, value) in scraped.label_values() {
        assert!(
            value.is_empty() || text.contains(&format!("`{value}`")),
            "{label}=\"{value}\" is not in docs/metrics.md"
        );
    }
    // Not all of these came by here.
    for product in encke::diagnosis::Product::ALL {
        assert!(text.contains(&format!("`{}`", product.as_str())), "{product:?} is not in docs/metrics.md");
    }
    for word in text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("encke_")) {
        let name = word.split('{').next().expect("a word has a beginning");
        assert!(scraped.metrics().contains_key(name), "docs/metrics.md speaks of {name}, which is not exported");
    }
}

/// Labels as they are written: what one asks for first, first.
fn in_order(labels: BTreeSet<String>) -> Vec<String> {
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels
        .sort_by_key(|label| ["reason", "transport", "resume", "kind", "path"].iter().position(|known| known == label));
    labels
}

#[test]
fn every_alert_is_tested_both_ways() {
    let read = |name: &str| {
        std::fs::read_to_string(format!("{}/grafana/{name}", env!("CARGO_MANIFEST_DIR"))).expect("it is there")
    };
    let (alerts, tests) = (read("alerts.yml"), read("alerts.test.yml"));
    let names: BTreeSet<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    for name in names {
        // What follows the name in a test says whether it is expected.
        let mut expected: Vec<_> = tests
            .split(&format!("alertname: {name}\n"))
            .skip(1)
            .map(|rest| !rest.trim_start().starts_with("exp_alerts: []"))
            .collect();
        expected.sort_unstable();
        assert_eq!(expected, [false, true], "{name} is there once, and once it is not");
    }
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("metrics.txt");
    std::fs::write(&file, &learnt::scraped().text).expect("a file can be written");
    let metrics = std::fs::File::open(&file).expect("it can be read");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/prometheus.yml");
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/alerts.yml");
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/alerts.test.yml");
    let without = Stdio::null;
    for (args, input) in [
        (vec!["check", "metrics"], metrics.into()),
        (vec!["check", "config", example], without()),
        (vec!["check", "rules", "--lint=all", "--lint-fatal", alerts], without()),
        (vec!["test", "rules", tests], without()),
    ] {
        let checked =
            Command::new("promtool").args(&args).stdin(input).output().expect("promtool comes with Prometheus");
        let words = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{args:?}: {words}");
    }
}

/// The rules of Grafana's dashboard linter, and ours.
#[test]
fn the_boards_follow_the_rules_of_boards() {
    let scraped = learnt::scraped();
    let metrics = scraped.metrics();
    let boards = Board::all();
    let everywhere: BTreeSet<_> = boards.iter().flat_map(Board::panels).map(|panel| panel.title).collect();
    for title in CALM.iter().map(|(title, _)| title).chain(LEARNT) {
        assert!(everywhere.contains(title), "there is no panel {title}");
    }
    let uids: BTreeSet<_> = boards.iter().map(|board| board.json["uid"].as_str()).collect();
    assert_eq!(uids.len(), boards.len(), "each board has an id of its own");
    for board in &boards {
        let name = &board.name;
        assert_eq!(board.json["editable"], false, "{name}");
        assert!(board.json["schemaVersion"].as_u64().is_some_and(|version| version >= 39), "{name} is of Grafana 11");
        assert!(board.json["id"].is_null(), "{name} holds the id that one Grafana gave it");
        let variables: Vec<_> = board.variables().iter().map(|variable| &variable["name"]).collect();
        assert_eq!(variables[..3], ["datasource", "job", "instance"], "{name}");
        let by_path = variables[3..] == ["path"];
        assert!(by_path || variables.len() == 3, "{name}: {variables:?}");
        for variable in &board.variables()[1..] {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
            assert_eq!((&variable["multi"], &variable["allValue"]), (&true.into(), &".+".into()), "{name}");
        }
        let open: Vec<_> = board.rows().iter().map(|row| row["collapsed"] == false).collect();
        assert!(open.is_sorted_by(|a, b| a >= b) && open[0], "{name}: first rows are open");

        let panels = board.panels();
        let titles: BTreeSet<_> = panels.iter().map(|panel| panel.title).collect();
        assert_eq!(titles.len(), panels.len(), "{name}: each title names one panel");
        for panel in panels {
            let at = format!("{name}: {:?}", panel.title);
            assert!(!panel.title.is_empty() && !panel.expressions.is_empty(), "{at}");
            let description = panel.json["description"].as_str().unwrap_or_default();
            assert!(description.len() > 60, "{at}: the description says what to do");
            // Words with a small letter are emphasis.
            let words = description.split('*').skip(1).step_by(2);
            for word in words.filter(|word| word.starts_with(char::is_uppercase)) {
                let is_board = boards.iter().any(|board| board.json["title"] == word);
                assert!(titles.contains(word) || is_board || everywhere.contains(word), "{at}: there is no {word:?}");
            }
            assert_eq!(panel.json["datasource"]["uid"], "${datasource}", "{at}");
            let unit = match panel.kind {
                "heatmap" => &panel.json["options"]["yAxis"]["unit"],
                _ => &panel.json["fieldConfig"]["defaults"]["unit"],
            };
            assert!(unit.as_str().is_some_and(|unit| !unit.is_empty()), "{at} has a unit");
            let targets = panel.json["targets"].as_array().expect("a panel has targets");
            for target in targets {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{at}");
                assert_eq!(target["format"] == "heatmap", panel.kind == "heatmap", "{at}");
                let is_shown = matches!(panel.kind, "heatmap" | "timeseries");
                assert!(is_shown || target["exemplar"].is_null(), "{at} cannot show exemplars");
            }
            assert_eq!(panel.has_exemplars(), description.contains("/streams"), "{at}: it is said where a dot leads");
            for expression in panel.expressions {
                let selectors = selectors(expression);
                assert!(!selectors.is_empty(), "{at}: {expression}");
                for (series, matchers, range) in selectors {
                    assert!(matchers.contains("job=~\"$job\""), "{at}: {expression}");
                    assert!(matchers.contains("instance=~\"$instance\""), "{at}: {expression}");
                    let has_path = metrics[scraped.metric_of(series)].contains("path");
                    let is_chosen = matchers.contains("path=~\"$path\"");
                    assert_eq!(is_chosen, by_path && has_path, "{at}: {expression}");
                    let rises = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| series.ends_with(end));
                    let known = matches!(range, Some("$__rate_interval" | "$__range"));
                    assert_eq!(
                        (rises, range.is_some()),
                        (known, known),
                        "{at}: counters, and only they, have a rate: {expression}"
                    );
                }
            }
        }
    }
}
