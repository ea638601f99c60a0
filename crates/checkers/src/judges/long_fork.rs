//! Keys are written once, one a transaction, and read in groups: two reads must not disagree about which of two writes came
//! first, as they do under parallel snapshot isolation.

use std::collections::HashMap;

use crate::{
    Anomaly, Verdict,
    graph::Key,
    history::{Operation, Outcome},
    rw_register::{Micro, Transaction},
};

pub(super) fn check(history: &[Transaction]) -> Verdict {
    let mut verdict = Verdict::over("long fork: all reads agree on the order of independent writes", history);
    // Who saw the first key written and the second not.
    let mut seen_before: HashMap<(Key, Key), usize> = HashMap::new();
    for (at, Operation { what, .. }) in history.iter().enumerate().filter(|(_, it)| it.outcome == Outcome::Ok) {
        let read = |is_there: bool| {
            let of = move |step: &Micro| match step {
                Micro::Read(key, Some(value)) if value.is_some() == is_there => Some(*key),
                Micro::Read(..) | Micro::Write(..) => None,
            };
            what.iter().filter_map(of)
        };
        for there in read(true) {
            for missing in read(false) {
                seen_before.entry((there, missing)).or_insert(at);
            }
        }
    }
    let mut pairs: Vec<_> = seen_before.iter().filter(|((one, other), _)| one < other).collect();
    pairs.sort_unstable();
    for ((one, other), at) in pairs {
        if let Some(against) = seen_before.get(&(*other, *one)) {
            let evidence = format!(
                "T{at} saw key {one} written and not {other}, T{against} saw {other} and not {one}\n  T{at}: {:?}\n  T{against}: {:?}",
                history[*at].what, history[*against].what
            );
            verdict.anomalies.push(Anomaly { name: "long fork", operations: vec![*at, *against], evidence });
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judges::tests::at_once;

    #[test]
    fn two_reads_that_disagree() {
        let names = |second: serde_json::Value| {
            let asked = json!([["r", 1, null], ["r", 2, null]]);
            let first = json!([["r", 1, 1], ["r", 2, null]]);
            let events = at_once(&[("txn", asked.clone(), "ok", first), ("txn", asked, "ok", second)]);
            check(&crate::rw_register::decode(&events).unwrap()).names()
        };
        assert_eq!(names(json!([["r", 1, null], ["r", 2, 1]])), ["long fork"]);
        assert_eq!(names(json!([["r", 1, null], ["r", 2, null]])), [""; 0]);
        assert_eq!(names(json!([["r", 1, 1], ["r", 2, 1]])), [""; 0]);
    }
}
