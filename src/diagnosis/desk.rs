//! Where facts come in and verdicts go out: arrivals and departures of streams, their pairing, and what they teach of paths.
//!
//! No clock and no lock: the moment is given with each call. Bounded in paths and in ends that wait.

use std::num::NonZeroU64;
use std::time::Duration;

use super::browsers::Browsers;
use super::goodbyes::Goodbyes;
use super::heartbeat::{BeatBounds, interval};
use super::path::{Path, PathNumber, is_at_hint};
use super::signature::Signature;
use super::story::{Stories, Story, StoryNumber};
use super::table::{Forgotten, Table};
use super::verdict::{self, Circumstances, judge};
use super::waiting::{Pending, Return, Waiting};
use super::{Called, Departure, EndReason, Receipt, Relief, ShortName, Ticket, Visitor};

/// An end with its reason, which does not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How it is shown.
    pub name: ShortName,
    /// The transport of the stream or poll.
    pub transport: &'static str,
    /// Its path.
    pub path: PathNumber,
    /// Why it ended.
    pub reason: EndReason,
    /// How old it was.
    pub age: Duration,
    /// For how long nothing had been written.
    pub idle: Duration,
}

/// A stream or poll that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its path.
    pub path: PathNumber,
    /// It is the first of its transport there.
    pub is_first: bool,
    /// The end from which its client is back.
    pub back: Option<Return>,
    /// How often it is to beat, if not as by default.
    pub heartbeat: Option<Duration>,
    /// It beats less often than others, so that it is learnt how quiet a stream may be there: so often.
    pub canary: Option<Duration>,
    /// What is to be done for it, as its path holds events back.
    pub relief: Relief,
    /// With how many bytes of padding it is to begin, if that is what is done.
    pub padding: usize,
}

/// What was special about a stream that ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Others of its connection ended with it.
    pub with_its_connection: bool,
    /// The heartbeat that it tried.
    pub canary: Option<Duration>,
    /// What was done for it as its path holds events back.
    pub relief: Relief,
    /// It was opened to examine its path, and closed when that was done: that teaches nothing.
    pub examines: bool,
}

/// How often streams beat.
#[derive(Clone, Copy, Debug)]
pub struct Beats {
    /// Where nothing is known.
    pub default: Duration,
    /// What an operator allows.
    pub bounds: BeatBounds,
}

/// The table of paths, and the ends that wait for their verdict.
#[derive(Debug)]
pub struct Desk {
    paths: Table,
    waiting: Waiting,
    grace: Duration,
    pub(super) beats: Beats,
    goodbyes: Goodbyes,
    browsers: Browsers,
    /// When it was last looked what paths outlive, and when they last forgot what is old.
    looked: Duration,
    /// When the half hour began that runs.
    turned: Duration,
    forgot: Duration,
    ends: [u64; EndReason::ALL.len()],
    /// Decided before their time, as too many waited.
    early: u64,
    stories: Stories,
}

impl Desk {
    /// How many paths have a place of their own.
    pub const PATHS: usize = Table::PLACES;

    /// What ended so long ago says nothing of a path any more, and how often that is seen to.
    const OLD: Duration = Duration::from_secs(7 * 24 * 3600);
    const OFTEN: Duration = Duration::from_secs(3600);

    /// For how long, and as long again, a fault is told that was mended.
    const LATELY: Duration = Duration::from_secs(30 * 60);

    /// What arrives so late is late.
    const LATE: Duration = Duration::from_secs(1);

    /// How often it is looked what paths outlive.
    const LOOK: Duration = Duration::from_secs(5);

    /// A desk whose ends wait so long for their client to come back, and whose streams beat so.
    #[must_use]
    pub fn new(grace: Duration, beats: Beats) -> Self {
        Self {
            paths: Table::new(2 * grace),
            waiting: Waiting::default(),
            grace,
            beats,
            goodbyes: Goodbyes::default(),
            browsers: Browsers::default(),
            looked: Duration::ZERO,
            turned: Duration::ZERO,
            forgot: Duration::ZERO,
            ends: [0; EndReason::ALL.len()],
            early: 0,
            stories: Stories::default(),
        }
    }

