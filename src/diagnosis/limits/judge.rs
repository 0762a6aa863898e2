//! Whether the cuts near one value are a timer.
//!
//! A timer shows as a short window in which far more streams are cut than just below and just above it. What counts is
//! *moments*, not cuts: streams that ended together, or whose last write was one broadcast, are one event of the world.
//!
//! The constants are those of the reference's rule where it has them (eight cuts, a hazard of 0.1, four times what the
//! flanks let expect); the rest are explained where they stand.

use super::{
    Grade,
    evidence::{Entry, Evidence, Kind, SECOND, SHORTEST},
};

/// Cuts that make a limit. Fewer could be chance; with ten streams on a path there must be room for two strays.
pub(super) const ENOUGH_CUTS: u32 = 8;

/// Moments those cuts are spread over at least: four mass closes whose idle ages agree to a hundredth are no chance.
const ENOUGH_MOMENTS: u32 = 4;

/// Cuts that count of one moment: a second one confirms the first, a third says nothing new.
const OF_ONE_MOMENT: u32 = 2;

/// Of the streams that reach a limit at least this share is cut there.
const LEAST_HAZARD: f64 = 0.10;

/// How much denser the cuts must be than in the flanks.
const TIMES_FLANKS: f64 = 4.0;

/// −ln of the chance that a smooth background puts that many moments into the window. One in four thousand million, not
/// in a million as the reference has it: thousands of windows are looked at again with each cut.
const SURPRISE: f64 = 22.0;

/// A limit that stands is given up later than it is found, or one at the threshold would come and go.
const STANDING: (f64, f64, f64) = (LEAST_HAZARD / 2.0, TIMES_FLANKS / 2.0, SURPRISE / 2.0);

/// Nothing below is called a limit: the flank below it would not be remembered.
pub(super) const SHORTEST_LIMIT: u32 = 2 * SHORTEST;

/// Widths of windows, in thousandths of the value, and at least so many milliseconds.
///
/// Most proxies fire within milliseconds (1 %, for the tens of milliseconds of our own measuring). Varnish 7.1 spreads
/// over 0.8 s at 60 s, which is not less when its timer is shorter; Node's connection check spreads 300 s over 30 s.
const WIDTHS: [(u32, u32); 4] = [(10, 100), (25, 250), (40, 500), (100, 1_000)];

/// Flanks reach this far to each side, in thousandths of the value, and over at least two windows.
const FLANK: u32 = 250;

/// Only so many of the latest cuts in the window are looked at, and what else ended since: first such a number as gives
/// a hazard worth the name, then more for what is rare. Fewer, for what has just changed, only if that finds nothing: by so
/// few a clump in a jittering timer looks like one. `usize::MAX`: all.
const LOOK_BACK: [&[usize]; 2] = [&[16, 32, usize::MAX], &[8]];

/// Survivors are fewer than this where a limit is `Certain`, and the hazard is at least [`CERTAIN_HAZARD`].
const CERTAIN_SURVIVORS: f64 = 0.05;
const CERTAIN_HAZARD: f64 = 0.8;

/// What was found in one window. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) at: u32,
    pub(super) latest: u32,
    pub(super) grade: Grade,
    pub(super) hazard: f64,
    /// The hazard when its last cut was judged: what has outlived it since must not make it look like a rarer one.
    pub(super) steady: f64,
    pub(super) cuts: u32,
    /// Tenths of a second: the moment of the last cut in the window.
    pub(super) last_cut: u32,
    /// How surprising each of its moments is. The sum would favour windows that look back further, or are wider.
    pub(super) telling: f64,
    /// Whether there are cuts enough, and of a share of the streams that is worth the name. Only the most telling window
    /// is asked: a wider one has enough sooner, by the strays in it, but not the right edge.
    pub(super) enough: bool,
    /// The cuts since `since`, none of one prefix more than a tenth of them.
    pub(super) capped: f64,
    pub(super) since: u32,
}

impl Found {
    /// The lowest value it explains: 1 % and 50 ms lower, for what our own measuring of both ends is off.
    pub(super) fn lower(&self) -> u32 {
        self.at - (self.at / 100 + 50).min(self.at)
    }

