//! Plots as SVG, written by hand: bars, and lines over the number of streams.

use std::fmt::Write;

use super::{Spread, Summary};
use crate::peer::Peer;
use crate::rounds::Line;

/// A plot, and the name of its file.
pub struct Plot {
    /// The name, without the directory.
    pub name: &'static str,
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// The file.
    pub svg: String,
}

const WIDTH: f64 = 760.0;
const LABEL: f64 = 170.0;
const ROW: f64 = 26.0;
const TOP: f64 = 44.0;

/// All plots for which there are results.
pub fn plots(lines: &[Line]) -> Vec<Plot> {
    let mut plots = Vec::new();
    let cost = |name, scenario, streams: &str| {
        let title = format!("CPU time of the server for one delivery, {streams} (µs)");
        bars(name, &title, &[("", "cpu")], &Summary::of(lines, scenario), Axis::Linear)
    };
    plots.extend(cost("cost-1k.svg", "fan1k", "one event at a time to 1 000 subscribers"));
    plots.extend(cost("cost-10k.svg", "fan10k", "one event at a time to 10 000 subscribers"));
    plots.extend(cost("cost-burst-1k.svg", "burst1k", "sixteen events open to 1 000 subscribers"));
    let title = "Memory of the server for an idle stream, of 10 000 (bytes)";
    plots.extend(bars("memory.svg", title, &[("", "bytes")], &Summary::of(lines, "idle10k"), Axis::Logarithmic));
    let quantiles = [("p50", "p50"), ("p99", "p99"), ("p99.9", "p999")];
    for (name, scenario, of) in [
        ("latency-1k.svg", "latency1k", "100 events/s to 1 000 subscribers"),
        ("latency-10k.svg", "latency10k", "10 events/s to 10 000 subscribers"),
    ] {
        let title = format!("Latency of {of}: p50, p99, p99.9 (ms)");
        plots.extend(bars(name, &title, &quantiles, &Summary::of(lines, scenario), Axis::Logarithmic));
    }
    plots.extend(growth(lines));
    plots
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Linear,
    Logarithmic,
}

/// From a value to a place, both ends included.
struct Scale {
    from: f64,
    to: f64,
    axis: Axis,
    begin: f64,
    end: f64,
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        let share = match self.axis {
            Axis::Linear => (value - self.from) / (self.to - self.from),
            Axis::Logarithmic => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        self.begin + share * (self.end - self.begin)
    }

    /// Round values to write at the axis.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.axis == Axis::Logarithmic {
            let mut tick = 10f64.powf(self.from.log10().ceil());
            while tick <= self.to * 1.0001 {
                ticks.push(tick);
                tick *= 10.0;
            }
            return ticks;
        }
        let rough = (self.to - self.from) / 5.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * magnitude).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let mut tick = (self.from / step).ceil() * step;
        while tick <= self.to {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

/// A bar for each server and figure; the thin line over it goes from the least to the most of all rounds.
fn bars(name: &'static str, title: &str, figures: &[(&str, &str)], summary: &Summary, axis: Axis) -> Option<Plot> {
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(|peer| summary.has(*peer)).collect();
    let spreads: Vec<(Peer, &str, Spread)> = peers
        .iter()
        .flat_map(|peer| figures.iter().filter_map(|(label, key)| Some((*peer, *label, summary.figure(*peer, key)?))))
        .collect();
    let most = spreads.iter().map(|(.., spread)| spread.most).fold(f64::MIN, f64::max);
    let least = spreads.iter().map(|(.., spread)| spread.least).filter(|least| *least > 0.0).fold(f64::MAX, f64::min);
    if spreads.is_empty() || most <= 0.0 {
        return None;
    }
    let from = if axis == Axis::Linear { 0.0 } else { 10f64.powf(least.log10().floor()) };
    let to = if axis == Axis::Linear { most * 1.05 } else { 10f64.powf(most.log10().ceil()) };
    let scale = Scale { from, to, axis, begin: LABEL, end: WIDTH - 70.0 };
    let height = TOP + ROW * spreads.len() as f64 + 34.0;
    let mut svg = open(title, height);
    axis_lines(&mut svg, &scale, TOP - 6.0, height - 28.0);
    let mut before = None;
    for (row, (peer, label, spread)) in spreads.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let (begin, end) = (scale.begin, scale.place(spread.median).max(scale.begin + 1.0));
        let colour = colour(*peer);
        let _ = writeln!(
            svg,
            r#"<rect x="{begin:.1}" y="{y:.1}" width="{:.1}" height="16" fill="{colour}"/>"#,
            end - begin
        );
        let (least, most, middle) = (scale.place(spread.least), scale.place(spread.most), y + 8.0);
        let _ = writeln!(
            svg,
            r##"<path d="M{least:.1} {middle:.1}H{most:.1}" stroke="#222" stroke-width="1.5" fill="none"/>"##
        );
        if before != Some(*peer) {
            text(&mut svg, LABEL - 42.0, y + 12.0, "end", plain(*peer));
        }
        before = Some(*peer);
        text(&mut svg, LABEL - 6.0, y + 12.0, "end", label);
        text(&mut svg, most.max(end) + 6.0, y + 12.0, "start", &number(spread.median));
    }
    svg.push_str("</svg>\n");
    Some(Plot { name, title: title.to_owned(), svg })
}

