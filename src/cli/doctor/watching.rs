//! Probe: streams that are watched until they are cut: silent ones, busy ones, and some between. `lifetimes` says why.
//!
//! All of them at once, so that a limit takes no longer to be found than it is long. Of a gateway each stream is asked for
//! with its own heartbeat; of any other server they are what they are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::asking::Parameter;
use super::lifetimes::Life;
use super::path::Path;
use super::stream::{End, Stream};

/// How long a gateway may be asked to be silent, in seconds.
pub(super) const SILENT: u64 = 3600;
/// The shortest heartbeat it can be asked for, in seconds.
pub(super) const BUSY: u64 = 5;
/// Heartbeats between, in seconds: which of them keep a stream alive.
const BETWEEN: [u64; 5] = [15, 30, 45, 90, 180];
/// An event type that nobody publishes: a stream of it is silent.
const NOBODYS: &str = "encke-doctor-silence";
/// How far apart busy streams begin: else a limit of age could not be told from one moment at which all were cut.
const APART: Duration = Duration::from_secs(3);

/// So many events at once are a clump, if nothing came for so long before.
const CLUMP: usize = 3;
const BETWEEN_CLUMPS: Duration = Duration::from_secs(1);
/// A head that comes so shortly before the end came with it.
const AT_ONCE: Duration = Duration::from_millis(200);

/// For how long streams are watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    /// Silent ones.
    pub(super) idle: Duration,
    /// All others.
    pub(super) duration: Duration,
}

impl Horizon {
    /// For how long a stream is watched on which something is sent. Of another server nobody knows whether it is.
    pub(super) fn of_busy(self, is_encke: bool) -> Duration {
        if is_encke { self.duration } else { self.idle.max(self.duration) }
    }
}

/// Streams and what is known of them; it can be looked at while they are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<Vec<Seen>>>);

/// One stream. It counts from its request.
#[derive(Clone, Debug)]
struct Seen {
    /// The heartbeat it asked for.
    beat: Option<u64>,
    asked: Instant,
    /// When its time is up: what happens later it does not see.
    until: Instant,
    /// When the head came.
    head: Option<Instant>,
    last: Instant,
    longest: Duration,
    end: Option<(Instant, End)>,
    is_farewell: bool,
    clumps: usize,
    /// No answer came of the request.
    has_failed: bool,
}

/// Watches until all streams have ended, or their time is up.
pub(super) async fn probe(path: &Arc<Path>, is_encke: bool, horizon: Horizon, watched: &Watched) {
    let mut streams = JoinSet::new();
    let mut watch = |beat: Option<u64>, is_silent: bool, wait: Duration, time: Duration| {
        let (path, watched) = (Arc::clone(path), watched.clone());
        let mut parameters: Vec<Parameter<'_>> = beat.map(|beat| ("heartbeat", beat.to_string())).into_iter().collect();
        parameters.extend(is_silent.then(|| ("type", NOBODYS.to_owned())));
        let until = Instant::now() + time;
        streams.spawn(async move {
            sleep(wait).await;
            watched.follow(&path, &parameters, beat, until).await;
        });
    };
    if is_encke {
        for _ in 0..3 {
            watch(Some(SILENT), true, Duration::ZERO, horizon.idle);
        }
        for beat in BETWEEN.into_iter().filter(|beat| Duration::from_secs(*beat) < horizon.idle) {
            watch(Some(beat), true, Duration::ZERO, horizon.idle);
        }
    }
    let longest = horizon.of_busy(is_encke);
    for number in 0..3 {
        // Within a short horizon they are closer together.
        let wait = APART.min(longest / 10) * number;
        watch(is_encke.then_some(BUSY), false, wait, longest);
    }
    while streams.join_next().await.is_some() {}
}

impl Seen {
    /// A stream that is asked for now.
    fn asked(beat: Option<u64>, until: Instant) -> Self {
        let now = Instant::now();
        Self {
            beat,
            asked: now,
            until,
            head: None,
            last: now,
            longest: Duration::ZERO,
            end: None,
            is_farewell: false,
            clumps: 0,
            has_failed: false,
        }
    }
}

impl Watched {
    async fn follow(&self, path: &Path, parameters: &[Parameter<'_>], beat: Option<u64>, until: Instant) {
        let number = self.change(|all| {
            all.push(Seen::asked(beat, until));
            all.len() - 1
        });
        let request = path.target.stream(parameters);
        let mut stream = match timeout_at(until, Stream::open(&path.dialer, &request)).await {
            Ok(Ok(stream)) if stream.answer.status == 200 => stream,
            Err(_) => return,
            Ok(_) => return self.change(|all| all[number].has_failed = true),
        };
        let mut messages = VecDeque::new();
        loop {
            let before = stream.last;
            let ended = timeout_at(until, stream.next(&mut messages)).await.ok();
            let is_clump = messages.len() >= CLUMP && stream.last - before >= BETWEEN_CLUMPS;
            messages.clear();
            self.change(|all| {
                let seen = &mut all[number];
                (seen.asked, seen.last, seen.longest) = (stream.asked, stream.last, stream.longest);
                seen.head = Some(stream.asked + stream.answer.after);
                seen.clumps += usize::from(is_clump);
                seen.is_farewell = stream.goodbye.is_some();
                seen.end = ended.clone().flatten().map(|end| (Instant::now(), end));
            });
            // Its time is up, or it is at its end.
            let Some(None) = ended else { return };
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Seen>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Their lives until now.
    pub(super) fn lives(&self) -> Vec<Life> {
        let now = Instant::now();
        let life = |seen: &Seen| {
            let until = seen.end.as_ref().map_or(now.min(seen.until), |(at, _)| *at);
            // Of an answer that came when it was at its end, nothing came when it was written.
            let was_held = seen.end.is_some() && seen.head.is_some_and(|head| until - head < AT_ONCE);
            Life {
                age: until - seen.asked,
                quiet: until - if was_held { seen.asked } else { seen.last },
                longest: if was_held { Duration::ZERO } else { seen.longest },
                end: seen.end.as_ref().map(|(_, end)| end.clone()),
                is_farewell: seen.is_farewell,
                beat: seen.beat.map(Duration::from_secs),
                clumps: seen.clumps,
            }
        };
        self.change(|all| all.iter().filter(|seen| !seen.has_failed).map(life).collect())
    }

    /// How many streams were watched, and how many of them got no answer.
    pub(super) fn failed(&self) -> (usize, usize) {
        self.change(|all| (all.len(), all.iter().filter(|seen| seen.has_failed).count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_time_is_up_grows_no_older_while_others_are_watched() {
        let (watched, now) = (Watched::default(), Instant::now());
        let [three, ninety] = [3, 90].map(Duration::from_secs);
        watched.change(|all| all.extend([three, ninety].map(|time| Seen::asked(Some(BUSY), now + time))));
        tokio::time::advance(ninety).await;
        let lives = watched.lives();
        let seen: Vec<_> = lives.iter().map(|life| (life.age, life.overdue())).collect();
        assert_eq!(seen, [(three, None), (ninety, Some(ninety))]);
    }
}