    /// The highest: as much higher, and half of the spread seen so far, since the latest of a few is not the last.
    pub(super) fn upper(&self) -> u32 {
        let spread = (self.latest - self.at) / 2;
        self.latest.saturating_add(self.latest / 100 + 50 + spread)
    }

    /// Leaves out strays at the edges: such as are further from the next than a hundredth, and than four times what the
    /// rest are from each other. They do not count as cuts either.
    fn narrow(&mut self, evidence: &Evidence) {
        let cuts = afters(evidence, self.at, self.latest, self.since);
        let mut rest = cuts.as_slice();
        while let [first, second, .., last_but_one, last] = rest {
            let stray = |gap: u32, of_rest: u32| {
                let spacing = of_rest / u32::try_from(rest.len() - 2).unwrap_or(u32::MAX).max(1);
                gap > 4 * spacing && gap > first / 100
            };
            if stray(second - first, last - second) {
                rest = &rest[1..];
            } else if stray(last - last_but_one, last_but_one - first) {
                rest = &rest[..rest.len() - 1];
            } else {
                break;
            }
        }
        if let (Some(&first), Some(&last)) = (rest.first(), rest.last()) {
            (self.at, self.latest) = (first, last);
        }
        let strays = u32::try_from(cuts.len() - rest.len()).unwrap_or(u32::MAX);
        self.cuts = self.cuts.saturating_sub(strays);
        self.capped = (self.capped - f64::from(strays)).max(1.0);
        self.enough &= self.cuts >= ENOUGH_CUTS;
    }

    /// Takes in what lies as close to its edges as its own cuts lie to each other: of a timer that jitters the most telling
    /// window may be the part where there were most by chance. Exact ones gain nothing, as theirs lie within milliseconds.
    fn widen(&mut self, evidence: &Evidence) {
        let most = self.at / 10;
        let (lowest, highest) = (self.at.saturating_sub(most), self.latest.saturating_add(most));
        let cuts = afters(evidence, lowest, highest, 0);
        let mut first = cuts.partition_point(|&after| after < self.at);
        let mut end = cuts.partition_point(|&after| after <= self.latest);
        loop {
            let (at, latest) = (self.at, self.latest);
            let spacing = (latest - at) / u32::try_from(end - first).unwrap_or(u32::MAX).max(1);
            let near = 4 * spacing.min(most);
            if let Some(&below) =
                first.checked_sub(1).and_then(|below| cuts.get(below)).filter(|&&below| at - below <= near)
            {
                (self.at, first) = (below, first - 1);
            } else if let Some(&above) = cuts.get(end).filter(|&&above| above - latest <= near) {
                (self.latest, end) = (above, end + 1);
            } else {
                return;
            }
        }
    }

    /// Hazard and grade, by what else reached the limit.
    fn weigh(&mut self, evidence: &Evidence) {
        let (others, beyond) = others(evidence, self);
        // Less one: to look back to a cut is to choose a moment at which there was one.
        self.hazard = (self.capped - 1.0) / (self.capped - 1.0 + others);
        self.steady = self.hazard;
        let certain = self.hazard >= CERTAIN_HAZARD && beyond / (self.capped + others) < CERTAIN_SURVIVORS;
        self.grade = if certain { Grade::Certain } else { Grade::Mixed };
    }

    pub(super) fn explains(&self, after: u32) -> bool {
        (self.lower()..=self.upper()).contains(&after)
    }
}

/// The most telling window around the value `near`, if it is a timer. Not only such as hold the value: a stray just below
/// a timer would else be taken for its edge.
///
/// `standing`: it was found to be one before.
///
/// Cost: a few microseconds where nothing is dense, up to a millisecond amid the cuts of a timer that jitters.
pub(super) fn judge(evidence: &Evidence, near: u32, standing: bool) -> Option<Found> {
    LOOK_BACK.iter().find_map(|last| judge_latest(evidence, near, last, standing))
}

fn judge_latest(evidence: &Evidence, near: u32, last: &[usize], standing: bool) -> Option<Found> {
    let mut best = most_telling(evidence, near, last, standing)?;
    // It may be the outermost of a place where there is a better one.
    for _ in 0..4 {
        if best.latest.abs_diff(near) <= width(near, WIDTHS[WIDTHS.len() - 1]) / 4 {
            break;
        }
        match most_telling(evidence, best.latest, last, standing) {
            Some(better) if better.telling > best.telling => best = better,
            _ => break,
        }
    }
    best.narrow(evidence);
    best.widen(evidence);
    best.weigh(evidence);
    let least_hazard = if standing { STANDING.0 } else { LEAST_HAZARD };
    (best.enough && best.hazard >= least_hazard).then_some(best)
}