/// CPU a delivery over the number of streams.
fn growth(lines: &[Line]) -> Option<Plot> {
    let sizes = [(1_000.0, "fan1k"), (5_000.0, "fan5k"), (10_000.0, "fan10k"), (19_000.0, "fan19k")];
    let summaries: Vec<(f64, Summary)> =
        sizes.into_iter().map(|(streams, scenario)| (streams, Summary::of(lines, scenario))).collect();
    let curve = |peer: Peer| -> Vec<(f64, f64)> {
        let points = summaries.iter().filter_map(|(x, summary)| Some((*x, summary.figure(peer, "cpu")?.median)));
        points.collect()
    };
    let curves: Vec<(Peer, Vec<(f64, f64)>)> =
        Peer::ALL.into_iter().map(|peer| (peer, curve(peer))).filter(|(_, points)| points.len() > 2).collect();
    let most = curves.iter().flat_map(|(_, points)| points).map(|(_, y)| *y).fold(f64::MIN, f64::max);
    if curves.is_empty() {
        return None;
    }
    let (title, height) = ("CPU time of the server for one delivery, by the number of streams (µs)", 380.0);
    let across = Scale { from: 0.0, to: 20_000.0, axis: Axis::Linear, begin: 60.0, end: WIDTH - 150.0 };
    let up = Scale { from: 0.0, to: most * 1.1, axis: Axis::Linear, begin: height - 40.0, end: TOP };
    let mut svg = open(title, height);
    axis_lines(&mut svg, &across, TOP, height - 40.0);
    for tick in up.ticks() {
        text(&mut svg, 52.0, up.place(tick) + 4.0, "end", &number(tick));
    }
    for (peer, points) in &curves {
        let mut path = String::new();
        for (x, y) in points {
            let step = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", across.place(*x), up.place(*y));
        }
        let colour = colour(*peer);
        let _ = writeln!(svg, r#"<path d="{path}" stroke="{colour}" stroke-width="2.5" fill="none"/>"#);
        if let Some((x, y)) = points.last() {
            text(&mut svg, across.place(*x) + 6.0, up.place(*y) + 4.0, "start", plain(*peer));
        }
    }
    svg.push_str("</svg>\n");
    Some(Plot { name: "growth.svg", title: title.to_owned(), svg })
}

fn open(title: &str, height: f64) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222" role="img">
<title>{title}</title>
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
"##
    );
    text(&mut svg, 12.0, 22.0, "start", title);
    svg
}

fn axis_lines(svg: &mut String, scale: &Scale, top: f64, bottom: f64) {
    for tick in scale.ticks() {
        let x = scale.place(tick);
        let _ = writeln!(svg, r##"<path d="M{x:.1} {top:.1}V{bottom:.1}" stroke="#ddd" fill="none"/>"##);
        text(svg, x, bottom + 16.0, "middle", &number(tick));
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value == value.trunc() => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

fn plain(peer: Peer) -> &'static str {
    if peer == Peer::Encke { "Encke" } else { peer.title() }
}

fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Encke | Peer::EnckeDurable | Peer::EnckeBehindNginx | Peer::EnckeOverTls => "#c8502d",
        Peer::Bare => "#555",
        Peer::BareMerging => "#888",
        Peer::Nchan => "#2f7d4f",
        Peer::Naive => "#2b6cb0",
        Peer::Faye => "#a58a2a",
        Peer::BetterSse => "#8a5aa8",
        Peer::Pushpin => "#3f8f99",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_goes_from_end_to_end_and_its_ticks_lie_between() {
        for axis in [Axis::Linear, Axis::Logarithmic] {
            let scale = Scale { from: 1.0, to: 1_000.0, axis, begin: 100.0, end: 700.0 };
            assert!((scale.place(1.0) - 100.0).abs() < 1e-9 && (scale.place(1_000.0) - 700.0).abs() < 1e-9);
            let ticks = scale.ticks();
            assert!((3..=8).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.iter().all(|tick| (1.0..=1_000.1).contains(tick)), "{ticks:?}");
        }
    }
}
