use super::*;
use crate::delivery::EndReason;
use crate::diagnosis::{Departure, Gone, PathNumber};

fn seconds_of(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn shown() -> Shown {
    let stream = std::num::NonZeroU64::MIN;
    let live = Live {
        age: seconds_of(90.5),
        quiet: seconds_of(3.0),
        lag: 7,
        heartbeat: seconds_of(15.0),
        not_taken: 4096,
        blocked: Some(seconds_of(3.25)),
        transport: "sse",
        path: PathNumber::OTHER,
        name: ShortName(0xab),
        stream,
    };
    let tcp = TcpInfo { unacknowledged: 2, round_trip: Duration::from_micros(750), ..TcpInfo::default() };
    let end = Departure {
        name: ShortName(0xcd),
        transport: "ndjson",
        reason: None,
        gone: Gone::Closed,
        draining: false,
        age: seconds_of(100.0),
        idle: seconds_of(60.0),
        quiet_before: Duration::ZERO,
        outlived: seconds_of(20.0),
        blocked: None,
        tcp: Some(tcp),
        given: 0,
        time_limit: None,
    };
    let back = Some(Back { after: seconds_of(2.0), is_strong: false, missed: Some(3) });
    let reason = EndReason::DroppedCameBack;
    let story = Story { stream, path: None, ended: seconds_of(500.0), end, reason, limit: None, waited: true, back };
    let open = |transport, streams| Open { path: PathNumber::OTHER, transport, streams };
    Shown {
        asked: Asked { sort: Sort::Lag, limit: 1, of: None },
        survey: Survey { streams: vec![live], open: vec![open("sse", 30), open("ndjson", 2)], carriers: (3, 1) },
        paths: vec!["<other>".to_owned()],
        told: Told { now: seconds_of(510.0), stories: vec![story], waiting: 4 },
        now: Timestamp(86_400_000 + 110_000),
    }
}

#[test]
fn programs_are_given_every_figure() {
    let value = shown().value();
    assert_eq!((&value["open"], &value["undecided"]), (&json!(32), &json!(4)));
    assert_eq!(value["counts"][1], json!({ "path": "<other>", "transport": "ndjson", "streams": 2 }));
    assert_eq!(value["incomplete"], "1 of 3 carriers did not answer in time; their streams are missing");
    assert_eq!(
        value["streams"],
        json!([{
            "stream": "000000ab", "path": "<other>", "transport": "sse", "age_s": 90.5, "quiet_s": 3.0, "heartbeat_s": 15.0,
            "lag": 7, "not_taken_bytes": 4096, "blocked_s": 3.25,
        }])
    );
    let mut ended = value["ended"][0].clone();
    let told = ended["told"].take();
    assert!(told.as_str().is_some_and(|told| told.starts_with("Opened at 00:00:00 UTC by a path")), "{told}");
    assert_eq!(
        ended,
        json!({
            "stream": "000000cd", "path": "other", "transport": "ndjson", "opened": "1970-01-02T00:00:00.000Z",
            "ended": "1970-01-02T00:01:40.000Z", "age_s": 100.0, "quiet_s": 60.0, "quiet_before_s": 0.0, "outlived_s": 20.0,
            "last_sign": "closed", "blocked_s": null, "reason": "dropped_came_back", "limit_s": null, "waited": true,
            "tcp": { "unacknowledged": 2, "retransmitted": 0, "since_acknowledged_s": 0.0, "not_sent_bytes": 0,
                     "round_trip_ms": 0.75 },
            "returned": { "after_s": 2.0, "known": "weak", "missed": 3 }, "told": null,
        })
    );
}

#[test]
fn a_moment_of_another_day_is_told_with_its_day() {
    assert_eq!(shown().clock(seconds_of(300.0)), "1970-01-01 23:58:20 UTC");
}

#[test]
fn people_are_shown_the_same() {
    let page = page::page(&shown());
    for part in [
        "Open: 32",
        "30 by <code>&lt;other&gt;</code> as <code>sse</code>",
        "1 of 3 carriers",
        "?stream=000000ab",
        "<th>behind ↓",
        "<th><a href=\"?sort=age\">age</a>",
        "<td>90.5 s<td>3.0 s<td>15.0 s<td>7<td>4096 B<td>3.2 s",
        "first 1 of 32",
        "time that it has for that: 4.",
        "<code>dropped_came_back</code>",
        "had not been given 3 events",
        "<a href=\"diagnosis\">",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
}
