//! What the tests of a suite gave: the lines that `clients/compat/results.py` writes.

use std::{collections::BTreeMap, fs, path::Path};

use crate::command::{IoContext, Result};

/// A test that is reported more than once has the last of these outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Skipped,
    Passed,
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

#[derive(Default)]
pub struct Results {
    /// By test: its outcome, and why it was not passed.
    pub tests: BTreeMap<String, (Outcome, String)>,
    /// How many the suite says it has.
    collected: Option<usize>,
}

impl Results {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).context(format!("reading {}", path.display()))?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Self {
        let mut results = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t');
            let (Some(kind), Some(test)) = (fields.next(), fields.next()) else { continue };
            let why = fields.next().unwrap_or_default();
            match kind {
                "passed" => results.add(test, Outcome::Passed, why),
                "failed" => results.add(test, Outcome::Failed, why),
                "skipped" => results.add(test, Outcome::Skipped, why),
                "collected" => results.collected = test.parse().ok(),
                // A line that was being written when the run was ended.
                _ => {}
            }
        }
        results
    }

    fn add(&mut self, test: &str, outcome: Outcome, why: &str) {
        let entry = self.tests.entry(test.to_owned()).or_insert_with(|| (outcome, why.to_owned()));
        if outcome > entry.0 {
            *entry = (outcome, why.to_owned());
        }
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (outcome, _) in self.tests.values() {
            match outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    pub fn progress(&self) -> String {
        let failed = self.counts().failed;
        match self.collected {
            Some(collected) => format!("{} of {collected} tests, {failed} failed", self.tests.len()),
            None => format!("{} tests, {failed} failed", self.tests.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_counts_by_its_worst_line() {
        let results = Results::parse(
            "collected\t3\t\npassed\ta\t\nfailed\ta\tdivision by zero\nskipped\tb\tno\npassed\tb\t\nfai",
        );
        assert_eq!(results.counts(), Counts { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(results.tests["a"], (Outcome::Failed, "division by zero".to_owned()));
        assert_eq!(results.progress(), "2 of 3 tests, 1 failed");
    }
}