fn most_telling(evidence: &Evidence, near: u32, look_back: &[usize], standing: bool) -> Option<Found> {
    let widest = width(near, WIDTHS[WIDTHS.len() - 1]);
    let reach = 4 * widest + near / 1000 * FLANK;
    let cuts = evidence.cuts(near.saturating_sub(reach), near.saturating_add(reach));
    let mut best: Option<Found> = None;
    let first = cuts.partition_point(|cut| cut.after < near.saturating_sub(widest).max(SHORTEST_LIMIT));
    let starts = cuts.iter().enumerate().skip(first);
    let mut tried = 0;
    for (start, lowest) in starts.take_while(|(_, cut)| cut.after <= near.saturating_add(widest)) {
        // Windows that begin an eighth of the narrowest width apart hold the same.
        if lowest.kind != Kind::Cut || lowest.after < tried {
            continue;
        }
        tried = lowest.after + width(lowest.after, WIDTHS[0]) / 8;
        for wide in WIDTHS.map(|wide| width(lowest.after, wide)) {
            let end = start + cuts[start..].partition_point(|cut| cut.after <= lowest.after + wide);
            let window = Window { cuts: &cuts, start, end, wide };
            if end - start < ENOUGH_MOMENTS as usize || !window.looks_dense(standing) {
                continue;
            }
            let found = look_back.iter().find_map(|&last| window.judge(evidence, last, standing));
            if let Some(found) = found.filter(|found| found.enough)
                && best.is_none_or(|best| best.telling < found.telling)
            {
                best = Some(found);
            }
        }
    }
    best
}

/// A stretch of the sorted cuts around it.
struct Window<'a> {
    cuts: &'a [Entry],
    start: usize,
    end: usize,
    wide: u32,
}

impl Window<'_> {
    fn judge(&self, evidence: &Evidence, last: usize, standing: bool) -> Option<Found> {
        let (_, times_flanks, surprise) = if standing { STANDING } else { (LEAST_HAZARD, TIMES_FLANKS, SURPRISE) };
        let inside = self.cuts[self.start..self.end].iter().filter(|cut| cut.kind == Kind::Cut);
        let inside: Vec<Entry> = inside.copied().collect();
        let (at, flank) = (inside.first()?.after, self.bins() * self.wide);
        let whole = evidence.complete_since(at.saturating_sub(flank), at.saturating_add(self.wide + flank));
        let since = whole.max(nth_latest(&inside, last)?);
        let recent: Vec<Entry> = inside.iter().filter(|cut| cut.at >= since).copied().collect();
        let (moments, distinct) = moments(&recent);
        if moments < ENOUGH_MOMENTS {
            return None;
        }
        // What it would be with empty flanks.
        if f64::from(moments) * f64::from(2 * self.bins() + 1).ln() < surprise {
            return None;
        }
        let flanks = self.flanks(since);
        if f64::from(moments) < times_flanks * flanks.densest || flanks.surprise(f64::from(moments)) < surprise {
            return None;
        }
        let cuts = capped(&count(recent.iter().map(|cut| (cut.prefix, 1.0))), 0.0);
        let moments = f64::from(moments).min(cuts);
        let score = flanks.surprise(moments);
        if moments < times_flanks * flanks.densest || score < surprise {
            return None;
        }
        Some(Found {
            at: recent.first()?.after,
            latest: recent.last()?.after,
            grade: Grade::Mixed,
            hazard: 1.0,
            steady: 1.0,
            cuts: distinct,
            last_cut: recent.iter().map(|cut| cut.at).max()?,
            telling: score / moments,
            enough: distinct >= ENOUGH_CUTS && cuts >= f64::from(ENOUGH_CUTS),
            capped: cuts,
            since,
        })
    }

    /// Two and a half times as dense as its flanks, at a glance: it spares the rest for nearly all windows of a path
    /// without timer. Fewer than the four times, as what is recent may be denser than the whole.
    fn looks_dense(&self, standing: bool) -> bool {
        let (low, flank) = (self.cuts[self.start].after, self.bins() * self.wide);
        let below = self.cuts.partition_point(|cut| cut.after < low.saturating_sub(flank));
        let above = self.cuts.partition_point(|cut| cut.after <= low.saturating_add(self.wide + flank));
        let (inside, all) = (self.end - self.start, above - below);
        4 * self.bins() as usize * inside >= if standing { 3 } else { 5 } * (all - inside)
    }

    /// Bins of the window's width in each flank.
    fn bins(&self) -> u32 {
        let at = self.cuts[self.start].after;
        (at / 1000 * FLANK).div_ceil(self.wide).max(2)
    }

    fn flanks(&self, since: u32) -> Flanks {
        let low = self.cuts[self.start].after;
        let (mut below, mut above) = ((0, 0), (0, 0));
        for n in 1..=self.bins() {
            let from = low.saturating_sub(n * self.wide);
            if from >= SHORTEST {
                below = (below.0 + self.moments_between(from, from + self.wide, since), below.1 + 1);
            }
            // The window ends with its last width, which belongs to it.
            let from = low.saturating_add(n * self.wide).saturating_add(1);
            above = (above.0 + self.moments_between(from, from.saturating_add(self.wide), since), above.1 + 1);
        }
        let density = |(moments, bins): (u32, u32)| f64::from(moments) / f64::from(bins.max(1));
        Flanks {
            moments: f64::from(below.0 + above.0),
            bins: f64::from(below.1 + above.1),
            densest: density(below).max(density(above)),
        }
    }

    fn moments_between(&self, from: u32, to: u32, since: u32) -> u32 {
        let first = self.cuts.partition_point(|cut| cut.after < from);
        let bin = self.cuts[first..].iter().take_while(|cut| cut.after < to);
        let cuts: Vec<Entry> = bin.filter(|cut| cut.at >= since).copied().collect();
        match cuts.len() {
            0 => 0,
            1 => 1,
            _ => moments(&cuts).0,
        }
    }
}

