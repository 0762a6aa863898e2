//! A table for each question, and a verdict for each promise.

use std::fmt::Write;

use super::Summary;
use crate::peer::Peer;
use crate::rounds::Line;
use crate::scenario::{ALL, Bound, Promise, Scenario};

/// The whole report.
pub fn markdown(lines: &[Line]) -> String {
    let (mut text, mut is_quick) = (String::new(), false);
    for line in lines {
        if let Line::Machine(machine) = line {
            text.push_str(&machine.markdown());
            is_quick |= machine.quick;
        }
    }
    for scenario in ALL {
        let summary = Summary::of(lines, scenario.name);
        if !summary.is_empty() {
            section(scenario, &summary, is_quick, &mut text);
        }
    }
    text
}

fn section(scenario: &Scenario, summary: &Summary, is_quick: bool, text: &mut String) {
    let _ = write!(text, "\n### {}\n\n`{}`: {}\n\n", scenario.title, scenario.name, scenario.does);
    let against = against(scenario, summary);
    let mut head = String::from("| server |");
    for figure in scenario.figures {
        let _ = write!(head, " {} |", figure.title);
    }
    for (peer, figure) in &against {
        let title = scenario.figures.iter().find(|shown| shown.key == *figure).map_or(*figure, |shown| shown.title);
        let _ = write!(head, " {} × {} |", title.split(',').next().unwrap_or(title), peer.title());
    }
    let columns = head.matches('|').count() - 2;
    let _ = writeln!(text, "{head}\n|---|{}", "---:|".repeat(columns));
    for peer in Peer::ALL.into_iter().filter(|peer| summary.has(*peer)) {
        let _ = write!(text, "| {} |", peer.title());
        for figure in scenario.figures {
            let spread = summary.figure(peer, figure.key);
            let _ = write!(text, " {} |", spread.map_or_else(|| "–".to_owned(), |spread| spread.text(figure.digits)));
        }
        for (other, figure) in &against {
            let ratio = summary.ratio(peer, *other, figure).filter(|_| peer != *other);
            let _ = write!(text, " {} |", ratio.map_or_else(|| "–".to_owned(), |ratio| ratio.text(2)));
        }
        text.push('\n');
    }
    text.push('\n');
    faults(summary, text);
    // A first look is no ground for a verdict.
    for promise in scenario.promises.iter().filter(|_| !is_quick) {
        if let Some(verdict) = verdict(scenario, promise, summary) {
            let _ = writeln!(text, "- {verdict}");
        }
    }
}

/// With whom every server is compared, by what: the bare loop always, and whomever a promise names.
fn against(scenario: &Scenario, summary: &Summary) -> Vec<(Peer, &'static str)> {
    let mut against: Vec<(Peer, &'static str)> = Vec::new();
    if scenario.figures.iter().any(|figure| figure.key == "cpu") && summary.has(Peer::Bare) {
        against.push((Peer::Bare, "cpu"));
    }
    for promise in scenario.promises {
        if let Some(peer) = promise.against.filter(|peer| summary.has(*peer))
            && !against.contains(&(peer, promise.figure))
        {
            against.push((peer, promise.figure));
        }
    }
    against
}

fn faults(summary: &Summary, text: &mut String) {
    for peer in Peer::ALL {
        let faults = summary.faults(peer);
        if !faults.none() {
            let _ = writeln!(
                text,
                "- {}: {} events lost, {} duplicated, {} reordered, {} misrouted.",
                peer.title(),
                faults.lost,
                faults.duplicated,
                faults.reordered,
                faults.misrouted
            );
        }
        if let Some(error) = summary.error(peer) {
            let _ = writeln!(text, "- {}: a round failed: {error}", peer.title());
        }
    }
}

fn verdict(scenario: &Scenario, promise: &Promise, summary: &Summary) -> Option<String> {
    let figure = scenario.figures.iter().find(|figure| figure.key == promise.figure)?;
    let (spread, of) = match promise.against {
        Some(against) => (summary.ratio(promise.of, against, promise.figure)?, format!(" of {}", against.title())),
        None => (summary.figure(promise.of, promise.figure)?, String::new()),
    };
    let (word, bound) = match promise.bound {
        Bound::AtMost(bound) => ("at most", bound),
        Bound::AtLeast(bound) => ("at least", bound),
    };
    let times = if promise.against.is_some() { " ×" } else { "" };
    let digits = if promise.against.is_some() { 2 } else { figure.digits.max(1) };
    let kept = if promise.bound.is_kept(spread.median) { "kept" } else { "missed" };
    Some(format!(
        "{}: {} {word} {bound}{times}{of}: **{kept}**, {}",
        promise.of.title(),
        figure.title,
        spread.text(digits)
    ))
}
