//! All that is known, as sentences and figures. Plain data: whoever shows it chooses the form.

use std::fmt;
use std::time::Duration;

use super::browsers::Browsers;
use super::heartbeat::{Interval, interval};
use super::limits::{Grade, Limit};
use super::path::{Path, Tally};
use super::{Beats, Desk, EndReason, Product, Relief, Span, advice};

/// All that is known.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many streams and polls ended for each reason, in the order of [`EndReason::ALL`].
    pub ends: Vec<(EndReason, u64)>,
    /// How many ends wait for their verdict, or for their client.
    pub waiting: usize,
    /// Every path, those with most streams first.
    pub paths: Vec<PathReport>,
}

/// What is known of one path.
#[derive(Clone, Debug)]
pub struct PathReport {
    /// Its name, as metrics are labelled with it.
    pub path: String,
    /// The intermediary nearest to us that could be told.
    pub product: Product,
    /// How many intermediaries there are; 3 is three or more.
    pub hops: u8,
    /// Streams and polls that are open.
    pub streams: u64,
    /// Streams and polls that were opened.
    pub opened: u64,
    /// How quiet a stream may be, if it is known.
    pub idle_limit: Option<Limit>,
    /// How old a stream may become, if it is known.
    pub duration_limit: Option<Limit>,
    /// So long a quiet is outlived, where no limit is known.
    pub idle_at_least: Option<Duration>,
    /// For how long no stream was cut at the idle limit, or else at the duration limit.
    pub not_cut_for: Option<Duration>,
    /// Whether events are held back.
    pub buffering: Buffering,
    /// What is done against that, and for how long still.
    pub relief: Option<(&'static str, Duration)>,
    /// Whether most of those who came can be told apart by their addresses.
    pub told_apart: bool,
    /// How often streams are given a sign of life.
    pub heartbeat: Duration,
    /// How many streams and polls ended for each reason.
    pub ends: Vec<(EndReason, u64)>,
    /// How many clients came back, and how long they were away on average.
    pub returns: (u64, Duration),
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

/// Whether a path holds events back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffering {
    /// Nobody came back who could have told.
    Unknown,
    /// Those who came back had nearly all that was written to them.
    None,
    /// Those who came back had not been given what had been written.
    Held,
}

/// Something an operator should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is.
    pub kind: FindingKind,
    /// What was seen, with its evidence.
    pub text: String,
    /// What to change.
    pub advice: String,
}

/// What kinds of findings there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// Quiet streams are cut.
    IdleLimit,
    /// Old streams are cut.
    DurationLimit,
    /// Many streams are cut at once.
    Restarts,
    /// Events are held back.
    Buffering,
    /// Connections are forgotten while they are quiet.
    NatIdle,
    /// Readers take nothing.
    SlowReaders,
    /// What is written arrives late.
    Delayed,
    /// Streams stay open though their clients have gone.
    Zombies,
    /// A browser has all the connections in use that it opens to one host over HTTP/1.1.
    H1Starved,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::IdleLimit,
        Self::DurationLimit,
        Self::Restarts,
        Self::Buffering,
        Self::NatIdle,
        Self::SlowReaders,
        Self::Delayed,
        Self::Zombies,
        Self::H1Starved,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdleLimit => "idle_limit",
            Self::DurationLimit => "duration_limit",
            Self::Restarts => "restarts",
            Self::Buffering => "buffering",
            Self::NatIdle => "nat_idle",
            Self::SlowReaders => "slow_readers",
            Self::Delayed => "delayed",
            Self::Zombies => "zombies",
            Self::H1Starved => "h1_starved",
        }
    }
}

impl Buffering {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Held => "held",
        }
    }
}

/// How many cases make a finding that needs no figure of its own.
const ENOUGH: u64 = 3;

impl Desk {
    /// All that is known at this moment.
    #[must_use]
    pub fn report(&self, now: Duration) -> Report {
        let known = self.paths().iter().filter(|path| path.opened > 0);
        let mut paths: Vec<_> = known.map(|path| path.report(self.beats, now)).collect();
        paths.sort_by_key(|path| std::cmp::Reverse((path.streams, path.opened)));
        Report { ends: self.ends().collect(), waiting: self.undecided(), paths }
    }
}

