//! Rounds drawn together: medians, and the medians of ratios of the same round.

use std::collections::BTreeMap;

use crate::ledger::Faults;
use crate::peer::Peer;
use crate::rounds::{Line, Round};
use crate::scenario::Outcome;

/// A median and how far the rounds lay apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of some values; none of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { least, median, most })
    }

    /// As text: the median, and the rest behind it if it can be told from it.
    pub fn text(self, digits: usize) -> String {
        let [least, median, most] = [self.least, self.median, self.most].map(|value| format!("{value:.digits$}"));
        if least == most {
            return median;
        }
        format!("{median} ({least} – {most})")
    }
}

/// All rounds of one question.
pub struct Summary {
    rounds: BTreeMap<Peer, BTreeMap<usize, Outcome>>,
    errors: BTreeMap<Peer, String>,
}

impl Summary {
    /// The rounds of the question of this name.
    pub fn of(lines: &[Line], scenario: &str) -> Self {
        let mut summary = Self { rounds: BTreeMap::new(), errors: BTreeMap::new() };
        for line in lines {
            let Line::Round(Round { scenario: of, peer, round, outcome, error }) = line else { continue };
            let (true, Some(peer)) = (of == scenario, Peer::named(peer)) else { continue };
            if let Some(outcome) = outcome {
                summary.rounds.entry(peer).or_default().insert(*round, outcome.clone());
            } else if let Some(error) = error {
                summary.errors.insert(peer, error.clone());
            }
        }
        summary
    }

    /// Whether nobody was asked.
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty() && self.errors.is_empty()
    }

    /// Who was asked and answered at least once.
    pub fn has(&self, peer: Peer) -> bool {
        self.rounds.contains_key(&peer)
    }

    /// Why a server has no result, or not in every round.
    pub fn error(&self, peer: Peer) -> Option<&str> {
        self.errors.get(&peer).map(String::as_str)
    }

    /// A figure of a server.
    pub fn figure(&self, peer: Peer, key: &str) -> Option<Spread> {
        Spread::of(self.rounds.get(&peer)?.values().filter_map(|outcome| outcome.figures.get(key).copied()))
    }

    /// A figure of a server as a share of another's, each round by itself.
    pub fn ratio(&self, peer: Peer, against: Peer, key: &str) -> Option<Spread> {
        let (of, against) = (self.rounds.get(&peer)?, self.rounds.get(&against)?);
        Spread::of(
            of.iter()
                .filter_map(|(round, outcome)| Some(outcome.figures.get(key)? / against.get(round)?.figures.get(key)?)),
        )
    }

    /// What went wrong in all rounds.
    pub fn faults(&self, peer: Peer) -> Faults {
        let mut sum = Faults::default();
        for outcome in self.rounds.get(&peer).into_iter().flat_map(BTreeMap::values) {
            sum += outcome.faults;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(peer: Peer, round: usize, cpu: f64) -> Line {
        let mut outcome = Outcome::default();
        outcome.set("cpu", cpu);
        let peer = peer.name().to_owned();
        Line::Round(Round { scenario: "fan".to_owned(), peer, round, outcome: Some(outcome), error: None })
    }

    #[test]
    fn a_ratio_is_of_the_same_round() {
        // The second round was on a busy machine: everything took ten times as long.
        let lines = [
            round(Peer::Bare, 1, 2.0),
            round(Peer::Encke, 1, 3.0),
            round(Peer::Encke, 2, 30.0),
            round(Peer::Bare, 2, 20.0),
            round(Peer::Encke, 3, 99.0),
        ];
        let summary = Summary::of(&lines, "fan");
        let ratio = summary.ratio(Peer::Encke, Peer::Bare, "cpu").unwrap();
        assert_eq!(ratio, Spread { least: 1.5, median: 1.5, most: 1.5 });
        assert_eq!(summary.figure(Peer::Encke, "cpu").unwrap().text(1), "30.0 (3.0 – 99.0)");
    }

    #[test]
    fn an_even_number_of_values_has_a_median_too() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }
}