/// What a window is compared with: as many bins of its width to each side as [`FLANK`] says.
struct Flanks {
    moments: f64,
    bins: f64,
    /// Moments in a bin of the denser flank. At a step, as below a heartbeat's interval, the mean of both is too low.
    densest: f64,
}

impl Flanks {
    /// −ln of the chance that of all these moments so many fall into the window and not into a bin beside it.
    ///
    /// By Chernoff's bound of the binomial tail, which is never less than the chance itself. As what is compared is
    /// divided by chance too, few moments in the flanks are not taken for none.
    fn surprise(&self, inside: f64) -> f64 {
        let all = inside + self.moments;
        let expected = all / (self.bins + 1.0);
        if inside <= expected {
            return 0.0;
        }
        let outside = if self.moments > 0.0 { self.moments * (self.moments / (all - expected)).ln() } else { 0.0 };
        inside * (inside / expected).ln() + outside
    }
}

/// How many streams that reached the limit since its last cut were not cut by it.
pub(super) fn outlived_since_last_cut(evidence: &Evidence, found: &Found) -> f64 {
    let later = evidence.reached(found.upper(), found.last_cut.saturating_add(1));
    capped(&count(later.map(|(entry, _)| (entry.prefix, 1.0))), 0.0)
}

/// The streams that reached the limit and were not cut in its window, and those of them that are really beyond it.
fn others(evidence: &Evidence, found: &Found) -> (f64, f64) {
    let in_window = |entry: &Entry| entry.kind == Kind::Cut && (found.at..=found.latest).contains(&entry.after);
    let others = || evidence.reached(found.at, found.since).filter(|(entry, _)| !in_window(entry));
    let beyond = others().filter(|(entry, _)| entry.kind == Kind::Outlived || entry.after > found.upper());
    let beyond = capped(&count(beyond.map(|(entry, weight)| (entry.prefix, weight))), found.capped);
    (capped(&count(others().map(|(entry, weight)| (entry.prefix, weight))), found.capped), beyond)
}

/// The values of the cuts from `lowest` to `highest`, sorted.
fn afters(evidence: &Evidence, lowest: u32, highest: u32, since: u32) -> Vec<u32> {
    let cuts = evidence.cuts(lowest, highest).into_iter();
    cuts.filter(|cut| cut.kind == Kind::Cut && cut.at >= since).map(|cut| cut.after).collect()
}