    /// Somebody opens a stream or asks a poll.
    pub fn arrive(
        &mut self,
        signature: &Signature,
        visitor: &Visitor,
        transport: &'static str,
        now: Duration,
    ) -> Arrival {
        let number = self.paths.number(signature.path(), visitor.prefix, now);
        let beats = self.beats;
        let path = &mut self.paths[number];
        path.streams += 1;
        path.opened += 1;
        path.told_apart += u64::from(visitor.prefix.is_some());
        path.seen = now;
        path.names_limit = signature.envoy_limit_ms().is_some();
        path.tally().opened += 1;
        if let Some(browser) = visitor.browser {
            self.browsers.open(browser, number);
        }
        let back = self.waiting.arrive(visitor, now);
        if let Some(back) = &back {
            tell_of_return(&mut self.waiting, &mut self.stories, back.stream);
            path.came_back(back.outage);
            if back.is_strong && visitor.has.is_some_and(|has| has >= back.given) {
                path.trial.fed(back.relief, visitor.prefix);
            }
        }
        // Cut, an `EventSource` comes back with the id that its hello had, unless not even that arrived.
        let is_event_source = transport == "sse" && signature.agent.is_browser();
        if is_event_source {
            self.waiting.arrive_with_nothing(visitor, now);
        }
        let is_first = !path.transports.contains(&transport);
        if is_first {
            path.transports.push(transport);
        }
        // A canary is one that has been seen to come back well.
        let proven = back.map(|_| visitor.session.unwrap_or(visitor.who).get());
        let limit = path.idle_limit();
        let known = path.idle_at_least.unwrap_or(beats.default).max(beats.default);
        let canary = path.canaries.open(proven, known, limit.as_ref(), now);
        let tuned =
            limit.map(|limit| interval(beats.default, beats.bounds, Some(&limit), visitor.stream.get()).every());
        // Whose client comes back by itself; and where something was seen that might hold events.
        let may_be_relieved = is_event_source && signature.hops > 0;
        let relief = if may_be_relieved { path.trial.relief() } else { Relief::None };
        let padding = if relief == Relief::Padding { path.padding() } else { 0 };
        Arrival { path: number, is_first, back, heartbeat: canary.or(tuned), canary, relief, padding }
    }

    /// Streams that are opened from now on beat so where nothing is known.
    pub fn beat(&mut self, beats: Beats) {
        self.beats = beats;
    }

    /// A client that is back, by this path, had not been given so many events that had been written to it. Of those that had not
    /// even reached the next hop nobody is to blame for holding them.
    pub fn missed(&mut self, whose: &Ticket, back: &Return, events: u64, now: Duration) {
        if back.is_acknowledged {
            let path = &mut self.paths[whose.path];
            // One is on the way when a connection breaks.
            if back.is_strong && events > 1 {
                path.trial.starved(back.relief, whose.prefix, now);
            } else if back.is_strong {
                path.trial.fed(back.relief, whose.prefix);
            }
            if events > 0 {
                let undelivered = &mut path.tally().undelivered;
                undelivered.0.note(whose.prefix);
                undelivered.1 += events;
            }
        }
        if let Some(told) = self.waiting.of(back.stream).and_then(|pending| pending.back.as_mut()) {
            told.missed = Some(events);
            tell_of_return(&mut self.waiting, &mut self.stories, back.stream);
        } else if let Some(told) = self.stories.of(back.stream).and_then(|story| story.back.as_mut()) {
            told.missed = Some(events); // It was decided between the two.
        }
    }

    /// What became of the streams that ended last, the newest first; or of one.
    pub fn stories(&self, of: Option<Called>) -> impl Iterator<Item = &Story> {
        self.stories.newest().filter(move |story| of.is_none_or(|of| of.is(story.end.name, story.stream)))
    }

    /// A client says that it has its stream.
    pub fn receipt(&mut self, whose: &Ticket, receipt: Receipt, now: Duration) {
        let (had, prefix) = (whose.relief, whose.prefix);
        let path = &mut self.paths[whose.path];
        let tally = path.tally();
        tally.receipts += 1;
        if receipt.late.is_some_and(|late| late >= Self::LATE) {
            tally.late.note(prefix);
        }
        if receipt.padded > 0 {
            tally.padded.0.note(prefix);
            tally.padded.1 = tally.padded.1.max(receipt.padded);
            path.trial.starved(had, prefix, now);
        } else {
            path.trial.fed(had, prefix);
        }
    }

    /// A client has not what was written, though it would have said so.
    pub fn held(&mut self, whose: &Ticket, now: Duration) {
        let path = &mut self.paths[whose.path];
        path.tally().unanswered.note(whose.prefix);
        path.trial.starved(whose.relief, whose.prefix, now);
    }

