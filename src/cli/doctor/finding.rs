//! What was found out, in words.

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Streams die, or events are late or lost.
    Problem,
    /// Nothing fails; it is good to know.
    Advice,
}

/// One thing that is wrong with the path, or worth knowing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Its name for programs, of a closed set.
    pub(super) name: &'static str,
    pub(super) level: Level,
    /// What is so, in a sentence.
    pub(super) says: String,
    /// What was measured.
    pub(super) evidence: String,
    /// What to change: one is enough if the hop is known, else the candidates.
    pub(super) remedy: Vec<String>,
}

impl Finding {
    pub(super) fn problem(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, level: Level::Problem, says: says.into(), evidence: String::new(), remedy: Vec::new() }
    }

    pub(super) fn advice(name: &'static str, says: impl Into<String>) -> Self {
        Self { level: Level::Advice, ..Self::problem(name, says) }
    }

    pub(super) fn by(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    pub(super) fn mended_by(mut self, remedy: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.remedy.extend(remedy.into_iter().map(Into::into));
        self
    }
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Advice => "advice",
        }
    }
}
