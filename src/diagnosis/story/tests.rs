use super::*;
use crate::diagnosis::{ShortName, Signature};

const NGINX: &[u8] =
    b"GET /events HTTP/1.0\r\nHost: upstream\r\nConnection: close\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n";

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn story(number: u64) -> Story {
    let end = Departure {
        name: ShortName(0x0102_0304),
        transport: "sse",
        reason: None,
        gone: Gone::Closed,
        draining: false,
        age: seconds(100.0),
        idle: seconds(60.1),
        quiet_before: Duration::ZERO,
        outlived: Duration::ZERO,
        blocked: None,
        tcp: None,
        given: 7,
        time_limit: None,
    };
    Story {
        stream: NonZeroU64::new(number).expect("not 0"),
        path: Some(Signature::of_head(NGINX).path()),
        ended: seconds(200.0),
        end,
        reason: EndReason::ProxyIdleTimeout,
        limit: Some(seconds(60.0)),
        waited: true,
        back: Some(Back { after: seconds(2.1), is_strong: true, missed: Some(0) }),
    }
}

fn told(story: &Story) -> String {
    story.told(|at| format!("{} s", at.as_secs_f64()))
}

#[test]
fn a_story_is_told_in_sentences() {
    assert_eq!(
        told(&story(1)),
        "Opened at 100 s by nginx over HTTP/1.0, as sse; sent its last byte at 139.9 s; 60.1 s later the other end closed (FIN). \
         That is where this path cuts quiet streams (60 s): `proxy_idle_timeout`. Its client, known by its session, was back \
         2.1 s later and had missed nothing."
    );
}

#[test]
fn what_the_socket_and_the_kernel_said_is_told() {
    let tcp = TcpInfo {
        since_acknowledged: seconds(12.0),
        unacknowledged: 3,
        not_sent: 900,
        retransmitted: 2,
        round_trip: Duration::from_micros(400),
    };
    let end = Departure {
        gone: Gone::Stalled,
        idle: seconds(14.0),
        quiet_before: seconds(1.5),
        outlived: seconds(9.0),
        blocked: Some(seconds(14.0)),
        tcp: Some(tcp),
        ..story(1).end
    };
    let slow =
        Story { end, reason: EndReason::SlowReader, limit: None, waited: false, back: None, path: None, ..story(1) };
    assert_eq!(
        told(&slow),
        "Opened at 100 s by a path without a place of its own, as sse; sent its last byte at 186 s; 14.0 s later it was given \
         up, as the other end took no byte, after its socket had taken nothing for 14.0 s. The longest quiet between its writes \
         was 9.0 s. As the kernel knew, 3 segments were not acknowledged; the last acknowledgement was 12.0 s old; 2 segments \
         had been sent again; 900 bytes had not even been sent; a round trip took 0.40 ms. Its reader took too little for too \
         long: `slow_reader`. Nobody has come back yet."
    );
}

#[test]
fn every_reason_and_every_sign_makes_sentences() {
    for reason in EndReason::ALL {
        for gone in Gone::ALL {
            let ours = [None, Some(reason)];
            for ours in ours {
                let end = Departure { gone, reason: ours, ..story(1).end };
                let told = told(&Story { reason, end, back: None, ..story(1) });
                let sentences = told.ends_with('.') && !told.contains("..") && !told.contains("  ");
                assert!(sentences && told.contains(reason.as_str()), "{told}");
            }
        }
    }
}

#[test]
fn the_last_are_kept_and_found_by_their_numbers() {
    let mut stories = Stories::default();
    let kept = Stories::KEPT as u64;
    let numbers: Vec<_> = (1..=kept + 2).map(|number| stories.keep(story(number))).collect();
    assert_eq!(numbers, (0..kept + 2).collect::<Vec<_>>());
    assert!(stories.get(0).is_none() && stories.get(1).is_none() && stories.get(kept + 2).is_none());
    assert_eq!(stories.get(2).map(|story| story.stream.get()), Some(3));
    assert_eq!(stories.get(kept + 1).map(|story| story.stream.get()), Some(kept + 2));
    assert_eq!(stories.newest().next().map(|story| story.stream.get()), Some(kept + 2));
    assert_eq!(stories.newest().count(), Stories::KEPT);
    let of = |stories: &mut Stories, number| stories.of(NonZeroU64::new(number).expect("not 0")).is_some();
    assert!(of(&mut stories, 3) && !of(&mut stories, 2));
}

#[test]
fn spans_are_told_as_people_tell_them() {
    for (seconds, expected) in [
        (0.0, "0 ms"),
        (0.04, "40 ms"),
        (60.14, "60.1 s"),
        (599.9, "599.9 s"),
        (723.9, "12 min 3 s"),
        (18_600.0, "5 h 10 min"),
        (172_799.0, "47 h 59 min"),
        (273_600.0, "3 d 4 h"),
    ] {
        assert_eq!(Span(Duration::from_secs_f64(seconds)).to_string(), expected);
    }
}
