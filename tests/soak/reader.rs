//! A reader: one way through the log in many streams, on whatever protocol and transport, and what it may be given on it.

use std::io::ErrorKind;

use crate::dice::Dice;
use crate::ledger::{GATE, Ledger, TOPICS};
use crate::parts::{Listener, Said, Transport};
use crate::round::Tally;
use crate::wire::{Doors, Protocol, Request, Wire};

/// What is asked for.
pub(super) struct Selection {
    selectors: &'static [&'static str],
    /// The topics that match.
    topics: &'static [&'static str],
    /// Whether it is read with the key, and so also what is behind the gate.
    with_key: bool,
}

pub(super) const SELECTIONS: [Selection; 8] = [
    of(&["**"], &TOPICS, true),
    of(&["news/a"], &["news/a"], false),
    of(&["quiet/1"], &["quiet/1"], false),
    of(&["quiet/1", "news/b"], &["news/b", "quiet/1"], false),
    of(&["news/*"], &["news/a", "news/b"], false),
    of(&["bulk/**"], &["bulk/1", "bulk/2"], false),
    of(&["news/**", "bulk/2"], &["news/a", "news/b", "bulk/2"], false),
    of(&[GATE], &[GATE], false),
];

impl Selection {
    /// Whether a stream of it ends when the rule for the gate changes: also of globs without a key, as it is not asked
    /// whether they reach there.
    fn hangs_on_rules(&self) -> bool {
        !self.with_key && (self.topics == [GATE] || self.selectors.iter().any(|selector| selector.contains('*')))
    }
}

pub(super) const fn of(
    selectors: &'static [&'static str],
    topics: &'static [&'static str],
    with_key: bool,
) -> Selection {
    Selection { selectors, topics, with_key }
}

/// When a reader leaves a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// After so many events.
    Events(u64),
    /// Once it has come to where the log ended when it came.
    CaughtUp(u64),
    /// It stops reading until so many more events are published, goes on, and leaves as above.
    Stall(u64),
    /// At the end of the round.
    Stay,
}

/// How a stream was left.
enum Left {
    /// By the reader.
    Open,
    /// The gateway had said all, or had said why it ends.
    Ended,
    /// It broke off.
    Cut,
}

pub(super) struct Reader<'a> {
    selection: &'static Selection,
    doors: &'a Doors,
    ledger: &'a Ledger,
    dice: Dice,
    /// The offset of its cursor, once it has one.
    at: Option<u64>,
    /// Whether publishers wait for it.
    walks: bool,
    tally: Tally,
}

impl<'a> Reader<'a> {
    pub(super) fn new(selection: &'static Selection, doors: &'a Doors, ledger: &'a Ledger, dice: Dice) -> Self {
        Self { selection, doors, ledger, dice, at: None, walks: false, tally: Tally::default() }
    }

    /// Who comes with this cursor already.
    pub(super) fn at(self, at: u64) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Comes and goes until the round is over.
    pub(super) fn run(mut self) -> Tally {
        let ledger = self.ledger;
        let _alarm = ledger.alarm();
        while !self.is_done() {
            if self.dice.once_in(20) {
                self.come_and_go();
            }
            self.read_a_stream();
        }
        self.tally
    }

    /// Reads on one stream to the end, and is waited for.
    pub(super) fn walk(mut self) -> Tally {
        let ledger = self.ledger;
        let _alarm = ledger.alarm();
        (self.walks, self.at) = (true, Some(self.ledger.before));
        while !self.is_done() {
            let transport = *self.dice.one_of(&[Transport::Sse, Transport::Ndjson]);
            self.read(transport, Protocol::Http11, Plan::Stay);
        }
        self.tally
    }

    fn is_done(&self) -> bool {
        let end = self.ledger.end(&(self.selection.selectors, self.at));
        end.is_some_and(|end| self.at.is_some_and(|at| at >= end))
    }

    fn come_and_go(&mut self) {
        let target = self.target(Transport::Sse);
        let request = Request { target: &target, last_event_id: None, with_key: false, narrow: false };
        self.doors.ask_and_go(&request).expect("the gateway listens");
        self.tally.unsure += 1;
    }

