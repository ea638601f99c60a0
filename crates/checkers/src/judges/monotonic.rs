//! Each transaction reads the greatest value of several tables and inserts the next one into one of them: no value comes
//! twice, what began after another was acknowledged has a greater value, and all that was acknowledged is there.

use std::collections::BTreeMap;

use super::{Added, counts, decode_added};
use crate::{
    Anomaly, Event, Malformed, Verdict,
    history::{Operation, Outcome},
};

pub(super) fn decode(events: &[Event]) -> Result<Vec<Operation<Added>>, Malformed> {
    decode_added(events)
}

pub(super) fn check(history: &[Operation<Added>]) -> Verdict {
    let mut verdict = Verdict::over("monotonic: values that grow by one come once each, in the order of time", history);
    let mut found = Vec::new();
    let mut note = |name, operations, evidence| found.push(Anomaly { name, operations, evidence });
    let mut inserts: Vec<(usize, i64)> = Vec::new();
    for (at, operation) in history.iter().enumerate().filter(|(_, it)| it.outcome == Outcome::Ok) {
        if let Added::Add(Some(value)) = operation.what {
            inserts.push((at, value));
        }
    }
    let mut by_value: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, value) in &inserts {
        by_value.entry(*value).or_default().push(*at);
    }
    for (value, by) in by_value.iter().filter(|(_, by)| by.len() > 1) {
        note("value twice", by.clone(), format!("{value} was given to {} transactions: T{by:?}", by.len()));
    }
    // In the order of invocation, with the greatest value that was acknowledged by then.
    let mut ended: Vec<(u64, i64, usize)> = inserts.iter().map(|(at, value)| (history[*at].returned, *value, *at)).collect();
    ended.sort_unstable();
    inserts.sort_unstable_by_key(|(at, _)| history[*at].invoked);
    let (mut next, mut greatest): (usize, Option<(i64, usize)>) = (0, None);
    for (at, value) in &inserts {
        while next < ended.len() && ended[next].0 < history[*at].invoked {
            greatest = greatest.max(Some((ended[next].1, ended[next].2)));
            next += 1;
        }
        if let Some((before, by)) = greatest.filter(|(before, _)| before >= value) {
            let evidence = format!("T{at} was given {value}, though T{by} had been acknowledged {before} before it began");
            note("out of order", vec![*at, by], evidence);
        }
    }
    for (at, operation) in history.iter().enumerate() {
        let Added::Read(Some(values)) = &operation.what else { continue };
        let counts = counts(values);
        for (value, count) in counts.iter().filter(|(_, count)| **count > 1) {
            note("value twice", vec![at], format!("{value} is there {count} times"));
        }
        for (value, by) in &by_value {
            if by.iter().any(|insert| history[*insert].precedes(operation)) && !counts.contains_key(value) {
                note("lost write", vec![at, by[0]], format!("{value} was acknowledged to T{} and is not there", by[0]));
            }
        }
    }
    verdict.anomalies = found;
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judges::tests::{at_once, in_turn};

    #[test]
    fn values_grow_with_time() {
        let insert = |value: i64| ("insert", Value::Null, "ok", json!(value));
        let names = |events: &[Event]| check(&decode(events).unwrap()).names();
        let read = |values: Value| ("read", Value::Null, "ok", values);
        assert_eq!(names(&in_turn(&[insert(1), insert(2), read(json!([1, 2]))])), [""; 0]);
        assert_eq!(names(&in_turn(&[insert(2), insert(1)])), ["out of order"]);
        assert_eq!(names(&at_once(&[insert(2), insert(1)])), [""; 0]);
        assert_eq!(names(&at_once(&[insert(1), insert(1)])), ["value twice"]);
        assert_eq!(names(&in_turn(&[insert(1), read(json!([]))])), ["lost write"]);
        assert_eq!(names(&in_turn(&[insert(1), read(json!([1, 7, 7]))])), ["value twice"]);
    }
}
