//! The failures that are known: a file a suite, a line a test, `test<TAB>reason`.

use std::{collections::BTreeMap, fs, path::Path};

use super::results::{Outcome, Results};
use crate::command::{IoContext, Result};

/// The reason of a test that fails on PostgreSQL as well.
const THERE_TOO: &str = "fails on PostgreSQL too";

#[derive(Default)]
pub struct Expected {
    reasons: BTreeMap<String, String>,
}

/// A run beside the list. An entry of the first three is a line to print.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub unexpected: Vec<String>,
    pub passing: Vec<String>,
    pub absent: Vec<String>,
    /// Failures that are on the list.
    pub known: usize,
}

impl Expected {
    /// A suite without a file has no known failures.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).context(format!("reading {}", path.display()))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (test, reason) = line.split_once('\t').unwrap_or((line, ""));
            (test.to_owned(), reason.to_owned())
        };
        Self { reasons: text.lines().filter(|line| !line.is_empty()).map(entry).collect() }
    }

    fn text(&self) -> String {
        self.reasons.iter().map(|(test, reason)| format!("{test}\t{reason}\n")).collect()
    }

    pub fn write(&self, path: &Path) -> Result {
        fs::write(path, self.text()).context(format!("writing {}", path.display()))
    }

    /// Makes the list that of a run.
    pub fn record(&mut self, found: &Results, postgres: Option<&Results>) {
        let known = std::mem::take(&mut self.reasons);
        for (test, (outcome, why)) in &found.tests {
            if *outcome != Outcome::Failed {
                continue;
            }
            let fails_there = postgres
                .and_then(|it| it.tests.get(test))
                .is_some_and(|(outcome, _)| *outcome == Outcome::Failed);
            let reason = match known.get(test) {
                Some(reason) => reason.clone(),
                None if fails_there => THERE_TOO.to_owned(),
                None => why.clone(),
            };
            self.reasons.insert(test.clone(), reason);
        }
    }

    pub fn judge(&self, found: &Results) -> Verdict {
        let mut verdict = Verdict::default();
        for (test, (outcome, why)) in &found.tests {
            match (outcome, self.reasons.contains_key(test)) {
                (Outcome::Failed, true) => verdict.known += 1,
                (Outcome::Failed, false) => verdict.unexpected.push(format!("{test}: {why}")),
                (Outcome::Passed, true) => verdict.passing.push(test.clone()),
                (Outcome::Skipped, true) => verdict.absent.push(test.clone()),
                (Outcome::Passed | Outcome::Skipped, false) => {}
            }
        }
        let absent = self.reasons.keys().filter(|test| !found.tests.contains_key(*test));
        verdict.absent.extend(absent.cloned());
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(tests: &[(&str, Outcome)]) -> Results {
        let mut results = Results::default();
        for (test, outcome) in tests {
            results.tests.insert((*test).to_owned(), (*outcome, "why".to_owned()));
        }
        results
    }

    #[test]
    fn a_run_is_judged_by_the_list() {
        let expected = Expected::parse("a\tno such type\nb\t\nc\tgone\n");
        let found = results(&[
            ("a", Outcome::Failed),
            ("b", Outcome::Passed),
            ("d", Outcome::Failed),
            ("e", Outcome::Passed),
        ]);
        let verdict = Verdict {
            unexpected: vec!["d: why".into()],
            passing: vec!["b".into()],
            absent: vec!["c".into()],
            known: 1,
        };
        assert_eq!(expected.judge(&found), verdict);
    }

    #[test]
    fn a_recorded_list_keeps_its_reasons() {
        let mut expected = Expected::parse("a\tno such type\nb\t\n");
        let found = results(&[
            ("a", Outcome::Failed),
            ("b", Outcome::Passed),
            ("d", Outcome::Failed),
            ("e", Outcome::Failed),
        ]);
        expected.record(&found, Some(&results(&[("e", Outcome::Failed)])));
        assert_eq!(expected.text(), "a\tno such type\nd\twhy\ne\tfails on PostgreSQL too\n");
    }
}