    /// An open stream was quiet for longer than the limit of its path, or became older than that, and lives.
    pub fn outlives(&mut self, whose: &Ticket, past: (Option<Duration>, Option<Duration>), now: Duration) {
        self.paths[whose.path].outlives(past, whose.prefix, now);
    }

    /// After what quiet, and at what age, streams are cut, by the number of their path, if it is known: the latest of the cuts.
    pub fn limits(&self) -> impl Iterator<Item = [Option<Duration>; 2]> {
        let limits = |path: &Path| [path.idle_limit(), path.duration_limit()];
        self.paths.all().iter().map(move |path| limits(path).map(|limit| limit.map(|limit| limit.latest)))
    }

    /// A stream or poll has ended. Verdicts that are final are put behind `settled`.
    pub fn depart(
        &mut self,
        path: PathNumber,
        visitor: Visitor,
        end: Departure,
        manner: Manner,
        now: Duration,
        settled: &mut Vec<Settled>,
    ) {
        let of = &mut self.paths[path];
        of.streams = of.streams.saturating_sub(1);
        of.seen = now;
        if let Some(browser) = visitor.browser {
            self.browsers.close(browser);
        }
        let goodbye = self.goodbyes.take(visitor.stream, now);
        let is_evidence = verdict::is_evidence(&end) && !goodbye;
        // Looked at before it is noted: an end is no evidence for itself, unless it is the one that completes it.
        let before = (of.is_at_duration_limit(&end), of.is_at_idle_limit(&end));
        let Manner { with_its_connection, canary, relief, examines } = manner;
        if examines {
            // It teaches nothing.
        } else if is_evidence {
            of.cut(&end, &visitor, now);
        } else {
            of.outlived(&end, &visitor, now);
        }
        let mut pending = Pending {
            at: now,
            path,
            visitor,
            end,
            with_its_connection,
            canary,
            relief,
            at_duration_limit: before.0,
            at_idle_limit: before.1,
            goodbye,
            back: None,
            nothing: None,
            story: None,
        };
        if end.reason == Some(EndReason::Complete) {
            settled.push(self.decide(&pending));
            return; // Nobody waits for whoever got what it wanted, and there is nothing to tell of it.
        }
        if verdict::is_final(&end) {
            let decided = self.decide(&pending);
            pending.story = Some(self.tell(&pending, decided.reason));
            settled.push(decided);
        }
        if let Some(early) = self.waiting.add(pending)
            && early.story.is_none()
        {
            self.early += 1;
            settled.push(self.conclude(&early));
        }
    }

    /// The client of a stream says that it leaves.
    pub fn goodbye(&mut self, stream: NonZeroU64, now: Duration) {
        match self.waiting.of(stream) {
            Some(pending) if pending.goodbye || now > pending.at + Goodbyes::AROUND => {}
            Some(pending) => {
                pending.goodbye = true;
                self.paths[pending.path].retract(&pending.end, &pending.visitor, pending.at);
            }
            None => self.goodbyes.note(stream, now),
        }
    }

    /// Decides those whose time has come.
    pub fn settle(&mut self, now: Duration, settled: &mut Vec<Settled>) {
        if now >= self.looked + Self::LOOK {
            self.looked = now;
            self.paths.all_mut().for_each(|path| path.look(now));
            for number in self.browsers.starved() {
                self.paths[number].tally().starved_browser = true;
            }
        }
        if now >= self.turned + Self::LATELY {
            self.turned = now;
            self.paths.all_mut().for_each(Path::turn);
        }
        if now >= self.forgot + Self::OFTEN {
            self.forgot = now;
            let than = now.saturating_sub(Self::OLD);
            self.paths.all_mut().for_each(|path| path.forget_older(than));
        }
        while let Some(pending) = self
            .waiting
            .next_due(now, self.grace, |pending| self.paths[pending.path].may_be_at_unknown_limit(&pending.end))
        {
            if pending.story.is_none() {
                settled.push(self.conclude(&pending));
            }
        }
    }

    /// Decides all that wait: there is no more time.
    pub fn close(&mut self, settled: &mut Vec<Settled>) {
        while let Some(pending) = self.waiting.any() {
            if pending.story.is_none() {
                settled.push(self.conclude(&pending));
            }
        }
    }

    /// Forgets what a path was taught, or all were: an operator has changed something there. Answers whether there is one.
    pub fn unlearn(&mut self, label: Option<&str>) -> bool {
        let mut is_known = label.is_none();
        let is_meant = |path: &&mut Path| path.opened > 0 && label.is_none_or(|label| path.label() == label);
        for path in self.paths.all_mut().filter(is_meant) {
            path.unlearn();
            is_known = true;
        }
        is_known
    }

