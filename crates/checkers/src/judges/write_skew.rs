//! Of each pair of transactions, either looks whether any row of the pair fits a predicate and, if none does, inserts one
//! that does. Only one may find none: two that both did are write skew over a predicate (G2).

use std::collections::BTreeMap;

use crate::{
    Anomaly, Event, Malformed, Verdict,
    history::{self, Operation, Outcome},
};

/// The pair.
pub(super) fn decode(events: &[Event]) -> Result<Vec<Operation<u64>>, Malformed> {
    history::decode(history::pair(events)?, |operation| {
        (operation.what.f == "insert").then(|| operation.what.asked.as_u64()).flatten()
    })
}

pub(super) fn check(history: &[Operation<u64>]) -> Verdict {
    let mut verdict = Verdict::over("write skew: of two transactions that each exclude the other, one commits (G2)", history);
    let mut done: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, operation) in history.iter().enumerate().filter(|(_, it)| it.outcome == Outcome::Ok) {
        done.entry(operation.what).or_default().push(at);
    }
    for (pair, by) in done.into_iter().filter(|(_, by)| by.len() > 1) {
        let mut lines = vec![format!("pair {pair}: {} transactions found no row of it, and each inserted one", by.len())];
        lines.extend(by.iter().map(|at| {
            let Operation { process, invoked, returned, .. } = &history[*at];
            format!("  T{at}, process {process}, {invoked} to {returned}")
        }));
        verdict.anomalies.push(Anomaly { name: "G2", operations: by, evidence: lines.join("\n") });
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judges::tests::at_once;

    #[test]
    fn one_of_a_pair() {
        let names = |second: &'static str, pair: u64| {
            let events = at_once(&[
                ("insert", json!(1), "ok", Value::Null),
                ("insert", json!(pair), second, Value::Null),
            ]);
            check(&decode(&events).unwrap()).names()
        };
        assert_eq!(names("ok", 1), ["G2"]);
        assert_eq!(names("fail", 1), [""; 0]);
        assert_eq!(names("info", 1), [""; 0]);
        assert_eq!(names("ok", 2), [""; 0]);
    }
}