    fn read_a_stream(&mut self) {
        let transport = *self.dice.one_of(&Transport::ALL);
        let protocol = *self.dice.one_of(&[Protocol::Http11, Protocol::Http11, Protocol::Http10, Protocol::Http2]);
        let plan = match self.dice.below(8) {
            0 => Plan::Stall(*self.dice.one_of(&[200, 1200])),
            1..=3 => Plan::CaughtUp(self.ledger.known()),
            _ => Plan::Events(1 + self.dice.below(40) as u64),
        };
        // Some begin where the round began; a state would begin before it.
        if self.at.is_none() && (transport == Transport::MultipartReplace || self.dice.once_in(2)) {
            self.at = Some(self.ledger.before);
        }
        self.read(transport, protocol, plan);
    }

    fn read(&mut self, transport: Transport, protocol: Protocol, plan: Plan) {
        let (target, last) = (self.target(transport), self.at.map(|at| self.ledger.cursor(at)));
        let request = Request {
            target: &target,
            last_event_id: last.as_deref(),
            with_key: self.selection.with_key,
            narrow: matches!(plan, Plan::Stall(_)),
        };
        self.tally.resumed += u64::from(last.is_some());
        let Ok((status, mut wire)) = self.doors.ask(protocol, &request) else {
            self.tally.unsure += 1;
            return;
        };
        if status == 401 && self.selection.topics == [GATE] {
            self.tally.sent_away += 1;
            wire.close();
            return self.ledger.wait_until_open();
        }
        assert_eq!(status, 200, "{target}");
        *self.tally.opened.entry(transport.name()).or_default() += 1;
        match self.follow(&mut wire, transport, plan) {
            Left::Open if self.dice.once_in(2) => wire.reset(),
            Left::Open | Left::Ended => wire.close(),
            Left::Cut => self.tally.cut += 1,
        }
    }