impl Path {
    fn report(&self, beats: Beats, now: Duration) -> PathReport {
        let interval = self.idle_limit().map(|limit| interval(beats.default, beats.bounds, Some(&limit), 0));
        let heartbeat = interval.map_or(beats.default, Interval::every);
        let is_too_short = matches!(interval, Some(Interval::TooShort(_)));
        let (returns, away) = self.returns;
        let lately = self.lately();
        let relief = self.trial.relief();
        let limit = self.idle_limit().or_else(|| self.duration_limit());
        PathReport {
            path: self.label().to_owned(),
            product: self.product(),
            hops: self.key.map_or(0, |key| key.hops()),
            streams: self.streams,
            opened: self.opened,
            idle_limit: self.idle_limit(),
            duration_limit: self.duration_limit(),
            idle_at_least: self.idle_at_least.filter(|_| self.idle_limit().is_none()),
            not_cut_for: limit.map(|limit| now.saturating_sub(limit.last_cut)),
            buffering: if relief == Relief::None { lately.buffering() } else { Buffering::Held },
            relief: relief.as_str().zip(self.trial.left(now)),
            told_apart: self.told_apart * 2 >= self.opened,
            heartbeat,
            ends: EndReason::ALL.into_iter().zip(self.ends).filter(|(_, count)| *count > 0).collect(),
            returns: (
                returns,
                u32::try_from(returns).map_or(Duration::ZERO, |count| away.checked_div(count).unwrap_or_default()),
            ),
            findings: self.findings(&lately, heartbeat, is_too_short, now),
        }
    }

    fn product(&self) -> Product {
        self.key.map_or(Product::Unknown, |key| key.product())
    }

    fn findings(&self, lately: &Tally, heartbeat: Duration, is_too_short: bool, now: Duration) -> Vec<Finding> {
        let product = self.product();
        let (who, buffering) = (Who(product), lately.buffering());
        let mut findings = Vec::new();
        let mut find = |kind, text: String, advice: String| findings.push(Finding { kind, text, advice });
        if let Some(limit) = self.idle_limit() {
            let tuned = if is_too_short {
                format!("that is so short that they must beat every {}, more often than is meant", Seconds(heartbeat))
            } else if heartbeat < limit.at {
                format!("streams beat every {} now, which keeps them", Seconds(heartbeat))
            } else {
                format!("streams beat every {} only", Seconds(heartbeat))
            };
            find(
                FindingKind::IdleLimit,
                format!(
                    "{who} cuts streams that are quiet for {}: {}; {tuned}.",
                    Seconds(limit.at),
                    evidence(&limit, now)
                ),
                advice::on_idle_limit(product, limit.at),
            );
        }
        let hint = lately.hint.filter(|_| self.names_limit && lately.hinted.count() >= ENOUGH);
        if let Some(limit) = self.duration_limit() {
            find(
                FindingKind::DurationLimit,
                format!(
                    "{who} cuts streams when they are {} old, however much is sent: {}.",
                    Seconds(limit.at),
                    evidence(&limit, now)
                ),
                advice::on_duration_limit(product, limit.at),
            );
        } else if let Some(hint) = hint {
            find(
                FindingKind::DurationLimit,
                format!(
                    "{who} says in its requests that it waits {} for an answer, and cuts streams then.",
                    Seconds(hint)
                ),
                advice::on_duration_limit(product, hint),
            );
        }
        let restarted = lately.ended(EndReason::ProxyRestart);
        if restarted >= Self::MASS {
            let text = format!(
                "{who} let go of many streams at once, {restarted} in all: it was restarted, or took a new configuration."
            );
            find(FindingKind::Restarts, text, advice::on_restart(product));
        }
        // While something is done against it, nothing else shows it.
        if buffering == Buffering::Held || self.trial.relief() != Relief::None {
            find(
                FindingKind::Buffering,
                lately.on_buffering(&who, self.trial.relief(), self.trial.left(now)),
                advice::on_buffering(product),
            );
        }
        let (receipts, late) = (lately.receipts, lately.late.count());
        if late >= ENOUGH && late * 2 >= receipts && buffering != Buffering::Held {
            let text = format!(
                "{who} is slow: {late} of {receipts} clients had the beginning of their stream more than a second after it was \
                 written."
            );
            find(FindingKind::Delayed, text, advice::on_delay(product));
        }
        let left_open = lately.left_open.count();
        if left_open >= ENOUGH && left_open * 10 >= lately.opened {
            let text = format!(
                "{who} keeps streams open whose clients have gone: {left_open} of {} ended only as their client came back.",
                lately.opened
            );
            find(FindingKind::Zombies, text, advice::on_zombies(product));
        }
        if lately.starved_browser {
            let text = format!(
                "A browser had {} streams open at once over HTTP/1.1: it opens no more connections to one host, over all \
                 tabs, so whatever else its pages asked for had to wait.",
                Browsers::CONNECTIONS
            );
            find(FindingKind::H1Starved, text, advice::ON_H1_STARVED.to_owned());
        }
        let forgotten = lately.forgotten.count();
        if forgotten >= ENOUGH {
            let text = format!(
                "Something on the way forgets connections while they are quiet: {forgotten} were reset as soon as something was written."
            );
            let advice = "a NAT gateway, firewall or load balancer; keep heartbeats below its timer (AWS NLB 350 s; mobile networks 2 to 30 min)";
            find(FindingKind::NatIdle, text, advice.to_owned());
        }
        let slow = lately.ended(EndReason::SlowReader);
        if slow >= ENOUGH && slow * 50 >= lately.opened {
            let text = format!("{slow} of {} streams ended as nothing was taken for long.", lately.opened);
            let advice = "see what those readers do: a program that stopped, a phone that sleeps, or a proxy that waits for its own client";
            find(FindingKind::SlowReaders, text, advice.to_owned());
        }
        findings
    }
}

