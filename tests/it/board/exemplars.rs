//! From a figure to the story of one stream: the two forms in which metrics can be had, and what Prometheus makes of the one
//! that has exemplars.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::Connection;
use super::panels::{Board, Panel, substituted};
use super::prometheus::Prometheus;
use super::scraped::Scraped;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};
use crate::support::wait_for;

/// What Prometheus 2.42 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Of what a scrape itself changes.
const OF_A_SCRAPE: [&str; 2] = ["encke_connections_active", "encke_connections_total"];

#[test]
fn metrics_are_told_in_the_form_that_is_preferred_and_both_tell_the_same() {
    let gateway = Gateway::start(&["--dev", "--grace", "30"]);
    lose_a_stream(&gateway);
    let scraped = |accept: &str| Request::get("/metrics").field("Accept", accept).ask(gateway.address());
    for older in ["", "*/*", "text/plain", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"] {
        let answer = scraped(older);
        assert_eq!(media_type(&answer), "text/plain; version=0.0.4; charset=utf-8", "{older}");
        assert!(!answer.text().contains("# EOF") && !answer.text().contains("stream=\""), "{older}");
    }
    let [text, open_metrics] = [scraped("*/*"), scraped(PROMETHEUS)];
    assert_eq!(media_type(&open_metrics), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open_metrics.text().ends_with("\n# EOF\n"), "{}", open_metrics.text());
    for answer in [&text, &open_metrics] {
        let vary = answer.field("vary").unwrap_or_default().to_ascii_lowercase();
        assert!(vary.split(", ").any(|field| field == "accept"), "{vary}");
    }
    assert_eq!(samples(text.text()), samples(open_metrics.text()));
}

#[test]
fn exemplars_lead_from_the_panels_to_the_story_of_a_stream() {
    let gateway = Gateway::start(&["--dev", "--grace", "30"]);
    let prometheus = Prometheus::scraping(&[gateway.address()]);
    let id = lose_a_stream(&gateway);
    let board = Board::all().into_iter().find(|board| board.name == "why-streams-die.json").expect("it is there");
    let panels: Vec<_> = board.panels().into_iter().filter(Panel::has_exemplars).collect();
    let titles: Vec<_> = panels.iter().map(|panel| panel.title).collect();
    assert_eq!(titles, ["Ends that nobody wanted", "Ends by reason", "Idle at end", "Age at end"]);
    for panel in panels {
        let expression = substituted(panel.expressions[0], ".+", ".+");
        let mut found = Vec::new();
        wait_for("Prometheus to have the exemplar", || {
            found = prometheus.exemplars(&expression);
            !found.is_empty()
        });
        let [series] = &found[..] else { panic!("{}: one stream has ended: {found:?}", panel.title) };
        let [exemplar] = series["exemplars"].as_array().expect("a list").as_slice() else { panic!("{found:?}") };
        let stream = exemplar["labels"]["stream"].as_str().expect("it names a stream");
        assert_eq!(stream, &id[..8], "{}", panel.title);

        let told = Request::get(&format!("/streams?stream={stream}")).ask(gateway.address()).json();
        let story = &told["ended"][0];
        assert_eq!(story["stream"], stream, "{told}");
        assert_eq!(story["path"], series["seriesLabels"]["path"], "{told}");
        match &series["seriesLabels"]["reason"] {
            Value::Null => {
                // The value is that of the story, in the bucket of its series.
                let value: f64 = exemplar["value"].as_str().expect("text").parse().expect("a number");
                let field = if panel.title.starts_with("Age") { "age_s" } else { "quiet_s" };
                assert!((story[field].as_f64().expect("seconds") - value).abs() < 0.001, "{exemplar} and {told}");
                let edge: f64 = series["seriesLabels"]["le"].as_str().expect("text").parse().expect("a number");
                assert!(value <= edge, "{found:?}");
            }
            reason => assert_eq!(&story["reason"], reason, "{told}"),
        }
    }
}

/// Has the client of a stream come back after its connection was lost. Gives the id of the stream.
#[track_caller]
fn lose_a_stream(gateway: &Gateway) -> String {
    let address = gateway.address();
    let target = |start: &str| format!("/events/quiet?session=tab-7{start}");
    let mut stream = Connection::subscribe(address, &target(""), "encke.hello");
    let (id, cursor) = (stream.field("encke-stream"), stream.field("encke-cursor"));
    stream.close();
    wait_for("it to have gone", || Scraped::from(address).sum("encke_streams_active", &[]) == 0.0);
    Connection::subscribe(address, &target(&format!("&lastEventId={cursor}")), "encke.hello").close();
    wait_for("it to be known why it ended, and the other to have gone", || {
        let scraped = Scraped::from(address);
        let lost = scraped.sum("encke_stream_ends_total", &[("reason", "dropped_came_back")]);
        lost == 1.0 && scraped.sum("encke_streams_active", &[]) == 0.0
    });
    id
}

fn media_type(answer: &Answer) -> String {
    answer.field("content-type").unwrap_or_default()
}

/// Each sample with its value; edges are spelled otherwise in either form.
fn samples(text: String) -> BTreeMap<String, f64> {
    let scraped = Scraped::of(text);
    let samples = scraped.series().iter().filter(|series| !OF_A_SCRAPE.contains(&series.name.as_str())).map(|series| {
        let mut labels = series.labels.clone();
        if let Some(edge) = labels.get_mut("le") {
            *edge = edge.parse::<f64>().expect("an edge is a number").to_string();
        }
        (format!("{}{labels:?}", series.name), series.value)
    });
    samples.collect()
}
