//! A file that is damaged in its midst: what is left of it is read, and readers are told what is not.

use std::fs;

use serde_json::Value;

use super::clock::Clock;
use super::{publish, stop};
use crate::support::told::{lines_after, next_line};

#[test]
fn damaged_events_in_the_middle_are_a_hole_that_readers_are_told_of() {
    // Yesterday, as opening a log looks at the events of the last ten minutes.
    let clock = Clock::new();
    clock.set("-1d");
    let mut gateway = clock.gateway();
    let text = |number: usize| format!("event {number:03} {}", ".".repeat(3000));
    for number in 0..100 {
        publish(&gateway, &text(number)).expect("a receipt");
    }
    stop(&mut gateway);
    let file = gateway.data_dir().join("encke.db");
    let mut bytes = fs::read(&file).expect("it was stopped, so all is in the file");
    let damaged = b"event 050 ";
    let at = bytes.windows(damaged.len()).position(|window| window == damaged).expect("the data is in there");
    bytes[at - 3..at].fill(0xff); // What stands before the data: how long it is.
    fs::write(&file, bytes).expect("it can be written");
    clock.set("+0");
    gateway.restart();
    publish(&gateway, "the newest").expect("a log with a hole takes events");

    let mut reader = lines_after(gateway.address(), "**", None).expect("a stream");
    let (mut next, mut lost, mut told_of_a_gap) = (0, 0, false);
    loop {
        let told = next_line(&mut reader).expect("a line").expect("the stream goes on");
        match told.kind.as_str() {
            "encke.hello" => {}
            "encke.gap" => {
                let gap: Value = serde_json::from_str(&told.data).expect("JSON");
                assert_eq!(gap["reason"], "hole", "{gap}");
                told_of_a_gap = true;
            }
            _ if told.data == "the newest" => break,
            _ => {
                let number = told.data[6..9].parse().expect("each event says its number");
                assert_eq!(told.data, text(number));
                assert!(
                    number == next || (number > next && told_of_a_gap),
                    "what is missing is told: {next} to {number}"
                );
                lost += number - next;
                (next, told_of_a_gap) = (number + 1, false);
            }
        }
    }
    assert_eq!(next, 100);
    assert!((1..=2).contains(&lost), "no more is lost than is damaged: {lost}");
}
