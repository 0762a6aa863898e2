//! That the accounts can fail: whatever a gateway could do wrong looks like this to a reader, or in the figures, and is
//! noticed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::dice::Dice;
use crate::figures::Figures;
use crate::ledger::{Entry, Ledger};
use crate::parts::{Said, Transport};
use crate::reader::{Reader, Selection, of};
use crate::round::Tally;
use crate::wire::Doors;

/// What was published behind the cursor 10. Of it 11, 13, 15 and 17 are for the reader, and 15 was deleted.
const PUBLISHED: [&str; 7] = ["news/a", "news/b", "news/a", "news/b", "news/a", "quiet/1", "news/a"];
const BEFORE: u64 = 10;
const DELETED: u64 = 15;
const SELECTION: Selection = of(&["news/a"], &["news/a"], false);

#[test]
fn what_is_right_is_taken() {
    check("every event, and the deleted one as a gap", &[event(11), event(13), gap(15, "deleted"), event(17)], "");
    check("every event, as the deleted one was read before", &[event(11), event(13), event(15), event(17)], "");
    check("a position behind what is not for the reader", &[event(11), position(12), event(13), position(14)], "");
    check_on(Transport::MultipartReplace, &oldest(1), "a state gives the newest alone", &[event(17), event(17)], "");
    check_on(Transport::Sse, &oldest(12), "a gap of what was trimmed", &[gap(11, "expired"), event(13)], "");
}

#[test]
fn an_event_that_is_lost_is_noticed() {
    check("before another", &[event(11), event(15)], "in silence went [(13, false)]");
    check("at the beginning", &[event(13)], "in silence went [(11, false)]");
    check(
        "behind the last, by the position",
        &[event(11), event(13), event(15), position(17)],
        "in silence went [(17, f",
    );
    check("while the reader was away", &[event(11), Said::Hello(Some(cursor(14)))], "in silence went [(13, false)]");
    check("though it was deleted: that is a gap", &[event(11), event(13), event(17)], "in silence went [(15, true)]");
    check_on(
        Transport::MultipartReplace,
        &oldest(1),
        "a state that is older",
        &[event(17), event(13)],
        "comes after 17",
    );
}

#[test]
fn an_event_that_is_doubled_or_out_of_order_is_noticed() {
    check("twice at once", &[event(11), event(11)], "the cursor 11 comes after 11");
    check("again, after a cut", &[event(11), event(13), Said::Hello(Some(cursor(13))), event(13)], "13 comes after 13");
    check("an older one", &[event(11), event(13), event(11)], "the cursor 11 comes after 13");
    check("a position that goes back", &[event(11), position(10)], "the cursor 10 comes after 11");
    check("a gap that goes back", &[event(11), event(13), gap(11, "deleted")], "the gap after 13 ends at 11");
}

#[test]
fn an_event_that_is_another_is_noticed() {
    check("of another topic", &[event(11), event(12)], "was not asked for");
    check("with the data of another", &[event(11), Said::Event(cursor(13), data(1))], "the data of 13");
    check("cut short", &[Said::Event(cursor(11), "1 ".to_owned())], "the data of 11");
    check(
        "of another run of the log",
        &[Said::Event("other-11".to_owned(), data(1))],
        "one run of the log has one epoch",
    );
}

#[test]
fn a_gap_without_a_cause_is_noticed() {
    check("none was deleted", &[gap(13, "deleted")], "where nothing was deleted");
    check("none was there", &[event(11), gap(12, "expired")], "where nothing was");
    check("what is still there", &[gap(13, "expired")], "or is still there: [(11, false), (13, false)]");
    check(
        "what is still there, before what was deleted",
        &[gap(15, "deleted")],
        "or is still there: [(11, false), (13, false)",
    );
    check("of a reason that cannot be", &[gap(13, "hole")], "a gap `hole`");
    let more = Said::Gap(cursor(15), "deleted".to_owned(), Some(4));
    check("of more than was there", &[more], "Some(4) lost of");
}

#[test]
fn an_end_without_a_cause_is_noticed() {
    check("a goodbye", &[event(11), Said::Bye(Some("shutdown".to_owned()))], "ends: Some(\"shutdown\")");
    check("of rules that do not concern it", &[Said::Bye(Some("expired".to_owned()))], "ends: Some(\"expired\")");
}

#[test]
#[should_panic(expected = "the offset 11 was given twice")]
fn an_offset_that_is_given_twice_is_noticed() {
    ledger().enter(&cursor(11), Entry { topics: vec!["news/a"], number: 8, length: 1 });
}