impl Tally {
    fn ended(&self, reason: EndReason) -> u64 {
        self.ends[reason as usize].into()
    }

    /// An event or two are lost on the way when a connection breaks; more, and often, are kept by something.
    fn buffering(&self) -> Buffering {
        let Self { returns, undelivered: (cases, events), receipts, .. } = self;
        let cases = cases.count();
        let holds_events = cases >= ENOUGH && cases * 2 >= *returns && *events >= cases * 2;
        if self.holds_all() || holds_events || self.leaves_unanswered() || self.wants_padding() {
            Buffering::Held
        } else if returns + receipts >= ENOUGH {
            Buffering::None
        } else {
            Buffering::Unknown
        }
    }

    /// Most of those that were cut came back without having been given even the beginning.
    fn holds_all(&self) -> bool {
        let Self { returns, with_nothing, .. } = self;
        let with_nothing = with_nothing.count();
        with_nothing >= ENOUGH && with_nothing * 2 >= *returns
    }

    /// Most of those who would say that they have their stream do not say so, or have nothing of what came later.
    fn leaves_unanswered(&self) -> bool {
        let Self { receipts, unanswered, .. } = self;
        let unanswered = unanswered.count();
        unanswered >= ENOUGH && unanswered >= *receipts
    }

    /// Most of those who say so had to be sent padding before.
    fn wants_padding(&self) -> bool {
        let Self { receipts, padded: (cases, _), .. } = self;
        let cases = cases.count();
        cases >= ENOUGH && cases * 2 >= *receipts
    }

    /// What was seen of events that are held, and what is done about it.
    fn on_buffering(&self, who: &Who, relief: Relief, left: Option<Duration>) -> String {
        let Self { undelivered: (cases, events), with_nothing, padded, unanswered, .. } = self;
        let [cases, with_nothing, unanswered] = [cases, with_nothing, unanswered].map(|witnesses| witnesses.count());
        let seen = if self.holds_all() {
            format!(
                "{who} holds whole answers back: {with_nothing} browsers that were cut came back without having been given \
                 even the beginning"
            )
        } else if self.leaves_unanswered() {
            format!(
                "{who} holds events back: {unanswered} clients that say what they have did not have what was written"
            )
        } else if self.wants_padding() {
            let (cases, most) = (padded.0.count(), padded.1);
            let kib = most.div_ceil(1024);
            format!(
                "{who} holds back what is less than {kib} KiB: {cases} clients had their stream once so much was sent"
            )
        } else if cases < ENOUGH {
            format!("{who} held events back a while ago")
        } else {
            format!(
                "{who} holds events back: {cases} clients that came back had not been given {events} events that had been \
                 written"
            )
        };
        let done = match relief {
            Relief::None => "",
            Relief::Padding => "; streams begin with padding there, to see whether that is let through",
            Relief::Finishing => {
                "; streams end after each event there, so that clients still get them, late and at a price (`held`)"
            }
        };
        let until = left.map(|left| format!(", for {} more", Span(left))).unwrap_or_default();
        format!("{seen}{done}{until}.")
    }
}

/// Of those that came as far, how many were cut, and when the last.
fn evidence(limit: &Limit, now: Duration) -> String {
    let (cuts, ago) = (limit.cuts, Span(now.saturating_sub(limit.last_cut)));
    let share = match limit.grade {
        Grade::Certain => "nearly all".to_owned(),
        Grade::Mixed => format!("{:.0} % of those", (limit.hazard * 100.0).round()),
    };
    format!("{cuts} were cut there, {share} that came so far, the last {ago} ago")
}

/// A product as the subject of a sentence.
struct Who(Product);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Product::Unknown | Product::Direct => f.write_str("Something on the way"),
            product => f.write_str(product.title()),
        }
    }
}

/// A time as it is said: `60 s`, `15.0 s`, `1 h`.
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 60.0 { write!(f, "{seconds:.1} s") } else { write!(f, "{seconds:.0} s") }
    }
}
