//! Pages of other origins: outside `--dev` those that `--cors-origin` lists may read, and no other.

use serde_json::json;

use super::page_client::{PageClient, Script, server};
use super::publisher::{escaped, post};
use super::reading::Reading;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::page_server::PageServer;

const KEY: &str = "a-key-for-this-test-alone";

#[test]
fn chromium_lets_a_listed_origin_resume_and_refuses_another() {
    listed_or_refused(Kind::Chromium);
}

#[test]
fn firefox_lets_a_listed_origin_resume_and_refuses_another() {
    listed_or_refused(Kind::Firefox);
}

fn listed_or_refused(kind: Kind) {
    let listed = server(Script::JsonLines);
    let origin = listed.url("");
    let mut gateway =
        Gateway::start_with(&["--read", "public", "--cors-origin", &origin], &[("ENCKE_PUBLISH_KEY", KEY)]);

    let mut reading = Reading::of(PageClient::open_on(listed, kind, Script::JsonLines, gateway.url(), "orders"));
    reading.hello("new");
    publish(&gateway, "one");
    reading.more(1);
    gateway.restart();
    // Back with Last-Event-ID, a field that needs the gateway's leave beforehand (Fetch § 4.8).
    reading.hello("resumed");
    publish(&gateway, "two");
    reading.more(1);
    let data: Vec<&str> = reading.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data, ["one", "two"]);
    drop(reading);

    let other = PageServer::of_script(include_str!("../../clients/pages/refused.js"));
    let url = escaped(&format!("{}/events?topic=orders&transport=long-poll", gateway.url()));
    let _browser = Browser::open(kind, &other.url(&format!("/?url={url}")), &[]);
    assert_eq!(
        other.result(),
        json!({ "reached": "opaque", "read": "TypeError", "resumed": "TypeError", "eventSource": "closed" })
    );
}

fn publish(gateway: &Gateway, data: &str) {
    let key = format!("Bearer {KEY}");
    let outcome = post(gateway.url(), "/events/orders", &[("Authorization", &key)], data.as_bytes());
    assert!(matches!(outcome, Ok((201, _))), "{outcome:?}");
}