fn width(value: u32, (thousandths, least): (u32, u32)) -> u32 {
    (value / 1000 * thousandths).max(least)
}

/// The moment of the n-th latest; none where there are fewer, since another look back covers that.
fn nth_latest(cuts: &[Entry], n: usize) -> Option<u32> {
    if n == usize::MAX {
        return Some(0);
    }
    let mut at: Vec<u32> = cuts.iter().map(|cut| cut.at).collect();
    let place = at.len().checked_sub(n)?;
    Some(*at.select_nth_unstable(place).1)
}

/// Distinct moments, and the cuts that count with at most [`OF_ONE_MOMENT`] of each.
///
/// A cut is of another moment than the one before if it ended at another second *and* what it waited for began at
/// another: streams written to at once and then closed one after another by a slow drain are still one moment.
fn moments(cuts: &[Entry]) -> (u32, u32) {
    let mut by_end = cuts.to_vec();
    by_end.sort_unstable_by_key(|cut| cut.at);
    let (mut moments, mut counted, mut of_this) = (0, 0, 0);
    let mut of: Option<Entry> = None;
    for cut in by_end {
        let apart = |other: Entry| {
            cut.at.abs_diff(other.at) >= SECOND && cut.began().abs_diff(other.began()) >= u64::from(SECOND)
        };
        if of.is_none_or(apart) {
            of = Some(cut);
            moments += 1;
            of_this = 0;
        }
        if of_this < OF_ONE_MOMENT {
            of_this += 1;
            counted += 1;
        }
    }
    (moments, counted)
}

/// The weights by prefix: the first is of those without one, each of which stands for itself.
struct Weights {
    alone: f64,
    shared: Vec<f64>,
}

fn count<P: Ord>(entries: impl Iterator<Item = (Option<P>, f64)>) -> Weights {
    let mut entries: Vec<(Option<P>, f64)> = entries.collect();
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut weights = Weights { alone: 0.0, shared: Vec::new() };
    for same in entries.chunk_by(|(a, _), (b, _)| a == b) {
        let weight = same.iter().map(|(_, weight)| weight).sum();
        if same[0].0.is_some() { weights.shared.push(weight) } else { weights.alone = weight }
    }
    weights
}

/// The sum in which no prefix is more than a tenth, or one; `besides` is other evidence that the tenth is taken of.
fn capped(weights: &Weights, besides: f64) -> f64 {
    let sum = |cap: f64| weights.alone + weights.shared.iter().map(|weight| weight.min(cap)).sum::<f64>();
    let mut cap = weights.shared.iter().copied().fold(1.0, f64::max);
    loop {
        let sum = sum(cap);
        let tenth = ((sum + besides) / 10.0).floor().max(1.0);
        if cap <= tenth {
            return sum;
        }
        // It falls by at least one each time, since both are whole or the tenth is smaller.
        cap = tenth;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prefix_is_at_most_a_tenth_or_one() {
        let sum = |alone, shared: &[f64], besides| capped(&Weights { alone, shared: shared.to_vec() }, besides);
        assert_eq!(sum(0.0, &[1000.0], 0.0), 1.0, "one prefix alone is one");
        assert_eq!(sum(0.0, &[7.0; 20], 0.0), 140.0, "twenty equal ones are all below a tenth");
        assert_eq!(sum(90.0, &[1000.0], 0.0), 100.0, "beside ninety others it is ten of a hundred");
        assert_eq!(sum(0.0, &[1000.0], 50.0), 5.0, "and what lies elsewhere counts as others");
        assert_eq!(sum(12.0, &[], 0.0), 12.0, "who has no prefix stands for itself");
    }

    #[test]
    fn a_slow_drain_after_a_broadcast_is_one_moment() {
        let cut = |after, at| Entry { after, at, prefix: None, kind: Kind::Cut };
        let drained: Vec<Entry> = (0..24).map(|n| cut(60_000 + n * 100, 1_000 + n)).collect();
        assert_eq!(moments(&drained), (1, 2));
        let timed: Vec<Entry> = (0..24).map(|n| cut(60_000, 1_000 + n * SECOND)).collect();
        assert_eq!(moments(&timed), (24, 24));
    }
}