    fn follow(&mut self, wire: &mut Wire<'_>, transport: Transport, mut plan: Plan) -> Left {
        let (mut listener, begun, mut said_goodbye) = (transport.listener(), self.tally.events, false);
        loop {
            if let Plan::Stall(count) = plan {
                self.ledger.wait_for_more(count);
                wire.widen();
                plan = Plan::CaughtUp(self.ledger.known());
            }
            let piece = match wire.read() {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    let whole = matches!(listener, Listener::Answer(_));
                    listener.end().into_iter().for_each(|said| self.take(said, transport));
                    return if whole || said_goodbye { Left::Ended } else { Left::Cut };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("{plan:?}, {transport:?}: not even a heartbeat comes behind {:?}", self.at)
                }
                Err(_) => return Left::Cut,
            };
            for said in listener.feed(&piece) {
                said_goodbye |= matches!(said, Said::Bye(_));
                self.take(said, transport);
            }
            let left = match plan {
                Plan::Events(count) => self.tally.events - begun >= count,
                Plan::CaughtUp(upto) => self.at.is_some_and(|at| self.is_nothing_between(at, upto)),
                Plan::Stall(_) | Plan::Stay => false,
            };
            if !said_goodbye && (left || self.is_done()) {
                return Left::Open;
            }
        }
    }

    fn target(&self, transport: Transport) -> String {
        let topics: String = self.selection.selectors.iter().map(|selector| format!("topic={selector}&")).collect();
        let timeout = if transport == Transport::LongPoll { "&timeout=2" } else { "&heartbeat=5" };
        format!("/events?{topics}transport={}{timeout}", transport.name())
    }

    /// Takes what is said, and holds it against what was published.
    pub(super) fn take(&mut self, said: Said, transport: Transport) {
        let skips = transport == Transport::MultipartReplace;
        match said {
            Said::Hello(None) => {}
            Said::Hello(Some(id)) | Said::Cursor(id) => {
                let upto = self.ledger.offset(&id);
                self.advance(upto, upto, skips);
            }
            Said::Event(id, data) => {
                let offset = self.ledger.offset(&id);
                if skips && self.at == Some(offset) {
                    return; // The newest part is sent once more where nothing follows it.
                }
                self.advance(offset - 1, offset, skips);
                self.hold_content(offset, &data);
                self.tally.events += 1;
            }
            Said::Gap(id, reason, lost) => {
                let upto = self.ledger.offset(&id);
                self.hold_gap(upto, &reason, lost);
                self.at = Some(upto);
                *self.tally.gaps.entry(reason).or_default() += 1;
            }
            Said::Bye(reason) => {
                let expected =
                    self.selection.hangs_on_rules() && reason.as_deref().is_none_or(|reason| reason == "expired");
                assert!(expected, "{:?} ends: {reason:?}", self.selection.selectors);
                self.tally.sent_away += 1;
            }
        }
        if self.walks {
            self.ledger.walked(self.at.expect("it began with a cursor"));
        }
    }

    /// Moves the cursor to `to`. Nothing up to `silent` may have been for this reader, unless it wants the newest alone.
    fn advance(&mut self, silent: u64, to: u64, skips: bool) {
        if let Some(at) = self.at {
            assert!(to >= at && silent >= at, "the cursor {to} comes after {at}");
            let missed = if skips { Vec::new() } else { self.matching(at, silent) };
            assert!(missed.is_empty(), "{:?}: {at}, then {to}; in silence went {missed:?}", self.selection.selectors);
        }
        self.at = Some(to);
    }

    fn hold_content(&self, offset: u64, data: &str) {
        self.ledger.between(offset - 1, offset, |_, entry, _| {
            assert!(
                entry.topics.iter().any(|topic| self.selection.topics.contains(topic)),
                "{entry:?} was not asked for"
            );
            let number = data.split(' ').next().and_then(|number| number.parse().ok());
            assert_eq!((number, data.len()), (Some(entry.number), entry.length), "the data of {offset}");
            None::<()>
        });
    }

    /// A gap is told only of what is gone: everything up to its end was deleted, or trimmed by retention; and something was
    /// of what it says.
    fn hold_gap(&self, upto: u64, reason: &str, lost: Option<u64>) {
        let at = self.at.expect("only who comes with a cursor is told of a gap");
        assert!(upto >= at, "the gap after {at} ends at {upto}");
        let selectors = self.selection.selectors;
        assert!(["deleted", "expired"].contains(&reason), "{selectors:?}: a gap `{reason}` from {at} to {upto}");
        let missing = self.matching(at, upto);
        assert!(lost.is_none_or(|lost| (1..=missing.len() as u64).contains(&lost)), "{lost:?} lost of {missing:?}");
        let deleted = missing.iter().any(|(_, deleted)| *deleted);
        assert!(reason != "deleted" || deleted, "{selectors:?}: a gap from {at} to {upto}, where nothing was deleted");
        let is_right = |first: u64| {
            let is_gone = |(offset, deleted): &(u64, bool)| *deleted || *offset < first;
            missing.iter().all(is_gone) && (reason == "deleted" || self.is_trimmed(at, first))
        };
        if !is_right(self.doors.first_offset()) {
            self.ledger.wait_for_more(1); // It is told before it is so.
            let first = self.doors.first_offset();
            assert!(
                is_right(first),
                "{selectors:?}: a gap `{reason}` from {at} to {upto}, where nothing was, or is still there: \
                 {missing:?}; the log begins at {first}"
            );
        }
    }

    /// Whether something for this reader was trimmed behind `at` by retention, as the log begins at `first`. It may stand
    /// behind the gap: of each topic the log knows only the last event that was trimmed, and if that stands behind where a
    /// page begins that was read before, it cannot know of those before it.
    fn is_trimmed(&self, at: u64, first: u64) -> bool {
        first > at + 1 && !self.matching(at, first - 1).is_empty()
    }

    /// What of the events behind `after` and up to `upto` is for this reader, and whether it may have been deleted.
    fn matching(&self, after: u64, upto: u64) -> Vec<(u64, bool)> {
        self.ledger.between(after, upto, |offset, entry, deleted| {
            let wanted = entry.topics.iter().any(|topic| self.selection.topics.contains(topic));
            wanted.then_some((offset, deleted))
        })
    }

    fn is_nothing_between(&self, at: u64, upto: u64) -> bool {
        at >= upto || self.matching(at, upto).iter().all(|(_, deleted)| *deleted)
    }
}
