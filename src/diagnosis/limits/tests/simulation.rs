//! Paths with people, heartbeats, broadcasts, timers and deploys, and what a gateway would report of their streams.

use super::{End, Limit, Timer};
use std::time::Duration;

/// `SplitMix64`: the same on every machine, and enough for this.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).expect("half of it")) / 4_294_967_296.0
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// How long people stay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ages {
    /// Exponential, seconds.
    Mean(f64),
    /// Lomax with α = 0.8 and a scale of 2 s: many glances, a few that stay for days.
    Heavy,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Spread {
    None,
    /// Uniform over so many seconds after the timer.
    Seconds(f64),
}

/// A timer of the path, in seconds, for a share of its streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct T {
    pub(super) at: f64,
    pub(super) share: f64,
    pub(super) spread: Spread,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) timer: Option<T>,
    pub(super) streams: usize,
    pub(super) ages: Ages,
    /// Seconds.
    pub(super) heartbeat: Option<f64>,
    /// Of the heartbeat, from stream to stream.
    pub(super) jitter: f64,
    /// Mean seconds between broadcasts to all.
    pub(super) events: Option<f64>,
    /// Mean seconds between opens.
    pub(super) opens: f64,
    /// Address prefixes the clients come from; 0: not known.
    pub(super) prefixes: u64,
    /// Mean seconds between restarts that end all streams.
    pub(super) deploys: Option<f64>,
}

impl Path {
    /// No timer, no heartbeat, no events.
    pub(super) fn quiet(streams: usize) -> Self {
        Self {
            timer: None,
            streams,
            ages: Ages::Mean(120.0),
            heartbeat: None,
            jitter: 0.0,
            events: None,
            opens: 3.0,
            prefixes: 300,
            deploys: None,
        }
    }
}

pub(super) enum Outcome {
    Found,
    /// At any moment, not only in the end.
    Wrong(Limit),
    Nothing,
}

/// One end as the gateway sees it: idle for `after`, having outlived `outlived`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) at: f64,
    pub(super) after: f64,
    pub(super) outlived: f64,
    pub(super) prefix: Option<u64>,
}

/// All ends of the path, in their order.
pub(super) fn ends(path: &Path, random: &mut Random) -> Vec<Seen> {
    let mut opened = 1000.0;
    let opens: Vec<f64> = (0..path.streams)
        .map(|_| {
            opened += random.exponential(path.opens);
            opened
        })
        .collect();
    let moments = |mean: Option<f64>, random: &mut Random| {
        let (mut moments, mut at) = (Vec::new(), 0.0);
        while let Some(mean) = mean.filter(|_| at < opened + 20_000.0) {
            at += random.exponential(mean);
            moments.push(at);
        }
        moments
    };
    let (events, deploys) = (moments(path.events, random), moments(path.deploys, random));
    let mut ends: Vec<Seen> = opens.iter().map(|&opened| end(path, opened, &events, &deploys, random)).collect();
    ends.sort_by(|a, b| a.at.total_cmp(&b.at));
    ends
}

fn end(path: &Path, opened: f64, events: &[f64], deploys: &[f64], random: &mut Random) -> Seen {
    let age = match path.ages {
        Ages::Mean(mean) => random.exponential(mean),
        Ages::Heavy => 2.0 * ((1.0 - random.unit()).powf(-1.0 / 0.8) - 1.0),
    };
    let mut leaves = opened + if age > 10_000.0 { 10_000.0 + 10_000.0 * random.unit() } else { age };
    if let Some(&deploy) = deploys.get(deploys.partition_point(|&at| at <= opened)) {
        leaves = leaves.min(deploy + random.unit() * 0.5);
    }
    let timer = path.timer.filter(|timer| random.unit() < timer.share);
    let heartbeat = path.heartbeat.map(|every| every * (1.0 + path.jitter * (2.0 * random.unit() - 1.0)));
    let prefix = (path.prefixes > 0).then(|| random.next() % path.prefixes.max(1));
    let (mut wrote, mut outlived) = (opened, 0.0_f64);
    let mut event = events.partition_point(|&at| at <= opened);
    loop {
        let beat = heartbeat.map_or(f64::INFINITY, |every| wrote + every);
        let news = events.get(event).copied().unwrap_or(f64::INFINITY);
        let write = beat.min(news);
        let fires = timer.map_or(f64::INFINITY, |timer| {
            let spread = match timer.spread {
                Spread::None => 0.0,
                Spread::Seconds(seconds) => seconds * random.unit(),
            };
            // Tens of milliseconds until we hear of it.
            wrote + timer.at + spread + 0.03 * random.unit()
        });
        let over = fires.min(leaves);
        if over <= write {
            return Seen { at: over, after: over - wrote, outlived, prefix };
        }
        outlived = outlived.max(write - wrote);
        wrote = write;
        event += usize::from(write >= news);
    }
}

pub(super) fn play(path: &Path, seed: u64, timer: &mut Timer) -> Outcome {
    let mut random = Random(seed);
    for seen in ends(path, &mut random) {
        report(timer, &seen);
        if let Some(limit) = timer.limit()
            && !path.timer.is_some_and(|truth| near(limit, truth.at))
        {
            return Outcome::Wrong(limit);
        }
    }
    if timer.limit().is_some() { Outcome::Found } else { Outcome::Nothing }
}

/// Within 3 %.
pub(super) fn near(limit: Limit, truth: f64) -> bool {
    (limit.at.as_secs_f64() / truth - 1.0).abs() <= 0.03
}

pub(super) fn report(timer: &mut Timer, seen: &Seen) {
    timer.cut(secs(seen.after), secs(seen.outlived), End { at: secs(seen.at), prefix: seen.prefix });
}

pub(super) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}