#[test]
fn a_stream_that_is_not_accounted_for_is_noticed() {
    let known = Tally { opened: [("sse", 2)].into(), ..Tally::default() };
    hold_ends("as many as clients know of", 2, &[("client_left", 1), ("complete", 1)], &known, "");
    let unsure = Tally { unsure: 1, ..known.clone() };
    hold_ends("one of which nobody knew", 3, &[("client_left", 3)], &unsure, "");
    hold_ends("one too many", 3, &[("client_left", 3)], &known, "sse: 3 opened; clients know of 2 to 2");
    hold_ends("one too few", 1, &[("client_left", 1)], &known, "sse: 1 opened; clients know of 2 to 2");
    hold_ends("one that has not ended", 2, &[("client_left", 1)], &known, "what was opened has ended");
    hold_ends(
        "one that has ended twice",
        2,
        &[("client_left", 2), ("complete", 1)],
        &known,
        "what was opened has ended",
    );
    hold_ends("one of which we do not know why", 2, &[("client_left", 1), ("unknown", 1)], &known, "ended as unknown");
    let never_read = Tally { never_read: 1, ..known };
    hold_ends(
        "one that never read and stayed",
        2,
        &[("client_left", 2)],
        &never_read,
        "0 slow readers, and 1 never read",
    );
}

#[test]
fn memory_that_is_kept_is_noticed() {
    let figures = |memory| Figures::of(std::process::id(), &metrics(0, &[])).with_memory(memory);
    objects("what may stay", "", || figures(24 << 20).hold_memory(&figures(16 << 20), 8 << 20));
    let least = Figures::least_of(&[figures(17 << 20), figures(16 << 20), figures(30 << 20)]);
    objects("the least counts", "", || least.hold_memory(&figures(16 << 20), 0));
    objects("less than before", "", || figures(15 << 20).hold_memory(&figures(16 << 20), 0));
    objects("more", "memory has grown by 8388609 bytes", || {
        figures((24 << 20) + 1).hold_memory(&figures(16 << 20), 8 << 20)
    });
}

/// A reader that comes with the cursor 10 is told this, and its account objects in these words, or (if there are none) not.
#[track_caller]
fn check(what: &str, told: &[Said], objection: &str) {
    check_on(Transport::Sse, &oldest(1), what, told, objection);
}

#[track_caller]
fn check_on(transport: Transport, doors: &Doors, what: &str, told: &[Said], objection: &str) {
    let ledger = ledger();
    objects(what, objection, || {
        let mut reader = Reader::new(&SELECTION, doors, &ledger, Dice::of(0, 0)).at(BEFORE);
        told.iter().for_each(|said| reader.take(said.clone(), transport));
    });
}

#[track_caller]
fn hold_ends(what: &str, opened: u64, ends: &[(&str, u64)], tally: &Tally, objection: &str) {
    let none: Vec<_> = ["client_left", "complete", "unknown", "slow_reader"].map(|reason| (reason, 0)).into();
    let all: Vec<_> = none.iter().chain(ends).copied().collect();
    let [before, after] = [metrics(0, &none), metrics(opened, &all)].map(|text| Figures::of(std::process::id(), &text));
    objects(what, objection, || after.hold_ends(&before, tally));
}

#[track_caller]
fn objects(what: &str, words: &str, act: impl FnOnce()) {
    let said = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(()) => String::new(),
        Err(panic) => panic.downcast_ref::<String>().expect("a panic with words").clone(),
    };
    assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{what}: {said:?}");
}

/// A gateway that is not asked anything, but how far its log reaches back.
fn oldest(offset: u64) -> Doors {
    Doors::to("127.0.0.1:9", move || offset)
}

fn ledger() -> Ledger {
    let ledger = Ledger::after(&cursor(BEFORE), 0);
    for (number, topic) in (1..).zip(PUBLISHED) {
        let offset =
            ledger.enter(&cursor(BEFORE + number), Entry { topics: vec![topic], number, length: data(number).len() });
        if offset == DELETED {
            assert_eq!(ledger.deletes(0), Some(cursor(DELETED)));
        }
    }
    ledger
}

fn cursor(offset: u64) -> String {
    format!("run-{offset}")
}

fn data(number: u64) -> String {
    format!("{number} ...")
}

fn event(offset: u64) -> Said {
    Said::Event(cursor(offset), data(offset - BEFORE))
}

fn position(offset: u64) -> Said {
    Said::Cursor(cursor(offset))
}

fn gap(upto: u64, reason: &str) -> Said {
    Said::Gap(cursor(upto), reason.to_owned(), None)
}

/// What a gateway tells that has opened so many streams, and ended these.
fn metrics(opened: u64, ends: &[(&str, u64)]) -> String {
    let ends = ends.iter().map(|(reason, count)| {
        format!("encke_stream_ends_total{{reason=\"{reason}\",by=\"peer\",transport=\"sse\"}} {count}\n")
    });
    format!("encke_stream_opens_total{{transport=\"sse\"}} {opened}\n{}", ends.collect::<String>())
}