    /// How many ends were decided before their time, as too many waited; since this was asked last.
    pub fn take_early(&mut self) -> u64 {
        std::mem::take(&mut self.early)
    }

    /// The paths that are no more, since this was asked last.
    pub(super) fn take_forgotten(&mut self) -> Vec<Forgotten> {
        // What is back by now is not forgotten.
        let mut forgotten = self.paths.take_forgotten();
        forgotten.retain(|gone| self.paths.all().iter().all(|path| path.label() != gone.label));
        forgotten
    }

    /// How many ends wait for their verdict.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.waiting.undecided()
    }

    /// The name of a path, as metrics are labelled with it.
    #[must_use]
    pub fn label(&self, path: PathNumber) -> &str {
        self.paths[path].label()
    }

    pub(super) fn paths(&self) -> &[Path] {
        self.paths.all()
    }

    pub(super) fn ends(&self) -> impl Iterator<Item = (EndReason, u64)> {
        EndReason::ALL.into_iter().zip(self.ends)
    }

    /// Decides the end of one that has waited, and keeps what became of it.
    fn conclude(&mut self, pending: &Pending) -> Settled {
        let settled = self.decide(pending);
        self.tell(pending, settled.reason);
        settled
    }

    fn tell(&mut self, pending: &Pending, reason: EndReason) -> StoryNumber {
        let Pending { at, path, end, .. } = *pending;
        let of = &self.paths[path];
        let limit = match reason {
            EndReason::ProxyIdleTimeout => of.idle_limit().map(|limit| limit.at),
            EndReason::ProxyMaxDuration if is_at_hint(&end) => end.time_limit,
            EndReason::ProxyMaxDuration => of.duration_limit().map(|limit| limit.at),
            _ => None,
        };
        self.stories.keep(Story {
            stream: pending.visitor.stream,
            path: of.key,
            ended: at,
            end,
            reason,
            limit,
            waited: !verdict::is_final(&end),
            back: pending.back,
        })
    }

    fn decide(&mut self, pending: &Pending) -> Settled {
        let Pending { at, path, end, back, .. } = *pending;
        let came_back = back.is_some() || pending.nothing.is_some();
        let of = &mut self.paths[path];
        if let (None, Some(back)) = (back, pending.nothing) {
            of.came_back(back.after);
            if back.is_strong {
                of.trial.starved(pending.relief, pending.visitor.prefix, at);
            }
            of.tally().with_nothing.note(pending.visitor.prefix);
        }
        // The first that a timer cuts are explained when the rest have taught it.
        let known = Circumstances {
            goodbye: pending.goodbye,
            at_duration_limit: pending.at_duration_limit || of.is_at_duration_limit(&end),
            at_idle_limit: pending.at_idle_limit || of.is_at_idle_limit(&end),
            in_mass: of.is_in_mass(at, &end, came_back),
            with_its_connection: pending.with_its_connection,
            came_back,
        };
        let reason = judge(&end, known);
        if let Some(gap) = pending.canary {
            let quiet = end.outlived.max(end.quiet_before);
            match reason {
                EndReason::DroppedCameBack | EndReason::ProxyIdleTimeout if end.idle < gap => of.canaries.died(gap),
                _ if quiet * 20 >= gap * 19 => of.canaries.outlived(gap),
                _ => {}
            }
        }
        of.ends[reason as usize] += 1;
        let tally = of.tally();
        tally.ends[reason as usize] = tally.ends[reason as usize].saturating_add(1);
        match reason {
            EndReason::NatIdleExpired => tally.forgotten.note(pending.visitor.prefix),
            EndReason::Superseded => tally.left_open.note(pending.visitor.prefix),
            _ => {}
        }
        if reason == EndReason::ProxyMaxDuration && is_at_hint(&end) {
            tally.hint = end.time_limit;
            tally.hinted.note(pending.visitor.prefix);
        }
        self.ends[reason as usize] += 1;
        Settled { name: end.name, transport: end.transport, path, reason, age: end.age, idle: end.idle }
    }
}

/// Whoever is back is told of in the story of its end, if that was told already.
fn tell_of_return(waiting: &mut Waiting, stories: &mut Stories, stream: NonZeroU64) {
    if let Some(pending) = waiting.of(stream)
        && let Some(number) = pending.story
        && let Some(story) = stories.get(number)
    {
        story.back = pending.back;
    }
}

#[cfg(test)]
mod tests;
