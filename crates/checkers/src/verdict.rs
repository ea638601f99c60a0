//! What a checker found: anomalies by name with the evidence, and what it could not decide.

use std::fmt;

use crate::history::{Operation, Outcome};

/// A contradiction in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Its name in the literature, or a plain one: `G-single`, `lost update`, `wrong total`.
    pub name: &'static str,
    /// The operations that show it, by position in the history.
    pub operations: Vec<usize>,
    /// The evidence, for a reader; one line or several.
    pub evidence: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.evidence)
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What was looked for.
    pub checked: String,
    pub ok: usize,
    pub failed: usize,
    pub unknown: usize,
    pub anomalies: Vec<Anomaly>,
    /// Cycles that only real time or the order within a process closes: they contradict strict serializability, which is
    /// more than serializability.
    pub apart: Vec<Anomaly>,
    /// What the checker gave up on, with the reason. Not a pass.
    pub undecided: Vec<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Holds,
    Broken,
    Undecided,
}

/// Anomalies of one name that are shown with their evidence.
const SHOWN: usize = 3;

impl Verdict {
    #[must_use]
    pub fn over<T>(checked: impl Into<String>, history: &[Operation<T>]) -> Self {
        let count = |outcome| history.iter().filter(|operation| operation.outcome == outcome).count();
        Self {
            checked: checked.into(),
            ok: count(Outcome::Ok),
            failed: count(Outcome::Fail),
            unknown: count(Outcome::Info),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn ending(&self) -> Ending {
        match (self.anomalies.is_empty(), self.undecided.is_empty()) {
            (false, _) => Ending::Broken,
            (true, false) => Ending::Undecided,
            (true, true) => Ending::Holds,
        }
    }

    /// The names of what was found, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        names(&self.anomalies)
    }
}

fn names(anomalies: &[Anomaly]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = anomalies.iter().map(|anomaly| anomaly.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn show(f: &mut fmt::Formatter<'_>, anomalies: &[Anomaly]) -> fmt::Result {
    for name in names(anomalies) {
        let all: Vec<&Anomaly> = anomalies.iter().filter(|anomaly| anomaly.name == name).collect();
        writeln!(f, "  {name}, {} of them", all.len())?;
        for anomaly in all.iter().take(SHOWN) {
            for line in anomaly.evidence.lines() {
                writeln!(f, "    {line}")?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checked, ok, failed, unknown, anomalies, apart, undecided } = self;
        writeln!(f, "checked: {checked}")?;
        writeln!(f, "  over {ok} operations that succeeded, {failed} that failed, {unknown} of unknown outcome")?;
        if !apart.is_empty() {
            writeln!(f, "only against strict serializability (real time, order within a client):")?;
            show(f, apart)?;
        }
        for what in undecided {
            writeln!(f, "undecided: {what}")?;
        }
        match self.ending() {
            Ending::Holds => write!(f, "verdict: no anomaly"),
            Ending::Undecided => write!(f, "verdict: undecided"),
            Ending::Broken => {
                writeln!(f, "ANOMALIES:")?;
                show(f, anomalies)?;
                write!(f, "verdict: BROKEN ({})", names(anomalies).join(", "))
            }
        }
    }
}
